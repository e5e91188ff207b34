//! `catalog-overview`: how much there is, and in which state.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;

use super::summary::Tally;
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::model::{Check, CheckStatus, Namespace, Partition, is_default};
use crate::store::{NodeKey, Reader, Stored};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Overview {
    nodes: Vec<Health>,
    services: Vec<Health>,
    checks: Vec<Health>,
}

/// How many of something are in which state.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    total: usize,
    #[serde(flatten)]
    tally: Tally,
    #[serde(skip_serializing_if = "is_default")]
    namespace: Namespace,
    #[serde(skip_serializing_if = "is_default")]
    partition: Partition,
}

impl Health {
    fn count(&mut self, status: CheckStatus) {
        self.total += 1;
        self.tally.count(status);
    }
}

/// The nodes of the place in one row, instances by their services, checks by their names.
pub(super) async fn overview(call: Call) -> Result<Response, ApiError> {
    let place = &call.scope.place;
    let overview = |reader: &Reader<'_>| {
        let mut counts = Counts::default();
        for row in reader.nodes(place) {
            let key = NodeKey::new(place, &row.value.node);
            let checks = call.shown_checks(reader, &key);
            counts.add_node(&row.value.partition, &checks);
        }
        for key in reader.service_keys(place).filter(|key| call.scope.shows(&key.service.namespace)) {
            for instance in reader.instances_named(key) {
                let row = counts.services.entry(key.service.clone()).or_insert_with(|| Health {
                    name: key.service.name.to_string(),
                    namespace: key.service.namespace.clone(),
                    partition: key.service.partition.clone(),
                    ..Health::default()
                });
                row.count(worst(&instance.checks.iter().collect::<Vec<_>>()));
            }
        }
        Ok(Overview {
            nodes: counts.nodes.into_iter().collect(),
            services: counts.services.into_values().collect(),
            checks: counts.checks.into_values().collect(),
        })
    };
    call.read(Filtered::Nothing, overview).await
}

#[derive(Default)]
struct Counts {
    nodes: Option<Health>,
    services: BTreeMap<crate::model::ServiceName, Health>,
    checks: BTreeMap<String, Health>,
}

impl Counts {
    /// Counts a node by the checks that judge it alone, and each of its checks.
    fn add_node(&mut self, partition: &Partition, checks: &[&Stored<Check>]) {
        let empty = || Health { partition: partition.clone(), ..Health::default() };
        let own: Vec<_> = checks.iter().copied().filter(|row| row.value.service_id.is_default()).collect();
        self.nodes.get_or_insert_with(empty).count(worst(&own));
        for row in checks {
            let named = || Health { name: row.value.name.clone(), ..empty() };
            self.checks.entry(row.value.name.clone()).or_insert_with(named).count(row.value.status);
        }
    }
}

/// What is without checks passes.
fn worst(checks: &[&Stored<Check>]) -> CheckStatus {
    let statuses: Vec<_> = checks.iter().map(|row| row.value.status).collect();
    let worst_first = [CheckStatus::Maintenance, CheckStatus::Critical, CheckStatus::Warning];
    worst_first.into_iter().find(|status| statuses.contains(status)).unwrap_or(CheckStatus::Passing)
}
