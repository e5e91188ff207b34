//! What a place exports, and which services that lets them reach (contract 4.4, 5.2, 5.3).
//!
//! A peer dials an exported name. Where that name leads is the exporter's business: its chain may end in other services,
//! whose sidecars then meet callers of the peer's trust domain.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Overrides, TargetKey};
use super::state::State;
use crate::model::entry::{Consumer, ExportedServices};
use crate::model::{Partition, PeerName, Place, ServiceName};

/// The service of the control plane's own servers, which no wildcard exports.
pub(super) const SERVERS: &str = "consul";

/// What a place exports to peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerExports {
    /// The peers that import each service under its own name.
    pub exported: BTreeMap<ServiceName, BTreeSet<PeerName>>,
    /// The peers whose calls can end at each service, because they import it or another one that leads to it.
    reachable: BTreeMap<ServiceName, BTreeSet<PeerName>>,
}

impl PeerExports {
    /// The exports of a place.
    pub fn of(state: &dyn State, place: &Place) -> Self {
        let Some(entry) = state.exports(&place.partition) else { return Self::default() };
        let mut exports = Self::default();
        for service in named(state, place, entry, |consumer| !consumer.peer.is_default()) {
            let peers = entry.importing_peers(&service);
            if !peers.is_empty() && &*service.name != SERVERS {
                exports.exported.insert(service, peers);
            }
        }
        for (service, peers) in &exports.exported {
            let chain = state.chain(&Overrides::default().scope(service, &place.datacenter));
            let is_here = |target: &&TargetKey| target.peer.is_default() && target.place() == *place;
            let targets = chain.iter().flat_map(|chain| chain.targets.keys()).filter(is_here);
            let reached = std::iter::once(service).chain(targets.map(|target| &target.service));
            for service in reached {
                exports.reachable.entry(service.clone()).or_default().extend(peers.iter().cloned());
            }
        }
        exports
    }

    /// The peers whose calls can end at a service, sorted.
    pub fn callers_of(&self, service: &ServiceName) -> BTreeSet<PeerName> {
        self.reachable.get(service).cloned().unwrap_or_default()
    }
}

/// A service that a place exports under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The service.
    pub service: ServiceName,
    /// The peers that import it.
    pub peers: BTreeSet<PeerName>,
    /// The other partitions of the datacenter that do.
    pub partitions: BTreeSet<Partition>,
}

/// Everything that a place exports, sorted by name; in place of a wildcard the services that it stands for.
pub fn exported_services(state: &dyn State, place: &Place) -> Vec<Exported> {
    let Some(entry) = state.exports(&place.partition) else { return Vec::new() };
    let services = named(state, place, entry, |_| true).into_iter().filter(|service| &*service.name != SERVERS);
    let exported = services.map(|service| {
        let partitions = entry.importing_partitions(&service).into_iter();
        let partitions = partitions.filter(|partition| *partition != place.partition).collect();
        Exported { peers: entry.importing_peers(&service), partitions, service }
    });
    exported.filter(|exported| !(exported.peers.is_empty() && exported.partitions.is_empty())).collect()
}

/// The services that the wanted items of an entry name. A wildcard stands for those that mesh traffic can reach, and for
/// names that entries lead somewhere.
fn named(
    state: &dyn State,
    place: &Place,
    entry: &ExportedServices,
    is_wanted: impl Fn(&Consumer) -> bool,
) -> BTreeSet<ServiceName> {
    let items = entry.services.iter().filter(|item| item.consumers.iter().any(&is_wanted));
    let (wildcards, exact): (Vec<_>, Vec<_>) = items.partition(|item| item.name == "*");
    let mut named: BTreeSet<_> =
        exact.iter().map(|item| ServiceName::new(&place.partition, &item.namespace, &item.name)).collect();
    if !wildcards.is_empty() {
        let instances = state.mesh_services(place).into_iter().map(|service| service.service);
        named.extend(instances.chain(state.routed_services(&place.partition)));
    }
    named
}
