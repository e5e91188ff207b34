//! `/v1/partition` and `/v1/partitions`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Commits, agreed, checked, known_by};
use crate::api::body::{Body, LARGE};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, get_put_delete, prefix, put};
use crate::codec;
use crate::model::{Datacenter, EntryKind, Ignored, Partition, PartitionDefinition, Place, Problem, is_default};
use crate::store::{Index, NodeKey, Op, Reader, View, Write};

/// Says what the default partition is where nobody has said it.
const DEFAULT: &str = "Builtin Default Partition";

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/v1/partition", put(create))
        .route("/v1/partitions", get(list))
        .merge(prefix("/v1/partition/", get_put_delete(read, update, delete)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PartitionRow {
    name: Partition,
    description: String,
    #[serde(skip_serializing_if = "is_default")]
    disable_gossip: bool,
    create_index: Index,
    modify_index: Index,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Sent {
    name: String,
    description: String,
    disable_gossip: bool,
    #[serde(rename = "DeletedAt")]
    _deleted_at: Ignored,
    #[serde(rename = "CreateIndex")]
    _create_index: Ignored,
    #[serde(rename = "ModifyIndex")]
    _modify_index: Ignored,
}

async fn create(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent = decode(&body)?;
    if sent.name.is_empty() {
        return Err(ApiError::Missing("Name"));
    }
    call.put_partition(sent).await
}

/// Makes it where it is not there.
async fn update(call: Call, tail: Tail, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent = decode(&body)?;
    let name = agreed(tail.required("partition name")?, &sent.name)?;
    call.put_partition(Sent { name, ..sent }).await
}

async fn read(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = Partition::from(tail.required("partition name")?);
    let datacenter = &call.scope.place.datacenter;
    let (row, meta) = call.current(|reader| Ok(rows(reader, datacenter).remove(&name))).await?;
    Ok(meta.on(match row {
        Some(row) => call.json(&row),
        None => ApiError::TenantNotFound { kind: "Partition", name: name.to_string() }.into_response(),
    }))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let datacenter = &call.scope.place.datacenter;
    let all = |reader: &Reader<'_>| Ok(rows(reader, datacenter).into_values().collect::<Vec<_>>());
    call.read(Filtered::Nothing, all).await
}

/// Removes a partition with all that is in it. Removing what is not there is no error.
async fn delete(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = Partition::from(tail.required("partition name")?);
    if name.is_default() {
        return Err(ApiError::Refused(Problem::rule("", "the default partition cannot be deleted").into()));
    }
    let place = Place::new(&call.scope.place.datacenter, &name);
    call.api.store.write_with(move |view| Ok(removal(view, &place))).await?;
    Ok(Response::default())
}

fn decode(body: &[u8]) -> Result<Sent, ApiError> {
    codec::strict(body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })
}

impl Call {
    async fn put_partition(self, sent: Sent) -> Result<Response, ApiError> {
        checked(&sent.name)?;
        let datacenter = self.scope.place.datacenter.clone();
        let definition = PartitionDefinition {
            datacenter: datacenter.clone(),
            name: Partition::from(sent.name),
            description: sent.description,
            disable_gossip: sent.disable_gossip,
        };
        let name = definition.name.clone();
        self.api.store.write(Op::PutPartition(definition)).await?;
        let view = self.api.store.view();
        Ok(self.json(&rows(&Reader::new(&view), &datacenter).remove(&name)))
    }
}

/// The partitions of a datacenter: the default one, those that were made, and those of rows.
fn rows(reader: &Reader<'_>, datacenter: &Datacenter) -> BTreeMap<Partition, PartitionRow> {
    let mut known = BTreeMap::from([(Partition::default(), Commits { create: 1, modify: 1 })]);
    for partition in reader.partitions(datacenter).into_iter().filter(|partition| !partition.is_default()) {
        for node in reader.nodes(&Place::new(datacenter, &partition)) {
            known_by(&mut known, partition.clone(), node);
        }
    }
    for entry in EntryKind::ALL.into_iter().flat_map(|kind| reader.entries_of_kind(kind)) {
        let partition = entry.value.key().name.partition;
        if !partition.is_default() {
            known_by(&mut known, partition, entry);
        }
    }
    let implied = |(name, commits): (Partition, Commits)| {
        let description = if name.is_default() { DEFAULT } else { "" };
        (
            name.clone(),
            row(PartitionDefinition { name, description: description.to_owned(), ..Default::default() }, commits),
        )
    };
    let made = |stored: &crate::store::Stored<PartitionDefinition>| {
        (stored.value.name.clone(), row((*stored.value).clone(), Commits::of(stored)))
    };
    known.into_iter().map(implied).chain(reader.partition_definitions(datacenter).map(made)).collect()
}

fn row(definition: PartitionDefinition, commits: Commits) -> PartitionRow {
    PartitionRow {
        name: definition.name,
        description: definition.description,
        disable_gossip: definition.disable_gossip,
        create_index: commits.create,
        modify_index: commits.modify,
    }
}

/// What ends a partition of a datacenter. Entries and namespaces are those of all datacenters, so they go with the last one
/// that has the partition.
fn removal(view: &View, place: &Place) -> Write {
    let nodes = view.nodes(place).map(|row| Op::DeleteNode(NodeKey::new(place, &row.value.node)));
    let peerings = view.peerings(place).map(|row| Op::DeletePeering(row.value.key()));
    let queries = view.queries(place).map(|row| Op::DeleteQuery(row.value.key()));
    let mut ops: Vec<Op> = nodes.chain(peerings).chain(queries).collect();
    ops.push(Op::DeletePartition(place.clone()));
    if !is_elsewhere(view, place) {
        let entries = view.entries().filter(|(key, _)| key.name.partition == place.partition);
        ops.extend(entries.map(|(key, _)| Op::DeleteEntry(key.clone())));
        let namespaces = view.namespace_definitions(&place.partition);
        ops.extend(namespaces.map(|row| Op::DeleteNamespace(row.value.partition.clone(), row.value.name.clone())));
    }
    ops.into()
}

/// True if another datacenter has a partition of this name.
fn is_elsewhere(view: &View, place: &Place) -> bool {
    let others: BTreeSet<Datacenter> =
        view.datacenters().into_iter().chain(view.datacenters_with_partitions().cloned()).collect();
    let has = |datacenter: &Datacenter| {
        let mut made = view.partition_definitions(datacenter);
        view.partitions(datacenter).contains(&place.partition) || made.any(|row| row.value.name == place.partition)
    };
    others.iter().any(|datacenter| *datacenter != place.datacenter && has(datacenter))
}
