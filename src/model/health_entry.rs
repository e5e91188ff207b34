//! Instances as another catalog answers them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Check, Node, Service, is_default};

/// An instance with the node it is on and the checks that judge it, whole, as a catalog other than ours told it. Nothing
/// of it is in our own catalog.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthEntry {
    /// Its node, which says what datacenter the instance is in.
    pub node: Arc<Node>,
    /// The instance.
    pub service: Arc<Service>,
    /// The node's checks and its own.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Vec<Arc<Check>>,
    /// How fresh the instance is, as the catalog that told it counts; 0 where nothing is compared.
    #[serde(skip_serializing_if = "is_default")]
    pub modify_index: u64,
}
