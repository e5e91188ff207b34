//! Changes under traffic that must cost nobody a connection, and services that come and go.

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use serde_json::{Value, json};

use crate::support::{Place, TestMesh, Waiting};

const SHOP: Place = Place { datacenter: "dc1", partition: "default", number: 1, host: 30 };

/// How often something changes there and back.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_changes_on_its_address_refuses_no_connection() {
    let mut mesh = TestMesh::start().await;
    let host = mesh.address(SHOP.number, SHOP.host).to_string();
    let upstream = |field: &str, place: &str, name: &str| -> Value {
        let upstream = json!({"DestinationName": name, field: place, "LocalBindAddress": host, "LocalBindPort": 9_191});
        json!({"Proxy": {"Upstreams": [upstream]}})
    };
    let api = upstream("Datacenter", "dc2", "api");
    let billing = upstream("DestinationPartition", "team-a", "billing");
    mesh.add_service(SHOP, "shop", "sidecar shop", api.clone()).await;
    let url = format!("http://{host}:9191/");
    let traffic = Traffic::start(&url, "hello from");

    for _ in 0..ROUNDS {
        for (more, greeting) in [(&billing, "hello from billing"), (&api, "hello from api")] {
            mesh.register(SHOP, "shop", more.clone()).await;
            let waiting = Waiting::for_(greeting);
            while !mesh.request(&url).await.unwrap().contains(greeting) {
                waiting.again().await;
            }
        }
    }

    mesh.go_on(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_changes_costs_no_request() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let callee = Callee::OtherDatacenter;
    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());

    for _ in 0..ROUNDS {
        for (protocol, counted_as) in [("tcp", "tcp"), ("http", "http")] {
            mesh.put("/v1/config", &json!({"Kind": "service-defaults", "Name": "api", "Protocol": protocol})).await;
            for (envoy, filter) in [("sidecar web", "upstream.api"), ("sidecar api", "public_listener")] {
                let pattern = format!("^{counted_as}.{filter}.*downstream_cx_total$");
                let before = mesh.admin(envoy).sum(&pattern).await;
                let waiting = Waiting::for_(format!("{envoy} to speak {protocol}"));
                while mesh.admin(envoy).sum(&pattern).await == before {
                    waiting.again().await;
                }
            }
        }
    }

    mesh.go_on(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_and_goes_is_reached_whenever_it_is_there() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let callee = Callee::OtherDatacenter;
    let url = mesh.url(callee);
    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    let host = mesh.address(2, 10).to_string();
    let proxy = json!({"LocalServiceAddress": host});
    let body = json!({
        "Name": "api", "Address": host, "Port": 9_000, "Connect": {"SidecarService": {"Address": host, "Proxy": proxy}},
    });

    for round in 0..ROUNDS {
        mesh.put("/v1/agent/service/deregister/api?dc=dc2", &json!({})).await;
        // In every other round it is back before anybody may have noticed.
        if round % 2 == 0 {
            let waiting = Waiting::for_("the end of the way to api");
            while mesh.request(&url).await.is_ok() {
                waiting.again().await;
            }
        }
        mesh.put("/v1/agent/service/register?dc=dc2", &body).await;
        mesh.answers(&url).await;
    }

    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    mesh.is_clean().await;
}
