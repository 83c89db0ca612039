// What has not been sent outlives its page, which may be loaded anew or give way to the log-in.

/** Kept in this tab alone, for one person and one room: `{text, files, waiting}`. */
export function unsent(me) {
  const place = `unsent ${me} ${location.pathname}`;
  return {
    read: () => ({ text: "", files: [], waiting: [], ...JSON.parse(sessionStorage.getItem(place)) }),
    write: (now) => sessionStorage.setItem(place, JSON.stringify(now)),
  };
}
