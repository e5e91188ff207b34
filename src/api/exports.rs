//! `/v1/exported-services` and `/v1/imported-services`: what crosses the borders of a partition (`http-api.md` 2.6).

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::Serialize;

use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::route::{Routes, get};
use crate::model::{Namespace, Partition, PeerName, Place, ServiceKind, ServiceName, is_default};
use crate::store::Reader;

/// The routes of exports and imports.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/exported-services", get(exported)).route("/v1/imported-services", get(imported))
}

/// A service that others may reach.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExportedRow {
    service: String,
    #[serde(skip_serializing_if = "is_default")]
    partition: Partition,
    #[serde(skip_serializing_if = "is_default")]
    namespace: Namespace,
    consumers: Consumers,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Consumers {
    #[serde(skip_serializing_if = "is_default")]
    peers: BTreeSet<PeerName>,
    #[serde(skip_serializing_if = "is_default")]
    partitions: BTreeSet<Partition>,
}

/// A service of others that may be reached.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImportedRow {
    service: String,
    #[serde(skip_serializing_if = "is_default")]
    partition: Partition,
    #[serde(skip_serializing_if = "is_default")]
    namespace: Namespace,
    #[serde(skip_serializing_if = "is_default")]
    source_peer: PeerName,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_partition: Option<Partition>,
}

/// What the partition exports, wildcards as the services that they stand for.
async fn exported(call: Call) -> Result<Response, ApiError> {
    let place = &call.scope.place;
    let rows = |reader: &Reader<'_>| {
        let exported = call.api.exports.of(reader, place).into_iter();
        let row = |exported: super::Exported| ExportedRow {
            service: exported.service.name.to_string(),
            partition: exported.service.partition,
            namespace: exported.service.namespace,
            consumers: Consumers { peers: exported.peers, partitions: exported.partitions },
        };
        Ok(exported.map(row).collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, rows).await
}

/// What peers and the other partitions of the datacenter export to the partition, sorted by service.
async fn imported(call: Call) -> Result<Response, ApiError> {
    let rows = |reader: &Reader<'_>| {
        let mut rows: BTreeMap<(ServiceName, PeerName, Partition), ImportedRow> = BTreeMap::new();
        for (service, peer) in call.imports_of_peers(reader) {
            let row = ImportedRow { source_peer: peer.clone(), ..ImportedRow::of(&service) };
            rows.insert((service, peer, Partition::default()), row);
        }
        for service in call.imports_of_partitions(reader) {
            let own = ServiceName { partition: call.scope.place.partition.clone(), ..service.clone() };
            let source = service.partition;
            let row = ImportedRow { source_partition: Some(source.clone()), ..ImportedRow::of(&own) };
            rows.insert((own, PeerName::default(), source), row);
        }
        Ok(rows.into_values().collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, rows).await
}

impl ImportedRow {
    fn of(service: &ServiceName) -> Self {
        Self {
            service: service.name.to_string(),
            partition: service.partition.clone(),
            namespace: service.namespace.clone(),
            ..Self::default()
        }
    }
}

impl Call {
    /// The services of peers under their own names; sidecars are only the way to them.
    fn imports_of_peers(&self, reader: &Reader<'_>) -> BTreeSet<(ServiceName, PeerName)> {
        let mut found = BTreeSet::new();
        for peer in reader.peerings(&self.scope.place).map(|row| row.value.key()) {
            let instances = reader.imported_from(&peer).map(|row| &row.value);
            let named = instances.filter(|row| row.service.kind == ServiceKind::Typical).map(|row| row.name());
            let reachable = reader.imported_names(&peer).cloned();
            found.extend(named.chain(reachable).map(|service| (service, peer.name.clone())));
        }
        found
    }

    /// What the other partitions of the datacenter export to this one.
    fn imports_of_partitions(&self, reader: &Reader<'_>) -> Vec<ServiceName> {
        let Place { datacenter, partition } = &self.scope.place;
        let others = reader.partitions(datacenter).into_iter().filter(|other| other != partition);
        let exported = others.flat_map(|other| self.api.exports.of(reader, &Place::new(datacenter, &other)));
        exported.filter(|exported| exported.partitions.contains(partition)).map(|exported| exported.service).collect()
    }
}
