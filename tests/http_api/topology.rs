//! Places, gateways, and who dials whom.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

/// A sidecar of a service with these upstreams.
async fn sidecar(api: &TestApi, (datacenter, node): (&str, &str), name: &str, upstreams: Value) {
    let proxy = json!({ "DestinationServiceName": name, "DestinationServiceID": name, "Upstreams": upstreams });
    for service in [
        json!({ "Service": name, "ID": name, "Port": 80 }),
        json!({ "Kind": "connect-proxy", "Service": format!("{name}-sidecar"), "Port": 21_000, "Proxy": proxy }),
    ] {
        register(api, (datacenter, node), json!({ "Service": service })).await;
    }
}

async fn gateway(api: &TestApi, (datacenter, node): (&str, &str), addresses: (&str, &str), status: &str) {
    let (lan, wan) = addresses;
    let gateway = json!({
        "Kind": "mesh-gateway", "Service": "mesh-gateway", "Address": lan, "Port": 8443,
        "TaggedAddresses": { "wan": { "Address": wan, "Port": 443 } },
    });
    let check = json!({ "CheckID": "tcp", "Name": "tcp", "ServiceID": "mesh-gateway", "Status": status });
    register(api, (datacenter, node), json!({ "Service": gateway, "Check": check })).await;
}

async fn register(api: &TestApi, (datacenter, node): (&str, &str), mut row: Value) {
    (row["Node"], row["Address"], row["Datacenter"]) = (node.into(), "10.0.0.1".into(), datacenter.into());
    api.put(&format!("/v1/catalog/register?dc={datacenter}"), row).await.is(200, "true");
}

/// Web, twice, and cache in dc1; api in dc2. The gateway of dc2 is down.
async fn mesh() -> TestApi {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    let mode = |mode: &str| json!({ "Mode": mode });
    let upstreams = json!([
        { "DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 9191, "MeshGateway": mode("local") },
        { "DestinationName": "cache", "LocalBindPort": 9192 },
    ]);
    for node in ["n1", "n2"] {
        sidecar(&api, ("dc1", node), "web", upstreams.clone()).await;
    }
    sidecar(&api, ("dc1", "n1"), "cache", json!([])).await;
    let back = json!([
        { "DestinationName": "web", "Datacenter": "dc1", "LocalBindPort": 9191, "MeshGateway": mode("none") },
        { "DestinationName": "cache", "Datacenter": "dc1", "LocalBindPort": 9192, "MeshGateway": mode("remote") },
        { "DestinationName": "nobody", "Datacenter": "dc1", "LocalBindPort": 9193, "MeshGateway": mode("remote") },
    ]);
    sidecar(&api, ("dc2", "m1"), "api", back).await;
    gateway(&api, ("dc1", "n1"), ("10.1.0.7", "203.0.113.7"), "passing").await;
    gateway(&api, ("dc2", "m1"), ("10.2.0.7", "203.0.113.10"), "critical").await;
    api
}

/// The ways between places: from where, to where, how, how many upstreams, how many of them healthy.
fn ways(topology: &Value) -> Vec<String> {
    let way = |edge: &Value| {
        let place = |side: &str| edge[format!("{side}Datacenter")].as_str().unwrap_or_default().to_owned();
        let mode = edge["Mode"].as_str().unwrap_or_default();
        format!("{} {} {mode} {}/{}", place("From"), place("To"), edge["Healthy"], edge["Upstreams"])
    };
    topology["Edges"].as_array().expect("a list").iter().map(way).collect()
}

#[tokio::test]
async fn the_topology_tells_places_gateways_and_who_dials_whom() {
    let api = mesh().await;

    let topology = api.get("/v1/meshgate/topology").await.json();

    let places = &topology["Datacenters"];
    assert_eq!((&places[0]["Name"], &places[1]["Name"]), (&json!("dc1"), &json!("dc2")));
    let dc1 = &places[0]["Partitions"][0];
    assert_eq!((&dc1["Name"], &dc1["Nodes"], &dc1["Sidecars"]), (&json!("default"), &json!(2), &json!(3)));
    assert_eq!(dc1["SidecarsConnected"], 0);
    let gateway = &dc1["Gateways"][0];
    assert_eq!((&gateway["LAN"], &gateway["WAN"]), (&json!("10.1.0.7:8443"), &json!("203.0.113.7:443")));
    assert_eq!((&gateway["Healthy"], &gateway["Sync"]), (&json!(true), &json!("disconnected")));
    let down = &places[1]["Partitions"][0]["Gateways"][0];
    assert_eq!((&down["Healthy"], &down["Failing"]), (&json!(false), &json!(["tcp: critical"])));
    // Each sidecar of web counts. What dials gateways of its own place does not see that those of the other one are down.
    assert_eq!(ways(&topology), ["dc1 dc1 none 2/2", "dc1 dc2 local 2/2", "dc2 dc1 none 1/1", "dc2 dc1 remote 1/2"]);
    let example = &topology["Edges"][3]["Example"];
    assert_eq!(
        (&example["From"], &example["To"]),
        (&json!("default/default/api"), &json!("default/default/nobody@dc1"))
    );
    assert_eq!(topology["Cut"], false);
}

#[tokio::test]
async fn the_topology_is_told_anew_when_a_gateway_goes() {
    let api = mesh().await;
    let index = api.get("/v1/meshgate/topology").await.index();
    let path = format!("/v1/meshgate/topology?index={index}&wait=30s");

    // It does not matter which of the two is first.
    let goes = gateway(&api, ("dc1", "n1"), ("10.1.0.7", "203.0.113.7"), "critical");
    let (told, ()) = tokio::join!(api.get(&path), goes);

    let topology = told.json();
    assert!(told.index() > index);
    assert_eq!(topology["Datacenters"][0]["Partitions"][0]["Gateways"][0]["Healthy"], false);
    assert_eq!(ways(&topology), ["dc1 dc1 none 2/2", "dc1 dc2 local 0/2", "dc2 dc1 none 1/1", "dc2 dc1 remote 0/2"]);
    api.refuses(Method::GET, "/v1/meshgate/topology?dc=nowhere", "", 500, "No path to datacenter").await;
}
