//! The runner on a store of its own. Probes use real sockets and real time; timers alone use paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Redirect;
use axum::routing::{any, get};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::probe::{Probe, Probes};
use super::report::{Finding, Subject};
use super::*;
use crate::model::CheckStatus::{self, Critical, Passing, Warning};
use crate::model::{
    Check, CheckDefinition, CheckId, Datacenter, Expose, GoDuration, InstanceId, Node, NodeName, Partition, Place,
    Proxy, Service, ServiceId, ServiceKind, SocketEndpoint,
};
use crate::store::{CheckKey, Memory, NodeKey, Op, Store, View};

const LOCAL: &str = "127.0.0.1:0";

/// A store with the agent's node, and a runner that works on it.
struct Bench {
    store: Store,
    runner: Runner,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Bench {
    async fn start() -> Self {
        let (store, _) = Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).unwrap();
        let options = Options::new(NodeName::from("agent"), [Datacenter::from("dc1"), Datacenter::from("dc2")]);
        let runner = Runner::new(store.clone(), options, Exposures { exposes, of_node });
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(runner.clone().run(shutdown.clone()));
        let bench = Self { store, runner, shutdown, running };
        bench.write(node("dc1", "agent")).await;
        bench
    }

    /// Writes, while time stands still where it is paused: it would run on while the runtime waits for the store.
    async fn write(&self, ops: impl Into<crate::store::Write>) {
        let mut written = std::pin::pin!(self.store.write(ops));
        loop {
            tokio::select! {
                biased;
                result = &mut written => return assert!(result.is_ok(), "{result:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }

    async fn put(&self, check: &Check) {
        self.write(Op::PutCheck(check.clone())).await;
    }

    fn row(&self, check: &Check) -> Check {
        (*self.store.view().check(&CheckKey::of(check)).unwrap().value).clone()
    }

    /// Polls until the view is as expected. Real time is the deadline: paused time runs ahead of the store.
    async fn until(&self, what: &str, done: impl Fn(&View) -> bool) {
        let start = std::time::Instant::now();
        while !done(&self.store.view()) {
            assert!(start.elapsed() < Duration::from_secs(30), "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_status(&self, check: &Check, status: CheckStatus) {
        let key = CheckKey::of(check);
        let is = |view: &View| view.check(&key).is_some_and(|row| row.value.status == status);
        self.until(&format!("{} is {}", key.check, status.as_str()), is).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

/// Sidecars that say so expose the check of the name of their application.
fn of_node(view: &View, node: &NodeKey) -> BTreeMap<CheckId, SocketEndpoint> {
    let exposing = view.services_on(node).filter(|row| row.value.proxy.expose.checks);
    let address = |proxy: &Service| SocketEndpoint::new(&proxy.address, proxy.port);
    exposing.map(|row| (row.value.proxy.destination_service_id.as_str().into(), address(&row.value))).collect()
}

fn exposes(view: &View, id: &InstanceId) -> bool {
    view.service(id).is_some_and(|row| row.value.proxy.expose.checks)
}

fn node(datacenter: &str, name: &str) -> Op {
    let (node, datacenter) = (NodeName::from(name), Datacenter::from(datacenter));
    Op::PutNode(Node { node, datacenter, ..Node::default() })
}

fn agent() -> NodeKey {
    NodeKey::new(&Place::new(&Datacenter::from("dc1"), &Partition::default()), &NodeName::from("agent"))
}

fn service(id: &str) -> Op {
    let service = Service { id: ServiceId::from(id), name: id.to_owned(), ..Service::default() };
    Op::PutService(agent(), service)
}

/// A check of the agent's node, run every second where it is run.
fn check(id: &str, definition: CheckDefinition) -> Check {
    let is_timed = definition.ttl.is_none();
    let interval = is_timed.then_some(GoDuration::from_secs(1));
    Check {
        node: NodeName::from("agent"),
        check_id: CheckId::from(id),
        datacenter: Datacenter::from("dc1"),
        definition: CheckDefinition { interval, ..definition },
        ..Check::default()
    }
}

fn tcp(id: &str, target: impl ToString) -> Check {
    check(id, CheckDefinition { tcp: target.to_string(), ..CheckDefinition::default() })
}

fn ttl(id: &str, seconds: i64) -> Check {
    check(id, CheckDefinition { ttl: Some(GoDuration::from_secs(seconds)), ..CheckDefinition::default() })
}

fn alias(id: &str, service: &str) -> Check {
    check(id, CheckDefinition { alias_service: ServiceId::from(service), ..CheckDefinition::default() })
}

fn of_service(check: Check, service: &str) -> Check {
    Check { service_id: ServiceId::from(service), ..check }
}

fn with_status(check: &Check, status: CheckStatus) -> Check {
    Check { status, ..check.clone() }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address.to_string()
}

/// A server that answers with a code that can be changed, and counts what it was asked.
struct Server {
    address: String,
    code: Arc<AtomicU16>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let (code, requests) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (answer, count) = (code.clone(), requests.clone());
        let answer = move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            (StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap(), "x".repeat(10_000))
        };
        Self { address: serve(Router::new().route("/", get(answer))).await, code, requests }
    }

    fn check(&self, id: &str) -> Check {
        http(id, format!("http://{}/", self.address))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn http(id: &str, url: String) -> Check {
    check(id, CheckDefinition { http: url, ..CheckDefinition::default() })
}

/// One run of a probe.
async fn run(probe: Probe, definition: CheckDefinition) -> Finding {
    Probes::new(1, 4096).run(&probe, &definition).await
}

#[tokio::test]
async fn tcp_follows_the_listener() {
    let bench = Bench::start().await;
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    let check = tcp("port", address);

    bench.put(&check).await;
    bench.until_status(&check, Passing).await;
    assert_eq!(bench.row(&check).output, format!("TCP connect {address}: Success"));

    drop(listener);
    bench.until_status(&check, Critical).await;
    let output = bench.row(&check).output;
    assert!(output.starts_with(&format!("TCP connect {address}: Connection refused")), "{output}");
    bench.stop().await;
}

#[tokio::test]
async fn an_exposed_check_is_asked_through_the_sidecar() {
    let bench = Bench::start().await;
    let (application, sidecar) = (Server::start().await, Server::start().await);
    let check = application.check("app");
    bench.put(&check).await;
    bench.until_status(&check, Passing).await;

    application.code.store(500, Ordering::SeqCst);
    bench.until_status(&check, Critical).await;
    let (host, port) = sidecar.address.rsplit_once(':').unwrap();
    let proxy = |checks| Service {
        id: ServiceId::from("app-proxy"),
        name: "app-proxy".to_owned(),
        kind: ServiceKind::ConnectProxy,
        address: host.to_owned(),
        port: port.parse().unwrap(),
        proxy: Proxy {
            destination_service_id: ServiceId::from("app"),
            expose: Expose { checks, paths: vec![] },
            ..Proxy::default()
        },
        ..Service::default()
    };
    bench.write(Op::PutService(agent(), proxy(true))).await;
    bench.until_status(&check, Passing).await;
    assert!(bench.row(&check).output.contains(&sidecar.address));

    bench.write(Op::PutService(agent(), proxy(false))).await;
    bench.until_status(&check, Critical).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_target_that_is_about_to_start_is_asked_again_soon() {
    let bench = Bench::start().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(LOCAL.parse().unwrap()).unwrap();
    let mut check = tcp("port", socket.local_addr().unwrap());
    check.definition.interval = Some(GoDuration::from_secs(3600));
    bench.put(&check).await;
    let key = CheckKey::of(&check);
    bench.until("refusal", |view| view.check(&key).is_some_and(|row| !row.value.output.is_empty())).await;

    let _listener = socket.listen(16).unwrap();

    bench.until_status(&check, Passing).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_somebody_asks_to_look_at_is_looked_at_long_before_its_time() {
    let bench = Bench::start().await;
    let (server, other) = (Server::start().await, Server::start().await);
    let hourly = |server: &Server, id: &str| {
        let mut check = of_service(server.check(id), id);
        check.definition.interval = Some(GoDuration::from_secs(3600));
        check
    };
    let (asked, idle) = (hourly(&server, "asked"), hourly(&other, "idle"));
    bench.write(vec![service("asked"), service("idle"), Op::PutCheck(asked.clone()), Op::PutCheck(idle.clone())]).await;
    for check in [&asked, &idle] {
        bench.until_status(check, Passing).await;
    }
    let instance = |id: &str| agent().instance(&ServiceId::from(id));
    let before = other.requests();

    server.code.store(503, Ordering::SeqCst);
    bench.runner.look_at(&instance("asked"));
    bench.until_status(&asked, Critical).await;
    // Whatever it was may come a little later than what told of it: it is looked at some more times.
    server.code.store(200, Ordering::SeqCst);
    bench.until_status(&asked, Passing).await;
    bench.runner.look_at(&instance("unknown"));

    assert_eq!((other.requests(), bench.row(&idle).status), (before, Passing));
    bench.stop().await;
}

#[tokio::test]
async fn a_check_that_fails_from_the_start_says_why_once() {
    let bench = Bench::start().await;
    let closed = TcpListener::bind(LOCAL).await.unwrap().local_addr().unwrap();
    let check = tcp("port", closed);

    bench.put(&check).await;

    let key = CheckKey::of(&check);
    bench.until("output", |view| view.check(&key).is_some_and(|row| !row.value.output.is_empty())).await;
    assert_eq!(bench.row(&check).status, Critical);
    bench.stop().await;
}

#[tokio::test]
async fn http_follows_the_code_and_commits_only_changes() {
    let bench = Bench::start().await;
    let server = Server::start().await;
    let check = server.check("web");

    bench.put(&check).await;
    bench.until_status(&check, Passing).await;
    let (index, requests) = (bench.store.view().index(), server.requests());
    bench.until("three more runs", |_| server.requests() >= requests + 3).await;
    assert_eq!(bench.store.view().index(), index);
    let output = bench.row(&check).output;
    assert_eq!(output.len(), 4096);
    assert!(output.starts_with(&format!("HTTP GET http://{}/: 200 OK Output: xxx", server.address)), "{output}");

    server.code.store(429, Ordering::SeqCst);
    bench.until_status(&check, Warning).await;
    server.code.store(503, Ordering::SeqCst);
    bench.until_status(&check, Critical).await;
    bench.stop().await;
}

#[tokio::test]
async fn http_sends_what_the_check_says() {
    let echo = |method: Method, headers: HeaderMap, body: Bytes| async move {
        let header = headers.get_all("x-probe").iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        format!("{method} {} {header:?} {}", headers["host"].to_str().unwrap(), String::from_utf8_lossy(&body))
    };
    let address = serve(Router::new().route("/echo", any(echo))).await;
    let header = BTreeMap::from([
        ("X-Probe".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
        ("Host".to_owned(), vec!["web.internal".to_owned()]),
    ]);

    let found = run(
        Probe::Http,
        CheckDefinition {
            http: format!("http://{address}/echo"),
            method: "PUT".to_owned(),
            header,
            body: "ping".to_owned(),
            ..CheckDefinition::default()
        },
    )
    .await;

    let output = format!("HTTP PUT http://{address}/echo: 200 OK Output: PUT web.internal [\"a\", \"b\"] ping");
    assert_eq!(found, Finding::passing(output));
}

#[tokio::test]
async fn redirects_are_followed_unless_switched_off() {
    let router = Router::new()
        .route("/old", get(|| async { Redirect::temporary("/new") }))
        .route("/new", get(|| async { "here" }));
    let http = format!("http://{}/old", serve(router).await);
    let definition =
        |disable_redirects| CheckDefinition { http: http.clone(), disable_redirects, ..Default::default() };

    assert_eq!(run(Probe::Http, definition(false)).await.status, Passing);
    let found = run(Probe::Http, definition(true)).await;
    assert_eq!(found, Finding::critical(format!("HTTP GET {http}: 307 Temporary Redirect Output: ")));
}

#[tokio::test]
async fn what_does_not_answer_in_time_is_critical() {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = Some(GoDuration::from_millis(50));

    let found =
        run(Probe::Http, CheckDefinition { http: format!("http://{address}/"), timeout, ..Default::default() }).await;

    assert_eq!(found, Finding::critical("no answer within 50ms"));
}

#[tokio::test]
async fn udp_is_critical_only_when_refused() {
    let socket = UdpSocket::bind(LOCAL).await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let definition =
        CheckDefinition { udp: address.clone(), timeout: Some(GoDuration::from_millis(200)), ..Default::default() };

    let silent = run(Probe::Udp, definition.clone()).await;
    assert_eq!(silent, Finding::passing(format!("UDP {address}: no refusal")));
    drop(socket);
    let refused = run(Probe::Udp, definition).await;
    assert_eq!(refused.status, Critical);
    assert!(refused.output.contains("refused"), "{refused:?}");
}

#[tokio::test]
async fn grpc_follows_the_health_protocol() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("up", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("down", tonic_health::ServingStatus::NotServing).await;
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
    let ask = |path: &str| run(Probe::Grpc, CheckDefinition { grpc: format!("{address}{path}"), ..Default::default() });

    assert_eq!(ask("").await, Finding::passing(format!("gRPC check {address}: serving")));
    assert_eq!(ask("/up").await.status, Passing);
    assert_eq!(ask("/down").await, Finding::critical(format!("gRPC check {address}/down: not serving")));
    assert_eq!(ask("/other").await.status, Critical);
    let nobody = TcpListener::bind(LOCAL).await.unwrap().local_addr().unwrap();
    let refused = run(Probe::Grpc, CheckDefinition { grpc: nobody.to_string(), ..Default::default() }).await;
    assert!(refused.status == Critical && refused.output.contains("refused"), "{refused:?}");
}

#[tokio::test]
async fn h2ping_needs_a_server_that_speaks_http2() {
    let server = Server::start().await;
    let plain = |target: &str| CheckDefinition {
        h2ping: target.to_owned(),
        h2ping_use_tls: Some(false),
        timeout: Some(GoDuration::from_secs(5)),
        ..CheckDefinition::default()
    };

    let found = run(Probe::H2Ping, plain(&server.address)).await;
    assert_eq!(found, Finding::passing(format!("HTTP2 ping {}: answered", server.address)));

    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (found, _stream) = tokio::join!(run(Probe::H2Ping, plain(&address)), other);
    assert_eq!(found, Finding::critical(format!("HTTP2 ping {address}: the server does not speak HTTP/2")));
}

#[tokio::test]
async fn tls_is_verified_unless_the_check_says_otherwise() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["db.internal".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // The client that does not trust us is expected to hang up.
            let _ = acceptor.accept(stream).await;
        }
    });
    let definition = |tls_skip_verify| CheckDefinition {
        tcp: address.clone(),
        tcp_use_tls: true,
        tls_server_name: "db.internal".to_owned(),
        tls_skip_verify,
        ..CheckDefinition::default()
    };

    assert_eq!(run(Probe::Tcp, definition(true)).await.status, Passing);
    let found = run(Probe::Tcp, definition(false)).await;
    assert_eq!(found.status, Critical);
    assert!(found.output.contains("certificate"), "{found:?}");
}

#[tokio::test]
async fn no_more_probes_run_at_one_moment_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, seen) = (now.clone(), most.clone());
    let slow = move || async move {
        seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        inside.fetch_sub(1, Ordering::SeqCst);
    };
    let definition = CheckDefinition {
        http: format!("http://{}/", serve(Router::new().route("/", get(slow))).await),
        ..CheckDefinition::default()
    };
    let probes = Probes::new(2, 4096);

    let found = futures::future::join_all((0..8).map(|_| probes.run(&Probe::Http, &definition))).await;

    assert!(found.iter().all(|found| found.status == Passing), "{found:?}");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_changed_definition_restarts_and_a_deleted_row_stops() {
    let bench = Bench::start().await;
    let (first, second) = (Server::start().await, Server::start().await);
    let check = first.check("web");
    bench.put(&check).await;
    bench.until_status(&check, Passing).await;

    let changed = Check { definition: second.check("web").definition, ..check.clone() };
    bench.put(&changed).await;
    bench.until("two runs of the new definition", |_| second.requests() >= 2).await;
    let before = first.requests();
    bench.until("two more runs of the new definition", |_| second.requests() >= 4).await;
    assert_eq!(first.requests(), before);

    bench.write(Op::DeleteCheck(CheckKey::of(&check))).await;
    let other = first.check("other");
    bench.put(&other).await;
    bench.until("a run of another check", |_| first.requests() > before).await;
    let stopped = second.requests();
    bench.until("two more runs of the other check", |_| first.requests() >= before + 3).await;
    assert_eq!(second.requests(), stopped);
    bench.stop().await;
}

#[tokio::test]
async fn checks_of_own_nodes_run_in_every_hosted_datacenter_and_no_other() {
    let bench = Bench::start().await;
    let (own, foreign) = (Server::start().await, Server::start().await);
    let at = |check: Check, datacenter: &str, node: &str| Check {
        datacenter: Datacenter::from(datacenter),
        node: NodeName::from(node),
        ..check
    };
    let team = Check { partition: Partition::from("team-a"), ..at(own.check("web"), "dc2", "agent") };

    bench.put(&at(foreign.check("web"), "dc1", "other")).await;
    bench.put(&at(foreign.check("web"), "dc3", "agent")).await;
    bench.put(&team).await;

    bench.until_status(&team, Passing).await;
    bench.until("another run", |_| own.requests() >= 2).await;
    assert_eq!(foreign.requests(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_result_is_not_written_to_a_row_that_came_later() {
    let bench = Bench::start().await;
    let check = check("script", CheckDefinition { os_service: "web".to_owned(), ..CheckDefinition::default() });
    bench.put(&check).await;
    let key = CheckKey::of(&check);
    let subject = Subject::of(bench.store.view().check(&key).unwrap());

    bench.write(vec![Op::DeleteCheck(key.clone())]).await;
    subject.report(&bench.store, Finding::passing("late"), || true).await.unwrap();
    assert_eq!(bench.store.view().check(&key), None);

    bench.put(&check).await;
    let index = bench.store.view().index();
    subject.report(&bench.store, Finding::passing("late"), || true).await.unwrap();
    assert_eq!((bench.row(&check).status, bench.store.view().index()), (Critical, index));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_expires_unless_somebody_reports() {
    let bench = Bench::start().await;
    let check = with_status(&ttl("beat", 10), Passing);
    let key = CheckKey::of(&check);
    bench.put(&check).await;

    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(bench.row(&check).status, Passing);
        bench.runner.reported(&key);
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(bench.row(&check).status, Passing);
    bench.until_status(&check, Critical).await;
    assert_eq!(bench.row(&check).output, "TTL of 10s expired");

    bench.runner.reported(&key);
    bench.put(&check).await;
    bench.until_status(&check, Critical).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_ttl_commits_once() {
    let bench = Bench::start().await;
    let check = with_status(&ttl("beat", 10), Passing);
    bench.put(&check).await;
    bench.until_status(&check, Critical).await;
    let index = bench.store.view().index();

    tokio::time::sleep(Duration::from_secs(100)).await;

    assert_eq!(bench.store.view().index(), index);
    bench.stop().await;
}

#[tokio::test]
async fn an_alias_mirrors_the_worst_check_of_its_service_and_node() {
    let bench = Bench::start().await;
    let mirror = of_service(alias("mirror", "web"), "web-sidecar-proxy");
    bench.put(&mirror).await;
    let key = CheckKey::of(&mirror);
    let output = |view: &View| view.check(&key).map(|row| row.value.output.clone()).unwrap_or_default();
    bench.until("reason", |view| output(view).contains("not registered")).await;

    bench.write(service("web")).await;
    bench.until_status(&mirror, Passing).await;
    let (a, b) = (of_service(ttl("a", 60), "web"), of_service(ttl("b", 60), "web"));
    bench.write(vec![Op::PutCheck(with_status(&a, Warning)), Op::PutCheck(with_status(&b, Passing))]).await;
    bench.until_status(&mirror, Warning).await;
    bench.put(&Check { output: "full".to_owned(), ..b.clone() }).await;
    bench.until_status(&mirror, Critical).await;
    assert_eq!(bench.row(&mirror).output, "check \"b\" is critical: full");
    bench.write(vec![Op::DeleteCheck(CheckKey::of(&a)), Op::DeleteCheck(CheckKey::of(&b))]).await;
    bench.until_status(&mirror, Passing).await;

    let of_node = ttl("disk", 60);
    bench.put(&of_node).await;
    bench.until_status(&mirror, Critical).await;
    bench.put(&with_status(&of_node, Passing)).await;
    bench.until_status(&mirror, Passing).await;
    bench.stop().await;
}

#[tokio::test]
async fn an_alias_can_mirror_another_node() {
    let bench = Bench::start().await;
    let definition = CheckDefinition { alias_node: NodeName::from("far"), ..CheckDefinition::default() };
    let mirror = check("mirror", definition);
    bench.put(&mirror).await;
    bench.until_status(&mirror, Passing).await;

    let far = Check { node: NodeName::from("far"), ..ttl("disk", 60) };
    bench.write(vec![node("dc1", "far"), Op::PutCheck(far)]).await;

    bench.until_status(&mirror, Critical).await;
    bench.stop().await;
}

#[tokio::test]
async fn aliases_of_each_other_do_not_keep_each_other_critical() {
    let bench = Bench::start().await;
    let (a, b) = (of_service(alias("a", "two"), "one"), of_service(alias("b", "one"), "two"));
    let real = of_service(ttl("real", 60), "two");

    bench.write(vec![service("one"), service("two"), Op::PutCheck(a.clone()), Op::PutCheck(b.clone())]).await;
    bench.until_status(&a, Passing).await;
    bench.until_status(&b, Passing).await;
    bench.put(&real).await;
    bench.until_status(&a, Critical).await;
    bench.until_status(&b, Critical).await;
    bench.put(&with_status(&real, Passing)).await;
    bench.until_status(&a, Passing).await;
    bench.until_status(&b, Passing).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stays_critical_is_removed_with_its_sidecar() {
    let bench = Bench::start().await;
    let mut sidecar = Service {
        kind: ServiceKind::ConnectProxy,
        id: ServiceId::from("web-sidecar-proxy"),
        name: "web-sidecar-proxy".to_owned(),
        ..Service::default()
    };
    sidecar.proxy.destination_service_id = ServiceId::from("web");
    // Raised to a minute.
    let deregister_critical_service_after = Some(GoDuration::from_secs(1));
    let mut dead = of_service(ttl("dead", 3600), "web");
    dead.definition.deregister_critical_service_after = deregister_critical_service_after;
    let mut alive = of_service(ttl("alive", 3600), "db");
    alive.definition.deregister_critical_service_after = deregister_critical_service_after;
    let ops = vec![service("web"), service("db"), Op::PutService(agent(), sidecar)];
    bench.write(ops).await;
    bench.write(vec![Op::PutCheck(dead.clone()), Op::PutCheck(alive.clone())]).await;

    tokio::time::sleep(Duration::from_secs(40)).await;
    bench.put(&with_status(&alive, Passing)).await;
    assert_eq!(bench.store.view().services_on(&agent()).count(), 3);
    bench.until("only db is left", |view| view.services_on(&agent()).count() == 1).await;

    assert!(bench.store.view().service(&agent().instance(&ServiceId::from("db"))).is_some());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.store.view().services_on(&agent()).count(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn thousands_of_checks_start_with_few_sockets() {
    let bench = Bench::start().await;
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let slow = |n: usize| {
        let mut check = tcp(&format!("c{n}"), address);
        check.definition.interval = Some(GoDuration::from_secs(3600));
        Op::PutCheck(check)
    };

    bench.write((0..3000).map(slow).collect::<Vec<_>>()).await;

    bench.until("all pass", |view| view.checks().all(|(_, row)| row.value.status == Passing)).await;
    bench.stop().await;
}
