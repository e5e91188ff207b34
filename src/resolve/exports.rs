//! What a place exports to peers, and which services that lets them reach (contract 4.4, 5.2, 5.3).
//!
//! A peer dials an exported name. Where that name leads is the exporter's business: its chain may end in other services,
//! whose sidecars then meet callers of the peer's trust domain.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Overrides, TargetKey};
use super::state::State;
use crate::model::entry::ExportedServices;
use crate::model::{PeerName, Place, ServiceName};

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
        for service in named(state, place, entry) {
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

/// The services that the items of an entry name. A wildcard stands for those that mesh traffic can reach, and for names that
/// entries lead somewhere.
fn named(state: &dyn State, place: &Place, entry: &ExportedServices) -> BTreeSet<ServiceName> {
    let items = entry.services.iter().filter(|item| item.consumers.iter().any(|it| !it.peer.is_default()));
    let (wildcards, exact): (Vec<_>, Vec<_>) = items.partition(|item| item.name == "*");
    let mut named: BTreeSet<_> =
        exact.iter().map(|item| ServiceName::new(&place.partition, &item.namespace, &item.name)).collect();
    if !wildcards.is_empty() {
        let instances = state.mesh_services(place).into_iter().map(|service| service.service);
        named.extend(instances.chain(state.routed_services(&place.partition)));
    }
    named
}
