// How many messages are unread: in the bar of each page, and in lists of rooms. The socket that
// each page has (notices/inbox.js) hears of them. Without this file they count as of loading.
"use strict";

const total = document.querySelector("[data-unread-messages]");
const rooms = new Map(); // slug: numbers of its last message, and of the last one that was read

const unread = ({ last, read }) => Math.max(0, last - read);

function write(count, number) {
  count.querySelector(".number").textContent = number > 99 ? "99+" : number;
  count.hidden = number === 0;
}

function show() {
  let sum = 0;
  for (const [slug, numbers] of rooms) {
    sum += unread(numbers);
    for (const item of document.querySelectorAll(`[data-slug="${CSS.escape(slug)}"]`)) {
      write(item.querySelector(".count"), unread(numbers));
    }
  }
  write(total, sum);
}

/** Numbers only grow, so late news do no harm. */
function change({ slug, last = 0, read = 0 }) {
  const known = rooms.get(slug);
  if (!known) return; // a room that is new to somebody is told with all its numbers
  known.last = Math.max(known.last, last);
  known.read = Math.max(known.read, read);
}

/** All that there are: a room that is missing was left, or archived. */
function replace(all) {
  const before = new Map(rooms);
  rooms.clear();
  for (const { slug, last, read } of all) {
    rooms.set(slug, { last, read });
    if (before.has(slug)) change({ slug, ...before.get(slug) });
  }
}

/** The list of rooms as it is now: somebody has joined one, or was taken out. */
async function renew(element) {
  try {
    const answer = await fetch(element.dataset.inbox, { cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.querySelector("[data-inbox]");
    const here = now.querySelector(`a[href="${CSS.escape(location.pathname)}"]`);
    here?.setAttribute("aria-current", "page");
    if (!element.contains(document.activeElement)) element.replaceChildren(...now.children);
    show();
  } catch {
    // The network is away; the list is right when the page is loaded again.
  }
}

addEventListener("inbox", ({ detail: frame }) => {
  if (frame.type === "unread") change(frame);
  if (frame.type === "rooms") replace(frame.rooms);
  if (frame.type === "unread" || frame.type === "rooms") show();
  if (frame.type === "membership") document.querySelectorAll("[data-inbox]").forEach(renew);
});
