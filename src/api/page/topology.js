// Datacenters as boxes, partitions inside of them, gateways in these, and who dials whom: drawn from what is resolved.

import { count, h, number, svg } from "./dom.js";
import { live } from "./api.js";
import { SYNC, command, failed, link, nothing, numeric, panel, pill, proxyLink, syncPill, table } from "./parts.js";

const PATHS = { none: "directly", local: "through gateways of both sides", remote: "through gateways of the other side" };

/** Measures of the drawing, in its own units. */
const BOX = 268;
const GAP = 176;
const PAD = 14;
const HEAD = 30;
const PORT = 28;
const ROW = 58;
const LANE = 30;
/** Most ways that are drawn; more are lines on lines. */
const DRAWN = 80;

export function show(page) {
  const found = h("div", { class: "stack" });
  page.content.append(h("h1", {}, "Topology"), found);
  const call = { path: ["meshgate", "topology"] };
  // To resolve all upstreams is more work than to look something up.
  live(page, { ...call, wait: 15 }, (answer, error) => {
    found.replaceChildren(...(answer ? drawn(answer.data, call) : [failed(error)]));
  });
}

/** Whether something is at the other end: of all upstreams, some, or none. */
function tone(edge) {
  if (edge.Healthy === edge.Upstreams) return "good";
  return edge.Healthy === 0 ? "bad" : "warn";
}

function isInside(edge) {
  return !edge.ToPeer && edge.FromDatacenter === edge.ToDatacenter && edge.FromPartition === edge.ToPartition;
}

function placeName(datacenter, partition) {
  return `${datacenter}/${partition}`;
}

function destination(edge) {
  return edge.ToPeer ? `peer ${edge.ToPeer}` : placeName(edge.ToDatacenter, edge.ToPartition);
}

function pathLink({ Example: { From, To }, FromDatacenter, FromPartition }) {
  return link(["path"], { from: From, to: To, dc: FromDatacenter, partition: FromPartition });
}

function state(edge) {
  return edge.Healthy === edge.Upstreams ? count(edge.Upstreams, "upstream") : `${number(edge.Healthy)} of ${count(edge.Upstreams, "upstream")}`;
}

function drawn(topology, call) {
  const edges = [...topology.Edges].sort((left, right) => (left.Healthy / left.Upstreams) - (right.Healthy / right.Upstreams));
  const cli = command("topology");
  const between = edges.filter((edge) => !isInside(edge));
  return [
    panel({ title: "Map", key: "map", cli, ...call, wide: true },
      h("div", { class: "drawing", tabindex: "0", role: "region", "aria-label": "Map of datacenters; the tables below say the same" }, draw(topology, between.slice(0, DRAWN))),
      legend(),
      between.length > DRAWN && h("p", { class: "muted" }, `The ${DRAWN} ways that somebody should look at first are drawn; the table has all ${number(between.length)}.`),
      topology.Cut && h("p", { class: "notice warn" }, "There are more upstreams than are resolved for one answer; the counts are those of the first ones.")),
    panel({ title: "Ways", key: "ways", cli, ...call, wide: true }, ways(edges)),
    panel({ title: "Mesh gateways", key: "gateways", cli: command("ps", "--all", "--kind", "mesh-gateway"), path: ["meshgate", "proxies"], query: { registered: true, kinds: "mesh-gateway" }, wide: true }, gateways(topology)),
  ];
}

function legend() {
  const sample = (style, tone_, text) => h("li", {},
    svg("svg", { width: "34", height: "10", "aria-hidden": "true" }, svg("line", { x1: "1", y1: "5", x2: "33", y2: "5", class: `way-line ${style} ${tone_}` })), text);
  return h("ul", { class: "legend" },
    sample("none", "idle", "none: instances are dialled directly"),
    sample("local", "idle", "local: through gateways of both sides"),
    sample("remote", "idle", "remote: through gateways of the other side"),
    sample("local", "good", "all upstreams have a healthy endpoint"), sample("local", "warn", "some have none"), sample("local", "bad", "none has one"));
}

function ways(edges) {
  if (edges.length === 0) return nothing("No sidecar has an upstream.");
  const rows = edges.map((edge, position) => [
    placeName(edge.FromDatacenter, edge.FromPartition), isInside(edge) ? h("span", { class: "muted" }, "same place") : destination(edge),
    isInside(edge) ? "–" : edge.Mode, isInside(edge) ? "directly" : PATHS[edge.Mode], numeric(number(edge.Upstreams)),
    pill(tone(edge), edge.Healthy === edge.Upstreams ? "healthy" : `${number(edge.Upstreams - edge.Healthy)} without a healthy endpoint`),
    h("a", { href: pathLink(edge), "data-key": `way-${position}` }, `${edge.Example.From.split("/").at(-1)} → ${edge.Example.To.split("/").at(-1)}`),
  ]);
  return table("Ways between places", ["From", "To", "Mode", "How", ["Upstreams", { class: "number" }], "State", "Path of one of them"], rows);
}

function gateways(topology) {
  const rows = topology.Datacenters.flatMap((datacenter) => datacenter.Partitions.flatMap((partition) => partition.Gateways.map((gateway) => [
    h("a", { href: gatewayLink(datacenter, partition, gateway), "data-key": `gateway-${datacenter.Name}/${partition.Name}/${gateway.Node}/${gateway.ID}` }, gateway.ID),
    placeName(datacenter.Name, partition.Name), h("span", { class: "mono" }, gateway.LAN),
    gateway.SaysWAN ? h("span", { class: "mono" }, gateway.WAN) : h("span", { class: "muted" }, "says none: the LAN address stands for it"),
    pill(gateway.Healthy ? "good" : "bad", gateway.Healthy ? "healthy" : "unhealthy", gateway.Failing.join(", ")), gateway.Failing.join(", "), syncPill(gateway.Sync),
  ])));
  if (rows.length === 0) return nothing("No mesh gateway is registered.");
  return table("Mesh gateways", ["Gateway", "Where", "LAN address", "WAN address", "Health", "Failing checks", "Configuration"], rows);
}

function gatewayLink(datacenter, partition, gateway) {
  return proxyLink({ Datacenter: datacenter.Name, Partition: partition.Name, Node: gateway.Node, ID: gateway.ID });
}

/** A text that fits into a width, with all of it as its title. */
function fitting(text, width, attributes, size = 7) {
  const most = Math.max(Math.floor(width / size), 2);
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return svg("text", attributes, cut, cut === text ? undefined : svg("title", {}, text));
}

/** Where each place is, and the ends of ways at it. */
class Place {
  constructor(datacenter, partition) {
    this.datacenter = datacenter;
    this.partition = partition;
    this.key = placeName(datacenter.Name, partition.Name);
    /** The ends on each side of each part: those of sidecars, and those of gateways. */
    this.ends = { sidecars: { left: [], right: [] }, gateways: { left: [], right: [] } };
    this.relays = [];
  }

  measure() {
    const most = (part) => Math.max(this.ends[part].left.length, this.ends[part].right.length) * PORT;
    const nodes = Math.max(this.partition.Gateways.length, 1) + (this.partition.MoreGateways > 0 ? 1 : 0);
    this.sidecarsHeight = Math.max(48, most("sidecars") + 8);
    this.gatewaysHeight = Math.max(nodes * ROW + 12, most("gateways") + 8);
    this.height = HEAD + this.sidecarsHeight + this.gatewaysHeight + 10;
  }

  /** Gives every end its height, in the order of what is at the other end, so that ways cross as little as they can. */
  settle() {
    const parts = { sidecars: [this.y + HEAD, this.sidecarsHeight], gateways: [this.y + HEAD + this.sidecarsHeight + 4, this.gatewaysHeight] };
    for (const [part, [top, height]] of Object.entries(parts)) {
      for (const side of ["left", "right"]) {
        const ends = this.ends[part][side];
        ends.sort((left, right) => left.order - right.order);
        ends.forEach((end, position) => {
          end.x = side === "left" ? this.x : this.x + this.width;
          end.y = top + (height * (position + 1)) / (ends.length + 1);
          end.side = side;
        });
      }
    }
  }
}

function draw(topology, edges) {
  const columns = topology.Datacenters.map((datacenter) => ({ datacenter, places: datacenter.Partitions.map((partition) => new Place(datacenter, partition)) }));
  const peers = new Map(topology.Peers.map((peer) => [`${peer.Datacenter}/${peer.Partition}/${peer.Name}`, peer]));
  const places = new Map();
  columns.forEach((column, position) => column.places.forEach((place) => {
    place.column = position;
    place.width = BOX - 2 * PAD;
    places.set(place.key, place);
  }));
  const peerNodes = [...peers.entries()].map(([key, peer], position) => ({ key, peer, column: columns.length, position, ends: [] }));
  const peerAt = new Map(peerNodes.map((node) => [node.key, node]));

  const ways = edges.map((edge) => join(edge, places, peerAt)).filter((way) => way !== undefined);
  const lanes = ways.filter((way) => way.isOver);
  lanes.forEach((way, position) => { way.lane = position; });
  const roof = 12 + lanes.length * LANE;

  columns.forEach((column, position) => {
    column.x = 16 + position * (BOX + GAP);
    column.y = roof + 8;
    let y = column.y + HEAD + 6;
    for (const place of column.places) {
      place.x = column.x + PAD;
      place.y = y;
      place.measure();
      y += place.height + PAD;
    }
    column.height = y - column.y;
  });
  const peerX = 16 + columns.length * (BOX + GAP);
  peerNodes.forEach((node, position) => { node.x = peerX; node.y = roof + 44 + position * 76; node.width = 160; node.height = 56; });
  const order = (way, end) => {
    const other = end === way.start ? way.to : way.from;
    // What leaves over the roof leaves at the top.
    return way.isOver ? -1000 + way.lane : other.y + (end.part === "gateways" ? 0.5 : 0);
  };
  for (const way of ways) {
    way.start.order = order(way, way.start);
    if (way.end) way.end.order = order(way, way.end);
  }
  places.forEach((place) => place.settle());
  peerNodes.forEach((node) => node.ends.forEach((end, position) => {
    Object.assign(end, { x: node.x, y: node.y + (node.height * (position + 1)) / (node.ends.length + 1), side: "left" });
  }));

  const width = (peerNodes.length > 0 ? peerX + 176 : 16 + columns.length * (BOX + GAP) - GAP + 16) + (ways.some((way) => way.isLoop && way.from.column === columns.length - 1) ? 130 : 0);
  const height = Math.max(...columns.map((column) => column.y + column.height), ...peerNodes.map((node) => node.y + node.height), 120) + 16;
  const picture = svg("svg", { class: "map", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Map" },
    svg("defs", {}, ["good", "warn", "bad"].map(arrow)),
    columns.map(datacenterBox),
    [...places.values()].map(placeBox),
    peerNodes.map(peerBox),
    ways.map((way) => wayLine(way)),
    ways.map((way) => wayLabel(way)));
  // It shrinks a little where there is no place for it, and is scrolled where that is not enough.
  picture.style.minWidth = `${Math.min(width, Math.max(width * 0.72, 620))}px`;
  return picture;
}

/** A way between places that are on the map: from sidecars, or from the gateways of their place, to sidecars or gateways. */
function join(edge, places, peers) {
  const from = places.get(placeName(edge.FromDatacenter, edge.FromPartition));
  const to = edge.ToPeer ? peers.get(`${edge.FromDatacenter}/${edge.FromPartition}/${edge.ToPeer}`) : places.get(placeName(edge.ToDatacenter, edge.ToPartition));
  if (!from || !to) return undefined;
  const isLoop = from.column === to.column;
  const isOver = Math.abs(from.column - to.column) > 1;
  const side = isLoop || to.column > from.column ? "right" : "left";
  const opposite = isLoop ? "right" : side === "right" ? "left" : "right";
  const start = { part: edge.Mode === "local" ? "gateways" : "sidecars" };
  const end = { part: edge.Mode === "none" ? "sidecars" : "gateways" };
  from.ends[start.part][side].push(start);
  if (edge.ToPeer) to.ends.push(end); else to.ends[end.part][opposite].push(end);
  if (edge.Mode === "local") from.relays.push(tone(edge));
  return { edge, from, to, start, end, isLoop, isOver };
}

function arrow(of) {
  return svg("marker", { id: `arrow-${of}`, class: `arrow ${of}`, viewBox: "0 0 8 8", refX: "7", refY: "4", markerWidth: "11", markerHeight: "11", markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 0.6 L7.4 4 L0 7.4 z" }));
}

function datacenterBox({ datacenter, x, y, height }) {
  return svg("g", { class: "datacenter" },
    svg("rect", { x, y, width: BOX, height, rx: 10 }),
    fitting(datacenter.Name, BOX - 120, { x: x + PAD, y: y + 23, class: "name" }, 9),
    svg("text", { x: x + BOX - PAD, y: y + 23, class: "small", "text-anchor": "end" }, datacenter.Hosted ? "hosted here" : "elsewhere"));
}

function placeBox(place) {
  const { partition, datacenter, x, y, width, height, sidecarsHeight } = place;
  const inner = x + 12;
  const gatewaysTop = y + HEAD + sidecarsHeight + 4;
  const sidecars = partition.Sidecars === 0 ? "no sidecars"
    : `${count(partition.Sidecars, "sidecar")}, ${partition.SidecarsConnected === partition.Sidecars ? "all" : number(partition.SidecarsConnected)} connected`;
  return svg("g", { class: "place" },
    svg("rect", { x, y, width, height, rx: 8 }),
    fitting(partition.Name, width - 100, { x: inner, y: y + 20, class: "partition" }, 8),
    svg("text", { x: x + width - 12, y: y + 20, class: "small", "text-anchor": "end" }, count(partition.Services, "service")),
    svg("a", { href: link(["proxies"], { place: place.key, kinds: "connect-proxy" }), "data-key": `map-sidecars-${place.key}`, class: "sidecars" },
      svg("rect", { x: x + 8, y: y + HEAD, width: width - 16, height: sidecarsHeight - 4, rx: 6 }),
      svg("text", { x: inner + 8, y: y + HEAD + 26 }, sidecars)),
    place.relays.length > 0 && svg("path", { class: `way-line local relay ${worst(place.relays)}`, "marker-end": `url(#arrow-${worst(place.relays)})`, d: `M${x + width - 34} ${y + HEAD + sidecarsHeight - 16} V${gatewaysTop + 5}` }),
    partition.Gateways.length === 0 && svg("text", { x: inner + 8, y: gatewaysTop + 28, class: "small" }, "no mesh gateway"),
    partition.Gateways.map((gateway, position) => gatewayNode(datacenter, partition, gateway, x + 8, gatewaysTop + 6 + position * ROW, width - 16)),
    partition.MoreGateways > 0 && svg("text", { x: inner + 8, y: gatewaysTop + 30 + partition.Gateways.length * ROW, class: "small" }, `and ${number(partition.MoreGateways)} more`));
}

function worst(tones) {
  return ["bad", "warn", "good"].find((of) => tones.includes(of));
}

function gatewayNode(datacenter, partition, gateway, x, y, width) {
  const isFine = gateway.Healthy && gateway.Sync === "synced";
  const of = !gateway.Healthy ? "bad" : isFine ? "good" : SYNC[gateway.Sync]?.tone ?? "idle";
  const said = gateway.Healthy ? SYNC[gateway.Sync]?.name ?? gateway.Sync : "unhealthy";
  const wan = gateway.SaysWAN ? gateway.WAN : "none";
  const addresses = `LAN ${gateway.LAN}, WAN ${wan}`;
  const label = `Mesh gateway ${gateway.ID}: ${gateway.Healthy ? "healthy" : "unhealthy"}, ${SYNC[gateway.Sync]?.name ?? gateway.Sync}, ${addresses}`;
  return svg("a", { href: gatewayLink(datacenter, partition, gateway), class: `gateway ${of}`, "data-key": `map-${datacenter.Name}/${partition.Name}/${gateway.Node}/${gateway.ID}`, "aria-label": label },
    svg("title", {}, label),
    svg("rect", { x, y, width, height: ROW - 8, rx: 6 }),
    svg("circle", { cx: x + 14, cy: y + 13, r: 4.5 }),
    fitting(gateway.ID, width - 40 - said.length * 6.4, { x: x + 26, y: y + 17, class: "id" }),
    svg("text", { x: x + width - 8, y: y + 17, class: "small", "text-anchor": "end" }, said),
    fitting(`lan ${gateway.LAN}`, width - 36, { x: x + 26, y: y + 30, class: "address" }, 6.3),
    fitting(`wan ${wan}`, width - 36, { x: x + 26, y: y + 43, class: "address" }, 6.3));
}

function peerBox({ peer, x, y, width, height }) {
  return svg("g", { class: "peer" },
    svg("rect", { x, y, width, height, rx: 8 }),
    fitting(`peer ${peer.Name}`, width - 24, { x: x + 12, y: y + 23, class: "partition" }, 8),
    svg("text", { x: x + 12, y: y + 42, class: "small" }, peer.State.toLowerCase()));
}

/** The line of a way, and where its label stands. */
function course({ start, end, isLoop, isOver, lane }) {
  const out = (of) => (of.side === "left" ? -1 : 1);
  if (isOver) {
    const y = 12 + lane * LANE + 10;
    const reach = 34 + lane * 5;
    const [a, b] = [start.x + out(start) * reach, end.x + out(end) * reach];
    const r = 10;
    const turn = b > a ? 1 : -1;
    const d = `M${start.x} ${start.y} H${a - out(start) * r} Q${a} ${start.y} ${a} ${start.y - r} V${y + r} Q${a} ${y} ${a + turn * r} ${y} H${b - turn * r} Q${b} ${y} ${b} ${y + r} V${end.y - r} Q${b} ${end.y} ${b - out(end) * r} ${end.y} H${end.x}`;
    return { d, x: (a + b) / 2, y };
  }
  const bend = isLoop ? 90 : GAP * 0.5;
  const [a, b] = [start.x + out(start) * bend, end.x + out(end) * bend];
  const d = `M${start.x} ${start.y} C${a} ${start.y} ${b} ${end.y} ${end.x} ${end.y}`;
  // The middle of a Bézier curve.
  return { d, x: (start.x + 3 * a + 3 * b + end.x) / 8, y: (start.y + end.y) / 2 };
}

function wayLine(way) {
  const of = tone(way.edge);
  return svg("path", { class: `way-line ${way.edge.Mode} ${of}`, "marker-end": `url(#arrow-${of})`, d: course(way).d });
}

function wayLabel(way) {
  const { edge } = way;
  const { x, y } = course(way);
  const text = `${edge.Mode} · ${edge.Healthy === edge.Upstreams ? number(edge.Upstreams) : `${number(edge.Healthy)}/${number(edge.Upstreams)}`}`;
  const width = text.length * 6.6 + 16;
  const label = `${placeName(edge.FromDatacenter, edge.FromPartition)} to ${destination(edge)}, mode ${edge.Mode}, ${state(edge)} with a healthy endpoint: look at the path`;
  return svg("a", { href: pathLink(edge), class: `way-label ${tone(edge)}`, "aria-label": label, "data-key": `map-way-${edge.FromDatacenter}/${edge.FromPartition}-${destination(edge)}-${edge.Mode}` },
    svg("title", {}, label),
    svg("rect", { x: x - width / 2, y: y - 10, width, height: 20, rx: 10 }),
    svg("text", { x, y: y + 4, "text-anchor": "middle" }, text));
}
