//! `PUT /v1/agent/reload`.

use axum::response::Response;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::route::{Routes, put};

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/reload", put(reload))
}

async fn reload(call: Call) -> Result<Response, ApiError> {
    call.api.files.reload().await.map_err(ApiError::Reload)?;
    Ok(Response::default())
}
