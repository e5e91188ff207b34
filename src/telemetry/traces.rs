//! Traces: spans of calls, writes and what follows from them, sent to a collector over OTLP.
//!
//! **Invariant.** Nobody waits for the collector. Spans that end go into a queue of bounded length, which one thread of its own
//! empties; what does not fit is dropped. Without a collector there is no queue, and a span that nobody wants costs one look at
//! a flag where it would begin.
//!
//! Which spans there are says [`SPANS`]. They are those of `tracing` with these names, wherever they are made; what an attribute
//! may hold is decided there: the templates of routes and no paths, no header, no body.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceContextExt, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Handle, Runtime};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use super::with_causes;

/// The spans that are sent: calls of the HTTP API, writes, what the engine makes of a commit, what a proxy does with that, what
/// one refuses, and the signing of certificates.
const SPANS: [&str; 6] = ["http", "write", "publish", "push", "refusal", "sign"];
/// Whose spans they are: libraries have some with the same names, and those that send the spans would never end.
const OURS: &str = "meshgate";
/// The header that a caller names its own span in (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
/// Where a collector takes traces over HTTP, below an endpoint that is one for all signals (OTLP 1.0).
const PATH: &str = "/v1/traces";
/// The port that collectors take gRPC at.
const GRPC_PORT: u16 = 4317;
/// Longest time that what is queued may take at the end.
const FLUSH: Duration = Duration::from_secs(3);

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceOptions {
    /// The collector's URL, with the path for traces where that is asked for by one.
    pub endpoint: String,
    /// How it is spoken to.
    pub transport: TraceTransport,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceTransport {
    /// gRPC, without TLS.
    Grpc,
    /// Protobuf in the body of an HTTP request.
    Http,
}

impl TraceTransport {
    /// The transport with the name that `OTEL_EXPORTER_OTLP_PROTOCOL` has for it.
    ///
    /// # Errors
    /// Says which names there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => Err(format!("{name:?} is no protocol that traces are sent by: use grpc or http/protobuf")),
        }
    }

    /// The name as it is written in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

impl TraceOptions {
    /// The collector at a URL. One that takes HTTP is asked at the path for traces below it, unless the URL is one `for_traces`
    /// alone. Where no transport is said, it is gRPC for port 4317, and HTTP for any other.
    ///
    /// # Errors
    /// The URL cannot be used, and what to write instead.
    pub fn parse(url: &str, for_traces: bool, transport: Option<TraceTransport>) -> Result<Self, String> {
        let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            // Not even here: what stands before the @ is a secret.
            return Err(
                "the collector's URL has a name or a password in it, which are not sent: give what it asks for in \
                        OTEL_EXPORTER_OTLP_HEADERS (authorization=Basic%20...)"
                    .to_owned(),
            );
        }
        let parsed: http::Uri = url.parse().map_err(|_| format!("{url:?} is no URL: write http://HOST:PORT"))?;
        let (scheme, port) = (parsed.scheme_str().unwrap_or_default(), parsed.port_u16());
        if !matches!(scheme, "http" | "https") || parsed.host().is_none_or(str::is_empty) {
            return Err(format!("{url:?} is no URL of a collector: write http://HOST:PORT or https://HOST:PORT"));
        }
        let by_port = if port == Some(GRPC_PORT) { TraceTransport::Grpc } else { TraceTransport::Http };
        let transport = transport.unwrap_or(by_port);
        match transport {
            TraceTransport::Grpc if scheme == "https" => Err(format!(
                "{url:?}: traces are not sent by gRPC with TLS: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, and give the \
                 port that the collector takes HTTP at (4318)"
            )),
            TraceTransport::Http if !for_traces => {
                Ok(Self { endpoint: format!("{}{PATH}", url.trim_end_matches('/')), transport })
            }
            TraceTransport::Grpc | TraceTransport::Http => Ok(Self { endpoint: url.to_owned(), transport }),
        }
    }
}

/// What sends spans. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    /// Of the exporter alone, so that it takes no time from anybody and needs none of theirs.
    runtime: Arc<Runtime>,
}

impl Traces {
    /// Begins to send. Headers, timeout, name of the service, sampling and the size of the queue are what the standard variables
    /// (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_MAX_QUEUE_SIZE`, ...) say.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub(super) fn start(options: &TraceOptions) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let built = runtime.block_on(async {
            match options.transport {
                TraceTransport::Grpc => Otlp::builder().with_tonic().with_endpoint(options.endpoint.clone()).build(),
                TraceTransport::Http => Otlp::builder()
                    .with_http()
                    .with_protocol(Protocol::HttpBinary)
                    .with_endpoint(options.endpoint.clone())
                    .build(),
            }
        });
        let exporter = Exporter {
            inner: Arc::new(built.map_err(|error| with_causes(&error))?),
            runtime: runtime.handle().clone(),
            endpoint: options.endpoint.clone(),
            has_failed: AtomicBool::new(false),
        };
        let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        Ok(Self { provider, runtime: Arc::new(runtime) })
    }

    pub(super) fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer::<SdkTracer>(self.provider.tracer(OURS))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(FilterFn::new(is_sent).with_max_level_hint(LevelFilter::DEBUG))
    }

    /// Sends what is queued, for a while, and ends.
    pub(super) fn finish(self) {
        // Who could not be reached was told of already.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
        if let Some(runtime) = Arc::into_inner(self.runtime) {
            runtime.shutdown_background();
        }
    }
}

fn is_sent(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(OURS) && SPANS.contains(&metadata.name())
}

/// What all spans are of.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    // What is said here counts more than what the variables say.
    let says = |variable: &str, is_name: fn(&str) -> bool| std::env::var(variable).is_ok_and(|value| is_name(&value));
    let is_named = says("OTEL_SERVICE_NAME", |value| !value.is_empty())
        || says("OTEL_RESOURCE_ATTRIBUTES", |value| value.contains("service.name="));
    let builder = Resource::builder().with_attribute(version);
    if is_named { builder.build() } else { builder.with_service_name(OURS).build() }
}

/// Goes on with the trace that a caller's headers name, if they name one: whether it is recorded is the caller's word. What
/// others added to it (`tracestate`) is left out, as every span below would keep it.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key(TRACEPARENT) && !span.is_disabled() {
        let named = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let caller = named.span().span_context().clone();
        let caller =
            SpanContext::new(caller.trace_id(), caller.span_id(), caller.trace_flags(), true, TraceState::NONE);
        // It cannot be done where spans are for the log alone.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller));
    }
}

/// Makes a span without a parent the child of `cause` in the trace. Unlike a child within the process it does not keep `cause` from
/// ending.
pub fn caused_by(span: Span, cause: &Span) -> Span {
    if !span.is_disabled() && !cause.is_disabled() {
        // It cannot be done where spans are for the log alone.
        let _ = span.set_parent(cause.context());
    }
    span
}

/// Sends spans, and tells when that begins to fail and when it does not any more.
#[derive(Debug)]
struct Exporter {
    inner: Arc<Otlp>,
    runtime: Handle,
    endpoint: String,
    has_failed: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(complete);
        let inner = self.inner.clone();
        let sent = self.runtime.spawn(async move { inner.export(batch).await }).await;
        let result = sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        match &result {
            Ok(()) if self.has_failed.swap(false, Ordering::Relaxed) => {
                tracing::info!(endpoint = self.endpoint, "traces are sent again");
            }
            Err(error) if !self.has_failed.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    endpoint = self.endpoint,
                    error = error as &dyn std::error::Error,
                    "traces cannot be sent, and are dropped until they can; this is said once"
                );
            }
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

/// Gives a span what the log has no use for: of a call, its kind, its name and whether it failed (semantic conventions for HTTP
/// spans).
fn complete(span: &mut SpanData) {
    if span.name != "http" {
        return;
    }
    let of = |key: &str| span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|it| &it.value);
    let (method, route) = (of("http.request.method"), of("http.route"));
    let name = method.zip(route).map(|(method, route)| format!("{} {}", method.as_str(), route.as_str()));
    let is_failure = matches!(of("http.response.status_code"), Some(Value::I64(status)) if *status >= 500);
    span.span_kind = SpanKind::Server;
    if let Some(name) = name {
        span.name = name.into();
    }
    if is_failure {
        span.status = Status::error("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_asked_as_its_url_says() {
        let (grpc, http) = (Some(TraceTransport::Grpc), Some(TraceTransport::Http));
        let cases = [
            ("http://c:4317", false, None, Ok(("http://c:4317", TraceTransport::Grpc))),
            ("http://c:4318", false, None, Ok(("http://c:4318/v1/traces", TraceTransport::Http))),
            ("https://c/otlp/", false, None, Ok(("https://c/otlp/v1/traces", TraceTransport::Http))),
            ("https://c/mine", true, None, Ok(("https://c/mine", TraceTransport::Http))),
            ("http://c:4317", false, http, Ok(("http://c:4317/v1/traces", TraceTransport::Http))),
            ("http://c:9", false, grpc, Ok(("http://c:9", TraceTransport::Grpc))),
            ("https://c:4317", false, None, Err("not sent by gRPC with TLS")),
            ("c:4318", false, None, Err("write http://HOST:PORT")),
            ("/v1/traces", false, None, Err("write http://HOST:PORT")),
            ("http://", false, None, Err("write http://HOST:PORT")),
        ];

        for (url, for_traces, transport, expected) in cases {
            let parsed = TraceOptions::parse(url, for_traces, transport);
            match expected {
                Ok((endpoint, transport)) => {
                    let options = TraceOptions { endpoint: endpoint.to_owned(), transport };
                    assert_eq!(parsed, Ok(options), "{url}");
                }
                Err(part) => assert!(parsed.as_ref().is_err_and(|error| error.contains(part)), "{url}: {parsed:?}"),
            }
        }
        let refused = TraceOptions::parse("https://me:secret@c", true, None).unwrap_err();
        assert!(refused.contains("OTEL_EXPORTER_OTLP_HEADERS") && !refused.contains("secret"), "{refused}");
    }
}
