//! `services` and `exported-services`: services in one row each.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::Serialize;

use super::summary::{Subject, Summaries, Summary};
use crate::api::call::Call;
use crate::api::catalog::bound_to_all;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::wire::HealthRow;
use crate::model::{Filter, ServiceKey, ServiceName};
use crate::store::{Instance, Reader};

/// What a filter of services looks at: instances as `/v1/health/service/` shows them.
const ROOTS: [&str; 3] = ["Node", "Service", "Checks"];

/// A service with what connects it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(flatten)]
    summary: Summary,
    connected_with_proxy: bool,
    connected_with_gateway: bool,
}

/// Every service of the place and of what its peers export. A filter picks instances, and rows are made of what is left.
pub(super) async fn all(call: Call) -> Result<Response, ApiError> {
    let filter = call.filter(Filtered::Rows)?.map(|filter| filter.over(&ROOTS)).transpose()?;
    let rows = |reader: &Reader<'_>| {
        let mut shown = Vec::new();
        for instance in call.instances(reader) {
            if is_wanted(&instance, filter.as_ref())? {
                shown.push(instance);
            }
        }
        Ok(call.listed(reader, &shown))
    };
    call.read(Filtered::Nothing, rows).await
}

/// The services that a peer may call.
pub(super) async fn exported(call: Call) -> Result<Response, ApiError> {
    let peer = call.peer().ok_or(ApiError::Missing("peer name"))?.name;
    let rows = |reader: &Reader<'_>| {
        let exports = call.api.exports.of(reader, &call.scope.place).into_iter();
        let exported = exports.filter(|exported| exported.peers.contains(&peer)).map(|exported| exported.service);
        let exported = exported.filter(|service| call.scope.shows(&service.namespace));
        let exported: BTreeSet<ServiceName> = exported.collect();
        let mut summaries = Summaries::default();
        for service in &exported {
            let key = ServiceKey { datacenter: call.scope.place.datacenter.clone(), service: service.clone() };
            summaries.row(&Subject::here(service), &key.datacenter);
            call.summarize(reader, &mut summaries, &call.with_sidecars(reader, &key));
        }
        // Their sidecars have rows of their own, which are not exported.
        let rows = call.connected(reader, summaries).into_iter();
        let rows = rows.filter(|(subject, _)| exported.contains(&subject.service));
        Ok(rows.map(|(_, row)| row).collect::<Vec<_>>())
    };
    call.read(Filtered::Nothing, rows).await
}

fn is_wanted(instance: &Instance, filter: Option<&Filter>) -> Result<bool, ApiError> {
    let Some(filter) = filter else { return Ok(true) };
    let row = serde_json::to_value(HealthRow::new(instance.clone(), None)).expect("rows have string keys");
    Ok(filter.matches(&row)?)
}

impl Call {
    /// The instances that are registered in the place, and those that its peers export; or those of one peer.
    pub(super) fn instances(&self, reader: &Reader<'_>) -> Vec<Instance> {
        let here = self.peer().is_none().then(|| reader.service_keys(&self.scope.place));
        let here = here.into_iter().flatten().flat_map(|key| reader.instances_named(key));
        let peers = self.shown_peers(reader);
        let imported = peers.iter().flat_map(|peer| reader.imported_from(peer)).map(Instance::from);
        here.chain(imported).filter(|instance| self.scope.shows(&instance.service.value.namespace)).collect()
    }

    fn listed(&self, reader: &Reader<'_>, instances: &[Instance]) -> Vec<Listed> {
        let mut summaries = Summaries::default();
        self.summarize(reader, &mut summaries, instances);
        self.connected(reader, summaries).into_iter().map(|(_, row)| row).collect()
    }

    /// The rows with what connects their services. A gateway that an entry names counts once it has an instance.
    fn connected(&self, reader: &Reader<'_>, summaries: Summaries) -> Vec<(Subject, Listed)> {
        let mut gateways_of: BTreeMap<Subject, BTreeSet<Subject>> = BTreeMap::new();
        let mut services_of: BTreeMap<Subject, BTreeSet<Subject>> = BTreeMap::new();
        for bound in bound_to_all(reader, &self.scope.place) {
            let (gateway, service) = (Subject::here(bound.gateway()), Subject::here(bound.service()));
            gateways_of.entry(service.clone()).or_default().insert(gateway.clone());
            services_of.entry(gateway).or_default().insert(service);
        }
        let is_there = |gateway: &Subject| {
            let datacenter = self.scope.place.datacenter.clone();
            !reader.instances_named(&ServiceKey { datacenter, service: gateway.service.clone() }).is_empty()
        };
        let row = |(subject, mut summary): (Subject, Summary)| {
            summary.gateway_config.associated_service_count = services_of.get(&subject).map_or(0, BTreeSet::len);
            let connected_with_gateway = gateways_of.get(&subject).is_some_and(|known| known.iter().any(is_there));
            let connected_with_proxy = summary.has_proxy;
            (subject, Listed { summary, connected_with_proxy, connected_with_gateway })
        };
        summaries.into_rows().map(row).collect()
    }
}
