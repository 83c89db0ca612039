// The rooms' pages, live. Without this file they can be read and written in all the same.
"use strict";

import { Live } from "../notices/live.js";

const TYPING_MS = 2_500; // how often “is typing” is told; it is shown for twice as long

/** The list of rooms: how much is unread. Numbers only grow, so late news do no harm. */
function list(element) {
  const count = ({ slug, last = 0, read = 0 }) => {
    const item = element.querySelector(`[data-slug="${CSS.escape(slug)}"]`);
    if (!item) return;
    const numbers = item.dataset;
    numbers.last = Math.max(numbers.last, last);
    numbers.read = Math.max(numbers.read, read);
    const unread = Math.max(0, numbers.last - numbers.read);
    item.querySelector(".number").textContent = unread;
    item.querySelector(".count").hidden = unread === 0;
  };
  // The socket that each page has (notices/inbox.js) hears of them.
  addEventListener("inbox", ({ detail: frame }) => {
    if (frame.type === "unread") count(frame);
    if (frame.type === "rooms") frame.rooms.forEach(count);
  });
}

const hour = { hour: "2-digit", minute: "2-digit" };
const today = new Intl.DateTimeFormat(undefined, hour);
const before = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...hour });

function showTime(element, iso) {
  element.dateTime = iso;
  const time = new Date(iso);
  const clock = time.toDateString() === new Date().toDateString() ? today : before;
  element.textContent = clock.format(time);
}

function room(element) {
  const me = element.dataset.me;
  const at = (id) => document.getElementById(id);
  const [log, scroll, form, text] = [at("log"), at("scroll"), at("post"), at("text")];
  const present = new Set();
  const typing = new Map(); // who: the timer that ends it
  const pending = new Map(); // ref: the element of a message that is not confirmed
  let last = Number(log.querySelector("[data-number]:last-of-type")?.dataset.number ?? 0);
  let seen = last;
  let told = 0; // when “is typing” was told
  let joined = false;
  let following = true; // the reader is at the end of the log, and stays there

  const live = new Live({
    address: () => `${element.dataset.room}?after=${last}`,
    hear: (frame) => handlers[frame.type]?.(frame),
    state: (state) => {
      joined = false;
      [...typing.keys()].forEach(endTyping);
      at("present").hidden = true; // nobody knows
      showBanner(
        state === "offline"
          ? "You are offline. What you write is sent when you are back."
          : "The connection is lost. Trying again …",
      );
    },
  });

  const handlers = {
    joined: (frame) => {
      joined = true;
      showBanner("");
      showPresent(frame.present);
      pending.forEach((_, ref) => post(ref)); // what had arrived before is saved only once
    },
    present: (frame) => showPresent(frame.present),
    presence: (frame) => {
      frame.joined.forEach((who) => present.add(who));
      frame.left.forEach((who) => (present.delete(who), endTyping(who)));
      showPresent([...present]);
    },
    history: (frame) => {
      if (frame.reset) {
        log.replaceChildren(...pending.values());
        last = 0;
      }
      frame.messages.forEach(showMessage);
      follow();
      tellSeen();
    },
    message: (frame) => {
      showMessage(frame);
      follow();
      endTyping(frame.sender);
      tellSeen();
    },
    error: (frame) => (frame.ref && pending.has(frame.ref) ? fail(frame) : undefined),
    typing: ({ who }) => {
      if (who === me) return;
      clearTimeout(typing.get(who));
      typing.set(who, setTimeout(endTyping, 2 * TYPING_MS, who));
      showTyping();
    },
  };

  function showMessage({ number, sender, body, created }) {
    if (number <= last) return;
    last = number;
    const waiting = sender === me && pending.get(body.ref);
    if (waiting) pending.delete(body.ref);
    const item = waiting || newItem(body.text, sender);
    item.dataset.number = number;
    item.classList.remove("pending");
    item.querySelector(".state").textContent = "";
    showTime(item.querySelector("time"), created);
    const [firstPending] = pending.values();
    if (!waiting || firstPending) log.insertBefore(item, firstPending ?? null);
  }

  function newItem(words, sender) {
    log.querySelector(".empty")?.remove();
    const item = at("message").content.firstElementChild.cloneNode(true);
    item.classList.toggle("notice", !sender);
    item.classList.toggle("own", sender === me);
    item.querySelector("b").textContent = sender ?? "Notice";
    item.querySelector(".text").textContent = words;
    return item;
  }

  function post(ref) {
    const body = pending.get(ref).querySelector(".text").textContent;
    live.send({ type: "post", body, ref });
  }

  /** What was refused goes back to where it can be changed, if nothing else is there by now. */
  function fail({ ref, error }) {
    const item = pending.get(ref);
    pending.delete(ref);
    at("problem").textContent = error;
    if (text.value) {
      item.classList.replace("pending", "failed");
      item.querySelector(".state").textContent = "not sent";
    } else {
      text.value = item.querySelector(".text").textContent;
      item.remove();
    }
  }

  function follow() {
    if (following) scroll.scrollTop = scroll.scrollHeight;
  }

  function tellSeen() {
    if (document.hidden || last <= seen) return;
    if (live.send({ type: "seen", number: last })) seen = last;
  }

  function showPresent(names) {
    if (names !== present) {
      present.clear();
      names.forEach((name) => present.add(name));
    }
    at("present").hidden = present.size === 0;
    at("present").querySelector(".names").textContent = [...present].sort().join(", ");
  }

  function endTyping(who) {
    clearTimeout(typing.get(who));
    if (typing.delete(who)) showTyping();
  }

  function showTyping() {
    const names = [...typing.keys()];
    const verb = names.length === 1 ? "is" : "are";
    at("typing").textContent = names.length ? `${names.join(", ")} ${verb} typing …` : "";
  }

  function showBanner(words) {
    at("banner").textContent = words;
    at("banner").hidden = !words;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = text.value.trim();
    if (!words) return;
    const ref = newRef();
    const item = newItem(words, me);
    item.classList.add("pending");
    item.querySelector(".state").textContent = "sending …";
    pending.set(ref, item);
    log.append(item);
    following = true;
    follow();
    at("problem").textContent = text.value = "";
    told = 0;
    if (joined) post(ref);
    text.focus();
  });

  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  text.addEventListener("input", () => {
    if (text.value && Date.now() - told > TYPING_MS && live.send({ type: "typing" })) {
      told = Date.now();
    }
  });

  scroll.addEventListener("scroll", () => {
    following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  });
  new ResizeObserver(follow).observe(scroll);

  document.addEventListener("visibilitychange", tellSeen);
  follow();
  at("new")?.scrollIntoView({ block: "nearest" });
  if (matchMedia("(pointer: fine)").matches) text.focus({ preventScroll: true });
}

/** A UUID. `crypto.randomUUID` is there on https and this machine only. */
function newRef() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

document.querySelectorAll("time[datetime]").forEach((time) => showTime(time, time.dateTime));
document.querySelectorAll("[data-inbox]").forEach(list);
document.querySelectorAll("[data-room]").forEach(room);
