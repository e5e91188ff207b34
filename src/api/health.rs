//! `GET /v1/health/...`: instances with the checks that judge them, and checks alone.

use std::collections::BTreeSet;

use axum::response::Response;

use super::call::Call;
use super::catalog::{GatewayService, bound_to_all, has_node_meta};
use super::error::ApiError;
use super::filter::Filtered;
use super::route::{Routes, Tail, get, prefix};
use super::wire::{HealthCheck, HealthRow};
use crate::model::{Check, CheckStatus, EntryKind, ServiceKey, ServiceKind, ServiceName};
use crate::store::{Instance, NodeKey, Reader, Stored};

/// The state that every check is in.
const ANY: &str = "any";

/// The routes under `/v1/health/`.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(prefix("/v1/health/service/", get(service)))
        .merge(prefix("/v1/health/connect/", get(connect)))
        .merge(prefix("/v1/health/ingress/", get(ingress)))
        .merge(prefix("/v1/health/node/", get(node)))
        .merge(prefix("/v1/health/checks/", get(checks)))
        .merge(prefix("/v1/health/state/", get(state)))
}

async fn service(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.service(&tail.required("service name")?);
    call.health(|reader| call.instances_named(reader, &key)).await
}

async fn connect(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.service(&tail.required("service name")?);
    call.health(|reader| call.endpoints(reader, &key)).await
}

/// The ingress gateways that entries let lead to the service.
async fn ingress(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.service(&tail.required("service name")?);
    call.health(|reader| call.ingress_gateways(reader, &key)).await
}

async fn node(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.node(&tail.required("node name")?);
    call.read(Filtered::Rows, |reader| Ok(rows(reader.checks_on(&key).filter(|_| call.peer().is_none())))).await
}

/// The checks of a service's instances, not those of their nodes.
async fn checks(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.service(&tail.required("service name")?);
    let checks = |reader: &Reader<'_>| {
        let instances = call.instances_named(reader, &key).into_iter();
        let wanted = instances.filter(|instance| call.wants(instance));
        let own = wanted.flat_map(|instance| instance.checks).filter(|row| !row.value.service_id.is_default());
        Ok(own.map(HealthCheck::from).collect::<Vec<_>>())
    };
    call.read(Filtered::Rows, checks).await
}

/// An unknown state is one that no check is in.
async fn state(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let state = tail.required("check state")?;
    let status = CheckStatus::parse(&state);
    let is_wanted = |check: &Check| state == ANY || Some(check.status) == status;
    let place = &call.scope.place;
    let checks = |reader: &Reader<'_>| {
        let nodes = reader.nodes(place).filter(|row| call.peer().is_none() && has_node_meta(&call.query, &row.value));
        let mut shown = Vec::new();
        for node in nodes {
            let key = NodeKey::new(place, &node.value.node);
            shown.extend(rows(reader.checks_on(&key).filter(|row| is_wanted(&row.value))));
        }
        Ok(shown)
    };
    call.read(Filtered::Rows, checks).await
}

fn rows<'r>(checks: impl Iterator<Item = &'r Stored<Check>>) -> Vec<HealthCheck> {
    checks.cloned().map(HealthCheck::from).collect()
}

impl Call {
    fn ingress_gateways(&self, reader: &Reader<'_>, key: &ServiceKey) -> Vec<Instance> {
        let bound = bound_to_all(reader, &self.scope.place).into_iter();
        let leads =
            |bound: &GatewayService| bound.kind() == EntryKind::IngressGateway && *bound.service() == key.service;
        let gateways: BTreeSet<ServiceName> = bound.filter(leads).map(|bound| bound.gateway().clone()).collect();
        let named = |service| reader.instances_named(&ServiceKey { service, ..key.clone() });
        let is_gateway = |instance: &Instance| instance.service.value.kind == ServiceKind::IngressGateway;
        gateways.into_iter().flat_map(named).filter(is_gateway).collect()
    }

    async fn health(&self, instances: impl Fn(&Reader<'_>) -> Vec<Instance>) -> Result<Response, ApiError> {
        let passing = self.query.flag("passing")?;
        let group = self.query.has("sg") || self.query.has("sameness-group");
        if group && self.query.has("peer") {
            return Err(ApiError::PeerAndSamenessGroup);
        }
        let is_wanted = |instance: &Instance| self.wants(instance) && (!passing || passes(instance));
        let rows = |reader: &Reader<'_>| {
            let row = |instance: Instance| {
                let proxy = self.merged(reader, &instance.node.value.node, &instance.service.value);
                HealthRow::new(instance, proxy)
            };
            Ok(instances(reader).into_iter().filter(is_wanted).map(row).collect::<Vec<_>>())
        };
        self.read(Filtered::Rows, rows).await
    }
}

/// True if every check passes, those of the node included.
fn passes(instance: &Instance) -> bool {
    instance.checks.iter().all(|row| row.value.status == CheckStatus::Passing)
}
