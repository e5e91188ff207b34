//! Endpoints of a cluster.

use super::{ClusterName, SocketAddress};

/// The endpoints of one cluster, shared by every proxy whose cluster has the same source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its endpoints, in the order of node and service ID.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddress,
    /// Whether it takes traffic; `None` where nobody knows.
    pub health: Option<Health>,
    /// Load balancing weight, 1 to 128; `None` where nobody gave one.
    pub weight: Option<u32>,
}

impl Endpoint {
    /// An endpoint of which nothing is known but its address.
    pub const fn bare(address: SocketAddress) -> Self {
        Self { address, health: None, weight: None }
    }
}

/// Whether an endpoint takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not; it is sent all the same, so that it is not forgotten.
    Unhealthy,
}
