//! What Consul has no endpoint for, under `/v1/meshgate/`.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::route::{Routes, get};
use crate::codec;
use crate::model::Bundle;

/// The routes under `/v1/meshgate/`.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/ready", get(ready)).route("/v1/meshgate/debug/bundle", get(bundle))
}

/// 503 while something is waited for; both answers say what.
async fn ready(call: Call) -> Response {
    let waiting_for = call.api.readiness.waiting_for();
    let status = if waiting_for.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    call.json_with_status(status, &json!({ "Ready": waiting_for.is_empty(), "WaitingFor": waiting_for }))
}

/// The whole state of every datacenter and partition, apart from secrets (`docs/bundle.md`).
async fn bundle(call: Call) -> Result<Response, ApiError> {
    let (view, agent) = (call.api.store.view(), call.api.options.bundle_agent());
    let happenings = call.query.flag("hashes")?.then(|| call.api.happenings.clone());
    let _turn = if happenings.is_some() { Size::Large.turn().await } else { None };
    // A large state takes seconds to write, in which others want to be answered.
    let written = tokio::task::spawn_blocking(move || {
        let hashes = happenings.map(|happenings| happenings.hashes_in(&view)).unwrap_or_default();
        let configurations = hashes.into_iter().map(|(proxy, hash)| (proxy.to_string(), hash)).collect();
        codec::bundle_to_json(&Bundle { configurations, ..view.bundle(agent) })
    });
    let written = written.await;
    let text =
        written.map_err(|error| ApiError::Bundle(error.into()))?.map_err(|error| ApiError::Bundle(error.into()))?;
    Ok(call.written(text.into_bytes()))
}
