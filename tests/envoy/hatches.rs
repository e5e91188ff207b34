//! Listeners and clusters that operators give, right ones and wrong ones, next to healthy upstreams.

use meshgate::cli::demo::Traffic;
use serde_json::{Value, json};

use crate::support::{Place, TestMesh, Waiting};

const SHOP: Place = Place { datacenter: "dc1", partition: "default", number: 1, host: 31 };

/// The registration of a shop that calls `api` at port 9191 and `billing` at 9192, `api` with these options.
fn shop(host: &str, config: Value, sidecar: Value) -> Value {
    json!({"Proxy": {"Config": sidecar, "Upstreams": [
        {"DestinationName": "api", "Datacenter": "dc2", "LocalBindAddress": host, "LocalBindPort": 9191,
         "Config": config},
        {"DestinationName": "billing", "DestinationPartition": "team-a", "LocalBindAddress": host,
         "LocalBindPort": 9192},
    ]}})
}

/// A listener for `api` that Envoy takes if `cluster` is one, with this prefix of its statistics.
pub(crate) fn listener(host: &str, cluster: &str, stat_prefix: &str) -> String {
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "cluster": cluster, "stat_prefix": stat_prefix,
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "ours",
        "address": {"socketAddress": {"address": host, "portValue": 9191}},
        "filterChains": [{"filters": [{"name": "proxy", "typedConfig": proxy}]}],
    })
    .to_string()
}

/// Waits until something holds that is known about the sidecar of the shop.
async fn until(mesh: &TestMesh, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let waiting = Waiting::for_(what);
    loop {
        let report = mesh.proxies().await.into_iter().find(|proxy| proxy["ID"] == "shop-31-sidecar-proxy");
        if let Some(report) = report.filter(&holds) {
            return report;
        }
        waiting.again().await;
    }
}

fn problems(report: &Value) -> Vec<&str> {
    report["Problems"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// Why Envoy last refused listeners; empty if it never did.
fn refusal(report: &Value) -> String {
    let listeners = report["Types"].as_array().unwrap().iter().find(|kind| kind["Type"] == "LDS").unwrap();
    listeners["LastNack"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hatch_costs_neither_what_it_would_replace_nor_its_neighbours() {
    let mut mesh = TestMesh::start().await;
    let host = mesh.address(SHOP.number, SHOP.host).to_string();
    let with = |document: &str| shop(&host, json!({"envoy_listener_json": document}), json!({}));
    mesh.add_service(SHOP, "shop", "sidecar shop", shop(&host, json!({}), json!({}))).await;
    let [api, billing] = [9191, 9192].map(|port| format!("http://{host}:{port}/"));
    mesh.answers(&api).await;
    mesh.answers(&billing).await;
    let to_api = Traffic::start(&api, "hello from api");
    let to_billing = Traffic::start(&billing, "hello from billing");
    let clusters = mesh.admin("sidecar shop").clusters().await;
    let api_cluster = clusters.into_iter().find(|name| name.contains("api.default.dc2")).expect("the cluster of api");
    let sent_by_ours =
        async |mesh: &TestMesh| mesh.admin("sidecar shop").sum(r"^tcp\.ours\.downstream_cx_total$").await;

    // It does not parse: the generated listener stays.
    mesh.register(SHOP, "shop", with("{}")).await;
    let report = until(&mesh, "a problem", |report| !problems(report).is_empty()).await;
    assert!(problems(&report)[0].contains("envoy_listener_json of upstream api?dc=dc2"), "{report}");
    mesh.carry(&to_api).await;
    mesh.carry(&to_billing).await;

    // It is right: traffic goes through it.
    mesh.register(SHOP, "shop", with(&listener(&host, &api_cluster, "ours"))).await;
    let waiting = Waiting::for_("traffic through the given listener");
    while sent_by_ours(&mesh).await == 0 {
        waiting.again().await;
    }
    assert_eq!(problems(&until(&mesh, "no problem", |report| problems(report).is_empty()).await), [""; 0]);

    // It parses, and Envoy refuses it: Envoy goes on with the one before, and takes what else changes.
    mesh.register(SHOP, "shop", with(&listener(&host, &api_cluster, ""))).await;
    let report = until(&mesh, "a refusal", |report| refusal(report) != "null").await;
    assert!(refusal(&report).contains("ours"), "{report}");
    mesh.put("/v1/config", &json!({"Kind": "proxy-defaults", "Name": "global", "AccessLogs": {"Enabled": true}})).await;
    let waiting = Waiting::for_("a log of the neighbour's listener");
    while !mesh.admin("sidecar shop").get("/config_dump").await.contains("Consul Listener Log") {
        waiting.again().await;
    }
    mesh.carry(&to_api).await;
    mesh.carry(&to_billing).await;

    // It does not parse any more: the last right one stays.
    let before = sent_by_ours(&mesh).await;
    mesh.register(SHOP, "shop", with("nonsense")).await;
    until(&mesh, "a problem", |report| !problems(report).is_empty()).await;
    mesh.carry(&to_api).await;
    mesh.carry(&to_billing).await;
    assert!(sent_by_ours(&mesh).await > before, "the given listener carries the traffic");

    assert!(to_api.sent() > 20 && to_billing.sent() > 20);
    assert_eq!((to_api.failed(), to_billing.failed()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_wrong_hatch_takes_nothing_away() {
    let mut mesh = TestMesh::start().await;
    let host = mesh.address(SHOP.number, SHOP.host).to_string();
    mesh.add_service(SHOP, "shop", "sidecar shop", shop(&host, json!({}), json!({}))).await;
    let url = format!("http://{host}:9191/");
    mesh.answers(&url).await;
    let traffic = Traffic::start(&url, "hello from api");
    let broken = json!({"envoy_listener_json": "{}", "envoy_cluster_json": "{}"});
    mesh.register(SHOP, "shop", shop(&host, broken, json!({"envoy_public_listener_json": "{}"}))).await;
    until(&mesh, "problems", |report| problems(report).len() == 3).await;

    let listeners = async |mesh: &TestMesh| -> Vec<String> {
        let dynamic = mesh.admin("sidecar shop").dynamic().await.into_keys();
        dynamic.filter(|key| key.starts_with("dynamic_listeners")).collect()
    };
    let before = (listeners(&mesh).await, mesh.admin("sidecar shop").clusters().await);
    mesh.control_plane.kill().await.unwrap();
    mesh.control_plane.start_again().await.unwrap();
    let is_answered = |kind: &Value| kind["Type"] != "LDS" || kind["Acks"].as_u64() >= Some(1);
    until(&mesh, "problems again, and a stream that was answered", |report| {
        problems(report).len() == 3 && report["Types"].as_array().unwrap().iter().all(is_answered)
    })
    .await;
    mesh.carry(&traffic).await;

    assert_eq!((listeners(&mesh).await, mesh.admin("sidecar shop").clusters().await), before);
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
}
