//! `/v1/internal/federation-state*`: the mesh gateways through which the datacenters of a WAN federation are reached.
//!
//! The states of datacenters that are hosted here follow from their catalogs; those of the others were replicated.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::Options;
use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::route::{Routes, Tail, get, prefix};
use super::wire::HealthRow;
use crate::model::{Datacenter, FederationState, HealthEntry, Partition, Place};
use crate::store::{Index, Instance, Reader, Stored};

/// The fact about a gateway that lets other datacenters in.
const FEDERATION: &str = "consul-wan-federation";
/// Go's time of nothing: it is not kept when a state was last replicated.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The routes of federation states.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/internal/federation-states", get(list))
        .route("/v1/internal/federation-states/mesh-gateways", get(gateways))
        .merge(prefix("/v1/internal/federation-state/", get(read)))
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StateRow {
    datacenter: Datacenter,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mesh_gateways: Vec<HealthRow>,
    updated_at: &'static str,
    primary_modify_index: Index,
    create_index: Index,
    modify_index: Index,
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let all = |reader: &Reader<'_>| Ok(states(reader, &call.api.options).into_values().collect::<Vec<_>>());
    call.read(Filtered::Nothing, all).await
}

/// Every datacenter that is hosted is there, also one without gateways.
async fn gateways(call: Call) -> Result<Response, ApiError> {
    let options = &call.api.options;
    let all = |reader: &Reader<'_>| {
        let hosted = options.datacenters().into_iter().map(|datacenter| (datacenter, Vec::new()));
        let known = states(reader, options).into_iter().map(|(datacenter, state)| (datacenter, state.mesh_gateways));
        Ok(hosted.chain(known).collect::<BTreeMap<Datacenter, Vec<HealthRow>>>())
    };
    call.read(Filtered::Nothing, all).await
}

/// An absent one has no text, unlike all other errors, because Consul's has none.
async fn read(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let datacenter = Datacenter::from(tail.required("datacenter name")?);
    let (state, meta) = call.current(|reader| Ok(states(reader, &call.api.options).remove(&datacenter))).await?;
    let Some(state) = state else {
        let mut absent = Response::default();
        *absent.status_mut() = StatusCode::NOT_FOUND;
        return Ok(meta.on(absent));
    };
    let body = json!({ "State": state, "Index": meta.index(), "LastContact": 0, "KnownLeader": true });
    Ok(meta.on(call.json(&body)))
}

fn states(reader: &Reader<'_>, options: &Options) -> BTreeMap<Datacenter, StateRow> {
    let hosted = options.datacenters().into_iter().filter_map(|datacenter| hosted(reader, datacenter));
    let replicated = reader.federation_states().map(replicated);
    hosted.chain(replicated).map(|state| (state.datacenter.clone(), state)).collect()
}

/// The state of a datacenter that is hosted here, if it has gateways that let others in.
fn hosted(reader: &Reader<'_>, datacenter: Datacenter) -> Option<StateRow> {
    let gateways = reader.mesh_gateways(&Place::new(&datacenter, &Partition::default())).into_iter();
    let lets_in = |gateway: &Instance| gateway.service.value.meta.get(FEDERATION).is_some_and(|value| value == "1");
    let gateways: Vec<Instance> = gateways.filter(lets_in).collect();
    let commits = || gateways.iter().flat_map(|gateway| [&gateway.node.modify_index, &gateway.service.modify_index]);
    let created = gateways.iter().map(|gateway| gateway.service.create_index).min()?;
    let modified = commits().copied().max()?;
    Some(StateRow {
        datacenter,
        mesh_gateways: gateways.into_iter().map(|gateway| HealthRow::new(gateway, None)).collect(),
        updated_at: NEVER,
        primary_modify_index: modified,
        create_index: created,
        modify_index: modified,
    })
}

fn replicated(row: &Stored<FederationState>) -> StateRow {
    StateRow {
        datacenter: row.value.datacenter.clone(),
        mesh_gateways: row.value.mesh_gateways.iter().map(|told| HealthRow::new(instance(told), None)).collect(),
        updated_at: NEVER,
        primary_modify_index: row.modify_index,
        create_index: row.create_index,
        modify_index: row.modify_index,
    }
}

/// All parts of what was told are as new as the whole, by the count of whoever told it.
fn instance(told: &HealthEntry) -> Instance {
    fn part<T>(value: &std::sync::Arc<T>, at: Index) -> Stored<T> {
        Stored { value: value.clone(), create_index: at, modify_index: at }
    }
    let at = told.modify_index;
    Instance {
        service: part(&told.service, at),
        node: part(&told.node, at),
        checks: told.checks.iter().map(|check| part(check, at)).collect(),
    }
}
