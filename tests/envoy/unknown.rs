//! An Envoy that starts before its proxy is registered.

use meshgate::envoy::bootstrap::{
    AdminLog, Bootstrap, BootstrapConfig, DeprecatedTags, Node, XdsAddress, XdsServer, bootstrap,
};
use serde_json::{Value, json};

use crate::support::{EnvoyProcess, Place, TestMesh, Waiting};

/// What `connect envoy` would start it with, if it knew the proxy.
fn document(mesh: &TestMesh, id: &str) -> Value {
    let text = |text: &str| text.to_owned();
    bootstrap(&Bootstrap {
        node: Node {
            id: text(id),
            cluster: text("late"),
            datacenter: text("dc1"),
            partition: text("default"),
            namespace: text("default"),
            node_name: text("demo"),
        },
        xds: XdsServer {
            address: XdsAddress::Socket(mesh.control_plane.grpc_address().parse().unwrap()),
            ca: None,
            token: String::new(),
        },
        admin: (mesh.address(0, 1), 19_100).into(),
        admin_log: AdminLog::file("/dev/null"),
        ready: None,
        merged_metrics: None,
        prometheus_path: text("/metrics"),
        config: BootstrapConfig::default(),
        collector: None,
        most_connections: None,
        deprecated_tags: DeprecatedTags::Omit,
    })
}

async fn proxy(mesh: &TestMesh, id: &str) -> Option<Value> {
    mesh.proxies().await.into_iter().find(|proxy| proxy["ID"] == id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_proxy_is_told_nothing_until_it_is_registered_and_then_everything() {
    let mut mesh = TestMesh::start().await;
    let envoy = EnvoyProcess::start(&mesh, "late", &document(&mesh, "late-30-sidecar-proxy")).await;
    let waiting = Waiting::for_("the stream of the unknown proxy");
    let unknown = loop {
        match proxy(&mesh, "late-30-sidecar-proxy").await {
            Some(unknown) if unknown["Streams"] == 1 => break unknown,
            Some(_) | None => waiting.again().await,
        }
    };
    assert_eq!((&unknown["Registered"], &unknown["Streams"]), (&json!(false), &json!(1)));
    let log = std::fs::read_to_string(mesh.directory().join("control-plane.log")).unwrap();
    let told = log.lines().find(|line| line.contains("WARN") && line.contains("late-30-sidecar-proxy"));
    assert!(told.is_some_and(|line| line.contains("regist")), "{told:?}");
    assert!(!envoy.admin.is_ready().await);
    assert_eq!(envoy.admin.dynamic().await, [].into());

    let host = mesh.address(1, 30);
    mesh.start_application((host, 9_000).into(), "hello from late").await.unwrap();
    let upstream = json!({
        "DestinationName": "api", "Datacenter": "dc2", "LocalBindAddress": host, "LocalBindPort": 9_191,
    });
    let place = Place { datacenter: "dc1", partition: "default", number: 1, host: 30 };
    mesh.register(place, "late", json!({"Proxy": {"Upstreams": [upstream]}})).await;
    envoy.ready().await;

    let text = mesh.request(&format!("http://{host}:9191/")).await.unwrap();
    assert_eq!(text, "hello from api in dc2/default\n");
    let log = std::fs::read_to_string(mesh.directory().join("control-plane.log")).unwrap();
    let opened = log.lines().filter(|line| line.contains("late-30-sidecar-proxy") && line.contains("stream opened"));
    assert_eq!(opened.count(), 1, "it is still the stream that was opened first");
    let known = proxy(&mesh, "late-30-sidecar-proxy").await.unwrap();
    assert_eq!((&known["Registered"], &known["Streams"]), (&json!(true), &json!(1)));
    let envoy_counts = envoy.admin.stats("update_rejected|deprecated_feature_use|control_plane.connected_state").await;
    assert_eq!(envoy_counts["control_plane.connected_state"], 1);
    assert_eq!(envoy_counts.values().sum::<u64>(), 1, "{envoy_counts:?}");
    mesh.is_clean().await;
}
