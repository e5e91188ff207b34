//! Changes that some proxies try before they are made.

use std::time::Duration;

use futures::StreamExt;
use meshgate::engine::Engine;
use meshgate::envoy::snapshot::{
    Feedback, NodeIdentity, Numbers, Open, Progress, Published, ResourceType, SnapshotSource, Unsettled, Watch,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::{Answer, TestApi};

const APPLY: &str = "/v1/meshgate/apply";

/// A client of a proxy that says what the test has it say.
struct Client {
    stream: Box<dyn Watch>,
    number: u64,
}

impl Client {
    async fn new(engine: &Engine, id: &str) -> Self {
        let node = NodeIdentity { id: id.into(), ..NodeIdentity::default() };
        let mut stream = engine.watch(&node, 0);
        stream.report(Feedback::Connected { user_agent_version: "1.40.0".to_owned() });
        let mut client = Self { stream, number: 0 };
        client.take().await;
        client
    }

    async fn next(&mut self) -> Published {
        let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await;
        let next = next.expect("in time").expect("a snapshot");
        self.number = next.number;
        next
    }

    async fn take(&mut self) -> Published {
        let next = self.next().await;
        self.stream.progress(Progress { taken: next.number, unsettled: Vec::new() });
        next
    }

    async fn refuse(&mut self) {
        let after = self.number;
        let until = self.next().await.number;
        let kind = ResourceType::Cluster;
        self.stream.report(Feedback::Nacked { kind, resources: Vec::new(), message: "no such thing".to_owned() });
        let changed = Numbers { after, until };
        let open = Unsettled { kind, name: Some("api".into()), changed, why: Open::Refused };
        self.stream.progress(Progress { taken: until, unsettled: vec![open] });
    }

    fn has_no_news(&mut self) -> bool {
        futures::FutureExt::now_or_never(self.stream.next()).is_none()
    }
}

/// A mesh in which web and shop call api, each with a client that has taken everything.
async fn mesh() -> (TestApi, [Client; 2], Engine) {
    let (api, engine) = TestApi::with_engine().await;
    let calling = json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]);
    for (name, port, upstreams) in
        [("api", 21_001, json!([])), ("web", 21_000, calling.clone()), ("shop", 21_002, calling)]
    {
        let sidecar = json!({ "Port": port, "Proxy": { "Upstreams": upstreams } });
        api.register(json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": sidecar } })).await;
    }
    let clients = [Client::new(&engine, "shop-sidecar-proxy").await, Client::new(&engine, "web-sidecar-proxy").await];
    (api, clients, engine)
}

fn resolver(timeout: &str) -> Value {
    json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": timeout })
}

async fn apply(api: &TestApi, query: &str, body: &Value) -> Answer {
    api.call(Method::POST, &format!("{APPLY}?{query}"), &[], body.to_string()).await
}

#[tokio::test]
async fn a_change_is_made_once_some_proxies_have_taken_it() {
    let (api, [mut shop, mut web], _engine) = mesh().await;
    let entry = resolver("7s");

    let (answer, sent) = tokio::join!(apply(&api, "canary=3&canary-timeout=9s&canary-for=1ms", &entry), async {
        // Both are needed.
        let to_shop = shop.take().await;
        api.get("/v1/config/service-resolver/api").await.says(404, "not found");
        (to_shop, web.take().await)
    });

    let applied = answer.json();
    assert_eq!((&applied["Changed"], &applied["Trial"]["Asked"]), (&json!(true), &json!(3)));
    let tried = applied["Trial"]["Proxies"].as_array().expect("a list").iter();
    let tried: Vec<_> = tried.map(|it| (it["ID"].as_str(), it["Kind"].as_str(), it["Alike"].as_u64())).collect();
    let of = |id| (Some(id), Some("connect-proxy"), Some(2));
    assert_eq!(tried, [of("shop-sidecar-proxy"), of("web-sidecar-proxy")]);
    assert_eq!((shop.take().await.snapshot, web.take().await.snapshot), (sent.0.snapshot, sent.1.snapshot));
    let index = applied["Index"].as_u64().expect("an index");
    let reached = api.get(&format!("/v1/meshgate/wait?revision={index}&wait=9s")).await.json();
    assert_eq!((&reached["Live"], &reached["Acknowledged"]), (&json!(true), &json!(2)));

    // What is there already, and what touches nobody, needs no proof.
    let again = apply(&api, "canary=1", &entry).await.json();
    assert_eq!((&again["Changed"], again.get("Trial")), (&json!(false), None));
    let other = json!({ "Kind": "service-resolver", "Name": "unrelated", "ConnectTimeout": "1s" });
    let untouched = apply(&api, "canary=1", &other).await.json();
    assert_eq!((&untouched["Changed"], &untouched["Trial"]["Proxies"]), (&json!(true), &json!([])));
}

#[tokio::test]
async fn what_a_proxy_refuses_is_not_stored_and_reaches_no_second_one() {
    let (api, [mut shop, mut web], engine) = mesh().await;
    let index = api.store.view().index();
    let entry = resolver("7s");

    let (answer, ()) = tokio::join!(apply(&api, "canary=1", &entry), shop.refuse());

    answer.says(409, "nothing was stored: dc1/default/");
    answer.says(409, "/shop-sidecar-proxy (connect-proxy, Envoy 1.40.0) refused it: CDS api: no such thing. Correct");
    assert_eq!(api.store.view().index(), index);
    shop.take().await;
    assert!(web.has_no_news());
    let trials: Vec<_> =
        engine.events_from(0).into_iter().filter(|event| format!("{:?}", event.what).contains("Trial")).collect();
    assert_eq!(trials.len(), 2, "{trials:?}");
    let counted = |metrics: serde_json::Value, result: &str| {
        let counters = metrics["Counters"].as_array().expect("a list").clone();
        let is_it = |it: &&serde_json::Value| it["Name"] == "meshgate.trial_total" && it["Labels"]["result"] == result;
        counters.iter().find(is_it).expect("it is counted")["Sum"].as_f64()
    };
    let metrics = api.get("/v1/agent/metrics").await.json();
    assert_eq!((counted(metrics.clone(), "halted"), counted(metrics, "made")), (Some(1.0), Some(0.0)));
    // Rules are looked at before anybody tries it.
    let split = json!({ "Kind": "service-splitter", "Name": "api", "Splits": [{ "Weight": 100 }] });
    apply(&api, "canary=1", &split).await.says(409, "api speaks tcp");
    assert!(shop.has_no_news());
}

#[tokio::test]
async fn a_trial_ends_with_the_call_and_with_what_others_change() {
    let (api, [mut shop, mut web], _engine) = mesh().await;
    let (before, entry) = (api.store.view().index(), resolver("7s"));

    let (dropped, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(300), apply(&api, "canary=1&canary-for=1m", &entry)),
        async {
            shop.take().await;
            apply(&api, "canary=1", &resolver("8s")).await.says(409, "another change is being tried");
        }
    );
    assert!(dropped.is_err());
    shop.take().await;

    let planned = format!("planned={before}&canary=1&canary-for=1m");
    let (overtaken, ()) = tokio::join!(apply(&api, &planned, &entry), async {
        shop.take().await;
        apply(&api, "", &resolver("9s")).await.says(200, "Index");
    });
    overtaken.says(409, "after the plan was made: plan again");
    shop.take().await;
    web.take().await;
    assert_eq!(api.get("/v1/config/service-resolver/api").await.json()["ConnectTimeout"], "9s");

    // Without a plan it is about what was there when it was tried.
    let (overtaken, ()) = tokio::join!(apply(&api, "canary=1&canary-for=1m", &entry), async {
        shop.take().await;
        apply(&api, "", &resolver("10s")).await.says(200, "Index");
    });
    overtaken.says(409, "while proxies tried the change: apply it again");
    assert_eq!(api.get("/v1/config/service-resolver/api").await.json()["ConnectTimeout"], "10s");
}

#[tokio::test]
async fn a_trial_that_cannot_be_is_refused() {
    let (api, clients, _engine) = mesh().await;
    let entry = resolver("7s");
    for (query, part) in [
        ("canary=0", "at least 1"),
        ("canary=some", "at least 1"),
        ("canary=101", "at most 100"),
        ("canary=1&canary-for=soon", "a duration such as 30s"),
        ("canary=1&canary-for=4m&canary-timeout=61s", "no longer than 5m together"),
    ] {
        apply(&api, query, &entry).await.says(400, part);
    }
    let late = json!({ "services": [{ "Name": "late", "Port": 90, "Connect": { "SidecarService": {} } }] });
    apply(&api, "canary=1", &late).await.says(409, "of the 1 proxies that the change touches none is connected");
    drop(clients);
    let without = TestApi::start().await;
    apply(&without, "canary=1", &entry).await.says(503, "not configured");
}
