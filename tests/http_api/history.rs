//! What happened, by whom, and back.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

fn defaults(protocol: &str) -> Value {
    json!({ "Kind": "service-defaults", "Name": "web", "Protocol": protocol })
}

#[tokio::test]
async fn every_commit_is_shown_with_its_caller_and_the_fields_that_differ() {
    let api = TestApi::start().await;
    api.put("/v1/config", defaults("tcp")).await.is(200, "true");
    api.put("/v1/config", defaults("http")).await.is(200, "true");
    api.register(json!({ "Name": "web", "Port": 80 })).await;
    api.delete("/v1/config/service-defaults/web").await.is(200, "{}");

    let all = api.get("/v1/meshgate/history").await.json();
    let config = api.get("/v1/meshgate/history?class=config&entry=service-defaults/web&limit=2").await.json();

    let classes: Vec<_> = all["Commits"].as_array().unwrap().iter().map(|commit| &commit["Class"]).collect();
    // The oldest one is that of the root, which the authority of the tests made in its own name.
    assert_eq!(classes, ["config", "catalog", "config", "config", "config"]);
    let kept = all["Kept"].as_array().unwrap();
    assert_eq!(
        kept.iter().map(|kept| &kept["Class"]).collect::<Vec<_>>(),
        ["config", "catalog", "health", "certificates"]
    );
    assert_eq!((&all["MaxCommits"], &all["HasMore"]), (&json!(1024), &json!(false)));
    assert_eq!(config["HasMore"], true);
    let [removed, changed] = config["Commits"].as_array().unwrap().as_slice() else { panic!("{config}") };
    assert_eq!(removed["Rows"][0]["Action"], "removed");
    assert_eq!(changed["Author"]["By"], "call");
    let address = changed["Author"]["Address"].as_str().unwrap();
    assert_eq!(address.parse::<std::net::SocketAddr>().unwrap().ip().to_string(), "127.0.0.1");
    let field = json!({ "Path": "Protocol", "Old": "tcp", "New": "http" });
    let row =
        json!({ "Table": "ConfigEntries", "Name": "service-defaults/web", "Action": "changed", "Fields": [field] });
    assert_eq!(changed["Rows"], json!([row]));
    let older =
        api.get(&format!("/v1/meshgate/history?entry=service-defaults/web&before={}", changed["Index"])).await.json();
    assert_eq!(older["Commits"][0]["Rows"][0]["Action"], "created");
    let one = api.get(&format!("/v1/meshgate/history/{}", changed["Index"])).await.json();
    assert_eq!(one, *changed);
    api.get("/v1/meshgate/history/999").await.says(404, "there is no commit 999");
    for (query, fragment) in [
        ("class=secret", "expected config, catalog, health or certificates"),
        ("limit=0", "from 1 to 1000"),
        ("before=x", "index of a commit"),
        ("entry=web", "named by a kind and a name"),
    ] {
        let answer = api.get(&format!("/v1/meshgate/history?{query}")).await;
        assert!(answer.status >= 400 && answer.text().contains(fragment), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_history_holds_no_secret() {
    let api = TestApi::start().await;
    let check = json!({
        "Name": "up", "HTTP": "http://127.0.0.1:1/", "Interval": "10s", "Header": { "Authorization": ["Bearer 7f2c"] },
        "Method": "POST", "Body": "password=7f2c",
    });
    api.register(json!({ "Name": "web", "Port": 80, "Check": check })).await;
    let hatch = "{\"key\": \"-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----\"}";
    let entry =
        json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "envoy_public_listener_json": hatch } });
    api.put("/v1/config", entry).await.is(200, "true");
    api.get("/v1/agent/connect/ca/leaf/web").await.says(200, "PRIVATE KEY");
    api.delete("/v1/config/proxy-defaults/global").await.is(200, "{}");

    let told = api.get("/v1/meshgate/history").await;
    let back = api.get("/v1/meshgate/rollback/proxy-defaults/global?commit=4").await;

    for answer in [told.text(), back.text()] {
        for secret in ["PRIVATE KEY", "CERTIFICATE", "7f2c", "MII"] {
            assert!(!answer.contains(secret), "{secret} in {answer}");
        }
    }
    assert!(back.text().contains("<hidden>"), "{}", back.text());
    let tables: Vec<_> =
        told.json()["Commits"].as_array().unwrap().iter().map(|commit| commit["Class"].clone()).collect();
    assert!(tables.contains(&json!("certificates")), "{tables:?}");
}

#[tokio::test]
async fn an_entry_becomes_what_it_was_unless_somebody_else_changes_it() {
    let api = TestApi::start().await;
    api.put("/v1/config", defaults("tcp")).await.is(200, "true");
    let first = api.store.view().index();
    api.put("/v1/config", defaults("http")).await.is(200, "true");
    let second = api.store.view().index();
    let path = |to: &str| format!("/v1/meshgate/rollback/service-defaults/web?commit={to}");

    let preview = api.get(&path(&first.to_string())).await.json();
    let field = json!({ "Path": "Protocol", "Old": "http", "New": "tcp" });
    assert_eq!((&preview["Action"], &preview["Fields"]), (&json!("changed"), &json!([field])));
    assert_eq!(preview["ModifyIndex"], second);
    assert_eq!(preview.get("Written"), None);
    let stale = format!("{}&cas={first}", path(&first.to_string()));
    api.refuses(Method::PUT, &stale, "", 409, "was changed in the meantime").await;

    let done = api.put(&format!("{}&cas={second}", path(&first.to_string())), "").await.json();

    assert_eq!(done["Written"], second + 1);
    api.get("/v1/config/service-defaults/web").await.says(200, "\"tcp\"");
    let same = api.put(&path(&first.to_string()), "").await.json();
    assert_eq!((&same["Action"], same.get("Written")), (&json!("unchanged"), None));
    // Before it was made, there was none.
    let gone = api.put(&path(&(first - 1).to_string()), "").await.json();
    assert_eq!(gone["Action"], "removed");
    api.get("/v1/config/service-defaults/web").await.says(404, "not found");
    let made = api.put(&path(&second.to_string()), "").await.json();
    assert_eq!((&made["Action"], &made["ModifyIndex"]), (&json!("created"), &json!(0)));
    api.get("/v1/config/service-defaults/web").await.says(200, "\"http\"");
    api.refuses(Method::PUT, &path("999"), "", 404, "there is no commit 999 yet").await;
    api.get(&path("999")).await.says(404, "there is no commit 999 yet");
    api.refuses(Method::PUT, &path("yesterday"), "", 400, "expected the index of a commit, or a time").await;
    api.refuses(Method::PUT, "/v1/meshgate/rollback/service-defaults/web", "", 400, "Missing commit").await;
    // A time means the state of that time.
    let time = api.store.history().commit(second).unwrap().time;
    let time = time.format(&time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(api.get(&path(&time)).await.json()["To"], second);
}

#[tokio::test]
async fn a_call_can_wait_for_the_next_commit() {
    let api = TestApi::start().await;
    let index = api.store.view().index();
    let path = format!("/v1/meshgate/history?index={index}&wait=10s&limit=1");

    let (told, ()) = tokio::join!(api.get(&path), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        api.put("/v1/config", defaults("tcp")).await.is(200, "true");
    });

    assert_eq!(told.json()["Commits"][0]["Index"], index + 1);
    assert_eq!(told.header("x-consul-index"), (index + 1).to_string());
}
