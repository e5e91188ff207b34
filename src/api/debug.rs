//! What Consul has no endpoint for, under `/v1/meshgate/`.

use axum::Router;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::call::Call;
use super::route::{Routes, get};

/// The routes under `/v1/meshgate/`.
pub(super) fn routes() -> Routes {
    Router::new().route("/v1/meshgate/ready", get(ready)).route("/v1/meshgate/proxies", get(proxies))
}

/// 503 while something is waited for; both answers say what.
async fn ready(call: Call) -> Response {
    let waiting_for = call.api.readiness.waiting_for();
    let status = if waiting_for.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    call.json_with_status(status, &json!({ "Ready": waiting_for.is_empty(), "WaitingFor": waiting_for }))
}

/// The proxies with open streams, and what became of the responses they were sent.
async fn proxies(call: Call) -> Response {
    call.json(&call.api.proxies.proxies())
}
