//! `GET /v1/status/leader` and `/peers`. One process is its own leader and only peer.

use axum::response::Response;

use super::call::Call;
use super::route::{Routes, get};

/// The routes under `/v1/status/`.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/status/leader", get(leader)).route("/v1/status/peers", get(peers))
}

/// Start scripts wait until this names a port.
async fn leader(call: Call) -> Response {
    call.json(&call.api.options.server_address())
}

async fn peers(call: Call) -> Response {
    call.json(&[call.api.options.server_address()])
}
