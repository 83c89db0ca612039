// The addresses of links, copied by a button. Without this file they can be selected.

document.querySelectorAll(".copy").forEach((button) => {
  const address = button.parentElement.querySelector("input");
  button.hidden = false;
  button.addEventListener("click", async () => {
    address.select();
    try {
      await navigator.clipboard.writeText(address.value);
    } catch {
      // Only https and this machine have a clipboard: what is selected can be copied by hand.
      return;
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
});
