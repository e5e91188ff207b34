// What Envoy is sent, in words.

const TYPE_OF = { LDS: "listener", CDS: "cluster", EDS: "endpoint", RDS: "route" };

/** What `meshgate explain` calls a resource type; nothing for one that it does not explain. */
export function explained(type) {
  return TYPE_OF[type];
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

/** An address as `host:port`. */
function address(of) {
  const socket = of?.socketAddress;
  if (socket) {
    const host = String(socket.address ?? "");
    return `${host.includes(":") ? `[${host}]` : host}:${socket.portValue ?? socket.namedPort ?? ""}`;
  }
  return of?.pipe?.path ?? "?";
}

function several(size, one, many = `${one}s`) {
  return `${size} ${size === 1 ? one : many}`;
}

/** What a filter chain matches. */
function match(chain) {
  const of = chain.filterChainMatch ?? {};
  const parts = [
    ...list(of.serverNames).map((name) => `SNI ${name}`),
    ...list(of.applicationProtocols).map((name) => `ALPN ${name}`),
    ...list(of.prefixRanges).map((range) => `to ${range.addressPrefix}/${range.prefixLen ?? 0}`),
    ...(of.destinationPort ? [`to port ${of.destinationPort}`] : []),
    ...(of.transportProtocol ? [of.transportProtocol] : []),
  ];
  return parts.length > 0 ? parts.join(", ") : "everything else";
}

/** Where a network filter leads. */
function leads(filter) {
  const config = filter.typedConfig ?? {};
  const kind = String(config["@type"] ?? "").split(".").at(-1);
  if (kind === "TcpProxy") {
    const weighted = list(config.weightedClusters?.clusters).map((of) => `${of.name} (${of.weight ?? 0})`);
    // An empty name stands for what an earlier filter chose.
    return `TCP to ${config.cluster || weighted.join(", ") || "that cluster"}`;
  }
  if (kind === "HttpConnectionManager") {
    const inline = list(config.routeConfig?.virtualHosts).flatMap((host) => list(host.routes)).map(target);
    return `HTTP by routes ${config.rds?.routeConfigName ?? [...new Set(inline)].join(", ")}`;
  }
  if (kind === "RBAC") return `intentions: ${several(Object.keys(config.rules?.policies ?? {}).length, "rule")}, action ${config.rules?.action ?? "ALLOW"}`;
  if (kind === "SniCluster") return "the cluster that the SNI names";
  return kind || filter.name;
}

function target(route) {
  if (route.redirect) return "redirect";
  if (route.directResponse) return `answer ${route.directResponse.status}`;
  const weighted = list(route.route?.weightedClusters?.clusters);
  if (weighted.length > 0) return weighted.map((of) => `${of.name} (${of.weight ?? 0})`).join(", ");
  return route.route?.cluster ?? "?";
}

function requests({ match: of = {} }) {
  const path = of.prefix !== undefined ? `${of.prefix}*` : of.path ?? (of.safeRegex ? `~ ${of.safeRegex.regex}` : of.pathSeparatedPrefix ?? "any path");
  const headers = list(of.headers).map((header) => `header ${header.name}`);
  const parameters = list(of.queryParameters).map((parameter) => `parameter ${parameter.name}`);
  return [path, ...headers, ...parameters].join(", ");
}

function listener(of) {
  const chains = [...list(of.filterChains), ...(of.defaultFilterChain ? [of.defaultFilterChain] : [])];
  const tls = (chain) => (chain.transportSocket ? "mTLS · " : "");
  return {
    short: `${address(of.address)} · ${several(chains.length, "filter chain")}`,
    lines: chains.map((chain) => [chains.length === 1 && !chain.filterChainMatch ? "every connection" : match(chain), tls(chain) + list(chain.filters).map(leads).join(" → ")]),
  };
}

function cluster(of) {
  const kind = of.type ?? (of.edsClusterConfig ? "EDS" : of.clusterType?.name ?? "STATIC");
  const tls = of.transportSocket?.typedConfig;
  const common = tls?.commonTlsContext ?? {};
  const sans = list(common.combinedValidationContext?.defaultValidationContext?.matchTypedSubjectAltNames);
  const inline = list(of.loadAssignment?.endpoints).flatMap((group) => list(group.lbEndpoints)).map((it) => address(it.endpoint?.address));
  return {
    short: `${kind}${tls?.sni && !of.name.endsWith(tls.sni) ? ` · SNI ${tls.sni}` : ""}`,
    lines: [
      ["endpoints", inline.length > 0 ? inline.join(", ") : kind === "EDS" ? "those of its name under Endpoints" : kind],
      ["connect timeout", of.connectTimeout ?? "Envoy's"],
      ...(of.lbPolicy ? [["load balancing", of.lbPolicy]] : []),
      ...(tls?.sni ? [["SNI", tls.sni]] : []),
      ...(sans.length > 0 ? [["may answer", sans.map((san) => san.matcher?.exact ?? san.matcher?.prefix ?? san.matcher?.safeRegex?.regex ?? "?").join(", ")]] : []),
    ],
  };
}

function endpoints(of) {
  const groups = list(of.endpoints);
  const all = groups.flatMap((group) => list(group.lbEndpoints).map((it) => ({ ...it, priority: group.priority ?? 0 })));
  const healthy = all.filter((it) => it.healthStatus === undefined || ["HEALTHY", "UNKNOWN"].includes(it.healthStatus));
  return {
    short: `${healthy.length} of ${several(all.length, "endpoint")} healthy`,
    isPoor: healthy.length === 0,
    lines: all.map((it) => [address(it.endpoint?.address), [
      (it.healthStatus ?? "HEALTHY").toLowerCase(), `weight ${it.loadBalancingWeight ?? 1}`, ...(it.priority ? [`priority ${it.priority}`] : []),
    ].join(" · ")]),
  };
}

function routes(of) {
  const hosts = list(of.virtualHosts);
  const all = hosts.flatMap((host) => list(host.routes).map((route) => [`${list(host.domains).join(", ")} ${requests(route)}`, target(route)]));
  return { short: several(all.length, "route"), lines: all };
}

function secret(of) {
  const chain = of.tlsCertificate?.certificateChain?.inlineString;
  const blocks = (text) => (String(text ?? "").match(/-----BEGIN CERTIFICATE-----/g) ?? []).length;
  if (chain !== undefined) return { short: `certificate and key · chain of ${blocks(chain)}`, lines: [["private key", "never shown"]] };
  const trusted = of.validationContext?.trustedCa?.inlineString;
  return { short: `trusts ${several(blocks(trusted), "root")}`, lines: [] };
}

const READERS = { LDS: listener, CDS: cluster, EDS: endpoints, RDS: routes, SDS: secret };

/** What a resource says: in short, and line by line as name and text. */
export function read({ Type, Resource }) {
  try {
    return READERS[Type]?.(Resource) ?? { short: "", lines: [] };
  } catch {
    // Entries can put anything into resources; the JSON is shown in any case.
    return { short: "see the JSON", lines: [] };
  }
}
