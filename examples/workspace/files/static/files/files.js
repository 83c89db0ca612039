// Uploads with progress, and a list that shows what jobs have found out. Without this file the
// form uploads all the same.
import { send } from "./upload.js";
import { showTimes } from "../workspace/times.js";

const LOOK_AGAIN_MS = [500, 1000, 2000, 4000, 8000];

const form = document.getElementById("upload");
const input = document.getElementById("file");
const problem = document.getElementById("problem");
const going = document.getElementById("going");
const what = document.getElementById("what");
const bar = document.getElementById("bar");
const stop = document.getElementById("stop");
const button = form?.querySelector("[type=submit]");
const token = form?.querySelector("[name=csrfmiddlewaretoken]").value;
let looking;

async function upload(files) {
  const maxBytes = Number(form.dataset.maxBytes);
  for (const [index, file] of files.entries()) {
    const nth = files.length > 1 ? ` (${index + 1} of ${files.length})` : "";
    if (file.size > maxBytes) throw `${file.name}: The file is too large.`;
    what.textContent = `Uploading ${file.name}${nth} …`;
    bar.value = 0;
    try {
      const tell = (part) => (bar.value = part);
      await send({ address: form.dataset.receive, token, file, tell, stop });
    } catch (error) {
      throw `${file.name}: ${error}`;
    }
  }
  what.textContent = files.length > 1 ? `${files.length} files uploaded.` : `${files[0].name} uploaded.`;
}

/** Show the list as it is now; again a few times while jobs have something to find out. */
async function look(attempt = 0) {
  clearTimeout(looking);
  try {
    const answer = await fetch(location, { cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [shown, now] = [document, page].map((each) => each.getElementById("list"));
    // Who is about to do something there is not interrupted.
    const isInUse = shown.contains(document.activeElement) || shown.querySelector("details[open]");
    showTimes(now);
    if (!isInUse) shown.replaceWith(now);
    if ("waiting" in now.dataset) again(attempt);
  } catch {
    again(attempt); // the network is away
  }
}

function again(attempt) {
  if (attempt < LOOK_AGAIN_MS.length) looking = setTimeout(look, LOOK_AGAIN_MS[attempt], attempt + 1);
}

// Guests have no form.
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const files = [...input.files];
  if (!files.length || button.disabled) return;
  problem.textContent = "";
  going.hidden = stop.hidden = bar.hidden = false;
  button.disabled = true;
  try {
    await upload(files);
    form.reset();
  } catch (error) {
    what.textContent = "";
    problem.textContent = String(error);
  } finally {
    button.disabled = false;
    stop.hidden = bar.hidden = true;
    await look();
  }
});

if ("waiting" in document.getElementById("list").dataset) again(0);
