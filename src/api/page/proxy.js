// One proxy: how far it has come, where its upstreams lead, what it is sent, and what changed it.

import { count, h, lasting, moment, number } from "./dom.js";
import { get, live } from "./api.js";
import { TYPES, author, changed, command, failed, link, nothing, numeric, panel, pill, proxyLink, syncPill, table } from "./parts.js";
import { explained, read } from "./envoy.js";
import { ofType, short } from "./proxies.js";

const TABS = { sync: "Sync", upstreams: "Upstreams", envoy: "Envoy", timeline: "Timeline" };
const NAMES = { CDS: "Clusters", LDS: "Listeners", EDS: "Endpoints", RDS: "Routes", SDS: "Secrets" };
/** The types in the order in which a connection meets them. */
const ORDER = ["LDS", "RDS", "CDS", "EDS", "SDS"];
const WHAT = { CDS: "clusters", LDS: "listeners", EDS: "endpoints", RDS: "routes", SDS: "secrets" };
/** Most resources that are shown at a time. */
const RESOURCES = 100;

export function show(page) {
  const [Datacenter, Partition, Node, ID] = page.names;
  if (ID === undefined) {
    page.content.append(h("h1", {}, "Proxy"), nothing("A proxy is named by its datacenter, partition, node and ID."));
    page.ready();
    return;
  }
  const proxy = { Datacenter, Partition, Node, ID };
  const tab = Object.hasOwn(TABS, page.query.tab) ? page.query.tab : "sync";
  const title = h("div", { class: "title" }, h("h1", {}, ID));
  const found = h("div", { class: "stack" });
  page.content.append(
    h("p", { class: "crumbs" }, h("a", { href: link(["proxies"]), "data-key": "crumb" }, "Proxies"), ` / ${Datacenter} / ${Partition} / ${Node}`),
    title,
    h("nav", { class: "tabs", "aria-label": `Views of ${ID}` }, h("ul", {}, Object.entries(TABS).map(([name, text]) => h("li", {},
      h("a", { href: proxyLink(proxy, { tab: name === "sync" ? "" : name }), "data-key": `tab-${name}`, "aria-current": name === tab ? "page" : undefined }, text))))),
    found);
  const name = `${Datacenter}/${Partition}/${Node}/${ID}`;
  const state = { path: ["meshgate", "proxies"], query: { registered: true, proxy: name } };
  live(page, state, (answer, error) => {
    const row = answer?.data[0];
    title.replaceChildren(h("h1", {}, ID), row ? syncPill(row.Sync) : pill("idle", answer ? "unknown" : "no answer"),
      row && h("p", { class: "muted" }, facts(row)));
    if (tab === "sync") found.replaceChildren(sync(row, error, state, name));
  });
  const shown = { upstreams, envoy, timeline }[tab];
  shown?.(page, proxy, name, found);
}

function facts(row) {
  return [
    row.Kind || "not in the catalog", row.Service && row.Kind === "connect-proxy" && `for ${short(row.Service)}`, row.EnvoyVersion && `Envoy ${row.EnvoyVersion}`,
    count(row.Streams, "stream"),
  ].filter(Boolean).join(" · ");
}

function sync(row, error, call, name) {
  // Commands find a proxy among the connected ones and those of the catalog alike.
  const head = { title: "Sync", key: "sync", cli: command("proxy", name), ...call };
  if (error) return panel(head, failed(error));
  if (!row) return panel(head, nothing("There is no such proxy: it is neither connected nor registered."));
  const behind = row.Streams > 0 && row.BehindMs !== undefined && row.Sync !== "synced" ? ` for ${lasting(row.BehindMs)}` : "";
  const rows = TYPES.map((type) => {
    const of = row.Types.find((it) => it.Type === type);
    const [word, tone, what] = ofType(row, type);
    return [
      `${type} ${NAMES[type].toLowerCase()}`, h("span", { class: tone }, word === "–" ? what : word),
      numeric(number(of?.Resources ?? 0)), numeric(number(of?.Acks ?? 0)), numeric(number(of?.Nacks ?? 0)),
    ];
  });
  const right = { class: "number" };
  const refusals = row.Types.filter((of) => of.LastNack);
  return panel(head,
    h("dl", { class: "facts" },
      fact("State", syncPill(row.Sync), behind),
      fact("Revision that it should have", row.Index > 0 ? revision(row.Index) : "nothing was made for it"),
      fact("Revision that it has acknowledged", row.Acked > 0 ? revision(row.Acked) : "none")),
    row.Problems.length > 0 && [h("h3", {}, "What it goes without"), h("ul", { class: "problems" }, row.Problems.map((problem) => h("li", {}, problem)))],
    table("What became of each type", ["Type", "State", ["Resources", right], ["Accepted", right], ["Refused", right]], rows),
    refusals.map(refusal));
}

function fact(name, ...value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function revision(index) {
  return h("a", { href: link(["change", index]), "data-key": `revision-${index}` }, String(index));
}

function refusal(of) {
  const { LastNack: nack } = of;
  return h("div", { class: of.Acked ? "refusal past" : "refusal" },
    h("h3", {}, of.Acked ? `Last refusal of ${of.Type}, since made up for` : `It refuses ${of.Type}`),
    h("p", { class: "mono" }, nack.Message),
    h("p", { class: "muted" }, moment(nack.Time), nack.Resources.length > 0 && ` · in the response: ${nack.Resources.join(", ")}`),
    nack.Causes.length > 0 && h("ul", { class: "plain" }, nack.Causes.map((cause) => h("li", {},
      "because of revision ", revision(cause.Index), ` by ${author(cause.Author)}: `, h("span", { class: "mono" }, cause.Rows.join(", "))))));
}

/** The parameters of calls that know a proxy by its ID alone. */
function scope({ Datacenter, Partition, Node }) {
  return { dc: Datacenter, partition: Partition, node: Node };
}

function inPlace({ Datacenter, Partition, Node }) {
  return ["--datacenter", Datacenter, "--partition", Partition, "--node", Node];
}

function upstreams(page, proxy, name, found) {
  const call = { path: ["meshgate", "explain", "mode", proxy.ID], query: scope(proxy) };
  const one = page.query.upstream;
  const list = h("div", { class: "stack" });
  const detail = h("div", { class: "stack" });
  found.append(list, detail);
  live(page, call, (answer, error) => {
    const cli = command("explain", "mode", ...inPlace(proxy), proxy.ID);
    list.replaceChildren(panel({ title: "Upstreams", key: "upstreams", cli, ...call }, answer ? modes(answer.data, proxy, one) : failed(error)));
  });
  if (!one) return;
  // What a listener is called is more than what commands take: the name, and where it is.
  const asked = { path: ["meshgate", "explain", "upstream", proxy.ID], query: { upstream: one, ...scope(proxy) } };
  live(page, asked, (answer, error) => {
    const cli = command("explain", "upstream", ...inPlace(proxy), proxy.ID, one);
    detail.replaceChildren(panel({ title: `Why ${one} leads where it does`, key: "upstream", cli, ...asked }, answer ? explanation(answer.data) : failed(error)));
  });
}

function modes(all, proxy, one) {
  if (all.length === 0) return nothing("It has no upstreams.");
  const rows = all.map((of) => [
    h("a", { href: proxyLink(proxy, { tab: "upstreams", upstream: of.Upstream }), "data-key": `upstream-${of.Upstream}-${of.Target}`, "aria-current": of.Upstream === one ? "true" : undefined }, of.Upstream),
    h("span", { class: "mono" }, of.Target || "–"), of.Mode || "–", of.Dials || "–",
    of.Problem ? h("span", { class: "bad" }, of.Problem) : of.Because,
  ]);
  return table("Upstreams", ["Upstream", "Target", "Mode", "Dials", "Because"], rows);
}

function explanation(of) {
  const tones = { wins: "good", overridden: "warn", unset: "idle" };
  const ladder = of.Ladder.map((rung) => [
    numeric(String(rung.Rung)), rung.Source, h("span", { class: "mono" }, rung.Field), rung.Value || "–", pill(tones[rung.Status] ?? "idle", rung.Status),
    numeric(rung.ModifyIndex > 0 ? revision(rung.ModifyIndex) : "–"),
  ]);
  const right = { class: "number" };
  return [
    of.Problems.map((problem) => h("p", { class: "notice bad" }, problem)),
    h("p", {}, of.Listens ? `The application dials ${of.Listens}${of.HTTP ? " and speaks HTTP" : ""}.` : "Nothing can dial it."),
    h("h3", {}, "What says the gateway mode, the strongest first"),
    table("Ladder of gateway modes", [["#", right], "Set by", "Field", "Mode", "", ["Revision", right]], ladder),
    of.Notes.map((note) => h("p", { class: "muted" }, note)),
    of.Targets.map(target),
  ];
}

function target(of) {
  const rows = of.Endpoints.map((it) => [
    h("span", { class: "mono" }, it.Address), it.Instance ?? "–", it.Node ?? "–", pill(it.Healthy ? "good" : "bad", it.Healthy ? "healthy" : "unhealthy"),
    it.Failing.join(", "),
  ]);
  const behind = of.Behind ? ` Behind them ${of.Behind.Healthy} of ${of.Behind.Total} instances of ${of.Behind.Service} take traffic.` : "";
  return [
    h("h3", {}, "Target ", h("span", { class: "mono" }, of.Target)),
    h("p", {}, `Mode ${of.Mode || "unset"}, because of ${of.Because}. It dials ${of.Dials}${of.GatewaysOf ? ` of ${of.GatewaysOf}` : ""} at ${of.Addresses}.${behind}`),
    of.SNI && h("p", { class: "muted" }, "SNI ", h("span", { class: "mono" }, of.SNI)),
    of.Omissions.map((omission) => h("p", { class: "notice warn" }, omission)),
    rows.length > 0 ? table(`Endpoints of ${of.Target}`, ["Address", "Instance", "Node", "State", "Failing checks"], rows) : nothing("No endpoint."),
  ];
}

function envoy(page, proxy, name, found) {
  const type = Object.hasOwn(NAMES, page.query.type ?? "") ? page.query.type : undefined;
  // A revision or a time: the page is of then, whenever it is opened.
  const at = page.query.at || undefined;
  let wanted = page.query.search ?? "";
  let all;
  const call = { path: ["meshgate", at ? "at" : "proxy", ...name.split("/")], query: { commit: at } };
  const go = (query) => proxyLink(proxy, { tab: "envoy", type, search: wanted, at, ...query });
  const body = h("div", {});
  const open = new Set();
  const choices = h("ul", { class: "choices", "aria-label": "Type" });
  const then = h("div", {});
  const draw = () => {
    const size = (kind) => all.filter((resource) => resource.Type === kind).length;
    const choice = ([kind, text, many]) => h("li", {}, h("a", { href: go({ type: kind }), "data-key": `type-${kind ?? "all"}`, "aria-current": kind === type ? "true" : undefined }, `${text} ${number(many)}`));
    choices.replaceChildren(...[[undefined, "All", all.length], ...ORDER.map((kind) => [kind, NAMES[kind], size(kind)])].map(choice));
    const text = wanted.toLowerCase();
    const fitting = all.filter((resource) => (type === undefined || resource.Type === type) && resource.Name.toLowerCase().includes(text));
    body.replaceChildren(
      fitting.length === 0 ? nothing("No resource fits.") : h("div", { class: "resources" }, fitting.slice(0, RESOURCES).map((resource) => shown(resource, proxy, open, at))),
      fitting.length > RESOURCES ? h("p", { class: "muted" }, `and ${number(fitting.length - RESOURCES)} more: search for a name`) : "");
  };
  const search = h("label", {}, h("span", { class: "visually-hidden" }, "Search resources by name"),
    h("input", {
      type: "search", placeholder: "Search names ( / )", value: wanted, "data-key": "search", maxlength: "200",
      oninput: (event) => {
        wanted = event.target.value;
        history.replaceState(null, "", go({}));
        if (all) draw();
      },
    }));
  const cli = command(...(at ? ["at", at] : ["proxy"]), name, ...(type ? [WHAT[type]] : ["dump", "-o", "json"]));
  const title = at ? "What it should have had" : "What it should have";
  found.append(panel({ title, key: "envoy", cli, path: call.path, query: { ...call.query, types: type }, tools: [search, choices], wide: true }, at ? h("div", { class: "stack" }, then, body) : body));
  live(page, { ...call, blocks: false }, (answer, error) => {
    if (at && answer) {
      then.replaceChildren(h("p", { class: "notice warn" }, "As it was after revision ", revision(answer.data.Index), ". ",
        h("a", { href: go({ at: "" }), "data-key": "now" }, "Show it as it is now"), answer.data.Problems.length > 0 && ` What could not be made then: ${answer.data.Problems.join("; ")}`));
    }
    all = answer?.data.Resources.sort((left, right) => ORDER.indexOf(left.Type) - ORDER.indexOf(right.Type));
    if (all) draw(); else body.replaceChildren(error?.status === 404 ? nothing(`Nothing is made for it: ${error.message}`) : failed(error));
  });
}

function shown(resource, proxy, open, at) {
  const key = `${resource.Type} ${resource.Name}`;
  const { short: said, lines, isPoor } = read(resource);
  const inside = h("div", { class: "inside" });
  const fill = () => {
    if (inside.childElementCount > 0) return;
    // Where fields come from is known of what there is.
    const kind = at ? undefined : explained(resource.Type);
    const query = { type: kind, resource: resource.Name, ...scope(proxy) };
    const sources = h("div", {});
    inside.append(
      lines.length > 0 ? h("dl", { class: "lines" }, lines.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))) : "",
      kind ? h("button", { type: "button", class: "quiet", "data-key": `why ${key}`, onclick: () => why(sources, proxy, query) }, "Where each field comes from") : "",
      sources,
      h("details", { class: "json" }, h("summary", {}, "JSON"), h("pre", { tabindex: "0" }, JSON.stringify(resource.Resource, undefined, 2))));
  };
  const details = h("details", {
    class: "resource",
    ontoggle: (event) => {
      if (event.target !== details) return;
      if (details.open) { open.add(key); fill(); } else open.delete(key);
    },
  },
  h("summary", { "data-key": key },
    h("span", { class: "type" }, resource.Type), h("span", { class: "mono name" }, resource.Name),
    h("span", { class: isPoor ? "bad" : "muted" }, said)),
  inside);
  if (open.has(key)) { details.open = true; fill(); }
  return details;
}

async function why(into, proxy, query) {
  const call = { path: ["meshgate", "explain", "resource", proxy.ID], query };
  into.replaceChildren(h("p", { class: "muted" }, "Looking…"));
  try {
    const { data } = await get(call.path, call.query);
    const source = (of) => `${of.Source}${of.Field ? ` ${of.Field}` : ""}`;
    const told = (sources) => (sources.length > 0 ? [...new Set(sources.map(source))].join("; ") : "always so");
    const rows = data.Fields.map((field) => [h("span", { class: "mono" }, field.Field), h("span", { class: "mono" }, field.Value), told(field.Sources)]);
    const cli = command("explain", query.type, ...inPlace(proxy), proxy.ID, query.resource);
    into.replaceChildren(panel({ title: "Where it comes from", key: `why-${query.type}-${query.resource}`, cli, ...call },
      h("p", {}, `It is there because of ${told(data.Exists)}.`),
      table("Fields and their sources", ["Field", "Value", "Comes from"], rows),
      data.Cut && h("p", { class: "muted" }, "Not everything was tried: there is too much.")));
  } catch (error) {
    into.replaceChildren(failed(error));
  }
}

function timeline(page, proxy, name, found) {
  const call = { path: ["meshgate", "why-changed", ...name.split("/")] };
  live(page, call, (answer, error) => {
    found.replaceChildren(panel({ title: "What changed it", key: "timeline", cli: command("why-changed", name), ...call }, answer ? told(answer.data, proxy) : failed(error)));
  });
}

function told({ Changes: changes, Events: events }, proxy) {
  const right = { class: "number" };
  const rows = [...changes].reverse().map((change) => [
    moment(change.Time), numeric(revision(change.Index)),
    h("a", { href: proxyLink(proxy, { tab: "envoy", at: change.Index }), "data-key": `then-${change.Index}`, title: "What it should have had then" }, change.Types.join(" ")),
    change.Commits.length > 0 ? h("ul", { class: "plain" }, change.Commits.map((commit) => h("li", {}, changed(commit), h("span", { class: "muted" }, ` by ${author(commit.Author)}`)))) : "it connected",
    change.Refused ? pill("bad", "refused") : change.LiveAfterMs === undefined ? pill("warn", "waiting") : pill("good", `live after ${lasting(change.LiveAfterMs)}`),
  ]);
  const lines = [...events].reverse().map((event) => [moment(event.Time), event.Event, h("span", { class: "note" }, said(event))]);
  return [
    rows.length > 0 ? table("Changes", ["Time", ["Revision", right], "Types", "Because of", "State"], rows) : nothing("No change of it is remembered."),
    h("h3", {}, "Events"),
    lines.length > 0 ? table("Events", ["Time", "Event", "What"], lines) : nothing("None is remembered."),
  ];
}

function said(event) {
  if (event.Event === "connected") return event.EnvoyVersion ? `Envoy ${event.EnvoyVersion}` : "";
  if (event.Event === "disconnected") return `${count(event.Streams, "stream")} left`;
  if (event.Event === "trial") return [`${event.Change} ${event.Step}`, event.Message].filter(Boolean).join(": ");
  return [event.Type, event.Message].filter(Boolean).join(": ");
}
