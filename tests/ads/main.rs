//! The xDS server through a real socket, with a real gRPC client.

mod past;
mod restore;
mod rotation;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod wait;
mod wildcard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::service::discovery::v3 as discovery_v3;
use meshgate::ads::{self, Options};
use meshgate::envoy::snapshot::{Feedback, ResourceType, Version};
use meshgate::telemetry::Readiness;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::support::ads::{Client, DeltaStream, ack, envoy, node, subscribe, within};
use crate::support::source::{Source, resource, snapshot};

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

struct Server {
    source: Arc<Source>,
    readiness: Readiness,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
    url: String,
}

impl Server {
    fn start(options: Options) -> Self {
        let listener = meshgate::net::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (source, readiness, shutdown) =
            (Arc::new(Source::default()), Readiness::default(), CancellationToken::new());
        let served = ads::serve([listener.into()], source.clone(), options, readiness.clone(), shutdown.clone());
        let served = tokio::spawn(served);
        Self { source, readiness, shutdown, served, url }
    }

    async fn connect(&self) -> Client {
        Client::connect(&self.url).await
    }
}

/// Opens a stream that asks for all clusters.
async fn open(server: &Server, node: core_v3::Node) -> DeltaStream {
    let stream = server.connect().await.delta().await.expect("the server is ready");
    stream.send(subscribe(CLUSTERS, &[], Some(node)));
    stream
}

#[tokio::test]
async fn a_client_gets_what_the_source_has_and_what_changes() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1"), ("b", "1")]));

    let mut stream = open(&server, envoy("web-1", 40)).await;
    let first = stream.next().await.unwrap();
    stream.send(ack(&first));
    server.source.publish("web-1", snapshot(&[("a", "2")]));
    let second = stream.next().await.unwrap();
    stream.send(ack(&second));
    let third = stream.next().await.unwrap();

    let names: Vec<_> = first.resources.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(first.resources[0].version, Version::of(b"1").to_string());
    let body = first.resources[0].resource.as_ref().unwrap();
    assert_eq!((&*body.type_url, &body.value[..]), (CLUSTERS, &b"1"[..]));
    assert_eq!(first.control_plane.unwrap().identifier, concat!("meshgate-", env!("CARGO_PKG_VERSION")));
    assert_eq!(second.resources[0].resource.as_ref().unwrap().value, b"2");
    assert_eq!((third.resources.len(), third.removed_resources), (0, vec!["b".to_owned()]));
    let kind = ResourceType::Cluster;
    let connected = Feedback::Connected { user_agent_version: "1.40.0".to_owned() };
    server.source.expect("web-1", &[connected, Feedback::Acked { kind }, Feedback::Acked { kind }]).await;
}

#[tokio::test]
async fn what_needs_no_response_does_not_keep_the_next_change_waiting() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    let mut stream = open(&server, envoy("web-1", 40)).await;
    stream.send(subscribe(ResourceType::Listener.type_url(), &[], None));
    for _ in 0..2 {
        let response = stream.next().await.unwrap();
        stream.send(ack(&response));
    }
    server.source.expect_in_sync("web-1", 1).await;

    // Equal to what the client has.
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    server.source.expect_in_sync("web-1", 2).await;
    server.source.publish("web-1", snapshot(&[("a", "2")]));

    let second = tokio::time::timeout(Duration::from_secs(5), stream.following()).await.expect("at once").unwrap();
    assert_eq!(second.resources[0].resource.as_ref().unwrap().value, b"2");
}

#[tokio::test]
async fn a_state_of_the_world_client_gets_everything() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1"), ("b", "1")]));

    let mut stream = server.connect().await.sotw().await.unwrap();
    let request = discovery_v3::DiscoveryRequest {
        node: Some(envoy("web-1", 40)),
        type_url: CLUSTERS.to_owned(),
        ..Default::default()
    };
    stream.send(request.clone());
    let first = stream.next().await.unwrap();
    stream.send(discovery_v3::DiscoveryRequest { response_nonce: first.nonce.clone(), node: None, ..request });
    server.source.publish("web-1", snapshot(&[("a", "1"), ("b", "2"), ("c", "1")]));
    let second = stream.next().await.unwrap();

    let bodies = |response: &discovery_v3::DiscoveryResponse| {
        response.resources.iter().map(|any| String::from_utf8(any.value.clone()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        (bodies(&first), bodies(&second)),
        (vec!["1".into(), "1".into()], vec!["1".into(), "2".into(), "1".into()])
    );
    assert_ne!(first.version_info, second.version_info);
}

#[tokio::test]
async fn a_refusal_is_reported_with_what_was_refused() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1")]));

    let mut stream = open(&server, envoy("web-1", 40)).await;
    let first = stream.next().await.unwrap();
    let error = envoy_types::pb::google::rpc::Status { code: 13, message: "no such thing".to_owned(), details: vec![] };
    stream.send(discovery_v3::DeltaDiscoveryRequest { error_detail: Some(error), ..ack(&first) });

    // It has not what it should have, whatever it answers.
    assert_eq!(server.source.in_sync("web-1"), 0);
    let connected = Feedback::Connected { user_agent_version: "1.40.0".to_owned() };
    let resources = vec![("a".into(), Version::of(b"1"))];
    let nacked = Feedback::Nacked { kind: ResourceType::Cluster, resources, message: "no such thing".to_owned() };
    server.source.expect("web-1", &[connected, nacked]).await;
}

#[tokio::test]
async fn shutdown_ends_the_streams() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    let mut stream = open(&server, envoy("web-1", 40)).await;
    stream.next().await.unwrap();
    let mut silent = server.connect().await.delta().await.unwrap();

    server.shutdown.cancel();

    for ended in [stream.next().await, silent.next().await] {
        assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    }
    within(server.served).await.unwrap();
    server.source.expect_end("web-1").await;
}

#[tokio::test]
async fn a_stream_without_a_usable_node_is_refused() {
    let server = Server::start(Options::default());
    let nodes = [
        (None, "the first request of the stream has no node"),
        (Some(envoy("", 40)), "node.id is empty"),
        (Some(envoy("web-1", 35)), "Envoy 1.35.0 is not supported; use 1.36 to 1.40"),
    ];

    for (node, expected) in nodes {
        let mut stream = server.connect().await.delta().await.unwrap();
        stream.send(subscribe(CLUSTERS, &[], node));
        let status = stream.next().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(expected), "{}", status.message());
    }
    let mut stream = open(&server, envoy("web-1", 40)).await;
    stream.send(subscribe("", &[], None));
    assert_eq!(stream.next().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn streams_are_refused_until_the_process_is_ready() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    let guard = server.readiness.wait_for("the store");

    let status = server.connect().await.delta().await.err().unwrap();

    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not ready, waiting for the store"));
    drop(guard);
    open(&server, envoy("web-1", 40)).await.next().await.unwrap();
}

#[tokio::test]
async fn another_type_and_a_large_node_do_not_disturb() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    let extension = |i| core_v3::Extension { name: format!("envoy.filters.http.{i:0>100}"), ..Default::default() };
    let node = core_v3::Node { extensions: (0..516).map(extension).collect(), ..envoy("web-1", 40) };

    let mut stream = server.connect().await.delta().await.unwrap();
    stream.send(subscribe("type.googleapis.com/envoy.service.runtime.v3.Runtime", &["layer"], Some(node.clone())));
    stream.send(subscribe("type.googleapis.com/envoy.api.v2.Cluster", &[], Some(node.clone())));
    stream.send(subscribe(CLUSTERS, &[], Some(node)));

    assert_eq!(stream.next().await.unwrap().resources[0].name, "a");
}

#[tokio::test]
async fn two_streams_of_one_node_do_not_disturb_each_other() {
    let server = Server::start(Options::default());
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    let mut old = open(&server, envoy("web-1", 40)).await;
    old.next().await.unwrap();
    let mut new = open(&server, envoy("web-1", 40)).await;
    let first = new.next().await.unwrap();
    new.send(ack(&first));

    drop(old);
    server.source.expect_end("web-1").await;
    server.source.publish("web-1", snapshot(&[("a", "2")]));

    assert_eq!(new.next().await.unwrap().resources[0].resource.as_ref().unwrap().value, b"2");
    assert_eq!(server.source.streams("web-1"), 2);
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_state_and_delays_nobody() {
    let server = Server::start(Options::default());
    let mut slow = open(&server, envoy("web-1", 40)).await;
    let mut fast = open(&server, envoy("web-2", 40)).await;

    for round in 0..20 {
        let body = |proxy: u32| format!("{round}-{proxy}-{}", "x".repeat(1 << 20));
        server.source.publish("web-1", snapshot(&[("a", &body(1))]));
        server.source.publish("web-2", snapshot(&[("a", &body(2))]));
        let response = fast.next().await.unwrap();
        assert!(response.resources[0].resource.as_ref().unwrap().value.starts_with(format!("{round}-2").as_bytes()));
        fast.send(ack(&response));
    }
    let first = slow.next().await.unwrap();
    slow.send(ack(&first));
    let second = slow.next().await.unwrap();
    slow.send(ack(&second));
    server.source.publish("web-1", snapshot(&[("a", "end")]));
    let third = slow.next().await.unwrap();

    assert!(second.resources[0].resource.as_ref().unwrap().value.starts_with(b"19-1"));
    assert_eq!(third.resources[0].resource.as_ref().unwrap().value, b"end");
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_connection() {
    let options = Options { write: Duration::from_secs(1), ..Options::default() };
    let server = Server::start(options);
    server.source.publish("web-1", snapshot(&[("a", &"x".repeat(4 << 20))]));

    // A window of 64 KiB that nobody opens again.
    let stream = open(&server, envoy("web-1", 40)).await;

    server.source.expect_end("web-1").await;
    drop(stream);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let options = Options { first_request: Duration::from_millis(100), ..Options::default() };
    let server = Server::start(options);

    let mut stream = server.connect().await.delta().await.unwrap();
    assert_eq!(stream.next().await.unwrap_err().code(), Code::DeadlineExceeded);

    let mut socket = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let mut rest = Vec::new();
    within(tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest)).await.unwrap();
}

#[tokio::test]
async fn too_many_at_once_wait_for_their_turn_and_are_then_sent_away() {
    let options = Options { loading: 1, loading_wait: Duration::from_millis(50), ..Options::default() };
    let server = Server::start(options);
    let mut unknown = open(&server, envoy("nobody", 40)).await;
    server.source.expect("nobody", &[Feedback::Connected { user_agent_version: "1.40.0".to_owned() }]).await;

    let mut other = open(&server, envoy("web-1", 40)).await;
    assert_eq!(other.next().await.unwrap_err().code(), Code::ResourceExhausted);

    // Once the first one has its state there is room.
    server.source.publish("nobody", snapshot(&[("a", "1")]));
    unknown.next().await.unwrap();
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    open(&server, envoy("web-1", 40)).await.next().await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused() {
    let server = Server::start(Options { request_bytes: 10_000, ..Options::default() });
    server.source.publish("web-1", snapshot(&[("a", "1")]));
    let mut stream = open(&server, envoy("web-1", 40)).await;
    stream.next().await.unwrap();

    let request = subscribe(ENDPOINTS, &[&"x".repeat(10_001)], None);
    let length = prost::Message::encoded_len(&request);
    stream.send(request);

    let status = stream.next().await.unwrap_err();
    let expected = format!("a request of {length} bytes; at most 10000 are allowed");
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, &*expected));
}

#[tokio::test]
async fn a_flood_of_requests_is_read_at_its_pace() {
    let options = Options { request_pace: (10, Duration::from_millis(20)), ..Options::default() };
    let server = Server::start(options);
    let mut state = snapshot(&[]);
    for i in 0..50 {
        state.insert(ResourceType::Endpoint, resource(&format!("e{i}"), "1"));
    }
    server.source.publish("web-1", state);
    let started = std::time::Instant::now();

    let mut stream = server.connect().await.delta().await.unwrap();
    for i in 0..50 {
        stream.send(subscribe(ENDPOINTS, &[&format!("e{i}")], Some(node("web-1"))));
    }
    let mut got = 0;
    while got < 50 {
        let response = stream.next().await.unwrap();
        got += response.resources.len();
        stream.send(ack(&response));
    }

    // 50 requests and some ACKs, of which ten are free.
    assert!(started.elapsed() >= Duration::from_millis(40 * 20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let server = Server::start(Options::default());

    let status = server.connect().await.call("/envoy.service.discovery.v3.AggregatedDiscoveryService/Fetch").await;

    assert_eq!(status.code(), Code::Unimplemented);
}
