//! Datacenters, partitions and namespaces.

use meshgate::codec;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

async fn two_datacenters() -> TestApi {
    TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[tokio::test]
async fn the_agents_node_exists_once_in_each_place() {
    let api = two_datacenters().await;
    let register = "/v1/agent/service/register";

    api.put(register, json!({ "Name": "here" })).await.is(200, "");
    api.put(&format!("{register}?dc=dc2"), json!({ "Name": "there" })).await.is(200, "");
    api.put(register, json!({ "Name": "apart", "Partition": "team" })).await.is(200, "");

    for (query, service, datacenter) in
        [("", "here", "dc1"), ("?dc=dc2", "there", "dc2"), ("?partition=team", "apart", "dc1")]
    {
        let services = api.get(&format!("/v1/agent/services{query}")).await.json();
        assert_eq!(keys(&services), [service], "{query}");
        assert_eq!(services[service]["Datacenter"], datacenter, "{query}");
        let nodes = api.get(&format!("/v1/catalog/nodes{query}")).await.json();
        assert_eq!((&nodes[0]["Node"], &nodes[0]["Datacenter"]), (&json!("localhost"), &json!(datacenter)), "{query}");
    }
    assert_eq!(api.get("/v1/catalog/nodes?partition=team").await.json()[0]["Partition"], "team");
}

#[tokio::test]
async fn empty_tenancy_parameters_mean_the_default() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;

    assert_eq!(keys(&api.get("/v1/catalog/services?ns=&partition=&dc=").await.json()), ["web"]);
    assert_eq!(keys(&api.get("/v1/catalog/services?ns=default&partition=default").await.json()), ["web"]);
}

#[tokio::test]
async fn namespaces_keep_services_of_one_name_apart() {
    let api = TestApi::start().await;
    let header = [("x-consul-namespace", "blue")];
    api.register(json!({ "Name": "web", "ID": "plain" })).await;
    api.put("/v1/agent/service/register?ns=blue", json!({ "Name": "web", "ID": "blue" })).await.is(200, "");

    let ids = |rows: Value| -> Vec<String> {
        let rows = rows.as_array().expect("a list").clone();
        rows.iter().map(|row| row["ServiceID"].as_str().expect("an ID").to_owned()).collect()
    };

    assert_eq!(ids(api.get("/v1/catalog/service/web").await.json()), ["plain"]);
    assert_eq!(ids(api.get("/v1/catalog/service/web?ns=blue").await.json()), ["blue"]);
    let by_header = api.call(Method::GET, "/v1/catalog/service/web", &header, String::new()).await;
    assert_eq!(ids(by_header.json()), ["blue"]);
    assert_eq!(keys(&api.get("/v1/agent/services?ns=*").await.json()), ["blue", "plain"]);
}

#[tokio::test]
async fn entries_live_in_partitions_and_some_in_namespaces() {
    let api = TestApi::start().await;
    let put = |path: &str, body: Value| {
        let path = path.to_owned();
        let api = &api;
        async move { api.put(&path, body).await.is(200, "true") }
    };

    put("/v1/config?partition=team", json!({ "Kind": "proxy-defaults", "Name": "global" })).await;
    put("/v1/config?partition=team&ns=blue", json!({ "Kind": "service-defaults", "Name": "web" })).await;

    api.get("/v1/config/proxy-defaults/global").await.says(404, "Config entry not found");
    assert_eq!(api.get("/v1/config/proxy-defaults/global?partition=team&ns=blue").await.json()["Partition"], "team");
    api.get("/v1/config/service-defaults/web?partition=team").await.says(404, "Config entry not found");
    assert_eq!(api.get("/v1/config/service-defaults/web?partition=team&ns=blue").await.json()["Namespace"], "blue");
    api.get("/v1/config/service-defaults?partition=team").await.is(200, "[]");
    // Exports are named by the partition that they are of.
    put("/v1/config", json!({ "Kind": "exported-services", "Name": "team", "Services": [] })).await;
    assert_eq!(api.get("/v1/config/exported-services/team?partition=team").await.json()["Partition"], "team");
}

#[tokio::test]
async fn catalog_rows_go_where_the_body_says() {
    let api = two_datacenters().await;
    let body = json!({
        "Datacenter": "dc2", "Node": "n", "Address": "10.0.0.1", "Partition": "team",
        "Service": { "Service": "db", "Namespace": "blue" },
    });

    api.put("/v1/catalog/register", body).await.is(200, "true");

    let row = &api.get("/v1/catalog/service/db?dc=dc2&partition=team&ns=blue").await.json()[0];
    assert_eq!(
        (&row["Datacenter"], &row["Partition"], &row["Namespace"]),
        (&json!("dc2"), &json!("team"), &json!("blue"))
    );
    api.get("/v1/catalog/service/db").await.is(200, "[]");
}

#[tokio::test]
async fn call_and_body_must_agree() {
    let api = TestApi::start().await;
    let service = json!({ "Name": "web", "Partition": "a", "Namespace": "b" });

    for query in ["partition=x", "ns=x"] {
        let path = format!("/v1/agent/service/register?{query}");
        api.refuses(Method::PUT, &path, &service, 400, "in the query and").await;
    }
    let node = json!({ "Node": "n", "Address": "10.0.0.1", "Partition": "a" });
    api.refuses(Method::PUT, "/v1/catalog/register?partition=x", node, 400, "in the query and").await;
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "Partition": "a", "Namespace": "b" });
    for query in ["partition=x", "ns=x"] {
        api.refuses(Method::PUT, &format!("/v1/config?{query}"), &entry, 400, "in the query and").await;
    }
}

#[tokio::test]
async fn the_name_for_all_is_no_place_to_write_to() {
    let api = TestApi::start().await;

    for query in ["ns=*", "partition=*"] {
        let service = json!({ "Name": "web" });
        let node = json!({ "Node": "n", "Address": "10.0.0.1", "Service": { "Service": "db" } });
        let entry = json!({ "Kind": "service-defaults", "Name": "web" });
        for (path, body) in [("agent/service/register", service), ("catalog/register", node), ("config", entry)] {
            api.refuses(Method::PUT, &format!("/v1/{path}?{query}"), body, 400, "the name of one").await;
        }
        api.get(&format!("/v1/agent/connect/ca/leaf/web?{query}")).await.says(400, "the name of one");
    }
    let apart = json!({ "Name": "web", "Partition": "*" });
    api.refuses(Method::PUT, "/v1/agent/service/register", apart, 400, "the name of one").await;
}

#[tokio::test]
async fn the_catalog_of_a_datacenter_elsewhere_can_be_read_and_not_written() {
    let api = two_datacenters().await;
    let bundle = json!({
        "Format": "meshgate-bundle",
        "Version": 1,
        "Datacenters": [{ "Name": "dc4" }],
        "Nodes": [{ "Datacenter": "dc3", "Node": "far", "Address": "10.3.0.1" }],
        "Services": [{ "Datacenter": "dc3", "Node": "far", "Service": { "Service": "db", "Port": 1 } }],
    });
    api.store.write(codec::bundle(bundle.to_string().as_bytes()).unwrap()).await.unwrap();

    assert_eq!(api.get("/v1/catalog/datacenters").await.json(), json!(["dc1", "dc2", "dc3", "dc4"]));
    assert_eq!(api.get("/v1/catalog/services?dc=dc3").await.json(), json!({ "db": [] }));
    assert_eq!(api.get("/v1/health/service/db?dc=dc3").await.json()[0]["Node"]["Datacenter"], "dc3");
    // It answers, and has nothing.
    api.get("/v1/catalog/nodes?dc=dc4").await.is(200, "[]");
    let node = json!({ "Node": "n", "Address": "10.3.0.2", "Datacenter": "dc3" });
    api.refuses(Method::PUT, "/v1/catalog/register", node, 500, "No path to datacenter").await;
    api.refuses(Method::PUT, "/v1/agent/service/register?dc=dc3", json!({ "Name": "w" }), 500, "No path").await;
    api.get("/v1/agent/connect/ca/leaf/db?dc=dc3").await.says(500, "No path to datacenter");
    api.get("/v1/catalog/nodes?dc=dc5").await.says(500, "No path to datacenter");
}
