//! Blocking queries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshgate::api::CentralConfig;
use meshgate::model::{CheckId, Place, Proxy, QueryResult, Service};
use meshgate::store::{NodeKey, Op, Reader};

use serde_json::json;

use crate::support::http::{Answer, LIMIT, TestApi};

/// Longer than any wait in these tests, so that an answer before it was woken by a change.
const LONG: &str = "wait=60s";

/// Runs a query together with the change that ends it, which happens once the query waits.
async fn woken(api: &TestApi, path: &str, change: impl Future<Output = ()>) -> Answer {
    let change = async {
        while api.metrics.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        change.await;
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(api.get(path), change).0 })
        .await
        .expect("the change wakes the query")
}

#[tokio::test]
async fn an_agent_says_how_long_a_call_waits_that_does_not_say_it_and_how_long_at_most() {
    let waits = meshgate::api::Waits { default: Duration::from_millis(100), longest: Duration::from_millis(200) };
    let api = TestApi::start_with(|api| api.options.waits = waits).await;
    let index = api.get("/v1/catalog/nodes").await.index();

    for (wait, least) in [("", 100), ("&wait=10m", 200)] {
        let start = Instant::now();
        let answer = api.get(&format!("/v1/catalog/nodes?index={index}{wait}")).await;
        let took = start.elapsed().as_millis();
        assert_eq!((answer.status, answer.index()), (200, index));
        assert!(took >= least, "{wait:?} took {took} ms");
    }
}

#[tokio::test]
async fn without_a_change_the_wait_ends_with_the_same_index() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;
    let index = api.get("/v1/catalog/nodes").await.index();

    let started = Instant::now();
    let answer = api.get(&format!("/v1/catalog/nodes?index={index}&wait=100ms")).await;

    assert_eq!((answer.status, answer.index()), (200, index));
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_older_index_is_answered_at_once() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;
    let index = api.get("/v1/catalog/nodes").await.index();

    for seen in [0, index - 1] {
        let answer = tokio::time::timeout(LIMIT, api.get(&format!("/v1/catalog/nodes?index={seen}&{LONG}"))).await;
        assert_eq!(answer.expect("at once").index(), index);
    }
}

#[tokio::test]
async fn a_change_wakes_the_query() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;
    let seen = api.get("/v1/catalog/nodes").await.index();

    let node = json!({ "Node": "n", "Address": "10.0.0.1" });
    let register = async { api.put("/v1/catalog/register", node).await.is(200, "true") };
    let answer = woken(&api, &format!("/v1/catalog/nodes?index={seen}&{LONG}"), register).await;

    assert!(answer.index() > seen);
    assert_eq!(answer.json().as_array().expect("a list").len(), 2);
}

#[tokio::test]
async fn a_new_prepared_query_wakes_who_waits_for_the_names_in_tls() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;
    let seen = api.get("/v1/meshgate/sni?all").await.index();

    let place = Place::new(&"dc1".into(), &"default".into());
    let query = QueryResult {
        datacenter: place.datacenter,
        partition: place.partition,
        name: "geo".to_owned(),
        nodes: Vec::new(),
    };
    let write = async {
        api.store.write(vec![Op::PutQuery(query)]).await.expect("it is accepted");
    };
    let answer = woken(&api, &format!("/v1/meshgate/sni?all&index={seen}&{LONG}"), write).await;

    assert!(answer.text().contains("geo.default.dc1.query."), "{}", answer.text());
}

#[tokio::test]
async fn what_is_absent_wakes_when_it_appears_and_not_before() {
    let api = TestApi::start().await;
    let seen = api.get("/v1/health/service/web").await.index();

    let others = async {
        for name in ["a", "b", "c"] {
            api.register(json!({ "Name": name })).await;
        }
        api.register(json!({ "Name": "web" })).await;
    };
    let answer = woken(&api, &format!("/v1/health/service/web?index={seen}&{LONG}"), others).await;

    assert_eq!((answer.json()[0]["Service"]["ID"].clone(), answer.index()), (json!("web"), api.store.view().index()));
}

#[tokio::test]
async fn other_writes_do_not_move_the_index_of_a_query() {
    let api = TestApi::start().await;
    let path = "/v1/config/service-defaults/web";
    api.put("/v1/config", json!({ "Kind": "service-defaults", "Name": "web" })).await.is(200, "true");
    let seen = api.get(path).await.index();

    api.put("/v1/config", json!({ "Kind": "service-defaults", "Name": "other" })).await.is(200, "true");
    api.register(json!({ "Name": "web" })).await;

    assert_eq!(api.get(path).await.index(), seen);
}

#[tokio::test]
async fn the_first_write_of_all_is_news() {
    let api = TestApi::start().await;
    let seen = api.get("/v1/config/mesh/mesh").await.index();

    let write = async { api.put("/v1/config", json!({ "Kind": "mesh" })).await.is(200, "true") };
    let answer = woken(&api, &format!("/v1/config/mesh/mesh?index={seen}&{LONG}"), write).await;

    assert_eq!(answer.json()["Kind"], "mesh");
}

#[tokio::test]
async fn an_absent_entry_is_told_when_the_wait_ends() {
    let api = TestApi::start().await;
    let seen = api.get("/v1/config/mesh/mesh").await.index();

    let answer = api.get(&format!("/v1/config/mesh/mesh?index={seen}&wait=50ms")).await;

    answer.says(404, "Config entry not found");
    assert_eq!(answer.index(), seen);
}

#[tokio::test]
async fn a_hash_is_waited_on_like_an_index() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Port": 80 })).await;
    let first = api.get("/v1/agent/service/web").await;
    let hash = first.header("x-consul-contenthash").to_owned();
    assert_eq!(first.json()["ContentHash"], json!(hash));

    let started = Instant::now();
    let same = api.get(&format!("/v1/agent/service/web?hash={hash}&wait=100ms")).await;
    assert_eq!(same.header("x-consul-contenthash"), hash);
    assert!(started.elapsed() >= Duration::from_millis(100));

    let path = format!("/v1/agent/service/web?hash={hash}&{LONG}");
    let changed = woken(&api, &path, api.register(json!({ "Name": "web", "Port": 81 }))).await;
    assert_ne!(changed.header("x-consul-contenthash"), hash);
    assert_eq!(changed.json()["Port"], 81);

    let path = format!("/v1/agent/service/web?hash={}&{LONG}", changed.header("x-consul-contenthash"));
    let deregister = async { api.put("/v1/agent/service/deregister/web", "").await.is(200, "") };
    woken(&api, &path, deregister).await.is(404, "unknown service ID: web");
}

#[tokio::test]
async fn a_stop_ends_the_wait_with_the_current_state() {
    let api = TestApi::start().await;
    let seen = api.get("/v1/catalog/nodes").await.index();

    let path = format!("/v1/catalog/nodes?index={seen}&{LONG}");
    let answer = woken(&api, &path, async { api.shutdown.cancel() }).await;

    assert_eq!((answer.status, answer.index()), (200, seen));
    tokio::time::timeout(LIMIT, api.served).await.expect("it drains").expect("it does not panic");
}

/// Counts how often it is asked, which is how often the answer is made.
#[derive(Default)]
struct Counts(AtomicU64);

impl CentralConfig for Counts {
    fn merged(&self, _: &Reader<'_>, _: &Place, service: &Service) -> Proxy {
        self.0.fetch_add(1, Ordering::Relaxed);
        service.proxy.clone()
    }

    fn exposed_ports(&self, _: &Reader<'_>, _: &NodeKey) -> BTreeMap<CheckId, u16> {
        BTreeMap::new()
    }
}

#[tokio::test]
async fn an_answer_is_made_anew_only_for_changes_of_what_it_is_made_of() {
    let counts = Arc::new(Counts::default());
    let api = TestApi::start_with(|api| api.central = counts.clone()).await;
    let proxy = |port: u16| json!({ "Name": "p", "Kind": "connect-proxy", "Port": port, "Proxy": { "DestinationServiceName": "web" } });
    api.register(proxy(1)).await;
    let hash = api.get("/v1/agent/service/p").await.header("x-consul-contenthash").to_owned();
    let before = counts.0.load(Ordering::Relaxed);

    let changes = async {
        for number in 0..20 {
            api.register(json!({ "Name": format!("other-{number}") })).await;
            api.put("/v1/config", json!({ "Kind": "service-defaults", "Name": number.to_string() }))
                .await
                .is(200, "true");
        }
        api.register(proxy(2)).await;
    };
    let answer = woken(&api, &format!("/v1/agent/service/p?hash={hash}&{LONG}"), changes).await;

    assert_eq!(answer.json()["Port"], 2);
    assert_eq!(counts.0.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test]
async fn a_query_that_waits_keeps_no_state() {
    let api = TestApi::start().await;
    let seen = api.get("/v1/health/service/web").await.index();
    let old = Arc::downgrade(&api.store.view());

    let changes = async {
        api.register(json!({ "Name": "other" })).await;
        let limit = Instant::now() + LIMIT;
        while old.upgrade().is_some() && Instant::now() < limit {
            tokio::task::yield_now().await;
        }
        let is_kept = old.upgrade().is_some();
        api.register(json!({ "Name": "web" })).await;
        assert!(!is_kept, "the state from before the other change");
    };
    woken(&api, &format!("/v1/health/service/web?index={seen}&{LONG}"), changes).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_forgotten() {
    let api = TestApi::start().await;
    let seen = api.get("/v1/catalog/nodes").await.index();
    let count = |wanted: u64| {
        let metrics = api.metrics.clone();
        let reached = async move {
            while metrics.waiting() != wanted {
                tokio::task::yield_now().await;
            }
        };
        async move { tokio::time::timeout(LIMIT, reached).await.expect("the count is reached") }
    };

    let path = format!("/v1/catalog/nodes?index={seen}&{LONG}");
    tokio::select! {
        answer = api.get(&path) => panic!("{answer:?}"),
        () = count(1) => {}
    }

    count(0).await;
}
