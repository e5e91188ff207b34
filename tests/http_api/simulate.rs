//! What would become of traffic if something were gone, and that it comes to that.

use meshgate::engine::Engine;
use serde_json::{Value, json};

use crate::support::http::TestApi;

/// Web, api and lone in `dc1`, api in `dc2`, a gateway in both. Web calls all of them; for api, that of `dc2` stands in.
struct Story {
    api: TestApi,
    _engine: Engine,
}

impl Story {
    async fn start() -> Self {
        let (api, engine) = TestApi::with_engine_for(&["dc2"]).await;
        let story = Self { api, _engine: engine };
        let modes = json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": "local" } });
        story.put("/v1/config", modes).await;
        let failover = json!({ "*": { "Datacenters": ["dc2"] } });
        story.put("/v1/config", json!({ "Kind": "service-resolver", "Name": "api", "Failover": failover })).await;
        let upstreams = json!([
            { "DestinationName": "api", "LocalBindPort": 9191 },
            { "DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 9192 },
            { "DestinationName": "lone", "LocalBindPort": 9193 },
        ]);
        for (id, port) in [("web-1", 21_000), ("web-2", 21_001)] {
            story.service("", "web", id, port, &upstreams).await;
        }
        story.service("", "api", "api-1", 21_010, &json!([])).await;
        story.service("", "api", "api-2", 21_011, &json!([])).await;
        story.service("", "lone", "lone-1", 21_012, &json!([])).await;
        story.service("", "lone", "lone-2", 21_014, &json!([])).await;
        story.service("?dc=dc2", "api", "api-3", 21_013, &json!([])).await;
        for (query, host) in [("", "10.1.0.7"), ("?dc=dc2", "10.2.0.7")] {
            story.gateway(query, host).await;
        }
        for (service, query) in [("web", ""), ("api", ""), ("lone", ""), ("api", "?dc=dc2")] {
            story.get(&format!("/v1/agent/connect/ca/leaf/{service}{query}")).await;
        }
        story
    }

    async fn put(&self, path: &str, body: Value) {
        self.api.put(path, body).await.says(200, "");
    }

    async fn get(&self, path: &str) -> Value {
        self.api.get(path).await.json()
    }

    async fn service(&self, query: &str, name: &str, id: &str, port: u16, upstreams: &Value) {
        let check = json!({ "CheckID": format!("{id}-up"), "TTL": "1h", "Status": "passing" });
        let sidecar = json!({ "Port": port, "Proxy": { "Upstreams": upstreams }, "Check": check });
        let service = json!({ "Name": name, "ID": id, "Port": port + 1000, "Connect": { "SidecarService": sidecar } });
        self.put(&format!("/v1/agent/service/register{query}"), service).await;
    }

    async fn gateway(&self, query: &str, host: &str) {
        let addresses = json!({ "wan": { "Address": host, "Port": 443 } });
        let check = json!({ "CheckID": format!("{host}-up"), "TTL": "1h", "Status": "passing" });
        let gateway = json!({
            "Kind": "mesh-gateway", "Name": "edge", "Address": host, "Port": 8443, "TaggedAddresses": addresses,
            "Check": check,
        });
        self.put(&format!("/v1/agent/service/register{query}"), gateway).await;
    }

    async fn simulate(&self, query: &str) -> Value {
        self.get(&format!("/v1/meshgate/simulate?{query}")).await
    }
}

/// An upstream with what becomes of it, and where it would lead.
type Effect<'v> = (&'v str, &'v str, Vec<(&'v str, u64)>);

fn effects(simulation: &Value) -> Vec<Effect<'_>> {
    fn row(it: &Value) -> Effect<'_> {
        let then = it["Then"].as_array().expect("a list").iter();
        let then =
            then.map(|to| (to["Service"].as_str().expect("a name"), to["Instances"].as_u64().expect("a number")));
        (it["Upstream"].as_str().expect("a name"), it["Effect"].as_str().expect("a word"), then.collect())
    }
    simulation["Affected"].as_array().expect("a list").iter().map(row).collect()
}

const NEAR: &str = "dc1/default/default/api";
const FAR: &str = "dc2/default/default/api";

#[tokio::test]
async fn a_failure_says_who_falls_back_where_and_who_is_lost() {
    let story = Story::start().await;
    let index = story.api.store.view().index();

    let one = story.simulate("down=dc1/instance:lone-1").await;
    assert_eq!(effects(&one), [("lone", "fewer", vec![("dc1/default/default/lone", 1)])], "{one:#}");
    assert_eq!(one["Affected"][0]["Now"], json!([{ "Service": "dc1/default/default/lone", "Instances": 2 }]));
    assert_eq!(one["Affected"][0]["Sidecars"], 2);
    // With an application its sidecar is gone.
    let down: Vec<_> = one["Down"].as_array().expect("a list").iter().map(|it| it["ID"].as_str()).collect();
    assert_eq!(down, [Some("lone-1"), Some("lone-1-sidecar-proxy")]);
    // Envoy begins to use the next turn when less than 5 of 7 instances are left.
    let half = story.simulate("down=dc1/instance:api-1").await;
    assert_eq!(effects(&half), [("api", "moved", vec![(NEAR, 1), (FAR, 1)])], "{half:#}");

    let both = story.simulate("down=dc1/api").await;
    assert_eq!(effects(&both), [("api", "moved", vec![(FAR, 1)])], "{both:#}");
    assert_eq!(both["Upstreams"]["Same"], 4, "{both:#}");

    let gateway = story.simulate("down=dc1/api&down=dc2/mesh-gateway").await;
    assert_eq!(effects(&gateway), [("api", "lost", vec![]), ("api?dc=dc2", "lost", vec![])], "{gateway:#}");
    assert_eq!((&gateway["Upstreams"]["Lost"], &gateway["Upstreams"]["Total"]), (&json!(4), &json!(6)));
    assert_eq!(gateway["Affected"][0]["Callers"], "connection closed");

    // Everything of `dc1` is on this node: nobody is left who would notice.
    let all = story.simulate("down=node:localhost").await;
    assert_eq!(all["Upstreams"]["Total"], 0, "{all:#}");
    let lone = story.simulate("down=dc1/lone&called=lone").await;
    assert_eq!(effects(&lone), [("lone", "lost", vec![])], "{lone:#}");
    let far = story.simulate("down=dc2").await;
    assert_eq!(effects(&far), [("api?dc=dc2", "lost", vec![])], "{far:#}");
    let short = story.simulate("down=dc2&limit=0").await;
    assert_eq!((&short["Affected"], &short["MoreAffected"]), (&json!([]), &json!(1)));
    assert_eq!(story.api.store.view().index(), index, "nothing is stored");
}

#[tokio::test]
async fn what_is_predicted_comes_true() {
    let story = Story::start().await;
    let ends = |answer: &Value| -> Vec<String> {
        let ways = answer["Ways"].as_array().expect("a list").iter();
        let arrives = ways.filter(|way| way["Outcome"] == "arrives");
        let last =
            |way: &Value| way["Hops"].as_array().and_then(|hops| hops.last()).map(|hop| hop["Proxy"].to_string());
        arrives.filter_map(last).collect()
    };
    let before = story.get("/v1/meshgate/path?from=web&to=api").await;
    assert_eq!(ends(&before).len(), 2, "{before:#}");

    let predicted = story.simulate("down=dc1/api").await;
    for check in ["api-1-up", "api-2-up"] {
        story.put(&format!("/v1/agent/check/fail/{check}"), json!({})).await;
    }

    let after = story.get("/v1/meshgate/path?from=web&to=api").await;
    assert_eq!(effects(&predicted), [("api", "moved", vec![(FAR, 1)])]);
    assert_eq!(ends(&after), ["\"dc2/default/localhost/api-3-sidecar-proxy\""], "{after:#}");
}

#[tokio::test]
async fn what_is_not_there_cannot_fail() {
    let story = Story::start().await;
    for (query, status, part) in [
        ("", 400, "down"),
        ("down=dc9", 404, "names nothing that is registered"),
        ("down=dc1/nobody&down=dc1//x", 404, "is no name; expected a datacenter"),
        ("down=a/b/c/d", 404, "dc2/mesh-gateway"),
        ("down=dc1&limit=1001", 400, "at most 1000"),
    ] {
        story.api.get(&format!("/v1/meshgate/simulate?{query}")).await.says(status, part);
    }
    let without = TestApi::start().await;
    without.register(json!({ "Name": "api", "Port": 80 })).await;
    without.get("/v1/meshgate/simulate?down=dc1/api").await.says(503, "not configured");
}
