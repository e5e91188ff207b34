//! Catalog nodes: the machines that services and checks are registered on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Datacenter, Locality, NodeName, Partition, Place, is_default};

/// A node of one datacenter's catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// UUID of the node, if it has one.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, unique in the place.
    pub node: NodeName,
    /// The address that services without one of their own are reached at.
    pub address: String,
    /// The datacenter whose catalog this row belongs to.
    pub datacenter: Datacenter,
    /// The partition it belongs to.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Further addresses by network name, such as `lan` and `wan`.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free-form facts about the node.
    pub meta: BTreeMap<String, String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
}

impl Node {
    /// Where the node is.
    pub fn place(&self) -> Place {
        Place::new(&self.datacenter, &self.partition)
    }
}
