//! Discovery chains: the graph that entries make (contract 2.7), as `/v1/discovery-chain/` shows it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const SUFFIX: &str = "internal.11111111-2222-3333-4444-555555555555.consul";

/// An API with these entries, which nobody checks against each other.
async fn with(entries: &[Value]) -> TestApi {
    let api = TestApi::start().await;
    for entry in entries {
        api.put("/v1/config", entry).await.is(200, "true");
    }
    api
}

fn speaks(service: &str, protocol: &str) -> Value {
    json!({ "Kind": "service-defaults", "Name": service, "Protocol": protocol })
}

fn all_speak_http() -> Value {
    json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } })
}

fn resolver(service: &str, more: Value) -> Value {
    entry("service-resolver", service, more)
}

fn splitter(service: &str, splits: Value) -> Value {
    entry("service-splitter", service, json!({ "Splits": splits }))
}

fn router(service: &str, routes: Value) -> Value {
    entry("service-router", service, json!({ "Routes": routes }))
}

fn entry(kind: &str, name: &str, more: Value) -> Value {
    let mut entry = json!({ "Kind": kind, "Name": name });
    let fields = entry.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    entry
}

/// The chain of a service without the parts of names that are the same everywhere, one line for each node: routes with
/// their paths, splits with their weights, targets with their failover.
async fn shape(api: &TestApi, service: &str) -> Vec<String> {
    let chain = api.get(&format!("/v1/discovery-chain/{service}")).await.json()["Chain"].take();
    let short = |value: &Value| value.as_str().unwrap_or("?").replace(".default.default", "");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let node = |(key, node): (&String, &Value)| {
        let mut line = short(&json!(key));
        for route in list(&node["Routes"]) {
            let http = &route["Definition"]["Match"]["HTTP"];
            let path = http["PathExact"].as_str().or(http["PathPrefix"].as_str()).unwrap_or("any");
            line += &format!(" [{path} {}]", short(&route["NextNode"]));
        }
        for split in list(&node["Splits"]) {
            line += &format!(" [{}% {}]", split["Weight"], short(&split["NextNode"]));
        }
        if node["Resolver"]["Default"] == true {
            line += " default";
        }
        for leg in list(&node["Resolver"]["Failover"]["Targets"]) {
            line += &format!(" else {}", short(&leg));
        }
        line
    };
    let nodes = chain["Nodes"].as_object().expect("nodes");
    let start = format!("{} {}", chain["Protocol"].as_str().unwrap_or("?"), short(&chain["StartNode"]));
    let is_default = if chain["Default"] == true { " default" } else { "" };
    std::iter::once(format!("{start}{is_default}")).chain(nodes.iter().map(node)).collect()
}

async fn refuses(entries: &[Value], service: &str, reason: &str) {
    let api = with(entries).await;
    api.get(&format!("/v1/discovery-chain/{service}")).await.says(500, reason);
}

#[tokio::test]
async fn a_service_without_entries_has_a_default_chain() {
    let api = TestApi::start().await;

    let chain = api.get("/v1/discovery-chain/web").await;

    assert!(chain.index() >= 1);
    assert_eq!(
        chain.json(),
        json!({ "Chain": {
            "ServiceName": "web", "Namespace": "default", "Partition": "default", "Datacenter": "dc1",
            "Default": true, "Protocol": "tcp", "StartNode": "resolver:web.default.default.dc1",
            "Nodes": { "resolver:web.default.default.dc1": {
                "Type": "resolver", "Name": "web.default.default.dc1",
                "Resolver": { "Default": true, "ConnectTimeout": "5s", "Target": "web.default.default.dc1" },
            } },
            "Targets": { "web.default.default.dc1": {
                "ID": "web.default.default.dc1", "Service": "web", "Namespace": "default", "Partition": "default",
                "Datacenter": "dc1", "MeshGateway": {}, "Subset": {}, "ConnectTimeout": "5s",
                "SNI": format!("web.default.dc1.{SUFFIX}"), "Name": format!("web.default.dc1.{SUFFIX}"),
            } },
        } })
    );
    api.refuses(Method::GET, "/v1/discovery-chain/", "", 400, "service name").await;
}

#[tokio::test]
async fn overrides_count_where_they_change_something() {
    let web = json!({
        "Kind": "service-defaults", "Name": "web", "Protocol": "http", "MeshGateway": { "Mode": "remote" },
    });
    let api = with(&[web]).await;
    let asked = async |body: Value| {
        let path = "/v1/discovery-chain/web";
        api.call(Method::POST, path, &[], body.to_string()).await.json()["Chain"].take()
    };
    let target = "web.default.default.dc1";

    for same in [
        json!({ "OverrideProtocol": "http" }),
        json!({ "OverrideConnectTimeout": "5s" }),
        json!({ "OverrideMeshGateway": { "Mode": "remote" } }),
    ] {
        assert_eq!(asked(same.clone()).await["CustomizationHash"], Value::Null, "{same}");
    }

    let other = asked(json!({
        "override_protocol": "grpc", "OverrideConnectTimeout": "22s", "OverrideMeshGateway": { "Mode": "local" },
    }))
    .await;
    assert_eq!((&other["CustomizationHash"], &other["Protocol"]), (&json!("98809527"), &json!("grpc")));
    let resolver = &other["Nodes"][format!("resolver:{target}")]["Resolver"];
    assert_eq!(resolver["ConnectTimeout"], "22s");
    assert_eq!(other["Targets"][target]["MeshGateway"], json!({ "Mode": "local" }));

    let nanoseconds = asked(json!({ "OverrideConnectTimeout": 66_000_000_000_i64 })).await;
    assert_eq!(nanoseconds["CustomizationHash"], "55dbbc81");
    let body = json!({ "OverrideMeshGateway": { "Mode": "sideways" } });
    api.refuses(Method::POST, "/v1/discovery-chain/web", body, 400, "sideways").await;
}

#[tokio::test]
async fn the_name_can_be_understood_in_another_datacenter() {
    let api = TestApi::start().await;

    let chain = api.get("/v1/discovery-chain/web?compile-dc=dc9").await.json()["Chain"].take();

    assert_eq!(
        (&chain["Datacenter"], &chain["StartNode"]),
        (&json!("dc9"), &json!("resolver:web.default.default.dc9"))
    );
}

#[tokio::test]
async fn a_router_leads_to_splitters_subsets_and_at_last_to_its_own_service() {
    let api = with(&[
        all_speak_http(),
        resolver("api", json!({ "Subsets": { "v2": { "Filter": "Service.Meta.v == 2" } } })),
        splitter("web", json!([{ "Weight": 60 }, { "Weight": 40, "Service": "web2" }])),
        splitter("api", json!([{ "Weight": 100, "Service": "other" }])),
        router(
            "web",
            json!([
                { "Match": { "HTTP": { "PathPrefix": "/api" } }, "Destination": { "Service": "api" } },
                {
                    "Match": { "HTTP": { "PathExact": "/v2" } },
                    "Destination": { "Service": "api", "ServiceSubset": "v2" },
                },
                { "Match": { "HTTP": { "PathExact": "/own" } } },
            ]),
        ),
    ])
    .await;

    // A subset is meant as it stands, whatever the splitter of its service says.
    assert_eq!(
        shape(&api, "web").await,
        [
            "http router:web",
            "resolver:other.dc1 default",
            "resolver:v2.api.dc1",
            "resolver:web.dc1 default",
            "resolver:web2.dc1 default",
            "router:web [/api splitter:api] [/v2 resolver:v2.api.dc1] [/own splitter:web] [/ splitter:web]",
            "splitter:api [100.0% resolver:other.dc1]",
            "splitter:web [60.0% resolver:web.dc1] [40.0% resolver:web2.dc1]",
        ]
    );
    // Only a service's own router counts.
    assert_eq!(shape(&api, "api").await[0], "http splitter:api");
}

#[tokio::test]
async fn splitters_are_multiplied_into_those_that_lead_to_them() {
    let split = |weight: f64, service: &str| json!({ "Weight": weight, "Service": service });
    let api = with(&[
        all_speak_http(),
        splitter("web", json!([split(50.0, "inner"), split(50.0, "web")])),
        splitter("inner", json!([split(33.33, "a"), split(66.67, "b")])),
    ])
    .await;

    let shape = shape(&api, "web").await;
    let splitters: Vec<_> = shape.iter().filter(|line| line.starts_with("splitter:")).collect();
    assert_eq!(splitters, ["splitter:web [16.67% resolver:a.dc1] [33.34% resolver:b.dc1] [50.0% resolver:web.dc1]"]);
}

#[tokio::test]
async fn a_splitter_takes_the_first_hashing_balancer_of_its_resolvers() {
    let ring = json!({ "Policy": "ring_hash", "HashPolicies": [{ "Field": "header", "FieldValue": "x-user" }] });
    let api = with(&[
        all_speak_http(),
        resolver("a", json!({ "LoadBalancer": { "Policy": "random" } })),
        resolver("b", json!({ "LoadBalancer": ring })),
        splitter("web", json!([{ "Weight": 50, "Service": "a" }, { "Weight": 50, "Service": "b" }])),
    ])
    .await;

    let chain = api.get("/v1/discovery-chain/web").await.json()["Chain"].take();

    assert_eq!(chain["Nodes"]["splitter:web.default.default"]["LoadBalancer"]["Policy"], "ring_hash");
}

#[tokio::test]
async fn redirects_and_default_subsets_are_followed() {
    let api = with(&[
        resolver("web", json!({ "Redirect": { "Service": "api", "Datacenter": "dc2" } })),
        resolver("api", json!({ "DefaultSubset": "v1", "Subsets": { "v1": { "OnlyPassing": true } } })),
        resolver("plain", json!({ "Redirect": { "Service": "db" } })),
        resolver("far", json!({ "Redirect": { "Service": "db", "Peer": "west" } })),
    ])
    .await;

    assert_eq!(shape(&api, "web").await, ["tcp resolver:v1.api.dc2", "resolver:v1.api.dc2"]);
    // A redirect to a default resolver is no default chain.
    assert_eq!(shape(&api, "plain").await, ["tcp resolver:db.dc1", "resolver:db.dc1 default"]);
    assert_eq!(shape(&api, "far").await[0], "tcp resolver:db.external.west");
}

#[tokio::test]
async fn failover_takes_the_section_of_the_subset_or_of_all() {
    let subsets = json!({ "v1": {}, "v2": {} });
    let api = with(&[
        resolver(
            "web",
            json!({
                "DefaultSubset": "v1",
                "Subsets": subsets,
                "Failover": {
                    "v1": { "Datacenters": ["dc2", "dc1", "dc3"] },
                    "*": { "Targets": [{ "Service": "api" }, { "Peer": "west" }, { "ServiceSubset": "v1" }] },
                },
            }),
        ),
        resolver("api", json!({ "Redirect": { "Datacenter": "dc4" } })),
        resolver("again", json!({ "Redirect": { "Service": "web", "ServiceSubset": "v2" } })),
        resolver("loop", json!({ "Failover": { "*": { "Service": "pool" } } })),
        resolver("pool", json!({ "Failover": { "*": { "Service": "loop" } } })),
    ])
    .await;

    // The primary is no leg of its own.
    let own = &shape(&api, "web").await[1];
    assert_eq!(own, "resolver:v1.web.dc1 else v1.web.dc2 else v1.web.dc3");
    // Legs follow redirects. A leg in another service starts without a subset.
    let other = &shape(&api, "again").await[1];
    assert_eq!(other, "resolver:v2.web.dc1 else api.dc4 else web.external.west else v1.web.dc1");
    // Legs never follow their own failover, so that circles are legal.
    assert_eq!(shape(&api, "loop").await[1], "resolver:loop.dc1 else pool.dc1");
}

#[tokio::test]
async fn the_protocol_of_a_chain() {
    // service-defaults without a protocol mean tcp, whatever proxy-defaults say.
    let api = with(&[all_speak_http(), json!({ "Kind": "service-defaults", "Name": "quiet" })]).await;
    assert_eq!(shape(&api, "quiet").await[0], "tcp resolver:quiet.dc1 default");
    assert_eq!(shape(&api, "web").await[0], "http resolver:web.dc1 default");

    // A caller who speaks no requests passes routers and splitters by, which is a change.
    let api = with(&[all_speak_http(), router("web", json!([]))]).await;
    let body = json!({ "OverrideProtocol": "tcp" }).to_string();
    let chain = api.call(Method::POST, "/v1/discovery-chain/web", &[], body).await.json()["Chain"].take();
    assert_eq!((&chain["Protocol"], &chain["CustomizationHash"]), (&json!("tcp"), &json!("96f2c150")));
    assert_eq!(chain["StartNode"], "resolver:web.default.default.dc1");
}

#[tokio::test]
async fn what_makes_no_sense_is_told() {
    let to = |service: &str| json!([{ "Weight": 100, "Service": service }]);
    let redirect = |service: &str| json!({ "Redirect": { "Service": service } });
    refuses(&[resolver("a", redirect("b")), resolver("b", redirect("a"))], "a", "circular redirect: a.").await;
    refuses(&[all_speak_http(), splitter("a", to("b")), splitter("b", to("a"))], "a", "circular split: ").await;
    refuses(&[splitter("web", to("api"))], "web", "speaks tcp, and its splitter needs requests").await;
    refuses(&[router("web", json!([]))], "web", "speaks tcp, and its router needs requests").await;
    let subset = json!({ "Redirect": { "Service": "api", "ServiceSubset": "v9" } });
    refuses(&[resolver("web", subset)], "web", "api has no subset \"v9\"").await;
    let mixed = [speaks("web", "http"), speaks("api", "grpc"), splitter("web", to("api"))];
    refuses(&mixed, "web", "protocol mismatch: web speaks http, api speaks grpc").await;
    let outside = json!({ "Kind": "service-defaults", "Name": "ext", "ExternalSNI": "ext.example" });
    refuses(&[outside, resolver("ext", redirect("web"))], "ext", "ExternalSNI").await;
}
