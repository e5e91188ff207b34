// Which page is shown, and what all of them have.

import { h, keepingFocus } from "./dom.js";
import { link } from "./parts.js";
import * as overview from "./overview.js";
import * as topology from "./topology.js";
import * as proxies from "./proxies.js";
import * as proxy from "./proxy.js";
import * as changes from "./changes.js";
import * as path from "./path.js";

/** A page by the first name of its path; `of` is the entry of the navigation that it belongs to. */
const PAGES = {
  overview: { title: "Overview", show: overview.show },
  topology: { title: "Topology", show: topology.show },
  proxies: { title: "Proxies", show: proxies.show },
  changes: { title: "Changes", show: changes.show },
  path: { title: "Path", show: path.show },
  proxy: { title: "Proxy", show: proxy.show, of: "proxies" },
  change: { title: "Change", show: changes.showOne, of: "changes" },
};

/** Time after which a page is shown that has nothing to show yet, in milliseconds. */
const PATIENCE = 200;

const main = document.getElementById("main");
const connection = document.getElementById("connection");
let leave = new AbortController();
let current = "";

function place() {
  const [written, asked] = location.hash.replace(/^#\/?/, "").split("?");
  const name = (segment) => { try { return decodeURIComponent(segment); } catch { return segment; } };
  const segments = written.split("/").filter((segment) => segment !== "").map(name);
  return { segments, query: Object.fromEntries(new URLSearchParams(asked ?? "")) };
}

function navigation(now) {
  const entries = Object.entries(PAGES).filter(([, { of }]) => of === undefined);
  document.getElementById("nav").replaceChildren(...entries.map(([name, { title }]) => {
    const attributes = { href: link([name]), "data-key": `nav-${name}`, "aria-current": name === now ? "page" : undefined };
    return h("li", {}, h("a", attributes, title));
  }));
}

function show() {
  leave.abort();
  leave = new AbortController();
  const { segments, query } = place();
  const name = Object.hasOwn(PAGES, segments[0] ?? "overview") ? segments[0] ?? "overview" : undefined;
  const { title, show: draw, of } = PAGES[name] ?? { title: "No such page", show: unknown };
  const heading = segments.length > 1 ? `${title} ${segments.at(-1)}` : title;
  const here = segments.join("/");
  const isAnother = here !== current;
  const isFirst = current === "";
  current = here || "overview";
  document.title = `${heading} – meshgate`;
  keepingFocus(() => navigation(of ?? name));

  const content = h("div", { class: "page" });
  const { signal } = leave;
  let isShown = false;
  const ready = () => {
    if (isShown || signal.aborted) return;
    isShown = true;
    keepingFocus(() => main.replaceChildren(content));
    if (isAnother && !isFirst) {
      main.focus({ preventScroll: true });
      scrollTo(0, 0);
      document.getElementById("announce").textContent = heading;
    }
  };
  draw({ content, names: segments.slice(1), query, signal, ready, reached, missed });
  // What was there stays until there is something to show in its place.
  setTimeout(ready, isFirst ? 0 : PATIENCE);
}

function unknown({ content, ready }) {
  content.append(h("h1", {}, "No such page"), h("p", {}, h("a", { href: link(["overview"]) }, "Overview")));
  ready();
}

function reached() {
  connection.className = "connection good";
  if (connection.textContent !== "Live") connection.textContent = "Live";
}

function missed() {
  connection.className = "connection bad";
  connection.textContent = "The control plane does not answer; trying again";
}

const THEMES = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

function remembered() {
  try { return localStorage.getItem("theme") ?? "auto"; } catch { return "auto"; }
}

function theme(name) {
  const known = Object.hasOwn(THEMES, name) ? name : "auto";
  if (known === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = known;
  document.getElementById("theme").textContent = THEMES[known];
  return known;
}

let chosen = theme(remembered());
document.getElementById("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  chosen = theme(names[(names.indexOf(chosen) + 1) % names.length]);
  try { localStorage.setItem("theme", chosen); } catch { /* It counts for this page alone then. */ }
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector('input[type="search"]');
  if (!field) return;
  event.preventDefault();
  field.focus();
});

addEventListener("hashchange", show);
show();
