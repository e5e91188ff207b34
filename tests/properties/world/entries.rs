//! Config entries.

use meshgate::model::{ConfigEntry, Namespace, Partition};
use meshgate::store::Op;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::{HTTP_SERVICES, PEER, Purpose, SERVICES, SHOP};

const PARTITIONS: [&str; 2] = ["default", "team-a"];

fn other_than(partition: &str) -> &'static str {
    if partition == "default" { "team-a" } else { "default" }
}

fn entry(body: Value) -> Op {
    let mut entry = ConfigEntry::from_stored(body).expect("a body of its kind");
    entry.normalize(&Partition::default(), &Namespace::default());
    Op::PutEntry(entry)
}

fn partition() -> impl Strategy<Value = &'static str> {
    select(PARTITIONS.to_vec())
}

fn mesh_gateway() -> impl Strategy<Value = Value> {
    let modes = [json!({}), json!({ "Mode": "none" }), json!({ "Mode": "local" }), json!({ "Mode": "remote" })];
    select(modes.to_vec())
}

fn subsets() -> Value {
    json!({ "v1": { "Filter": "Service.Meta.version == 1" }, "v2": { "OnlyPassing": true } })
}

fn protocol(service: &str) -> &'static str {
    if HTTP_SERVICES.contains(&service) { "http" } else { "tcp" }
}

/// What has to be there: which services speak HTTP, and subsets of `api`, which others may name.
pub(super) fn protocols() -> impl Iterator<Item = Op> {
    PARTITIONS.into_iter().flat_map(|partition| {
        let speaks_http = HTTP_SERVICES.map(|name| {
            entry(json!({ "Kind": "service-defaults", "Name": name, "Partition": partition, "Protocol": "http" }))
        });
        let api = json!({ "Kind": "service-resolver", "Name": "api", "Partition": partition, "Subsets": subsets() });
        speaks_http.into_iter().chain([entry(api)])
    })
}

/// Where a service's name leads.
pub(super) fn resolver() -> impl Strategy<Value = Op> {
    let meanings = prop_oneof![
        1 => Just(json!({})),
        2 => Just(json!({ "Subsets": subsets(), "DefaultSubset": "v1" })),
        1 => Just(json!({ "Subsets": subsets(), "Failover": { "*": { "ServiceSubset": "v2" } } })),
        2 => Just(json!({ "Failover": { "*": { "Targets": [{ "Partition": "team-a" }] } } })),
        1 => Just(json!({ "ConnectTimeout": "9s", "RequestTimeout": "7s" })),
        1 => Just(json!({ "LoadBalancer": { "Policy": "least_request" } })),
        // From here on only in the default partition.
        1 => Just(json!({ "Redirect": { "Datacenter": "dc2" } })),
        1 => Just(json!({ "Redirect": { "Partition": "team-a" } })),
        3 => Just(json!({ "Failover": { "*": { "Datacenters": ["dc2", "dc1"] } } })),
        1 => Just(json!({ "Failover": { "*": { "Targets": [{ "Datacenter": "dc2" }, { "Partition": "team-a" }] } } })),
    ];
    (select(SERVICES.to_vec()), any::<bool>(), any::<bool>(), meanings).prop_map(
        |(name, is_default, to_another, mut body)| {
            let names_a_datacenter = body.to_string().contains("atacenter");
            let names_a_place = names_a_datacenter || body["Redirect"].is_object();
            body["Kind"] = json!("service-resolver");
            body["Name"] = json!(name);
            body["Partition"] = json!(if is_default || names_a_place { "default" } else { "team-a" });
            if name == "api" {
                body["Subsets"] = subsets();
            }
            let before = SERVICES.into_iter().rev().skip_while(|other| *other != name).skip(1);
            let another = before.into_iter().find(|other| protocol(other) == protocol(name));
            if body["Redirect"].is_object() {
                body["Redirect"]["Service"] = json!(another.filter(|_| to_another).unwrap_or(name));
            }
            entry(body)
        },
    )
}

/// A router or a splitter of a service that speaks HTTP.
pub(super) fn routing() -> impl Strategy<Value = Op> {
    (partition(), select(HTTP_SERVICES.to_vec()), any::<bool>()).prop_flat_map(|(partition, name, is_router)| {
        let body = if is_router { routes(name, partition).boxed() } else { splits(name, partition).boxed() };
        body.prop_map(move |mut body| {
            body["Name"] = json!(name);
            body["Partition"] = json!(partition);
            entry(body)
        })
    })
}

/// Where requests for a service can be sent, besides to itself. Only the default partition leads to others.
fn destinations(name: &str, partition: &str) -> Vec<Value> {
    let mut known = vec![json!({}), json!({ "Service": "api", "ServiceSubset": "v2" })];
    match name {
        "api" => known.push(json!({ "ServiceSubset": "v1" })),
        _ => known.push(json!({ "Service": "api" })),
    }
    if partition == "default" {
        known.push(json!({ "Service": "api", "Partition": "team-a" }));
    }
    known
}

fn routes(name: &'static str, partition: &'static str) -> BoxedStrategy<Value> {
    let matches = vec![
        json!({ "PathExact": "/exact" }),
        json!({ "PathPrefix": "/admin" }),
        json!({ "PathPrefix": "/", "Header": [{ "Name": "x-version", "Exact": "2" }] }),
        json!({ "Header": [{ "Name": "x-version", "Present": true, "Invert": true }], "Methods": ["PUT", "POST"] }),
        json!({ "QueryParam": [{ "Name": "version", "Regex": "[0-9]+" }] }),
        json!({}),
    ];
    let route = (select(matches), select(destinations(name, partition)), any::<bool>());
    let route = route.prop_map(|(http, mut destination, rewrites)| {
        if rewrites && http["PathPrefix"] == "/admin" {
            destination["PrefixRewrite"] = json!("/");
        }
        json!({ "Match": { "HTTP": http }, "Destination": destination })
    });
    vec(route, 1..4).prop_map(|routes| json!({ "Kind": "service-router", "Routes": routes })).boxed()
}

fn splits(name: &str, partition: &str) -> BoxedStrategy<Value> {
    let known = destinations(name, partition);
    let weights =
        select(vec![vec![100.0], vec![99.99, 0.01], vec![60.0, 40.0], vec![100.0, 0.0], vec![30.0, 30.0, 40.0]]);
    (weights, Just(known).prop_shuffle())
        .prop_map(|(weights, known)| {
            let split = |(weight, mut destination): (f64, Value)| {
                destination["Weight"] = json!(weight);
                destination
            };
            let splits: Vec<_> = weights.into_iter().zip(known).map(split).collect();
            json!({ "Kind": "service-splitter", "Splits": splits })
        })
        .boxed()
}

/// Settings of services, proxies and the mesh.
pub(super) fn defaults() -> impl Strategy<Value = Op> {
    let upstream_config = prop_oneof![
        Just(json!({})),
        mesh_gateway().prop_map(|mode| json!({ "Defaults": { "MeshGateway": mode } })),
        (select(SERVICES.to_vec()), option::of(partition()), mesh_gateway()).prop_map(|(name, partition, mode)| {
            let mut settings = json!({ "Name": name, "MeshGateway": mode });
            if let Some(partition) = partition {
                settings["Partition"] = json!(partition);
            }
            json!({ "Overrides": [settings] })
        }),
    ];
    let tls = select(vec![
        json!({}),
        json!({ "Outgoing": { "TLSMaxVersion": "TLSv1_3" } }),
        json!({ "Incoming": { "TLSMinVersion": "TLSv1_3" }, "Outgoing": { "TLSMaxVersion": "TLSv1_3" } }),
    ]);
    prop_oneof![
        3 => (partition(), mesh_gateway()).prop_map(|(partition, mode)| {
            json!({ "Kind": "proxy-defaults", "Name": "global", "Partition": partition, "MeshGateway": mode })
        }),
        1 => (partition(), mesh_gateway()).prop_map(|(partition, mode)| {
            let config = json!({ "mesh_gateway": { "mode": mode["Mode"] } });
            json!({ "Kind": "proxy-defaults", "Name": "global", "Partition": partition, "Config": config })
        }),
        5 => (partition(), select(SERVICES.to_vec()), mesh_gateway(), upstream_config).prop_map(
            |(partition, name, mode, config)| {
                json!({
                    "Kind": "service-defaults", "Name": name, "Partition": partition, "MeshGateway": mode,
                    "Protocol": protocol(name), "UpstreamConfig": config,
                })
            }
        ),
        1 => (partition(), any::<[bool; 3]>(), tls).prop_map(|(partition, [validate, sanitize, through], tls)| {
            json!({
                "Kind": "mesh", "Partition": partition, "ValidateClusters": validate, "TLS": tls,
                "HTTP": { "SanitizeXForwardedClientCert": sanitize },
                "Peering": { "PeerThroughMeshGateways": through },
            })
        }),
    ]
    .prop_map(entry)
}

/// What the partitions export to each other.
pub(super) fn exports(purpose: Purpose) -> impl Strategy<Value = Vec<Op>> {
    let chance = match purpose {
        Purpose::Everything => 0.4,
        Purpose::Paths => 0.95,
    };
    let exports = |partition: &'static str| {
        let chosen = subsequence(SERVICES.to_vec(), 1..=SERVICES.len());
        let names = match purpose {
            // Exports of everything would export a fence too.
            Purpose::Everything => chosen.boxed(),
            Purpose::Paths => prop_oneof![4 => chosen, 1 => Just(vec!["*"])].boxed(),
        };
        let consumer = prop_oneof![5 => Just(other_than(partition)), 1 => Just("team-b")];
        names.prop_flat_map(move |names| {
            vec(consumer.clone(), names.len()).prop_map(move |consumers| {
                let export =
                    |(name, consumer): (&&str, &str)| json!({ "Name": name, "Consumers": [{ "Partition": consumer }] });
                let to_peer = json!({ "Name": SHOP, "Consumers": [{ "Peer": PEER }] });
                let services: Vec<_> = names.iter().zip(consumers).map(export).chain([to_peer]).collect();
                entry(json!({
                    "Kind": "exported-services", "Name": partition, "Partition": partition, "Services": services,
                }))
            })
        })
    };
    let [first, second] = PARTITIONS.map(|partition| option::weighted(chance, exports(partition)));
    (first, second).prop_map(|(first, second)| first.into_iter().chain(second).collect())
}

/// Who may call a service.
pub(super) fn intentions() -> impl Strategy<Value = Op> {
    let names = SERVICES.into_iter().chain(["*"]).collect::<Vec<_>>();
    (partition(), select(names)).prop_flat_map(|(partition, name)| {
        let source = (
            select(SERVICES.into_iter().chain(["*"]).collect::<Vec<_>>()),
            option::of(self::partition()),
            what_happens(HTTP_SERVICES.contains(&name)),
        );
        vec(source, 1..4).prop_map(move |sources| {
            let source = |(caller, partition, what): (&str, Option<&str>, Value)| {
                let mut source = what;
                source["Name"] = json!(caller);
                source["Type"] = json!("consul");
                if let Some(partition) = partition {
                    source["Partition"] = json!(partition);
                }
                source
            };
            let mut sources: Vec<Value> = sources.into_iter().map(source).collect();
            // No caller twice.
            let key = |source: &Value| {
                let partition = source["Partition"].as_str().unwrap_or(partition).to_owned();
                (source["Name"].to_string(), partition)
            };
            sources.sort_by_key(key);
            sources.dedup_by_key(|source| key(source));
            entry(json!({
                "Kind": "service-intentions", "Name": name, "Partition": partition, "Sources": sources,
            }))
        })
    })
}

fn what_happens(speaks_http: bool) -> BoxedStrategy<Value> {
    let whole = select(vec![json!({ "Action": "allow" }), json!({ "Action": "deny" })]);
    if !speaks_http {
        return whole.boxed();
    }
    let requests = vec![
        json!({ "PathExact": "/exact" }),
        json!({ "PathPrefix": "/admin" }),
        json!({ "PathRegex": "/(x|exact)" }),
        json!({ "PathPrefix": "/", "Methods": ["PUT", "POST"] }),
        json!({ "Header": [{ "Name": "x-version", "Exact": "2" }] }),
        json!({ "Header": [{ "Name": "x-version", "Present": true, "Invert": true }] }),
    ];
    let permission = (select(vec!["allow", "deny"]), select(requests))
        .prop_map(|(action, http)| json!({ "Action": action, "HTTP": http }));
    let permissions = vec(permission, 1..4).prop_map(|permissions| json!({ "Permissions": permissions }));
    prop_oneof![whole, permissions].boxed()
}
