//! `/v1/meshgate/certs`.

use std::sync::Arc;

use meshgate::api::{Propagation, ReachedProxy};
use serde_json::{Value, json};

use crate::support::http::TestApi;

async fn registered() -> TestApi {
    let api = TestApi::start().await;
    with_proxies(&api).await;
    api
}

/// `web` and `db` with sidecars and leaves, and a gateway without one.
async fn with_proxies(api: &TestApi) {
    for name in ["web", "db"] {
        api.register(json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": {} } })).await;
        api.get(&format!("/v1/agent/connect/ca/leaf/{name}")).await;
    }
    api.register(json!({ "Kind": "mesh-gateway", "Name": "gw", "Port": 8443 })).await;
}

async fn certs(api: &TestApi) -> Value {
    api.get("/v1/meshgate/certs").await.json()
}

/// The serial numbers of the leaves, by what their identities end with.
fn serial(list: &Value, name: &str) -> String {
    let leaves = list["Leaves"].as_array().expect("a list");
    let found = leaves.iter().find(|leaf| leaf["Identity"].as_str().expect("a text").ends_with(name));
    found.unwrap_or_else(|| panic!("no leaf of {name} in {list}"))["Serial"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn certificates_are_listed_with_who_shows_them_and_without_keys() {
    let api = registered().await;

    let list = certs(&api).await;

    let root = api.get("/v1/connect/ca/roots").await.json()["Roots"][0].clone();
    let shown = &list["Roots"][0];
    assert_eq!((&shown["ID"], &shown["Serial"], &shown["Name"]), (&root["ID"], &root["SerialNumber"], &root["Name"]));
    assert_eq!((&shown["Active"], &shown["Leaves"], &shown["Intermediates"]), (&json!(true), &json!(2), &json!([])));
    let leaf = api.get("/v1/agent/connect/ca/leaf/web").await.json();
    let web = list["Leaves"].as_array().expect("a list").iter().find(|it| it["Identity"] == leaf["ServiceURI"]);
    let web = web.expect("the leaf of web");
    assert_eq!(
        (&web["Serial"], &web["Root"], &web["NotAfter"]),
        (&leaf["SerialNumber"], &root["ID"], &leaf["ValidBefore"])
    );
    assert_eq!(web["Proxies"].as_array().map(Vec::len), Some(1));
    assert!(web["Proxies"][0].as_str().expect("a text").ends_with("/web-sidecar-proxy"), "{web}");
    assert!(!list.to_string().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn the_leaves_of_those_who_are_named_are_replaced_and_no_other() {
    let api = registered().await;
    let before = certs(&api).await;

    let rotated = api.put("/v1/meshgate/certs/rotate?of=web-sidecar-proxy&of=gw", "").await.json();

    let after = certs(&api).await;
    assert_ne!(serial(&after, "/svc/web"), serial(&before, "/svc/web"));
    assert_eq!(serial(&after, "/svc/db"), serial(&before, "/svc/db"));
    assert_eq!(
        serial(&after, "/gateway/mesh/dc/dc1"),
        serial(&json!({ "Leaves": rotated["Leaves"] }), "/gateway/mesh/dc/dc1")
    );
    assert_eq!(rotated["Leaves"].as_array().map(Vec::len), Some(2));
    assert_eq!(rotated["Commits"], json!([rotated["Leaves"][0]["ModifyIndex"]]));
    assert_eq!(rotated["Root"], Value::Null);
}

#[tokio::test]
async fn all_leaves_are_replaced() {
    let api = registered().await;
    let before = certs(&api).await;

    let rotated = api.put("/v1/meshgate/certs/rotate?all", "").await.json();

    let after = certs(&api).await;
    assert_eq!(rotated["Leaves"], after["Leaves"]);
    for name in ["/svc/web", "/svc/db"] {
        assert_ne!(serial(&after, name), serial(&before, name));
    }
    assert_eq!(after["Roots"][0]["ID"], before["Roots"][0]["ID"]);
}

#[tokio::test]
async fn another_root_signs_all_leaves_and_the_one_before_it_is_trusted() {
    let api = registered().await;
    let before = certs(&api).await;

    let rotated = api.put("/v1/meshgate/certs/rotate?root", "").await.json();

    let after = certs(&api).await;
    let [new, old] = after["Roots"].as_array().expect("a list").as_slice() else { panic!("{after}") };
    assert_eq!(
        (&new["Active"], &new["Leaves"], &old["Active"], &old["Leaves"]),
        (&json!(true), &json!(2), &json!(false), &json!(0))
    );
    assert_eq!((&old["ID"], &rotated["Root"]), (&before["Roots"][0]["ID"], new));
    assert_eq!(new["Intermediates"].as_array().map(Vec::len), Some(1));
    let issuer = new["Intermediates"][0]["Issuer"].as_str().expect("a text");
    assert!(issuer.contains(old["Name"].as_str().expect("a text")), "{issuer}");
    // Trusted at least until the last leaf that it signed has expired.
    let last = before["Leaves"].as_array().expect("a list").iter().filter_map(|leaf| leaf["NotAfter"].as_str()).max();
    assert!(old["TrustedUntil"].as_str() >= last, "{old} and {last:?}");
    assert!(after["Leaves"].as_array().expect("a list").iter().all(|leaf| leaf["Root"] == new["ID"]), "{after}");
    assert_eq!(rotated["Commits"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn what_cannot_be_replaced_is_refused() {
    let api = registered().await;
    let before = certs(&api).await;

    api.put("/v1/meshgate/certs/rotate", "").await.says(400, "of (a proxy), all or root");
    api.put("/v1/meshgate/certs/rotate?of=nobody", "").await.says(404, "nobody");
    api.put("/v1/meshgate/certs/rotate?all&of=web-sidecar-proxy", "").await.says(400, "give one");
    api.put("/v1/meshgate/certs/rotate?root=maybe", "").await.says(400, "root");

    assert_eq!(certs(&api).await, before);
}

#[tokio::test]
async fn a_root_that_an_operator_gave_is_replaced_by_operators_alone() {
    let api = registered().await;
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let config = json!({ "Provider": "consul", "Config": { "PrivateKey": key } });
    api.put("/v1/connect/ca/configuration", config).await.is(200, "");
    let before = certs(&api).await["Roots"].clone();

    api.put("/v1/meshgate/certs/rotate?root", "").await.says(409, "given by an operator");

    assert_eq!(certs(&api).await["Roots"], before);
    let rotated = api.put("/v1/meshgate/certs/rotate?all", "").await.json();
    assert_eq!(rotated["Leaves"].as_array().map(Vec::len), Some(2));
}

/// One proxy that has not acknowledged anything.
struct Slow;

impl Propagation for Slow {
    fn reached(&self, _: u64) -> Option<Vec<ReachedProxy>> {
        Some(vec![ReachedProxy {
            datacenter: "dc1".into(),
            partition: "default".into(),
            node: "n1".into(),
            id: "slow".into(),
            state: "waiting".to_owned(),
            reason: "it was sent, and is not acknowledged yet".to_owned(),
        }])
    }

    fn progressed(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn one_root_is_everywhere_before_the_next_one_signs() {
    let api = TestApi::start_with(|api| api.propagation = Arc::new(Slow)).await;
    with_proxies(&api).await;
    let before = certs(&api).await;

    api.put("/v1/meshgate/certs/rotate?root", "").await.says(409, "slow (waiting)");

    assert_eq!(certs(&api).await, before);
    let rotated = api.put("/v1/meshgate/certs/rotate?root&force", "").await.json();
    assert_eq!(rotated["Root"]["Active"], true);
}
