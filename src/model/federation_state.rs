//! Federation states: the mesh gateways of each datacenter, replicated to all of them (contract 4.5).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bundle::{BundleRow, default_to, validate_label};
use super::{Datacenter, HealthEntry, Partition, Problems};

/// The mesh gateways of a datacenter, healthy or not, as they were replicated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FederationState {
    /// The datacenter whose gateways they are.
    pub datacenter: Datacenter,
    /// The gateways; each `ModifyIndex` counts as that datacenter's own catalog does.
    pub mesh_gateways: Vec<HealthEntry>,
}

impl BundleRow for FederationState {
    type Key = Datacenter;

    /// Gateways are those of the default partition. A federation state must itself name its datacenter.
    fn normalize(&mut self, _: &Datacenter) {
        for gateway in &mut self.mesh_gateways {
            default_to(&mut Arc::make_mut(&mut gateway.node).datacenter, &self.datacenter);
            gateway.normalize(&Partition::default());
        }
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_label(&mut problems, "Datacenter", self.datacenter.as_str());
        for (position, gateway) in self.mesh_gateways.iter().enumerate() {
            problems.extend_under(&format!("MeshGateways[{position}]"), gateway.validate());
        }
        problems
    }

    fn key(&self) -> Datacenter {
        self.datacenter.clone()
    }
}
