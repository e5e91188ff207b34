//! Instances as another catalog answers them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bundle::validate_node_name;
use super::{Check, CheckId, Node, Partition, Problems, Service, ServiceKind, is_default};

/// Longest name or address, in bytes.
const LONGEST_NAME: usize = 4096;

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

impl HealthEntry {
    /// Puts it into the form that is stored, as a row of `partition`.
    pub(super) fn normalize(&mut self, partition: &Partition) {
        let node = Arc::make_mut(&mut self.node);
        node.partition = partition.clone();
        let service = Arc::make_mut(&mut self.service);
        service.partition = partition.clone();
        service.normalize_told();
        for check in &mut self.checks {
            let check = Arc::make_mut(check);
            check.node = node.node.clone();
            check.datacenter = node.datacenter.clone();
            check.partition = partition.clone();
            if check.check_id.as_str().is_empty() {
                check.check_id = CheckId::from(check.name.as_str());
            }
        }
    }

    /// Every broken rule. There are fewer than for what is registered here: another catalog has judged it already.
    pub(super) fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        let mut of_node = Problems::default();
        validate_node_name(&mut of_node, &self.node.node);
        let mut of_service = Problems::default();
        if self.service.name.is_empty() {
            of_service.rule("Service", "must be the name of the service");
        }
        of_service.refuse_control_characters("Service", &self.service.name);
        let is_proxy = self.service.kind == ServiceKind::ConnectProxy;
        if is_proxy && self.service.proxy.destination_service_name.is_empty() {
            of_service.rule("Proxy.DestinationServiceName", "must be the service that the proxy stands for");
        }
        for (name, address) in [("Node.Address", &self.node.address), ("Service.Address", &self.service.address)] {
            if address.len() > LONGEST_NAME {
                problems.rule(name, format!("{} bytes are more than the {LONGEST_NAME} allowed", address.len()));
            }
        }
        problems.extend_under("Node", of_node);
        problems.extend_under("Service", of_service);
        problems
    }
}
