// Calls of the API, and values that stay current.

import { keepingFocus } from "./dom.js";

/** Longest time that a call waits for a commit unless it says another one, in seconds: proxies come and go without any. */
const WAIT = 5;
/** Shortest and usual pause between two answers, in milliseconds. */
const SHORT = 1000;
const USUAL = 4000;

/** Why a call failed. */
export class CallError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The absolute URL of a call: a path of segments under `/v1/`, and a query of which `true` stands for a flag. */
export function url(path, query = {}) {
  const segments = path.map((segment) => encodeURIComponent(segment)).join("/");
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  const written = pairs.map(([name, value]) => (value === true ? name : `${name}=${encodeURIComponent(value)}`));
  // Relative to the pages, so that it also works where somebody serves all of it below another path.
  return new URL(`../v1/${segments}${written.length ? `?${written.join("&")}` : ""}`, document.baseURI).href;
}

/** Calls the API, and returns what it said. */
export async function get(path, query, signal) {
  const response = await fetch(url(path, query), { signal, cache: "no-store" });
  const text = await response.text();
  if (!response.ok) throw new CallError(text.trim() || response.statusText, response.status);
  const header = (name) => Number(response.headers.get(name) ?? 0);
  return { text, data: JSON.parse(text), index: header("x-consul-index"), total: header("x-meshgate-total") };
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Draws what a call answers, and draws it again whenever that is something else, until the page is left.
 *
 * `blocks` says that the call can wait for a commit, and `wait` for how many seconds at most. `draw` gets the answer, or an error as long as there is no answer.
 */
export async function live(page, { path, query = {}, blocks = true, wait = WAIT, signal = page.signal }, draw) {
  let shown;
  let index = 0;
  while (!signal.aborted) {
    try {
      const waiting = blocks && index > 0 && shown !== undefined ? { index, wait: `${wait}s` } : {};
      const answer = await get(path, { ...query, ...waiting }, signal);
      if (signal.aborted) return;
      page.reached();
      index = answer.index;
      const news = `${answer.total} ${answer.text}`;
      if (news !== shown) keepingFocus(() => { draw(answer); page.ready(); });
      shown = news;
      await pause(blocks ? SHORT : USUAL, signal);
    } catch (error) {
      if (signal.aborted) return;
      // Whoever refuses a call answers; a refusal takes the place of what was there.
      if (error instanceof CallError) page.reached(); else page.missed();
      if (error instanceof CallError || shown === undefined) {
        keepingFocus(() => { draw(undefined, error); page.ready(); });
        shown = undefined;
      }
      await pause(USUAL, signal);
    }
    await visible(signal);
  }
}
