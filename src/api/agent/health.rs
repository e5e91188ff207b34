//! `GET /v1/agent/health/service/id/:id` and `/name/:name`: the health of an instance as a status code, for load balancers.

use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::maintenance::is_maintenance;
use crate::api::call::Call;
use crate::api::error::{ApiError, text};
use crate::api::route::{Routes, Tail, get, prefix};
use crate::api::wire::{AgentService, HealthCheck};
use crate::model::{Check, CheckStatus, Service, ServiceId};
use crate::store::{NodeKey, Reader, Stored};

pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(prefix("/v1/agent/health/service/id/", get(by_id)))
        .merge(prefix("/v1/agent/health/service/name/", get(by_name)))
}

/// An instance with its checks and those of the node.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    aggregated_status: &'static str,
    service: Option<AgentService>,
    checks: Option<Vec<HealthCheck>>,
}

/// Nothing is known of an instance that is not there, least of all that it can be used.
const UNKNOWN: Health = Health { aggregated_status: CheckStatus::Critical.as_str(), service: None, checks: None };

async fn by_id(call: Call, headers: HeaderMap, tail: Tail) -> Result<Response, ApiError> {
    let id = ServiceId::from(tail.required("service ID")?);
    let (node, view) = (call.agent_node(), call.api.store.view());
    let reader = Reader::new(&view);
    let Some(row) = reader.service(&node.instance(&id)) else {
        return Ok(call.health_answer(&headers, StatusCode::NOT_FOUND, CheckStatus::Critical, &UNKNOWN));
    };
    let (status, health) = call.health_of(&reader, &node, row);
    Ok(call.health_answer(&headers, code(status), status, &health))
}

/// The status is that of the worst instance.
async fn by_name(call: Call, headers: HeaderMap, tail: Tail) -> Result<Response, ApiError> {
    let name = tail.required("service name")?;
    let (node, view) = (call.agent_node(), call.api.store.view());
    let reader = Reader::new(&view);
    let is_named = |row: &&Stored<Service>| row.value.name == name && call.scope.shows(&row.value.namespace);
    let instances = reader.services_on(&node).filter(is_named).map(|row| call.health_of(&reader, &node, row));
    let (statuses, instances): (Vec<_>, Vec<_>) = instances.unzip();
    let Some(worst) = statuses.into_iter().max() else {
        return Ok(call.health_answer(&headers, StatusCode::NOT_FOUND, CheckStatus::Critical, &instances));
    };
    Ok(call.health_answer(&headers, code(worst), worst, &instances))
}

/// What load balancers understand: usable, usable but busy, not usable.
const fn code(status: CheckStatus) -> StatusCode {
    match status {
        CheckStatus::Passing => StatusCode::OK,
        CheckStatus::Warning => StatusCode::TOO_MANY_REQUESTS,
        CheckStatus::Critical | CheckStatus::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What a check says about an instance; one that takes it out on purpose outweighs all others.
fn said_by(check: &Check) -> CheckStatus {
    if is_maintenance(&check.check_id) { CheckStatus::Maintenance } else { check.status }
}

impl Call {
    fn health_of(&self, reader: &Reader<'_>, node: &NodeKey, row: &Stored<Service>) -> (CheckStatus, Health) {
        let judges = |check: &&Stored<Check>| {
            let judged = &check.value.service_id;
            judged.is_default() || *judged == row.value.id
        };
        let checks: Vec<_> = reader.checks_on(node).filter(judges).cloned().collect();
        let status = checks.iter().map(|check| said_by(&check.value)).max().unwrap_or(CheckStatus::Passing);
        let health = Health {
            aggregated_status: status.as_str(),
            service: Some(self.shown(reader, row)),
            checks: Some(checks.into_iter().map(HealthCheck::from).collect()),
        };
        (status, health)
    }

    /// One word for those who ask for text, the whole in JSON for others.
    fn health_answer(
        &self,
        headers: &HeaderMap,
        code: StatusCode,
        status: CheckStatus,
        health: &impl Serialize,
    ) -> Response {
        let accepts_text = headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/plain");
        let mut response = if accepts_text || self.query.get("format") == Some("text") {
            text(code, status.as_str())
        } else {
            self.json_with_status(code, health)
        };
        let reason = HeaderValue::from_static(status.as_str());
        response.headers_mut().insert(HeaderName::from_static("x-consul-reason"), reason);
        response
    }
}
