// Parts that several pages have.

import { count, h, lasting, moment, number } from "./dom.js";
import { url } from "./api.js";

/** How far a proxy can be: what it is called, and how it looks. */
export const SYNC = {
  synced: { name: "synced", tone: "good" },
  behind: { name: "behind", tone: "warn" },
  refused: { name: "refused", tone: "bad" },
  disconnected: { name: "not connected", tone: "idle" },
};

/** The resource types in the order in which Envoy needs them. */
export const TYPES = ["CDS", "LDS", "EDS", "RDS", "SDS"];

/** A link to a page: names of the path, and what it is asked. */
export function link(segments, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  const written = new URLSearchParams(pairs).toString();
  return `#/${segments.map((segment) => encodeURIComponent(segment)).join("/")}${written ? `?${written}` : ""}`;
}

/** The page of a proxy. */
export function proxyLink({ Datacenter, Partition, Node, ID }, query) {
  return link(["proxy", Datacenter, Partition, Node, ID], query);
}

/** A state in one word. The word says it, the colour helps. */
export function pill(tone, text, title) {
  return h("span", { class: `pill ${tone}`, title }, text);
}

/** The state of a proxy. */
export function syncPill(sync) {
  const { name, tone } = SYNC[sync] ?? { name: sync, tone: "idle" };
  return pill(tone, name);
}

function shell(word) {
  return /^[A-Za-z0-9_@%+=:,.\/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A command line of these words. */
export function command(...words) {
  return ["meshgate", ...words.filter((word) => word !== undefined)].map(shell).join(" ");
}

async function copy(button, text) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Browsers give the clipboard to pages that came over TLS or from this machine; others can select the text.
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = said; }, 1500);
}

function sameAs(label, what, text, key) {
  return h("div", {},
    h("dt", {}, label),
    h("dd", {},
      h("code", { class: `same-${what}`, title: text }, text),
      h("button", {
        type: "button", class: "quiet", "data-key": `copy-${what}-${key}`, "aria-label": `Copy ${what}`,
        onclick: (event) => copy(event.currentTarget, text),
      }, "Copy")));
}

/** A part of a page with a title, and with the command and the call that tell the same. */
export function panel({ title, key, cli, path, query, tools, wide }, ...body) {
  const id = `panel-${key}`;
  return h("section", { class: wide ? "panel wide" : "panel", "aria-labelledby": id },
    h("header", {}, h("h2", { id }, title), tools && h("div", { class: "tools" }, tools)),
    h("div", { class: "body" }, body),
    h("footer", {},
      h("dl", { class: "same", "aria-label": `The same as ${title} elsewhere` },
        sameAs("CLI", "command", cli, key),
        sameAs("API", "call", `curl ${shell(url(path, query))}`, key))));
}

/** What stands where a call failed. */
export function failed(error) {
  return h("p", { class: "notice bad", role: "alert" }, error?.message || "The control plane does not answer.");
}

/** What stands where there is nothing. */
export function nothing(text) {
  return h("p", { class: "nothing" }, text);
}

/** A table. `columns` are texts, or a text with attributes of its heading; a row is a list of cells or an element. */
export function table(caption, columns, rows) {
  const heading = (column) => {
    const [text, attributes] = Array.isArray(column) ? column : [column, {}];
    return h("th", { scope: "col", ...attributes }, text);
  };
  const cell = (value) => (value instanceof HTMLTableCellElement ? value : h("td", {}, value));
  const row = (cells) => (cells instanceof HTMLElement ? cells : h("tr", {}, cells.map(cell)));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map(heading))),
      h("tbody", {}, rows.map(row))));
}

/** A cell with a number. */
export function numeric(...content) {
  return h("td", { class: "number" }, content);
}

/** A bar of parts that are as wide as their numbers: `[number, tone]`. */
export function bar(parts, label) {
  const total = parts.reduce((sum, [size]) => sum + size, 0);
  const piece = ([size, tone]) => {
    const element = h("span", { class: tone });
    element.style.flexGrow = size;
    return element;
  };
  return h("span", { class: "bar", role: "img", "aria-label": label },
    total > 0 && parts.filter(([size]) => size > 0).map(piece));
}

/** How far a change has come. */
export function propagation(of) {
  if (!of) return h("span", { class: "muted" }, "no connected proxy");
  const bad = of.Refused + of.Unmade;
  const open = Math.max(of.Proxies - of.Live - bad, 0);
  const label = `${number(of.Live)} of ${count(of.Proxies, "proxy", "proxies")} live`;
  const took = of.LiveAfterMs === undefined ? "" : ` in ${lasting(of.LiveAfterMs)}`;
  const refused = (of.Refused > 0 ? `, ${number(of.Refused)} refused` : "") + (of.Unmade > 0 ? `, ${number(of.Unmade)} not made` : "");
  return h("span", { class: "propagation" },
    bar([[of.Live, "good"], [bad, "bad"], [open, "warn"]], `${label}${refused}${took}`),
    h("span", { class: "text" }, `${number(of.Live)}/${number(of.Proxies)} live${refused}${took}`));
}

const AUTHORS = {
  process: "the process", call: "API", files: "files", "health-checks": "health checks",
  "certificate-authority": "certificate authority",
};

/** Who wrote a commit. */
export function author({ By, Address }) {
  return `${AUTHORS[By] ?? By}${Address ? ` from ${Address}` : ""}`;
}

/** What a commit changed, on one line. */
export function changed(commit) {
  const [first, ...others] = commit.Rows ?? [];
  if (!first) return h("span", { class: "muted" }, `${commit.Class}`);
  const more = others.length + (commit.MoreRows ?? 0);
  return [
    h("span", { class: "mono" }, first.Name), ` ${first.Action}`,
    more > 0 && h("span", { class: "muted" }, ` and ${number(more)} more`),
  ];
}

/** The commits as rows of a table. */
export function commits(list) {
  return list.map((commit) => [
    numeric(h("a", { href: link(["change", commit.Index]), "data-key": `commit-${commit.Index}` }, String(commit.Index))),
    moment(commit.Time), changed(commit), author(commit.Author), propagation(commit.Propagation),
  ]);
}
