//! What resolving may ask about the state.

use std::sync::Arc;

use crate::model::entry::{
    ExportedServices, Mesh, ProxyDefaults, ServiceDefaults, ServiceResolver, ServiceRouter, ServiceSplitter,
};
use crate::model::{
    Check, Datacenter, IntentionPolicy, Node, Partition, Place, Service, ServiceKey, ServiceName, TrustDomain,
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
    /// Settings of the mesh of a partition.
    fn mesh(&self, partition: &Partition) -> Option<&Mesh>;
    /// What a partition exports.
    fn exports(&self, partition: &Partition) -> Option<&ExportedServices>;
    /// The instances that accept mesh traffic for a service, sorted.
    fn endpoints(&self, service: &ServiceKey) -> Vec<Instance>;
    /// The mesh gateways of a place, sorted.
    fn gateways(&self, place: &Place) -> Vec<Instance>;
    /// The services of a place that mesh traffic can reach, sorted.
    fn mesh_services(&self, place: &Place) -> Vec<ServiceKey>;
    /// Every datacenter that is known, sorted.
    fn datacenters(&self) -> Vec<Datacenter>;
    /// Every partition of a datacenter that is known, sorted.
    fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition>;
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
}
