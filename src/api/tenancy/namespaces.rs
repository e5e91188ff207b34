//! `/v1/namespace` and `/v1/namespaces`, in the partition of the call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Commits, Tenant, known_by};
use crate::api::Options;
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::model::{
    BundleRow, EntryKind, Ignored, Namespace, NamespaceAcls, NamespaceDefinition, Partition, Place, is_default,
};
use crate::store::{Index, Instance, NodeKey, Op, Reader, Stored, View, Write};

/// Says what the default namespace is where nobody has said it.
const DEFAULT: &str = "Builtin Default Namespace";

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NamespaceRow {
    name: Namespace,
    #[serde(skip_serializing_if = "is_default")]
    description: String,
    #[serde(rename = "ACLs", skip_serializing_if = "Option::is_none")]
    acls: Option<NamespaceAcls>,
    #[serde(skip_serializing_if = "is_default")]
    meta: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    partition: Partition,
    create_index: Index,
    modify_index: Index,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Sent {
    name: String,
    description: String,
    #[serde(rename = "ACLs")]
    acls: Option<NamespaceAcls>,
    meta: BTreeMap<String, String>,
    partition: Option<Partition>,
    #[serde(rename = "DeletedAt")]
    _deleted_at: Ignored,
    #[serde(rename = "CreateIndex")]
    _create_index: Ignored,
    #[serde(rename = "ModifyIndex")]
    _modify_index: Ignored,
}

impl Tenant for Sent {
    const KIND: &'static str = "Namespace";
    const IN_PATH: &'static str = "namespace name";
    type Name = Namespace;
    type Row = NamespaceRow;

    fn name(&self) -> &str {
        &self.name
    }

    fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    fn is_default(name: &Namespace) -> bool {
        name.is_default()
    }

    fn scoped(&self, mut call: Call) -> Result<Call, ApiError> {
        call.scope = call.scope.in_partition(self.partition.as_ref())?;
        Ok(call)
    }

    fn rows(call: &Call, reader: &Reader<'_>) -> BTreeMap<Namespace, NamespaceRow> {
        call.namespaces(reader)
    }

    fn into_op(self, call: &Call) -> Result<Op, ApiError> {
        let definition = NamespaceDefinition {
            partition: call.scope.place.partition.clone(),
            name: Namespace::from(self.name),
            description: self.description,
            acls: self.acls,
            meta: self.meta,
        };
        BundleRow::validate(&definition).into_result().map_err(ApiError::Refused)?;
        Ok(Op::PutNamespace(definition))
    }

    fn removal(call: &Call, name: Namespace) -> Box<dyn FnOnce(&View) -> Write + Send> {
        let places = places(&call.api.options, &call.scope.place.partition);
        Box::new(move |view| removal(view, &places, &name))
    }
}

impl Call {
    /// The namespaces of the partition: the default one, those that were made, and those of rows.
    fn namespaces(&self, reader: &Reader<'_>) -> BTreeMap<Namespace, NamespaceRow> {
        let partition = &self.scope.place.partition;
        let mut known = BTreeMap::from([(Namespace::default(), Commits { create: 1, modify: 1 })]);
        for key in places(&self.api.options, partition).iter().flat_map(|place| reader.service_keys(place)) {
            let namespace = &key.service.namespace;
            if !namespace.is_default() {
                // When an instance changes, that is no news about its namespace.
                for instance in reader.view().instances_named(key) {
                    known_by(&mut known, namespace.clone(), &instance.service);
                }
            }
        }
        for kind in EntryKind::ALL.into_iter().filter(|kind| kind.is_namespaced()) {
            for entry in reader.entries(kind, partition) {
                let namespace = entry.value.key().name.namespace;
                if !namespace.is_default() && namespace.as_str() != "*" {
                    known_by(&mut known, namespace, entry);
                }
            }
        }
        let implied = |(name, commits): (Namespace, Commits)| {
            let description = if name.is_default() { DEFAULT } else { "" }.to_owned();
            let definition =
                NamespaceDefinition { partition: partition.clone(), name, description, ..Default::default() };
            (definition.name.clone(), row(definition, commits))
        };
        let made = |stored: &Stored<NamespaceDefinition>| {
            (stored.value.name.clone(), row((*stored.value).clone(), Commits::of(stored)))
        };
        known.into_iter().map(implied).chain(reader.namespace_definitions(partition).map(made)).collect()
    }
}

fn row(definition: NamespaceDefinition, commits: Commits) -> NamespaceRow {
    NamespaceRow {
        name: definition.name,
        description: definition.description,
        acls: definition.acls,
        meta: definition.meta,
        partition: definition.partition,
        create_index: commits.create,
        modify_index: commits.modify,
    }
}

/// The partition in every datacenter whose catalog is here.
fn places(options: &Options, partition: &Partition) -> Vec<Place> {
    options.datacenters().iter().map(|datacenter| Place::new(datacenter, partition)).collect()
}

/// What ends a namespace of a partition.
fn removal(view: &View, places: &[Place], namespace: &Namespace) -> Write {
    let mut ops = Vec::new();
    for place in places {
        let keys = view.service_keys(place).filter(|key| key.service.namespace == *namespace);
        let id =
            |instance: Instance| NodeKey::new(place, &instance.node.value.node).instance(&instance.service.value.id);
        ops.extend(keys.flat_map(|key| view.instances_named(key)).map(|instance| Op::DeleteService(id(instance))));
    }
    let Some(partition) = places.first().map(|place| &place.partition) else { return ops.into() };
    let entries = view.entries().map(|(key, _)| key).filter(|key| key.kind.is_namespaced());
    let inside = entries.filter(|key| key.name.partition == *partition && key.name.namespace == *namespace);
    ops.extend(inside.cloned().map(Op::DeleteEntry));
    ops.push(Op::DeleteNamespace(partition.clone(), namespace.clone()));
    ops.into()
}
