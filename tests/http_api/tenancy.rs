//! Partitions and namespaces that are made, read and deleted by name.

use std::sync::Arc;

use meshgate::store::{Embedded, Store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

/// The names of a list of tenants.
async fn names(api: &TestApi, path: &str) -> Vec<String> {
    let list = api.get(path).await.json();
    list.as_array().expect("a list").iter().map(|row| row["Name"].as_str().expect("a name").to_owned()).collect()
}

async fn entry(api: &TestApi, query: &str, name: &str) {
    api.put(&format!("/v1/config?{query}"), json!({ "Kind": "service-defaults", "Name": name })).await.is(200, "true");
}

#[tokio::test]
async fn a_partition_is_made_read_changed_and_deleted() {
    let api = TestApi::start().await;

    let made =
        api.put("/v1/partition", json!({ "Name": "team", "Description": "ours", "DeletedAt": null })).await.json();

    assert_eq!(made, json!({ "Name": "team", "Description": "ours", "CreateIndex": 3, "ModifyIndex": 3 }));
    assert_eq!(api.get("/v1/partition/team").await.json(), made);
    let changed = api.put("/v1/partition/team", json!({ "Description": "theirs" })).await.json();
    assert_eq!(changed, json!({ "Name": "team", "Description": "theirs", "CreateIndex": 3, "ModifyIndex": 4 }));
    assert_eq!(names(&api, "/v1/partitions").await, ["default", "team"]);

    api.delete("/v1/partition/team").await.is(200, "");
    api.delete("/v1/partition/team").await.is(200, "");
    api.get("/v1/partition/team").await.is(404, "Partition not found: \"team\"");
    assert_eq!(names(&api, "/v1/partitions").await, ["default"]);
}

#[tokio::test]
async fn a_namespace_is_made_read_changed_and_deleted() {
    let api = TestApi::start().await;
    let acls = json!({ "PolicyDefaults": [{ "Name": "reader" }], "RoleDefaults": [] });
    let body = json!({ "Name": "blue", "Description": "d", "ACLs": acls, "Meta": { "k": "v" } });

    let made = api.put("/v1/namespace?partition=team", &body).await.json();

    assert_eq!((&made["ACLs"], &made["Meta"], &made["Partition"]), (&acls, &json!({ "k": "v" }), &json!("team")));
    assert_eq!(api.get("/v1/namespace/blue?partition=team").await.json(), made);
    api.get("/v1/namespace/blue").await.is(404, "Namespace not found: \"blue\"");
    assert_eq!(names(&api, "/v1/namespaces?partition=team").await, ["blue", "default"]);
    assert_eq!(names(&api, "/v1/namespaces").await, ["default"]);
    let changed = api.put("/v1/namespace/blue", json!({ "Name": "blue", "Partition": "team" })).await.json();
    assert_eq!((&changed["Meta"], &changed["CreateIndex"]), (&Value::Null, &made["CreateIndex"]));

    api.delete("/v1/namespace/blue?partition=team").await.is(200, "");
    api.delete("/v1/namespace/blue?partition=team").await.is(200, "");
    api.get("/v1/namespace/blue?partition=team").await.says(404, "blue");
}

#[tokio::test]
async fn what_was_read_may_be_written_back_and_changes_nothing() {
    let api = TestApi::start().await;
    api.put("/v1/partition", json!({ "Name": "team", "Description": "ours" })).await.json();
    api.put("/v1/namespace", json!({ "Name": "blue", "Meta": { "k": "v" } })).await.json();
    let before = api.store.view().index();

    for path in ["/v1/partition/team", "/v1/namespace/blue"] {
        let read = api.get(path).await.json();
        assert_eq!(api.put(path, &read).await.json(), read, "{path}");
    }

    assert_eq!(api.store.view().index(), before);
}

#[tokio::test]
async fn what_rows_name_exists_without_being_made() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    let register = "/v1/agent/service/register";
    api.put(&format!("{register}?partition=nodes&ns=blue&dc=dc2"), json!({ "Name": "web" })).await.is(200, "");
    entry(&api, "partition=entries&ns=green", "web").await;

    assert_eq!(names(&api, "/v1/partitions").await, ["default", "entries"]);
    assert_eq!(names(&api, "/v1/partitions?dc=dc2").await, ["default", "entries", "nodes"]);
    assert_eq!(names(&api, "/v1/namespaces?partition=nodes").await, ["blue", "default"]);
    assert_eq!(names(&api, "/v1/namespaces?partition=entries").await, ["default", "green"]);
    let row = api.get("/v1/partition/entries").await.json();
    assert!(row["CreateIndex"].as_u64().is_some_and(|index| index > 1), "{row}");
    assert_eq!(api.get("/v1/partition/default").await.json()["Description"], "Builtin Default Partition");
    assert_eq!(api.get("/v1/namespace/default").await.json()["Description"], "Builtin Default Namespace");
}

#[tokio::test]
async fn deleting_a_partition_takes_all_that_is_in_it_along() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    let register = "/v1/agent/service/register";
    for query in ["?partition=team", "?partition=team&dc=dc2", ""] {
        api.put(&format!("{register}{query}"), json!({ "Name": "web" })).await.is(200, "");
    }
    entry(&api, "partition=team", "web").await;
    entry(&api, "partition=", "web").await;
    api.put("/v1/namespace", json!({ "Name": "blue", "Partition": "team" })).await.json();

    // The other datacenter has the partition, and the entries are its own too.
    api.delete("/v1/partition/team").await.is(200, "");
    api.get("/v1/catalog/nodes?partition=team").await.is(200, "[]");
    assert_eq!(api.get("/v1/catalog/nodes?partition=team&dc=dc2").await.json().as_array().map(Vec::len), Some(1));
    api.get("/v1/config/service-defaults/web?partition=team").await.json();

    api.delete("/v1/partition/team?dc=dc2").await.is(200, "");
    api.get("/v1/config/service-defaults/web?partition=team").await.says(404, "web");
    api.get("/v1/namespace/blue?partition=team").await.says(404, "blue");
    api.get("/v1/partition/team?dc=dc2").await.says(404, "team");
    assert_eq!(api.get("/v1/catalog/nodes").await.json().as_array().map(Vec::len), Some(1));
    api.get("/v1/config/service-defaults/web").await.json();
}

#[tokio::test]
async fn deleting_a_namespace_takes_all_that_is_in_it_along() {
    let api = TestApi::start().await;
    let register = "/v1/agent/service/register";
    let service = json!({ "Name": "web", "Check": { "TTL": "10s" } });
    api.put(&format!("{register}?ns=blue"), &service).await.is(200, "");
    api.put(register, json!({ "Name": "api" })).await.is(200, "");
    entry(&api, "ns=blue", "web").await;
    entry(&api, "ns=", "api").await;

    api.delete("/v1/namespace/blue").await.is(200, "");

    api.get("/v1/namespace/blue").await.says(404, "blue");
    assert_eq!(api.get("/v1/catalog/services?ns=*").await.json(), json!({ "api": [] }));
    assert_eq!(api.get("/v1/health/state/any?ns=*").await.json(), json!([]));
    assert_eq!(api.get("/v1/config/service-defaults?ns=*").await.json()[0]["Name"], "api");
}

#[tokio::test]
async fn what_is_refused() {
    let api = TestApi::start().await;

    for (path, what) in [("/v1/partition", "partition"), ("/v1/namespace", "namespace")] {
        api.refuses(Method::DELETE, &format!("{path}/default"), "", 500, "cannot be deleted").await;
        api.refuses(Method::GET, &format!("{path}/"), "", 400, &format!("Missing {what} name")).await;
        api.refuses(Method::PUT, path, "{}", 400, "Missing Name").await;
        api.refuses(Method::PUT, path, r#"{"Name":"a.b"}"#, 400, "a.b").await;
        api.refuses(Method::PUT, path, r#"{"Name":"*"}"#, 400, "*").await;
        api.refuses(Method::PUT, path, r#"{"Nam":"a"}"#, 400, "json: unknown field \"Nam\"").await;
        api.refuses(Method::PUT, &format!("{path}/a"), r#"{"Name":"b"}"#, 400, "Name").await;
    }
    let elsewhere = json!({ "Name": "blue", "Partition": "a" });
    api.refuses(Method::PUT, "/v1/namespace?partition=b", elsewhere, 400, "partition").await;
    let meta = json!({ "Name": "blue", "Meta": { "": "v" } });
    api.refuses(Method::PUT, "/v1/namespace", meta, 500, "Meta").await;
}

#[tokio::test]
async fn what_was_made_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || {
        let backend = Embedded::open(directory.path()).expect("it opens");
        Store::open(Box::new(backend), Arc::new(|_, _, _| Ok(()))).expect("it loads")
    };
    let paths = ["/v1/partition/team", "/v1/namespace/blue", "/v1/connect/ca/configuration", "/v1/connect/intentions"];

    let (store, writer) = open();
    let api = TestApi::start_with(|api| api.store = store).await;
    api.put("/v1/partition", json!({ "Name": "team", "DisableGossip": true })).await.json();
    api.put("/v1/namespace", json!({ "Name": "blue", "Meta": { "k": "v" } })).await.json();
    let settings = json!({ "Provider": "consul", "Config": { "LeafCertTTL": "5h" } });
    api.put("/v1/connect/ca/configuration", settings).await.is(200, "");
    let intention = json!({ "SourceName": "a", "DestinationName": "b", "Action": "deny", "Meta": { "k": "v" } });
    api.call(Method::POST, "/v1/connect/intentions", &[], intention.to_string()).await.json();
    let mut before = Vec::new();
    for path in paths {
        before.push(api.get(path).await.json());
    }
    api.shutdown.cancel();
    let TestApi { store, served, .. } = api;
    served.await.expect("it ends");
    drop(store);
    writer.join().expect("it ends");

    let (store, _) = open();
    let api = TestApi::start_with(|api| api.store = store).await;

    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(api.get(path).await.json(), before, "{path}");
    }
}
