//! Certificates that are replaced under open streams and under requests.

use std::net::{Ipv4Addr, SocketAddr};

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Place, TestMesh, Waiting};

const SHOP: Place = Place { datacenter: "dc1", partition: "default", number: 1, host: 30 };
const ECHO: Place = Place { datacenter: "dc2", partition: "default", number: 2, host: 31 };

/// Streams that are open all the time; Envoy takes 1,024 for a cluster.
const STREAMS: u64 = 1_000;
/// Descriptors that the test needs beside two for each stream.
const OTHERS: u64 = 200;
/// How often each kind of certificate is replaced.
const ROUNDS: usize = 4;

/// As many streams as this process and Envoys, which inherit its limit, have descriptors for.
fn streams() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let streams = STREAMS.min(limit.saturating_sub(OTHERS) / 2);
    assert!(
        streams >= 100,
        "{limit} descriptors are too few for a test about many streams: raise the limit (ulimit -n)"
    );
    usize::try_from(streams).unwrap()
}

/// Answers with what it is sent.
async fn echo(at: Ipv4Addr) -> JoinSet<()> {
    let listener = TcpListener::bind((at, 9_000)).await.unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut streams = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            streams.spawn(async move {
                let (mut reader, mut writer) = stream.split();
                // A stream that is reset shows at the other end.
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    serving
}

/// Opens a stream and uses it once.
async fn open(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    ask(&mut stream, 0).await;
    stream
}

/// Sends a number and waits for it to come back.
async fn ask(stream: &mut TcpStream, number: u64) {
    let mut answer = [0; 8];
    let question = async {
        stream.write_all(&number.to_be_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    let asked = tokio::time::timeout(Waiting::LIMIT, question).await.expect("an answer comes in time");
    asked.unwrap_or_else(|error| panic!("an open stream was closed: {error}"));
    assert_eq!(u64::from_be_bytes(answer), number);
}

/// Asks on every stream.
async fn ask_all(streams: &mut [TcpStream], number: u64) {
    for stream in streams {
        ask(stream, number).await;
    }
}

/// A mesh with `shop`, which calls `api` by HTTP and `echo` by TCP, both in dc2 and by the gateways of both datacenters.
async fn with_shop() -> (TestMesh, JoinSet<()>, [SocketAddr; 2]) {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let (host, far) = (mesh.address(SHOP.number, SHOP.host), mesh.address(ECHO.number, ECHO.host));
    let serving = echo(far).await;
    mesh.register(ECHO, "echo", json!({})).await;
    let place = ["-datacenter", ECHO.datacenter, "-partition", ECHO.partition];
    mesh.start_envoy("sidecar echo", &[&["-sidecar-for", "echo-31"][..], &place].concat()).await.unwrap();
    mesh.instance("/v1/health/connect/echo?dc=dc2").await;
    let upstream = |name: &str, port: u16| json!({"DestinationName": name, "Datacenter": "dc2", "LocalBindAddress": host, "LocalBindPort": port});
    let upstreams = json!({"Proxy": {"Upstreams": [upstream("api", 9_191), upstream("echo", 9_192)]}});
    mesh.add_service(SHOP, "shop", "sidecar shop", upstreams).await;
    mesh.answers(&format!("http://{host}:9191/")).await;
    (mesh, serving, [9_191, 9_192].map(|port| SocketAddr::from((host, port))))
}

/// What identifies the certificates that an Envoy shows, and the roots that it trusts.
async fn shows(mesh: &TestMesh, envoy: &str, serial: &str) -> bool {
    mesh.admin(envoy).get("/certs").await.contains(&serial.replace(':', ""))
}

/// The sidecars on the way, with what the identities of their certificates end with.
const SIDECARS: [(&str, &str); 3] =
    [("sidecar shop", "/svc/shop"), ("sidecar api", "/svc/api"), ("sidecar echo", "/svc/echo")];

/// Every sidecar on the way shows the leaf that the control plane has for it.
async fn sidecars_show_their_leaves(mesh: &TestMesh) {
    let certificates = mesh.get("/v1/meshgate/certs").await;
    for (envoy, identity) in SIDECARS {
        let mut leaves = certificates["Leaves"].as_array().unwrap().iter();
        let leaf = leaves.find(|leaf| leaf["Identity"].as_str().unwrap().ends_with(identity)).unwrap();
        let serial = leaf["Serial"].as_str().unwrap();
        assert!(shows(mesh, envoy, serial).await, "{envoy} does not show {serial}, which it acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_close_no_stream_and_fail_no_request() {
    let (mesh, _serving, [api, echo]) = with_shop().await;
    let mut open_streams = Vec::new();
    for _ in 0..streams() {
        open_streams.push(open(echo).await);
    }
    let url = format!("http://{api}/");
    let way = mesh.carriers_to(&url, "hello from api", 4).await;
    assert_eq!(way, ["sidecar shop", "gateway dc1", "gateway dc2", "sidecar api"].into());
    let before = mesh.replaced().await;
    let traffic = Traffic::start(&url, "hello from api");

    for round in 0..ROUNDS {
        for what in ["-all", "-root"] {
            let (text, code) = mesh.run(&format!("cert rotate {what} -wait -timeout 30s")).await;
            assert_eq!(code, 0, "{what}: {text}");
            sidecars_show_their_leaves(&mesh).await;
        }
        ask_all(&mut open_streams, round as u64 + 1).await;
        mesh.go_on(&traffic).await;
    }
    // An operator's root comes in the same way.
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    mesh.put("/v1/connect/ca/configuration", &json!({"Provider": "consul", "Config": {"PrivateKey": key}})).await;
    let (text, code) = mesh.run("cert rotate -all -wait -timeout 30s").await;
    assert_eq!(code, 0, "{text}");
    sidecars_show_their_leaves(&mesh).await;
    mesh.go_on(&traffic).await;
    ask_all(&mut open_streams, 99).await;

    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    let roots = mesh.get("/v1/meshgate/certs").await["Roots"].as_array().unwrap().len();
    assert_eq!(roots, ROUNDS + 2);
    assert_eq!(mesh.replaced().await, before);
    mesh.is_clean().await;
}

/// Lets a process sleep until it is dropped.
struct Asleep(Pid);

impl Asleep {
    fn new(mesh: &TestMesh, envoy: &str) -> Self {
        let envoy = mesh.envoys().iter().find(|it| it.name == envoy).unwrap();
        let process = Pid::from_raw(i32::try_from(envoy.process_id().unwrap()).unwrap()).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        Self(process)
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

/// Which of these roots an Envoy trusts.
async fn trusts(mesh: &TestMesh, envoy: &str, roots: &[Value]) -> Vec<bool> {
    let dynamic = mesh.admin(envoy).dynamic().await.into_iter();
    let secrets = dynamic.filter(|(key, _)| key.starts_with("dynamic_active_secrets"));
    let secrets: String = secrets.map(|(_, secret)| secret.to_string()).collect();
    let is_there = |root: &Value| {
        let pem = json!(root["RootCert"].as_str().unwrap().trim()).to_string();
        secrets.contains(pem.trim_matches('"'))
    };
    roots.iter().map(is_there).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_roots_are_trusted_while_a_proxy_has_the_old_leaf() {
    let (mesh, _serving, [_, echo]) = with_shop().await;
    let mut stream = open(echo).await;
    let before = mesh.replaced().await;

    let asleep = Asleep::new(&mesh, "sidecar echo");
    let (text, code) = mesh.run("cert rotate -root -wait -timeout 2s").await;

    // Who has not acknowledged is named, and the next root does not come before.
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("echo-31-sidecar-proxy  dc2/default  waiting"), "{text}");
    let (text, code) = mesh.run("cert rotate -root").await;
    assert!(code == 1 && text.contains("echo-31-sidecar-proxy (waiting)"), "{code}: {text}");
    let roots = mesh.get("/v1/connect/ca/roots").await["Roots"].as_array().unwrap().clone();
    assert_eq!(roots.iter().map(|root| &root["Active"]).collect::<Vec<_>>(), [true, false]);
    assert_eq!(trusts(&mesh, "sidecar shop", &roots).await, [true, true]);

    drop(asleep);
    ask(&mut stream, 1).await;
    let waiting = Waiting::for_("the next root");
    loop {
        let (text, code) = mesh.run("cert rotate -root -wait -timeout 30s").await;
        if code == 0 {
            break;
        }
        assert!(text.contains("waiting"), "{text}");
        waiting.again().await;
    }
    ask(&mut stream, 2).await;
    ask(&mut open(echo).await, 3).await;
    assert_eq!(mesh.replaced().await, before);
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_leaf_is_replaced_and_no_other() {
    let mesh = TestMesh::start().await;
    let before = mesh.get("/v1/meshgate/certs").await;
    let leaf = |list: &Value, identity: &str| {
        let leaves = list["Leaves"].as_array().unwrap();
        leaves.iter().find(|leaf| leaf["Identity"].as_str().unwrap().ends_with(identity)).unwrap().clone()
    };

    let (text, code) = mesh.run("cert rotate web-sidecar-proxy -wait -timeout 30s -o json").await;

    assert_eq!(code, 0, "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    let after = mesh.get("/v1/meshgate/certs").await;
    assert_eq!(told["Rotated"]["Leaves"], json!([leaf(&after, "/svc/web")]));
    assert_eq!(told["Reached"][0]["Open"], json!([]));
    assert_eq!(told["Reached"][0]["Acknowledged"], 1, "{told}");
    assert_ne!(leaf(&after, "/svc/web")["Serial"], leaf(&before, "/svc/web")["Serial"]);
    assert_eq!(leaf(&after, "/svc/api"), leaf(&before, "/svc/api"));
    assert!(shows(&mesh, "sidecar web", leaf(&after, "/svc/web")["Serial"].as_str().unwrap()).await);
    let (text, code) = mesh.run("cert ls").await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("/svc/web") && text.contains("signs") && !text.contains("PRIVATE"), "{text}");
    let (text, code) = mesh.run("check -category CERT,SRV").await;
    assert_eq!(code, 0, "{text}");
    let (text, code) = mesh.run("gateway ls").await;
    assert!(code == 0 && text.matches("synced").count() == 3, "{code}: {text}");
    mesh.is_clean().await;
    assert_eq!(mesh.request(&mesh.url(Callee::OtherDatacenter)).await.unwrap(), "hello from api in dc2/default\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_kind_fail_no_request() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let url = mesh.url(Callee::OtherDatacenter);
    mesh.answers(&url).await;
    let before = mesh.replaced().await;
    let traffic = Traffic::start(&url, Callee::OtherDatacenter.greeting());

    for (word, bits) in [("ec", 384), ("rsa", 2048), ("ec", 256)] {
        let kind = json!({ "PrivateKeyType": word, "PrivateKeyBits": bits });
        mesh.put("/v1/connect/ca/configuration", &json!({ "Provider": "consul", "Config": kind })).await;
        let (text, code) = mesh.run("cert rotate -all -wait -timeout 60s").await;
        assert_eq!(code, 0, "{word} {bits}: {text}");
        mesh.go_on(&traffic).await;
    }

    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    // The one that signs comes first, then the others by their age.
    let roots = mesh.get("/v1/connect/ca/roots").await["Roots"].as_array().unwrap().clone();
    assert_eq!(roots.iter().map(|root| &root["PrivateKeyBits"]).collect::<Vec<_>>(), [256, 256, 384, 2048]);
    assert_eq!(mesh.replaced().await, before);
    mesh.is_clean().await;
}

/// Leaves are renewed again and again while an Envoy starts, so that some of them come during its initial fetch. It is
/// configured all the same, without waiting for any of Envoy's fetch time-outs.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_starts_while_leaves_are_renewed_is_configured() {
    let mut mesh = TestMesh::start().await;
    let url = format!("http://{}/v1/meshgate/certs/rotate?all", mesh.control_plane.http_address());
    let client = reqwest::Client::new();
    let renewed = std::cell::Cell::new(0);
    let renew = async {
        loop {
            let answer = client.put(&url).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            renewed.set(renewed.get() + 1);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let upstream = json!({
        "DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 9_191,
        "LocalBindAddress": mesh.address(SHOP.number, SHOP.host),
    });
    let started = mesh.add_service(SHOP, "shop", "sidecar shop", json!({"Proxy": {"Upstreams": [upstream]}}));
    tokio::select! {
        () = renew => {}
        () = started => {}
    }

    assert!(renewed.get() > 5, "{} renewals while it started", renewed.get());
    let shop = format!("http://{}:9191/", mesh.address(SHOP.number, SHOP.host));
    mesh.answers(&shop).await;
    mesh.is_clean().await;
}
