//! Endpoints of a cluster.

use super::{ClusterName, SocketAddress};

/// The endpoints of one cluster, shared by every proxy whose cluster has the same source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its endpoints, in the order of node and service ID.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddress,
    /// Whether it takes traffic.
    pub health: Health,
    /// Load balancing weight, 1 to 128.
    pub weight: u32,
}

/// Whether an endpoint takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not; it is sent all the same, so that it is not forgotten.
    Unhealthy,
}
