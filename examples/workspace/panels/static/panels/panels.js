// Refreshes the panels in place. Without this file the page is whole, and Refresh is a link.
"use strict";

const EVERY_MS = 15_000;

const board = document.getElementById("board");
// The site itself answers within its deadline, or is away.
const GIVE_UP_MS = 1000 * Number(board.dataset.deadlineS) + 10_000;
const button = document.getElementById("refresh");
const auto = document.querySelector("#auto input");
let timer;

/** Change the text only where it differs: what stays the same is not read out again. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fact({ name, value }) {
  const row = document.createElement("div");
  row.append(document.createElement("dt"), document.createElement("dd"));
  row.firstChild.textContent = name;
  row.lastChild.textContent = value;
  return row;
}

function show({ panels, summary, timing }) {
  for (const panel of panels) {
    const section = board.querySelector(`[data-name="${CSS.escape(panel.name)}"]`);
    section.dataset.state = panel.state;
    for (const name of ["state", "problem", "note"]) {
      write(section.querySelector(`.${name}`), panel[name]);
    }
    write(section.querySelector(".headline"), panel.reading?.headline ?? "");
    section.querySelector(".facts").replaceChildren(...(panel.reading?.facts ?? []).map(fact));
  }
  write(document.getElementById("timing"), timing);
  write(document.getElementById("summary"), summary);
}

async function refresh() {
  if (button.ariaBusy === "true") return;
  clearTimeout(timer);
  button.ariaBusy = "true";
  try {
    const options = { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP_MS) };
    const response = await fetch(board.dataset.url, options);
    if (!response.ok) throw new Error(response.statusText);
    show(await response.json());
  } catch {
    for (const section of board.children) lose(section);
    write(document.getElementById("summary"), "This site does not answer. Nothing below is current.");
  } finally {
    button.ariaBusy = "false";
    plan();
  }
}

/** What was current is so no longer. Its note says from when it is; how long ago is not known. */
function lose(section) {
  const note = section.querySelector(".note");
  write(note, note.textContent.replace(/,.*$/, "."));
  if (section.dataset.state !== "current") return;
  section.dataset.state = "old";
  write(section.querySelector(".state"), "old");
}

function plan() {
  clearTimeout(timer);
  if (auto.checked && !document.hidden) timer = setTimeout(refresh, EVERY_MS);
}

auto.parentElement.hidden = false;
auto.addEventListener("change", plan);
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (auto.checked && !document.hidden) refresh();
});
button.role = "button";
button.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  refresh();
});
button.addEventListener("keydown", (event) => {
  if (event.key !== " ") return;
  event.preventDefault();
  refresh();
});
plan();
