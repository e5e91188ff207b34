//! Random small meshes, as rows.

use std::collections::{BTreeMap, BTreeSet};

use meshgate::codec;
use meshgate::envoy::snapshot::NodeIdentity;
use meshgate::model::{
    Check, CheckStatus, ConfigEntry, Datacenter, DestinationType, GatewayMode, MeshGateway, Namespace, Node, NodeName,
    Partition, PeerName, Place, Proxy, Service, ServiceAddress, ServiceId, ServiceKind, Upstream,
};
use meshgate::store::{CheckKey, NodeKey, Op, Write};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// Datacenter and partition.
const PLACES: [(&str, &str); 4] = [("dc1", "default"), ("dc1", "team-a"), ("dc2", "default"), ("dc2", "team-a")];
/// Nothing leads to it and it leads nowhere, so that it can be exported to peers whatever else there is.
const SHOP: &str = "shop";
/// The only peering of each place, and the services that it exports to us. Nothing is known of the others.
const PEER: &str = "alpha";
const IMPORTED: [&str; 2] = ["api", "db"];
/// The only prepared query of each place.
const QUERY: &str = "db";
/// `db` may lead to `cache`, never the other way, so that redirects do not go in circles.
const SERVICES: [&str; 3] = ["api", "cache", "db"];
/// The peer's trust domain.
const PEER_DOMAIN: &str = "22222222-3333-4444-5555-666666666666.consul";
/// A certificate of it, valid for a hundred years.
const PEER_ROOT: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIByzCCAXKgAwIBAgIUPl6JGcqNmFOr/ZZ9MmcZax+bD1AwCgYIKoZIzj0EAwIw\n\
GTEXMBUGA1UEAwwOcm9vdCBvZiBhIHBlZXIwIBcNMjYxMTI5MTExODUxWhgPMjEy\n\
NjExMDUxMTE4NTFaMBkxFzAVBgNVBAMMDnJvb3Qgb2YgYSBwZWVyMFkwEwYHKoZI\n\
zj0CAQYIKoZIzj0DAQcDQgAEbEx/QqiL3YvN4q0qECLjX0iySHDyw7K0LzEENwAM\n\
GOn6wyRxfPawtRSfFtWneccEm7xeqxPn2JZGJNie/QrC3aOBlTCBkjAdBgNVHQ4E\n\
FgQUuC75Sdf5HD3v9nHYPSyPU4wgEFMwHwYDVR0jBBgwFoAUuC75Sdf5HD3v9nHY\n\
PSyPU4wgEFMwDwYDVR0TAQH/BAUwAwEB/zA/BgNVHREEODA2hjRzcGlmZmU6Ly8y\n\
MjIyMjIyMi0zMzMzLTQ0NDQtNTU1NS02NjY2NjY2NjY2NjYuY29uc3VsMAoGCCqG\n\
SM49BAMCA0cAMEQCIAyeb/qaxYi7WD5oZFtHi26o6i2QHmKoJrYmz2AcvOk1AiAp\n\
BXCBxwUYtF+XnNNc0thpoQ1nQfcAolpTTUxpiKzxsA==\n\
-----END CERTIFICATE-----\n";
const NODE: &str = "node";

/// The rows of a mesh by a name of their own, so that two meshes can be compared row by row.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct World(BTreeMap<String, Op>);

impl World {
    fn new(ops: impl IntoIterator<Item = Op>) -> Self {
        Self(ops.into_iter().map(|op| (format!("{:?}", removal(&op)), op)).collect())
    }

    /// Every row.
    pub(crate) fn rows(&self) -> Vec<Op> {
        self.0.values().cloned().collect()
    }

    /// What turns this mesh into another one.
    pub(crate) fn changes_to(&self, other: &Self) -> Vec<Op> {
        let gone = self.0.iter().filter(|(name, _)| !other.0.contains_key(*name)).map(|(_, op)| removal(op));
        let new = other.0.iter().filter(|(name, op)| self.0.get(*name) != Some(*op)).map(|(_, op)| op.clone());
        gone.chain(new).collect()
    }

    /// The proxies that are registered, sorted.
    pub(crate) fn proxies(&self) -> BTreeSet<NodeIdentity> {
        let proxy = |op: &Op| {
            let Op::PutService(node, service) = op else { return None };
            service.is_proxy().then(|| identity(node, service))
        };
        self.0.values().filter_map(proxy).collect()
    }
}

/// What takes the row of `op` away.
fn removal(op: &Op) -> Op {
    match op {
        Op::PutNode(node) => Op::DeleteNode(NodeKey::new(&node.place(), &node.node)),
        Op::PutService(node, service) => Op::DeleteService(node.instance(&service.id)),
        Op::PutCheck(check) => Op::DeleteCheck(CheckKey::of(check)),
        Op::PutEntry(entry) => Op::DeleteEntry(entry.key()),
        Op::Restore(op, _) => removal(op),
        Op::PutPeering(peering) => Op::DeletePeering(peering.key()),
        Op::PutTrustBundle(bundle) => Op::DeleteTrustBundle(bundle.key()),
        Op::PutImported(imported) => Op::DeleteImported(imported.key()),
        Op::PutDatacenter(datacenter) => Op::DeleteDatacenter(datacenter.clone()),
        Op::PutFederationState(state) => Op::DeleteFederationState(state.datacenter.clone()),
        Op::PutQuery(result) => Op::DeleteQuery(result.key()),
        Op::DeleteNode(_)
        | Op::DeleteService(_)
        | Op::DeleteCheck(_)
        | Op::DeleteEntry(_)
        | Op::DeletePeering(_)
        | Op::DeleteTrustBundle(_)
        | Op::DeleteImported(_)
        | Op::DeleteDatacenter(_)
        | Op::DeleteFederationState(_)
        | Op::DeleteQuery(_) => unreachable!("no row"),
        Op::PutRoot(_) | Op::PutLeaf(_) | Op::DeleteLeaf(_) => unreachable!("the authority alone writes them"),
    }
}

fn place(index: usize) -> Place {
    let (datacenter, partition) = PLACES[index];
    Place::new(&Datacenter::from(datacenter), &Partition::from(partition))
}

fn node(index: usize) -> NodeKey {
    NodeKey::new(&place(index), &NodeName::from(NODE))
}

fn node_row(index: usize) -> Op {
    let place = place(index);
    Op::PutNode(Node {
        node: NodeName::from(NODE),
        address: format!("10.{index}.0.1"),
        tagged_addresses: [("wan".to_owned(), format!("192.0.2.{index}"))].into(),
        datacenter: place.datacenter,
        partition: place.partition,
        ..Node::default()
    })
}

/// An instance with a check that says this.
fn instance(index: usize, mut service: Service, status: Option<CheckStatus>) -> Vec<Op> {
    service.partition = place(index).partition;
    service.normalize();
    let check = status.map(|status| {
        Op::PutCheck(Check {
            node: NodeName::from(NODE),
            check_id: format!("check:{}", service.id).into(),
            service_id: service.id.clone(),
            status,
            datacenter: place(index).datacenter,
            partition: place(index).partition,
            ..Check::default()
        })
    });
    std::iter::once(Op::PutService(node(index), service)).chain(check).collect()
}

fn status() -> impl Strategy<Value = Option<CheckStatus>> {
    option::of(select(vec![CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical]))
}

fn mode() -> impl Strategy<Value = Option<GatewayMode>> {
    option::of(select(vec![GatewayMode::None, GatewayMode::Local, GatewayMode::Remote]))
}

fn mesh_gateway() -> impl Strategy<Value = Value> {
    select(vec![json!({}), json!({ "Mode": "none" }), json!({ "Mode": "local" }), json!({ "Mode": "remote" })])
}

fn gateway(index: usize) -> impl Strategy<Value = Vec<Op>> {
    let wan = option::of(select(vec!["198.51.100.1", "gateway.example"]));
    (0..2u8, wan, status(), any::<bool>(), any::<bool>()).prop_map(
        move |(number, wan, status, keepalive, federates)| {
            let wan = wan.map(|address| ("wan".to_owned(), ServiceAddress { address: address.to_owned(), port: 443 }));
            let mut service = Service {
                kind: ServiceKind::MeshGateway,
                id: ServiceId::from(format!("gateway-{number}")),
                name: "mesh-gateway".to_owned(),
                port: 8443,
                tagged_addresses: wan.into_iter().collect(),
                ..Service::default()
            };
            if federates {
                service.meta.insert("consul-wan-federation".to_owned(), "1".to_owned());
            }
            if keepalive {
                service.proxy.config.insert("envoy_gateway_remote_tcp_enable_keepalive".to_owned(), json!(true));
            }
            instance(index, service, status)
        },
    )
}

/// Where an upstream is, seen from the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whereabouts {
    Here,
    OtherDatacenter,
    OtherPartition,
    Peer,
    /// A prepared query, which answers from anywhere.
    Query,
}

fn upstreams(index: usize) -> impl Strategy<Value = Vec<Upstream>> {
    let place = place(index);
    // Nobody names a datacenter from outside of the default partition.
    let from_default = [
        Whereabouts::Here,
        Whereabouts::OtherPartition,
        Whereabouts::Peer,
        Whereabouts::Query,
        Whereabouts::OtherDatacenter,
    ];
    let whereabouts = if place.partition.is_default() { &from_default[..] } else { &from_default[..4] };
    let target = (select(SERVICES.to_vec()), select(whereabouts.to_vec()));
    let settings =
        (mode(), select(vec![json!({}), json!({ "connect_timeout_ms": 1500 }), json!({ "protocol": "http2" })]));
    btree_map(target, settings, 0..4).prop_map(move |chosen| {
        let upstream = |(((name, whereabouts), (mode, config)), port)| {
            let mut upstream = Upstream {
                destination_name: String::from(name),
                local_bind_port: port,
                mesh_gateway: MeshGateway { mode },
                config: serde_json::from_value(config).expect("an object"),
                ..Upstream::default()
            };
            match whereabouts {
                Whereabouts::Here => {}
                Whereabouts::OtherDatacenter => {
                    upstream.datacenter =
                        Datacenter::from(if place.datacenter.as_str() == "dc1" { "dc2" } else { "dc1" });
                }
                Whereabouts::Peer => upstream.destination_peer = PeerName::from(PEER),
                Whereabouts::Query => upstream.destination_type = DestinationType::PreparedQuery,
                Whereabouts::OtherPartition => {
                    let other = if place.partition.is_default() { "team-a" } else { "default" };
                    upstream.destination_partition = Some(Partition::from(other));
                }
            }
            upstream
        };
        chosen.into_iter().zip(9_000..).map(upstream).collect()
    })
}

fn sidecar(index: usize) -> impl Strategy<Value = Vec<Op>> {
    let names: Vec<_> = SERVICES.into_iter().chain([SHOP]).collect();
    let name = (select(names), 1..3u16);
    (name, status(), mode(), upstreams(index)).prop_map(move |((name, number), status, mode, upstreams)| {
        let service = Service {
            kind: ServiceKind::ConnectProxy,
            id: ServiceId::from(format!("{name}-{number}-sidecar-proxy")),
            name: format!("{name}-sidecar-proxy"),
            port: 21_000 + number,
            meta: [("version".to_owned(), number.to_string())].into(),
            proxy: Proxy {
                destination_service_name: name.to_owned(),
                mesh_gateway: MeshGateway { mode },
                upstreams,
                ..Proxy::default()
            },
            ..Service::default()
        };
        instance(index, service, status)
    })
}

fn entry(body: Value) -> Op {
    let mut entry = ConfigEntry::from_stored(body).expect("a body of its kind");
    entry.normalize(&Partition::default(), &Namespace::default());
    Op::PutEntry(entry)
}

fn resolver() -> impl Strategy<Value = Op> {
    let subsets = json!({ "v1": { "Filter": "Service.Meta.version == 1" }, "v2": { "OnlyPassing": true } });
    let meanings = prop_oneof![
        Just(json!({})),
        Just(json!({ "Subsets": subsets, "DefaultSubset": "v1" })),
        Just(json!({ "Subsets": subsets, "Failover": { "*": { "ServiceSubset": "v2" } } })),
        Just(json!({ "Failover": { "*": { "Targets": [{ "Partition": "team-a" }] } } })),
        Just(json!({ "ConnectTimeout": "9s", "RequestTimeout": "7s" })),
        Just(json!({ "LoadBalancer": { "Policy": "least_request" } })),
        // From here on only in the default partition.
        Just(json!({ "Redirect": { "Datacenter": "dc2" } })),
        Just(json!({ "Redirect": { "Partition": "team-a" } })),
        Just(json!({ "Failover": { "*": { "Datacenters": ["dc2", "dc1"] } } })),
    ];
    (select(SERVICES.to_vec()), any::<bool>(), any::<bool>(), meanings).prop_map(
        |(name, is_default, to_cache, mut body)| {
            let names_a_place = body["Redirect"].is_object() || body["Failover"]["*"]["Datacenters"].is_array();
            body["Kind"] = json!("service-resolver");
            body["Name"] = json!(name);
            body["Partition"] = json!(if is_default || names_a_place { "default" } else { "team-a" });
            if body["Redirect"].is_object() {
                body["Redirect"]["Service"] = json!(if name == "db" && to_cache { "cache" } else { name });
            }
            entry(body)
        },
    )
}

fn defaults() -> impl Strategy<Value = Op> {
    let partition = || select(vec!["default", "team-a"]);
    let upstream_config = prop_oneof![
        Just(json!({})),
        mesh_gateway().prop_map(|mode| json!({ "Defaults": { "MeshGateway": mode } })),
        mesh_gateway().prop_map(|mode| json!({ "Overrides": [{ "Name": "db", "MeshGateway": mode }] })),
    ];
    let exported = subsequence(SERVICES.to_vec(), 0..=SERVICES.len());
    prop_oneof![
        (partition(), mesh_gateway()).prop_map(|(partition, mode)| {
            json!({ "Kind": "proxy-defaults", "Name": "global", "Partition": partition, "MeshGateway": mode })
        }),
        (partition(), select(SERVICES.to_vec()), mesh_gateway(), upstream_config).prop_map(
            |(partition, name, mode, config)| {
                json!({
                    "Kind": "service-defaults", "Name": name, "Partition": partition, "MeshGateway": mode,
                    // The same everywhere, because one chain can pass through several partitions.
                    "Protocol": if name == "api" { "http" } else { "tcp" },
                    "UpstreamConfig": config,
                })
            }
        ),
        (partition(), exported).prop_map(|(partition, names)| {
            let other = if partition == "default" { "team-a" } else { "default" };
            let export = |name| json!({ "Name": name, "Consumers": [{ "Partition": other }] });
            let to_peer = json!({ "Name": SHOP, "Consumers": [{ "Peer": PEER }] });
            let services: Vec<_> = names.into_iter().map(export).chain([to_peer]).collect();
            json!({ "Kind": "exported-services", "Name": partition, "Partition": partition, "Services": services })
        }),
        (partition(), any::<bool>(), any::<bool>()).prop_map(|(partition, validate, through)| {
            let peering = json!({ "PeerThroughMeshGateways": through });
            json!({ "Kind": "mesh", "Partition": partition, "ValidateClusters": validate, "Peering": peering })
        }),
    ]
    .prop_map(entry)
}

fn intentions() -> impl Strategy<Value = Op> {
    let permission = json!({ "Action": "deny", "HTTP": { "PathPrefix": "/admin" } });
    let sources = prop_oneof![
        Just(json!([{ "Name": "api", "Action": "deny" }])),
        Just(json!([{ "Name": "db", "Action": "deny" }, { "Name": "*", "Action": "allow" }])),
        Just(json!([{ "Name": "db", "Partition": "team-a", "Action": "deny" }])),
        // From here on only about a service that speaks HTTP.
        Just(json!([{ "Name": "db", "Permissions": [permission] }])),
    ];
    let destination = select([SERVICES.as_slice(), &["*"]].concat());
    (destination, select(vec!["default", "team-a"]), sources).prop_map(|(name, partition, sources)| {
        let name = if sources[0]["Permissions"].is_array() { "api" } else { name };
        entry(json!({ "Kind": "service-intentions", "Name": name, "Partition": partition, "Sources": sources }))
    })
}

/// What stands for a service of the peer: one proxy for each of the peer's gateways.
fn imported(service: &str, gateway: u8, is_host: bool) -> Value {
    let address = if is_host { format!("gateway-{gateway}.peer.example") } else { format!("203.0.113.{gateway}") };
    json!({
        "PeerName": PEER,
        "Node": { "Node": format!("gateway-{gateway}"), "Address": "192.0.2.99", "Datacenter": "north" },
        "Service": {
            "Kind": "connect-proxy",
            "Service": format!("{service}-sidecar-proxy"),
            "Port": 8443,
            "TaggedAddresses": { "wan": { "Address": address, "Port": 443 } },
            "Proxy": { "DestinationServiceName": service },
            "Connect": { "PeerMeta": {
                "SNI": [format!("{service}.default.default.ours.external.{PEER_DOMAIN}")],
                "SpiffeID": [format!("spiffe://{PEER_DOMAIN}/ns/default/dc/north/svc/{service}")],
                "Protocol": if service == "api" { "http" } else { "tcp" },
            } },
        },
    })
}

/// A row of a place of ours.
fn of_place(index: usize, mut row: Value) -> Value {
    let Place { datacenter, partition } = place(index);
    row["Datacenter"] = json!(datacenter);
    row["Partition"] = json!(partition);
    row
}

/// The peering of a place with what came through it. The services are always the same, because an upstream that once was
/// known stays as it was.
fn peering(index: usize) -> impl Strategy<Value = Vec<Op>> {
    (any::<bool>(), [(); IMPORTED.len()].map(|()| vec(any::<bool>(), 1..3))).prop_map(move |(dials, gateways)| {
        let addresses = if dials { vec!["server.peer.example:8503"] } else { Vec::new() };
        let peering = json!({
            "Name": PEER,
            "State": "ACTIVE",
            "PeerServerName": format!("server.north.peering.{PEER_DOMAIN}"),
            "PeerServerAddresses": addresses,
        });
        let bundle = json!({ "PeerName": PEER, "TrustDomain": PEER_DOMAIN, "RootPEMs": [PEER_ROOT] });
        let instances = IMPORTED.iter().zip(&gateways).flat_map(|(service, gateways)| {
            (1..).zip(gateways).map(|(gateway, is_host)| of_place(index, imported(service, gateway, *is_host)))
        });
        restored(&json!({
            "Peerings": [of_place(index, peering)],
            "PeerTrustBundles": [of_place(index, bundle)],
            "ImportedServices": instances.collect::<Vec<_>>(),
        }))
    })
}

/// The servers of a datacenter, which mesh gateways lead to.
fn servers(index: usize) -> impl Strategy<Value = Vec<Op>> {
    vec(any::<bool>(), 0..3).prop_map(move |replicas| {
        let server = |(number, is_replica): (u16, bool)| {
            let mut service = Service {
                id: ServiceId::from(format!("consul-{number}")),
                name: "consul".to_owned(),
                port: 8300 + number,
                ..Service::default()
            };
            service.meta.insert("grpc_tls_port".to_owned(), "8503".to_owned());
            service.meta.insert("read_replica".to_owned(), is_replica.to_string());
            instance(index, service, None)
        };
        (0..).zip(replicas).flat_map(server).collect()
    })
}

/// Datacenters without rows, federation states, and results of queries.
fn federation() -> impl Strategy<Value = Vec<Op>> {
    // Older than every catalog or newer than all, whatever commits come first.
    let freshness = select(vec![1, 1_000_000_000_u64]);
    let states = btree_map(select(vec!["dc1", "dc2", "dc3"]), (freshness, vec(any::<bool>(), 0..3)), 0..3);
    let found = select(vec!["dc1", "dc2"]);
    (any::<bool>(), states, found).prop_map(|(knows_another, states, found)| {
        let gateway = |number: u8, is_host: bool, freshness: u64| {
            let address = if is_host { "gateway.example".to_owned() } else { format!("198.51.100.{number}") };
            json!({
                "Node": { "Node": format!("gateway-{number}"), "Address": "10.8.0.1" },
                "Service": {
                    "Kind": "mesh-gateway",
                    "Service": "mesh-gateway",
                    "Port": 8443,
                    "TaggedAddresses": { "wan": { "Address": address, "Port": 443 } },
                    "ModifyIndex": freshness,
                },
            })
        };
        let states = states.into_iter().map(|(datacenter, (freshness, gateways))| {
            let gateways = (1..).zip(gateways).map(|(number, is_host)| gateway(number, is_host, freshness));
            json!({ "Datacenter": datacenter, "MeshGateways": gateways.collect::<Vec<_>>() })
        });
        let service = json!({ "Service": QUERY, "Port": 80, "Connect": { "Native": true } });
        let node = json!({ "Node": "far", "Address": "10.7.0.1", "Datacenter": found });
        let query = json!({ "Name": QUERY, "Nodes": [{ "Node": node, "Service": service }] });
        let queries = (0..PLACES.len()).map(|index| of_place(index, query.clone()));
        restored(&json!({
            "Datacenters": if knows_another { vec![json!({ "Name": "dc4" })] } else { Vec::new() },
            "FederationStates": states.collect::<Vec<_>>(),
            "PreparedQueries": queries.collect::<Vec<_>>(),
        }))
    })
}

/// The rows of sections of a bundle.
fn restored(sections: &Value) -> Vec<Op> {
    let mut document = sections.clone();
    document["Format"] = json!("meshgate-bundle");
    document["Version"] = json!(1);
    let bundle = codec::bundle(document.to_string().as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
    Write::from(bundle).ops
}

/// A mesh. `api` speaks HTTP in every partition, so that no chain changes its protocol on the way.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let instances = |index| (vec(gateway(index), 0..3), vec(sidecar(index), 0..4));
    let places = (instances(0), instances(1), instances(2), instances(3));
    let entries = (vec(resolver(), 0..4), vec(defaults(), 0..7), vec(intentions(), 0..4));
    let elsewhere = ([0, 1, 2, 3].map(peering), federation(), servers(0));
    (places, entries, elsewhere).prop_map(|(places, (resolvers, defaults, intentions), elsewhere)| {
        let (peerings, federation, servers) = elsewhere;
        let elsewhere = peerings.into_iter().chain([federation, servers]).flatten();
        let (first, second, third, fourth) = places;
        let instances =
            [first, second, third, fourth].into_iter().flat_map(|(gateways, sidecars)| [gateways, sidecars]);
        let http = |partition| {
            entry(json!({ "Kind": "service-defaults", "Name": "api", "Partition": partition, "Protocol": "http" }))
        };
        let rows = (0..PLACES.len()).map(node_row).chain(instances.flatten().flatten());
        let entries = [resolvers, defaults, intentions].into_iter().flatten().chain(elsewhere);
        World::new(rows.chain([http("default"), http("team-a")]).chain(entries))
    })
}

/// A sidecar that sorts after all others, and that concerns nobody: its service is neither called nor exported.
pub(crate) fn fence(port: u16) -> (Vec<Op>, NodeIdentity) {
    let place = place(PLACES.len() - 1);
    let name = NodeName::from("zz");
    let node = Node {
        node: name.clone(),
        address: "10.9.0.1".to_owned(),
        datacenter: place.datacenter.clone(),
        partition: place.partition.clone(),
        ..Node::default()
    };
    let mut service = Service {
        kind: ServiceKind::ConnectProxy,
        id: ServiceId::from("fence"),
        name: "fence-sidecar-proxy".to_owned(),
        port,
        partition: place.partition.clone(),
        proxy: Proxy { destination_service_name: "fence".to_owned(), ..Proxy::default() },
        ..Service::default()
    };
    service.normalize();
    let key = NodeKey::new(&place, &name);
    let identity = identity(&key, &service);
    (vec![Op::PutNode(node), Op::PutService(key, service)], identity)
}

fn identity(node: &NodeKey, service: &Service) -> NodeIdentity {
    NodeIdentity {
        id: service.id.as_str().into(),
        datacenter: node.place.datacenter.as_str().into(),
        partition: node.place.partition.as_str().into(),
        namespace: "".into(),
        node_name: node.node.as_str().into(),
    }
}
