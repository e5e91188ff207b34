//! Peers change secrets, and nothing that Envoy would have to drain for.

use super::*;
use crate::envoy::snapshot::{Resource, Version};
use crate::model::{PeerName, PeerTrustBundle, Peering};

fn peering(place: &Place, name: &str) -> Op {
    Op::PutPeering(Peering {
        datacenter: place.datacenter.clone(),
        partition: place.partition.clone(),
        name: PeerName::from(name),
        ..Peering::default()
    })
}

fn root() -> String {
    rcgen::generate_simple_self_signed(vec!["root".to_owned()]).unwrap().cert.pem()
}

fn bundle(place: &Place, peer: &str, root: &str) -> Op {
    Op::PutTrustBundle(PeerTrustBundle {
        datacenter: place.datacenter.clone(),
        partition: place.partition.clone(),
        peer: PeerName::from(peer),
        trust_domain: format!("{peer}.example"),
        root_pems: vec![root.to_owned()],
        ..PeerTrustBundle::default()
    })
}

/// All services of the default partition, for these peers.
fn exports(peers: &[&str]) -> Op {
    let consumers = peers.iter().map(|peer| Consumer { peer: PeerName::from(*peer), ..Consumer::default() });
    let service =
        ExportedService { name: "*".to_owned(), consumers: consumers.collect(), ..ExportedService::default() };
    let mut entry =
        ConfigEntry::ExportedServices(ExportedServices { services: vec![service], ..ExportedServices::default() });
    entry.normalize(&Partition::default(), &Namespace::default());
    Op::PutEntry(entry)
}

/// Names of the resources of any type that differ.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let versions = |snapshot: &Snapshot, kind| -> Vec<(String, Version)> {
        let version = |resource: &Arc<Resource>| (resource.name.to_string(), resource.version);
        snapshot.get(kind).values().map(version).collect()
    };
    let of_type = |kind: ResourceType| {
        let before = versions(before, kind);
        let changed = versions(after, kind).into_iter().filter(move |it| !before.contains(it));
        changed.map(move |(name, _)| format!("{kind} {name}"))
    };
    ResourceType::ALL.into_iter().flat_map(of_type).collect()
}

/// True if the validator of callers holds this.
fn accepts(snapshot: &Snapshot, text: &str) -> bool {
    let secret = snapshot.get(ResourceType::Secret).get("callers").unwrap();
    crate::envoy::json::resource(ResourceType::Secret, &secret.body).unwrap().to_string().contains(text)
}

#[tokio::test]
async fn a_service_that_peers_begin_to_import_changes_one_secret() {
    let bench = bench().await;
    let (here, there) = (place("dc1", ""), place("dc1", "team-a"));
    bench.write(on_node(&here, sidecar("db", 21_000, vec![]))).await;
    let mut db = bench.watch("db-sidecar-proxy", "");
    let alone = db.next().await;
    assert!(!accepts(&alone, "trustDomains"));

    bench.write(vec![peering(&here, "west"), bundle(&here, "west", &root()), exports(&["west"])]).await;

    let with_west = db.until(|snapshot| accepts(snapshot, "west.example")).await;
    assert_eq!(changes(&alone, &with_west), ["SDS callers"]);

    // A peer of the same name elsewhere is another one.
    bench.write(vec![peering(&there, "west"), bundle(&there, "west", &root())]).await;
    bench.write(vec![peering(&here, "north"), bundle(&here, "north", &root()), exports(&["west", "north"])]).await;

    let with_both = db.next().await;
    assert!(accepts(&with_both, "north.example"), "the other west sent something");
    assert_eq!(changes(&with_west, &with_both), ["SDS callers"]);

    bench.write(vec![exports(&["north"])]).await;

    let with_north = db.next().await;
    assert!(!accepts(&with_north, "west.example"));
    assert_eq!(changes(&with_both, &with_north), ["SDS callers"]);
}

#[tokio::test]
async fn a_bundle_that_cannot_be_read_is_told_and_leaves_the_others() {
    let bench = bench().await;
    let here = place("dc1", "");
    bench.write(on_node(&here, sidecar("db", 21_000, vec![]))).await;
    let known = ["north", "west"].map(|peer| vec![peering(&here, peer), bundle(&here, peer, &root())]).concat();
    bench.write([known, vec![exports(&["north", "west"])]].concat()).await;
    let mut db = bench.watch("db-sidecar-proxy", "");
    assert!(accepts(&*db.next().await, "west.example"));

    bench.write(vec![bundle(&here, "west", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]).await;

    let after = db.next().await;
    assert!(accepts(&after, "north.example") && !accepts(&after, "west.example"));
    let problems = bench.engine.proxies()[0].problems.clone();
    assert!(problems[0].starts_with("the trust bundle of peer west has no certificate"), "{problems:?}");

    bench.write(vec![bundle(&here, "west", &root())]).await;

    assert!(accepts(&*db.next().await, "west.example"));
    assert_eq!(bench.engine.proxies()[0].problems, Vec::<String>::new());
}
