//! Why configuration is what it is.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::TestApi;

/// Web in `dc1` calls api in `dc2`, with gateways in both.
async fn two_datacenters() -> TestApi {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    let upstreams = json!([
        { "DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 9191 },
        { "DestinationName": "cache", "LocalBindPort": 9192 },
    ]);
    let sidecar = json!({ "Port": 21_000, "Proxy": { "Upstreams": upstreams } });
    api.register(json!({ "Name": "web", "Port": 8080, "Connect": { "SidecarService": sidecar } })).await;
    let far = "/v1/agent/service/register?dc=dc2";
    let sidecar = json!({ "Port": 21_001, "Check": { "TTL": "1h", "Status": "passing" } });
    let served = json!({ "Name": "api", "Port": 8081, "Connect": { "SidecarService": sidecar } });
    api.put(far, served).await.is(200, "");
    for (path, lan, wan) in
        [("/v1/agent/service/register", "10.1.0.7", "203.0.113.7"), (far, "10.2.0.7", "203.0.113.10")]
    {
        let addresses = json!({
            "lan": { "Address": lan, "Port": 8443 }, "wan": { "Address": wan, "Port": 443 },
        });
        let gateway = json!({
            "Kind": "mesh-gateway", "Name": "mesh-gateway", "Address": lan, "Port": 8443, "TaggedAddresses": addresses,
            "Check": { "TTL": "1h", "Status": "passing" },
        });
        api.put(path, gateway).await.is(200, "");
    }
    api
}

async fn entry(api: &TestApi, entry: Value) {
    api.put("/v1/config", entry).await.is(200, "true");
}

fn mode(mode: &str) -> Value {
    json!({ "Mode": mode })
}

const API: &str = "/v1/meshgate/explain/upstream/web-sidecar-proxy?upstream=api@dc2";

fn texts<'v>(list: &'v Value, field: &str) -> Vec<&'v str> {
    list.as_array().expect("a list").iter().map(|row| row[field].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn the_ladder_is_told_with_its_winner_and_what_would_win_without_it() {
    let api = two_datacenters().await;
    entry(&api, json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": mode("remote") })).await;
    let overrides = json!([{ "Name": "api", "MeshGateway": mode("local") }]);
    let defaults = json!({ "Kind": "service-defaults", "Name": "web", "UpstreamConfig": { "Overrides": overrides } });
    entry(&api, defaults).await;
    entry(&api, json!({ "Kind": "service-defaults", "Name": "api", "MeshGateway": mode("none") })).await;

    let told = api.get(API).await.json();

    assert_eq!((&told["Proxy"]["ID"], &told["Proxy"]["Service"]), (&json!("web-sidecar-proxy"), &json!("web")));
    assert_eq!((&told["Upstream"], &told["Listens"]), (&json!("api?dc=dc2"), &json!("127.0.0.1:9191")));
    let statuses = ["unset", "wins", "unset", "unset", "unset", "overridden", "unset"];
    assert_eq!(texts(&told["Ladder"], "Status"), statuses);
    let winner = &told["Ladder"][1];
    assert_eq!(winner["Source"], "service-defaults/web");
    assert_eq!(winner["Field"], "UpstreamConfig.Overrides[api].MeshGateway.Mode");
    assert_eq!((&winner["Rung"], &winner["Value"]), (&json!(5), &json!("local")));
    let web = api.get("/v1/config/service-defaults/web").await.json();
    assert_eq!(winner["ModifyIndex"], web["ModifyIndex"]);
    let target = &told["Targets"][0];
    assert_eq!((&target["Mode"], &target["Dials"]), (&json!("local"), &json!("local gateways")));
    assert_eq!(texts(&target["Endpoints"], "Address"), ["10.1.0.7:8443"]);
    assert_eq!(target["Behind"]["Healthy"], 1);
    assert_eq!((&target["TargetSide"][0]["Value"], &target["Applies"]), (&json!("none"), &json!(true)));
    assert!(target["SNI"].as_str().expect("a text").starts_with("api.default.dc2.internal."));
    let without = &told["Removals"][0];
    assert_eq!((&without["Rung"], &without["Targets"][0]["Mode"]), (&json!(5), &json!("remote")));
    assert_eq!(without["Targets"][0]["Endpoints"], json!(["203.0.113.10:443"]));
    // What was told is what comes.
    entry(&api, json!({ "Kind": "service-defaults", "Name": "web" })).await;
    let after = api.get(API).await.json();
    let target = &after["Targets"][0];
    assert_eq!(texts(&target["Endpoints"], "Address"), ["203.0.113.10:443"]);
    for field in ["Cluster", "Mode", "Because"] {
        assert_eq!(target[field], without["Targets"][0][field], "{field}");
    }
}

#[tokio::test]
async fn exceptions_are_told() {
    let api = two_datacenters().await;
    entry(&api, json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": mode("local") })).await;

    let same = api.get("/v1/meshgate/explain/upstream/web?upstream=cache").await.json();
    let target = &same["Targets"][0];
    assert_eq!(
        (&target["Mode"], &target["Applies"], &target["Dials"]),
        (&json!("local"), &json!(false), &json!("instances"))
    );
    let external = json!({ "Kind": "service-defaults", "Name": "api", "ExternalSNI": "api.example" });
    entry(&api, external).await;
    let outside = api.get(API).await.json();
    assert_eq!((&outside["Targets"][0]["Mode"], &outside["Targets"][0]["SNI"]), (&json!(""), &json!("api.example")));
    assert!(outside["Targets"][0]["Because"].as_str().expect("a text").contains("service-defaults/api"));

    let modes = api.get("/v1/meshgate/explain/mode/web").await.json();
    assert_eq!(texts(&modes, "Upstream"), ["api?dc=dc2", "cache"]);
    assert_eq!(texts(&modes, "Mode"), ["", "local"]);
}

#[tokio::test]
async fn a_chain_that_cannot_be_compiled_is_told_with_the_ladder() {
    let api = two_datacenters().await;
    entry(&api, json!({ "Kind": "service-splitter", "Name": "api", "Splits": [{ "Weight": 100 }] })).await;

    let told = api.get(API).await.json();

    assert_eq!((&told["Targets"], told["Ladder"].as_array().map(Vec::len)), (&json!([]), Some(7)));
    assert!(told["Problems"][0].as_str().expect("a text").contains("cannot be compiled"), "{told}");
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_is() {
    let api = two_datacenters().await;
    let of = |rest: &str| format!("/v1/meshgate/explain/upstream/{rest}");

    api.get(&of("web-sidecar-proxy?upstream=db")).await.says(404, "it has api?dc=dc2, cache");
    api.get(&of("nobody?upstream=db")).await.says(404, "there is no proxy \"nobody\" in datacenter dc1");
    api.get(&of("mesh-gateway?upstream=db")).await.says(400, "only sidecars have upstreams");
    api.get(&of("web-sidecar-proxy?upstream=a/b/c/d")).await.says(400, "names no service");
    api.get("/v1/meshgate/explain/mode/nobody").await.says(404, "no proxy or service has it");
    api.get("/v1/meshgate/explain/mode/").await.says(400, "Missing proxy ID");
}

#[tokio::test]
async fn it_waits_for_news_of_what_was_told() {
    let api = two_datacenters().await;
    let now = api.get(API).await;
    let index = now.header("x-consul-index").to_owned();
    let path = format!("{API}&index={index}&wait=10s");
    let later = api.get(&path);
    let change = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        entry(&api, json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": mode("remote") })).await;
    };

    let (later, ()) = tokio::join!(later, change);

    assert_eq!(now.json()["Targets"][0]["Mode"], "");
    assert_eq!(later.json()["Targets"][0]["Mode"], "remote");
}

#[tokio::test]
async fn a_resource_is_told_field_by_field_with_the_rows_it_comes_from() {
    let api = two_datacenters().await;
    entry(&api, json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "3s" })).await;
    let of = |rest: &str| format!("/v1/meshgate/explain/resource/{rest}");

    let told = api.get(&of("web?type=cluster&resource=api.default.dc2&field=connectTimeout")).await.json();

    let field = &told["Fields"][0];
    assert_eq!((&field["Field"], &field["Value"]), (&json!("connectTimeout"), &json!("3s")));
    assert_eq!(texts(&field["Sources"], "Source"), ["service-resolver/api"], "{told:#}");
    assert_eq!(texts(&field["Sources"], "Field"), ["ConnectTimeout"]);
    assert_eq!((&field["Sources"][0]["Then"], &field["Sources"][0]["Instead"]), (&json!("5s"), &Value::Null));
    let exists = texts(&told["Exists"], "Field");
    assert!(exists.contains(&"Proxy.Upstreams[api].Datacenter"), "{exists:?}");
    let listener = api.get(&of("web?type=listener&resource=api")).await.json();
    let port = "address.socketAddress.portValue";
    let row = listener["Fields"].as_array().expect("a list").iter().find(|row| row["Field"] == port).expect("a port");
    assert!(row["Sources"].as_array().expect("a list").is_empty(), "a listener is called by its port: {row}");
    assert!(texts(&listener["Exists"], "Field").contains(&"Proxy.Upstreams[api].LocalBindPort"));
    api.get(&of("web?type=cluster&resource=nothing")).await.says(404, "it has api.default.dc2.internal");
    api.get(&of("web?type=cluster&resource=api&field=x")).await.says(404, "has no field \"x\"");
    api.get(&of("web?type=filter&resource=api")).await.says(400, "expected listener, cluster, endpoint or route");
}

#[tokio::test]
async fn an_endpoint_that_goes_is_all_that_its_instance_is_named_for() {
    let api = two_datacenters().await;
    for (id, port) in [("near-1", 4001), ("near-2", 4002), ("near-3", 4003)] {
        let sidecar = json!({ "Port": port + 1000 });
        let service = json!({ "ID": id, "Name": "cache", "Port": port, "Connect": { "SidecarService": sidecar } });
        api.put("/v1/agent/service/register", service).await.is(200, "");
    }

    let told = api.get("/v1/meshgate/explain/resource/web?type=endpoint&resource=cache").await.json();

    let rows = told["Fields"].as_array().expect("a list");
    let of_first =
        rows.iter().filter(|row| row["Sources"].to_string().contains("registration of near-1-sidecar-proxy "));
    let leaves: Vec<_> = of_first.map(|row| row["Field"].as_str().expect("a text")).collect();
    assert!(!leaves.is_empty(), "{told:#}");
    assert!(leaves.iter().all(|leaf| !leaf.contains(":5002]") && !leaf.contains(":5003]")), "{leaves:#?}");
    assert!(
        leaves.iter().any(|leaf| leaf.starts_with("endpoints[priority 0].lbEndpoints[") && leaf.contains(":5001].")),
        "{leaves:#?}"
    );
}

#[tokio::test]
async fn private_keys_in_escape_hatches_are_not_shown() {
    let api = two_datacenters().await;
    let key = "-----BEGIN PRIVATE KEY-----\nMIIsecret\n-----END PRIVATE KEY-----";
    let hatch = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "cache", "type": "STATIC",
        "connect_timeout": "5s", "metadata": { "filter_metadata": { "own": { "pem": key } } },
    });
    let upstream = json!({
        "DestinationName": "cache", "LocalBindPort": 9292, "Config": { "envoy_cluster_json": hatch.to_string() },
    });
    let sidecar = json!({ "Port": 21_000, "Proxy": { "Upstreams": [upstream] } });
    let service = json!({ "Name": "hatching", "Port": 8080, "Connect": { "SidecarService": sidecar } });
    api.put("/v1/agent/service/register", service).await.is(200, "");

    let told = api.get("/v1/meshgate/explain/resource/hatching?type=cluster&resource=cache").await;

    let body = told.json();
    let fields = body["Fields"].as_array().expect("a list");
    let pem = fields.iter().find(|row| row["Field"].as_str().expect("a text").ends_with(".pem")).expect("it is there");
    assert_eq!(pem["Value"], "<hidden>", "{pem:#}");
    // Without the hatch the cluster has another name.
    assert!(body["Exists"].to_string().contains("envoy_cluster_json"), "{body:#}");
    assert!(!told.text().contains("MIIsecret"), "{}", told.text());
}

/// What is told to decide about a call is what decides, and what is told to come next comes next.
#[tokio::test]
async fn the_intention_that_decides_is_told_with_what_would_be_without_it() {
    let api = TestApi::start().await;
    let source = |name: &str, action: &str| json!({ "Name": name, "Action": action });
    let of_api = [source("web", "deny"), source("*", "allow"), source("cron", "allow")];
    entry(&api, json!({ "Kind": "service-intentions", "Name": "api", "Sources": of_api })).await;
    entry(&api, json!({ "Kind": "service-intentions", "Name": "*", "Sources": [source("*", "deny")] })).await;
    let explained = async |source: &str, destination: &str| {
        let query = format!("source={source}&destination={destination}");
        let told = api.get(&format!("/v1/meshgate/explain/intention?{query}")).await.json();
        let allowed = api.get(&format!("/v1/connect/intentions/check?{query}")).await.json()["Allowed"] == true;
        assert_eq!(told["Action"], if allowed { "allow" } else { "deny" }, "{told}");
        told
    };

    let told = explained("web", "api").await;
    assert_eq!(told["Because"], "service-intentions/api  Sources[web].Action = deny");
    assert_eq!(told["Without"]["Because"], "service-intentions/api  Sources[*].Action = allow");
    assert_eq!(texts(&told["Intentions"], "Status"), ["other", "wins", "overridden", "overridden"]);
    let other = explained("batch", "shop").await;
    assert_eq!(other["Because"], "service-intentions/*  Sources[*].Action = deny");
    assert!(other["Without"]["Because"].as_str().expect("a text").starts_with("default_intention_policy"), "{other}");

    // Without the one that decides, what was told to come next decides.
    let of_api = [source("*", "allow"), source("cron", "allow")];
    entry(&api, json!({ "Kind": "service-intentions", "Name": "api", "Sources": of_api })).await;
    let next = explained("web", "api").await;
    assert_eq!((&next["Action"], &next["Because"]), (&told["Without"]["Action"], &told["Without"]["Because"]));

    let rules = json!([{ "Action": "allow", "HTTP": { "PathPrefix": "/" } }]);
    let by_request = json!({ "Name": "web", "Permissions": rules });
    entry(&api, json!({ "Kind": "service-defaults", "Name": "shop", "Protocol": "http" })).await;
    entry(&api, json!({ "Kind": "service-intentions", "Name": "shop", "Sources": [by_request] })).await;
    let told = api.get("/v1/meshgate/explain/intention?source=web&destination=shop").await.json();
    assert_eq!((&told["Action"], &told["Intentions"][0]["Value"]), (&json!("permissions"), &json!("1 rule")));
    assert_eq!(told["Intentions"][0]["Permissions"].as_array().expect("a list").len(), 1);
}
