//! Federation states: the mesh gateways of each datacenter, replicated to all of them (contract 4.5).

use serde::{Deserialize, Serialize};

use super::{Datacenter, HealthEntry};

/// The mesh gateways of a datacenter, healthy or not, as they were replicated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FederationState {
    /// The datacenter whose gateways they are.
    pub datacenter: Datacenter,
    /// The gateways; each `ModifyIndex` counts as that datacenter's own catalog does.
    pub mesh_gateways: Vec<HealthEntry>,
}
