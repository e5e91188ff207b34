//! Config entries.

use std::sync::Arc;

use meshgate::model::Problem;
use meshgate::store::{Guard, Memory, Store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const CONFIG: &str = "/v1/config";

async fn write(api: &TestApi, entry: Value) {
    api.put(CONFIG, entry).await.is(200, "true");
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let api = TestApi::start().await;
    let entry = json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } });

    write(&api, entry.clone()).await;

    let read = api.get("/v1/config/proxy-defaults/global").await.json();
    assert_eq!((&read["Kind"], &read["Name"], &read["Config"]), (&entry["Kind"], &entry["Name"], &entry["Config"]));
    assert_eq!((&read["CreateIndex"], &read["ModifyIndex"]), (&json!(3), &json!(3)));
    assert_eq!(api.get("/v1/config/proxy-defaults").await.json(), json!([read]));
    assert_eq!(api.get("/v1/config/").await.json(), json!([read]));
}

#[tokio::test]
async fn what_was_read_may_be_written_back_and_changes_nothing() {
    let api = TestApi::start().await;
    write(&api, json!({ "Kind": "service-defaults", "Name": "web", "Protocol": "http" })).await;
    let read = api.get("/v1/config/service-defaults/web").await;
    let before = api.store.view().index();

    write(&api, read.json()).await;

    assert_eq!(api.store.view().index(), before);
}

#[tokio::test]
async fn snake_case_and_weak_types_are_taken() {
    let api = TestApi::start().await;

    write(&api, json!({ "kind": "service-defaults", "name": "web", "mesh_gateway": { "mode": "local" } })).await;
    write(&api, json!({ "kind": "service-resolver", "name": "web", "connect_timeout": "5s" })).await;

    assert_eq!(api.get("/v1/config/service-defaults/web").await.json()["MeshGateway"]["Mode"], "local");
    assert_eq!(api.get("/v1/config/service-resolver/web").await.json()["ConnectTimeout"], "5s");
}

#[tokio::test]
async fn other_formats_are_taken_where_the_content_type_names_them() {
    let api = TestApi::start().await;

    for (content_type, body) in [
        ("application/hcl", "Kind = \"service-defaults\"\nName = \"hcl\"\nProtocol = \"http\"\n"),
        ("application/yaml", "Kind: service-defaults\nName: yaml\nProtocol: http\n"),
    ] {
        let headers = [("content-type", content_type)];
        api.call(Method::PUT, CONFIG, &headers, body.to_owned()).await.is(200, "true");
    }

    let names = api.get("/v1/config/service-defaults").await.json();
    assert_eq!((&names[0]["Name"], &names[1]["Name"]), (&json!("hcl"), &json!("yaml")));
}

#[tokio::test]
async fn cas_writes_only_over_what_the_caller_saw() {
    let api = TestApi::start().await;
    let entry = |protocol: &str| json!({ "Kind": "service-defaults", "Name": "web", "Protocol": protocol });

    api.put("/v1/config?cas=0", entry("http")).await.is(200, "true");
    api.put("/v1/config?cas=0", entry("tcp")).await.is(200, "false");
    let index = api.get("/v1/config/service-defaults/web").await.json()["ModifyIndex"].clone();
    api.put(&format!("/v1/config?cas={index}"), entry("grpc")).await.is(200, "true");
    api.put(&format!("/v1/config?cas={index}"), entry("tcp")).await.is(200, "false");

    assert_eq!(api.get("/v1/config/service-defaults/web").await.json()["Protocol"], "grpc");
    api.refuses(Method::PUT, "/v1/config?cas=x", entry("tcp"), 500, "cas").await;
    api.refuses(Method::PUT, "/v1/config?cas=", entry("tcp"), 500, "cas").await;
}

#[tokio::test]
async fn deleting_is_idempotent_and_takes_cas() {
    let api = TestApi::start().await;
    let path = "/v1/config/service-defaults/web";
    write(&api, json!({ "Kind": "service-defaults", "Name": "web" })).await;

    api.delete("/v1/config/service-defaults/ghost").await.is(200, "{}");
    api.delete(&format!("{path}?cas=1")).await.is(200, "false");
    let index = api.get(path).await.json()["ModifyIndex"].clone();
    api.delete(&format!("{path}?cas={index}")).await.is(200, "true");
    api.delete(path).await.is(200, "{}");

    api.refuses(Method::DELETE, &format!("{path}?cas=x"), "", 500, "cas").await;
    api.refuses(Method::DELETE, "/v1/config/service-defaults", "", 404, "a kind and a name").await;
    api.refuses(Method::DELETE, "/v1/config/nope/web", "", 500, "invalid config entry kind: nope").await;
}

#[tokio::test]
async fn absent_entries() {
    let api = TestApi::start().await;

    let answer = api.get("/v1/config/service-defaults/ghost").await;
    answer.is(404, "Config entry not found for \"service-defaults\" / \"ghost\"");
    assert!(answer.index() >= 1);
    api.get("/v1/config/service-defaults").await.is(200, "[]");
    api.get("/v1/config/").await.is(200, "[]");
    api.get("/v1/config/nope").await.is(500, "invalid config entry kind: nope");
}

#[tokio::test]
async fn names_may_hold_what_a_path_cannot() {
    let api = TestApi::start().await;
    write(&api, json!({ "Kind": "service-defaults", "Name": "a/b c" })).await;

    assert_eq!(api.get("/v1/config/service-defaults/a%2Fb%20c").await.json()["Name"], "a/b c");
}

#[tokio::test]
async fn entries_that_cannot_be_decoded_are_the_callers_errors() {
    let api = TestApi::start().await;

    for (body, fragment) in [
        (json!({ "Name": "x" }).to_string(), "needs a Kind"),
        (json!({ "Kind": 5, "Name": "x" }).to_string(), ""),
        (json!({ "Kind": "nope", "Name": "x" }).to_string(), "invalid config entry kind: nope"),
        (
            json!({ "Kind": "service-defaults", "Name": "web", "Protcol": "x" }).to_string(),
            "invalid config key \"Protcol\"",
        ),
        (
            json!({ "Kind": "service-defaults", "Name": "web", "MeshGateway": { "Mode": "sideways" } }).to_string(),
            "\"sideways\"",
        ),
        (json!({ "Kind": "service-defaults", "Name": "web", "UpstreamConfig": "text" }).to_string(), "UpstreamConfig"),
        ("{\"Kind\":\"service-defaults\"".to_owned(), ""),
        (String::new(), ""),
        ("[]".to_owned(), ""),
    ] {
        api.refuses(Method::PUT, CONFIG, &body, 400, "Request decoding failed:").await;
        api.refuses(Method::PUT, CONFIG, &body, 400, fragment).await;
    }
}

#[tokio::test]
async fn entries_that_break_rules_are_errors_of_the_server() {
    let api = TestApi::start().await;

    for (body, fragment) in [
        (json!({ "Kind": "proxy-defaults", "Name": "other" }), "global"),
        (json!({ "Kind": "service-defaults", "Name": "" }), "name"),
        (
            json!({ "Kind": "service-resolver", "Name": "web", "Redirect": { "Service": "a" }, "Failover": { "*": { "Service": "b" } } }),
            "",
        ),
        (
            json!({ "Kind": "service-resolver", "Name": "web",
                "Failover": { "*": { "Targets": [{ "Service": "b", "Peer": "p", "Datacenter": "dc2" }] } } }),
            "",
        ),
        (
            json!({ "Kind": "exported-services", "Name": "default", "Services": [{ "Name": "a", "Consumers": [{ "Peer": "*" }] }] }),
            "",
        ),
        (json!({ "Kind": "exported-services", "Name": "default", "Services": [{ "Name": "a" }] }), ""),
        (
            json!({ "Kind": "service-splitter", "Name": "web", "Splits": [{ "Weight": 50 }, { "Weight": 49, "Service": "b" }] }),
            "the sum of all weights must be 100, not 99",
        ),
        (
            json!({ "Kind": "service-router", "Name": "web", "Routes": [{ "Match": { "HTTP": { "PathExact": "a" } } }] }),
            "Routes[0].Match.HTTP.PathExact",
        ),
        (
            json!({ "Kind": "service-intentions", "Name": "web", "Sources": [{ "Name": "*", "Action": "allow" },
                { "Name": "a", "Action": "allow", "Permissions": [{ "Action": "allow", "HTTP": { "PathPrefix": "/" } }] }] }),
            "Sources[1].Action: Action and Permissions exclude each other",
        ),
        (
            json!({ "Kind": "mesh", "TLS": { "Incoming": { "TLSMinVersion": "TLSv1_3", "TLSMaxVersion": "TLSv1_2" } } }),
            "TLSMaxVersion",
        ),
    ] {
        api.refuses(Method::PUT, CONFIG, body, 500, fragment).await;
    }
}

#[tokio::test]
async fn sources_of_intentions_are_shown_by_precedence_and_may_be_sent_back() {
    let api = TestApi::start().await;

    let sources = json!([{ "Name": "*", "Action": "deny" }, { "Name": "web", "Action": "allow" }]);
    write(&api, json!({ "Kind": "service-intentions", "Name": "db", "Sources": sources })).await;

    let shown = api.get("/v1/config/service-intentions/db").await.json();
    assert_eq!(
        shown["Sources"],
        json!([
            { "Name": "web", "Action": "allow", "Precedence": 9, "Type": "consul" },
            { "Name": "*", "Action": "deny", "Precedence": 8, "Type": "consul" },
        ])
    );
    write(&api, shown.clone()).await;
    assert_eq!(api.get("/v1/config/service-intentions/db").await.json(), shown);
    assert_eq!(api.get("/v1/config/service-intentions").await.json(), json!([shown]));
}

#[tokio::test]
async fn intentions_can_be_about_every_namespace() {
    let api = TestApi::start().await;
    let entry = json!({
        "Kind": "service-intentions", "Name": "*", "Namespace": "*", "Sources": [{ "Name": "*", "Action": "deny" }],
    });

    write(&api, entry.clone()).await;
    api.put("/v1/config?ns=shop", &entry).await.says(400, "ns is \"shop\" in the query");
    api.put("/v1/config", json!({ "Kind": "service-defaults", "Name": "web", "Namespace": "*" })).await.says(400, "ns");

    assert_eq!(api.get("/v1/config/service-intentions/*?ns=*").await.json()["Sources"][0]["Precedence"], 2);
    assert_eq!(api.get("/v1/config/service-intentions").await.json(), json!([]));
    assert_eq!(api.get("/v1/config/service-intentions?ns=*").await.json()[0]["Namespace"], "*");
}

#[tokio::test]
async fn exports_are_written_in_the_primary() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    let exports = json!({
        "Kind": "exported-services", "Name": "default", "Services": [{ "Name": "a", "Consumers": [{ "Peer": "east" }] }],
    });

    api.refuses(Method::PUT, "/v1/config?dc=dc2", &exports, 500, "dc1").await;
    api.put("/v1/config?dc=dc1", &exports).await.is(200, "true");
    api.put("/v1/config?dc=dc2", json!({ "Kind": "service-defaults", "Name": "web" })).await.is(200, "true");

    assert_eq!(api.get("/v1/config/service-defaults/web?dc=dc1").await.json()["Name"], "web");
}

#[tokio::test]
async fn only_service_defaults_are_filtered() {
    let api = TestApi::start().await;

    api.get("/v1/config/proxy-defaults?filter=Name==x").await.says(500, "service-defaults");
}

#[tokio::test]
async fn an_entry_that_does_not_fit_the_others_is_an_error_of_the_server() {
    let refuse: Guard = Arc::new(|_, _, _| Err(Problem::rule("Splits", "the protocol must be http").into()));
    let api = TestApi::start_with(|api| {
        api.store = Store::open(Box::new(Memory), refuse).expect("memory opens").0;
    })
    .await;

    let entry = json!({ "Kind": "service-defaults", "Name": "web" });
    api.refuses(Method::PUT, CONFIG, entry, 500, "the protocol must be http").await;
}

const TOGETHER: &str = "/v1/meshgate/config";

/// The errors of an answer, each as `entry line path: what`.
fn errors(answer: &crate::support::http::Answer) -> Vec<String> {
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let list = body["Errors"].as_array().expect("a list").clone();
    let told = |error: Value| format!("{} {} {}: {}", error["Entry"], error["Line"], error["Path"], error["What"]);
    list.into_iter().map(told).collect()
}

#[tokio::test]
async fn several_entries_are_one_commit() {
    let api = TestApi::start().await;
    let before = api.store.view().index();

    let answer = api
        .put(
            TOGETHER,
            json!([
                { "Kind": "service-defaults", "Name": "web", "Protocol": "http" },
                { "Kind": "service-splitter", "Name": "web", "Splits": [{ "Weight": 100 }] },
            ]),
        )
        .await;

    assert_eq!(answer.json(), json!({ "Index": before + 1 }));
    for kind in ["service-defaults", "service-splitter"] {
        assert_eq!(api.get(&format!("/v1/config/{kind}/web")).await.json()["ModifyIndex"], before + 1);
    }
}

#[tokio::test]
async fn several_entries_may_be_documents_and_resources() {
    let api = TestApi::start().await;
    let text = "Kind: service-defaults\nName: a\n---\napiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceDefaults\n\
                metadata: {name: b, namespace: shop}\nspec: {protocol: http}\n";

    let headers = [("content-type", "application/yaml")];
    api.call(Method::PUT, TOGETHER, &headers, text.to_owned()).await.json();

    assert_eq!(api.get("/v1/config/service-defaults/a").await.json()["Name"], "a");
    assert_eq!(api.get("/v1/config/service-defaults/b?ns=shop").await.json()["Protocol"], "http");
}

#[tokio::test]
async fn of_several_entries_all_or_none_is_written_and_every_error_is_told() {
    let api = TestApi::start().await;
    let before = api.store.view().index();
    let text = "Kind: service-defaults\nName: web\n---\nKind: service-defaults\nName: web\nProtocl: tcp\n---\n\
                Kind: service-splitter\nName: api\nSplits: [{Weight: 1}]\n---\nKind: service-defaults\nName: web\n---\n\
                service: {name: x}\n";

    let headers = [("content-type", "application/yaml")];
    let answer = api.call(Method::PUT, TOGETHER, &headers, text.to_owned()).await;

    assert_eq!(answer.status, 400);
    assert_eq!(
        errors(&answer),
        [
            "null null \"\": \"the body holds services: register them with their agent\"",
            "1 6 \"Protocl\": \"invalid config key \\\"Protocl\\\", did you mean \\\"Protocol\\\"?\"",
            "2 10 \"Splits\": \"the sum of all weights must be 100, not 1\"",
            "3 13 \"Name\": \"service-defaults/web is written twice: entry 0 is the first\"",
        ]
    );
    assert_eq!(api.store.view().index(), before);
    api.refuses(Method::PUT, TOGETHER, "[]", 400, "the body holds no config entry").await;
    api.refuses(Method::PUT, TOGETHER, "{", 400, "Errors").await;
    let wrong = json!([{ "Kind": "mesh" }, { "Kind": "service-defaults", "Name": "web", "Protocol": "x" }]);
    let answer = api.put(TOGETHER, wrong).await;
    assert!(errors(&answer)[0].starts_with("1 1 \"Protocol\": \"unknown protocol"), "{:?}", errors(&answer));
    let elsewhere = json!([{ "Kind": "mesh", "Partition": "a" }]);
    api.refuses(Method::PUT, &format!("{TOGETHER}?partition=b"), elsewhere, 400, "partition").await;
}

#[tokio::test]
async fn the_path_of_an_error_starts_at_its_entry() {
    let api = TestApi::start().await;
    let text = "- {Kind: mesh}\n- {Kind: service-defaults, Name: a, Protocol: x}\n---\n- {Kind: service-defaults, Name: b}\n\
                - {Kind: service-defaults, Name: c, Protocol: x}\n---\nconfig_entries: {bootstrap: [{Kind: service-splitter, \
                Name: d, Splits: [{Weight: 1}]}]}\n---\napiVersion: consul.hashicorp.com/v1alpha1\nkind: List\nitems:\n- \
                apiVersion: consul.hashicorp.com/v1alpha1\n  kind: ServiceDefaults\n  metadata: {name: e}\n  spec: \
                {protocol: x}\n";

    let headers = [("content-type", "application/yaml")];
    let answer = api.call(Method::PUT, TOGETHER, &headers, text.to_owned()).await;

    let places: Vec<_> = errors(&answer).iter().map(|told| told.split(": ").next().expect("one").to_owned()).collect();
    assert_eq!(places, ["1 2 \"Protocol\"", "3 5 \"Protocol\"", "4 7 \"Splits\"", "5 15 \"spec.protocol\""]);
}

#[tokio::test]
async fn several_entries_are_written_without_a_condition() {
    let api = TestApi::start().await;

    let entries = json!([{ "Kind": "mesh" }]);
    api.refuses(Method::PUT, &format!("{TOGETHER}?cas=7"), entries, 400, "a condition is about one entry").await;

    assert_eq!(api.get("/v1/config/").await.json(), json!([]));
}

#[tokio::test]
async fn of_very_many_errors_those_are_told_that_somebody_can_use() {
    let api = TestApi::start().await;
    let before = api.store.view().index();
    let resource = |keys: usize| {
        let keys: String = (0..keys).map(|key| format!(", \"k{key}\": 1")).collect();
        format!("{{\"apiVersion\": \"consul.hashicorp.com/v1alpha1\", \"kind\": \"Mesh\"{keys}}}")
    };
    let list = |items: String| format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{items}]}}");
    for (body, count, last) in [
        (format!("[{}]", vec!["{}"; 60].join(",")), 51, "and 10 more"),
        (format!("[{}]", vec!["{}"; 8192].join(",")), 51, "and 8142 more"),
        (
            format!("[{}]", vec!["{}"; 8193].join(",")),
            1,
            "the body holds 8193 config entries, more than the 8192 of one commit",
        ),
        (format!("{{\"config_entries\": {{\"bootstrap\": [{}]}}}}", vec!["{}"; 9000].join(",")), 1, "holds 9000"),
        (list(vec!["{\"apiVersion\": \"v2\"}"; 60].join(",")), 51, "more"),
        (list(list(vec!["{\"apiVersion\": \"v2\"}"; 8193].join(","))), 1, "holds 8193"),
        (resource(100_000), 51, "more"),
    ] {
        let answer = api.put(TOGETHER, body.as_str()).await;

        let told = errors(&answer);
        assert_eq!((answer.status, told.len()), (400, count), "{last}");
        assert!(told.last().expect("one").contains(last), "{last:?} in {:?}", told.last());
    }
    assert_eq!(api.store.view().index(), before);
}

#[tokio::test]
async fn what_several_entries_would_break_together_is_a_conflict() {
    let guard: Guard = Arc::new(|_, after, _| match after.entries().count() {
        2 => Err(Problem::rule("", "two are too many").into()),
        _ => Ok(()),
    });
    let (store, _) = Store::open(Box::new(Memory), guard).expect("memory opens");
    let api = TestApi::start_with(|api| api.store = store).await;

    let entries = json!([{ "Kind": "service-defaults", "Name": "a" }, { "Kind": "service-defaults", "Name": "b" }]);
    let answer = api.put(TOGETHER, entries).await;

    assert_eq!((answer.status, errors(&answer)), (409, vec!["null null \"\": \"two are too many\"".to_owned()]));
    assert_eq!(api.get("/v1/config/").await.json(), json!([]));
}
