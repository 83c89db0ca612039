// “@” and the beginning of a name: a list of members to choose from, by keyboard or pointer.

const BEGUN = /(?<![\p{L}\p{N}_.@+-])@([\p{L}\p{N}_.@+-]*)$/u;
const MOST = 6;

/** `names` are the members' in `list`, a listbox beside the textarea `text`. */
export function completeNames(text, list, names, me) {
  let fits = [];
  let active = 0;
  text.setAttribute("aria-autocomplete", "list");
  text.setAttribute("aria-controls", list.id);

  const begun = () => text.value.slice(0, text.selectionStart).match(BEGUN)?.[1];

  function show() {
    const start = begun()?.toLowerCase();
    fits =
      start === undefined
        ? []
        : names
            .filter((name) => name !== me && name.toLowerCase().startsWith(start))
            .filter((name) => name.toLowerCase() !== start)
            .slice(0, MOST);
    active = Math.min(active, Math.max(0, fits.length - 1));
    list.hidden = !fits.length;
    list.replaceChildren(...fits.map(draw));
    if (fits.length) text.setAttribute("aria-activedescendant", `name-${active}`);
    else text.removeAttribute("aria-activedescendant");
  }

  function draw(name, index) {
    const item = document.createElement("li");
    item.id = `name-${index}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(index === active));
    item.textContent = name;
    // Before the textarea would lose the focus.
    item.onpointerdown = (event) => {
      event.preventDefault();
      take(name);
    };
    return item;
  }

  function take(name) {
    const end = text.selectionStart;
    text.setRangeText(`${name} `, end - begun().length, end, "end");
    close();
    text.dispatchEvent(new Event("input"));
  }

  function close() {
    fits = [];
    active = 0;
    list.hidden = true;
    text.removeAttribute("aria-activedescendant");
  }

  text.addEventListener("input", show);
  text.addEventListener("blur", close);
  text.addEventListener("keydown", (event) => {
    if (!fits.length || event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      active = (active + (event.key === "ArrowDown" ? 1 : fits.length - 1)) % fits.length;
      show();
    } else if (event.key === "Enter" || event.key === "Tab") take(fits[active]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation(); // Enter would send what is not written to its end
  });
}
