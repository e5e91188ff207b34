//! What is known of places that are not ours: peers with what they export, datacenters elsewhere, servers, and what prepared
//! queries find.

use meshgate::codec;
use meshgate::model::{Place, Service, ServiceId};
use meshgate::store::{Op, Write};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use serde_json::{Value, json};

use super::catalog::instance;
use super::{PEER, PLACES, QUERY, place};

/// The services that the peer exports to us. Nothing is known of the others.
const IMPORTED: [&str; 2] = ["api", "db"];
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
pub(super) fn peering(index: usize) -> impl Strategy<Value = Vec<Op>> {
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
pub(super) fn servers(index: usize) -> impl Strategy<Value = Vec<Op>> {
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
            instance(index, 0, service, None)
        };
        (0..).zip(replicas).flat_map(server).collect()
    })
}

/// Datacenters without rows, federation states, and results of queries.
pub(super) fn federation() -> impl Strategy<Value = Vec<Op>> {
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
