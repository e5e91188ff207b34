//! `GET /v1/catalog/node/:n` and `/node-services/:n`.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, prefix};
use crate::api::wire::{CatalogNode, NodeService};
use crate::model::ServiceId;
use crate::store::{NodeKey, Reader};

pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(prefix("/v1/catalog/node/", get(by_id)))
        .merge(prefix("/v1/catalog/node-services/", get(as_list)))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeWith<S> {
    node: Option<CatalogNode>,
    services: Option<S>,
}

/// `null` for an unknown node.
async fn by_id(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.node(&tail.required("node name")?);
    let node = |reader: &Reader<'_>| {
        let Some(row) = reader.node(&key).filter(|_| call.peer().is_none()) else { return Ok(None) };
        let services = call.services_of(reader, &key).into_iter();
        let services: BTreeMap<ServiceId, _> =
            services.map(|service| (service.row.value.id.clone(), service)).collect();
        Ok(Some(NodeWith { node: Some(CatalogNode(row.clone())), services: Some(services) }))
    };
    call.read(Filtered::Member("Services"), node).await
}

/// An object of nulls for an unknown node.
async fn as_list(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.node(&tail.required("node name")?);
    let node = |reader: &Reader<'_>| {
        let row = reader.node(&key).filter(|_| call.peer().is_none());
        let services = row.map(|_| call.services_of(reader, &key));
        Ok(NodeWith { node: row.cloned().map(CatalogNode), services })
    };
    call.read(Filtered::Member("Services"), node).await
}

impl Call {
    fn services_of(&self, reader: &Reader<'_>, node: &NodeKey) -> Vec<NodeService> {
        let shown = reader.services_on(node).filter(|row| self.scope.shows(&row.value.namespace));
        shown.map(|row| NodeService { row: row.clone(), proxy: self.merged(reader, &node.node, &row.value) }).collect()
    }
}
