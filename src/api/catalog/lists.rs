//! `GET /v1/catalog/datacenters`, `/nodes` and `/services`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::response::Response;

use super::has_node_meta;
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, get};
use crate::api::wire::{CatalogNode, CatalogService};
use crate::model::Filter;
use crate::store::{Instance, Reader};

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/v1/catalog/datacenters", get(datacenters))
        .route("/v1/catalog/nodes", get(nodes))
        .route("/v1/catalog/services", get(services))
}

/// The primary first: no distances are known.
async fn datacenters(call: Call) -> Response {
    call.json(&call.api.options.datacenters())
}

async fn nodes(call: Call) -> Result<Response, ApiError> {
    let place = &call.scope.place;
    let nodes = |reader: &Reader<'_>| {
        let shown = reader.nodes(place).filter(|row| call.is_local() && has_node_meta(&call.query, &row.value));
        Ok(shown.cloned().map(CatalogNode).collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, nodes).await
}

/// Names with the tags of their instances. Conditions look at instances, so a call with some reads all of them; without,
/// it is not woken by health.
async fn services(call: Call) -> Result<Response, ApiError> {
    let filter = call.filter(Filtered::Rows)?;
    let services = |reader: &Reader<'_>| {
        if filter.is_some() || call.query.has("node-meta") || !call.is_local() {
            return call.matching_services(reader, filter.as_ref());
        }
        let all = reader.service_tags(&call.scope.place).into_iter();
        let shown = all.filter(|(key, _)| call.scope.shows(&key.service.namespace));
        Ok(shown.map(|(key, tags)| (key.service.name.clone(), owned(tags))).collect())
    };
    call.read(Filtered::Nothing, services).await
}

type Tags = BTreeMap<Arc<str>, BTreeSet<String>>;

fn owned(tags: BTreeSet<&str>) -> BTreeSet<String> {
    tags.into_iter().map(str::to_owned).collect()
}

impl Call {
    fn matching_services(&self, reader: &Reader<'_>, filter: Option<&Filter>) -> Result<Tags, ApiError> {
        let mut shown = Tags::new();
        for key in reader.service_keys(&self.scope.place).filter(|key| self.scope.shows(&key.service.namespace)) {
            for instance in reader.instances_named(key) {
                if self.matches(&instance, filter)? {
                    let tags = instance.service.value.tags.iter().cloned();
                    shown.entry(key.service.name.clone()).or_default().extend(tags);
                }
            }
        }
        Ok(shown)
    }

    /// A filter of services looks at the flat rows of their instances.
    fn matches(&self, instance: &Instance, filter: Option<&Filter>) -> Result<bool, ApiError> {
        if !self.wants(instance) {
            return Ok(false);
        }
        let Some(filter) = filter else { return Ok(true) };
        let row = serde_json::to_value(CatalogService::new(instance.clone(), None)).expect("rows have string keys");
        Ok(filter.matches(&row)?)
    }
}
