//! Random registrations and config entries, as the JSON that clients send.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;
use serde_json::{Map, Value, json};

type Field = (&'static str, BoxedStrategy<Value>);

/// An object with some of these fields.
fn object(fields: Vec<Field>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let optional: Vec<_> = values.into_iter().map(option::of).collect();
    optional
        .prop_map(move |values| {
            let members = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            Value::Object(members.collect())
        })
        .boxed()
}

/// Names, and what tempts writers and readers of three formats.
pub(crate) fn any_text() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,8}",
        ".{0,12}",
        r#"["\\$%{}\n\r\t #:'|>&*!,-]{0,6}"#,
        select(TEMPTING).prop_map(Into::into)
    ]
    .boxed()
}

/// Texts that mean something else without quotes.
const TEMPTING: &[&str] =
    &["", "no", "yes", "true", "null", "~", "1.20", "0644", "1e3", "0x1f", "<<EOF", "- a", "---", "a: b", ".inf"];

fn text() -> BoxedStrategy<Value> {
    any_text().prop_map(Value::from).boxed()
}

fn name() -> BoxedStrategy<Value> {
    "[a-z][a-z0-9-]{0,8}".prop_map(Value::from).boxed()
}

fn one_of(choices: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(choices).prop_map(Value::from).boxed()
}

fn flag() -> BoxedStrategy<Value> {
    any::<bool>().prop_map(Value::from).boxed()
}

fn port() -> BoxedStrategy<Value> {
    any::<u16>().prop_map(Value::from).boxed()
}

fn count() -> BoxedStrategy<Value> {
    any::<u32>().prop_map(Value::from).boxed()
}

fn whole() -> BoxedStrategy<Value> {
    any::<i64>().prop_map(Value::from).boxed()
}

/// As text or in nanoseconds.
fn duration() -> BoxedStrategy<Value> {
    prop_oneof![
        (-1_000_000_000_000_000..1_000_000_000_000_000_i64).prop_map(Value::from),
        (0..10_000u32, select(&["ns", "us", "ms", "s", "m", "h"][..]))
            .prop_map(|(n, unit)| format!("{n}{unit}").into()),
    ]
    .boxed()
}

fn list(items: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    vec(items, 0..3).prop_map(Value::from).boxed()
}

fn map(values: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    btree_map(any_text(), values, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())).boxed()
}

/// Any JSON object, but for lists of one object, which mean the object itself.
fn opaque() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        flag(),
        whole(),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|f: f64| json!(f)),
        text(),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        let several = vec(inner.clone(), 0..3)
            .prop_filter("a list of one object is the object", |items| !matches!(items.as_slice(), [Value::Object(_)]));
        prop_oneof![several.prop_map(Value::from), map(inner.boxed())]
    });
    map(value.boxed())
}

fn mesh_gateway() -> Field {
    ("MeshGateway", object(vec![("Mode", one_of(&["", "none", "local", "remote"]))]))
}

fn proxy_mode() -> Field {
    ("Mode", one_of(&["", "direct", "transparent"]))
}

fn transparent_proxy() -> Field {
    ("TransparentProxy", object(vec![("OutboundListenerPort", port()), ("DialedDirectly", flag())]))
}

fn expose() -> Field {
    let path = object(vec![
        ("ListenerPort", port()),
        ("Path", text()),
        ("LocalPathPort", port()),
        ("Protocol", text()),
        ("ParsedFromCheck", flag()),
    ]);
    ("Expose", object(vec![("Checks", flag()), ("Paths", list(path))]))
}

fn access_logs() -> Field {
    let fields = vec![
        ("Enabled", flag()),
        ("DisableListenerLogs", flag()),
        ("Type", text()),
        ("Path", text()),
        ("JSONFormat", text()),
        ("TextFormat", text()),
    ];
    ("AccessLogs", object(fields))
}

fn meta() -> Field {
    ("Meta", map(text()))
}

fn upstream_config() -> BoxedStrategy<Value> {
    let limits = vec![("MaxConnections", whole()), ("MaxPendingRequests", whole()), ("MaxConcurrentRequests", whole())];
    let passive = vec![
        ("Interval", duration()),
        ("MaxFailures", count()),
        ("EnforcingConsecutive5xx", count()),
        ("Consecutive5xx", count()),
        ("MaxEjectionPercent", count()),
        ("BaseEjectionTime", duration()),
    ];
    object(vec![
        ("Name", text()),
        ("Partition", name()),
        ("Namespace", name()),
        ("Peer", name()),
        ("EnvoyListenerJSON", text()),
        ("EnvoyClusterJSON", text()),
        ("Protocol", text()),
        ("ConnectTimeoutMs", whole()),
        ("Limits", object(limits)),
        ("PassiveHealthCheck", object(passive)),
        mesh_gateway(),
        ("BalanceOutboundConnections", text()),
    ])
}

fn proxy_defaults() -> Vec<Field> {
    vec![
        ("Config", opaque()),
        proxy_mode(),
        transparent_proxy(),
        ("MutualTLSMode", text()),
        mesh_gateway(),
        expose(),
        access_logs(),
        ("EnvoyExtensions", list(opaque())),
    ]
}

fn service_defaults() -> Vec<Field> {
    let upstreams = vec![("Defaults", upstream_config()), ("Overrides", list(upstream_config()))];
    vec![
        ("Namespace", name()),
        ("Protocol", text()),
        proxy_mode(),
        transparent_proxy(),
        ("MutualTLSMode", text()),
        mesh_gateway(),
        expose(),
        ("ExternalSNI", text()),
        ("UpstreamConfig", object(upstreams)),
        ("Destination", object(vec![("Addresses", list(text())), ("Port", port())])),
        ("MaxInboundConnections", whole()),
        ("LocalConnectTimeoutMs", whole()),
        ("LocalRequestTimeoutMs", whole()),
        ("BalanceInboundConnections", text()),
        ("MaxRequestHeadersKB", count()),
        ("EnvoyExtensions", list(opaque())),
    ]
}

fn service_resolver() -> Vec<Field> {
    let target = || {
        vec![
            ("Service", text()),
            ("ServiceSubset", text()),
            ("Namespace", name()),
            ("Partition", name()),
            ("Datacenter", name()),
            ("Peer", name()),
        ]
    };
    let failover = vec![
        ("Service", text()),
        ("ServiceSubset", text()),
        ("Datacenters", list(name())),
        ("Targets", list(object(target()))),
        ("SamenessGroup", text()),
    ];
    let cookie = vec![("Session", flag()), ("TTL", duration()), ("Path", text())];
    let hash = vec![
        ("Field", text()),
        ("FieldValue", text()),
        ("CookieConfig", object(cookie)),
        ("SourceIP", flag()),
        ("Terminal", flag()),
    ];
    let load_balancer = vec![
        ("Policy", text()),
        ("RingHashConfig", object(vec![("MinimumRingSize", count()), ("MaximumRingSize", count())])),
        ("LeastRequestConfig", object(vec![("ChoiceCount", count())])),
        ("HashPolicies", list(object(hash))),
    ];
    vec![
        ("Namespace", name()),
        ("DefaultSubset", text()),
        ("Subsets", map(object(vec![("Filter", text()), ("OnlyPassing", flag())]))),
        ("Redirect", object(target())),
        ("Failover", map(object(failover))),
        ("ConnectTimeout", duration()),
        ("RequestTimeout", duration()),
        ("LoadBalancer", object(load_balancer)),
    ]
}

fn exported_services() -> Vec<Field> {
    let consumer = object(vec![("Partition", name()), ("Peer", name()), ("SamenessGroup", text())]);
    let service = object(vec![("Name", text()), ("Namespace", name()), ("Consumers", list(consumer))]);
    vec![("Services", list(service))]
}

fn mesh() -> Vec<Field> {
    let direction =
        || object(vec![("TLSMinVersion", text()), ("TLSMaxVersion", text()), ("CipherSuites", list(text()))]);
    let slashes = &["", "KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"];
    let normalization = object(vec![
        ("InsecureDisablePathNormalization", flag()),
        ("MergeSlashes", flag()),
        ("PathWithEscapedSlashesAction", one_of(slashes)),
        ("HeadersWithUnderscoresAction", one_of(&["", "ALLOW", "REJECT_REQUEST", "DROP_HEADER"])),
    ]);
    let incoming = object(vec![("RequestNormalization", normalization)]);
    let http = vec![("SanitizeXForwardedClientCert", flag()), ("Incoming", incoming)];
    vec![
        ("TransparentProxy", object(vec![("MeshDestinationsOnly", flag())])),
        ("AllowEnablingPermissiveMutualTLS", flag()),
        ("ValidateClusters", flag()),
        ("TLS", object(vec![("Incoming", direction()), ("Outgoing", direction())])),
        ("HTTP", object(http)),
        ("Peering", object(vec![("PeerThroughMeshGateways", flag())])),
    ]
}

fn headers() -> BoxedStrategy<Value> {
    object(vec![("Add", map(text())), ("Set", map(text())), ("Remove", list(text()))])
}

/// Where a route or split leads.
fn destination() -> Vec<Field> {
    vec![
        ("Service", text()),
        ("ServiceSubset", text()),
        ("Namespace", name()),
        ("Partition", name()),
        ("RequestHeaders", headers()),
        ("ResponseHeaders", headers()),
    ]
}

fn service_splitter() -> Vec<Field> {
    let mut split = destination();
    split.push(("Weight", (0..=10_000u32).prop_map(|weight| json!(f64::from(weight) / 100.0)).boxed()));
    vec![("Namespace", name()), ("Splits", list(object(split)))]
}

/// What a request must fit in routes and intentions alike.
fn http_match(header: Vec<Field>) -> Vec<Field> {
    vec![
        ("PathExact", text()),
        ("PathPrefix", text()),
        ("PathRegex", text()),
        ("Header", list(object(header))),
        ("Methods", list(text())),
    ]
}

fn condition() -> Vec<Field> {
    vec![("Name", text()), ("Present", flag()), ("Exact", text()), ("Regex", text())]
}

fn header_condition() -> Vec<Field> {
    let mut fields = condition();
    fields.extend([("Prefix", text()), ("Suffix", text()), ("Invert", flag())]);
    fields
}

fn service_router() -> Vec<Field> {
    let mut http = http_match(header_condition());
    http.extend([("CaseInsensitive", flag()), ("QueryParam", list(object(condition())))]);
    let mut destination = destination();
    destination.extend([
        ("PrefixRewrite", text()),
        ("RequestTimeout", duration()),
        ("IdleTimeout", duration()),
        ("NumRetries", count()),
        ("RetryOnConnectFailure", flag()),
        ("RetryOn", list(text())),
        ("RetryOnStatusCodes", list(count())),
    ]);
    let route = vec![("Match", object(vec![("HTTP", object(http))])), ("Destination", object(destination))];
    vec![("Namespace", name()), ("Routes", list(object(route)))]
}

fn service_intentions() -> Vec<Field> {
    let action = || one_of(&["allow", "deny"]);
    let mut header = header_condition();
    header.extend([("Contains", text()), ("IgnoreCase", flag())]);
    let permission = vec![("Action", action()), ("HTTP", object(http_match(header))), ("JWT", opaque())];
    let source = vec![
        ("Name", text()),
        ("Namespace", name()),
        ("Partition", name()),
        ("Peer", name()),
        ("SamenessGroup", text()),
        ("Action", action()),
        ("Permissions", list(object(permission))),
        ("Precedence", count()),
        ("Type", text()),
        ("Description", text()),
    ];
    vec![("Namespace", name()), ("JWT", opaque()), ("Sources", list(object(source)))]
}

/// A config entry of any kind.
pub(crate) fn entry() -> BoxedStrategy<Value> {
    let of_kind = |kind: &'static str, mut fields: Vec<Field>| {
        fields.extend([("Name", text()), ("Partition", name()), meta()]);
        object(fields).prop_map(move |mut entry| {
            entry["Kind"] = kind.into();
            if kind == "mesh" {
                // The name of a mesh entry is not part of it.
                entry.as_object_mut().map(|entry| entry.remove("Name"));
            }
            entry
        })
    };
    prop_oneof![
        of_kind("proxy-defaults", proxy_defaults()),
        of_kind("service-defaults", service_defaults()),
        of_kind("service-resolver", service_resolver()),
        of_kind("service-router", service_router()),
        of_kind("service-splitter", service_splitter()),
        of_kind("service-intentions", service_intentions()),
        of_kind("exported-services", exported_services()),
        of_kind("mesh", mesh()),
    ]
    .boxed()
}

fn check() -> BoxedStrategy<Value> {
    object(vec![
        ("CheckID", text()),
        ("Name", text()),
        ("Notes", text()),
        ("Status", one_of(&["", "passing", "warning", "critical"])),
        ("ScriptArgs", list(text())),
        ("HTTP", text()),
        ("Header", map(list(text()))),
        ("TCP", text()),
        ("TCPUseTLS", flag()),
        ("GRPC", text()),
        ("H2PING", text()),
        ("H2PingUseTLS", flag()),
        ("TTL", duration()),
        ("Interval", duration()),
        ("DeregisterCriticalServiceAfter", duration()),
        ("FailuresBeforeCritical", count()),
        ("OutputMaxSize", whole()),
    ])
}

fn upstream() -> BoxedStrategy<Value> {
    object(vec![
        ("DestinationType", one_of(&["service", "prepared_query"])),
        ("DestinationName", text()),
        ("DestinationPartition", name()),
        ("DestinationPeer", name()),
        ("Datacenter", name()),
        ("LocalBindAddress", text()),
        ("LocalBindPort", port()),
        ("LocalBindSocketPath", text()),
        ("Config", opaque()),
        mesh_gateway(),
    ])
}

fn proxy() -> BoxedStrategy<Value> {
    object(vec![
        ("DestinationServiceName", text()),
        ("DestinationServiceID", text()),
        ("LocalServiceAddress", text()),
        ("LocalServicePort", port()),
        ("Config", opaque()),
        ("Upstreams", list(upstream())),
        proxy_mode(),
        transparent_proxy(),
        mesh_gateway(),
        expose(),
        access_logs(),
    ])
}

fn service_fields() -> Vec<Field> {
    vec![
        ("Kind", one_of(&["", "connect-proxy", "mesh-gateway", "terminating-gateway", "api-gateway"])),
        ("ID", text()),
        ("Name", text()),
        ("Tags", list(text())),
        ("Address", text()),
        ("TaggedAddresses", map(object(vec![("Address", text()), ("Port", port())]))),
        meta(),
        ("Port", port()),
        ("SocketPath", text()),
        ("Check", check()),
        ("Checks", list(check())),
        ("Weights", object(vec![("Passing", whole()), ("Warning", whole())])),
        ("EnableTagOverride", flag()),
        ("Locality", object(vec![("Region", text()), ("Zone", text())])),
        ("Proxy", proxy()),
        ("Namespace", name()),
        ("Partition", name()),
    ]
}

/// A registration, with or without a sidecar.
pub(crate) fn service() -> BoxedStrategy<Value> {
    let connect = object(vec![("Native", flag()), ("SidecarService", object(service_fields()))]);
    let mut fields = service_fields();
    fields.push(("Connect", connect));
    object(fields)
}

/// Whose members are keys of a map or opaque: what is below keeps its spelling.
const MAPS: [&str; 13] = [
    "Add",
    "Config",
    "EnvoyExtensions",
    "Failover",
    "Header",
    "HTTP",
    "Incoming",
    "JWT",
    "Meta",
    "Outgoing",
    "Set",
    "Subsets",
    "TaggedAddresses",
];

/// The same value as other tools spell it: keys in snake case, objects as lists of one.
pub(crate) fn as_files_spell_it(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let respelled = members.iter().map(|(key, value)| {
        let value = match value {
            _ if MAPS.contains(&key.as_str()) => value.clone(),
            Value::Object(_) => json!([as_files_spell_it(value)]),
            Value::Array(items) => items.iter().map(as_files_spell_it).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        };
        (snake_case(key), value)
    });
    Value::Object(respelled.collect::<Map<_, _>>())
}

fn snake_case(key: &str) -> String {
    let mut snake = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() && snake.ends_with(|c: char| c.is_ascii_lowercase()) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
