//! Health checks.

use serde::{Serialize, Serializer};

use crate::model::{Check, CheckDefinition, CheckId, CheckStatus, GoDuration, NodeName, Partition, ServiceId};
use crate::store::{Index, Stored};

/// A check with its last result.
#[derive(Debug, Clone)]
pub(in crate::api) struct HealthCheck {
    row: Stored<Check>,
    exposed_port: u16,
}

impl From<Stored<Check>> for HealthCheck {
    fn from(row: Stored<Check>) -> Self {
        Self { row, exposed_port: 0 }
    }
}

impl HealthCheck {
    /// The check, with the port at which a sidecar exposes it.
    pub(in crate::api) fn exposed_at(row: Stored<Check>, port: Option<u16>) -> Self {
        Self { row, exposed_port: port.unwrap_or_default() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    node: &'a NodeName,
    #[serde(rename = "CheckID")]
    check_id: &'a CheckId,
    name: &'a str,
    status: CheckStatus,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a ServiceId,
    service_name: &'a str,
    service_tags: &'a [String],
    #[serde(rename = "Type")]
    kind: &'a str,
    interval: String,
    timeout: String,
    exposed_port: u16,
    definition: &'a CheckDefinition,
    #[serde(skip_serializing_if = "is_default_partition")]
    partition: &'a Partition,
    create_index: Index,
    modify_index: Index,
}

fn is_default_partition(partition: &&Partition) -> bool {
    partition.is_default()
}

impl Serialize for HealthCheck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let check = &*self.row.value;
        let row = Row {
            node: &check.node,
            check_id: &check.check_id,
            name: &check.name,
            status: check.status,
            notes: &check.notes,
            output: &check.output,
            service_id: &check.service_id,
            service_name: &check.service_name,
            service_tags: &check.service_tags,
            kind: &check.kind,
            interval: text(check.definition.interval),
            timeout: text(check.definition.timeout),
            exposed_port: self.exposed_port,
            definition: &check.definition,
            partition: &check.partition,
            create_index: self.row.create_index,
            modify_index: self.row.modify_index,
        };
        row.serialize(serializer)
    }
}

/// Empty for a check that has no such time.
fn text(duration: Option<GoDuration>) -> String {
    duration.map(|duration| duration.to_string()).unwrap_or_default()
}
