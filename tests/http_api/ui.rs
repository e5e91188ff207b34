//! The catalog summed up for people: `/v1/internal/ui/`.

use meshgate::model::{Imported, PeerName, Peering};
use meshgate::store::Op;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const UI: &str = "/v1/internal/ui";

/// Two instances of web with a sidecar on one node, an instance of api without, and checks of every state.
async fn shop() -> TestApi {
    let api = TestApi::start().await;
    let register = async |body: Value| api.put("/v1/catalog/register", body).await.is(200, "true");
    register(json!({
        "Node": "n1", "ID": "11111111-2222-3333-4444-555555555555", "Address": "10.0.0.1", "NodeMeta": { "rack": "1" },
        "Service": { "ID": "web-1", "Service": "web", "Port": 80, "Tags": ["v1"], "Meta": { "external-source": "nomad" } },
        "Checks": [
            { "CheckID": "alive", "Name": "alive", "Status": "passing" },
            { "CheckID": "web-1", "Name": "web up", "ServiceID": "web-1", "Status": "warning" }],
    }))
    .await;
    register(json!({ "Node": "n1", "SkipNodeUpdate": true,
        "Service": { "ID": "web-2", "Service": "web", "Port": 81, "Tags": ["v2"] },
        "Check": { "CheckID": "web-2", "Name": "web up", "ServiceID": "web-2", "Status": "critical" } }))
    .await;
    register(json!({ "Node": "n1", "SkipNodeUpdate": true,
        "Service": { "Kind": "connect-proxy", "ID": "web-1-sidecar-proxy", "Service": "web-sidecar-proxy", "Port": 21000,
            "Proxy": { "DestinationServiceName": "web",
                "Upstreams": [{ "DestinationName": "api", "LocalBindPort": 9191 }] } } }))
    .await;
    register(json!({ "Node": "n2", "Address": "10.0.0.2", "Service": { "Service": "api", "Port": 90 } })).await;
    api
}

async fn write(api: &TestApi, entry: Value) {
    api.put("/v1/config", entry).await.is(200, "true");
}

/// `field` of each row.
fn column(rows: &Value, field: &str) -> Vec<Value> {
    rows.as_array().expect("a list").iter().map(|row| row[field].clone()).collect()
}

/// The row of this name.
fn named<'r>(rows: &'r Value, name: &str) -> &'r Value {
    let found = rows.as_array().expect("a list").iter().find(|row| row["Name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {rows}"))
}

#[tokio::test]
async fn a_node_is_shown_with_all_that_is_on_it() {
    let api = shop().await;

    let nodes = api.get(&format!("{UI}/nodes")).await.json();
    let node = api.get(&format!("{UI}/node/n1")).await.json();

    assert_eq!(column(&nodes, "Node"), ["n1", "n2"]);
    assert_eq!(nodes[0], node);
    let fields: Vec<&String> = node.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["Address", "Checks", "ID", "Meta", "Node", "Services", "TaggedAddresses"]);
    assert_eq!((&node["Meta"], &node["Address"]), (&json!({ "rack": "1" }), &json!("10.0.0.1")));
    assert_eq!(column(&node["Services"], "ID"), ["web-1", "web-1-sidecar-proxy", "web-2"]);
    assert_eq!(column(&node["Checks"], "CheckID"), ["alive", "web-1", "web-2"]);
    assert_eq!(nodes[1]["Checks"], json!([]));
    let filtered = api.get(&format!("{UI}/nodes?filter=Meta.rack%20==%201")).await.json();
    assert_eq!(column(&filtered, "Node"), ["n1"]);
    let filtered = api.get(&format!("{UI}/nodes?filter=Services.Service%20==%20api")).await.json();
    assert_eq!(column(&filtered, "Node"), ["n2"]);
    api.get(&format!("{UI}/node/ghost")).await.says(404, "Node not found: \"ghost\"");
    api.get(&format!("{UI}/node/")).await.is(400, "Missing node name");
}

#[tokio::test]
async fn the_checks_of_a_namespace_are_those_of_its_services_and_of_the_node() {
    let api = shop().await;
    let blue = json!({ "Node": "n1", "SkipNodeUpdate": true,
        "Service": { "ID": "db", "Service": "db", "Port": 70, "Namespace": "blue" },
        "Check": { "CheckID": "db", "Name": "db up", "ServiceID": "db", "Status": "critical", "Namespace": "blue" } });
    api.put("/v1/catalog/register", blue).await.is(200, "true");

    for (query, checks, names) in [
        ("", &["alive", "web-1", "web-2"][..], &["alive", "web up"][..]),
        ("?ns=blue", &["alive", "db"], &["alive", "db up"]),
        ("?ns=*", &["alive", "db", "web-1", "web-2"], &["alive", "db up", "web up"]),
    ] {
        let node = api.get(&format!("{UI}/node/n1{query}")).await.json();
        let overview = api.get(&format!("{UI}/catalog-overview{query}")).await.json();
        assert_eq!(column(&node["Checks"], "CheckID"), checks, "{query}");
        assert_eq!(column(&overview["Checks"], "Name"), names, "{query}");
        assert_eq!(overview["Nodes"][0]["Total"], 2, "{query}");
    }
}

#[tokio::test]
async fn a_service_is_one_row_whatever_its_instances() {
    let api = shop().await;

    let rows = api.get(&format!("{UI}/services")).await.json();

    assert_eq!(column(&rows, "Name"), ["api", "web", "web-sidecar-proxy"]);
    let web = json!({
        "Name": "web", "Datacenter": "dc1", "Tags": ["v1", "v2"], "Nodes": ["n1"], "ExternalSources": ["nomad"],
        "InstanceCount": 2, "ChecksPassing": 1, "ChecksWarning": 1, "ChecksCritical": 1, "GatewayConfig": {},
        "TransparentProxy": false, "ConnectNative": false, "ConnectedWithProxy": true, "ConnectedWithGateway": false,
    });
    assert_eq!(*named(&rows, "web"), web);
    assert_eq!(named(&rows, "web-sidecar-proxy")["Kind"], "connect-proxy");
    assert_eq!(named(&rows, "api")["ConnectedWithProxy"], false);
}

#[tokio::test]
async fn a_filter_picks_the_instances_that_rows_are_made_of() {
    let api = shop().await;
    let filtered = async |filter: &str| api.get(&format!("{UI}/services?filter={filter}")).await;

    let rows = filtered("Service.Tags%20contains%20v2").await.json();

    assert_eq!((column(&rows, "Name"), &rows[0]["InstanceCount"]), (vec![json!("web")], &json!(1)));
    filtered("Name%20==%20web").await.says(500, "must start with Node, Service, Checks");
    filtered("@@").await.says(500, "Failed to create boolean expression evaluator");
}

#[tokio::test]
async fn one_proxy_that_is_not_transparent_is_enough_to_say_so() {
    let api = shop().await;
    let proxy = async |id: &str, mode: &str| {
        let proxy = json!({ "DestinationServiceName": "api", "Mode": mode });
        let service = json!({ "Kind": "connect-proxy", "ID": id, "Service": "p", "Port": 1, "Proxy": proxy });
        let body = json!({ "Node": "n2", "SkipNodeUpdate": true, "Service": service });
        api.put("/v1/catalog/register", body).await.is(200, "true");
        named(&api.get(&format!("{UI}/services")).await.json(), "api")["TransparentProxy"].clone()
    };

    assert_eq!(proxy("p1", "transparent").await, true);
    assert_eq!(proxy("p2", "direct").await, false);
    assert_eq!(proxy("p3", "transparent").await, false);
    assert_eq!(proxy("p2", "transparent").await, true);
}

#[tokio::test]
async fn who_waits_for_services_is_woken_by_a_check() {
    let api = shop().await;
    let seen = api.get(&format!("{UI}/services")).await.index();
    let check = json!({ "Node": "n2", "SkipNodeUpdate": true,
        "Check": { "CheckID": "api", "Name": "api up", "ServiceID": "api", "Status": "passing" } });

    let waiting = format!("{UI}/services?index={seen}&wait=10s");
    let (woken, changed) = tokio::join!(api.get(&waiting), api.put("/v1/catalog/register", check));

    changed.is(200, "true");
    assert!(woken.index() > seen);
    assert_eq!(named(&woken.json(), "api")["ChecksPassing"], 1);
}

#[tokio::test]
async fn the_overview_counts_by_state() {
    let api = shop().await;

    let overview = api.get(&format!("{UI}/catalog-overview")).await.json();

    let row = |name: &str, [total, passing, warning, critical]: [u32; 4]| json!({ "Name": name, "Total": total, "Passing": passing, "Warning": warning, "Critical": critical });
    assert_eq!(overview["Nodes"], json!([{ "Total": 2, "Passing": 2, "Warning": 0, "Critical": 0 }]));
    let services = [row("api", [1, 1, 0, 0]), row("web", [2, 0, 1, 1]), row("web-sidecar-proxy", [1, 1, 0, 0])];
    assert_eq!(overview["Services"], json!(services));
    assert_eq!(overview["Checks"], json!([row("alive", [1, 1, 0, 0]), row("web up", [2, 0, 1, 1])]));
}

#[tokio::test]
async fn what_peers_export_is_listed_with_their_names() {
    let api = shop().await;
    let peering = Peering { datacenter: "dc1".into(), name: PeerName::from("west"), ..Peering::default() };
    let imported = |id: &str, service: Value| -> Imported {
        let row = json!({ "Datacenter": "dc1", "PeerName": "west", "Node": { "Node": "w1", "Address": "10.9.0.1",
            "Datacenter": "dc9" }, "Service": service, "Checks": [{ "Node": "w1", "CheckID": id, "Status": "passing" }] });
        serde_json::from_value(row).expect("a row")
    };
    let db = json!({ "ID": "db", "Service": "db", "PeerName": "west" });
    let sidecar = json!({ "Kind": "connect-proxy", "ID": "db-sidecar-proxy", "Service": "db-sidecar-proxy",
        "PeerName": "west", "Proxy": { "DestinationServiceName": "db" } });
    let ops =
        vec![Op::PutPeering(peering), Op::PutImported(imported("a", db)), Op::PutImported(imported("b", sidecar))];
    api.store.write(ops).await.expect("it is written");

    let rows = api.get(&format!("{UI}/services")).await.json();
    let of_peer = api.get(&format!("{UI}/services?peer=west")).await.json();
    let nodes = api.get(&format!("{UI}/nodes")).await.json();

    let db = named(&rows, "db");
    assert_eq!((&db["PeerName"], &db["Datacenter"]), (&json!("west"), &json!("dc9")));
    assert_eq!((&db["ConnectedWithProxy"], &db["ChecksPassing"]), (&json!(true), &json!(2)));
    assert_eq!(column(&of_peer, "Name"), ["db", "db-sidecar-proxy"]);
    assert_eq!((&nodes[2]["Node"], &nodes[2]["PeerName"]), (&json!("w1"), &json!("west")));
    assert_eq!(column(&nodes[2]["Checks"], "CheckID"), ["a", "b"]);
    assert_eq!(api.get(&format!("{UI}/node/w1?peer=west")).await.json(), nodes[2]);
}

#[tokio::test]
async fn what_a_peer_may_call_is_listed() {
    let api = shop().await;
    write(
        &api,
        json!({ "Kind": "exported-services", "Name": "default", "Services": [
            { "Name": "web", "Consumers": [{ "Peer": "west" }] }, { "Name": "api", "Consumers": [{ "Peer": "east" }] },
            { "Name": "absent", "Consumers": [{ "Peer": "west" }] }] }),
    )
    .await;

    let rows = api.get(&format!("{UI}/exported-services?peer=west")).await.json();

    assert_eq!(column(&rows, "Name"), ["absent", "web"]);
    assert_eq!((&rows[0]["InstanceCount"], &rows[1]["InstanceCount"]), (&json!(0), &json!(2)));
    api.get(&format!("{UI}/exported-services")).await.is(400, "Missing peer name");
}

#[tokio::test]
async fn a_gateway_is_shown_with_what_is_behind_it() {
    let api = shop().await;
    api.register(json!({ "Kind": "ingress-gateway", "Name": "front", "Port": 8080 })).await;
    write(
        &api,
        json!({ "Kind": "ingress-gateway", "Name": "front", "Listeners": [{ "Port": 8080, "Protocol": "http",
            "Services": [{ "Name": "web" }, { "Name": "absent", "Hosts": ["shop.example.com", "a.example.com:99"] }] }] }),
    )
    .await;

    let behind = api.get(&format!("{UI}/gateway-services-nodes/front")).await.json();
    let all = api.get(&format!("{UI}/services")).await.json();

    assert_eq!(column(&behind, "Name"), ["absent", "web"]);
    assert_eq!(behind[0]["GatewayConfig"]["Addresses"], json!(["a.example.com:99", "shop.example.com:8080"]));
    assert_eq!(behind[1]["GatewayConfig"]["Addresses"], json!(["web.ingress.dc1.consul:8080"]));
    assert_eq!(behind[1]["InstanceCount"], 2);
    assert_eq!(named(&all, "front")["GatewayConfig"], json!({ "AssociatedServiceCount": 2 }));
    assert_eq!(named(&all, "web")["ConnectedWithGateway"], true);
    api.get(&format!("{UI}/gateway-services-nodes/ghost")).await.is(200, "[]");
    api.get(&format!("{UI}/gateway-services-nodes/")).await.is(400, "Missing gateway name");
}

#[tokio::test]
async fn the_intentions_of_a_gateway_are_those_about_what_is_behind_it() {
    let api = shop().await;
    write(
        &api,
        json!({ "Kind": "terminating-gateway", "Name": "egress", "Services": [{ "Name": "web" }, { "Name": "api" }] }),
    )
    .await;
    for (source, destination) in [("cron", "web"), ("*", "*"), ("cron", "other")] {
        let path = format!("/v1/connect/intentions/exact?source={source}&destination={destination}");
        api.put(&path, json!({ "Action": "allow" })).await.is(200, "true");
    }

    let rows = api.get(&format!("{UI}/gateway-intentions/egress")).await.json();

    assert_eq!(column(&rows, "DestinationName"), ["web", "*"]);
    api.get(&format!("{UI}/gateway-intentions/ghost")).await.is(200, "[]");
}

#[tokio::test]
async fn a_topology_needs_a_kind() {
    let api = shop().await;

    for (path, status, fragment) in [
        ("service-topology/web", 400, "Missing service kind"),
        ("service-topology/web?kind=mesh-gateway", 400, "kind"),
        ("service-topology/?kind=", 400, "Missing service name"),
    ] {
        api.refuses(Method::GET, &format!("{UI}/{path}"), "", status, fragment).await;
    }
    assert!(api.get(&format!("{UI}/service-topology/web?kind")).await.json()["Upstreams"].is_array());
}

#[tokio::test]
async fn a_topology_tells_who_calls_whom_and_why() {
    let api = shop().await;
    write(&api, json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } })).await;
    write(&api, json!({ "Kind": "service-resolver", "Name": "api", "Redirect": { "Service": "api-v2" } })).await;
    let sidecar = json!({ "Name": "api-v2", "Port": 91, "Connect": { "SidecarService": {} } });
    api.register(sidecar).await;
    let path = "/v1/connect/intentions/exact?source=web&destination=api-v2";
    api.put(path, json!({ "Action": "deny" })).await.is(200, "true");
    let topology = async |service: &str| api.get(&format!("{UI}/service-topology/{service}?kind=")).await.json();
    let seen = |side: &Value| -> Vec<String> {
        let rows = side.as_array().expect("a list").iter();
        rows.map(|row| format!("{} {} {}", row["Name"], row["Source"], row["Intention"]["Allowed"])).collect()
    };

    let web = topology("web").await;
    let api_v2 = topology("api-v2").await;

    assert_eq!((&web["Protocol"], &web["TransparentProxy"]), (&json!("http"), &json!(false)));
    assert_eq!(web["FilteredByACLs"], false);
    assert_eq!(seen(&web["Upstreams"]), [r#""api" "proxy-registration" true"#]);
    assert_eq!(web["Downstreams"], json!([]));
    assert_eq!(seen(&api_v2["Downstreams"]), [r#""web" "proxy-registration" false"#]);
    let decision = json!({ "DefaultAllow": true, "Allowed": false, "HasPermissions": false, "ExternalSource": "",
        "HasExact": true });
    assert_eq!(api_v2["Downstreams"][0]["Intention"], decision);
    assert_eq!(api_v2["Downstreams"][0]["InstanceCount"], 2);
    api.put("/v1/catalog/deregister", json!({ "Node": "n2", "ServiceID": "api" })).await.is(200, "true");
    assert_eq!(seen(&topology("web").await["Upstreams"]), [r#""api" "routing-config" true"#]);
}

#[tokio::test]
async fn who_dials_transparently_calls_whatever_intentions_let_it() {
    let api =
        TestApi::start_with(|api| api.options.default_intention_policy = meshgate::model::IntentionPolicy::Deny).await;
    for name in ["web", "api", "db", "cron"] {
        let proxy = json!({ "Proxy": { "Mode": "transparent" } });
        api.register(json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": proxy } })).await;
    }
    for (source, destination) in [("web", "api"), ("*", "db")] {
        let path = format!("/v1/connect/intentions/exact?source={source}&destination={destination}");
        api.put(&path, json!({ "Action": "allow" })).await.is(200, "true");
    }

    let web = api.get(&format!("{UI}/service-topology/web?kind=")).await.json();
    let db = api.get(&format!("{UI}/service-topology/db?kind=")).await.json();

    assert_eq!(web["TransparentProxy"], true);
    assert_eq!(column(&web["Upstreams"], "Name"), ["api", "db"]);
    assert_eq!(column(&web["Upstreams"], "Source"), ["specific-intention", "wildcard-intention"]);
    assert_eq!(web["Downstreams"], json!([]));
    assert_eq!(column(&db["Downstreams"], "Name"), ["api", "cron", "web"]);
}

#[tokio::test]
async fn the_topology_of_a_gateway_is_what_is_bound_to_it() {
    let api = shop().await;
    api.register(json!({ "Kind": "ingress-gateway", "Name": "front", "Port": 8080 })).await;
    let listener = json!({ "Port": 8080, "Protocol": "http", "Services": [{ "Name": "web" }] });
    write(&api, json!({ "Kind": "ingress-gateway", "Name": "front", "Listeners": [listener] })).await;

    let front = api.get(&format!("{UI}/service-topology/front?kind=ingress-gateway")).await.json();
    let web = api.get(&format!("{UI}/service-topology/web?kind=")).await.json();

    assert_eq!((&front["Protocol"], column(&front["Upstreams"], "Name")), (&json!("http"), vec![json!("web")]));
    let downstream = &web["Downstreams"][0];
    assert_eq!((&downstream["Name"], &downstream["Kind"]), (&json!("front"), &json!("ingress-gateway")));
}
