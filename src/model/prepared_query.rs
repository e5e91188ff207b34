//! Prepared queries, as far as their results go.

use serde::{Deserialize, Serialize};

use super::{Datacenter, HealthEntry, Partition, Place, is_default};

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
