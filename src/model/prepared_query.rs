//! Prepared queries, as far as their results go.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bundle::{BundleRow, default_to, validate_place};
use super::{Datacenter, HealthEntry, Partition, Place, Problems, is_default};

/// What identifies the results of a prepared query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueryKey {
    /// Where the query is executed.
    pub place: Place,
    /// Its name.
    pub name: String,
}

/// What executing a prepared query answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryResult {
    /// The datacenter that executes it.
    pub datacenter: Datacenter,
    /// The partition that executes it.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// The name of the query.
    pub name: String,
    /// The instances that it found, in whatever datacenter.
    pub nodes: Vec<HealthEntry>,
}

impl QueryResult {
    /// What identifies it.
    pub fn key(&self) -> QueryKey {
        QueryKey { place: Place::new(&self.datacenter, &self.partition), name: self.name.clone() }
    }
}

impl BundleRow for QueryResult {
    type Key = QueryKey;

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
        for entry in &mut self.nodes {
            default_to(&mut Arc::make_mut(&mut entry.node).datacenter, &self.datacenter);
            entry.normalize(&self.partition);
        }
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        if self.name.is_empty() || self.name.len() > 255 {
            problems.rule("Name", "must be the name of the query, with at most 255 bytes");
        }
        problems.refuse_control_characters("Name", &self.name);
        for (position, entry) in self.nodes.iter().enumerate() {
            problems.extend_under(&format!("Nodes[{position}]"), entry.validate());
        }
        problems
    }

    fn key(&self) -> QueryKey {
        QueryResult::key(self)
    }
}
