//! `PUT /v1/agent/check/register` and `/deregister/:id`: checks that are registered alone.

use axum::Router;
use axum::response::Response;

use super::registration::{check_row, with_last_result};
use crate::api::body::{Body, SMALL};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::route::{Routes, Tail, prefix, put};
use crate::codec;
use crate::model::{Check, CheckDefinition, CheckId, CheckKind, CheckRegistration, Problem, Problems};
use crate::store::{CheckKey, NodeKey, Op, View, Write};

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/v1/agent/check/register", put(register))
        .merge(prefix("/v1/agent/check/deregister/", put(deregister)))
}

async fn register(call: Call, Body(body): Body<SMALL>) -> Result<Response, ApiError> {
    let mut registration = Decoder::Strict.accept(codec::check_registration(&body), CheckRegistration::validate)?;
    registration.normalize();
    let CheckRegistration { definition, tenancy } = &registration;
    if matches!(definition.kind(), Some(CheckKind::Script | CheckKind::Docker)) {
        return Err(ApiError::ScriptsDisabled(definition.check_id.clone()));
    }
    registration.validate().into_result().map_err(ApiError::InvalidRegistration)?;
    let scope =
        call.scope.clone().in_partition(tenancy.partition.as_ref())?.in_namespace(tenancy.namespace.as_ref())?;
    let node = NodeKey::new(&scope.place, &call.api.options.node);
    let service = definition.service_id.clone();
    if !service.is_default() && call.api.store.view().service(&node.instance(&service)).is_none() {
        return Err(ApiError::NoServiceToCheck(service));
    }
    let agent = call.api.options.agent_node(&scope.place);
    let definition = registration.definition;
    let add = move |view: &View| {
        let new_node = view.node(&node).is_none().then_some(Op::PutNode(agent));
        let check = with_last_result(view, judging(view, &node, definition)?);
        Ok(Write::from(new_node.into_iter().chain([Op::PutCheck(check)]).collect::<Vec<_>>()))
    };
    call.api.store.write_with(add).await?;
    Ok(Response::default())
}

/// The row of a check with the name and tags of the service that it judges, which must still be there.
fn judging(view: &View, node: &NodeKey, definition: CheckDefinition) -> Result<Check, Problems> {
    let check = check_row(node, definition);
    if check.service_id.is_default() {
        return Ok(check);
    }
    let Some(service) = view.service(&node.instance(&check.service_id)) else {
        return Err(Problem::rule("ServiceID", format!("ServiceID {:?} does not exist", check.service_id)).into());
    };
    Ok(Check { service_name: service.value.name.clone(), service_tags: service.value.tags.clone(), ..check })
}

async fn deregister(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = CheckId::from(tail.required("check ID")?);
    let key = CheckKey { node: call.agent_node(), check: id.clone() };
    if call.api.store.view().check(&key).is_none() {
        return Err(ApiError::UnknownCheck(id));
    }
    call.api.store.write(Op::DeleteCheck(key)).await?;
    Ok(Response::default())
}
