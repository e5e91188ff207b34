//! `/v1/namespace` and `/v1/namespaces`, in the partition of the call.

use std::collections::BTreeMap;

use axum::Router;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Commits, agreed, checked, known_by};
use crate::api::Options;
use crate::api::body::{Body, LARGE};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, get_put_delete, prefix, put};
use crate::codec;
use crate::model::{
    BundleRow, EntryKind, Ignored, Namespace, NamespaceAcls, NamespaceDefinition, Partition, Place, Problem, is_default,
};
use crate::store::{Index, Instance, NodeKey, Op, Reader, Stored, View, Write};

/// Says what the default namespace is where nobody has said it.
const DEFAULT: &str = "Builtin Default Namespace";

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/v1/namespace", put(create))
        .route("/v1/namespaces", get(list))
        .merge(prefix("/v1/namespace/", get_put_delete(read, update, delete)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NamespaceRow {
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
struct Sent {
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

async fn create(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent = decode(&body)?;
    if sent.name.is_empty() {
        return Err(ApiError::Missing("Name"));
    }
    call.put_namespace(sent).await
}

/// Makes it where it is not there.
async fn update(call: Call, tail: Tail, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent = decode(&body)?;
    let name = agreed(tail.required("namespace name")?, &sent.name)?;
    call.put_namespace(Sent { name, ..sent }).await
}

async fn read(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = Namespace::from(tail.required("namespace name")?);
    let (row, meta) = call.current(|reader| Ok(call.namespaces(reader).remove(&name))).await?;
    Ok(meta.on(match row {
        Some(row) => call.json(&row),
        None => ApiError::TenantNotFound { kind: "Namespace", name: name.to_string() }.into_response(),
    }))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let all = |reader: &Reader<'_>| Ok(call.namespaces(reader).into_values().collect::<Vec<_>>());
    call.read(Filtered::Nothing, all).await
}

/// Removes a namespace with all that is in it. Removing what is not there is no error.
async fn delete(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = Namespace::from(tail.required("namespace name")?);
    if name.is_default() {
        return Err(ApiError::Refused(Problem::rule("", "the default namespace cannot be deleted").into()));
    }
    let places = places(&call.api.options, &call.scope.place.partition);
    call.api.store.write_with(move |view| Ok(removal(view, &places, &name))).await?;
    Ok(Response::default())
}

fn decode(body: &[u8]) -> Result<Sent, ApiError> {
    codec::strict(body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })
}

impl Call {
    async fn put_namespace(mut self, sent: Sent) -> Result<Response, ApiError> {
        checked(&sent.name)?;
        self.scope = self.scope.clone().in_partition(sent.partition.as_ref())?;
        let definition = NamespaceDefinition {
            partition: self.scope.place.partition.clone(),
            name: Namespace::from(sent.name),
            description: sent.description,
            acls: sent.acls,
            meta: sent.meta,
        };
        BundleRow::validate(&definition).into_result().map_err(ApiError::Refused)?;
        let name = definition.name.clone();
        self.api.store.write(Op::PutNamespace(definition)).await?;
        let view = self.api.store.view();
        Ok(self.json(&self.namespaces(&Reader::new(&view)).remove(&name)))
    }

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
