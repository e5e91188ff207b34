//! Traces that are sent over OTLP: what a collector is told of a call, and what it costs when there is none.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/ads.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod ads;
#[path = "support/agent.rs"]
mod agent;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use envoy_types::pb::google::rpc::Status as RpcStatus;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use crate::ads::{Client, DeltaStream, ack, envoy, subscribe};
use crate::agent::{Agent, meshgate};

/// Longest time that a span may take to come.
const LIMIT: Duration = Duration::from_secs(20);
/// Spans are sent soon, so that tests need not wait.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");
/// The trace that a caller is in.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const SECRETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// A span as a collector sees it.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    name: String,
    id: String,
    trace: String,
    parent: String,
    is_of_server: bool,
    has_failed: bool,
    attributes: BTreeMap<String, String>,
}

/// A collector, and what it was told. Clones share it.
#[derive(Debug, Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<HeaderMap>>,
    /// Every byte that came.
    bytes: Arc<Mutex<Vec<u8>>>,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|it| it.key == key).and_then(|it| it.value.as_ref()?.value.as_ref());
    match found {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Collector {
    fn take(&self, headers: &HeaderMap, request: ExportTraceServiceRequest) {
        self.bytes.lock().unwrap().extend(request.encode_to_vec());
        *self.headers.lock().unwrap() = headers.clone();
        for of_resource in request.resource_spans {
            let service = text(&of_resource.resource.unwrap().attributes, "service.name");
            for span in of_resource.scope_spans.into_iter().flat_map(|it| it.spans) {
                let attributes = span.attributes.iter();
                let taken = Span {
                    service: service.clone(),
                    id: hex(&span.span_id),
                    trace: hex(&span.trace_id),
                    parent: hex(&span.parent_span_id),
                    is_of_server: span.kind() == SpanKind::Server,
                    has_failed: span.status.as_ref().is_some_and(|status| status.code == 2),
                    attributes: attributes.map(|it| (it.key.clone(), text(&span.attributes, &it.key))).collect(),
                    name: span.name,
                };
                self.spans.lock().unwrap().push(taken);
            }
        }
    }

    /// Takes protobuf over HTTP; the URL to send it to.
    async fn over_http(&self) -> String {
        let collector = self.clone();
        let take = move |headers: HeaderMap, body: bytes::Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            collector.take(&headers, ExportTraceServiceRequest::decode(body).unwrap());
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Takes calls of gRPC; the URL to call.
    async fn over_grpc(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        url
    }

    /// The first span that is as asked for, as soon as it is there.
    async fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let started = Instant::now();
        loop {
            if let Some(found) = self.spans.lock().unwrap().iter().find(|span| is_it(span)) {
                return found.clone();
            }
            assert!(started.elapsed() < LIMIT, "no {what} among {:#?}", self.spans.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, message) = request.into_parts();
        self.take(&metadata.into_headers(), message);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Registers a service with a sidecar, and takes what that is sent, as an Envoy would.
async fn connect(agent: &Agent) -> DeltaStream {
    let service = json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": {} } });
    let url = format!("http://{}/v1/agent/service/register", agent.http);
    let answer = reqwest::Client::new().put(url).body(service.to_string()).send().await.unwrap();
    assert!(answer.status().is_success());
    let mut stream = Client::connect(&format!("http://{}", agent.grpc)).await.delta().await.unwrap();
    stream.send(subscribe(CLUSTERS, &[], Some(envoy("web-sidecar-proxy", 40))));
    stream.send(subscribe(LISTENERS, &[], None));
    stream.send(subscribe(SECRETS, &["leaf", "callers"], None));
    for _ in 0..3 {
        let response = stream.next().await.unwrap();
        stream.send(ack(&response));
    }
    stream
}

/// Takes whatever is sent until the stream ends.
async fn take_all(stream: &mut DeltaStream) {
    while let Ok(response) = stream.following().await {
        stream.send(ack(&response));
    }
}

/// A call that changes what the proxy should have; it is part of the caller's trace.
async fn change(agent: &Agent, connections: u32) {
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "MaxInboundConnections": connections });
    let call = reqwest::Client::new()
        .put(format!("http://{}/v1/config?token=in-the-query", agent.http))
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .header("x-consul-token", "in-the-header")
        .body(entry.to_string());
    assert!(call.send().await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_followed_to_what_the_proxy_answers() {
    let collector = Collector::default();
    let url = collector.over_http().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue"),
        ("OTEL_SERVICE_NAME", "our-mesh"),
        SOON,
    ];
    let agent = Agent::start_with("-dev", &variables);
    let mut stream = connect(&agent).await;

    change(&agent, 7).await;
    let of_trace = |name: &'static str| move |span: &Span| span.trace == TRACE && span.name == name;
    let http = collector.span("call", of_trace("PUT /v1/config")).await;
    let write = collector.span("write", of_trace("write")).await;
    let publish = collector.span("publication", of_trace("publish")).await;
    let push = tokio::select! {
        push = collector.span("push", of_trace("push")) => push,
        () = take_all(&mut stream) => panic!("the stream ended"),
    };
    let parents = [&http, &write, &publish, &push].map(|span| span.parent.as_str());
    assert_eq!(parents, ["00f067aa0ba902b7", &http.id, &write.id, &publish.id]);
    let said = |span: &Span, key: &str| span.attributes.get(key).cloned().unwrap_or_default();
    assert_eq!((http.service.as_str(), http.is_of_server, http.has_failed), ("our-mesh", true, false));
    assert_eq!(
        ["http.request.method", "http.route", "http.response.status_code"].map(|key| said(&http, key)),
        ["PUT", "/v1/config", "200"]
    );
    assert_eq!(["author", "outcome", "rows"].map(|key| said(&write, key)), ["call", "committed", "1"]);
    assert_eq!(said(&write, "index"), said(&publish, "index"));
    assert_eq!(said(&publish, "proxies"), "1");
    assert_eq!(said(&push, "outcome"), "live");
    assert!(said(&push, "types").contains("LDS"), "{push:#?}");
    assert!(said(&push, "proxy").ends_with("/web-sidecar-proxy"), "{push:#?}");
    assert_eq!(collector.headers.lock().unwrap()["x-team"], "blue");
    // Certificates of its sidecar were signed.
    collector.span("signature", |span| span.name == "sign" && said(span, "leaves") == "1").await;

    // What a proxy refuses is told with its reason.
    change(&agent, 8).await;
    let response = stream.next().await.unwrap();
    let kind = if response.type_url == CLUSTERS { "CDS" } else { "LDS" };
    let mut answer = ack(&response);
    answer.error_detail = Some(RpcStatus { code: 13, message: "no such thing".to_owned(), details: vec![] });
    stream.send(answer);
    let refusal = collector.span("refusal", of_trace("refusal")).await;
    let parent = collector.span("parent", |span| span.id == refusal.parent).await;
    // It can be quicker than the note of whom the publication went to.
    assert!(["push", "publish"].contains(&parent.name.as_str()), "{parent:#?}");
    let is_refused = |span: &Span| of_trace("push")(span) && said(span, "outcome") == "refused";
    collector.span("refused push", is_refused).await;
    assert!(refusal.has_failed && said(&refusal, "type") == kind, "{refusal:#?}");

    agent.signal("-TERM");
    assert!(agent.wait().0.success());
    let bytes = String::from_utf8_lossy(&collector.bytes.lock().unwrap()).into_owned();
    assert!(bytes.contains("no such thing") && bytes.contains("/v1/config"));
    for secret in ["in-the-query", "in-the-header"] {
        assert!(!bytes.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_called_by_grpc_and_told_the_rest_at_the_end() {
    let collector = Collector::default();
    let url = collector.over_grpc().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue"),
        ("OTEL_BSP_SCHEDULE_DELAY", "60000"),
    ];
    let agent = Agent::start_with(&format!("-dev -otlp-endpoint {url}"), &variables);
    agent.get("/v1/catalog/service/a-name");
    assert!(collector.spans.lock().unwrap().is_empty());

    agent.signal("-TERM");
    agent.wait();

    // The name of a service is none of a route.
    let call = collector.span("call", |span| span.name == "GET /v1/catalog/service/{*tail}").await;
    assert_eq!((call.service.as_str(), call.parent.as_str()), ("meshgate", ""));
    assert!(!format!("{:?}", collector.spans.lock().unwrap()).contains("a-name"));
    assert_eq!(collector.headers.lock().unwrap()["x-team"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_one_line_of_the_log() {
    // Nobody listens at a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let queue = ("OTEL_BSP_MAX_QUEUE_SIZE", "64");
    let agent = Agent::start_with(
        &format!("-dev -otlp-endpoint http://{free}"),
        &[SOON, queue, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")],
    );
    let mut stream = connect(&agent).await;

    let started = Instant::now();
    for _ in 0..500 {
        agent.get("/v1/agent/self");
    }
    change(&agent, 7).await;
    stream.next().await.unwrap();
    let took = started.elapsed();

    // Far from what one attempt to reach the collector may take for each of them.
    assert!(took < Duration::from_secs(10), "{took:?}");
    agent.signal("-TERM");
    let (status, log) = agent.wait();
    assert!(status.success());
    let told: Vec<_> = log.iter().filter(|line| line.contains("traces cannot be sent")).collect();
    assert_eq!(told.len(), 1, "{log:#?}");
    assert!(told[0].contains(&format!("http://{free}/v1/traces")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_is_waited_for_no_longer_than_is_said() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let patience = ("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
    let agent = Agent::start_with(&format!("-dev -otlp-endpoint {url}"), &[SOON, patience]);

    agent.get("/v1/agent/self");
    tokio::time::sleep(Duration::from_secs(2)).await;

    agent.signal("-TERM");
    let (status, log) = agent.wait();
    assert!(status.success());
    assert!(log.iter().any(|line| line.contains("traces cannot be sent")), "{log:#?}");
}

#[test]
fn a_collector_that_cannot_be_asked_is_refused_at_the_start() {
    let start = |line: &str, variable: (&str, &str)| {
        let output = meshgate(&format!("agent -dev {line}")).env(variable.0, variable.1).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        String::from_utf8(output.stderr).unwrap()
    };

    let by_flag = start("-otlp-endpoint collector:4318", ("NO_COLOR", "1"));
    let by_variable = start("", ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c:4317"));
    let protocol = start("-otlp-endpoint http://c", ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"));

    assert!(by_flag.contains("-otlp-endpoint: ") && by_flag.contains("write http://HOST:PORT"), "{by_flag}");
    assert!(by_variable.contains("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "), "{by_variable}");
    assert!(protocol.contains("use grpc or http/protobuf"), "{protocol}");
}
