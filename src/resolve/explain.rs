//! Why an upstream leads where it does: the decisions of `upstream`, and the fields that they come from.
//!
//! **Invariant.** Nothing is decided here. Modes, names and sources of endpoints are those that the clusters are made of, by
//! the same calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chain::{Scope, TargetKey};
use super::endpoints::{EndpointSource, Omission, Via, assignment, endpoint, federated_gateways};
use super::health;
use super::merge::{self, target_of};
use super::opaque;
use super::precedence::{Decision, Ladder, Rung};
use super::reach::{Reach, Route};
use super::state::{Instance, State};
use super::upstream;
use crate::ir::{ClusterName, Discovery, Endpoint, Health, SocketAddress, UpstreamId};
use crate::model::entry::ProxyDefaults;
use crate::model::{
    AddressForm, CheckStatus, EntryKey, EntryKind, FieldPath, Namespace, Partition, Place, QueryKey, Service,
    ServiceKey, ServiceName, Upstream, says_wan,
};

/// Where an upstream leads, with what decided it.
#[derive(Debug, Clone)]
pub struct Leading {
    /// What the upstream is called.
    pub id: UpstreamId,
    /// The caller's side of the gateway mode.
    pub ladder: Ladder,
    /// The discovery chain that it leads through, if it does.
    pub scope: Option<Scope>,
    /// Requests are told apart.
    pub is_http: bool,
    /// The targets, in the order of the chain's nodes; for each node the primary one first.
    pub targets: Vec<LedTo>,
    /// Why it goes without targets in peers.
    pub gone: Vec<String>,
}

/// One target of an upstream.
#[derive(Debug, Clone)]
pub struct LedTo {
    /// Its cluster.
    pub cluster: ClusterName,
    /// What it is.
    pub target: Led,
    /// Its turn, where it is one of several that stand in for each other.
    pub leg: Option<usize>,
    /// How its mode was decided; `None` where the caller's side is all there is.
    pub decision: Option<Decision>,
    /// The mode.
    pub mode: Option<crate::model::GatewayMode>,
    /// How far it is away.
    pub reach: Reach,
    /// What is dialled.
    pub route: Route,
    /// SNI of the connections to it.
    pub sni: Arc<str>,
    /// Who may answer.
    pub identities: Vec<Arc<str>>,
    /// Where its endpoints are found.
    pub found: Found,
}

/// What an upstream leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Led {
    /// A target of a chain, or a service of a peer.
    Target(TargetKey),
    /// A prepared query.
    Query(QueryKey),
}

/// Where endpoints are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// In an assignment that the proxy is sent.
    Sent(EndpointSource),
    /// Behind host names that stand in the cluster.
    Named(Vec<Endpoint>),
}

impl Found {
    /// How a cluster finds its endpoints.
    pub(super) fn of(discovery: Discovery, source: Option<EndpointSource>) -> Self {
        match (discovery, source) {
            (_, Some(source)) => Found::Sent(source),
            (Discovery::Dns(_, endpoints), None) => Found::Named(endpoints),
            (
                Discovery::Eds { .. } | Discovery::Static(_) | Discovery::OriginalDestination | Discovery::Aggregate(_),
                None,
            ) => Found::Named(Vec::new()),
        }
    }
}

/// An endpoint with whose it is.
#[derive(Debug, Clone)]
pub struct Owned {
    /// The endpoint, as the proxy has it.
    pub endpoint: Endpoint,
    /// The instance whose address it is, if that is known.
    pub owner: Option<Instance>,
}

impl Owned {
    /// The checks that speak against it, as `id: status`.
    pub fn failing(&self) -> Vec<String> {
        let checks = self.owner.iter().flat_map(|owner| &owner.checks);
        let failing = checks.filter(|check| check.status != CheckStatus::Passing);
        failing.map(|check| format!("{}: {}", check.check_id, check.status.as_str())).collect()
    }
}

impl LedTo {
    /// Its endpoints as they are now, and what is missing among them.
    pub fn endpoints(&self, state: &dyn State) -> (Vec<Owned>, Vec<Omission>) {
        let bare = |endpoint: Endpoint| Owned { endpoint, owner: None };
        let source = match &self.found {
            Found::Named(endpoints) => return (endpoints.iter().cloned().map(bare).collect(), Vec::new()),
            Found::Sent(source) => source,
        };
        let (assignment, omissions) = assignment(state, &self.cluster, source);
        let (candidates, forms) = candidates(state, source);
        let mut owners: BTreeMap<SocketAddress, &Instance> = BTreeMap::new();
        for instance in &candidates {
            for form in &forms {
                // Of several at one address, the first one counts.
                owners.entry(endpoint(instance, *form, false).address).or_insert(instance);
            }
        }
        let owner = |endpoint: &Endpoint| owners.get(&endpoint.address).map(|owner| (*owner).clone());
        let owned = assignment.endpoints.into_iter().map(|endpoint| Owned { owner: owner(&endpoint), endpoint });
        (owned.collect(), omissions)
    }

    /// The instances whose health counts although others are dialled.
    pub fn behind(&self, state: &dyn State) -> Option<(ServiceKey, Vec<Owned>)> {
        let Found::Sent(EndpointSource::Service { service, subset, via: Via::Gateways(..), consumer }) = &self.found
        else {
            return None;
        };
        let via = Via::Instances(AddressForm::Lan);
        let (service, subset, consumer) = (service.clone(), subset.clone(), consumer.clone());
        let source = EndpointSource::Service { service: service.clone(), subset, via, consumer };
        let direct = LedTo { found: Found::Sent(source), ..self.clone() };
        Some((service, direct.endpoints(state).0))
    }

    /// The place of the gateways that are dialled, if some are.
    pub fn gateways(&self) -> Option<&Place> {
        match &self.found {
            Found::Sent(
                EndpointSource::Service { via: Via::Gateways(place, _), .. }
                | EndpointSource::OwnGateways(place)
                | EndpointSource::RemoteGateways(place),
            ) => Some(place),
            Found::Sent(_) | Found::Named(_) => None,
        }
    }
}

/// A mesh gateway as callers see it.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Its instance.
    pub instance: Instance,
    /// How callers of its own place dial it.
    pub lan: Endpoint,
    /// How others do.
    pub wan: Endpoint,
    /// Its checks let it take traffic.
    pub is_healthy: bool,
}

impl Gateway {
    /// True if an address for other places is registered; otherwise the one of its own place stands for it.
    pub fn says_wan(&self) -> bool {
        says_wan(&self.instance.service, &self.instance.node)
    }
}

/// The mesh gateways of a place, sorted.
pub fn gateways(state: &dyn State, place: &Place) -> Vec<Gateway> {
    let gateway = |instance: Instance| Gateway {
        lan: endpoint(&instance, AddressForm::Lan, false),
        wan: endpoint(&instance, AddressForm::Wan, false),
        is_healthy: health::of(&instance, false).0 == Health::Healthy,
        instance,
    };
    state.gateways(place).into_iter().map(gateway).collect()
}

/// The instances that endpoints of a source are of, and in which forms of their addresses.
fn candidates(state: &dyn State, source: &EndpointSource) -> (Vec<Instance>, Vec<AddressForm>) {
    match source {
        EndpointSource::Service { service, via: Via::Instances(form), .. } => (state.endpoints(service), vec![*form]),
        EndpointSource::Service { via: Via::Gateways(place, form), .. } => (state.gateways(place), vec![*form]),
        EndpointSource::OwnGateways(place) => (state.gateways(place), vec![AddressForm::Lan]),
        EndpointSource::RemoteGateways(place) => (state.gateways(place), vec![AddressForm::Wan]),
        EndpointSource::FederatedGateways(datacenter) => {
            (federated_gateways(state, datacenter), vec![AddressForm::Wan])
        }
        EndpointSource::Query { query, .. } => {
            (state.query(query).unwrap_or_default(), vec![AddressForm::Lan, AddressForm::Wan])
        }
        EndpointSource::Imported { peer, service } => (state.imported(peer, service), vec![AddressForm::Wan]),
        EndpointSource::Servers(..) | EndpointSource::PeerServers(_) => (Vec::new(), Vec::new()),
    }
}

/// The upstreams of a registration, by what they are called. Of two with one name, the last one counts.
pub fn upstreams(proxy: &Service) -> Vec<(UpstreamId, &Upstream)> {
    let mut found: Vec<(UpstreamId, &Upstream)> = Vec::new();
    for upstream in &proxy.proxy.upstreams {
        let id = upstream::id(proxy, upstream);
        found.retain(|(known, _)| *known != id);
        found.push((id, upstream));
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    found
}

/// The caller's side of the gateway mode of an upstream, also of one that leads nowhere.
pub fn ladder(state: &dyn State, proxy: &Service, upstream: &Upstream) -> Ladder {
    merge::upstream(state, proxy, upstream, &target_of(proxy, upstream)).ladder
}

/// The service that an upstream of a registration names.
pub fn named_by(proxy: &Service, upstream: &Upstream) -> ServiceName {
    target_of(proxy, upstream)
}

/// The service whose service-defaults apply to a proxy.
pub fn central_name(proxy: &Service) -> ServiceName {
    merge::central_name(proxy)
}

/// A row that says something about a proxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    /// A config entry.
    Entry(EntryKey),
    /// The proxy's own registration.
    Registration,
}

fn entry(kind: EntryKind, partition: &Partition, name: &str) -> Says {
    Says::Entry(EntryKey { kind, name: ServiceName::new(partition, &Namespace::default(), name) })
}

fn service_defaults(service: ServiceName) -> Says {
    Says::Entry(EntryKey { kind: EntryKind::ServiceDefaults, name: service })
}

const MODE: [&str; 2] = ["MeshGateway", "Mode"];

/// The field that a rung of the ladder is read from, whether or not it is there.
pub fn rung_field(state: &dyn State, proxy: &Service, upstream: &Upstream, rung: Rung) -> (Says, FieldPath) {
    let defaults = || entry(EntryKind::ProxyDefaults, &proxy.partition, ProxyDefaults::NAME);
    let central = merge::central_name(proxy);
    let mode_of = |field: FieldPath| MODE.iter().fold(field, |field, key| field.key(key));
    match rung {
        Rung::OpaqueProxyDefaults => {
            let config = state.proxy_defaults(&proxy.partition).map(|entry| &entry.config);
            let written = config.and_then(|config| config.keys().find(|key| opaque::same(key, "mesh_gateway")));
            (defaults(), FieldPath::of(["Config", written.map_or("mesh_gateway", String::as_str)]))
        }
        Rung::ProxyDefaults => (defaults(), FieldPath::of(MODE)),
        Rung::ServiceDefaults => (service_defaults(central), FieldPath::of(MODE)),
        Rung::UpstreamDefaults => (service_defaults(central), mode_of(FieldPath::of(["UpstreamConfig", "Defaults"]))),
        Rung::Instance => (Says::Registration, mode_of(FieldPath::of(["Proxy"]))),
        Rung::UpstreamOverride => {
            let target = target_of(proxy, upstream);
            let entry = state.service_defaults(&central);
            let found = entry.and_then(|entry| merge::override_position(entry, upstream, &target, &proxy.partition));
            let list = FieldPath::of(["UpstreamConfig", "Overrides"]);
            // Where there is none, it would come after all others.
            let end = entry.and_then(|entry| entry.upstream_config.as_ref()).map_or(0, |config| config.overrides.len());
            (service_defaults(central), mode_of(list.at(found.unwrap_or(end), &target.name)))
        }
        Rung::Upstream => {
            let position = proxy.proxy.upstreams.iter().position(|other| std::ptr::eq(other, upstream));
            let list = FieldPath::of(["Proxy", "Upstreams"]);
            (Says::Registration, mode_of(list.at(position.unwrap_or_default(), &upstream.destination_name)))
        }
    }
}

/// The fields of the target's side that say its mode, stronger ones first.
pub fn target_fields(target: &ServiceName) -> [(Says, FieldPath); 2] {
    [
        (service_defaults(target.clone()), FieldPath::of(MODE)),
        (entry(EntryKind::ProxyDefaults, &target.partition, ProxyDefaults::NAME), FieldPath::of(MODE)),
    ]
}

/// The field that puts a target outside of the mesh.
pub fn external_field(target: &ServiceName) -> (Says, FieldPath) {
    (service_defaults(target.clone()), FieldPath::of(["ExternalSNI"]))
}
