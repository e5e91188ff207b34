//! Where a cluster's endpoints come from, and what they are (contract 2.5, 3.11, 4.5, 4.7).
//!
//! A source says everything that its endpoints depend on, so that proxies with the same source share one assignment, and
//! a change of an instance recomputes assignments and no proxy.

mod servers;

use std::fmt;
use std::net::IpAddr;

use serde_json::json;

pub(super) use self::servers::{is_replica, servers};
use super::health;
use super::state::{Instance, State};
use crate::ir::{Assignment, ClusterName, Endpoint, Health, SocketAddress};
use crate::model::entry::GatewayHealth;
use crate::model::{
    AddressForm, Datacenter, Filter, NodeName, Partition, PeerKey, Place, QueryKey, ServiceKey, ServiceName,
    SocketEndpoint, instance_address,
};

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
    /// The gateways of another datacenter's default partition, as its catalog or its federation state has them.
    FederatedGateways(Datacenter),
    /// The gateways of the own place, for what a peer exports: its health says nothing about theirs.
    OwnGateways(Place),
    /// What a prepared query finds.
    Query {
        /// The query.
        query: QueryKey,
        /// Where it is dialled from.
        caller: Place,
    },
    /// A service of a peer, at the peer's gateways.
    Imported {
        /// The peering.
        peer: PeerKey,
        /// The service; its partition is that of the peering.
        service: ServiceName,
    },
    /// Servers of a datacenter.
    Servers(Datacenter, Servers),
    /// The servers of a peer.
    PeerServers(PeerKey),
}

/// Which servers of a datacenter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Servers {
    /// All of them.
    All,
    /// The one on this node.
    OnNode(NodeName),
    /// Those that speak with peers, at the port for that.
    Peering,
}

/// Endpoints that an assignment goes without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Omission {
    /// All of them: the caller's partition is no consumer of the service.
    NotExported {
        /// The service.
        service: ServiceKey,
        /// The caller's partition.
        consumer: Partition,
    },
    /// One that has a host name for an address. Envoy would refuse it together with everything it was sent with.
    HostName {
        /// Whose address it is.
        owner: String,
        /// The address.
        address: String,
    },
    /// All of them: the way goes through the mesh gateways of a place, and none of them takes traffic.
    NoGateway(Place),
    /// A server that does not say at which port it speaks with peers.
    NoPeeringPort {
        /// The server.
        owner: String,
    },
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Omission::NotExported { service, consumer } => {
                let (name, owner) = (&service.service.name, &service.service.partition);
                write!(
                    f,
                    "{name} of partition {owner} is not exported to partition {consumer}: no endpoints; add the \
                     consumer to exported-services/{owner}"
                )
            }
            Omission::HostName { owner, address } => write!(
                f,
                "{owner} has the host name {address:?} for an address, which Envoy does not take for an endpoint: it \
                 gets no traffic; register it with an IP address"
            ),
            Omission::NoGateway(place) => write!(
                f,
                "no mesh gateway of datacenter {}, partition {} takes traffic, and the way goes through one: register \
                 one there, or see to the health checks of those that are",
                place.datacenter, place.partition
            ),
            Omission::NoPeeringPort { owner } => write!(
                f,
                "{owner} gets no traffic from peers: its meta {} is no port; register the server with the port of its \
                 TLS API",
                servers::PEERING_PORT
            ),
        }
    }
}

/// The endpoints of `cluster` as they are now, and those that it goes without.
pub fn assignment(state: &dyn State, cluster: &ClusterName, source: &EndpointSource) -> (Assignment, Vec<Omission>) {
    let mut omissions = Vec::new();
    let endpoints = match source {
        EndpointSource::RemoteGateways(place) => {
            let endpoints = gateways(state, place, AddressForm::Wan, &mut omissions);
            if endpoints.is_empty() {
                // Nobody may want to go there: a place that is reached directly needs no gateway.
                omissions.retain(|omission| !matches!(omission, Omission::NoGateway(_)));
            }
            endpoints
        }
        EndpointSource::FederatedGateways(datacenter) => {
            with_ip_addresses(&federated_gateways(state, datacenter), AddressForm::Wan, false, &mut omissions)
        }
        EndpointSource::Servers(datacenter, which) => servers::endpoints(state, datacenter, which, &mut omissions),
        EndpointSource::PeerServers(peer) => servers::of_peer(state, peer),
        EndpointSource::OwnGateways(place) => gateways(state, place, AddressForm::Lan, &mut omissions),
        EndpointSource::Query { query, caller } => of_query(state, query, caller, &mut omissions),
        EndpointSource::Imported { peer, service } => {
            with_ip_addresses(&state.imported(peer, service), AddressForm::Wan, false, &mut omissions)
        }
        EndpointSource::Service { service, consumer: Some(consumer), .. }
            if !is_exported(state, &service.service, consumer) =>
        {
            omissions.push(Omission::NotExported { service: service.clone(), consumer: consumer.clone() });
            Vec::new()
        }
        EndpointSource::Service { service, subset, via, .. } => {
            of_service(state, service, (subset, via), &mut omissions)
        }
    };
    (Assignment { cluster: cluster.clone(), endpoints }, omissions)
}

/// What a query finds that takes mesh traffic, in the order of its answer.
fn of_query(state: &dyn State, query: &QueryKey, caller: &Place, omissions: &mut Vec<Omission>) -> Vec<Endpoint> {
    let found = state.query(query).unwrap_or_default();
    let in_mesh = found.into_iter().filter(|instance| instance.service.mesh_destination().is_some());
    let form = |instance: &Instance| match Place::new(&instance.node.datacenter, &instance.node.partition) == *caller {
        true => AddressForm::Lan,
        false => AddressForm::Wan,
    };
    in_mesh
        .flat_map(|instance| with_ip_addresses(std::slice::from_ref(&instance), form(&instance), false, omissions))
        .collect()
}

/// The gateways of another datacenter's default partition: those of its catalog, or those of its federation state where
/// one of them changed later.
pub(super) fn federated_gateways(state: &dyn State, datacenter: &Datacenter) -> Vec<Instance> {
    let of_catalog = state.gateways(&Place::new(datacenter, &Partition::default()));
    let replicated = state.federation_states().into_iter().find(|state| state.datacenter == *datacenter);
    let replicated = replicated.map(|state| state.mesh_gateways).unwrap_or_default();
    let newest = |instances: &[Instance]| instances.iter().map(|instance| instance.modify_index).max();
    if newest(&replicated) > newest(&of_catalog) { replicated } else { of_catalog }
}

/// True if `service` is exported to this other partition.
pub(super) fn is_exported(state: &dyn State, service: &ServiceName, consumer: &Partition) -> bool {
    state.exports(&service.partition).is_some_and(|exports| exports.exports_to_partition(service, consumer))
}

fn of_service(
    state: &dyn State,
    service: &ServiceKey,
    (subset, via): (&Subset, &Via),
    omissions: &mut Vec<Omission>,
) -> Vec<Endpoint> {
    let instances = in_subset(state.endpoints(service), &subset.filter);
    match via {
        Via::Instances(form) => with_ip_addresses(&instances, *form, subset.only_passing, omissions),
        Via::Gateways(place, form) => {
            let somebody_is_there =
                instances.iter().any(|instance| health::of(instance, subset.only_passing).0 == Health::Healthy);
            let mut endpoints = with_ip_addresses(&state.gateways(place), *form, false, omissions);
            let is_backend_alone =
                state.mesh(&place.partition).is_some_and(|mesh| mesh.gateway_health == GatewayHealth::Backend);
            if is_backend_alone {
                endpoints.iter_mut().for_each(|endpoint| endpoint.health = Some(Health::Healthy));
            }
            note_if_none(&endpoints, place, omissions);
            if !somebody_is_there {
                endpoints.iter_mut().for_each(|endpoint| endpoint.health = Some(Health::Unhealthy));
            }
            endpoints
        }
    }
}

fn gateways(state: &dyn State, place: &Place, form: AddressForm, omissions: &mut Vec<Omission>) -> Vec<Endpoint> {
    let endpoints = with_ip_addresses(&state.gateways(place), form, false, omissions);
    note_if_none(&endpoints, place, omissions);
    endpoints
}

/// Notes that no gateway of a place takes traffic.
fn note_if_none(endpoints: &[Endpoint], place: &Place, omissions: &mut Vec<Omission>) {
    if endpoints.iter().all(|endpoint| endpoint.health == Some(Health::Unhealthy)) {
        omissions.push(Omission::NoGateway(place.clone()));
    }
}

fn with_ip_addresses(
    instances: &[Instance],
    form: AddressForm,
    only_passing: bool,
    omissions: &mut Vec<Omission>,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::with_capacity(instances.len());
    for instance in instances {
        let endpoint = endpoint(instance, form, only_passing);
        match &endpoint.address {
            SocketAddress::Tcp(host, _) if host.parse::<IpAddr>().is_err() => {
                omissions.push(Omission::HostName { owner: described(instance), address: host.to_string() });
            }
            SocketAddress::Tcp(..) | SocketAddress::Pipe(_) => endpoints.push(endpoint),
        }
    }
    endpoints
}

/// An instance, for people.
fn described(instance: &Instance) -> String {
    format!("{} on node {}", instance.service.id, instance.node.node)
}

/// An instance as an endpoint.
pub(super) fn endpoint(instance: &Instance, form: AddressForm, only_passing: bool) -> Endpoint {
    let SocketEndpoint { host, port } = instance_address(&instance.service, &instance.node, form);
    let (health, weight) = health::of(instance, only_passing);
    Endpoint { address: SocketAddress::Tcp(host.into(), port), health: Some(health), weight: Some(weight) }
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
