//! `GET /v1/agent/version` and `/v1/agent/host`.

use axum::response::Response;
use serde_json::json;
use time::OffsetDateTime;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::route::{Routes, get};
use crate::telemetry;

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/version", get(version)).route("/v1/agent/host", get(host))
}

/// Scripts compare `HumanVersion`; the rest is there because it always is.
async fn version(call: Call) -> Response {
    call.json(&json!({ "SHA": "", "BuildDate": "", "HumanVersion": env!("CARGO_PKG_VERSION"), "FIPS": "" }))
}

async fn host(call: Call) -> Result<Response, ApiError> {
    // The facts are read from files.
    let facts = tokio::task::spawn_blocking(telemetry::host).await;
    let mut facts = facts.map_err(|error| ApiError::Host(error.into()))?;
    let now = i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos()).unwrap_or_default();
    facts["CollectionTime"] = json!(now);
    Ok(call.json(&facts))
}
