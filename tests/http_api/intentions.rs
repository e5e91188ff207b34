//! Intentions, by the pair that they are about, by ID, and as questions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::{Answer, TestApi};

const ALL: &str = "/v1/connect/intentions";

fn exact(source: &str, destination: &str) -> String {
    format!("{ALL}/exact?source={source}&destination={destination}")
}

async fn allow(api: &TestApi, source: &str, destination: &str) {
    api.put(&exact(source, destination), json!({ "Action": "allow" })).await.is(200, "true");
}

async fn deny(api: &TestApi, source: &str, destination: &str) {
    api.put(&exact(source, destination), json!({ "Action": "deny" })).await.is(200, "true");
}

async fn post(api: &TestApi, path: &str, body: Value) -> Answer {
    api.call(Method::POST, path, &[], body.to_string()).await
}

/// The pairs of a list with their precedence, as `web=>db 9`.
fn pairs(list: &Value) -> Vec<String> {
    let rows = list.as_array().expect("a list").iter();
    let text = |row: &Value, field: &str| row[field].as_str().expect("a text").to_owned();
    rows.map(|row| format!("{}=>{} {}", text(row, "SourceName"), text(row, "DestinationName"), row["Precedence"]))
        .collect()
}

#[tokio::test]
async fn what_is_put_for_a_pair_is_a_source_of_the_entry() {
    let api = TestApi::start().await;

    api.put(&exact("a", "b"), json!({ "Action": "allow", "Description": "why" })).await.is(200, "true");

    let row = api.get(&exact("a", "b")).await.json();
    let expected = json!({ "SourceNS": "default", "SourceName": "a", "DestinationNS": "default", "DestinationName": "b",
        "SourceType": "consul", "Action": "allow", "Description": "why", "Precedence": 9,
        "CreateIndex": 3, "ModifyIndex": 3, "Hash": row["Hash"] });
    assert_eq!(row, expected);
    assert_eq!(api.get(ALL).await.json(), json!([row]));
    let entry = api.get("/v1/config/service-intentions/b").await.json();
    assert_eq!((&entry["Sources"][0]["Name"], &entry["Sources"][0]["Action"]), (&json!("a"), &json!("allow")));
}

#[tokio::test]
async fn the_hash_of_an_intention_follows_what_it_says() {
    let api = TestApi::start().await;
    let hash = async || api.get(&exact("a", "b")).await.json()["Hash"].as_str().expect("a text").to_owned();

    allow(&api, "a", "b").await;
    let first = hash().await;
    deny(&api, "a", "b").await;
    let second = hash().await;
    allow(&api, "c", "b").await;
    allow(&api, "a", "b").await;

    // 32 bytes in base64.
    assert_eq!((first.len(), second == first), (44, false));
    assert_eq!(hash().await, first);
}

#[tokio::test]
async fn a_second_put_replaces_and_other_sources_stay() {
    let api = TestApi::start().await;
    allow(&api, "a", "b").await;
    allow(&api, "c", "b").await;

    api.put(&exact("a", "b"), json!({ "Permissions": [{ "Action": "deny", "HTTP": { "PathPrefix": "/x" } }] }))
        .await
        .is(200, "true");

    let row = api.get(&exact("a", "b")).await.json();
    assert_eq!((&row["Action"], &row["Permissions"][0]["HTTP"]["PathPrefix"]), (&Value::Null, &json!("/x")));
    assert_eq!(api.get(&exact("c", "b")).await.json()["Action"], "allow");
}

#[tokio::test]
async fn the_parameters_say_who_calls_whom_whatever_the_body_says() {
    let api = TestApi::start().await;
    let body = json!({ "ID": "", "SourceNS": "x", "SourceName": "other", "DestinationName": "else", "Action": "allow",
        "SourceType": "consul", "Precedence": 1, "CreatedAt": "0001-01-01T00:00:00Z", "Hash": null, "Meta": null,
        "Permissions": null, "CreateIndex": 0 });

    api.put(&exact("a", "b"), body).await.is(200, "true");

    assert_eq!(pairs(&api.get(ALL).await.json()), ["a=>b 9"]);
}

#[tokio::test]
async fn deleting_is_idempotent_and_the_last_source_takes_the_entry_along() {
    let api = TestApi::start().await;
    allow(&api, "a", "b").await;
    allow(&api, "c", "b").await;

    api.delete(&exact("a", "b")).await.is(200, "true");
    api.delete(&exact("a", "b")).await.is(200, "true");
    assert_eq!(pairs(&api.get(ALL).await.json()), ["c=>b 9"]);
    api.delete(&exact("c", "b")).await.is(200, "true");

    api.get("/v1/config/service-intentions/b").await.says(404, "Config entry not found");
    api.get(ALL).await.is(200, "[]");
}

#[tokio::test]
async fn an_absent_pair() {
    let api = TestApi::start().await;

    let answer = api.get(&exact("a", "b")).await;

    answer.is(404, "Intention not found");
    assert!(answer.index() >= 1);
}

#[tokio::test]
async fn entries_show_highest_precedence_first_then_by_name() {
    let api = TestApi::start().await;
    let entry = |name: &str, sources: Value| json!({ "Kind": "service-intentions", "Name": name, "Sources": sources });
    let one = |name: &str| json!({ "Name": name, "Action": "allow" });
    for entry in [
        entry("*", json!([one("*"), one("web")])),
        entry("db", json!([one("*"), one("web"), one("api")])),
        entry("cache", json!([one("api")])),
    ] {
        api.put("/v1/config", entry).await.is(200, "true");
    }

    let list = api.get(ALL).await;

    assert_eq!(pairs(&list.json()), ["api=>cache 9", "api=>db 9", "web=>db 9", "*=>db 8", "web=>* 6", "*=>* 5"]);
    let filtered = api.get(&format!("{ALL}?filter=DestinationName%20==%20%22db%22%20and%20Precedence%20==%209")).await;
    assert_eq!(pairs(&filtered.json()), ["api=>db 9", "web=>db 9"]);
    api.get(&format!("{ALL}?filter=@@")).await.says(500, "Failed to create boolean expression evaluator");
}

#[tokio::test]
async fn the_intention_of_the_highest_precedence_decides() {
    let api = TestApi::start().await;
    deny(&api, "a", "b").await;
    allow(&api, "*", "b").await;
    let check = async |source: &str, destination: &str| {
        api.get(&format!("{ALL}/check?source={source}&destination={destination}")).await.json()
    };

    assert_eq!(check("a", "b").await, json!({ "Allowed": false }));
    assert_eq!(check("c", "b").await, json!({ "Allowed": true }));
    deny(&api, "*", "*").await;
    assert_eq!(check("c", "b").await, json!({ "Allowed": true }));
    assert_eq!(check("c", "other").await, json!({ "Allowed": false }));
    api.get(&format!("{ALL}/check?source=c&destination=b&source-type=consul")).await.is(200, r#"{"Allowed":true}"#);
}

#[tokio::test]
async fn without_an_intention_the_default_decides_and_one_about_requests_allows_nothing() {
    let api =
        TestApi::start_with(|api| api.options.default_intention_policy = meshgate::model::IntentionPolicy::Deny).await;
    let check = format!("{ALL}/check?source=a&destination=b");

    api.get(&check).await.is(200, r#"{"Allowed":false}"#);
    let requests = json!({ "Permissions": [{ "Action": "allow", "HTTP": { "PathPrefix": "/" } }] });
    api.put(&exact("a", "b"), requests).await.is(200, "true");
    api.get(&check).await.is(200, r#"{"Allowed":false}"#);
    allow(&api, "a", "b").await;
    api.get(&check).await.is(200, r#"{"Allowed":true}"#);
}

#[tokio::test]
async fn matches_are_listed_for_each_name_with_wildcards() {
    let api = TestApi::start().await;
    allow(&api, "*", "b").await;
    allow(&api, "a", "b").await;
    allow(&api, "a", "*").await;
    allow(&api, "x", "c").await;

    let to = api.get(&format!("{ALL}/match?by=destination&name=b&name=nobody")).await.json();
    let from = api.get(&format!("{ALL}/match?by=source&name=a")).await.json();

    assert_eq!(pairs(&to["b"]), ["a=>b 9", "*=>b 8", "a=>* 6"]);
    assert_eq!(pairs(&to["nobody"]), ["a=>* 6"]);
    assert_eq!(pairs(&from["a"]), ["a=>b 9", "*=>b 8", "a=>* 6"]);
}

#[tokio::test]
async fn names_may_say_namespace_and_partition() {
    let api = TestApi::start().await;
    allow(&api, "blue/a", "team/green/b").await;
    allow(&api, "*/*", "team/*/*").await;

    let row = api.get(&exact("default/blue/a", "team/green/b")).await.json();
    assert_eq!((&row["SourceNS"], &row["SourcePartition"]), (&json!("blue"), &Value::Null));
    assert_eq!((&row["DestinationNS"], &row["DestinationPartition"]), (&json!("green"), &json!("team")));
    assert_eq!(row["Precedence"], 9);
    assert_eq!(api.get(&format!("{}&partition=team&ns=green", exact("default/blue/a", "b"))).await.json(), row);
    assert_eq!(api.get(&exact("*/*", "team/*/*")).await.json()["Precedence"], 1);
    api.get(ALL).await.is(200, "[]");
    assert_eq!(pairs(&api.get(&format!("{ALL}?partition=team&ns=*")).await.json()), ["a=>b 9", "*=>* 1"]);
    let check = format!("{ALL}/check?source=blue/a&destination=team/green/b");
    api.get(&check).await.is(200, r#"{"Allowed":true}"#);
}

#[tokio::test]
async fn a_source_of_a_peer_is_read_and_not_written_here() {
    let api = TestApi::start().await;
    let entry = json!({ "Kind": "service-intentions", "Name": "b",
        "Sources": [{ "Name": "a", "Peer": "east", "Action": "deny" }] });
    api.put("/v1/config", entry).await.is(200, "true");

    assert_eq!(api.get(&exact("peer:east/a", "b")).await.json()["SourcePeer"], "east");
    assert_eq!(api.get(&exact("peer:east/default/a", "b")).await.json()["Action"], "deny");
    api.get(&exact("a", "b")).await.is(404, "Intention not found");
    api.get(&format!("{ALL}/check?source=a&destination=b")).await.is(200, r#"{"Allowed":true}"#);
    let body = json!({ "Action": "allow" });
    api.refuses(Method::PUT, &exact("peer:east/a", "b"), &body, 500, "of a peer").await;
    api.refuses(Method::PUT, &exact("a", "peer:east/b"), &body, 500, "of a peer").await;
    api.refuses(Method::PUT, &exact("a", "b"), json!({ "Action": "allow", "SourcePeer": "x" }), 500, "SourcePeer")
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_pair_is_a_500() {
    let api = TestApi::start().await;
    let allow = json!({ "Action": "allow" });
    let put =
        async |path: String, body: &Value, fragment: &str| api.refuses(Method::PUT, &path, body, 500, fragment).await;

    put(format!("{ALL}/exact?destination=b"), &allow, "source").await;
    put(format!("{ALL}/exact?source=a"), &allow, "destination").await;
    put(exact("a/b/c/d", "b"), &allow, "partition/namespace/service").await;
    put(exact("a.b/c", "b"), &allow, "a.b").await;
    put(exact("a", "b*"), &allow, "wildcard").await;
    put(exact("a", "b"), &json!({ "Action": "allow", "Meta": { "k": "v" } }), "Meta").await;
    put(exact("a", "b"), &json!({ "Action": "maybe" }), "maybe").await;
    put(exact("a", "b"), &json!({}), "Action").await;
    let both = json!({ "Action": "allow", "Permissions": [{ "Action": "deny", "HTTP": { "PathPrefix": "/x" } }] });
    put(exact("a", "b"), &both, "Action and Permissions").await;
    api.refuses(Method::PUT, &exact("a", "b"), r#"{"Acton":"allow"}"#, 400, "json: unknown field \"Acton\"").await;
    api.refuses(Method::PUT, &exact("a", "b"), "", 400, "Request decode failed").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_a_500() {
    let api = TestApi::start().await;

    for (query, fragment) in [
        ("match", "by"),
        ("match?by=sideways&name=b", "sideways"),
        ("match?by=source", "name"),
        ("match?by=source&name=peer:east/a", "peer"),
        ("check?destination=b", "source"),
        ("check?source=a", "destination"),
        ("check?source=a&destination=b&source-type=external", "external"),
    ] {
        api.refuses(Method::GET, &format!("{ALL}/{query}"), "", 500, fragment).await;
    }
}

#[tokio::test]
async fn intentions_with_an_id_are_made_changed_and_deleted() {
    let api = TestApi::start().await;
    let body =
        |action: &str| json!({ "SourceName": "a", "DestinationName": "b", "Action": action, "Meta": { "k": "v" } });

    let id = post(&api, ALL, body("allow")).await.json()["ID"].as_str().expect("an ID").to_owned();

    let path = format!("{ALL}/{id}");
    let row = api.get(&path).await.json();
    assert_eq!((&row["ID"], &row["Action"], &row["Meta"]), (&json!(id), &json!("allow"), &json!({ "k": "v" })));
    assert!(row["CreatedAt"].as_str().is_some_and(|time| time == row["UpdatedAt"]), "{row}");
    assert_eq!(api.get(&exact("a", "b")).await.json(), row);
    post(&api, ALL, body("deny")).await.says(500, "stands once");

    assert_eq!(api.put(&path, body("deny")).await.json(), json!({ "ID": id }));
    let changed = api.get(&path).await.json();
    assert_eq!((&changed["Action"], &changed["CreatedAt"]), (&json!("deny"), &row["CreatedAt"]));
    let elsewhere = json!({ "SourceName": "a", "DestinationName": "c", "Action": "allow" });
    api.refuses(Method::PUT, &path, elsewhere, 500, "destination").await;

    api.delete(&path).await.is(200, "");
    api.get(&path).await.is(404, "Intention not found");
    api.refuses(Method::DELETE, &path, "", 500, &id).await;
    api.refuses(Method::PUT, &path, body("allow"), 500, &id).await;
}

#[tokio::test]
async fn an_id_is_a_uuid() {
    let api = TestApi::start().await;

    for method in [Method::GET, Method::DELETE] {
        api.refuses(method, &format!("{ALL}/not-a-uuid"), "", 400, "UUID").await;
    }
    api.refuses(Method::PUT, &format!("{ALL}/not-a-uuid"), "{}", 400, "UUID").await;
    for (body, fragment) in [
        (json!({ "SourceName": "a", "Action": "allow" }), "DestinationName"),
        (json!({ "DestinationName": "a", "Action": "allow" }), "SourceName"),
        (json!({ "SourceName": "a", "DestinationName": "b", "SourcePeer": "x", "Action": "allow" }), "SourcePeer"),
        (json!({ "SourceName": "a", "DestinationName": "b", "SourceType": "x", "Action": "allow" }), "Type"),
        (json!({ "SourceName": "a", "DestinationName": "b", "ID": "x", "Action": "allow" }), "ID"),
        (json!({ "SourceName": "a", "DestinationName": "b" }), "Action"),
    ] {
        api.refuses(Method::POST, ALL, body, 500, fragment).await;
    }
}

#[tokio::test]
async fn an_entry_that_is_written_whole_loses_its_ids_and_no_facts() {
    let api = TestApi::start().await;
    let with_facts = json!({ "SourceName": "a", "DestinationName": "b", "Action": "allow", "Meta": { "k": "v" } });
    let plain = json!({ "SourceName": "c", "DestinationName": "d", "Action": "allow" });
    post(&api, ALL, with_facts).await.json();
    let id = post(&api, ALL, plain).await.json()["ID"].clone();
    let entries = ["b", "d"].map(|name| format!("/v1/config/service-intentions/{name}"));
    let [with_facts, plain] = [api.get(&entries[0]).await.json(), api.get(&entries[1]).await.json()];
    assert_eq!(plain["Sources"][0]["LegacyID"], id);

    api.refuses(Method::PUT, "/v1/config", with_facts, 500, "LegacyMeta").await;
    api.put("/v1/config", plain).await.is(200, "true");

    assert_eq!(api.get(&entries[1]).await.json()["Sources"][0]["LegacyID"], Value::Null);
    assert_eq!(pairs(&api.get(ALL).await.json()), ["a=>b 9", "c=>d 9"]);
}

#[tokio::test]
async fn methods_are_those_of_consul() {
    let api = TestApi::start().await;

    for (path, allow) in [
        (ALL.to_owned(), "OPTIONS,GET,POST"),
        (format!("{ALL}/exact"), "OPTIONS,GET,PUT,DELETE"),
        (format!("{ALL}/match"), "OPTIONS,GET"),
        (format!("{ALL}/check"), "OPTIONS,GET"),
        (format!("{ALL}/some-id"), "OPTIONS,GET,PUT,DELETE"),
        ("/v1/agent/connect/authorize".to_owned(), "OPTIONS,POST"),
    ] {
        let answer = api.call(Method::OPTIONS, &path, &[], String::new()).await;
        assert_eq!((answer.status, answer.header("allow")), (200, allow), "{path}");
    }
}

#[tokio::test]
async fn a_caller_is_authorized_by_intentions_whatever_its_trust_domain() {
    let api = TestApi::start().await;
    let ask = async |client: &str| {
        let uri = format!("spiffe://other-domain.consul/ns/default/dc/dc9/svc/{client}");
        let body = json!({ "Target": "db", "ClientCertURI": uri, "ClientCertSerial": "04:00" });
        let answer = post(&api, "/v1/agent/connect/authorize", body).await;
        assert_eq!(answer.header("x-cache"), "MISS");
        let verdict = answer.json();
        (verdict["Authorized"] == true, verdict["Reason"].as_str().expect("a text").to_owned())
    };
    allow(&api, "web", "db").await;
    deny(&api, "*", "db").await;
    let requests = json!({ "Permissions": [{ "Action": "allow", "HTTP": { "PathPrefix": "/" } }] });
    api.put(&exact("api", "db"), requests).await.is(200, "true");

    assert_eq!(ask("web").await, (true, "Matched intention: ALLOW web => db (Precedence: 9)".to_owned()));
    assert_eq!(ask("cache").await, (false, "Matched intention: DENY * => db (Precedence: 8)".to_owned()));
    let (authorized, reason) = ask("api").await;
    assert!(!authorized && reason.contains("HTTP requests"), "{reason}");
    api.delete(&exact("*", "db")).await.is(200, "true");
    assert!(ask("cache").await.0);
}

#[tokio::test]
async fn a_question_of_authority_must_be_whole() {
    let api = TestApi::start().await;
    let path = "/v1/agent/connect/authorize";

    for (body, fragment) in [
        ("{}", "Target"),
        ("", "Request decode failed"),
        (r#"{"Target":"db"}"#, "identity of a service"),
        (r#"{"Target":"db","ClientCertURI":"http://x/y"}"#, "identity of a service"),
        (r#"{"Target":"db","ClientCertURI":"spiffe://x.consul/gateway/mesh/dc/dc1"}"#, "identity of a service"),
    ] {
        api.refuses(Method::POST, path, body, 400, fragment).await;
    }
}

#[tokio::test]
async fn who_waits_for_intentions_is_woken_by_them() {
    let api = TestApi::start().await;
    allow(&api, "a", "b").await;
    let seen = api.get(ALL).await.index();
    let path = format!("{ALL}?index={seen}&wait=10s");

    let (woken, ()) = tokio::join!(api.get(&path), deny(&api, "c", "b"));

    assert!(woken.index() > seen);
    assert_eq!(pairs(&woken.json()).len(), 2);
}
