//! What resolving may ask about the state.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chain::{Chain, ChainError, Scope};
use super::exports::PeerExports;
use crate::model::entry::{
    ExportedServices, Mesh, ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceResolver, ServiceRouter,
    ServiceSplitter,
};
use crate::model::{
    Check, Datacenter, DnsDomain, IntentionPolicy, Node, NodeName, Partition, PeerKey, PeerTrustBundle, Peering, Place,
    QueryKey, Service, ServiceKey, ServiceName, TrustDomain,
};

/// An instance with the node it is on and the checks that judge it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The instance.
    pub service: Arc<Service>,
    /// Its node.
    pub node: Arc<Node>,
    /// The node's checks and its own.
    pub checks: Vec<Arc<Check>>,
    /// How fresh the instance's registration is, as its own catalog counts.
    pub modify_index: u64,
}

/// The mesh gateways of a datacenter as they were replicated to all datacenters (contract 4.5).
#[derive(Debug, Clone)]
pub struct FederationState {
    /// The datacenter.
    pub datacenter: Datacenter,
    /// Its gateways, healthy or not.
    pub mesh_gateways: Vec<Instance>,
}

/// A peering with its freshness.
#[derive(Debug, Clone)]
pub struct PeeringRow {
    /// The peering.
    pub peering: Arc<Peering>,
    /// The commit that last changed it; of several peerings with one server, the last changed one counts.
    pub modify_index: u64,
}

/// The state, as far as resolving asks about it. Whoever fulfils it may remember what was asked.
pub trait State {
    /// Defaults of the proxies of a partition.
    fn proxy_defaults(&self, partition: &Partition) -> Option<&ProxyDefaults>;
    /// Settings of a service.
    fn service_defaults(&self, service: &ServiceName) -> Option<&ServiceDefaults>;
    /// Where a service's name leads.
    fn resolver(&self, service: &ServiceName) -> Option<&ServiceResolver>;
    /// Which requests to a service go where.
    fn router(&self, service: &ServiceName) -> Option<&ServiceRouter>;
    /// Parts of a service's traffic that go elsewhere.
    fn splitter(&self, service: &ServiceName) -> Option<&ServiceSplitter>;
    /// Who may call the services that an entry names exactly so, wildcards included.
    fn intentions(&self, destination: &ServiceName) -> Option<&ServiceIntentions>;
    /// Settings of the mesh of a partition.
    fn mesh(&self, partition: &Partition) -> Option<&Mesh>;
    /// What a partition exports.
    fn exports(&self, partition: &Partition) -> Option<&ExportedServices>;
    /// The services of a partition that a resolver, router or splitter of their own leads somewhere, sorted.
    fn routed_services(&self, partition: &Partition) -> BTreeSet<ServiceName>;
    /// What a place exports to peers. Whoever fulfils this may find it out once for all who ask in one state.
    fn peer_exports(&self, place: &Place) -> Arc<PeerExports>;
    /// The discovery chain of a scope. Whoever fulfils this may compile it once for all who ask in one state.
    fn chain(&self, scope: &Scope) -> Arc<Result<Chain, ChainError>>;
    /// The instances that accept mesh traffic for a service, sorted.
    fn endpoints(&self, service: &ServiceKey) -> Vec<Instance>;
    /// The instances of a service under its own name, sorted.
    fn instances(&self, service: &ServiceKey) -> Vec<Instance>;
    /// A node.
    fn node(&self, place: &Place, node: &NodeName) -> Option<Arc<Node>>;
    /// The instances on a node, sorted by ID.
    fn services_on(&self, place: &Place, node: &NodeName) -> Vec<Arc<Service>>;
    /// The checks on a node, sorted by ID.
    fn checks_on(&self, place: &Place, node: &NodeName) -> Vec<Arc<Check>>;
    /// The mesh gateways of a place, sorted.
    fn gateways(&self, place: &Place) -> Vec<Instance>;
    /// The services of a place that mesh traffic can reach, sorted.
    fn mesh_services(&self, place: &Place) -> Vec<ServiceKey>;
    /// Every datacenter that is known, sorted.
    fn datacenters(&self) -> Vec<Datacenter>;
    /// Every partition of a datacenter that is known, sorted.
    fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition>;
    /// The partitions that somebody has a certificate of, sorted, whether or not anything is registered in them.
    fn certified_partitions(&self) -> Vec<Partition>;
    /// The federation states of all datacenters, sorted by datacenter.
    fn federation_states(&self) -> Vec<FederationState>;
    /// The peerings of a place, sorted by name.
    fn peerings(&self, place: &Place) -> Vec<PeeringRow>;
    /// The roots of the own trust domain in PEM form, one after the other.
    fn roots(&self) -> String;
    /// The roots of a peer.
    fn trust_bundle(&self, peer: &PeerKey) -> Option<Arc<PeerTrustBundle>>;
    /// The roots of all peers of a place, sorted by peering.
    fn trust_bundles(&self, place: &Place) -> Vec<Arc<PeerTrustBundle>>;
    /// The services of a peer that mesh traffic can reach, sorted; their partition is ours.
    fn imported_services(&self, peer: &PeerKey) -> Vec<ServiceName>;
    /// The instances that accept mesh traffic for a service of a peer, sorted: where the peer has gateways, one for each.
    fn imported(&self, peer: &PeerKey, service: &ServiceName) -> Vec<Instance>;
    /// What executing a prepared query answers, in its order; nothing if no such query is known.
    fn query(&self, query: &QueryKey) -> Option<Vec<Instance>>;
}

/// What is the same for every proxy.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The state.
    pub state: &'a dyn State,
    /// The trust domain of every identity.
    pub trust_domain: &'a TrustDomain,
    /// What happens to calls that no intention speaks about.
    pub default_intention: IntentionPolicy,
    /// The DNS domain of the agents.
    pub dns_domain: &'a DnsDomain,
}
