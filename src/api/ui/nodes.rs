//! `nodes` and `node/:n`: nodes with all that is registered on them.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::Serialize;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::Tail;
use crate::api::wire::{HealthCheck, NodeService};
use crate::model::{Check, CheckId, Node, NodeName, Partition, PeerKey, PeerName, ServiceId, is_default};
use crate::store::{Instance, NodeKey, Reader, Stored};

/// A node with its services and checks.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeInfo {
    #[serde(rename = "ID")]
    id: String,
    node: NodeName,
    #[serde(skip_serializing_if = "is_default")]
    partition: Partition,
    #[serde(skip_serializing_if = "is_default")]
    peer_name: PeerName,
    address: String,
    tagged_addresses: BTreeMap<String, String>,
    meta: BTreeMap<String, String>,
    services: Vec<NodeService>,
    checks: Vec<HealthCheck>,
}

impl NodeInfo {
    fn new(node: &Node, peer: &PeerName) -> Self {
        Self {
            id: node.id.clone(),
            node: node.node.clone(),
            partition: node.partition.clone(),
            peer_name: peer.clone(),
            address: node.address.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            meta: node.meta.clone(),
            services: Vec::new(),
            checks: Vec::new(),
        }
    }
}

/// The nodes of the place, then those of its peers, each with what its peer exports.
pub(super) async fn all(call: Call) -> Result<Response, ApiError> {
    let place = &call.scope.place;
    let nodes = |reader: &Reader<'_>| {
        let here = reader.nodes(place).filter(|_| call.peer().is_none());
        let here = here.map(|row| call.registered(reader, &row.value));
        let peers = call.shown_peers(reader).into_iter();
        Ok(here.chain(peers.flat_map(|peer| call.imported(reader, &peer))).collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, nodes).await
}

pub(super) async fn one(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = tail.required("node name")?;
    let key = call.scope.node(&name);
    let node = |reader: &Reader<'_>| match call.peer() {
        Some(peer) => Ok(call.imported(reader, &peer).into_iter().find(|info| info.node == key.node)),
        None => Ok(reader.node(&key).map(|row| call.registered(reader, &row.value))),
    };
    let (node, meta) = call.current(node).await?;
    Ok(meta.on(call.json(&node.ok_or(ApiError::NodeNotFound(key.node))?)))
}

impl Call {
    /// The peerings whose exports the call is about: the one that it names, or all.
    pub(super) fn shown_peers(&self, reader: &Reader<'_>) -> Vec<PeerKey> {
        match self.peer() {
            Some(peer) => vec![peer],
            None => reader.peerings(&self.scope.place).map(|row| row.value.key()).collect(),
        }
    }

    /// The checks of a node itself, and those of the services on it that the call shows.
    pub(super) fn shown_checks<'r>(&self, reader: &Reader<'r>, key: &NodeKey) -> Vec<&'r Stored<Check>> {
        let services = reader.services_on(key).filter(|row| self.scope.shows(&row.value.namespace));
        let services: BTreeSet<_> = services.map(|row| &row.value.id).collect();
        let is_shown = |id: &ServiceId| id.is_default() || services.contains(id);
        reader.checks_on(key).filter(|row| is_shown(&row.value.service_id)).collect()
    }

    fn registered(&self, reader: &Reader<'_>, node: &Node) -> NodeInfo {
        let key = NodeKey::new(&self.scope.place, &node.node);
        let services = reader.services_on(&key).filter(|row| self.scope.shows(&row.value.namespace));
        NodeInfo {
            services: services.map(|row| NodeService { row: row.clone(), proxy: None }).collect(),
            checks: self.shown_checks(reader, &key).into_iter().cloned().map(HealthCheck::from).collect(),
            ..NodeInfo::new(node, &PeerName::default())
        }
    }

    fn imported(&self, reader: &Reader<'_>, peer: &PeerKey) -> Vec<NodeInfo> {
        type Checks = BTreeMap<CheckId, HealthCheck>;
        let mut nodes: BTreeMap<NodeName, (NodeInfo, Checks)> = BTreeMap::new();
        for instance in reader.imported_from(peer).map(Instance::from) {
            if !self.scope.shows(&instance.service.value.namespace) {
                continue;
            }
            let node = &*instance.node.value;
            let (info, checks) =
                nodes.entry(node.node.clone()).or_insert_with(|| (NodeInfo::new(node, &peer.name), Checks::new()));
            info.services.push(NodeService { row: instance.service, proxy: None });
            // Each instance brings the checks of its node.
            let named = instance.checks.into_iter().map(|row| (row.value.check_id.clone(), HealthCheck::from(row)));
            checks.extend(named);
        }
        let whole = |(info, checks): (NodeInfo, Checks)| NodeInfo { checks: checks.into_values().collect(), ..info };
        nodes.into_values().map(whole).collect()
    }
}
