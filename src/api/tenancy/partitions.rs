//! `/v1/partition` and `/v1/partitions`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Commits, Tenant, known_by};
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::model::{Datacenter, EntryKind, Ignored, Partition, PartitionDefinition, Place, is_default};
use crate::store::{Index, NodeKey, Op, Reader, View, Write};

/// Says what the default partition is where nobody has said it.
const DEFAULT: &str = "Builtin Default Partition";

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartitionRow {
    name: Partition,
    description: String,
    #[serde(skip_serializing_if = "is_default")]
    disable_gossip: bool,
    create_index: Index,
    modify_index: Index,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Sent {
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

impl Tenant for Sent {
    const KIND: &'static str = "Partition";
    const IN_PATH: &'static str = "partition name";
    type Name = Partition;
    type Row = PartitionRow;

    fn name(&self) -> &str {
        &self.name
    }

    fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    fn is_default(name: &Partition) -> bool {
        name.is_default()
    }

    fn rows(call: &Call, reader: &Reader<'_>) -> BTreeMap<Partition, PartitionRow> {
        rows(reader, &call.scope.place.datacenter)
    }

    fn into_op(self, call: &Call) -> Result<Op, ApiError> {
        Ok(Op::PutPartition(PartitionDefinition {
            datacenter: call.scope.place.datacenter.clone(),
            name: Partition::from(self.name),
            description: self.description,
            disable_gossip: self.disable_gossip,
        }))
    }

    fn removal(call: &Call, name: Partition) -> Box<dyn FnOnce(&View) -> Write + Send> {
        let place = Place::new(&call.scope.place.datacenter, &name);
        Box::new(move |view| removal(view, &place))
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
