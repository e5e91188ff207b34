// What was changed, by whom, and how far it has come.

import { count, h, moment, number } from "./dom.js";
import { live } from "./api.js";
import { author, command, commits, failed, link, nothing, panel, pill, propagation, proxyLink, table } from "./parts.js";

const PAGE = 50;
const CLASSES = { "": "Everything", config: "Config entries", catalog: "Catalog", health: "Health", certificates: "Certificates" };

export function show(page) {
  const { class: kind = "", before, entry } = page.query;
  const query = { class: kind, before, entry, limit: PAGE };
  const call = { path: ["meshgate", "history"], query };
  const found = h("div", { class: "stack" });
  const choices = Object.entries(CLASSES).map(([name, text]) => h("li", {},
    h("a", { href: link(["changes"], { class: name }), "data-key": `class-${name}`, "aria-current": name === kind ? "true" : undefined }, text)));
  page.content.append(h("h1", {}, "Changes"), h("div", { class: "toolbar" },
    h("ul", { class: "choices", "aria-label": "What it is about" }, choices),
    entry && h("a", { class: "filter", href: link(["changes"], { class: kind }), "data-key": "entry" }, `of ${entry} ✕`)), found);
  const cli = command("history", ...(kind ? ["--class", kind] : []), ...(before ? ["--before", before] : []), "--limit", String(PAGE), entry);
  live(page, call, (answer, error) => {
    found.replaceChildren(panel({ title: "Changes", key: "changes", cli, ...call, wide: true }, answer ? list(answer.data, { kind, before, entry }) : failed(error)));
  });
}

function list({ Commits: found, HasMore: hasMore, Kept: kept }, { kind, before, entry }) {
  const columns = [["Revision", { class: "number" }], "Time", "What", "By", "Propagation"];
  const older = found.at(-1)?.Index;
  const all = kept.reduce((sum, of) => sum + of.Commits, 0);
  return [
    found.length > 0 ? table("Changes", columns, commits(found)) : nothing("Nothing that is remembered fits."),
    h("nav", { class: "pager", "aria-label": "Pages of changes" },
      h("span", { class: "range" }, `${count(all, "commit")} remembered`),
      before && h("a", { href: link(["changes"], { class: kind, entry }), "data-key": "newest" }, "Newest"),
      hasMore && older && h("a", { href: link(["changes"], { class: kind, entry, before: older }), "data-key": "older" }, "Older")),
  ];
}

export function showOne(page) {
  const [index] = page.names;
  const found = h("div", { class: "stack" });
  const reach = h("div", { class: "stack" });
  page.content.append(h("p", { class: "crumbs" }, h("a", { href: link(["changes"]), "data-key": "crumb" }, "Changes")), h("h1", {}, `Change ${index ?? ""}`), found, reach);
  const call = { path: ["meshgate", "history", index ?? ""] };
  live(page, { ...call, blocks: false }, (answer, error) => {
    found.replaceChildren(panel({ title: "What it changed", key: "change", cli: command("history", index ?? ""), ...call }, answer ? commit(answer.data) : failed(error)));
  });
  const wait = { path: ["meshgate", "wait"], query: { revision: index } };
  live(page, { ...wait, blocks: false }, (answer, error) => {
    const cli = command("wait", "--revision", index ?? "");
    reach.replaceChildren(panel({ title: "Who has it", key: "wait", cli, ...wait }, answer ? reached(answer.data) : failed(error)));
  });
}

function commit(of) {
  return [
    h("dl", { class: "facts" },
      h("div", {}, h("dt", {}, "When"), h("dd", {}, moment(of.Time))),
      h("div", {}, h("dt", {}, "By"), h("dd", {}, author(of.Author))),
      h("div", {}, h("dt", {}, "About"), h("dd", {}, of.Class)),
      h("div", {}, h("dt", {}, "Propagation"), h("dd", {}, propagation(of.Propagation)))),
    of.Rows.map((row) => changedRow(row, of)),
    of.MoreRows > 0 && h("p", { class: "muted" }, `and ${number(of.MoreRows)} more rows`),
  ];
}

function changedRow(row, of) {
  const fields = row.Fields.map((field) => [
    h("span", { class: "mono" }, field.Path), h("td", { class: "mono removed" }, value(field.Old)), h("td", { class: "mono added" }, value(field.New)),
  ]);
  // Only config entries can go back to what they were.
  const isEntry = of.Class === "config" && row.Name.includes("/");
  const back = isEntry && command("rollback", row.Name, "--to", String(of.Index - 1), "--dry-run");
  return h("div", { class: "changed" },
    h("h3", {}, h("span", { class: "mono" }, row.Name), " ", pill(row.Action === "removed" ? "bad" : row.Action === "created" ? "good" : "idle", row.Action)),
    fields.length > 0 ? table(`Fields of ${row.Name}`, ["Field", "Before", "After"], fields) : h("p", { class: "muted" }, "Its content is not shown."),
    back && h("p", { class: "muted" }, "What going back would do: ", h("code", {}, back), " · ",
      h("a", { href: link(["changes"], { entry: row.Name, class: "config" }), "data-key": `entry-${row.Name}` }, "all its changes")));
}

function value(of) {
  if (of === undefined || of === null) return "–";
  return typeof of === "string" ? of : JSON.stringify(of);
}

function reached(of) {
  const tones = { waiting: "warn", refused: "bad", unmade: "bad" };
  const rows = of.Open.map((proxy) => [
    h("a", { href: proxyLink(proxy), "data-key": `open-${proxy.Node}/${proxy.ID}` }, proxy.ID), `${proxy.Datacenter}/${proxy.Partition}`,
    pill(tones[proxy.State] ?? "idle", proxy.State), proxy.Reason,
  ]);
  const said = of.Live ? `Live: each of the ${count(of.Reached, "connected proxy", "connected proxies")} that it reaches has acknowledged it.`
    : `${number(of.Acknowledged)} of ${count(of.Reached, "connected proxy", "connected proxies")} that it reaches ${of.Acknowledged === 1 ? "has" : "have"} acknowledged it.`;
  const text = of.Live && of.Reached === 0 ? "It reaches no connected proxy." : said;
  return [h("p", {}, pill(of.Live ? "good" : "warn", of.Live ? "live" : "not live yet"), ` ${text}`),
    rows.length > 0 && table("Proxies that do not have it", ["Proxy", "Where", "State", "Why"], rows.slice(0, 200)),
    rows.length > 200 && h("p", { class: "muted" }, `and ${number(rows.length - 200)} more`)];
}
