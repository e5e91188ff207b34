// The way from a service to another one, link by link.

import { h } from "./dom.js";
import { live } from "./api.js";
import { command, failed, link, panel, pill, table } from "./parts.js";

const TONES = { ok: "good", broken: "bad", unknown: "warn", warning: "warn" };
const OUTCOMES = { arrives: "good", stops: "bad", unknown: "warn" };

export function show(page) {
  const { from = "", to = "", http = "", dc, partition } = page.query;
  page.content.append(h("h1", {}, "Path"), question({ from, to, http, dc, partition }));
  if (!from || !to) {
    page.content.append(h("p", { class: "muted" }, "Say which service calls which one: the nine links between them are looked at, and the first broken one is told with what repairs it."));
    page.ready();
    return;
  }
  const found = h("div", { class: "stack" });
  page.content.append(found);
  const call = { path: ["meshgate", "path"], query: { from, to, http, dc, partition } };
  const place = [...(dc ? ["--datacenter", dc] : []), ...(partition ? ["--partition", partition] : [])];
  const cli = command("path", ...place, ...(http ? ["--http", http] : []), from, to);
  live(page, call, (answer, error) => {
    found.replaceChildren(panel({ title: `${from} → ${to}`, key: "path", cli, ...call }, answer ? drawn(answer.data) : failed(error)));
  });
}

function question({ from, to, http, dc, partition }) {
  const field = (name, label, value, placeholder) => h("label", {}, h("span", {}, label),
    h("input", { name, value, placeholder, "data-key": `path-${name}`, autocomplete: "off", spellcheck: "false", maxlength: "500" }));
  return h("form", {
    class: "toolbar",
    onsubmit: (event) => {
      event.preventDefault();
      const asked = Object.fromEntries(new FormData(event.target));
      location.hash = link(["path"], { ...asked, dc, partition });
    },
  },
  field("from", "From", from, "web, web@dc1 or team/web"),
  field("to", "To", to, "api@dc2"),
  field("http", "Request", http, "GET / (optional)"),
  h("button", { type: "submit", "data-key": "path-look" }, "Look"));
}

function drawn(answer) {
  const rows = answer.Links.map((of) => h("tr", { class: of.Number === answer.FirstBroken ? "first-broken" : undefined },
    h("td", { class: "number" }, String(of.Number)),
    h("th", { scope: "row" }, of.Name),
    h("td", {}, pill(TONES[of.Status] ?? "idle", of.Status)),
    h("td", {}, of.Detail, of.ID && h("span", { class: "under" }, of.ID, of.BecauseOf ? ` because of link ${of.BecauseOf}` : ""))));
  return [
    h("div", { class: `verdict ${answer.Ok ? "good" : "bad"}` },
      h("p", { class: "said" }, answer.Ok ? "Every link holds" : `Broken at link ${answer.FirstBroken}`),
      h("p", { class: "muted" }, `${answer.From} → ${answer.To}${answer.Protocol ? ` · ${answer.Protocol}` : ""}${answer.Listens ? ` · the application dials ${answer.Listens}` : ""}`)),
    answer.Fix && h("p", { class: "fix" }, h("strong", {}, "Fix: "), h("code", {}, answer.Fix)),
    table("Links", [["#", { class: "number" }], "Link", "State", "What is known"], rows),
    answer.Ways.length > 0 && [h("h3", {}, "What the configurations do"), answer.Ways.map(way)],
  ];
}

function way(of) {
  const hop = (at) => h("li", {},
    h("span", { class: "mono" }, at.Proxy),
    at.Dials && h("span", {}, " dials ", h("span", { class: "mono" }, at.Dials)),
    at.Cluster && h("span", { class: "under" }, `cluster ${at.Cluster}`),
    at.SNI && at.SNI !== at.Cluster && h("span", { class: "under" }, `SNI ${at.SNI}`));
  return h("div", { class: "way" },
    h("ol", { class: "hops" }, of.Hops.map(hop)),
    h("p", {}, pill(OUTCOMES[of.Outcome] ?? "idle", of.Outcome), ` ${of.End}`));
}
