//! What is written to the catalog directly, for any node (`http-api.md` 2.4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Check, CheckId, Datacenter, Locality, Namespace, NodeName, Partition, PeerName, Problems, Service, ServiceId,
    is_default,
};

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
    /// Refused: what is imported from a peer is not registered by hand.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_name: PeerName,
}

impl CatalogRegistration {
    /// Puts the service into its canonical form.
    pub fn normalize(&mut self) {
        if let Some(service) = &mut self.service {
            service.normalize_told();
        }
    }

    /// Every broken rule that can be seen without the state (`http-api.md` 2.4).
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        if self.node.as_str().is_empty() {
            problems.rule("Node", "Must provide node");
        }
        problems.refuse_control_characters("Node", self.node.as_str());
        if self.address.is_empty() && !self.skip_node_update {
            problems.rule("Address", "Must provide address if SkipNodeUpdate is not set");
        }
        if !self.id.is_empty() && uuid::Uuid::try_parse(&self.id).is_err() {
            problems.rule("ID", format!("{:?} is not a UUID", self.id));
        }
        if !self.peer_name.is_default() {
            problems.rule("PeerName", "what is imported from a peer cannot be registered by hand");
        }
        if let Some(service) = &self.service {
            problems.extend_under("Service", service.validate());
        }
        let several = self.checks.iter().enumerate().map(|(position, check)| (format!("Checks[{position}]"), check));
        for (path, check) in self.check.iter().map(|check| ("Check".to_owned(), check)).chain(several) {
            if let Some(refusal) = check.status.refusal() {
                problems.rule(format!("{path}.Status"), refusal);
            }
            if check.check_id.as_str().is_empty() && check.name.is_empty() {
                problems.rule(&path, "a check needs a CheckID or a Name");
            }
            if !check.node.as_str().is_empty() && check.node != self.node {
                problems.rule(
                    path,
                    format!("the check is for node {:?}, the registration for {:?}", check.node, self.node),
                );
            }
        }
        problems
    }
}

/// What is removed: a service with its checks, else a check, else the node with everything on it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CheckStatus, Weights};

    #[test]
    fn every_broken_rule_of_a_registration_is_told() {
        let broken = CatalogRegistration {
            id: "no-uuid".to_owned(),
            peer_name: PeerName::from("west"),
            service: Some(Service { id: ServiceId::from("db-1"), ..Service::default() }),
            check: Some(Check { node: NodeName::from("other"), name: "up".to_owned(), ..Check::default() }),
            checks: vec![Check { status: CheckStatus::Maintenance, ..Check::default() }],
            ..CatalogRegistration::default()
        };

        let paths: Vec<_> = broken.validate().0.into_iter().map(|problem| problem.path).collect();

        assert_eq!(
            paths,
            ["Node", "Address", "ID", "PeerName", "Service.Name", "Check", "Checks[0].Status", "Checks[0]"]
        );
    }

    #[test]
    fn two_zero_weights_are_none() {
        let weights = |passing, warning| {
            let service = Service { weights: Weights { passing, warning }, ..Service::default() };
            let mut registration = CatalogRegistration { service: Some(service), ..CatalogRegistration::default() };
            registration.normalize();
            registration.service.map(|service| (service.weights.passing, service.weights.warning))
        };

        assert_eq!((weights(0, 0), weights(5, 0), weights(0, 5)), (Some((1, 1)), Some((5, 0)), Some((0, 5))));
    }

    #[test]
    fn a_node_that_is_not_touched_needs_no_address() {
        let registration =
            CatalogRegistration { node: NodeName::from("n"), skip_node_update: true, ..CatalogRegistration::default() };

        assert_eq!(registration.validate(), Problems::default());
    }
}
