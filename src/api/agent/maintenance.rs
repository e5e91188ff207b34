//! `PUT /v1/agent/service/maintenance/:id`.

use axum::response::Response;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::route::{Routes, Tail, prefix, put};
use crate::model::{Check, CheckId, CheckStatus, Service, ServiceId};
use crate::store::{CheckKey, NodeKey, Op, View, Write};

/// Shown where nobody gave a reason.
const NO_REASON: &str = "Maintenance mode is on; no reason was given.";

pub(super) fn routes() -> Routes {
    prefix("/v1/agent/service/maintenance/", put(maintain))
}

async fn maintain(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = ServiceId::from(tail.required("service ID")?);
    let enable = call.query.required_bool("enable")?;
    let reason = call.query.value("reason").unwrap_or(NO_REASON).to_owned();
    let node = call.agent_node();
    if call.api.store.view().service(&node.instance(&id)).is_none() {
        return Err(ApiError::NoServiceToChange(id));
    }
    let switch = move |view: &View| Ok(if enable { enter(view, &node, &id, reason) } else { leave(&node, &id) });
    call.api.store.write_with(switch).await?;
    Ok(Response::default())
}

/// Puts the instance out of service, unless it has gone in the meantime.
fn enter(view: &View, node: &NodeKey, id: &ServiceId, reason: String) -> Write {
    let check = view.service(&node.instance(id)).map(|row| maintenance_check(node, &row.value, reason));
    check.map(Op::PutCheck).into_iter().collect::<Vec<_>>().into()
}

fn leave(node: &NodeKey, id: &ServiceId) -> Write {
    Op::DeleteCheck(CheckKey { node: node.clone(), check: check_id(id) }).into()
}

fn maintenance_check(node: &NodeKey, service: &Service, reason: String) -> Check {
    Check {
        node: node.node.clone(),
        check_id: check_id(&service.id),
        name: "Service Maintenance Mode".to_owned(),
        status: CheckStatus::Critical,
        notes: reason,
        service_id: service.id.clone(),
        service_name: service.name.clone(),
        service_tags: service.tags.clone(),
        kind: "maintenance".to_owned(),
        datacenter: node.place.datacenter.clone(),
        partition: node.place.partition.clone(),
        ..Check::default()
    }
}

fn check_id(service: &ServiceId) -> CheckId {
    CheckId::from(format!("_service_maintenance:{service}"))
}
