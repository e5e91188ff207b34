//! What the protocol's rules are for, on a real Envoy.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use meshgate::store::{Embedded, Op, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Certificate, EnvoyProcess, TestMesh, Waiting, program, visit};

/// Envoy gives endpoints that never come 15 seconds; a cluster that waits for none of that is warm at once.
const WARM: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_cluster_is_warm_at_once_and_costs_no_request() {
    let mesh = TestMesh::start().await;
    let callee = Callee::OtherDatacenter;
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
    let name = format!("api.default.dc2.internal.{}", mesh.trust_domain().await);
    let admin = mesh.admin("sidecar web");
    let modified = admin.sum("cluster_manager.cluster_modified").await;

    for seconds in [7, 8, 9] {
        let timeout = format!("{seconds}s");
        mesh.put("/v1/config", &json!({"Kind": "service-resolver", "Name": "api", "ConnectTimeout": timeout})).await;
        let waiting = Waiting::for_(format!("a connect timeout of {timeout}"));
        let key = format!("dynamic_active_clusters {name}");
        while admin.dynamic().await[&key]["cluster"]["connect_timeout"] != timeout {
            waiting.again().await;
        }
        assert!(waiting.elapsed() < WARM, "it took {:?}", waiting.elapsed());
        assert_eq!(admin.sum("cluster_manager.warming_clusters").await, 0);
    }

    assert_eq!(admin.sum("cluster_manager.cluster_modified").await, modified + 3);
    mesh.carry(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.is_clean().await;
}

/// The contents of what came over xDS, without versions and times.
fn contents(dynamic: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let content = |item: &Value| {
        let places = [
            &item["cluster"],
            &item["active_state"]["listener"],
            &item["route_config"],
            &item["secret"],
            &item["endpoint_config"],
        ];
        places.into_iter().find(|place| !place.is_null()).unwrap().clone()
    };
    dynamic.into_iter().map(|(key, item)| (key, content(&item))).collect()
}

/// The bootstrap of a proxy, for the State-of-the-World variant.
pub(crate) fn state_of_the_world(mesh: &TestMesh, id: &str) -> Value {
    let (http, grpc) = (mesh.control_plane.http_address(), mesh.control_plane.grpc_address());
    let admin = format!("{}:19100", mesh.address(0, 1));
    let output = Command::new(program())
        .args(["connect", "envoy", "-bootstrap", "-omit-deprecated-tags", "-proxy-id", id])
        .args(["-http-addr", &http, "-grpc-addr", &grpc, "-admin-bind", &admin])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["dynamic_resources"]["ads_config"]["api_type"] = json!("GRPC");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_of_the_state_of_the_world_gets_the_same() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let ways: [(Callee, &[&str]); 2] = [
        (Callee::OtherDatacenter, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]),
        (Callee::OtherPartition, &["sidecar web", "gateway dc1", "gateway team-a", "sidecar billing"]),
    ];
    for (callee, way) in ways {
        mesh.takes(callee, way).await;
    }
    let delta = contents(mesh.admin("sidecar web").dynamic().await);
    let sidecar = mesh.envoys_mut().iter_mut().find(|envoy| envoy.name == "sidecar web").unwrap();
    sidecar.kill().await.unwrap();

    let envoy = EnvoyProcess::start(&mesh, "world", &state_of_the_world(&mesh, "web-sidecar-proxy")).await;
    envoy.ready().await;

    assert!(delta.len() >= 10, "{:?}", delta.keys());
    assert_eq!(contents(envoy.admin.dynamic().await), delta);
    for callee in Callee::ALL {
        let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
        assert!(is_carried_by_own_gateway(&mesh, &traffic).await);
        mesh.set_mode(GatewayMode::Remote).await;
        let waiting = Waiting::for_("the way past the own gateway");
        while is_carried_by_own_gateway(&mesh, &traffic).await {
            waiting.again().await;
        }
        mesh.set_mode(GatewayMode::Local).await;
        let waiting = Waiting::for_("the way through the own gateway");
        while !is_carried_by_own_gateway(&mesh, &traffic).await {
            waiting.again().await;
        }
        assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    }
    let held = envoy.admin.dynamic().await;
    mesh.control_plane.kill().await.unwrap();
    mesh.control_plane.start_again().await.unwrap();
    let waiting = Waiting::for_("the same answer to every subscription on a new stream");
    while !has_answered_all(&mesh, "web-sidecar-proxy").await {
        waiting.again().await;
    }
    assert_eq!(contents(envoy.admin.dynamic().await), contents(held));
    let bad = envoy.admin.stats("update_rejected|deprecated_feature_use|warming|init_fetch_timeout").await;
    assert!(bad.len() > 3 && bad.values().all(|count| *count == 0), "{bad:?}");
}

/// True if a proxy has accepted something of each type that a sidecar asks for.
async fn has_answered_all(mesh: &TestMesh, id: &str) -> bool {
    let proxies = mesh.proxies().await;
    let types = proxies.iter().filter(|proxy| proxy["ID"] == id).flat_map(|proxy| proxy["Types"].as_array().unwrap());
    types.filter(|kind| kind["Acks"].as_u64() >= Some(1) && kind["Acked"] == true).count() >= 4
}

/// True if some of the next requests of a client pass the gateway of the caller's place.
async fn is_carried_by_own_gateway(mesh: &TestMesh, traffic: &Traffic) -> bool {
    let gateway = mesh.admin("gateway dc1");
    let received = r"^tcp\.mesh_gateway_remote\.lan\..*downstream_cx_rx_bytes_total$";
    let (before, sent) = (gateway.sum(received).await, traffic.sent());
    let waiting = Waiting::for_("requests of the client");
    while traffic.sent() < sent + 4 {
        waiting.again().await;
    }
    gateway.sum(received).await > before
}

/// Takes every leaf out of the store of a control plane that does not run, so that it issues new ones.
async fn drop_leaves(mesh: &TestMesh) {
    let backend = Embedded::open(&mesh.directory().join("data")).unwrap();
    let (store, writer) = Store::open(Box::new(backend), Arc::new(|_, _, _| Ok(()))).unwrap();
    let leaves: Vec<Op> = store.view().leaves().map(|leaf| Op::DeleteLeaf(leaf.value.identity.clone())).collect();
    assert!(leaves.len() >= 3, "{leaves:?}");
    store.write(leaves).await.unwrap();
    drop(store);
    tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_touch_no_listener_no_cluster_and_no_connection() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let callee = Callee::OtherPartition;
    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway team-a", "sidecar billing"]).await;
    let sni = format!("billing.default.team-a.dc1.internal-v1.{}", mesh.trust_domain().await);
    let gateway = (mesh.address(3, 1), 8_443).into();
    let web = Certificate::of_leaf(&mesh.control_plane.get("/v1/agent/connect/ca/leaf/web").await.unwrap());
    let serial = visit(gateway, &sni, Some(&web)).await.serial;
    let admin = mesh.admin("sidecar billing");
    let mut open = Keep::open(&mesh.url(callee)).await;
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
    let before = admin.dynamic().await;

    mesh.control_plane.kill().await.unwrap();
    drop_leaves(&mesh).await;
    mesh.control_plane.start_again().await.unwrap();

    let waiting = Waiting::for_("a new certificate of billing");
    while visit(gateway, &sni, Some(&web)).await.serial == serial {
        waiting.again().await;
    }
    let after = admin.dynamic().await;
    let changed: Vec<&String> = before.keys().filter(|key| after[*key] != before[*key]).collect();
    assert_eq!(changed, ["dynamic_active_secrets leaf"]);
    assert_eq!(after.len(), before.len());
    open.ask().await;
    mesh.carry(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.is_clean().await;
}

/// A connection that stays open between requests.
struct Keep(TcpStream);

impl Keep {
    async fn open(url: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let mut this = Self(TcpStream::connect(address).await.unwrap());
        this.ask().await;
        this
    }

    /// Sends a request, which must be answered on this connection.
    async fn ask(&mut self) {
        self.0.write_all(b"GET / HTTP/1.1\r\nhost: billing\r\n\r\n").await.unwrap();
        let mut buffer = [0; 1024];
        let answer = tokio::time::timeout(Waiting::LIMIT, self.0.read(&mut buffer)).await;
        let read = answer.expect("an answer in time").unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&buffer[..read]));
    }
}
