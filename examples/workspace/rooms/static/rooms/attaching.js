// Files that are to go with a message: uploaded at once, or chosen from those that are there.
import { inWords, send } from "../files/upload.js";

/** `say` shows a problem. What comes back has `files`, `take()`, `put(files)`, `isUploading`. */
export function attaching(form, say) {
  const at = (id) => document.getElementById(id);
  const [menu, input, choice, chosen] = [at("attach"), at("upload"), at("file"), at("chosen")];
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const atOnce = Number(form.dataset.atOnce);
  let files = [];
  let isUploading = false;

  function show(now) {
    files = now;
    chosen.hidden = !files.length;
    chosen.replaceChildren(...files.map(draw));
  }

  function draw(file) {
    const item = document.createElement("li");
    const kept = document.createElement("span");
    kept.className = "kept";
    kept.append(file.name, " ");
    const size = document.createElement("span");
    size.className = "size";
    size.textContent = inWords(file.size);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "remove";
    button.textContent = "×";
    button.setAttribute("aria-label", `Do not send ${file.name}`);
    button.onclick = () => {
      show(files.filter((each) => each !== file));
      at("text").focus();
    };
    kept.append(size, button);
    item.append(kept);
    return item;
  }

  function add(file) {
    if (files.length >= atOnce) throw `A message has at most ${atOnce} files.`;
    if (!files.some(({ id }) => id === file.id)) show([...files, file]);
  }

  async function upload(file) {
    if (files.length >= atOnce) throw `A message has at most ${atOnce} files.`;
    if (file.size > Number(form.dataset.maxBytes)) throw "The file is too large.";
    at("what").textContent = `Uploading ${file.name} …`;
    at("bar").value = 0;
    const tell = (part) => (at("bar").value = part);
    add(await send({ address: form.dataset.receive, token, file, tell, stop: at("stop") }));
  }

  input.addEventListener("change", async () => {
    const given = [...input.files];
    input.value = "";
    if (!given.length || isUploading) return;
    say("");
    isUploading = true;
    at("going").hidden = false;
    input.disabled = true;
    let name;
    try {
      for (const file of given) {
        name = file.name;
        await upload(file);
      }
      menu.open = false;
      at("text").focus();
    } catch (error) {
      say(`${name}: ${error}`);
    } finally {
      isUploading = input.disabled = false;
      at("going").hidden = true;
      at("what").textContent = "";
    }
  });

  choice?.addEventListener("change", () => {
    const option = choice.selectedOptions[0];
    if (!option.value) return;
    const { id, name, size } = { id: option.value, ...option.dataset };
    choice.value = "";
    try {
      add({ id, name, size: Number(size) });
      menu.open = false;
      at("text").focus();
    } catch (error) {
      say(error);
    }
  });

  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  return {
    get files() {
      return files;
    },
    get isUploading() {
      return isUploading;
    },
    take() {
      const taken = files;
      show([]);
      return taken;
    },
    put: show,
  };
}
