//! `GET` and `PUT /v1/snapshot`: the whole state as an archive, and back.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use time::OffsetDateTime;

use super::body::Archive;
use super::call::Call;
use super::error::ApiError;
use super::route::{Routes, get_put};
use crate::store::Snapshot;

/// The routes of snapshots.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/snapshot", get_put(save, restore))
}

/// The state at one commit, whatever is written meanwhile. It holds the keys of the CA.
async fn save(call: Call) -> Result<Response, ApiError> {
    let view = call.api.store.view();
    let meta = call.meta_at(view.index())?;
    let milliseconds = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let id = format!("1-{}-{milliseconds}", view.index());
    // A large state takes seconds to write, in which others want to be answered.
    let archive = tokio::task::spawn_blocking(move || Snapshot::of(&view, id).to_archive()).await;
    let archive = archive.map_err(|error| ApiError::Archive(error.into()))?;
    let archive = archive.map_err(|error| ApiError::Archive(error.into()))?;
    let mut response = Response::new(archive.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-gzip"));
    // It is compressed already.
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    Ok(meta.on(response))
}

/// One write makes the state that of the archive. Files of the process say what they say afterwards as well.
async fn restore(call: Call, Archive(archive): Archive) -> Result<Response, ApiError> {
    let wanted = tokio::task::spawn_blocking(move || Snapshot::from_archive(&archive)?.view()).await;
    let wanted = Arc::new(wanted.map_err(|error| ApiError::Archive(error.into()))??);
    let index = wanted.index();
    call.store().write_with(move |view| Ok(view.to_become(&wanted))).await?;
    tracing::warn!(index, "the state is now that of a snapshot");
    if let Err(error) = call.api.files.reload().await {
        tracing::error!(error, "what files hold is not part of the state that was restored");
    }
    Ok(Response::default())
}
