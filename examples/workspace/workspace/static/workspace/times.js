// Times as they are where the reader is. Without this file they are UTC, and the footer says so.

const language = document.documentElement.lang;
const clock = { hour: "2-digit", minute: "2-digit" };
const today = new Intl.DateTimeFormat(language, clock);
const thisYear = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", ...clock });
const anyYear = new Intl.DateTimeFormat(language, {
  day: "numeric",
  month: "short",
  year: "numeric",
  ...clock,
});

/** A time of a conversation: of today only the clock. */
export function showTime(element, iso) {
  element.dateTime = iso;
  const time = new Date(iso);
  const format = time.toDateString() === new Date().toDateString() ? today : thisYear;
  element.textContent = format.format(time);
}

/** All times in an element that have a clock, with a year where the service has written one. */
export function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    const format = (text) => (/\d{4}/.test(text) ? anyYear : thisYear).format(time);
    if (element.title) element.title = format(element.title);
    if (/\d:\d\d/.test(element.textContent)) element.textContent = format(element.textContent);
  }
}

showTimes(document);
