//! `PUT /v1/catalog/register` and `/deregister`.

use axum::response::Response;
use http::Method;

use crate::api::body::{Body, LARGE};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::route::{Routes, put};
use crate::api::scope::Scope;
use crate::codec::{self, shape_of};
use crate::model::{
    CatalogDeregistration, CatalogRegistration, Check, CheckId, CheckKind, Namespace, Node, Partition, Problem,
    Problems, Service,
};
use crate::store::{CheckKey, NodeKey, Op, View, Write};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/catalog/register", put(register).taking(Method::PUT, shape_of::<CatalogRegistration>))
        .route("/v1/catalog/deregister", put(deregister).taking(Method::PUT, shape_of::<CatalogDeregistration>))
}

async fn register(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let mut registration = Decoder::Strict.accept(codec::catalog_registration(&body), rules)?;
    let scope = call
        .scope
        .clone()
        .in_datacenter(&registration.datacenter, &call.api.options)?
        .in_partition(stated_partition(&registration))?
        .in_namespace(registration.service.as_ref().map(|service| &service.namespace).filter(is_stated))?;
    registration.normalize();
    registration.validate().into_result().map_err(ApiError::Refused)?;
    call.store().write_with(move |view| write(view, &scope, registration)).await?;
    Ok(call.json(&true))
}

async fn deregister(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let what = codec::catalog_deregistration(&body)
        .map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })?;
    let scope =
        call.scope.clone().in_datacenter(&what.datacenter, &call.api.options)?.in_partition(what.partition.as_ref())?;
    if what.node.as_str().is_empty() {
        return Err(ApiError::Refused(Problem::rule("Node", "Must provide node").into()));
    }
    call.store().write(removal(&scope, what)).await?;
    Ok(call.json(&true))
}

/// Every broken rule of a registration, as it is once stored.
fn rules(registration: &CatalogRegistration) -> Problems {
    let mut canonical = registration.clone();
    canonical.normalize();
    canonical.validate()
}

/// The partition that the registration or its service names.
fn stated_partition(registration: &CatalogRegistration) -> Option<&Partition> {
    let of_service = registration.service.as_ref().map(|service| &service.partition);
    registration.partition.as_ref().or(of_service.filter(|partition| !partition.is_default()))
}

fn is_stated(namespace: &&Namespace) -> bool {
    !namespace.is_default()
}

fn removal(scope: &Scope, what: CatalogDeregistration) -> Op {
    let node = NodeKey::new(&scope.place, &what.node);
    if !what.service_id.as_str().is_empty() {
        Op::DeleteService(node.instance(&what.service_id))
    } else if !what.check_id.as_str().is_empty() {
        Op::DeleteCheck(CheckKey { node, check: what.check_id })
    } else {
        Op::DeleteNode(node)
    }
}

/// The operations of a registration, given the latest state.
fn write(view: &View, scope: &Scope, registration: CatalogRegistration) -> Result<Write, Problems> {
    let key = NodeKey::new(&scope.place, &registration.node);
    let exists = view.node(&key).is_some();
    let mut ops = Vec::new();
    if !exists && registration.address.is_empty() {
        return Err(Problem::rule("Address", "Must provide address: the node does not exist").into());
    }
    if !(exists && registration.skip_node_update) {
        ops.push(Op::PutNode(node(scope, &registration)));
    }
    let service = registration.service.map(|mut service| {
        service.partition = scope.place.partition.clone();
        service.namespace = scope.namespace.clone();
        service.locally_registered_as_sidecar = false;
        service.from_file = false;
        service
    });
    let mut problems = Problems::default();
    for check in registration.check.into_iter().chain(registration.checks) {
        match check_row(view, &key, service.as_ref(), check) {
            Ok(check) => ops.push(Op::PutCheck(check)),
            Err(problem) => problems.0.push(problem),
        }
    }
    problems.into_result()?;
    if let Some(service) = service {
        ops.push(Op::PutService(key, service));
    }
    Ok(ops.into())
}

fn node(scope: &Scope, registration: &CatalogRegistration) -> Node {
    Node {
        id: registration.id.clone(),
        node: registration.node.clone(),
        address: registration.address.clone(),
        datacenter: scope.place.datacenter.clone(),
        partition: scope.place.partition.clone(),
        tagged_addresses: registration.tagged_addresses.clone(),
        meta: registration.node_meta.clone(),
        locality: registration.locality.clone(),
    }
}

/// A check with what it leaves out: its node from the call, its ID from its name, its type from its definition, and the
/// name and tags of the service that it judges.
pub(in crate::api) fn check_row(
    view: &View,
    node: &NodeKey,
    service: Option<&Service>,
    mut check: Check,
) -> Result<Check, Problem> {
    check.from_file = false;
    check.node = node.node.clone();
    check.datacenter = node.place.datacenter.clone();
    check.partition = node.place.partition.clone();
    if check.check_id.as_str().is_empty() {
        check.check_id = CheckId::from(check.name.as_str());
    }
    if check.kind.is_empty() {
        check.kind = check.definition.kind().map_or("", CheckKind::as_str).to_owned();
    }
    if !check.service_id.as_str().is_empty() {
        let stored = view.service(&node.instance(&check.service_id)).map(|row| &*row.value);
        let judged = service.filter(|service| service.id == check.service_id).or(stored).ok_or_else(|| {
            let message = format!("Missing service registration: {:?} is not on the node", check.service_id);
            Problem::rule(format!("Checks.{}.ServiceID", check.check_id), message)
        })?;
        check.service_name = judged.name.clone();
        check.service_tags = judged.tags.clone();
    }
    Ok(check)
}
