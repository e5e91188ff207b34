//! Service instances in the catalog's three shapes: alone, with their node in one flat row, and with node and checks.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{CatalogNode, HealthCheck};
use crate::model::{
    Connect, Datacenter, Locality, Namespace, Node, NodeName, Partition, PeerName, Proxy, Service, ServiceAddress,
    ServiceId, ServiceKind, Weights, is_default,
};
use crate::store::{Index, Instance, Stored};

/// An instance alone.
#[derive(Debug, Clone)]
pub(in crate::api) struct NodeService {
    /// The row.
    pub(in crate::api) row: Stored<Service>,
    /// Its proxy block, where it is to be shown other than registered.
    pub(in crate::api) proxy: Option<Proxy>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServiceRow<'a> {
    #[serde(skip_serializing_if = "is_default")]
    kind: ServiceKind,
    #[serde(rename = "ID")]
    id: &'a ServiceId,
    service: &'a str,
    tags: &'a [String],
    address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: &'a BTreeMap<String, ServiceAddress>,
    meta: &'a BTreeMap<String, String>,
    port: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    socket_path: &'a str,
    weights: Weights,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<&'a Locality>,
    proxy: &'a Proxy,
    connect: &'a Connect,
    peer_name: &'a PeerName,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a Partition>,
    create_index: Index,
    modify_index: Index,
}

impl Serialize for NodeService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let service = &*self.row.value;
        let row = NodeServiceRow {
            kind: service.kind,
            id: &service.id,
            service: &service.name,
            tags: &service.tags,
            address: &service.address,
            tagged_addresses: &service.tagged_addresses,
            meta: &service.meta,
            port: service.port,
            socket_path: &service.socket_path,
            weights: service.weights,
            enable_tag_override: service.enable_tag_override,
            locality: service.locality.as_ref(),
            proxy: self.proxy.as_ref().unwrap_or(&service.proxy),
            connect: &service.connect,
            peer_name: &service.peer_name,
            namespace: Some(&service.namespace).filter(|namespace| !namespace.is_default()),
            partition: Some(&service.partition).filter(|partition| !partition.is_default()),
            create_index: self.row.create_index,
            modify_index: self.row.modify_index,
        };
        row.serialize(serializer)
    }
}

/// An instance with its node in one flat row.
#[derive(Debug, Clone)]
pub(in crate::api) struct CatalogService {
    /// The node.
    pub(in crate::api) node: Stored<Node>,
    /// The instance.
    pub(in crate::api) service: NodeService,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CatalogServiceRow<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a NodeName,
    address: &'a str,
    datacenter: &'a Datacenter,
    tagged_addresses: &'a BTreeMap<String, String>,
    node_meta: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    service_kind: ServiceKind,
    #[serde(rename = "ServiceID")]
    service_id: &'a ServiceId,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_tagged_addresses: &'a BTreeMap<String, ServiceAddress>,
    service_weights: Weights,
    service_meta: &'a BTreeMap<String, String>,
    service_port: u16,
    service_socket_path: &'a str,
    service_enable_tag_override: bool,
    service_proxy: &'a Proxy,
    service_connect: &'a Connect,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_locality: Option<&'a Locality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a Partition>,
    create_index: Index,
    modify_index: Index,
}

impl Serialize for CatalogService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (node, service) = (&*self.node.value, &*self.service.row.value);
        let row = CatalogServiceRow {
            id: &node.id,
            node: &node.node,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: &node.tagged_addresses,
            node_meta: &node.meta,
            service_kind: service.kind,
            service_id: &service.id,
            service_name: &service.name,
            service_tags: &service.tags,
            service_address: &service.address,
            service_tagged_addresses: &service.tagged_addresses,
            service_weights: service.weights,
            service_meta: &service.meta,
            service_port: service.port,
            service_socket_path: &service.socket_path,
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: self.service.proxy.as_ref().unwrap_or(&service.proxy),
            service_connect: &service.connect,
            service_locality: service.locality.as_ref(),
            namespace: Some(&service.namespace).filter(|namespace| !namespace.is_default()),
            partition: Some(&service.partition).filter(|partition| !partition.is_default()),
            create_index: self.service.row.create_index,
            modify_index: self.service.row.modify_index,
        };
        row.serialize(serializer)
    }
}

/// An instance with its node and the checks that judge it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::api) struct HealthRow {
    /// The node.
    pub(in crate::api) node: CatalogNode,
    /// The instance.
    pub(in crate::api) service: NodeService,
    /// The node's checks, then its own.
    pub(in crate::api) checks: Vec<HealthCheck>,
}

impl CatalogService {
    /// The row of an instance, its proxy as registered unless `proxy` says other.
    pub(in crate::api) fn new(instance: Instance, proxy: Option<Proxy>) -> Self {
        Self { node: instance.node, service: NodeService { row: instance.service, proxy } }
    }
}

impl HealthRow {
    /// The row of an instance, its proxy as registered unless `proxy` says other.
    pub(in crate::api) fn new(instance: Instance, proxy: Option<Proxy>) -> Self {
        Self {
            node: CatalogNode(instance.node),
            service: NodeService { row: instance.service, proxy },
            checks: instance.checks.into_iter().map(HealthCheck::from).collect(),
        }
    }
}
