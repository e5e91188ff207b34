//! The catalog.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const REGISTER: &str = "/v1/catalog/register";

async fn register(api: &TestApi, body: Value) {
    api.put(REGISTER, body).await.is(200, "true");
}

#[tokio::test]
async fn a_registration_makes_node_service_and_checks() {
    let api = TestApi::start().await;

    register(
        &api,
        json!({
            "Node": "n", "Address": "10.0.0.1", "NodeMeta": { "rack": "1" },
            "Service": { "Service": "db", "ID": "db-1", "Port": 5432, "Tags": ["v1"] },
            "Check": { "Name": "up", "ServiceID": "db-1", "Status": "passing" },
            "Checks": [{ "CheckID": "alive", "Name": "node alive" }],
        }),
    )
    .await;

    let rows = api.get("/v1/catalog/service/db").await.json();
    let row = &rows[0];
    assert_eq!(rows.as_array().expect("a list").len(), 1);
    assert_eq!((&row["Node"], &row["Address"], &row["Datacenter"]), (&json!("n"), &json!("10.0.0.1"), &json!("dc1")));
    assert_eq!(
        (&row["ServiceID"], &row["ServiceName"], &row["ServicePort"]),
        (&json!("db-1"), &json!("db"), &json!(5432))
    );
    assert_eq!((&row["NodeMeta"], &row["ServiceTags"]), (&json!({ "rack": "1" }), &json!(["v1"])));
    assert_eq!(row["ServiceProxy"], json!({ "MeshGateway": {}, "Expose": {} }));
    assert_eq!(row["ServiceWeights"], json!({ "Passing": 1, "Warning": 1 }));
    let checks = api.get("/v1/health/node/n").await.json();
    assert_eq!((&checks[0]["CheckID"], &checks[0]["Status"]), (&json!("alive"), &json!("critical")));
    assert_eq!((&checks[1]["CheckID"], &checks[1]["Status"]), (&json!("up"), &json!("passing")));
    assert_eq!((&checks[1]["ServiceName"], &checks[1]["ServiceTags"]), (&json!("db"), &json!(["v1"])));
}

#[tokio::test]
async fn kubernetes_registers_a_gateway_on_a_node_that_it_does_not_touch() {
    let api = TestApi::start().await;
    let gateway = json!({
        "Node": "k8s", "Address": "127.0.0.1", "SkipNodeUpdate": true, "NodeMeta": { "synthetic-node": "true" },
        "Service": {
            "Kind": "mesh-gateway", "ID": "gateway-pod-1", "Service": "mesh-gateway", "Address": "10.1.2.3", "Port": 8443,
            "TaggedAddresses": {
                "lan": { "Address": "10.1.2.3", "Port": 8443 }, "wan": { "Address": "203.0.113.9", "Port": 443 },
            },
            "Meta": { "consul-wan-federation": "1" },
            "Proxy": { "Config": { "envoy_gateway_no_default_bind": true } },
        },
        "Check": { "CheckID": "k8s/gateway-pod-1", "Name": "readiness", "Type": "kubernetes-readiness", "Status": "passing",
            "ServiceID": "gateway-pod-1", "Output": "ready" },
    });

    register(&api, gateway.clone()).await;
    let mut again = gateway;
    again["Address"] = json!("10.9.9.9");
    register(&api, again).await;

    let row = &api.get("/v1/health/service/mesh-gateway?passing").await.json()[0];
    assert_eq!(row["Node"]["Address"], "127.0.0.1");
    assert_eq!(row["Service"]["TaggedAddresses"]["wan"], json!({ "Address": "203.0.113.9", "Port": 443 }));
    assert_eq!(row["Service"]["Proxy"]["Config"], json!({ "envoy_gateway_no_default_bind": true }));
    assert_eq!(row["Checks"][0]["Type"], "kubernetes-readiness");
}

#[tokio::test]
async fn registrations_that_break_rules_are_errors_of_the_server() {
    let api = TestApi::start().await;

    for (body, fragment) in [
        (json!({ "Node": "n" }), "Must provide address"),
        (json!({ "Address": "10.0.0.1" }), "Must provide node"),
        (json!({ "Node": "n", "SkipNodeUpdate": true }), "the node does not exist"),
        (json!({ "Node": "n", "Address": "10.0.0.1", "ID": "x" }), "is not a UUID"),
        (json!({ "Node": "n", "Address": "10.0.0.1", "PeerName": "west" }), "peer"),
        (json!({ "Node": "n", "Address": "10.0.0.1", "Service": { "Service": "db", "PeerName": "west" } }), "peer"),
        (json!({ "Node": "n", "Address": "10.0.0.1", "Service": { "ID": "db-1" } }), "Missing service name"),
        (
            json!({ "Node": "n", "Address": "10.0.0.1", "Service": { "Service": "db", "Address": "::" } }),
            "Invalid service address",
        ),
        (
            json!({ "Node": "n", "Address": "10.0.0.1", "Service": { "Service": "p", "Kind": "connect-proxy", "Port": 1 } }),
            "Proxy.DestinationServiceName must be non-empty",
        ),
        (json!({ "Node": "n", "Address": "10.0.0.1", "Check": { "Name": "c", "Node": "other" } }), "other"),
        (
            json!({ "Node": "n", "Address": "10.0.0.1", "Check": { "Name": "c", "ServiceID": "ghost" } }),
            "Missing service registration",
        ),
        (json!({ "Node": "n", "Address": "10.0.0.1", "Datacenter": "nowhere" }), "No path to datacenter"),
    ] {
        api.refuses(Method::PUT, REGISTER, body, 500, fragment).await;
    }
}

#[tokio::test]
async fn a_node_that_exists_needs_no_address_when_it_is_not_touched() {
    let api = TestApi::start().await;
    register(&api, json!({ "Node": "n", "Address": "10.0.0.1" })).await;

    register(&api, json!({ "Node": "n", "SkipNodeUpdate": true, "Service": { "Service": "db" } })).await;

    assert_eq!(api.get("/v1/catalog/service/db").await.json()[0]["Address"], "10.0.0.1");
}

#[tokio::test]
async fn deregistering_removes_a_service_a_check_or_the_node() {
    let api = TestApi::start().await;
    register(
        &api,
        json!({
            "Node": "n", "Address": "10.0.0.1", "Service": { "Service": "db" }, "Check": { "Name": "up", "ServiceID": "db" },
        }),
    )
    .await;
    register(&api, json!({ "Node": "n", "SkipNodeUpdate": true, "Service": { "Service": "web" } })).await;
    let gone = |body: Value| {
        let api = &api;
        async move { api.put("/v1/catalog/deregister", body).await.is(200, "true") }
    };
    let services = || async { api.get("/v1/catalog/services").await.json() };

    gone(json!({ "Node": "n", "CheckID": "up" })).await;
    assert_eq!(api.get("/v1/health/checks/db").await.json(), json!([]));
    gone(json!({ "Node": "n", "ServiceID": "db" })).await;
    assert_eq!(services().await, json!({ "web": [] }));
    gone(json!({ "Node": "n" })).await;
    assert_eq!(services().await, json!({}));
    gone(json!({ "Node": "ghost" })).await;

    api.refuses(Method::PUT, "/v1/catalog/deregister", json!({}), 500, "Must provide node").await;
    api.refuses(Method::PUT, "/v1/catalog/deregister", json!({ "Node": "n", "Datacenter": "x" }), 500, "No path").await;
}

#[tokio::test]
async fn what_is_absent_is_an_empty_list_or_null() {
    let api = TestApi::start().await;

    api.get("/v1/catalog/service/ghost").await.is(200, "[]");
    api.get("/v1/catalog/connect/ghost").await.is(200, "[]");
    api.get("/v1/catalog/gateway-services/mesh-gateway").await.is(200, "[]");
    api.get("/v1/catalog/nodes").await.is(200, "[]");
    api.get("/v1/catalog/services").await.is(200, "{}");
    api.get("/v1/catalog/node/ghost").await.is(200, "null");
    api.get("/v1/catalog/node-services/ghost").await.is(200, r#"{"Node":null,"Services":null}"#);
    api.get("/v1/catalog/service/").await.is(400, "Missing service name");
    api.get("/v1/catalog/connect/").await.is(400, "Missing service name");
    api.get("/v1/catalog/node/").await.says(400, "Missing node name");
    api.get("/v1/catalog/gateway-services/").await.says(400, "Missing gateway name");
}

#[tokio::test]
async fn services_are_listed_with_all_their_tags() {
    let api = TestApi::start().await;
    for (node, tag) in [("a", "v2"), ("b", "v1"), ("c", "v2")] {
        let body = json!({
            "Node": node, "Address": "10.0.0.1", "NodeMeta": { "name": node }, "Service": { "Service": "web", "Tags": [tag] },
        });
        register(&api, body).await;
    }

    assert_eq!(api.get("/v1/catalog/services").await.json(), json!({ "web": ["v1", "v2"] }));
    assert_eq!(api.get("/v1/catalog/services?node-meta=name:b").await.json(), json!({ "web": ["v1"] }));
    assert_eq!(api.get("/v1/catalog/services?node-meta=name:x").await.json(), json!({}));
    let nodes = |answer: Value| -> Vec<String> {
        let rows = answer.as_array().expect("a list").clone();
        rows.iter().map(|row| row["Node"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(nodes(api.get("/v1/catalog/service/web?tag=V2").await.json()), ["a", "c"]);
    assert_eq!(nodes(api.get("/v1/catalog/service/web?tag=v2&node-meta=name:c").await.json()), ["c"]);
    assert_eq!(nodes(api.get("/v1/catalog/nodes?node-meta=name:a").await.json()), ["a"]);
}

#[tokio::test]
async fn a_node_is_shown_with_its_services() {
    let api = TestApi::start().await;
    register(&api, json!({ "Node": "n", "Address": "10.0.0.1", "Service": { "Service": "db", "Port": 1 } })).await;

    let node = api.get("/v1/catalog/node/n").await.json();
    let list = api.get("/v1/catalog/node-services/n").await.json();

    assert_eq!((&node["Node"]["Node"], &node["Services"]["db"]["Port"]), (&json!("n"), &json!(1)));
    assert_eq!((&list["Node"]["Node"], &list["Services"][0]), (&json!("n"), &node["Services"]["db"]));
}

#[tokio::test]
async fn connect_lists_what_takes_mesh_traffic_for_a_service() {
    let api = TestApi::start().await;
    let sidecar = |name: &str| json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": {} } });
    api.register(sidecar("web")).await;
    api.register(sidecar("api")).await;
    api.register(json!({ "Name": "native", "Port": 90, "Connect": { "Native": true } })).await;

    let rows = api.get("/v1/catalog/connect/web").await.json();
    let native = api.get("/v1/catalog/connect/native").await.json();

    assert_eq!(rows.as_array().expect("a list").len(), 1);
    assert_eq!(rows[0]["ServiceProxy"]["DestinationServiceName"], "web");
    assert_eq!((&native[0]["ServiceID"], &native[0]["ServiceConnect"]), (&json!("native"), &json!({ "Native": true })));
}

#[tokio::test]
async fn datacenters_are_listed_the_primary_first() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["a".into(), "dc1".into()]).await;

    assert_eq!(api.get("/v1/catalog/datacenters").await.json(), json!(["dc1", "a"]));
}

#[tokio::test]
async fn what_the_go_client_sends_for_unset_fields_is_taken() {
    let api = TestApi::start().await;

    register(
        &api,
        json!({
            "ID": "", "Node": "n", "Address": "10.0.0.1", "TaggedAddresses": null, "NodeMeta": null, "Datacenter": "",
            "Service": {
                "ID": "db", "Service": "db", "Tags": null, "Meta": null, "Port": 1, "Address": "",
                "Weights": { "Passing": 0, "Warning": 0 }, "EnableTagOverride": false,
            },
            "Check": null,
            "Checks": [{
                "Node": "n", "CheckID": "up", "Name": "up", "Status": "passing", "Notes": "", "Output": "", "ServiceID": "db",
                "ServiceName": "", "ServiceTags": null, "Type": "", "ExposedPort": 0,
                "Definition": {
                    "Interval": "0s", "Timeout": "0s", "DeregisterCriticalServiceAfter": "0s", "HTTP": "", "Header": null,
                    "Method": "", "Body": "", "TLSServerName": "", "TLSSkipVerify": false, "TCP": "", "TCPUseTLS": false,
                    "UDP": "", "GRPC": "", "OSService": "", "GRPCUseTLS": false,
                },
                "CreateIndex": 0, "ModifyIndex": 0,
            }],
            "SkipNodeUpdate": false,
        }),
    )
    .await;

    let row = &api.get("/v1/health/service/db?passing").await.json()[0];
    assert_eq!(row["Service"]["Weights"], json!({ "Passing": 1, "Warning": 1 }));
}
