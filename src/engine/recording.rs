//! The state as resolving asks for it, with a record of what was asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chains::{self, Chains, Compiled, Derived};
use crate::ca::trust_bundle;
use crate::model::entry::{
    ExportedServices, Mesh, ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceResolver, ServiceRouter,
    ServiceSplitter,
};
use crate::model::{
    Check, ConfigEntry, Datacenter, EntryKey, EntryKind, HealthEntry, Namespace, Node, NodeName, Partition, PeerKey,
    PeerTrustBundle, Place, QueryKey, Service, ServiceKey, ServiceName,
};
use crate::resolve::{Chain, ChainError, FederationState, Instance, PeerExports, PeeringRow, Scope, State};
use crate::store::{self, NodeKey, Reader};

/// A reader that resolving can ask.
pub(super) struct Recording<'r, 'v> {
    reader: &'r Reader<'v>,
    /// Datacenters that exist without a row.
    hosted: &'r [Datacenter],
    /// Chains that are compiled already.
    chains: Option<&'r Chains>,
}

impl<'r, 'v> Recording<'r, 'v> {
    pub(super) fn new(reader: &'r Reader<'v>, hosted: &'r [Datacenter]) -> Self {
        Self { reader, hosted, chains: None }
    }

    /// The same, with chains of the reader's view to share.
    pub(super) fn sharing(self, chains: &'r Chains) -> Self {
        Self { chains: Some(chains), ..self }
    }

    fn entry(&self, kind: EntryKind, name: ServiceName) -> Option<&'v ConfigEntry> {
        self.reader.entry(&EntryKey { kind, name }).map(|row| &*row.value)
    }

    fn of_partition(&self, kind: EntryKind, partition: &Partition, name: &str) -> Option<&'v ConfigEntry> {
        self.entry(kind, ServiceName::new(partition, &Namespace::default(), name))
    }
}

/// The entry as the kind that it was asked for.
macro_rules! as_kind {
    ($entry:expr, $kind:ident) => {
        $entry.and_then(|entry| if let ConfigEntry::$kind(entry) = entry { Some(entry) } else { None })
    };
}

fn instance(instance: store::Instance) -> Instance {
    Instance {
        modify_index: instance.service.modify_index,
        service: instance.service.value,
        node: instance.node.value,
        checks: instance.checks.into_iter().map(|check| check.value).collect(),
    }
}

fn told(entry: &HealthEntry) -> Instance {
    Instance {
        service: entry.service.clone(),
        node: entry.node.clone(),
        checks: entry.checks.clone(),
        modify_index: entry.modify_index,
    }
}

impl State for Recording<'_, '_> {
    fn proxy_defaults(&self, partition: &Partition) -> Option<&ProxyDefaults> {
        as_kind!(self.of_partition(EntryKind::ProxyDefaults, partition, ProxyDefaults::NAME), ProxyDefaults)
    }

    fn service_defaults(&self, service: &ServiceName) -> Option<&ServiceDefaults> {
        as_kind!(self.entry(EntryKind::ServiceDefaults, service.clone()), ServiceDefaults)
    }

    fn resolver(&self, service: &ServiceName) -> Option<&ServiceResolver> {
        as_kind!(self.entry(EntryKind::ServiceResolver, service.clone()), ServiceResolver)
    }

    fn router(&self, service: &ServiceName) -> Option<&ServiceRouter> {
        as_kind!(self.entry(EntryKind::ServiceRouter, service.clone()), ServiceRouter)
    }

    fn splitter(&self, service: &ServiceName) -> Option<&ServiceSplitter> {
        as_kind!(self.entry(EntryKind::ServiceSplitter, service.clone()), ServiceSplitter)
    }

    fn intentions(&self, destination: &ServiceName) -> Option<&ServiceIntentions> {
        as_kind!(self.entry(EntryKind::ServiceIntentions, destination.clone()), ServiceIntentions)
    }

    fn mesh(&self, partition: &Partition) -> Option<&Mesh> {
        as_kind!(self.of_partition(EntryKind::Mesh, partition, Mesh::NAME), Mesh)
    }

    fn exports(&self, partition: &Partition) -> Option<&ExportedServices> {
        as_kind!(self.of_partition(EntryKind::ExportedServices, partition, partition.as_str()), ExportedServices)
    }

    fn endpoints(&self, service: &ServiceKey) -> Vec<Instance> {
        self.reader.endpoints(service).into_iter().map(instance).collect()
    }

    fn instances(&self, service: &ServiceKey) -> Vec<Instance> {
        self.reader.instances_named(service).into_iter().map(instance).collect()
    }

    fn node(&self, place: &Place, node: &NodeName) -> Option<Arc<Node>> {
        self.reader.node(&NodeKey::new(place, node)).map(|row| row.value.clone())
    }

    fn services_on(&self, place: &Place, node: &NodeName) -> Vec<Arc<Service>> {
        self.reader.services_on(&NodeKey::new(place, node)).map(|row| row.value.clone()).collect()
    }

    fn checks_on(&self, place: &Place, node: &NodeName) -> Vec<Arc<Check>> {
        self.reader.checks_on(&NodeKey::new(place, node)).map(|row| row.value.clone()).collect()
    }

    fn gateways(&self, place: &Place) -> Vec<Instance> {
        self.reader.mesh_gateways(place).into_iter().map(instance).collect()
    }

    fn mesh_services(&self, place: &Place) -> Vec<ServiceKey> {
        self.reader.mesh_service_keys(place).cloned().collect()
    }

    fn datacenters(&self) -> Vec<Datacenter> {
        let known = self.reader.datacenters().into_iter().chain(self.hosted.iter().cloned());
        known.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition> {
        self.reader.partitions(datacenter)
    }

    fn certified_partitions(&self) -> Vec<Partition> {
        self.reader.certified_partitions().cloned().collect()
    }

    fn federation_states(&self) -> Vec<FederationState> {
        let states = self.reader.federation_states().map(|row| &row.value);
        states
            .map(|state| FederationState {
                datacenter: state.datacenter.clone(),
                mesh_gateways: state.mesh_gateways.iter().map(told).collect(),
            })
            .collect()
    }

    fn peerings(&self, place: &Place) -> Vec<PeeringRow> {
        let rows = self.reader.peerings(place);
        rows.map(|row| PeeringRow { peering: row.value.clone(), modify_index: row.modify_index }).collect()
    }

    fn roots(&self) -> String {
        trust_bundle(self.reader)
    }

    fn trust_bundle(&self, peer: &PeerKey) -> Option<Arc<PeerTrustBundle>> {
        self.reader.trust_bundle(peer).map(|row| row.value.clone())
    }

    fn trust_bundles(&self, place: &Place) -> Vec<Arc<PeerTrustBundle>> {
        self.reader.trust_bundles(place).map(|row| row.value.clone()).collect()
    }

    fn imported_services(&self, peer: &PeerKey) -> Vec<ServiceName> {
        self.reader.imported_names(peer).cloned().collect()
    }

    fn imported(&self, peer: &PeerKey, service: &ServiceName) -> Vec<Instance> {
        self.reader.imported(peer, service).map(|row| told(&row.value.instance())).collect()
    }

    fn query(&self, query: &QueryKey) -> Option<Vec<Instance>> {
        self.reader.query(query).map(|row| row.value.nodes.iter().map(told).collect())
    }

    fn chain(&self, scope: &Scope) -> Arc<Result<Chain, ChainError>> {
        let view = self.reader.view();
        let Compiled { value, read } =
            self.chains.map_or_else(|| chains::compiled(view, scope), |chains| chains.get(view, scope));
        self.reader.note_all(&read);
        value
    }

    fn routed_services(&self, partition: &Partition) -> BTreeSet<ServiceName> {
        let kinds = [EntryKind::ServiceResolver, EntryKind::ServiceRouter, EntryKind::ServiceSplitter];
        let rows = kinds.into_iter().flat_map(|kind| self.reader.entries(kind, partition));
        rows.map(|row| row.value.key().name).collect()
    }

    fn peer_exports(&self, place: &Place) -> Arc<PeerExports> {
        let view = self.reader.view();
        let Derived { value, read } =
            self.chains.map_or_else(|| chains::exports(view, place), |chains| chains.exports(view, place));
        self.reader.note_all(&read);
        value
    }
}
