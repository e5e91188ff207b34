//! Results of checks reach the endpoints that Envoy is given: from the socket that a check asks to the stream.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/mod.rs"]
mod support;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meshgate::app::App;
use meshgate::settings::{Inputs, Settings};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::ads::{Client, DeltaStream, ack, node, subscribe};

const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A whole control plane, with a sidecar that calls `db`.
struct Plane {
    app: App,
    client: reqwest::Client,
    stream: DeltaStream,
}

impl Plane {
    async fn start(db: Value) -> Self {
        let flags = [("ports.http", "0"), ("ports.grpc", "0"), ("node_name", "laptop")];
        let flags = flags.map(|(key, text)| (key, text.to_owned())).to_vec();
        let settings = Settings::load(&Inputs { flags, dev: true, ..Inputs::default() }).unwrap();
        let app = App::start(settings).await.unwrap();
        let stream = Client::connect(&format!("http://{}", app.grpc.unwrap())).await.delta().await.unwrap();
        let plane = Self { app, client: reqwest::Client::new(), stream };
        plane.put("agent/service/register", db).await;
        let upstream = json!({ "DestinationName": "db", "LocalBindPort": 9191 });
        let sidecar = json!({ "Port": 20000, "Proxy": { "Upstreams": [upstream] } });
        plane.put("agent/service/register", json!({ "Name": "web", "Connect": { "SidecarService": sidecar } })).await;
        let roots: Value = plane.client.get(plane.url("connect/ca/roots")).send().await.unwrap().json().await.unwrap();
        let cluster = format!("db.default.dc1.internal.{}", roots["TrustDomain"].as_str().unwrap());
        plane.stream.send(subscribe(ENDPOINTS, &[&cluster], Some(node("web-sidecar-proxy"))));
        plane
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/{path}", self.app.http)
    }

    async fn put(&self, path: &str, body: Value) {
        let answer = self.client.put(self.url(path)).body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
    }

    /// Reads the stream until the one endpoint has this health and weight.
    async fn until(&mut self, health: HealthStatus, weight: u32) {
        loop {
            let response = self.stream.next().await.unwrap();
            self.stream.send(ack(&response));
            let last = response.resources.last().and_then(|it| it.resource.as_ref()).map(|it| it.value.as_slice());
            let assignment = ClusterLoadAssignment::decode(last.unwrap_or_default()).unwrap();
            let endpoints: Vec<_> = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints).collect();
            if let [endpoint] = endpoints.as_slice()
                && endpoint.health_status() == health
                && endpoint.load_balancing_weight.as_ref().map(|it| it.value) == Some(weight)
            {
                return;
            }
        }
    }
}

fn db(check: &Value) -> Value {
    json!({
        "Name": "db", "Port": 5432, "Address": "127.0.0.1", "Connect": { "Native": true },
        "Weights": { "Passing": 5, "Warning": 2 }, "Check": check,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_on_a_ttl_check_change_health_and_weight() {
    let mut plane = Plane::start(db(&json!({ "TTL": "1h", "Status": "passing" }))).await;

    plane.until(HealthStatus::Healthy, 5).await;
    plane.put("agent/check/warn/service:db", Value::Null).await;
    plane.until(HealthStatus::Healthy, 2).await;
    plane.put("agent/check/fail/service:db", Value::Null).await;
    plane.until(HealthStatus::Unhealthy, 5).await;
    plane.put("agent/check/pass/service:db", Value::Null).await;
    plane.until(HealthStatus::Healthy, 5).await;
    plane.put("agent/service/maintenance/db?enable=true", Value::Null).await;
    plane.until(HealthStatus::Unhealthy, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_closes_and_opens_changes_health() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut plane = Plane::start(db(&json!({ "TCP": address.to_string(), "Interval": "1s", "Timeout": "1s" }))).await;

    plane.until(HealthStatus::Healthy, 5).await;
    drop(listener);
    plane.until(HealthStatus::Unhealthy, 5).await;
    let _listener = TcpListener::bind(address).await.unwrap();
    plane.until(HealthStatus::Healthy, 5).await;
}
