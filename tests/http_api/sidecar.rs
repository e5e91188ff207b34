//! Sidecars that come with their application.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;
use meshgate::model::{Datacenter, SidecarPorts};

fn with_sidecar(name: &str) -> Value {
    json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": {} } })
}

async fn port(api: &TestApi, id: &str) -> Value {
    api.get(&format!("/v1/agent/service/{id}")).await.json()["Port"].clone()
}

#[tokio::test]
async fn it_is_registered_with_checks_of_its_own() {
    let api = TestApi::start().await;

    api.register(with_sidecar("web")).await;

    let services = api.get("/v1/agent/services").await.json();
    let sidecar = &services["web-sidecar-proxy"];
    assert_eq!(services.as_object().expect("an object").len(), 2);
    assert_eq!((&sidecar["Kind"], &sidecar["Port"]), (&json!("connect-proxy"), &json!(21000)));
    assert_eq!(
        sidecar["Proxy"],
        json!({
            "DestinationServiceName": "web", "DestinationServiceID": "web", "LocalServiceAddress": "127.0.0.1",
            "LocalServicePort": 80, "MeshGateway": {}, "Expose": {},
        })
    );
    let checks = api.get("/v1/agent/checks").await.json();
    assert_eq!(checks["service:web-sidecar-proxy:1"]["Definition"]["TCP"], "127.0.0.1:21000");
    assert_eq!(checks["service:web-sidecar-proxy:2"]["Definition"]["AliasService"], "web");
}

#[tokio::test]
async fn each_gets_the_lowest_free_port_and_keeps_it() {
    let api = TestApi::start().await;

    api.register(with_sidecar("web")).await;
    api.register(with_sidecar("api")).await;
    api.register(with_sidecar("web")).await;

    assert_eq!(port(&api, "web-sidecar-proxy").await, 21000);
    assert_eq!(port(&api, "api-sidecar-proxy").await, 21001);
}

#[tokio::test]
async fn all_places_of_the_agent_share_the_ports_of_one_machine() {
    let api = TestApi::start_with(|api| api.options.hosted = vec![Datacenter::from("dc2")]).await;

    api.register(with_sidecar("web")).await;
    api.put("/v1/agent/service/register?dc=dc2", with_sidecar("web")).await.is(200, "");
    api.put("/v1/agent/service/register?partition=team", with_sidecar("web")).await.is(200, "");

    let port = |query: &str| {
        let path = format!("/v1/agent/service/web-sidecar-proxy?{query}");
        let api = &api;
        async move { api.get(&path).await.json()["Port"].clone() }
    };
    assert_eq!((port("dc=dc1").await, port("dc=dc2").await), (json!(21000), json!(21001)));
    assert_eq!(port("partition=team").await, 21002);
}

#[tokio::test]
async fn concurrent_registrations_never_share_a_port() {
    let api = TestApi::start().await;

    let names: Vec<String> = (0..16).map(|number| format!("s{number}")).collect();
    futures::future::join_all(names.iter().map(|name| api.register(with_sidecar(name)))).await;

    let services = api.get("/v1/agent/services").await.json();
    let sidecars =
        services.as_object().expect("an object").values().filter(|service| service["Kind"] == "connect-proxy");
    let mut ports: Vec<u64> = sidecars.map(|service| service["Port"].as_u64().expect("a port")).collect();
    ports.sort_unstable();
    assert_eq!(ports, (21000..21016).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_exhausted_range_is_an_error_of_the_server() {
    let api = TestApi::start_with(|api| api.options.sidecar_ports = SidecarPorts { min: 21000, max: 21000 }).await;
    api.register(with_sidecar("web")).await;

    let path = "/v1/agent/service/register";
    api.refuses(Method::PUT, path, with_sidecar("api"), 500, "none left in the sidecar port range").await;
}

#[tokio::test]
async fn its_own_meta_replaces_the_applications() {
    let api = TestApi::start().await;

    let mut body = with_sidecar("web");
    body["Meta"] = json!({ "a": "b" });
    body["Connect"]["SidecarService"] = json!({ "Meta": { "c": "d" } });
    api.register(body).await;

    assert_eq!(api.get("/v1/agent/service/web-sidecar-proxy").await.json()["Meta"], json!({ "c": "d" }));
}

#[tokio::test]
async fn it_goes_with_its_application_unless_it_was_registered_alone() {
    let api = TestApi::start().await;
    let alone = json!({
        "ID": "api-sidecar-proxy", "Name": "api-sidecar-proxy", "Kind": "connect-proxy", "Port": 21500,
        "Proxy": { "DestinationServiceName": "api", "DestinationServiceID": "api" },
    });
    api.register(with_sidecar("web")).await;
    api.register(json!({ "Name": "api", "Port": 81 })).await;
    api.register(alone).await;

    api.put("/v1/agent/service/deregister/web", "").await.is(200, "");
    api.put("/v1/agent/service/deregister/api", "").await.is(200, "");

    let left = api.get("/v1/agent/services").await.json();
    assert_eq!(left.as_object().expect("an object").keys().collect::<Vec<_>>(), ["api-sidecar-proxy"]);
}

#[tokio::test]
async fn registering_the_application_alone_leaves_it_in_place() {
    let api = TestApi::start().await;
    api.register(with_sidecar("web")).await;

    api.register(json!({ "Name": "web", "Port": 81 })).await;

    assert_eq!(port(&api, "web-sidecar-proxy").await, 21000);
}

#[tokio::test]
async fn that_it_came_along_is_not_shown() {
    let api = TestApi::start().await;
    api.register(with_sidecar("web")).await;

    for path in
        ["/v1/agent/services", "/v1/catalog/node/localhost", "/v1/health/connect/web", "/v1/catalog/connect/web"]
    {
        let text = api.get(path).await.text();
        assert!(text.contains("web-sidecar-proxy") && !text.contains("RegisteredAsSidecar"), "{path}: {text}");
    }
}
