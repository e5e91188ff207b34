//! A resolver that fails over to another datacenter.

use meshgate::cli::demo::Traffic;
use meshgate::model::GatewayMode;
use serde_json::json;

use crate::support::{Place, TestMesh};

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_service_is_answered_for_by_another_datacenter_until_it_is_back() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let failover = json!({"*": {"Datacenters": ["dc2"]}});
    mesh.put("/v1/config", &json!({"Kind": "service-resolver", "Name": "api", "Failover": failover})).await;
    let here = Place { datacenter: "dc1", partition: "default", number: 1, host: 20 };
    mesh.add_service(here, "api", "sidecar api here", json!({"Check": {"TTL": "1h", "Status": "passing"}})).await;
    let shop = Place { datacenter: "dc1", partition: "default", number: 1, host: 30 };
    let host = mesh.address(1, 30).to_string();
    let upstream = json!({"DestinationName": "api", "LocalBindAddress": host, "LocalBindPort": 9_191});
    mesh.add_service(shop, "shop", "sidecar shop", json!({"Proxy": {"Upstreams": [upstream]}})).await;
    let url = format!("http://{host}:9191/");
    let way = mesh.carriers_to(&url, "hello from api in dc1/default", 10).await;
    assert_eq!(way, ["sidecar api here", "sidecar shop"].into());
    let traffic = Traffic::start(&url, "hello from api");

    mesh.put("/v1/agent/check/fail/service:api-20", &json!({})).await;
    mesh.moves(&traffic, &["sidecar shop", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    mesh.carriers_to(&url, "hello from api in dc2/default", 10).await;

    mesh.put("/v1/agent/check/pass/service:api-20", &json!({})).await;
    mesh.moves(&traffic, &["sidecar shop", "sidecar api here"]).await;
    mesh.carriers_to(&url, "hello from api in dc1/default", 10).await;

    assert!(traffic.sent() > 30, "{} requests are no traffic", traffic.sent());
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.is_clean().await;
}
