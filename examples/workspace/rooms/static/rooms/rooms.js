// The rooms' pages, live. Without this file they can be read and written in all the same.
import { attaching } from "./attaching.js";
import { completeNames } from "./names.js";
import { changeFile, fill, newItem } from "./messages.js";
import { Live } from "../notices/live.js";
import { showTime } from "../workspace/times.js";
import { unsent } from "./unsent.js";

const TYPING_MS = 2_500; // how often “is typing” is told; it is shown for twice as long

function room(element) {
  const me = element.dataset.me;
  const at = (id) => document.getElementById(id);
  const [log, scroll, form, text] = [at("log"), at("scroll"), at("post"), at("text")];
  const present = new Set();
  const typing = new Map(); // who: the timer that ends it
  const pending = new Map(); // key: {item, words, files} of a message that is not confirmed
  const kept = unsent(me);
  const before = kept.read(); // of this page, when it was here last
  const problem = (words) => (at("problem").textContent = words);
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
      if (form) pending.forEach((_, key) => post(key)); // what had arrived before is saved only once
    },
    present: (frame) => showPresent(frame.present),
    presence: (frame) => {
      frame.joined.forEach((who) => present.add(who));
      frame.left.forEach((who) => (present.delete(who), endTyping(who)));
      showPresent([...present]);
    },
    history: (frame) => {
      if (frame.reset) {
        log.replaceChildren(...[...pending.values()].map(({ item }) => item));
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
    posted: ({ number, ref }) => number <= last && forget(ref),
    error: (frame) => (frame.ref && pending.has(frame.ref) ? fail(frame) : undefined),
    typing: ({ who }) => {
      if (who === me) return;
      clearTimeout(typing.get(who));
      typing.set(who, setTimeout(endTyping, 2 * TYPING_MS, who));
      showTyping();
    },
    file: (frame) => (changeFile(log, frame, element.dataset.room), follow()),
    changed: () => location.reload(),
    state: ({ silent }) => silent !== element.dataset.silent && location.reload(),
    removed: () => {
      live.socket = null; // it is about to be closed, and does not come back
      location.assign(document.querySelector(".side h2 a").href);
    },
  };

  function showMessage({ number, sender, body, created, key }) {
    if (number <= last) return;
    last = number;
    const waiting = sender === me && pending.get(key)?.item;
    if (waiting) pending.delete(key);
    const item = waiting || draw(sender);
    fill(item, body, { me, room: element.dataset.room });
    item.id = `message-${number}`;
    item.dataset.number = number;
    item.classList.remove("pending");
    item.querySelector(".state").textContent = "";
    showTime(item.querySelector("time"), created);
    const [firstPending] = pending.values();
    if (!waiting || firstPending) log.insertBefore(item, firstPending?.item ?? null);
  }

  function draw(sender) {
    log.querySelector(".empty")?.remove();
    return newItem(sender, me);
  }

  /** What is sent again, since the page was loaded anew before it was confirmed, may be there. */
  function forget(key) {
    pending.get(key)?.item.remove();
    pending.delete(key);
  }

  function wait(key, words, files, state) {
    const item = draw(me);
    fill(item, { text: words, files }, { me });
    item.classList.add("pending");
    item.querySelector(".state").textContent = state;
    pending.set(key, { item, words, files });
    log.append(item);
  }

  function post(key) {
    const { words: text, files } = pending.get(key);
    const body = { text, files: files.map(({ id }) => id) };
    live.send({ type: "post", body, key, ref: key }); // an error has the ref
  }

  /** What was refused goes back to where it can be changed, if nothing else is there by now. */
  function fail({ ref, error }) {
    const { item, words, files } = pending.get(ref);
    pending.delete(ref);
    problem(error);
    if (text.value || attached.files.length) {
      item.classList.replace("pending", "failed");
      item.querySelector(".state").textContent = "not sent";
    } else {
      text.value = words;
      attached.put(files);
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

  const attached = form && attaching(form, problem);
  if (form) write();
  for (const { key, words, files } of before.waiting) {
    wait(key, words, files, form ? "sending …" : "not sent");
  }
  addEventListener("pagehide", () => {
    const waiting = [...pending].map(([key, { words, files }]) => ({ key, words, files }));
    const now = form ? { text: text.value, files: attached.files } : before;
    kept.write({ text: now.text, files: now.files, waiting });
  });

  function write() {
    text.value ||= before.text;
    attached.put(before.files);
    completeNames(text, at("names"), element.dataset.names.split(" "), me);

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const words = text.value.trim();
      if (attached.isUploading) return problem("The file is still on its way. Send when it is there.");
      if (!words && !attached.files.length) return;
      const key = newKey();
      wait(key, words, attached.take(), "sending …");
      following = true;
      follow();
      problem((text.value = ""));
      told = 0;
      if (joined) post(key);
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
    if (matchMedia("(pointer: fine)").matches) text.focus({ preventScroll: true });
  }

  scroll.addEventListener("scroll", () => {
    following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  });
  new ResizeObserver(follow).observe(scroll);
  log.addEventListener("load", follow, true); // of a thumbnail, which makes room for itself

  document.addEventListener("visibilitychange", tellSeen);
  follow();
  const target = location.hash.startsWith("#message-") && at(location.hash.slice(1));
  (target || at("new"))?.scrollIntoView({ block: target ? "center" : "nearest" });
}

/** A UUID. `crypto.randomUUID` is there on https and this machine only. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

document.querySelectorAll("time[datetime]").forEach((time) => showTime(time, time.dateTime));
document.querySelectorAll("[data-room]").forEach(room);
