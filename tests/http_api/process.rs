//! What the process says about itself: version, host, metrics, log; and the files that it reads again.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use meshgate::api::Files;
use meshgate::telemetry::LogOptions;
use reqwest::Method;
use serde_json::json;

use crate::support::http::{LIMIT, TestApi};
use crate::support::openapi;

#[tokio::test]
async fn version_and_host_are_told() {
    let api = TestApi::start().await;

    assert_eq!(api.get("/v1/agent/version").await.json()["HumanVersion"], env!("CARGO_PKG_VERSION"));
    let host = api.get("/v1/agent/host").await.json();
    assert_eq!(host["Host"]["os"], std::env::consts::OS);
    assert!(host["CollectionTime"].as_u64() > Some(0), "{host}");
}

#[tokio::test]
async fn metrics_count_what_is_there() {
    let api = TestApi::start_with(|api| api.options.prometheus = true).await;
    api.register(json!({ "Name": "web", "Check": { "TTL": "1h" } })).await;
    api.get("/v1/nope").await;

    let metrics = api.get("/v1/agent/metrics").await.json();
    let text = api.get("/v1/agent/metrics?format=prometheus").await;

    let gauges = metrics["Gauges"].as_array().expect("a list");
    let value = |name: &str| gauges.iter().find(|it| it["Name"] == name).map(|it| it["Value"].clone());
    assert_eq!(value("consul.state.nodes"), Some(json!(1.0)));
    assert_eq!(value("consul.state.service_instances"), Some(json!(1.0)));
    let answers = metrics["Counters"].as_array().expect("a list");
    let failed = answers.iter().find(|it| it["Labels"]["class"] == "4xx").expect("a class");
    assert_eq!((&failed["Name"], &failed["Count"]), (&json!("meshgate.http.answers"), &json!(1)));
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# HELP consul_state_nodes Nodes in the catalog\n# TYPE consul_state_nodes gauge\nconsul_state_nodes 1\n",
        "meshgate_state_checks{status=\"critical\"} 1\n",
        "# TYPE meshgate_http_answers counter\n",
    ] {
        assert!(text.text().contains(line), "{line:?} is not in {}", text.text());
    }
}

#[tokio::test]
async fn prometheus_is_off_unless_it_is_asked_for() {
    let api = TestApi::start().await;

    let refused = api.get("/v1/agent/metrics?format=prometheus").await;

    refused.says(415, "prometheus_retention_time");
    assert!(refused.header("x-consul-reason").contains("prometheus_retention_time"));
    let header = [("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")];
    api.call(Method::GET, "/v1/agent/metrics", &header, String::new()).await.says(415, "Prometheus");
    let header = [("accept", "text/plain; version=0.4.0")];
    api.call(Method::GET, "/v1/agent/metrics", &header, String::new()).await.says(415, "Prometheus");
}

#[tokio::test]
async fn the_log_is_streamed_at_the_level_that_is_asked_for() {
    let options = LogOptions { level: "off".to_owned(), json: false };
    let logs = options.start(None).expect("no other test logs");
    let api = TestApi::start_with(|api| api.logs = logs).await;
    let client = reqwest::Client::new();
    let listen = async |query: &str| client.get(format!("{}/v1/agent/monitor?{query}", api.url)).send().await;

    let mut text = listen("loglevel=debug").await.expect("it answers at once");
    let mut json = listen("loglevel=DEBUG&logjson").await.expect("it answers at once");
    api.get("/v1/nope").await;
    let line = async |answer: &mut reqwest::Response| {
        let chunk = tokio::time::timeout(LIMIT, answer.chunk()).await.expect("something is logged");
        String::from_utf8(chunk.expect("it is sent").expect("it goes on").to_vec()).expect("a text")
    };

    let first = line(&mut text).await;
    assert!(first.contains("[DEBUG] meshgate::api"));
    openapi::check(("GET", "/v1/agent/monitor?loglevel=debug", &[]), 200, text.headers(), first.as_bytes());
    let event: serde_json::Value = serde_json::from_str(line(&mut json).await.trim()).expect("JSON");
    assert_eq!(event["@level"], "debug");
    api.get("/v1/agent/monitor?loglevel=loud").await.says(400, "Unknown log level: loud");
    api.shutdown.cancel();
    let ended = async { while text.chunk().await.expect("no error").is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the stream ends with the process");
}

/// Files that are wrong.
struct Wrong;

impl Files for Wrong {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        async { Err("web.hcl:3: invalid config key colour".to_owned()) }.boxed()
    }
}

#[tokio::test]
async fn a_reload_answers_with_what_is_wrong() {
    let right = TestApi::start().await;
    let wrong = TestApi::start_with(|api| api.files = Arc::new(Wrong)).await;

    right.put("/v1/agent/reload", "").await.is(200, "");
    wrong.put("/v1/agent/reload", "").await.says(500, "web.hcl:3: invalid config key colour");
}

#[tokio::test]
async fn tokens_are_not_set_while_access_control_is_off() {
    let api = TestApi::start().await;

    api.put("/v1/agent/token/default", json!({ "Token": "x" })).await.is(401, "ACL support disabled");
}
