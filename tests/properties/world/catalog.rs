//! Nodes, gateways and sidecars with their upstreams, and checks.

use std::collections::BTreeMap;

use meshgate::model::{
    Check, CheckStatus, Datacenter, DestinationType, GatewayMode, MeshGateway, Node, NodeName, OpaqueConfig, Partition,
    PeerName, Proxy, Service, ServiceAddress, ServiceId, ServiceKind, Upstream, Weights,
};
use meshgate::store::{NodeKey, Op};
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{PEER, PLACES, Purpose, SERVICES, SHOP, place};

/// Nodes of each place.
const NODES: [&str; 2] = ["node-1", "node-2"];
/// Most gateways of a place, and most instances of a service in it.
const GATEWAYS: u16 = 3;
const INSTANCES: u16 = 2;

/// The last part of an address.
fn digits(index: usize, number: usize) -> usize {
    10 * (index + 1) + number
}

fn node_key(index: usize, number: usize) -> NodeKey {
    NodeKey::new(&place(index), &NodeName::from(NODES[number]))
}

/// Everything that is registered in one place.
pub(super) fn place_rows(index: usize, purpose: Purpose) -> impl Strategy<Value = Vec<Op>> {
    let (gateway, sidecar) = match purpose {
        Purpose::Everything => (0.3, 0.15),
        Purpose::Paths => (0.6, 0.55),
    };
    let gateways: Vec<_> =
        (0..GATEWAYS).map(|number| option::weighted(gateway, self::gateway(index, number))).collect();
    let shop = [SHOP].into_iter().filter(|_| purpose == Purpose::Everything);
    let services = SERVICES.into_iter().chain(shop).zip(0..);
    let sidecars: Vec<_> = services
        .flat_map(|service| (1..=INSTANCES).map(move |number| (service, number)))
        .map(|(service, number)| option::weighted(sidecar, self::sidecar(index, service, number, purpose)))
        .collect();
    (nodes(index), gateways, sidecars).prop_map(|(nodes, gateways, sidecars)| {
        nodes.into_iter().chain(gateways.into_iter().chain(sidecars).flatten().flatten()).collect()
    })
}

/// The nodes; now and then one of them is broken.
fn nodes(index: usize) -> impl Strategy<Value = Vec<Op>> {
    let broken = [option::weighted(0.04, Just(())), option::weighted(0.04, Just(()))];
    (broken, any::<bool>()).prop_map(move |(broken, has_wan)| {
        let place = place(index);
        let mut rows = Vec::new();
        for (number, name) in NODES.iter().enumerate() {
            let wan = has_wan.then(|| ("wan".to_owned(), format!("192.0.2.{}", digits(index, number))));
            rows.push(Op::PutNode(Node {
                node: NodeName::from(*name),
                address: format!("10.{index}.0.{number}"),
                tagged_addresses: wan.into_iter().collect(),
                datacenter: place.datacenter.clone(),
                partition: place.partition.clone(),
                ..Node::default()
            }));
            if broken[number].is_some() {
                rows.push(check(index, number, "", CheckStatus::Critical));
            }
        }
        rows
    })
}

fn check(index: usize, number: usize, service: &str, status: CheckStatus) -> Op {
    Op::PutCheck(Check {
        node: NodeName::from(NODES[number]),
        check_id: format!("check:{service}").into(),
        service_id: ServiceId::from(service),
        status,
        datacenter: place(index).datacenter,
        partition: place(index).partition,
        ..Check::default()
    })
}

/// An instance with a check that says this.
pub(super) fn instance(index: usize, number: usize, mut service: Service, status: Option<CheckStatus>) -> Vec<Op> {
    service.partition = place(index).partition;
    service.normalize();
    let check = status.map(|status| check(index, number, service.id.as_str(), status));
    std::iter::once(Op::PutService(node_key(index, number), service)).chain(check).collect()
}

fn status() -> impl Strategy<Value = Option<CheckStatus>> {
    prop_oneof![
        3 => Just(None),
        6 => Just(Some(CheckStatus::Passing)),
        1 => Just(Some(CheckStatus::Warning)),
        2 => Just(Some(CheckStatus::Critical)),
    ]
}

fn mode() -> impl Strategy<Value = Option<GatewayMode>> {
    option::of(select(GatewayMode::ALL.to_vec()))
}

/// How a gateway is reached from outside of its place.
#[derive(Debug, Clone, Copy)]
enum Wan {
    /// At an address of its own, which something translates into the inner one.
    Translated,
    /// At an address of its own, which it listens on.
    Bound,
    /// By a host name that all of its place share.
    Name,
    /// Like from inside, or by the address of its node.
    Unset,
}

fn gateway(index: usize, number: u16) -> impl Strategy<Value = Vec<Op>> {
    let wan = prop_oneof![
        3 => Just(Wan::Translated), 2 => Just(Wan::Bound), 1 => Just(Wan::Name), 2 => Just(Wan::Unset),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (wan, status(), flags).prop_map(move |(wan, status, (has_address, keepalive, strict_dns, federates))| {
        let address = if has_address { format!("10.{index}.1.{number}") } else { String::new() };
        let wan_address = match wan {
            Wan::Translated | Wan::Bound => Some(format!("198.51.100.{}", digits(index, usize::from(number)))),
            Wan::Name => Some(format!("gateways-{index}.example")),
            Wan::Unset => None,
        };
        let wan_address = wan_address.map(|address| ServiceAddress { address, port: 443 });
        let flag = |key: &str, is_set: bool| is_set.then(|| (key.to_owned(), json!(true)));
        let mut config: OpaqueConfig = [
            flag("envoy_gateway_remote_tcp_enable_keepalive", keepalive),
            flag("envoy_gateway_bind_tagged_addresses", matches!(wan, Wan::Bound)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if strict_dns {
            config.insert("envoy_dns_discovery_type".to_owned(), json!("STRICT_DNS"));
        }
        let service = Service {
            kind: ServiceKind::MeshGateway,
            id: ServiceId::from(format!("gateway-{number}")),
            name: "mesh-gateway".to_owned(),
            address,
            port: 8_443 + number,
            tagged_addresses: wan_address.map(|address| ("wan".to_owned(), address)).into_iter().collect(),
            proxy: Proxy { config, ..Proxy::default() },
            meta: federates.then(|| ("consul-wan-federation".to_owned(), "1".to_owned())).into_iter().collect(),
            ..Service::default()
        };
        instance(index, usize::from(number) % NODES.len(), service, status)
    })
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

fn upstream_config() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({ "connect_timeout_ms": 1500 })),
        1 => Just(json!({ "protocol": "http2" })),
    ]
}

fn upstreams(index: usize, purpose: Purpose) -> impl Strategy<Value = Vec<Upstream>> {
    let place = place(index);
    // Nobody names a datacenter from outside of the default partition.
    let is_default = place.partition.is_default();
    let mut whereabouts = vec![Whereabouts::Here, Whereabouts::OtherPartition];
    whereabouts.extend(is_default.then_some(Whereabouts::OtherDatacenter));
    if purpose == Purpose::Everything {
        whereabouts.extend([Whereabouts::Peer, Whereabouts::Query]);
    }
    let target = (select(SERVICES.to_vec()), select(whereabouts));
    let count = match purpose {
        Purpose::Everything => 0..4,
        Purpose::Paths => 1..4,
    };
    btree_map(target, (mode(), upstream_config()), count).prop_map(move |chosen: BTreeMap<_, _>| {
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

fn sidecar(
    index: usize,
    (name, position): (&'static str, u16),
    number: u16,
    purpose: Purpose,
) -> impl Strategy<Value = Vec<Op>> {
    let weights = prop_oneof![4 => Just(Weights::default()), 1 => Just(Weights { passing: 5, warning: 0 })];
    // Where it listens: on its node, or on an address of its own, which the outside may know by another one.
    let addresses = prop_oneof![3 => Just((false, false)), 1 => Just((true, false)), 1 => Just((true, true))];
    let upstreams = upstreams(index, purpose);
    (status(), mode(), upstreams, weights, addresses).prop_map(
        move |(status, mode, upstreams, weights, (is_own, has_wan))| {
            let offset = position * 10 + number;
            let wan = ServiceAddress { address: format!("203.0.113.{index}"), port: 30_000 + offset };
            let service = Service {
                kind: ServiceKind::ConnectProxy,
                id: ServiceId::from(format!("{name}-{number}-sidecar-proxy")),
                name: format!("{name}-sidecar-proxy"),
                address: if is_own { format!("10.{index}.2.{offset}") } else { String::new() },
                port: 21_000 + offset,
                tagged_addresses: has_wan.then(|| ("wan".to_owned(), wan)).into_iter().collect(),
                meta: [("version".to_owned(), number.to_string())].into(),
                weights,
                proxy: Proxy {
                    destination_service_name: name.to_owned(),
                    local_service_port: 8_000 + offset,
                    mesh_gateway: MeshGateway { mode },
                    upstreams,
                    ..Proxy::default()
                },
                ..Service::default()
            };
            instance(index, usize::from(number - 1), service, status)
        },
    )
}

const _: () = assert!(PLACES.len() < 10 && NODES.len() == INSTANCES as usize, "addresses are made of digits");
