// Shows how far jobs are, while they run. Without this file the page tells it when it is loaded.
import { showTimes } from "../workspace/times.js";

// A browser has six connections to a site, and each stream takes one of them.
const STREAMS = 3;
const AGAIN_MS = 1000;
const LABELS = { READY: "waiting", RUNNING: "running" };

const waiting = [...document.querySelectorAll("[data-events]")];

/** Change the text only where it differs: what stays the same is not read out again. */
function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function show(work, { status, done, total, note }) {
  const label = LABELS[status];
  if (!label) return;
  work.dataset.state = label;
  write(work.querySelector(".state"), label);
  write(work.querySelector(".told"), note);
  const bar = work.querySelector("progress");
  if (total) bar.value = Math.min(1, done / total);
  else bar.removeAttribute("value");
}

/** The job has ended, or nothing is heard of it: take what came of it from its own page. */
async function end(work) {
  try {
    const answer = await fetch(title(work).href, { cache: "no-store" });
    if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of [work.id, "details"]) replace(id, page);
    const ended = document.getElementById(work.id);
    const state = ended.querySelector(".state").textContent;
    write(document.getElementById("said"), `${title(ended).textContent}: ${state}.`);
  } catch {
    setTimeout(end, AGAIN_MS, work); // the network is away
  }
}

function title(work) {
  return work.querySelector(":is(h2, h3) a");
}

function replace(id, page) {
  const [shown, now] = [document, page].map((each) => each.getElementById(id));
  if (!shown || !now) return;
  const hadFocus = shown.contains(document.activeElement);
  showTimes(now);
  shown.replaceWith(now);
  if (hadFocus) now.querySelector("button, a")?.focus();
}

function next() {
  const work = waiting.shift();
  if (!work) return;
  // It comes back by itself where the server ends the stream, or the network is away.
  const source = new EventSource(work.dataset.events);
  const close = () => {
    source.close();
    end(work);
    next();
  };
  source.onmessage = ({ data }) => {
    const state = JSON.parse(data);
    show(work, state);
    if (state.finished || state.status === "LOST") close();
  };
  // Closed for good: logged out, or the job is known no more.
  source.onerror = () => source.readyState === EventSource.CLOSED && close();
}

for (let stream = 0; stream < STREAMS; stream++) next();
