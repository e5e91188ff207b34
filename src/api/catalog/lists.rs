//! `GET /v1/catalog/datacenters`, `/nodes` and `/services`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::response::Response;

use super::has_node_meta;
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, get};
use crate::api::wire::{CatalogNode, CatalogService};
use crate::model::ServiceKey;
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
        let shown = reader.nodes(place).filter(|row| has_node_meta(&call.query, &row.value));
        Ok(shown.cloned().map(CatalogNode).collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, nodes).await
}

/// Names with the tags of their instances. Conditions look at instances, so a call with some reads all of them; without,
/// it is not woken by health.
async fn services(call: Call) -> Result<Response, ApiError> {
    let filter = call.filter(Filtered::Rows)?;
    let is_conditional = filter.is_some() || call.query.has("node-meta");
    let shown = |instance: &Instance| {
        has_node_meta(&call.query, &instance.node.value)
            && filter.as_ref().is_none_or(|filter| {
                let row = CatalogService::new(instance.clone(), None);
                filter.matches(&serde_json::to_value(row).expect("rows have string keys"))
            })
    };
    let services = |reader: &Reader<'_>| {
        let all = reader.service_tags(&call.scope.place);
        let named = all.into_iter().filter(|(key, _)| call.scope.shows(&key.service.namespace));
        let tags = |(key, tags): (&ServiceKey, BTreeSet<&str>)| {
            if !is_conditional {
                return Some((key.service.name.clone(), tags.into_iter().map(str::to_owned).collect()));
            }
            let instances: Vec<_> = reader.instances_named(key).into_iter().filter(&shown).collect();
            let tags: BTreeSet<String> =
                instances.iter().flat_map(|instance| instance.service.value.tags.iter().cloned()).collect();
            (!instances.is_empty()).then(|| (key.service.name.clone(), tags))
        };
        Ok(named.filter_map(tags).collect::<BTreeMap<_, _>>())
    };
    call.read(Filtered::Nothing, services).await
}
