//! Partitions and namespaces that somebody has made by name. They exist without it as well, from the first row that names
//! them; what is kept here is what was said about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bundle::{BundleRow, default_to, validate_label, validate_place};
use super::{Datacenter, Namespace, Partition, Place, Problems, is_default};

/// What was said about a partition of a datacenter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PartitionDefinition {
    /// The datacenter that it is a part of.
    pub datacenter: Datacenter,
    /// Its name.
    pub name: Partition,
    /// Free text.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// Its nodes know nothing of each other; kept for clients.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_gossip: bool,
}

/// What was said about a namespace. Like config entries, it is the same in every datacenter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NamespaceDefinition {
    /// The partition that it is a part of.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its name.
    pub name: Namespace,
    /// Free text.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// What tokens of the namespace may do unless they say; kept for clients.
    #[serde(rename = "ACLs", skip_serializing_if = "Option::is_none")]
    pub acls: Option<NamespaceAcls>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// Policies and roles of every token of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NamespaceAcls {
    /// Policies.
    pub policy_defaults: Vec<AclLink>,
    /// Roles.
    pub role_defaults: Vec<AclLink>,
}

/// A policy or role, by ID, name or both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AclLink {
    /// Its ID.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: String,
    /// Its name.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
}

impl PartitionDefinition {
    /// What identifies it.
    pub fn place(&self) -> Place {
        Place::new(&self.datacenter, &self.name)
    }
}

impl NamespaceDefinition {
    /// What identifies it.
    pub fn key(&self) -> (Partition, Namespace) {
        (self.partition.clone(), self.name.clone())
    }
}

impl BundleRow for PartitionDefinition {
    type Key = Place;

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.name);
        problems
    }

    fn key(&self) -> Place {
        self.place()
    }
}

impl BundleRow for NamespaceDefinition {
    type Key = (Partition, Namespace);

    /// Namespaces belong to no datacenter.
    fn normalize(&mut self, _: &Datacenter) {}

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_label(&mut problems, "Partition", self.partition.as_str());
        validate_label(&mut problems, "Name", self.name.as_str());
        super::entry::validate_meta(&self.meta, &mut problems);
        problems
    }

    fn key(&self) -> Self::Key {
        NamespaceDefinition::key(self)
    }
}
