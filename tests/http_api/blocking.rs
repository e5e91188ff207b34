//! Blocking queries.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::{LIMIT, TestApi};

/// Longer than any wait in these tests, so that an answer before it was woken by a change.
const LONG: &str = "wait=60s";

/// Runs a query that waits together with the change that ends it, which happens once the query is being served.
async fn woken(api: &TestApi, path: &str, change: impl Future<Output = ()>) -> crate::support::http::Answer {
    let waiting = api.get(path);
    let change = async {
        // Nothing outside tells that a query waits; a change that came first would be told at once, which is right too.
        tokio::task::yield_now().await;
        change.await;
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(waiting, change).0 }).await.expect("the change wakes the query")
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

    let stop = async { api.shutdown.cancel() };
    let path = format!("/v1/catalog/nodes?index={seen}&{LONG}");
    // The connection must be there before the listener closes.
    let answer = woken(&api, &path, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.await;
    })
    .await;

    assert_eq!((answer.status, answer.index()), (200, seen));
    tokio::time::timeout(LIMIT, api.served).await.expect("it drains").expect("it does not panic");
}
