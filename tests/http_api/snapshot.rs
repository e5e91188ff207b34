//! `/v1/snapshot`: the state at one commit, and back in one commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meshgate::model::{Datacenter, NodeName, Partition, Place};
use meshgate::store::{NodeKey, Snapshot, View};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::{Answer, TestApi};
use crate::support::openapi;

/// Sends an archive, which is no text.
async fn restore(api: &TestApi, archive: Vec<u8>) -> (u16, String) {
    let request = reqwest::Client::new().put(format!("{}/v1/snapshot", api.url)).body(archive);
    let answer = request.send().await.expect("it answers");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.expect("a text");
    openapi::check(("PUT", "/v1/snapshot", &[]), status, &headers, text.as_bytes());
    (status, text)
}

async fn save(api: &TestApi) -> Answer {
    let answer = api.get("/v1/snapshot").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-gzip"));
    answer
}

#[tokio::test]
async fn a_snapshot_brings_everything_back_in_one_commit() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Port": 80, "Check": { "TTL": "1h", "Status": "passing" } })).await;
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "Protocol": "http" });
    api.put("/v1/config", entry.clone()).await.is(200, "true");
    let leaf = api.get("/v1/agent/connect/ca/leaf/web").await.json()["CertPEM"].clone();
    let state = async || {
        let mut state = Vec::new();
        for path in ["health/service/web", "config/service-defaults", "catalog/nodes", "connect/ca/roots"] {
            let mut value = api.get(&format!("/v1/{path}")).await.json();
            without_create_index(&mut value);
            state.push(value);
        }
        state
    };
    let before = state().await;

    let archive = save(&api).await;
    assert_eq!(archive.index(), api.store.view().index());
    api.put("/v1/agent/service/deregister/web", "").await.is(200, "");
    api.delete("/v1/config/service-defaults/web").await.is(200, "{}");
    api.register(json!({ "Name": "other", "Port": 81 })).await;
    let index = api.store.view().index();
    assert_eq!(restore(&api, archive.body).await, (200, String::new()));

    assert_eq!(api.store.view().index(), index + 1);
    assert_eq!(state().await, before);
    assert_eq!(api.get("/v1/catalog/service/other").await.json(), json!([]));
    assert_eq!(api.get("/v1/agent/connect/ca/leaf/web").await.json()["CertPEM"], leaf);
    let cas = before[1][0]["ModifyIndex"].as_u64().expect("an index");
    api.put(&format!("/v1/config?cas={cas}"), entry).await.is(200, "true");
}

/// The commit that made a row is not restored.
fn without_create_index(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_create_index),
        Value::Object(members) => {
            members.remove("CreateIndex");
            members.values_mut().for_each(without_create_index);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn a_restored_snapshot_that_changes_nothing_is_no_commit() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Connect": { "SidecarService": {} } })).await;
    let archive = save(&api).await;
    let index = api.store.view().index();

    assert_eq!(restore(&api, archive.body).await.0, 200);

    assert_eq!(api.store.view().index(), index);
}

#[tokio::test]
async fn a_restored_snapshot_wakes_those_who_wait_for_what_it_changes() {
    let api = Arc::new(TestApi::start().await);
    let archive = save(&api).await;
    api.register(json!({ "Name": "web" })).await;
    let seen = api.get("/v1/catalog/service/web").await.index();

    let waiting = api.clone();
    let waiter =
        tokio::spawn(
            async move { waiting.get(&format!("/v1/catalog/service/web?index={seen}&wait=10s")).await.json() },
        );
    while api.metrics.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(restore(&api, archive.body).await.0, 200);

    assert_eq!(waiter.await.expect("no panic"), json!([]));
}

#[tokio::test]
async fn what_is_no_snapshot_is_refused_and_changes_nothing() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;
    let archive = save(&api).await.body;
    let mut damaged = archive.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let index = api.store.view().index();

    for (what, archive) in [
        ("cut short", archive[..archive.len() - 20].to_vec()),
        ("damaged", damaged),
        ("a text", b"hello".to_vec()),
        ("empty", Vec::new()),
    ] {
        let (status, text) = restore(&api, archive).await;
        assert!(status == 500 && text.contains("snapshot"), "{what}: {status} {text}");
        assert_eq!(api.store.view().index(), index, "{what}");
    }
    api.call(Method::POST, "/v1/snapshot", &[], String::new()).await.is(405, "method POST not allowed");
}

#[tokio::test]
async fn a_snapshot_that_is_taken_while_others_write_is_the_state_at_one_commit() {
    let api = Arc::new(TestApi::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let (writing, stopped) = (api.clone(), stop.clone());
    let writer = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            writing
                .register(json!({ "Name": format!("s{number}"), "Connect": { "SidecarService": { "Port": 1 } } }))
                .await;
            number += 1;
        }
        number
    });

    let node = NodeKey::new(&Place::new(&Datacenter::from("dc1"), &Partition::default()), &NodeName::from("localhost"));
    let mut sizes = BTreeSet::new();
    while sizes.len() < 5 {
        assert!(!writer.is_finished(), "the writer failed");
        let snapshot = Snapshot::from_archive(&save(&api).await.body).expect("an archive");
        let view = snapshot.view().expect("rows of ours");
        let ids: BTreeSet<_> = view.services_on(&node).map(|row| row.value.id.to_string()).collect();
        let alone = ids.iter().find(|id| !id.ends_with("-proxy") && !ids.contains(&format!("{id}-sidecar-proxy")));
        assert_eq!((alone, ids.len() % 2), (None, 0));
        sizes.insert(ids.len());
    }
    stop.store(true, Ordering::Relaxed);

    assert!(writer.await.expect("no panic") > 0);
}

/// Who writes at the same time, and what the amounts of two nodes of each are together.
const WRITERS: usize = 4;
const TOTAL: u64 = 1_000;

fn at_writer(side: &str, writer: usize) -> NodeKey {
    let place = Place::new(&Datacenter::from("dc1"), &Partition::default());
    NodeKey::new(&place, &NodeName::from(format!("{side}-{writer}")))
}

/// Moves an amount from one node to another, and notes it as the port of a service, in one transaction.
async fn transfer(api: &TestApi, writer: usize, amount: u64) {
    let node = |side: &str, amount: u64| {
        let meta = json!({ "amount": amount.to_string() });
        let node = json!({ "Node": format!("{side}-{writer}"), "Address": "10.0.0.1", "Meta": meta });
        json!({ "Node": { "Verb": "set", "Node": node } })
    };
    let ledger = json!({ "ID": "ledger", "Service": "ledger", "Port": amount });
    let ledger = json!({ "Service": { "Verb": "set", "Node": format!("a-{writer}"), "Service": ledger } });
    let answer = api.put("/v1/txn", json!([node("a", amount), node("b", TOTAL - amount), ledger])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The amounts on the first node of each writer.
///
/// # Panics
/// The three rows of a writer do not belong together.
fn amounts(view: &View) -> Vec<u64> {
    let amount = |side: &str, writer: usize| {
        let row = view.node(&at_writer(side, writer)).expect("every writer has written");
        row.value.meta["amount"].parse::<u64>().expect("a number")
    };
    let of_writer = |writer: usize| {
        let (a, b) = (amount("a", writer), amount("b", writer));
        let ledger = view.services_on(&at_writer("a", writer)).next().map(|row| u64::from(row.value.port));
        assert_eq!((a + b, ledger), (TOTAL, Some(a)), "writer {writer}");
        a
    };
    (0..WRITERS).map(of_writer).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_transaction_keeps_together_is_together_in_every_snapshot_and_after_every_restore() {
    let (api, copy) = (Arc::new(TestApi::start().await), TestApi::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    for writer in 0..WRITERS {
        transfer(&api, writer, 1).await;
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (api, stop) = (api.clone(), stop.clone());
            tokio::spawn(async move {
                for amount in (1..TOTAL).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    transfer(&api, writer, amount).await;
                }
            })
        })
        .collect();

    let mut seen = BTreeSet::new();
    while seen.len() < 8 {
        assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer failed");
        let archive = save(&api).await.body;
        let saved = amounts(&Snapshot::from_archive(&archive).expect("an archive").view().expect("rows of ours"));
        assert_eq!(restore(&copy, archive.clone()).await.0, 200);
        assert_eq!(amounts(&copy.store.view()), saved);
        // The others go on writing while the state goes back to what it was.
        assert_eq!(restore(&api, archive).await.0, 200);
        amounts(&api.store.view());
        seen.insert(saved);
    }
    stop.store(true, Ordering::Relaxed);

    for writer in writers {
        writer.await.expect("no writer failed");
    }
    amounts(&api.store.view());
}
