//! What happens around every handler: panics, the path, the headers of every answer, compression and the request's span.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tracing::{Instrument, Span, field};

use super::error::{ApiError, text};
use super::serve::Caller;
use super::{Access, Metrics};
use crate::telemetry::continue_trace;

/// Smaller answers are not compressed, as in Consul: they fit into one packet.
const COMPRESS_ABOVE: u64 = 1400;

/// Puts the layers around `router`, innermost first.
pub(super) fn wrap(router: Router, metrics: Metrics, access: Access) -> Router {
    let access = Arc::new(access);
    let counts = metrics.clone();
    // One function around all: each further one would copy what is inside of it for every call.
    let around = move |request: Request, next: Next| {
        let (access, counts) = (access.clone(), counts.clone());
        let span = span(&request);
        async move {
            let response = match judge(&access, &request) {
                Ok(()) => next.run(request).await,
                Err(error) => error.into_response(),
            };
            let response = with_headers(&access, response);
            counts.count_answer(response.status());
            let status = response.status().as_u16();
            Span::current().record("http.response.status_code", status);
            tracing::debug!(status, "answered");
            response
        }
        .instrument(span)
    };
    router
        .layer(CatchPanicLayer::custom(CountPanic(metrics)))
        .layer(CompressionLayer::new().gzip(true).compress_when(SizeAbove::new(COMPRESS_ABOVE)))
        .layer(from_fn(around))
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

/// Whether a call may come to its handler.
fn judge(access: &Access, request: &Request) -> Result<(), ApiError> {
    let caller = request.extensions().get::<Caller>().map(|caller| caller.0.ip());
    access.judge(request.method(), request.uri().path(), caller)?;
    if is_printable(request.uri().path()) { Ok(()) } else { Err(ApiError::UnprintablePath) }
}

/// False for paths with characters that could forge log lines. Names with other characters are percent-encoded in the path
/// too, so the decoded bytes count.
fn is_printable(path: &str) -> bool {
    let path = path.as_bytes();
    let encoded_control = |window: &[u8]| match window {
        [b'%', high, low] => {
            let digits = [char::from(*high), char::from(*low)].map(|digit| digit.to_digit(16));
            matches!(digits, [Some(0 | 1), Some(_)] | [Some(7), Some(15)])
        }
        _ => false,
    };
    !path.iter().any(u8::is_ascii_control) && !path.windows(3).any(encoded_control)
}

/// Adds what every answer has, and what the agent is told to add.
fn with_headers(access: &Access, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-consul-default-acl-policy"), HeaderValue::from_static("allow"));
    for (name, value) in &access.headers {
        headers.insert(name.clone(), value.clone());
    }
    response
}

/// The method, one of few: what else callers write there would be names of theirs in traces (semantic conventions for HTTP).
fn method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::PUT | Method::POST | Method::DELETE | Method::HEAD | Method::OPTIONS | Method::PATCH => {
            method.as_str()
        }
        _ => "_OTHER",
    }
}

fn span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    // The template alone: what is in its place, and after it, may be a secret.
    let span = tracing::debug_span!(
        "http",
        http.request.method = method(request.method()),
        http.route = route,
        http.response.status_code = field::Empty
    );
    continue_trace(&span, request.headers());
    span
}
