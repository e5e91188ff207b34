// Elements and texts. Whatever comes from the state goes into text nodes and attributes, never into markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** An HTML element. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Changes what is on the page, and leaves the focus and the caret where they are: on what has the same `data-key`. */
export function keepingFocus(change) {
  const focused = document.activeElement;
  const key = focused?.dataset?.key;
  const caret = focused instanceof HTMLInputElement ? [focused.selectionStart, focused.selectionEnd] : undefined;
  change();
  if (!key || (document.activeElement === focused && focused.isConnected)) return;
  const again = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  again?.focus({ preventScroll: true });
  if (caret && again instanceof HTMLInputElement) again.setSelectionRange(...caret);
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const NUMBER = new Intl.NumberFormat("en");

/** A number with separators. */
export function number(value) {
  return NUMBER.format(value);
}

/** A number of things. */
export function count(value, one, several = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : several}`;
}

/** A moment: the time alone if it is of today. */
export function moment(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return h("span", {}, text);
  const isToday = date.toDateString() === new Date().toDateString();
  const shown = isToday ? CLOCK.format(date) : `${DAY.format(date)} ${CLOCK.format(date)}`;
  return h("time", { datetime: text, title: text }, shown);
}

/** A time span in milliseconds, with the two largest units at most. */
export function lasting(milliseconds) {
  if (milliseconds < 1) return "< 1 ms";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  const days = seconds / 86400;
  return days < 730 ? `${Math.floor(days)} days` : `${(days / 365.25).toFixed(1)} years`;
}

/** How long it is until a moment. */
export function until(text) {
  const left = new Date(text).getTime() - Date.now();
  return left <= 0 ? "expired" : lasting(left);
}
