//! What is written to the catalog directly, for any node (`http-api.md` 2.4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Check, CheckId, Datacenter, Locality, Namespace, NodeName, Partition, Service, ServiceId, is_default};

/// A node with, on it, a service and checks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogRegistration {
    /// UUID of the node.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: String,
    /// Name of the node.
    pub node: NodeName,
    /// Address of the node; required unless the node is not to be touched.
    #[serde(skip_serializing_if = "is_default")]
    pub address: String,
    /// Further addresses of the node by network name.
    #[serde(skip_serializing_if = "is_default")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free-form facts about the node.
    #[serde(skip_serializing_if = "is_default")]
    pub node_meta: BTreeMap<String, String>,
    /// Where the node stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// The datacenter whose catalog is written; the one that is asked when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// The partition it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// A service instance on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// A check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Several checks.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Vec<Check>,
    /// Leave a node that exists as it is.
    #[serde(skip_serializing_if = "is_default")]
    pub skip_node_update: bool,
}

/// What is removed: a check, else a service, else the node with everything on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogDeregistration {
    /// The datacenter whose catalog is written; the one that is asked when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// Name of the node.
    pub node: NodeName,
    /// The service instance to remove.
    #[serde(rename = "ServiceID", skip_serializing_if = "is_default")]
    pub service_id: ServiceId,
    /// The check to remove.
    #[serde(rename = "CheckID", skip_serializing_if = "is_default")]
    pub check_id: CheckId,
    /// Namespace of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Partition of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
}
