//! Keys: the parts of the state that readers depend on and commits change.

use crate::model::{
    Datacenter, EntryKey, EntryKind, InstanceId, NodeName, Partition, PeerKey, Place, QueryKey, ServiceKey,
    ServiceName, SpiffeId,
};

/// A part of the state, as coarse as its readers need it.
///
/// Generation and blocking queries remember the keys they read; a commit stamps the keys it changed. Whoever read none
/// of them has nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The names of the datacenters with rows.
    Datacenters,
    /// The names of the partitions of a datacenter with rows.
    Partitions(Datacenter),
    /// What was said about the partitions of a datacenter.
    PartitionDefinitions(Datacenter),
    /// What was said about the namespaces of a partition.
    NamespaceDefinitions(Partition),
    /// The nodes of a place.
    Nodes(Place),
    /// One node with all that is registered on it.
    Node(Place, NodeName),
    /// The registration of one instance.
    Instance(InstanceId),
    /// The names of the services of a place, with their tags.
    ServiceNames(Place),
    /// The names of the services of a place that mesh traffic can reach.
    MeshServiceNames(Place),
    /// The instances of a service under its own name, with their nodes and checks.
    Service(ServiceKey),
    /// The instances that accept mesh traffic for a service, with their nodes and checks.
    Endpoints(ServiceKey),
    /// The mesh gateways of a place, with their nodes and checks.
    Gateways(Place),
    /// One config entry.
    Entry(EntryKey),
    /// All config entries of a kind in a partition.
    Entries(EntryKind, Partition),
    /// All config entries of a kind, in every partition.
    EntriesOfKind(EntryKind),
    /// The peerings of a place.
    Peerings(Place),
    /// The trust bundle of a peering.
    TrustBundle(PeerKey),
    /// The trust bundles of all peerings of a place.
    TrustBundles(Place),
    /// Everything that was imported through a peering.
    ImportedFrom(PeerKey),
    /// The names of the services of a peer that mesh traffic can reach.
    ImportedNames(PeerKey),
    /// The instances that accept mesh traffic for a service of a peer, with their nodes and checks.
    Imported(PeerKey, ServiceName),
    /// The federation states of all datacenters.
    FederationStates,
    /// The names of the prepared queries of a place.
    Queries(Place),
    /// The results of a prepared query.
    Query(QueryKey),
    /// The configuration of the CA.
    CaConfig,
    /// The roots of the CA.
    Roots,
    /// The leaf of one identity.
    Leaf(SpiffeId),
    /// The names of the partitions that somebody has a certificate of.
    CertifiedPartitions,
}
