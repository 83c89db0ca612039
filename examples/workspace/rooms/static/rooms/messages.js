// Messages as elements: like those that the service has drawn.
import { inWords } from "../files/upload.js";

// As in rooms/mentions.py.
const MENTION = /(?<![\p{L}\p{N}_.@+-])@([\p{L}\p{N}_.@+-]+)/gu;

const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

export function newItem(sender, me) {
  const item = clone("message");
  item.classList.toggle("notice", !sender);
  item.classList.toggle("own", sender === me);
  item.querySelector("b").textContent = sender ?? "Notice";
  return item;
}

/** Show what was said, and the files. Without `room` it is not confirmed, and nothing is a link. */
export function fill(item, { text, mentions = [], files = [] }, { me, room }) {
  const words = item.querySelector(".text");
  words.replaceChildren(...pieces(text, mentions, me));
  words.hidden = !text;
  item.querySelector(".attached")?.remove();
  if (!files.length) return;
  const shown = document.createElement("ul");
  shown.className = "attached";
  shown.append(...files.map((file) => newFile(file, room)));
  item.append(shown);
}

function* pieces(text, names, me) {
  const known = new Map(names.map((name) => [name.toLowerCase(), name]));
  let end = 0;
  for (const { 1: found, index } of text.matchAll(MENTION)) {
    let written = found;
    while (!known.has(written.toLowerCase()) && /[.@+-]$/.test(written)) {
      written = written.slice(0, -1);
    }
    const name = known.get(written.toLowerCase());
    if (!name) continue;
    yield text.slice(end, index);
    end = index + 1 + written.length;
    const mark = document.createElement("mark");
    mark.className = name === me ? "mention me" : "mention";
    mark.textContent = text.slice(index, end);
    yield mark;
  }
  yield text.slice(end);
}

function newFile({ id, name, size, gone, thumbnail }, room) {
  const item = clone("kept");
  item.dataset.attached = id;
  item.querySelector(".name").textContent = name;
  item.querySelector(".size").textContent = inWords(size);
  if (room) {
    item.querySelector(".kept").href = `${room}files/${id}/about/`;
    change(item, { gone, thumbnail }, room);
  }
  return item;
}

/** What has become of a file that is shown: it was deleted, or has a small picture by now. */
export function changeFile(log, { id, ...state }, room) {
  const item = log.querySelector(`[data-attached="${CSS.escape(id)}"]`);
  if (item) change(item, state, room);
}

function change(item, { gone, thumbnail }, room) {
  const kept = item.querySelector(".kept");
  if (gone) {
    kept.removeAttribute("href");
    kept.classList.add("gone");
    kept.querySelector("img")?.remove();
    kept.querySelector(".size").textContent = "This file has been deleted.";
  } else if (thumbnail && !kept.querySelector("img")) {
    const picture = new Image();
    picture.alt = "";
    picture.src = `${room}files/${item.dataset.attached}/thumbnail/`;
    kept.prepend(picture);
  }
}
