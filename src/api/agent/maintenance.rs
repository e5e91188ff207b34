//! `PUT /v1/agent/maintenance` and `/v1/agent/service/maintenance/:id`.

use axum::response::Response;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::route::{Routes, Tail, prefix, put};
use crate::model::{Check, CheckId, CheckStatus, Service, ServiceId};
use crate::store::{CheckKey, NodeKey, Op, View, Write};

/// Shown where nobody gave a reason.
const NO_REASON: &str = "Maintenance mode is on; no reason was given.";
/// The check that takes out the node with all that is on it.
const OF_NODE: &str = "_node_maintenance";
/// What the checks that take out one instance begin with.
const OF_SERVICE: &str = "_service_maintenance:";

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/agent/maintenance", put(maintain_node))
        .merge(prefix("/v1/agent/service/maintenance/", put(maintain_service)))
}

async fn maintain_node(call: Call) -> Result<Response, ApiError> {
    let enable = call.query.required_bool("enable")?;
    let reason = call.maintenance_reason();
    let node = call.agent_node();
    let agent = call.api.options.agent_node(&call.scope.place);
    let switch = move |view: &View| {
        if !enable {
            return Ok(Op::DeleteCheck(CheckKey { node, check: CheckId::from(OF_NODE) }).into());
        }
        let new_node = view.node(&node).is_none().then_some(Op::PutNode(agent));
        let check = Op::PutCheck(node_check(&node, reason));
        Ok(Write::from(new_node.into_iter().chain([check]).collect::<Vec<_>>()))
    };
    call.store().write_with(switch).await?;
    Ok(Response::default())
}

async fn maintain_service(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = ServiceId::from(tail.required("service ID")?);
    let enable = call.query.required_bool("enable")?;
    let reason = call.maintenance_reason();
    let node = call.agent_node();
    if call.api.store.view().service(&node.instance(&id)).is_none() {
        return Err(ApiError::NoServiceToChange(id));
    }
    let switch = move |view: &View| Ok(if enable { enter(view, &node, &id, reason) } else { leave(&node, &id) });
    call.store().write_with(switch).await?;
    Ok(Response::default())
}

/// Puts the instance out of service, unless it has gone in the meantime.
fn enter(view: &View, node: &NodeKey, id: &ServiceId, reason: String) -> Write {
    let check = view.service(&node.instance(id)).map(|row| service_check(node, &row.value, reason));
    check.map(Op::PutCheck).into_iter().collect::<Vec<_>>().into()
}

fn leave(node: &NodeKey, id: &ServiceId) -> Write {
    Op::DeleteCheck(CheckKey { node: node.clone(), check: check_id(id) }).into()
}

fn node_check(node: &NodeKey, reason: String) -> Check {
    Check {
        node: node.node.clone(),
        check_id: CheckId::from(OF_NODE),
        name: "Node Maintenance Mode".to_owned(),
        status: CheckStatus::Critical,
        notes: reason,
        kind: "maintenance".to_owned(),
        datacenter: node.place.datacenter.clone(),
        partition: node.place.partition.clone(),
        ..Check::default()
    }
}

fn service_check(node: &NodeKey, service: &Service, reason: String) -> Check {
    Check {
        check_id: check_id(&service.id),
        name: "Service Maintenance Mode".to_owned(),
        service_id: service.id.clone(),
        service_name: service.name.clone(),
        service_tags: service.tags.clone(),
        ..node_check(node, reason)
    }
}

fn check_id(service: &ServiceId) -> CheckId {
    CheckId::from(format!("{OF_SERVICE}{service}"))
}

/// True for a check that takes out a node or an instance on purpose.
pub(super) fn is_maintenance(check: &CheckId) -> bool {
    check.as_str() == OF_NODE || check.as_str().starts_with(OF_SERVICE)
}

impl Call {
    fn maintenance_reason(&self) -> String {
        self.query.value("reason").unwrap_or(NO_REASON).to_owned()
    }
}
