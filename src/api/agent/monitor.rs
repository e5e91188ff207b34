//! `GET /v1/agent/monitor`: what is logged, as it happens.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tracing::Level;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::route::{Routes, get};
use crate::telemetry::LogEvent;

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/monitor", get(monitor))
}

async fn monitor(call: Call) -> Result<Response, ApiError> {
    let level = call.query.value("loglevel").unwrap_or("info");
    let level = parse_level(level).ok_or_else(|| ApiError::UnknownLogLevel(level.to_owned()))?;
    let write = if call.query.has("logjson") { LogEvent::to_json } else { LogEvent::to_line };
    let listener = call.api.logs.monitor().listen(level);
    let lines = stream::unfold((call, listener), move |(call, mut listener)| async move {
        let event = call.api.shutdown.run_until_cancelled(listener.next()).await??;
        Some((Ok::<_, Infallible>(lines(event, write)), (call, listener)))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A compressor would keep lines back until it has enough of them.
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    Ok(response)
}

/// The event's line, after one about those that came too fast.
fn lines((missed, event): (u64, Arc<LogEvent>), write: fn(&LogEvent) -> String) -> Bytes {
    let line = write(&event);
    match missed {
        0 => format!("{line}\n").into(),
        _ => format!("[WARN]  {missed} lines came too fast and are not shown\n{line}\n").into(),
    }
}

/// Levels in either case, with Consul's short name of one.
fn parse_level(text: &str) -> Option<Level> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Some(Level::TRACE),
        "debug" => Some(Level::DEBUG),
        "info" => Some(Level::INFO),
        "warn" => Some(Level::WARN),
        "err" | "error" => Some(Level::ERROR),
        _ => None,
    }
}
