// The one socket of each page: it rings the bell, and hands on what is for others as an event of
// the window, "inbox", whose detail is the frame. Without this file the bell counts as the page
// is loaded.
"use strict";

import { Live } from "./live.js";

const bell = document.querySelector("[data-bell]");
const told = document.getElementById("bell-told");
const words = (count) => `${count} unread ${count === 1 ? "notice" : "notices"}`;
let unread = Number(bell.dataset.unread);

function ring(count) {
  const more = count > unread;
  unread = count;
  bell.querySelector(".number").textContent = count > 99 ? "99+" : count;
  bell.querySelector(".count").hidden = count === 0;
  if (!more) return;
  told.textContent = words(count);
  const fresh = document.getElementById("fresh");
  if (fresh) fresh.hidden = false;
}

function changeRole(label) {
  const toast = document.getElementById("toast");
  toast.querySelector("b").textContent = label;
  toast.hidden = false;
}

new Live({
  address: () => bell.dataset.bell,
  page: bell.href,
  hear: (frame) => {
    if (frame.type === "notices") ring(frame.unread);
    if (frame.type === "role") changeRole(frame.label);
    dispatchEvent(new CustomEvent("inbox", { detail: frame }));
  },
});
