// One file on its way to the service, for every page that uploads.

/**
 * Send a file's bytes; resolves with what the service says of it: `{id, name, size}`.
 * `tell` gets the part that has left; `stop` is the button that ends it. Rejects with what the
 * page shall say.
 */
export function send({ address, token, file, tell, stop }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${address}?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-CSRFToken", token);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => tell(total ? loaded / total : 1);
    request.onload = () =>
      request.status === 201 ? resolve(request.response) : reject(reason(request));
    request.onerror = () => reject("The connection broke off. Nothing of the file was kept.");
    request.onabort = () => reject("Stopped. Nothing of the file was kept.");
    stop.onclick = () => request.abort();
    request.send(file.slice());
  });
}

function reason({ status, response }) {
  if (status === 401) return "You are not logged in any more. Reload this page.";
  if (status === 413) return "The file is too large.";
  const error = response?.error;
  return error?.fields?.name ?? error?.message ?? "The file was not taken. Try again later.";
}

/** A size as the pages write it. */
export function inWords(bytes) {
  const units = ["bytes", "KB", "MB"];
  let unit = 0;
  while (bytes >= 1024 && unit < 2) [bytes, unit] = [bytes / 1024, unit + 1];
  return `${unit ? bytes.toFixed(1) : bytes}\u00a0${units[unit]}`;
}
