//! Load assignments.

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};

use super::snapshot::Resource;
use super::{canonical, names, wire};
use crate::ir;

/// A load assignment. Without endpoints it has one empty locality, which tells Envoy that there are none.
pub fn translate(assignment: &ir::Assignment) -> Resource {
    let name = names::cluster(&assignment.cluster);
    let message = ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: vec![locality(&assignment.endpoints)],
        ..ClusterLoadAssignment::default()
    };
    Resource::new(&name, canonical::encode(&message), [])
}

/// All endpoints in one locality.
pub(super) fn locality(endpoints: &[ir::Endpoint]) -> LocalityLbEndpoints {
    LocalityLbEndpoints { lb_endpoints: endpoints.iter().map(lb_endpoint).collect(), ..LocalityLbEndpoints::default() }
}

fn lb_endpoint(endpoint: &ir::Endpoint) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(wire::address(&endpoint.address)),
            ..Endpoint::default()
        })),
        health_status: match endpoint.health {
            None => HealthStatus::Unknown,
            Some(ir::Health::Healthy) => HealthStatus::Healthy,
            Some(ir::Health::Unhealthy) => HealthStatus::Unhealthy,
        }
        .into(),
        load_balancing_weight: endpoint.weight.map(wire::uint32),
        ..LbEndpoint::default()
    }
}
