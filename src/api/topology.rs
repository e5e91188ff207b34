//! `GET /v1/meshgate/topology`: places, the gateways between them, and who dials whom through which of them.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::Serialize;

use super::call::Call;
use super::error::ApiError;
use super::explain::GatewayExplanation;
use super::filter::Filtered;
use super::proxies::ShownProxy;
use super::route::{Routes, get};
use crate::model::{
    Datacenter, InstanceId, NodeName, Partition, PeerName, PeeringState, Place, ServiceId, ServiceKind, is_default,
};
use crate::store::{NodeKey, Reader};

/// Most gateways of a place that are shown one by one.
const GATEWAYS: usize = 100;
/// Most upstreams that are resolved for one answer. Sidecars that are registered alike are resolved once.
const UPSTREAMS: usize = 20_000;

/// The route of the topology.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/topology", get(topology))
}

/// Who dials whom, found by resolving the upstreams of every registered sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dialled {
    /// From where to where and how, each once; sorted.
    pub edges: Vec<Edge>,
    /// Not everything was resolved, because there was too much.
    pub is_cut: bool,
}

/// From where to where, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EdgeWay {
    /// The datacenter of those who dial.
    pub from_datacenter: Datacenter,
    /// Their partition.
    pub from_partition: Partition,
    /// The datacenter of what is dialled; empty in a peer.
    pub to_datacenter: Datacenter,
    /// Its partition; for what a peer exports, the one that imports it.
    pub to_partition: Partition,
    /// The peer that exports it; empty for none.
    #[serde(skip_serializing_if = "is_default")]
    pub to_peer: PeerName,
    /// What it comes to: `none` for instances that are dialled directly, `local` through gateways of both sides, `remote`
    /// through those of the other side alone.
    pub mode: &'static str,
}

/// The upstreams that go one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Edge {
    /// The way.
    #[serde(flatten)]
    pub way: EdgeWay,
    /// How many targets of upstreams go this way, each sidecar counted.
    pub upstreams: usize,
    /// How many of them have an endpoint that takes traffic.
    pub healthy: usize,
    /// One of them: the first that has no endpoint which takes traffic, or else the first of all.
    pub example: EdgeExample,
}

/// An upstream of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EdgeExample {
    /// The sidecar's ID.
    pub proxy: ServiceId,
    /// The service that calls, as `partition/namespace/name`.
    pub from: String,
    /// The service that is called, as `partition/namespace/name` with `@` and its datacenter or peer.
    pub to: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Topology {
    datacenters: Vec<ShownDatacenter>,
    peers: Vec<ShownPeer>,
    edges: Vec<Edge>,
    /// Not every upstream was resolved, because there are too many.
    #[serde(rename = "Cut")]
    is_cut: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownDatacenter {
    name: Datacenter,
    /// Its catalog is written here.
    hosted: bool,
    partitions: Vec<ShownPartition>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownPartition {
    name: Partition,
    nodes: usize,
    services: usize,
    /// Registered sidecars.
    sidecars: usize,
    /// Those of them with a stream.
    sidecars_connected: usize,
    gateways: Vec<ShownGateway>,
    /// Gateways that are not shown.
    more_gateways: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownGateway {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    #[serde(rename = "LAN")]
    lan: String,
    #[serde(rename = "WAN")]
    wan: String,
    #[serde(rename = "SaysWAN")]
    says_wan: bool,
    healthy: bool,
    failing: Vec<String>,
    /// As of a proxy: `synced`, `behind`, `refused` or `disconnected`.
    sync: &'static str,
    envoy_version: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownPeer {
    datacenter: Datacenter,
    partition: Partition,
    name: PeerName,
    state: PeeringState,
}

async fn topology(call: Call) -> Result<Response, ApiError> {
    let read = |reader: &Reader<'_>| {
        let connected: BTreeMap<_, _> =
            call.api.proxies.proxies().into_iter().map(|state| (state.instance(), state)).collect();
        let found = Found { call: &call, reader, connected: &connected };
        let mut names: BTreeSet<_> = reader.datacenters().into_iter().collect();
        names.extend(call.api.options.datacenters());
        let datacenters: Vec<_> = names.into_iter().map(|name| found.datacenter(name)).collect();
        let Dialled { edges, is_cut } = call.api.explanations.dialled(reader, UPSTREAMS);
        let places = datacenters.iter().flat_map(|datacenter| datacenter.places());
        let peers = places.flat_map(|place| reader.peerings(&place).map(peer).collect::<Vec<_>>()).collect();
        Ok(Topology { datacenters, peers, edges, is_cut })
    };
    call.read_at_length(Filtered::Nothing, read).await
}

fn peer(row: &crate::store::Stored<crate::model::Peering>) -> ShownPeer {
    let key = row.value.key();
    let Place { datacenter, partition } = key.place;
    ShownPeer { datacenter, partition, name: key.name, state: row.value.state }
}

impl ShownDatacenter {
    fn places(&self) -> impl Iterator<Item = Place> {
        self.partitions.iter().map(|partition| Place::new(&self.name, &partition.name))
    }
}

/// What an answer is made of.
struct Found<'a> {
    call: &'a Call,
    reader: &'a Reader<'a>,
    connected: &'a BTreeMap<InstanceId, super::ProxyState>,
}

impl Found<'_> {
    fn datacenter(&self, name: Datacenter) -> ShownDatacenter {
        let mut partitions: BTreeSet<_> = self.reader.partitions(&name).into_iter().collect();
        partitions.extend(self.reader.partition_definitions(&name).map(|row| row.value.place().partition));
        let partitions = partitions.into_iter().map(|partition| self.partition(Place::new(&name, &partition)));
        ShownDatacenter { partitions: partitions.collect(), hosted: self.call.api.options.hosts(&name), name }
    }

    fn partition(&self, place: Place) -> ShownPartition {
        let (mut sidecars, mut sidecars_connected) = (0, 0);
        for node in self.reader.nodes(&place) {
            let key = NodeKey::new(&place, &node.value.node);
            let on_node = self.reader.services_on(&key);
            for row in on_node.filter(|row| row.value.kind == ServiceKind::ConnectProxy) {
                sidecars += 1;
                sidecars_connected += usize::from(self.connected.contains_key(&key.instance(&row.value.id)));
            }
        }
        let gateways = self.call.api.explanations.gateways(self.reader, &place);
        ShownPartition {
            nodes: self.reader.nodes(&place).count(),
            services: self.reader.service_keys(&place).count(),
            sidecars,
            sidecars_connected,
            more_gateways: gateways.len().saturating_sub(GATEWAYS),
            gateways: gateways.into_iter().take(GATEWAYS).map(|gateway| self.gateway(&place, gateway)).collect(),
            name: place.partition,
        }
    }

    fn gateway(&self, place: &Place, gateway: GatewayExplanation) -> ShownGateway {
        let GatewayExplanation { instance, node, lan, wan, says_wan, healthy, failing } = gateway;
        let id = InstanceId {
            place: place.clone(),
            node: NodeName::from(node.as_str()),
            id: ServiceId::from(instance.as_str()),
        };
        let state = self.connected.get(&id).cloned().unwrap_or_else(|| super::ProxyState::disconnected(&id));
        let ShownProxy { state, sync, .. } = ShownProxy::of(self.reader.view(), state);
        let envoy_version = state.envoy_version;
        ShownGateway { id: instance, node, lan, wan, says_wan, healthy, failing, sync, envoy_version }
    }
}
