//! Ingress and terminating gateways, and the gateways of federated datacenters.

use meshgate::model::{Datacenter, FederationState, HealthEntry, Node, Service, ServiceKind};
use meshgate::store::Op;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const STATES: &str = "/v1/internal/federation-states";

async fn write(api: &TestApi, entry: Value) {
    api.put("/v1/config", entry).await.is(200, "true");
}

async fn register_gateway(api: &TestApi, query: &str, meta: Value) {
    let body = json!({ "Kind": "mesh-gateway", "Name": "gw", "Port": 8443, "Meta": meta });
    api.put(&format!("/v1/agent/service/register{query}"), body).await.is(200, "");
}

#[tokio::test]
async fn a_terminating_gateway_leads_to_what_it_names_and_to_what_wildcards_stand_for() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "billing" })).await;
    api.register(json!({ "Name": "mail" })).await;
    api.register(json!({ "Name": "native", "Port": 80, "Connect": { "Native": true } })).await;
    write(
        &api,
        json!({ "Kind": "terminating-gateway", "Name": "egress", "Services": [
        { "Name": "billing", "CAFile": "/ca", "CertFile": "/cert", "KeyFile": "/key", "SNI": "b.example.com",
          "DisableAutoHostRewrite": true },
        { "Name": "*", "CAFile": "/other" },
        { "Name": "absent" }] }),
    )
    .await;

    let rows = api.get("/v1/catalog/gateway-services/egress").await;

    let index = api.get("/v1/config/terminating-gateway/egress").await.json()["ModifyIndex"].clone();
    let row = |name: &str, more: Value| {
        let mut row = json!({ "Gateway": { "Name": "egress" }, "Service": { "Name": name },
            "GatewayKind": "terminating-gateway", "CreateIndex": index, "ModifyIndex": index });
        let more = more.as_object().expect("an object").clone();
        row.as_object_mut().expect("an object").extend(more);
        row
    };
    let expected = json!([
        row("absent", json!({ "AutoHostRewrite": true })),
        row(
            "billing",
            json!({ "CAFile": "/ca", "CertFile": "/cert", "KeyFile": "/key", "SNI": "b.example.com",
            "ServiceKind": "service" })
        ),
        row(
            "mail",
            json!({ "CAFile": "/other", "FromWildcard": true, "ServiceKind": "service", "AutoHostRewrite": true })
        ),
    ]);
    assert_eq!(rows.json(), expected);
}

#[tokio::test]
async fn an_ingress_gateway_has_a_row_for_each_service_and_port() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": {} } })).await;
    api.register(json!({ "Name": "outside" })).await;
    write(&api, json!({ "Kind": "ingress-gateway", "Name": "front", "Listeners": [
        { "Port": 8080, "Protocol": "http", "Services": [{ "Name": "*" }, { "Name": "shop", "Hosts": ["shop.example.com"] }] },
        { "Port": 5432, "Services": [{ "Name": "web" }] }] }))
    .await;

    let rows = api.get("/v1/catalog/gateway-services/front").await.json();

    let shown = |row: &Value| {
        let fields = ["Port", "Protocol", "FromWildcard", "ServiceKind", "GatewayKind", "Hosts"];
        format!("{} {}", row["Service"]["Name"], fields.map(|field| row[field].to_string()).join(" "))
    };
    let rows: Vec<String> = rows.as_array().expect("a list").iter().map(shown).collect();
    assert_eq!(
        rows,
        [
            r#""shop" 8080 "http" null null "ingress-gateway" ["shop.example.com"]"#,
            r#""web" 5432 "tcp" null "service" "ingress-gateway" null"#,
            r#""web" 8080 "http" true "service" "ingress-gateway" null"#,
        ]
    );
}

#[tokio::test]
async fn the_ingress_gateways_of_a_service_are_found_by_it() {
    let api = TestApi::start().await;
    api.register(json!({ "Kind": "ingress-gateway", "Name": "front", "Port": 8080, "Tags": ["eu"] })).await;
    api.register(json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": {} } })).await;
    let listener = json!({ "Port": 8080, "Services": [{ "Name": "web" }] });
    write(&api, json!({ "Kind": "ingress-gateway", "Name": "front", "Listeners": [listener] })).await;
    write(&api, json!({ "Kind": "terminating-gateway", "Name": "egress", "Services": [{ "Name": "web" }] })).await;

    let rows = api.get("/v1/health/ingress/web?passing&tag=eu").await.json();

    assert_eq!((rows.as_array().map(Vec::len), &rows[0]["Service"]["Service"]), (Some(1), &json!("front")));
    api.get("/v1/health/ingress/web?tag=us").await.is(200, "[]");
    api.get("/v1/health/ingress/other").await.is(200, "[]");
    api.get("/v1/health/ingress/").await.is(400, "Missing service name");
}

#[tokio::test]
async fn other_gateways_have_no_services() {
    let api = TestApi::start().await;
    register_gateway(&api, "", json!({})).await;

    api.get("/v1/catalog/gateway-services/gw").await.is(200, "[]");
    api.get("/v1/catalog/gateway-services/ghost").await.is(200, "[]");
    api.get("/v1/catalog/gateway-services/").await.is(400, "Missing gateway name");
}

#[tokio::test]
async fn who_waits_for_the_services_of_a_gateway_is_woken_by_its_entry() {
    let api = TestApi::start().await;
    let path = "/v1/catalog/gateway-services/egress";
    let seen = api.get(path).await.index();
    let entry = json!({ "Kind": "terminating-gateway", "Name": "egress", "Services": [{ "Name": "mail" }] });

    let waiting = format!("{path}?index={seen}&wait=10s");
    let (woken, ()) = tokio::join!(api.get(&waiting), write(&api, entry));

    assert!(woken.index() > seen);
    assert_eq!(woken.json()[0]["Service"]["Name"], "mail");
}

#[tokio::test]
async fn entries_of_gateways_are_judged_and_read_back() {
    let api = TestApi::start().await;
    let ingress = json!({ "kind": "ingress-gateway", "name": "front",
        "listeners": [{ "port": 8080, "services": { "name": "web" } }] });

    write(&api, ingress).await;

    let read = api.get("/v1/config/ingress-gateway/front").await.json();
    assert_eq!(read["Listeners"][0]["Protocol"], "tcp");
    assert_eq!(read["TLS"]["Enabled"], false);
    write(&api, read).await;
    let none = json!({ "Kind": "ingress-gateway", "Name": "front", "Listeners": [{ "Port": 8080 }] });
    api.refuses(Method::PUT, "/v1/config", none, 500, "at least one service").await;
    let halves = json!({ "Kind": "terminating-gateway", "Name": "egress",
        "Services": [{ "Name": "mail", "KeyFile": "/key" }] });
    api.refuses(Method::PUT, "/v1/config", halves, 500, "CertFile and KeyFile").await;
}

#[tokio::test]
async fn without_gateways_that_let_others_in_there_is_no_state() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    register_gateway(&api, "", json!({})).await;

    api.get(STATES).await.is(200, "[]");
    api.get(&format!("{STATES}/mesh-gateways")).await.is(200, r#"{"dc1":[],"dc2":[]}"#);
    let absent = api.get("/v1/internal/federation-state/ghost").await;
    absent.is(404, "");
    assert!(absent.index() >= 1);
    api.get("/v1/internal/federation-state/").await.is(400, "Missing datacenter name");
}

#[tokio::test]
async fn the_state_of_a_hosted_datacenter_follows_from_its_catalog() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    register_gateway(&api, "?dc=dc2", json!({ "consul-wan-federation": "1" })).await;

    let states = api.get(STATES).await;

    assert!(states.index() >= 1);
    let states = states.json();
    assert_eq!((states.as_array().map(Vec::len), &states[0]["Datacenter"]), (Some(1), &json!("dc2")));
    let gateway = &states[0]["MeshGateways"][0];
    assert_eq!((&gateway["Service"]["Service"], &gateway["Node"]["Datacenter"]), (&json!("gw"), &json!("dc2")));
    let one = api.get("/v1/internal/federation-state/dc2").await.json();
    assert_eq!(one["State"], states[0]);
    let gateways = api.get(&format!("{STATES}/mesh-gateways")).await.json();
    assert_eq!(gateways, json!({ "dc1": [], "dc2": [gateway] }));
}

#[tokio::test]
async fn the_state_of_another_datacenter_is_as_it_was_replicated() {
    let api = TestApi::start().await;
    let node = Node { node: "n3".into(), address: "10.3.0.1".to_owned(), datacenter: "dc3".into(), ..Node::default() };
    let service = Service {
        kind: ServiceKind::MeshGateway,
        id: "gw".into(),
        name: "gw".to_owned(),
        port: 443,
        ..Service::default()
    };
    let gateway = HealthEntry { node: node.into(), service: service.into(), checks: Vec::new(), modify_index: 17 };
    let state = FederationState { datacenter: Datacenter::from("dc3"), mesh_gateways: vec![gateway] };

    api.store.write(Op::PutFederationState(state)).await.expect("it is written");

    let states = api.get(STATES).await.json();
    let row = &states[0];
    assert_eq!((&row["Datacenter"], &row["UpdatedAt"]), (&json!("dc3"), &json!("0001-01-01T00:00:00Z")));
    assert_eq!(row["PrimaryModifyIndex"], row["ModifyIndex"]);
    let service = &row["MeshGateways"][0]["Service"];
    assert_eq!((&service["Port"], &service["ModifyIndex"]), (&json!(443), &json!(17)));
}
