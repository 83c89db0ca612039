// The menu of one's account closes as menus do. Without this file its own click closes it.
"use strict";

const menu = document.querySelector("details.menu");

function close(event) {
  if (menu.open && !menu.contains(event.target)) menu.open = false;
}

document.addEventListener("click", close);
document.addEventListener("focusin", close);
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
