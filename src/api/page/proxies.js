// All proxies: found, sorted and cut into pages by the control plane.

import { count, h, lasting, number } from "./dom.js";
import { live } from "./api.js";
import { SYNC, TYPES, command, failed, link, nothing, numeric, panel, proxyLink, syncPill, table } from "./parts.js";

/** Proxies of a page. */
const PAGE = 50;
/** Pause in typing after which is searched, in milliseconds. */
const TYPING = 250;

const KINDS = {
  "": "All kinds",
  "connect-proxy": "Sidecars",
  "mesh-gateway": "Mesh gateways",
  "terminating-gateway,ingress-gateway,api-gateway": "Other gateways",
};

/** The columns, with what the control plane sorts them by. */
const COLUMNS = [
  ["Proxy", "id"], ["Kind", "kind"], ["Where", "name"], ["Service", "service"], ["Envoy", "envoy"], ["State", "sync"],
  ...TYPES.map((type) => [type]), ["Acked / revision", undefined, "number"], ["Lag", "lag", "number"], ["Note"],
];

export function show(page) {
  let asked = page.query;
  let reading = new AbortController();
  page.signal.addEventListener("abort", () => reading.abort());
  const found = h("div", { class: "stack" });

  const go = (query) => link(["proxies"], { ...asked, page: "", ...query });
  const read = () => {
    reading.abort();
    reading = new AbortController();
    list({ ...page, signal: reading.signal }, found, asked, go);
  };
  page.content.append(h("h1", {}, "Proxies"), tools(asked, go, (search) => {
    asked = { ...asked, search, page: "" };
    history.replaceState(null, "", link(["proxies"], asked));
    read();
  }), found);
  read();
}

function tools(asked, go, search) {
  let timer;
  const states = [["", "All"], ...["refused", "behind", "disconnected", "synced"].map((sync) => [sync, SYNC[sync].name])];
  const choice = ([sync, name]) => {
    const isChosen = (asked.sync ?? "") === sync;
    return h("li", {}, h("a", { href: go({ sync }), "data-key": `sync-${sync}`, "aria-current": isChosen ? "true" : undefined }, name));
  };
  const kinds = Object.entries(KINDS).map(([kinds, name]) => h("option", { value: kinds, selected: (asked.kinds ?? "") === kinds }, name));
  const place = asked.place && h("a", { class: "filter", href: go({ place: "" }), "data-key": "place", title: "Show all places" }, `in ${asked.place} ✕`);
  const lacking = asked.problems && h("a", { class: "filter", href: go({ problems: "" }), "data-key": "problems", title: "Show all" }, "without a part ✕");
  return h("div", { class: "toolbar", role: "search" },
    h("label", {}, h("span", { class: "visually-hidden" }, "Search proxies by ID, node or service"),
      h("input", {
        type: "search", placeholder: "Search ID, node or service ( / )", value: asked.search ?? "", "data-key": "search", maxlength: "200",
        oninput: (event) => {
          const text = event.target.value;
          clearTimeout(timer);
          timer = setTimeout(() => search(text), TYPING);
        },
      })),
    h("ul", { class: "choices", "aria-label": "State" }, states.map(choice)),
    h("label", {}, h("span", { class: "visually-hidden" }, "Kind"),
      h("select", { "data-key": "kinds", onchange: (event) => { location.hash = go({ kinds: event.target.value }); } }, kinds)),
    place, lacking);
}

function list(page, found, asked, go) {
  const first = Math.max(Number.parseInt(asked.page, 10) || 1, 1);
  const { search, sync, kinds, place, problems } = asked;
  const sort = asked.sort ?? "sync";
  const query = {
    registered: true, search, sync, kinds, place, problems: problems ? true : undefined, sort, limit: PAGE, offset: (first - 1) * PAGE,
  };
  const call = { path: ["meshgate", "proxies"], query };
  const isOneKind = kinds && !kinds.includes(",");
  const words = ["ps", "--all", ...(isOneKind ? ["--kind", kinds] : []), ...(sync ? ["--sync", sync] : [])];
  live(page, call, (answer, error) => {
    const body = answer ? drawn(answer, first, sort, go) : failed(error);
    found.replaceChildren(panel({ title: "All proxies", key: "proxies", cli: command(...words), ...call, wide: true }, body));
  });
}

function drawn({ data, total }, first, sort, go) {
  if (total === 0) return nothing("No proxy fits.");
  const pages = Math.ceil(total / PAGE);
  const start = (first - 1) * PAGE;
  if (data.length === 0) {
    return h("p", {}, `There are ${pages === 1 ? "no further pages" : `${number(pages)} pages`}. `, h("a", { href: go({ page: pages }) }, "Go to the last one"));
  }
  const range = `${number(start + 1)}–${number(start + data.length)} of ${count(total, "proxy", "proxies")}`;
  return [table(`Proxies ${range}`, COLUMNS.map((column) => heading(column, sort, go)), data.map(row)), pager(range, first, pages, go)];
}

function heading([title, by, align], sort, go) {
  if (!by) return [title, { class: align }];
  const isUp = sort === by;
  const isDown = sort === `-${by}`;
  const mark = isUp ? " ↑" : isDown ? " ↓" : "";
  return [
    h("a", { class: "sort", href: go({ sort: isUp ? `-${by}` : by }), "data-key": `sort-${by}` }, title, h("span", { "aria-hidden": "true" }, mark)),
    { class: align, "aria-sort": isUp ? "ascending" : isDown ? "descending" : undefined },
  ];
}

function pager(range, page, pages, go) {
  const step = (to, name, key) => (to >= 1 && to <= pages && to !== page
    ? h("a", { href: go({ page: to === 1 ? "" : to }), "data-key": `page-${key}` }, name)
    : h("span", { class: "muted", "aria-disabled": "true" }, name));
  return h("nav", { class: "pager", "aria-label": "Pages of proxies" },
    h("span", { class: "range" }, range),
    step(1, "First", "first"), step(page - 1, "Previous", "previous"),
    h("span", { class: "muted" }, `page ${number(page)} of ${number(pages)}`),
    step(page + 1, "Next", "next"), step(pages, "Last", "last"));
}

/** What a proxy made of a resource type, in one word. */
export function ofType(proxy, type) {
  const state = proxy.Types.find((of) => of.Type === type);
  if (!state || state.Acks + state.Nacks + state.Resources === 0) return ["–", "muted", "nothing asked for"];
  if (state.Acked) return ["ok", "good", "accepted"];
  // A proxy that came back with all that it should have is told nothing, and has nothing to answer.
  if (proxy.Sync === "synced") return ["ok", "good", "held already"];
  if (state.LastNack) return ["NACK", "bad", state.LastNack.Message];
  return ["…", "warn", "not answered yet"];
}

/** What is worth knowing about a proxy. */
export function note(proxy) {
  const nack = proxy.Types.find((of) => !of.Acked && of.LastNack)?.LastNack;
  if (nack) return nack.Message;
  if (proxy.Trial) return `tries ${proxy.Trial}`;
  if (!proxy.Registered) return "not registered";
  const [first, ...others] = proxy.Problems;
  return first ? `${first}${others.length > 0 ? ` (and ${others.length} more)` : ""}` : "";
}

function row(proxy) {
  const name = h("th", { scope: "row" },
    h("a", { href: proxyLink(proxy), "data-key": `proxy-${proxy.Datacenter}/${proxy.Partition}/${proxy.Node}/${proxy.ID}` }, proxy.ID),
    h("span", { class: "under" }, proxy.Node));
  const revision = (index) => (index > 0 ? String(index) : "–");
  const isConnected = proxy.Streams > 0;
  const told = note(proxy);
  return h("tr", {},
    name,
    h("td", { class: "whole" }, proxy.Kind || "–"),
    h("td", { class: "whole" }, `${proxy.Datacenter}/${proxy.Partition}`),
    h("td", {}, short(proxy.Service)),
    h("td", { class: "mono" }, proxy.EnvoyVersion || "–"),
    h("td", {}, syncPill(proxy.Sync)),
    TYPES.map((type) => {
      const [word, tone, title] = ofType(proxy, type);
      return h("td", { class: `mono ${tone}`, title }, word);
    }),
    numeric(isConnected ? `${revision(proxy.Acked)} / ${revision(proxy.Index)}` : "–"),
    numeric(isConnected && proxy.BehindMs !== undefined ? lasting(proxy.BehindMs) : "–"),
    h("td", { class: "note", title: told }, told));
}

/** A service without what is the same for most. */
export function short(service) {
  const [partition, namespace, name] = service.split("/");
  if (name === undefined) return service || "–";
  return partition === "default" && namespace === "default" ? name : service;
}
