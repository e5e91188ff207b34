//! `/v1/txn`: all of it or nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

async fn transact(api: &TestApi, operations: Value) -> (u16, Value) {
    let answer = api.put("/v1/txn", operations).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_else(|_| answer.text().into()))
}

fn node(verb: &str, node: &Value) -> Value {
    json!({ "Node": { "Verb": verb, "Node": node } })
}

fn service(verb: &str, service: &Value) -> Value {
    json!({ "Service": { "Verb": verb, "Node": "n1", "Service": service } })
}

fn check(verb: &str, check: &Value) -> Value {
    json!({ "Check": { "Verb": verb, "Check": check } })
}

#[tokio::test]
async fn operations_see_what_those_before_them_did_and_are_one_commit() {
    let api = TestApi::start().await;
    let n1 = json!({ "Node": "n1", "Address": "10.0.0.1", "Meta": { "a": "b" } });
    let web = json!({ "ID": "web", "Service": "web", "Port": 80 });
    let alive = json!({ "Node": "n1", "CheckID": "alive", "Name": "Alive", "ServiceID": "web", "Status": "passing",
                        "Definition": { "TCP": "10.0.0.1:80", "IntervalDuration": 5, "Interval": "5s" } });
    let before = api.store.view().index();

    let operations = json!([node("set", &n1), service("set", &web), check("set", &alive), node("get", &n1)]);
    let (status, answer) = transact(&api, operations).await;

    assert_eq!((status, &answer["Errors"]), (200, &Value::Null), "{answer}");
    assert_eq!(api.store.view().index(), before + 1);
    let results = answer["Results"].as_array().expect("a list");
    assert_eq!(results.len(), 4);
    assert_eq!((&results[0]["Node"]["Node"], &results[0]["Node"]["ModifyIndex"]), (&json!("n1"), &json!(before + 1)));
    assert_eq!(
        (&results[1]["Service"]["ID"], &results[1]["Service"]["CreateIndex"]),
        (&json!("web"), &json!(before + 1))
    );
    assert_eq!((&results[2]["Check"]["ServiceName"], &results[2]["Check"]["Type"]), (&json!("web"), &json!("tcp")));
    assert_eq!(results[3], results[0]);
    let rows = api.get("/v1/health/service/web?passing").await.json();
    assert_eq!((&rows[0]["Node"]["Meta"]["a"], &rows[0]["Checks"][0]["Name"]), (&json!("b"), &json!("Alive")));
}

#[tokio::test]
async fn one_operation_that_fails_undoes_all_and_is_named() {
    let api = TestApi::start().await;
    let n1 = json!({ "Node": "n1", "Address": "10.0.0.1" });

    for (operations, op_index, fragment) in [
        (json!([node("set", &n1), node("get", &json!({ "Node": "ghost" }))]), 1, "node \"ghost\" doesn't exist"),
        (json!([service("set", &json!({ "Service": "web" }))]), 0, "Missing node registration"),
        (json!([node("set", &n1), service("set", &json!({ "ID": "web" }))]), 1, "service name"),
        (
            json!([node("set", &n1), check("set", &json!({ "Node": "n1", "Name": "c", "ServiceID": "x" }))]),
            1,
            "Missing service",
        ),
        (json!([node("cas", &json!({ "Node": "n1", "Address": "10.0.0.1", "ModifyIndex": 7 }))]), 0, "index is stale"),
        (
            json!([node("set", &n1), node("delete-cas", &json!({ "Node": "n1", "ModifyIndex": 1 }))]),
            1,
            "index is stale",
        ),
        (json!([node("set", &json!({ "Node": "n1" }))]), 0, "address"),
        (json!([node("set", &json!({ "Address": "10.0.0.1" }))]), 0, "Must provide node"),
    ] {
        let before = api.store.view().index();
        let (status, answer) = transact(&api, operations.clone()).await;
        let error = &answer["Errors"][0];
        assert_eq!((status, &answer["Results"], &error["OpIndex"]), (409, &Value::Null, &json!(op_index)), "{answer}");
        assert!(error["What"].as_str().is_some_and(|what| what.contains(fragment)), "{fragment:?} is not in {answer}");
        assert_eq!(api.store.view().index(), before, "{operations}");
    }
}

#[tokio::test]
async fn compare_and_set_goes_by_the_index_that_reads_show() {
    let api = TestApi::start().await;
    let n1 = |index: u64, address: &str| json!({ "Node": "n1", "Address": address, "ModifyIndex": index });
    let index = |answer: &Value| answer["Results"][0]["Node"]["ModifyIndex"].as_u64().expect("an index");

    let (created, first) = transact(&api, json!([node("cas", &n1(0, "10.0.0.1"))])).await;
    let (again, _) = transact(&api, json!([node("cas", &n1(0, "10.0.0.2"))])).await;
    let (changed, second) = transact(&api, json!([node("cas", &n1(index(&first), "10.0.0.2"))])).await;
    let (stale, _) = transact(&api, json!([node("delete-cas", &n1(index(&first), ""))])).await;
    let (gone, last) = transact(&api, json!([node("delete-cas", &n1(index(&second), ""))])).await;

    assert_eq!([created, again, changed, stale, gone], [200, 409, 200, 409, 200]);
    assert_eq!(last, json!({ "Results": [], "Errors": null }));
    assert_eq!(api.get("/v1/catalog/node/n1").await.json(), Value::Null);
}

#[tokio::test]
async fn a_transaction_that_only_reads_answers_like_a_read() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;

    let body = json!([node("get", &json!({ "Node": "localhost" }))]).to_string();
    let answer = api.call(Method::PUT, "/v1/txn", &[], body).await;

    assert_eq!((answer.status, answer.index()), (200, api.store.view().index()));
    assert_eq!(answer.json()["Results"][0]["Node"]["Address"], "127.0.0.1");
}

#[tokio::test]
async fn what_is_no_transaction_is_refused() {
    let api = TestApi::start().await;
    let get = node("get", &json!({ "Node": "n1" }));

    for (body, status, fragment) in [
        ("{".to_owned(), 400, "Request decode failed:"),
        (json!({}).to_string(), 400, "expected a list"),
        (json!([{}]).to_string(), 400, "give Node, Service or Check"),
        (json!([{ "KV": { "Verb": "get", "Key": "a" } }]).to_string(), 400, "no KV store"),
        (json!([node("steal", &json!({ "Node": "n1" }))]).to_string(), 400, "unknown verb \"steal\""),
        (json!([node("get", &json!({ "Nod": "n1" }))]).to_string(), 400, "unknown field \"Nod\""),
        (Value::from(vec![get; 129]).to_string(), 413, "129 > 128"),
        (" ".repeat(600 * 1024), 413, "524288"),
    ] {
        api.refuses(Method::PUT, "/v1/txn", body, status, fragment).await;
    }
}
