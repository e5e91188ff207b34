//! A [`View`] that remembers what was read from it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Index, Instance, Key, NodeKey, Stored, View};
use crate::model::{
    CaConfig, Check, ConfigEntry, Datacenter, EntryKey, EntryKind, FederationState, Imported, InstanceId, Leaf,
    NamespaceDefinition, Node, Partition, PartitionDefinition, PeerKey, PeerTrustBundle, Peering, Place, QueryKey,
    QueryResult, Root, Service, ServiceKey, ServiceName, SpiffeId,
};

/// Reads a view and records the keys that the answers depend on, also where the answer was "nothing".
#[derive(Debug)]
pub struct Reader<'v> {
    view: &'v View,
    read: RefCell<BTreeSet<Key>>,
}

impl<'v> Reader<'v> {
    /// A reader that has read nothing yet.
    pub fn new(view: &'v View) -> Self {
        Self { view, read: RefCell::default() }
    }

    fn note(&self, key: Key) {
        self.read.borrow_mut().insert(key);
    }

    /// What is read.
    pub fn view(&self) -> &'v View {
        self.view
    }

    /// Takes note of what somebody else read to answer.
    pub fn note_all(&self, keys: &BTreeSet<Key>) {
        self.read.borrow_mut().extend(keys.iter().cloned());
    }

    /// Everything that was read.
    pub fn into_read_set(self) -> BTreeSet<Key> {
        self.read.into_inner()
    }

    /// The last commit that changed something that was read; never 0.
    pub fn index(&self) -> Index {
        self.read.borrow().iter().map(|key| self.view.changed_at(key)).max().unwrap_or_default().max(1)
    }

    /// The datacenters with rows.
    pub fn datacenters(&self) -> Vec<Datacenter> {
        self.note(Key::Datacenters);
        self.view.datacenters()
    }

    /// The partitions of a datacenter.
    pub fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition> {
        self.note(Key::Partitions(datacenter.clone()));
        self.view.partitions(datacenter)
    }

    /// What was said about the partitions of a datacenter.
    pub fn partition_definitions(
        &self,
        datacenter: &Datacenter,
    ) -> impl Iterator<Item = &'v Stored<PartitionDefinition>> + use<'v> {
        self.note(Key::PartitionDefinitions(datacenter.clone()));
        self.view.partition_definitions(datacenter)
    }

    /// What was said about the namespaces of a partition.
    pub fn namespace_definitions(
        &self,
        partition: &Partition,
    ) -> impl Iterator<Item = &'v Stored<NamespaceDefinition>> + use<'v> {
        self.note(Key::NamespaceDefinitions(partition.clone()));
        self.view.namespace_definitions(partition)
    }

    /// The nodes of a place.
    pub fn nodes(&self, place: &Place) -> impl Iterator<Item = &'v Stored<Node>> {
        self.note(Key::Nodes(place.clone()));
        self.view.nodes(place)
    }

    /// A node, for readers that show it with all that is on it.
    pub fn node(&self, key: &NodeKey) -> Option<&'v Stored<Node>> {
        self.note(Key::Node(key.place.clone(), key.node.clone()));
        self.view.node(key)
    }

    /// The instances on a node.
    pub fn services_on(&self, key: &NodeKey) -> impl Iterator<Item = &'v Stored<Service>> {
        self.note(Key::Node(key.place.clone(), key.node.clone()));
        self.view.services_on(key)
    }

    /// The checks on a node.
    pub fn checks_on(&self, key: &NodeKey) -> impl Iterator<Item = &'v Stored<Check>> {
        self.note(Key::Node(key.place.clone(), key.node.clone()));
        self.view.checks_on(key)
    }

    /// An instance's own registration.
    pub fn service(&self, id: &InstanceId) -> Option<&'v Stored<Service>> {
        self.note(Key::Instance(id.clone()));
        self.view.service(id)
    }

    /// The services of a place.
    pub fn service_keys(&self, place: &Place) -> impl Iterator<Item = &'v ServiceKey> {
        self.note(Key::ServiceNames(place.clone()));
        self.view.service_keys(place)
    }

    /// The services of a place with the tags of their instances.
    pub fn service_tags(&self, place: &Place) -> Vec<(&'v ServiceKey, BTreeSet<&'v str>)> {
        self.service_keys(place).map(|key| (key, self.view.tags_of(key))).collect()
    }

    /// The services of a place that mesh traffic can reach.
    pub fn mesh_service_keys(&self, place: &Place) -> impl Iterator<Item = &'v ServiceKey> {
        self.note(Key::MeshServiceNames(place.clone()));
        self.view.mesh_service_keys(place)
    }

    /// The instances of a service under its own name.
    pub fn instances_named(&self, service: &ServiceKey) -> Vec<Instance> {
        self.note(Key::Service(service.clone()));
        self.view.instances_named(service)
    }

    /// The instances that accept mesh traffic for a service.
    pub fn endpoints(&self, service: &ServiceKey) -> Vec<Instance> {
        self.note(Key::Endpoints(service.clone()));
        self.view.endpoints(service)
    }

    /// The mesh gateways of a place.
    pub fn mesh_gateways(&self, place: &Place) -> Vec<Instance> {
        self.note(Key::Gateways(place.clone()));
        self.view.mesh_gateways(place)
    }

    /// A config entry.
    pub fn entry(&self, key: &EntryKey) -> Option<&'v Stored<ConfigEntry>> {
        self.note(Key::Entry(key.clone()));
        self.view.entry(key)
    }

    /// The config entries of a kind in a partition, sorted by name.
    pub fn entries(&self, kind: EntryKind, partition: &Partition) -> Vec<&'v Stored<ConfigEntry>> {
        self.note(Key::Entries(kind, partition.clone()));
        let wanted = self.view.entries().filter(|(key, _)| key.kind == kind && key.name.partition == *partition);
        wanted.map(|(_, row)| row).collect()
    }

    /// The config entries of a kind in every partition, sorted by name.
    pub fn entries_of_kind(&self, kind: EntryKind) -> impl Iterator<Item = &'v Stored<ConfigEntry>> + use<'v> {
        self.note(Key::EntriesOfKind(kind));
        self.view.entries().filter(move |(key, _)| key.kind == kind).map(|(_, row)| row)
    }

    /// The federation states of all datacenters.
    pub fn federation_states(&self) -> impl Iterator<Item = &'v Stored<FederationState>> {
        self.note(Key::FederationStates);
        self.view.federation_states()
    }

    /// The peerings of a place.
    pub fn peerings(&self, place: &Place) -> impl Iterator<Item = &'v Stored<Peering>> {
        self.note(Key::Peerings(place.clone()));
        self.view.peerings(place)
    }

    /// The trust bundle of a peering.
    pub fn trust_bundle(&self, peer: &PeerKey) -> Option<&'v Stored<PeerTrustBundle>> {
        self.note(Key::TrustBundle(peer.clone()));
        self.view.trust_bundle(peer)
    }

    /// The trust bundles of the peerings of a place.
    pub fn trust_bundles(&self, place: &Place) -> impl Iterator<Item = &'v Stored<PeerTrustBundle>> {
        self.note(Key::TrustBundles(place.clone()));
        self.view.trust_bundles(place)
    }

    /// Everything that was imported through a peering.
    pub fn imported_from(&self, peer: &PeerKey) -> impl Iterator<Item = &'v Stored<Imported>> {
        self.note(Key::ImportedFrom(peer.clone()));
        self.view.imported_from(peer)
    }

    /// The services of a peer that mesh traffic can reach.
    pub fn imported_names(&self, peer: &PeerKey) -> impl Iterator<Item = &'v ServiceName> {
        self.note(Key::ImportedNames(peer.clone()));
        self.view.imported_names(peer)
    }

    /// The instances that accept mesh traffic for a service of a peer.
    pub fn imported(&self, peer: &PeerKey, service: &ServiceName) -> impl Iterator<Item = &'v Stored<Imported>> {
        self.note(Key::Imported(peer.clone(), service.clone()));
        self.view.imported(peer, service)
    }

    /// The prepared queries of a place that there are results of.
    pub fn queries(&self, place: &Place) -> impl Iterator<Item = QueryKey> {
        self.note(Key::Queries(place.clone()));
        self.view.queries(place).map(|row| row.value.key())
    }

    /// The results of a prepared query.
    pub fn query(&self, key: &QueryKey) -> Option<&'v Stored<QueryResult>> {
        self.note(Key::Query(key.clone()));
        self.view.query(key)
    }

    /// The configuration of the CA, if somebody has written one.
    pub fn ca_config(&self) -> Option<&'v Stored<CaConfig>> {
        self.note(Key::CaConfig);
        self.view.ca_config()
    }

    /// The roots of the CA, the active one first.
    pub fn roots(&self) -> Vec<&'v Stored<Root>> {
        self.note(Key::Roots);
        self.view.roots()
    }

    /// The root that signs.
    pub fn active_root(&self) -> Option<&'v Arc<Root>> {
        self.note(Key::Roots);
        self.view.active_root()
    }

    /// The partitions that somebody has a certificate of.
    pub fn certified_partitions(&self) -> impl Iterator<Item = &'v Partition> {
        self.note(Key::CertifiedPartitions);
        self.view.certified_partitions()
    }

    /// The leaf of an identity.
    pub fn leaf(&self, identity: &SpiffeId) -> Option<&'v Stored<Leaf>> {
        self.note(Key::Leaf(identity.clone()));
        self.view.leaf(identity)
    }
}
