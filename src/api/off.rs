//! What is not served: the root, which leads to the pages, features that are off, and paths that are unknown.

use axum::response::Response;
use http::{StatusCode, Uri};

use super::error::{ApiError, text};
use super::page;
use super::route::{Routes, get};

/// The routes of features that are off, and the answer for all other paths.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/", get(async || page::moved()))
        .off("/v1/acl/{*rest}", async || ApiError::AclDisabled)
        .off("/v1/agent/token/{*rest}", async || ApiError::AclDisabled)
        .off("/v1/peering/{*rest}", async || ApiError::PeeringDisabled)
        .off("/v1/peerings", async || ApiError::PeeringDisabled)
        .fallback(unknown)
}

/// Ends with a newline, unlike all other errors, because Consul's does.
pub(super) async fn unknown(uri: Uri) -> Response {
    let message = if uri.path().contains("/v1/") {
        format!("Invalid URL path: {} is no known endpoint\n", uri.path())
    } else {
        format!("Invalid URL path: {} is no known endpoint, all of them start with /v1/\n", uri.path())
    };
    text(StatusCode::NOT_FOUND, message)
}
