// Uploads with progress, and a list that shows what jobs have found out. Without this file the
// form uploads all the same.
"use strict";

const LOOK_AGAIN_MS = [500, 1000, 2000, 4000, 8000];

const form = document.getElementById("upload");
const input = document.getElementById("file");
const problem = document.getElementById("problem");
const going = document.getElementById("going");
const what = document.getElementById("what");
const bar = document.getElementById("bar");
const stop = document.getElementById("stop");
const button = form.querySelector("[type=submit]");
const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
let looking;

/** Send one file; `tell` gets the part that has left. Rejects with what the page shall say. */
function send(file, tell) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${form.dataset.receive}?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-CSRFToken", token);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => tell(total ? loaded / total : 1);
    request.onload = () => (request.status === 201 ? resolve() : reject(reason(request)));
    request.onerror = () => reject("The connection broke off. Nothing of the file was kept.");
    request.onabort = () => reject("Stopped. Nothing of the file was kept.");
    stop.onclick = () => request.abort();
    request.send(file.slice());
  });
}

function reason({ status, response }) {
  if (status === 401 || status === 403) return "You are not logged in any more. Reload this page.";
  if (status === 413) return "The file is too large.";
  const error = response?.error;
  return error?.fields?.name ?? error?.message ?? "The file was not taken. Try again later.";
}

async function upload(files) {
  const maxBytes = Number(form.dataset.maxBytes);
  for (const [index, file] of files.entries()) {
    const nth = files.length > 1 ? ` (${index + 1} of ${files.length})` : "";
    if (file.size > maxBytes) throw `${file.name}: The file is too large.`;
    what.textContent = `Uploading ${file.name}${nth} …`;
    bar.value = 0;
    try {
      await send(file, (part) => (bar.value = part));
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
    if (!isInUse) shown.replaceWith(now);
    if ("waiting" in now.dataset) again(attempt);
  } catch {
    again(attempt); // the network is away
  }
}

function again(attempt) {
  if (attempt < LOOK_AGAIN_MS.length) looking = setTimeout(look, LOOK_AGAIN_MS[attempt], attempt + 1);
}

form.addEventListener("submit", async (event) => {
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
