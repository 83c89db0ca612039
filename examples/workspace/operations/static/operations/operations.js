// The operations page, live: each frame has all that is shown. Without this file the tables tell
// how things were when the page was loaded, and Refresh is a link.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const SPAN_S = 120;
const WIDTH = 240;
const HEIGHT = 64;
const LINES = 4; // kinds of lines; a fifth process looks like the first
const DELAY_MS = { first: 500, longest: 30_000 };
// So long after the last frame the page says that it is old.
const SILENT_MS = 10_000;

const find = (id) => document.getElementById(id);

/** Change the text only where it differs: what stays the same is not read out again. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function shape(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Keep as many children as there are items; each is made once and then filled. */
function keep(parent, items, create, fill) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, number) => {
    if (!parent.children[number]) parent.append(create(item, number));
    fill(parent.children[number], item, number);
  });
}

// --- tables -------------------------------------------------------------------------------------

function rows(table, cells, decorate = () => {}) {
  keep(
    table.tBodies[0],
    cells,
    () => make("tr"),
    (row, texts) => {
      keep(
        row,
        texts,
        (_, number) => {
          const cell = make(number ? "td" : "th");
          if (!number) cell.scope = "row";
          return cell;
        },
        (cell, text, number) => {
          write(cell, text);
          decorate(cell, number);
        },
      );
    },
  );
}

function heads(table, processes) {
  const row = table.tHead.rows[0];
  while (row.cells.length > processes.length + 1) row.lastElementChild.remove();
  processes.forEach(({ name, silent }, number) => {
    if (!row.cells[number + 1]) {
      const cell = make("th");
      cell.scope = "col";
      row.append(cell);
    }
    write(row.cells[number + 1], name);
    row.cells[number + 1].classList.toggle("silent", silent);
  });
}

function tables({ processes, tables: { numbers, stalls, upstreams, jobs } }) {
  for (const id of ["numbers", "upstreams"]) heads(find(id), processes);
  rows(find("numbers"), numbers, (cell, number) =>
    cell.classList.toggle("silent", Boolean(number && processes[number - 1].silent)),
  );
  rows(find("upstreams"), upstreams);
  rows(find("jobs"), jobs);
  rows(find("stalls"), stalls);
  find("stalls").parentElement.hidden = !stalls.length;
  find("stalls-none").hidden = Boolean(stalls.length);
}

// --- charts -------------------------------------------------------------------------------------

const kind = (number) => `line line-${number % LINES}`;

function legend(list, names) {
  list.hidden = !names.length;
  keep(
    list,
    names,
    (_, number) => {
      const sample = shape("line", { x1: 0, y1: 4, x2: 24, y2: 4, class: kind(number) });
      const drawing = shape("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, sample);
      return make("li", "", drawing, make("span"));
    },
    (item, name) => write(item.lastElementChild, name),
  );
}

function chart() {
  const drawing = shape("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
  });
  return make(
    "article",
    "chart",
    make("h3"),
    make("p", "now"),
    drawing,
    make("ul", "legend"),
    make("p", "peak"),
  );
}

/** The highest value that the chart has room for: 1, 2 or 5 times a power of ten. */
function ceiling(most) {
  const power = 10 ** Math.floor(Math.log10(most || 1));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= most) ?? most;
}

function draw(element, { key, title, now, peak, lines, legend: hasLegend }) {
  const [heading, number, drawing, list, foot] = element.children;
  element.dataset.key = key;
  write(heading, title);
  write(number, now);
  write(foot, peak);
  const label = `${title} in the last two minutes: ${now} now, ${peak}`;
  if (drawing.getAttribute("aria-label") !== label) drawing.setAttribute("aria-label", label);
  legend(list, hasLegend ? lines.map(({ name }) => name) : []);
  const top = ceiling(Math.max(...lines.flatMap(({ points }) => points.map(([, value]) => value)), 0));
  const place = ([age_s, value]) =>
    `${(WIDTH * (1 - age_s / SPAN_S)).toFixed(1)},${(HEIGHT * (1 - value / top)).toFixed(1)}`;
  const paths = [shape("line", { x1: 0, y1: HEIGHT, x2: WIDTH, y2: HEIGHT, class: "base" })];
  lines.forEach(({ points }, number_) => {
    const inside = points.filter(([age_s]) => age_s <= SPAN_S);
    if (!inside.length) return;
    // One point would be no line: it is drawn as long as a stroke.
    const [age_s, value] = inside.at(-1);
    const drawn = inside.length > 1 ? inside : [[age_s + 1, value], [age_s, value]];
    const along = drawn.map(place).join(" ");
    if (lines.length === 1) {
      const [from, to] = [drawn[0], drawn.at(-1)].map((point) => place([point[0], 0]));
      paths.push(shape("polygon", { points: `${from} ${along} ${to}`, class: "area" }));
    }
    paths.push(shape("polyline", { points: along, class: kind(number_) }));
  });
  drawing.replaceChildren(...paths);
}

function show(board) {
  write(find("summary"), board.summary);
  keep(find("troubles"), board.troubles, () => make("li"), write);
  const names = board.processes.map(({ name }) => name);
  legend(find("legend"), names.length > 1 ? names : []);
  keep(find("drawings"), board.charts, chart, draw);
  find("charts").hidden = false;
  tables(board);
}

// --- the socket ---------------------------------------------------------------------------------

class Live {
  attempts = 0;
  socket = null;

  open() {
    if (this.socket || document.hidden) return;
    const url = new URL("/operations/", location);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    this.watch();
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.attempts = 0;
      this.watch();
      this.tell("live", "Live, every 2 seconds");
      show(JSON.parse(data));
    };
    socket.onclose = ({ code }) => this.socket === socket && this.lose(code);
  }

  /** Try again later, each time later still. */
  lose(code) {
    this.close();
    this.tell("lost", "Not live: the service does not answer. Trying again …");
    if (code) reloadIfRefused();
    const delay = Math.min(DELAY_MS.longest, DELAY_MS.first * 2 ** this.attempts++);
    this.again = setTimeout(() => this.open(), delay * (0.5 + Math.random() / 2));
  }

  close() {
    clearTimeout(this.silence);
    clearTimeout(this.again);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lose(), SILENT_MS);
  }

  tell(state, text) {
    const link = find("link");
    link.hidden = false;
    link.dataset.state = state;
    write(link, text);
  }
}

/** A socket that is refused says no reason. The page does: logged out, or no staff any more. */
async function reloadIfRefused() {
  try {
    const answer = await fetch(location, { method: "HEAD", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 403) location.reload();
  } catch {
    // Nobody answers: the network or the service is away, and the socket is tried again.
  }
}

const live = new Live();
find("refresh").hidden = true;
show(JSON.parse(find("board").textContent));
live.open();
// Nobody looks at a page that is hidden, so nobody is asked for it.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) live.close();
  else live.open();
});
addEventListener("online", () => {
  live.close();
  live.open();
});
