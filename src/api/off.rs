//! What is not served: the notice at `/`, features that are off, and paths that are unknown.

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use http::{StatusCode, Uri};

use super::error::{ApiError, text};
use super::route::{Routes, get};

/// The routes of features that are off, and the answer for all other paths.
pub(super) fn routes() -> Routes {
    Router::new()
        .route(
            "/",
            get(async || {
                text(StatusCode::OK, "meshgate has no web interface: use the API under /v1/ or the command line\n")
            }),
        )
        .route("/v1/acl/{*rest}", any(async || ApiError::AclDisabled))
        .route("/v1/agent/token/{*rest}", any(async || ApiError::AclDisabled))
        .route("/v1/peering/{*rest}", any(async || ApiError::PeeringDisabled))
        .route("/v1/peerings", any(async || ApiError::PeeringDisabled))
        .fallback(unknown)
}

/// Ends with a newline, unlike all other errors, because Consul's does.
async fn unknown(uri: Uri) -> Response {
    let message = if uri.path().contains("/v1/") {
        format!("Invalid URL path: {} is no known endpoint\n", uri.path())
    } else {
        format!("Invalid URL path: {} is no known endpoint, all of them start with /v1/\n", uri.path())
    };
    text(StatusCode::NOT_FOUND, message)
}
