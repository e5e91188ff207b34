//! What happens around every handler: panics, the path, the headers of every answer, compression and the request's span.

use std::any::Any;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tracing::Instrument;

use super::Metrics;
use super::error::{ApiError, text};

/// Smaller answers are not compressed, as in Consul: they fit into one packet.
const COMPRESS_ABOVE: u64 = 1400;

/// Puts the layers around `router`, innermost first.
pub(super) fn wrap(router: Router, metrics: Metrics) -> Router {
    let counts = metrics.clone();
    let count_answers = move |request: Request, next: Next| {
        let counts = counts.clone();
        async move {
            let response = next.run(request).await;
            counts.count_answer(response.status());
            response
        }
    };
    router
        .layer(CatchPanicLayer::custom(CountPanic(metrics)))
        .layer(CompressionLayer::new().gzip(true).compress_when(SizeAbove::new(COMPRESS_ABOVE)))
        .layer(from_fn(printable_path))
        .layer(from_fn(common_headers))
        .layer(from_fn(count_answers))
        .layer(from_fn(span))
}

/// Turns a panic into an answer: one broken call must not take the others with it.
#[derive(Debug, Clone)]
struct CountPanic(Metrics);

impl ResponseForPanic for CountPanic {
    type ResponseBody = axum::body::Body;

    fn response_for_panic(&mut self, cause: Box<dyn Any + Send>) -> Response {
        self.0.count_panic();
        let said = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
        tracing::error!(error = said.unwrap_or("no message"), "a handler panicked");
        text(StatusCode::INTERNAL_SERVER_ERROR, "internal error: the log says more")
    }
}

/// Refuses paths with characters that could forge log lines. Names with other characters are percent-encoded in the path
/// too, so the decoded bytes count.
async fn printable_path(request: Request, next: Next) -> Response {
    let path = request.uri().path().as_bytes();
    let encoded_control = |window: &[u8]| match window {
        [b'%', high, low] => {
            let digits = [char::from(*high), char::from(*low)].map(|digit| digit.to_digit(16));
            matches!(digits, [Some(0 | 1), Some(_)] | [Some(7), Some(15)])
        }
        _ => false,
    };
    if path.iter().any(u8::is_ascii_control) || path.windows(3).any(encoded_control) {
        return ApiError::UnprintablePath.into_response();
    }
    next.run(request).await
}

async fn common_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-consul-default-acl-policy"), HeaderValue::from_static("allow"));
    response
}

async fn span(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let span = tracing::debug_span!("http", method = %request.method(), route);
    async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await
}
