//! Where a cluster's endpoints come from, and what they are (contract 2.5, 3.11, 4.5, 4.7).
//!
//! A source says everything that its endpoints depend on, so that proxies with the same source share one assignment, and
//! a change of an instance recomputes assignments and no proxy.

use serde_json::json;

use super::health;
use super::state::{Instance, State};
use crate::ir::{Assignment, ClusterName, Endpoint, Health, SocketAddress};
use crate::model::{AddressForm, Filter, Partition, Place, ServiceKey, ServiceName, SocketEndpoint, instance_address};

/// A named part of a service's instances.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Subset {
    /// Filter expression over instances; all of them when empty.
    pub filter: String,
    /// Warning instances take no traffic.
    pub only_passing: bool,
}

impl From<&crate::model::entry::Subset> for Subset {
    fn from(subset: &crate::model::entry::Subset) -> Self {
        Self { filter: subset.filter.clone(), only_passing: subset.only_passing }
    }
}

/// What is dialled to reach a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Its instances.
    Instances(AddressForm),
    /// The mesh gateways of a place.
    Gateways(Place, AddressForm),
}

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointSource {
    /// A service, directly or through gateways.
    Service {
        /// The service; its health counts even where gateways are dialled.
        service: ServiceKey,
        /// The part of it.
        subset: Subset,
        /// What is dialled.
        via: Via,
        /// The partition of the caller, if it is another one: it needs an export.
        consumer: Option<Partition>,
    },
    /// The gateways of another place, for whatever lies behind them.
    RemoteGateways(Place),
}

/// A service that a caller may not reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// The service.
    pub service: ServiceKey,
    /// The caller's partition.
    pub consumer: Partition,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (service, owner) = (&self.service.service, &self.service.service.partition);
        write!(
            f,
            "{} of partition {owner} is not exported to partition {}: no endpoints; add the consumer to \
             exported-services/{owner}",
            service.name, self.consumer
        )
    }
}

/// The endpoints of `cluster` as they are now, and why there are none if the caller may not have any.
pub fn assignment(state: &dyn State, cluster: &ClusterName, source: &EndpointSource) -> (Assignment, Option<Refusal>) {
    let (endpoints, refusal) = match source {
        EndpointSource::RemoteGateways(place) => (of_remote_gateways(state, place), None),
        EndpointSource::Service { service, consumer: Some(consumer), .. }
            if !is_exported(state, &service.service, consumer) =>
        {
            let refusal = Refusal { service: service.clone(), consumer: consumer.clone() };
            (Vec::new(), Some(refusal))
        }
        EndpointSource::Service { service, subset, via, .. } => (of_service(state, service, subset, via), None),
    };
    (Assignment { cluster: cluster.clone(), endpoints }, refusal)
}

/// True if `service` is exported to this other partition.
pub(super) fn is_exported(state: &dyn State, service: &ServiceName, consumer: &Partition) -> bool {
    state.exports(&service.partition).is_some_and(|exports| exports.exports_to_partition(service, consumer))
}

fn of_service(state: &dyn State, service: &ServiceKey, subset: &Subset, via: &Via) -> Vec<Endpoint> {
    let instances = in_subset(state.endpoints(service), &subset.filter);
    match via {
        Via::Instances(form) => {
            instances.iter().map(|instance| endpoint(instance, *form, subset.only_passing)).collect()
        }
        Via::Gateways(place, form) => {
            let somebody_is_there =
                instances.iter().any(|instance| health::of(instance, subset.only_passing).0 == Health::Healthy);
            let gateways = state.gateways(place);
            gateways
                .iter()
                .map(|gateway| {
                    let mut endpoint = endpoint(gateway, *form, false);
                    if !somebody_is_there {
                        endpoint.health = Health::Unhealthy;
                    }
                    endpoint
                })
                .collect()
        }
    }
}

fn of_remote_gateways(state: &dyn State, place: &Place) -> Vec<Endpoint> {
    state.gateways(place).iter().map(|gateway| endpoint(gateway, AddressForm::Wan, false)).collect()
}

/// An instance as an endpoint.
pub(super) fn endpoint(instance: &Instance, form: AddressForm, only_passing: bool) -> Endpoint {
    let SocketEndpoint { host, port } = instance_address(&instance.service, &instance.node, form);
    let (health, weight) = health::of(instance, only_passing);
    Endpoint { address: SocketAddress::Tcp(host.into(), port), health, weight }
}

/// The instances that a subset's filter selects. A filter that does not apply to an instance does not select it.
fn in_subset(instances: Vec<Instance>, filter: &str) -> Vec<Instance> {
    if filter.is_empty() {
        return instances;
    }
    // Stored filters were parsed when they were written.
    let Ok(filter) = Filter::parse(filter) else { return Vec::new() };
    let row = |instance: &Instance| {
        json!({
            "Node": &*instance.node,
            "Service": &*instance.service,
            "Checks": instance.checks.iter().map(|check| &**check).collect::<Vec<_>>(),
        })
    };
    instances.into_iter().filter(|instance| filter.matches(&row(instance)).unwrap_or(false)).collect()
}
