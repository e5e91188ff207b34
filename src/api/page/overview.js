// Is it all right? On one screen.

import { count, h, moment, number, until } from "./dom.js";
import { live } from "./api.js";
import { SYNC, bar, changed, command, commits, failed, link, nothing, numeric, panel, pill, propagation, table } from "./parts.js";

/** Most problems that are listed. */
const PROBLEMS = 50;
/** Commits that are shown. */
const CHANGES = 20;

export function show(page) {
  const status = h("div", { class: "stack" });
  const changes = h("div", { class: "stack" });
  page.content.append(h("h1", { class: "visually-hidden" }, "Overview"), status, changes);
  const call = { path: ["meshgate", "status"] };
  live(page, call, (answer, error) => {
    status.replaceChildren(...(answer ? drawn(answer.data, call) : [failed(error)]));
  });
  const history = { path: ["meshgate", "history"], query: { class: "config", limit: CHANGES } };
  live(page, history, (answer, error) => {
    changes.replaceChildren(panel(
      {
        title: "Last changes", key: "changes", cli: command("history", "--class", "config"), ...history,
        tools: h("a", { href: link(["changes"]), "data-key": "all-changes" }, "All changes"),
      },
      answer ? list(answer.data.Commits) : failed(error)));
  });
}

function list(found) {
  if (found.length === 0) return nothing("Nothing was written yet.");
  const columns = [["Revision", { class: "number" }], "Time", "What", "By", "Propagation"];
  return table("Last changes", columns, commits(found));
}

function drawn(status, call) {
  return [
    panel({ title: "Status", key: "status", cli: command("status"), ...call }, verdict(status), tiles(status), problems(status)),
    panel({ title: "Datacenters and peers", key: "datacenters", cli: command("status", "-o", "json"), ...call }, places(status)),
  ];
}

function verdict(status) {
  const found = status.Problems.length;
  const tone = found === 0 ? "good" : status.Ready ? "warn" : "bad";
  const said = found === 0 ? "All good" : `${count(found, "thing")} to look at`;
  return h("div", { class: `verdict ${tone}` },
    h("p", { class: "said" }, said),
    h("p", { class: "muted" },
      `meshgate ${status.Version} · ${status.Datacenter} · revision ${status.Index}`,
      !status.Ready && ` · waiting for ${status.WaitingFor.join(", ")}`));
}

function problems(status) {
  const { Problems: all } = status;
  if (all.length === 0) return undefined;
  return [
    h("h3", {}, "To look at"),
    h("ul", { class: "problems" }, all.slice(0, PROBLEMS).map((problem) => h("li", {}, problem))),
    all.length > PROBLEMS && h("p", { class: "muted" }, `and ${number(all.length - PROBLEMS)} more; `,
      h("a", { href: link(["proxies"], { sort: "sync" }) }, "the proxies, the worst first")),
  ];
}

function tile(title, value, ...rest) {
  return h("div", { class: "tile" }, h("h3", {}, title), h("p", { class: "value" }, value), rest);
}

function tiles(status) {
  const { Proxies: proxies, Datacenters: datacenters, Certificates: certificates } = status;
  const total = proxies.Synced + proxies.Behind + proxies.Refused + proxies.Disconnected;
  const sizes = { synced: proxies.Synced, behind: proxies.Behind, refused: proxies.Refused, disconnected: proxies.Disconnected };
  const sum = (name) => datacenters.reduce((all, of) => all + of[name], 0);
  const [gateways, healthy] = [sum("Gateways"), sum("GatewaysHealthy")];
  const legend = Object.entries(sizes).map(([sync, size]) => h("li", {},
    h("a", { href: link(["proxies"], { sync }), "data-key": `count-${sync}`, class: `key ${SYNC[sync].tone}` },
      `${number(size)} ${SYNC[sync].name}`)));
  const last = status.LastChange;
  return h("div", { class: "tiles" },
    h("div", { class: "tile broad" },
      h("h3", {}, "Proxies"),
      h("p", { class: "value" }, number(total)),
      bar(Object.entries(sizes).map(([sync, size]) => [size, SYNC[sync].tone]),
        Object.entries(sizes).map(([sync, size]) => `${number(size)} ${SYNC[sync].name}`).join(", ")),
      h("ul", { class: "legend" }, legend),
      proxies.WithProblems > 0 && h("p", {},
        h("a", { href: link(["proxies"], { problems: "true" }), "data-key": "with-problems" },
          `${number(proxies.WithProblems)} of them without a part of their configuration`))),
    tile("Mesh gateways", [number(healthy), h("span", { class: "of" }, ` of ${number(gateways)}`)],
      h("p", { class: "muted" }, gateways === 0 ? "none is registered" : "take connections"),
      h("p", {}, h("a", { href: link(["topology"]), "data-key": "to-topology" }, "Topology"))),
    tile("Certificates", number(certificates.Leaves),
      h("p", { class: "muted" }, certificates.NextLeaf ? ["next leaf expires in ", until(certificates.NextLeaf)] : "no leaf was issued"),
      h("p", { class: "muted" }, certificates.ActiveRoot ? ["root expires in ", until(certificates.ActiveRoot)] : "no root")),
    tile("Last change", last ? h("a", { href: link(["change", last.Index]), "data-key": "last-change" }, String(last.Index)) : "none",
      last && [h("p", {}, changed(last)), h("p", { class: "muted" }, moment(last.Time)), propagation(last.Propagation)]));
}

function places(status) {
  const rows = status.Datacenters.map((of) => [
    [h("a", { href: link(["proxies"], { place: of.Name }), "data-key": `datacenter-${of.Name}` }, of.Name),
      of.Name === status.Datacenter && h("span", { class: "under" }, "own datacenter")],
    numeric(number(of.Partitions)), numeric(number(of.Nodes)),
    numeric(`${number(of.GatewaysHealthy)}/${number(of.Gateways)}`),
    of.Gateways === 0 ? pill("idle", "no gateway")
      : of.GatewaysHealthy === of.Gateways ? pill("good", "reachable")
        : of.GatewaysHealthy > 0 ? pill("warn", "degraded") : pill("bad", "no gateway takes connections"),
  ]);
  const right = { class: "number" };
  const columns = ["Datacenter", ["Partitions", right], ["Nodes", right], ["Gateways", right], "State"];
  const peers = status.Peerings.map((peer) => [
    peer.Name, `${peer.Datacenter}/${peer.Partition}`, pill(peer.State === "ACTIVE" ? "good" : "warn", peer.State.toLowerCase()),
  ]);
  return [
    table("Datacenters", columns, rows),
    peers.length > 0 && table("Peers", ["Peer", "Of", "State"], peers),
  ];
}
