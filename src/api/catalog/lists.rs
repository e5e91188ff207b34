//! `GET /v1/catalog/datacenters`, `/nodes` and `/services`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    Routes::new()
        .route("/v1/catalog/datacenters", get(datacenters))
        .route("/v1/catalog/nodes", get(nodes))
        .route("/v1/catalog/services", get(services))
}

/// The hosted ones, the primary first, then those that are known from elsewhere: no distances are known.
async fn datacenters(call: Call) -> Response {
    let options = &call.api.options;
    let known = call.api.store.view().datacenters().into_iter().filter(|known| !options.hosts(known));
    call.json(&options.datacenters().into_iter().chain(known).collect::<Vec<_>>())
}

async fn nodes(call: Call) -> Result<Response, ApiError> {
    let place = &call.scope.place;
    let nodes = |reader: &Reader<'_>| {
        let shown = reader.nodes(place).filter(|row| call.peer().is_none() && has_node_meta(&call.query, &row.value));
        Ok(shown.cloned().map(CatalogNode).collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, nodes).await
}

/// Names with the tags of their instances. Conditions look at instances, so a call with some reads all of them; without,
/// it is not woken by health.
async fn services(call: Call) -> Result<Response, ApiError> {
    let filter = call.filter(Filtered::Rows)?;
    let services = |reader: &Reader<'_>| {
        if filter.is_some() || call.query.has("node-meta") || call.peer().is_some() {
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
        let instances: Vec<Instance> = match self.peer() {
            Some(peer) => reader.imported_from(&peer).map(Instance::from).collect(),
            None => {
                let keys = reader.service_keys(&self.scope.place);
                keys.flat_map(|key| reader.instances_named(key)).collect()
            }
        };
        for instance in instances {
            let service = &*instance.service.value;
            if self.scope.shows(&service.namespace) && self.matches(&instance, filter)? {
                shown.entry(Arc::from(service.name.as_str())).or_default().extend(service.tags.iter().cloned());
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
