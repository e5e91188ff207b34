//! Instances with their checks.

use meshgate::codec;
use serde_json::{Value, json};

use crate::support::http::TestApi;

async fn api() -> TestApi {
    let api = TestApi::start().await;
    for (node, status) in [("a", "passing"), ("b", "warning"), ("c", "critical")] {
        let body = json!({
            "Node": node, "Address": "10.0.0.1",
            "Service": { "Service": "db", "Port": 1 },
            "Check": { "Name": "up", "ServiceID": "db", "Status": status },
        });
        api.put("/v1/catalog/register", body).await.is(200, "true");
    }
    api
}

fn nodes(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().expect("a list").iter();
    rows.map(|row| row["Node"]["Node"].as_str().or(row["Node"].as_str()).expect("a name")).collect()
}

#[tokio::test]
async fn passing_drops_what_does_not_pass() {
    let api = api().await;

    assert_eq!(nodes(&api.get("/v1/health/service/db").await.json()), ["a", "b", "c"]);
    assert_eq!(nodes(&api.get("/v1/health/service/db?passing").await.json()), ["a"]);
    assert_eq!(nodes(&api.get("/v1/health/service/db?passing=true").await.json()), ["a"]);
    assert_eq!(nodes(&api.get("/v1/health/service/db?passing=false").await.json()), ["a", "b", "c"]);
    api.get("/v1/health/service/db?passing=banana").await.says(400, "passing");
}

#[tokio::test]
async fn a_check_of_the_node_counts_for_its_services() {
    let api = api().await;

    let body = json!({ "Node": "a", "SkipNodeUpdate": true, "Check": { "Name": "disk", "Status": "critical" } });
    api.put("/v1/catalog/register", body).await.is(200, "true");

    assert_eq!(nodes(&api.get("/v1/health/service/db?passing").await.json()), Vec::<&str>::new());
    let row = &api.get("/v1/health/service/db").await.json()[0];
    let names: Vec<_> = row["Checks"].as_array().expect("a list").iter().map(|check| check["Name"].clone()).collect();
    assert_eq!(names, ["disk", "up"]);
    assert_eq!(nodes(&api.get("/v1/health/checks/db").await.json()), ["a", "b", "c"]);
}

#[tokio::test]
async fn checks_are_found_by_node_service_and_state() {
    let api = api().await;

    assert_eq!(nodes(&api.get("/v1/health/node/b").await.json()), ["b"]);
    assert_eq!(nodes(&api.get("/v1/health/checks/db").await.json()), ["a", "b", "c"]);
    assert_eq!(nodes(&api.get("/v1/health/state/any").await.json()), ["a", "b", "c"]);
    assert_eq!(nodes(&api.get("/v1/health/state/critical").await.json()), ["c"]);
    api.get("/v1/health/state/sideways").await.is(200, "[]");
    let check = &api.get("/v1/health/node/b").await.json()[0];
    assert_eq!(
        check,
        &json!({
            "Node": "b", "CheckID": "up", "Name": "up", "Status": "warning", "Notes": "", "Output": "", "ServiceID": "db",
            "ServiceName": "db", "ServiceTags": [], "Type": "", "Interval": "", "Timeout": "", "ExposedPort": 0,
            "Definition": {}, "CreateIndex": 4, "ModifyIndex": 4,
        })
    );
}

#[tokio::test]
async fn what_is_missing_or_absent() {
    let api = api().await;

    for path in ["service", "connect", "node", "checks", "state"] {
        api.get(&format!("/v1/health/{path}/")).await.says(400, "Missing ");
    }
    for path in ["service/x", "connect/x", "node/x", "checks/x"] {
        api.get(&format!("/v1/health/{path}")).await.is(200, "[]");
    }
    api.get("/v1/health/service/db?peer=p&sg=x").await.is(400, "peer-name and sameness-group are mutually exclusive");
}

#[tokio::test]
async fn connect_lists_the_sidecars_of_the_service_alone() {
    let api = TestApi::start().await;
    for name in ["web", "api"] {
        api.register(json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": {} } })).await;
    }

    let rows = api.get("/v1/health/connect/web").await.json();

    assert_eq!(rows.as_array().expect("a list").len(), 1);
    assert_eq!(rows[0]["Service"]["ID"], "web-sidecar-proxy");
    assert_eq!(rows[0]["Service"]["Proxy"]["DestinationServiceName"], "web");
    assert_eq!(rows[0]["Checks"].as_array().expect("a list").len(), 2);
}

#[tokio::test]
async fn what_a_peer_exports_is_not_mixed_with_what_is_registered_here() {
    let api = api().await;

    for path in ["health/service/db", "health/checks/db", "health/state/any", "health/node/a", "catalog/service/db"] {
        api.get(&format!("/v1/{path}?peer=west")).await.is(200, "[]");
    }
    api.get("/v1/catalog/nodes?peer=west").await.is(200, "[]");
    api.get("/v1/catalog/services?peer=west").await.is(200, "{}");
    api.get("/v1/catalog/node/a?peer=west").await.is(200, "null");
    assert_eq!(nodes(&api.get("/v1/health/service/db?peer=").await.json()), ["a", "b", "c"]);
}

#[tokio::test]
async fn what_a_peer_exports_is_shown_to_those_who_name_the_peer() {
    let api = api().await;
    let gateway = |number: u8| {
        json!({
            "PeerName": "west",
            "Node": { "Node": format!("gateway-{number}"), "Address": format!("198.51.100.{number}"), "Datacenter": "w1" },
            "Service": {
                "Kind": "connect-proxy",
                "Service": "db-sidecar-proxy",
                "Port": 8443,
                "Tags": ["far"],
                "Proxy": { "DestinationServiceName": "db" },
                "Connect": { "PeerMeta": { "SNI": ["one"], "SpiffeID": ["two"], "Protocol": "tcp" } },
            },
            "Checks": [{ "CheckID": "up", "Status": if number == 1 { "passing" } else { "critical" } }],
        })
    };
    let db = json!({
        "PeerName": "west",
        "Node": { "Node": "w", "Address": "192.0.2.9", "Datacenter": "w1" },
        "Service": { "Service": "db", "Port": 5432 },
    });
    let before = api.get("/v1/health/connect/db?peer=west").await;
    before.is(200, "[]");
    let bundle = json!({ "Format": "meshgate-bundle", "Version": 1, "ImportedServices": [db, gateway(1), gateway(2)] });
    let bundle = codec::bundle(bundle.to_string().as_bytes()).unwrap();

    api.store.write(bundle).await.unwrap();

    let shown = api.get(&format!("/v1/health/connect/db?peer=west&index={}", before.header("x-consul-index"))).await;
    assert_eq!(nodes(&shown.json()), ["gateway-1", "gateway-2"]);
    let first = &shown.json()[0];
    assert_eq!((&first["Service"]["PeerName"], &first["Node"]["Datacenter"]), (&json!("west"), &json!("w1")));
    assert_eq!(first["Service"]["Connect"]["PeerMeta"]["SNI"], json!(["one"]));
    assert_eq!(nodes(&api.get("/v1/health/connect/db?peer=west&passing").await.json()), ["gateway-1"]);
    assert_eq!(nodes(&api.get("/v1/health/service/db?peer=west").await.json()), ["w"]);
    let rows = api.get("/v1/catalog/service/db-sidecar-proxy?peer=west").await.json();
    assert_eq!((&rows[0]["Node"], &rows[1]["Node"]), (&json!("gateway-1"), &json!("gateway-2")));
    let names = api.get("/v1/catalog/services?peer=west").await.json();
    assert_eq!(names, json!({ "db": [], "db-sidecar-proxy": ["far"] }));
    // Neither another peer nor the catalog has them.
    api.get("/v1/health/connect/db?peer=east").await.is(200, "[]");
    assert_eq!(nodes(&api.get("/v1/health/service/db").await.json()), ["a", "b", "c"]);
    assert!(!api.get("/v1/catalog/nodes").await.text().contains("gateway-1"));
    assert!(!api.get("/v1/catalog/services").await.text().contains("far"));
}
