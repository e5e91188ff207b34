//! The configuration of the certificate authority.

use std::sync::Arc;

use meshgate::ca::Authority;
use meshgate::store::{Memory, Store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::{Issuer, TestApi};

const PATH: &str = "/v1/connect/ca/configuration";

fn config(settings: Value) -> Value {
    json!({ "Provider": "consul", "Config": settings })
}

#[tokio::test]
async fn what_nobody_wrote_is_consuls_default() {
    let api = TestApi::start().await;

    let config = api.get(PATH).await;

    assert!(config.index() >= 1);
    let expected = json!({ "Provider": "consul", "State": null, "ForceWithoutCrossSigning": false,
        "CreateIndex": 2, "ModifyIndex": 2,
        "Config": { "LeafCertTTL": "72h", "IntermediateCertTTL": "8760h", "RootCertTTL": "87600h",
            "CSRMaxPerSecond": 50, "CSRMaxConcurrent": 0, "PrivateKeyType": "ec", "PrivateKeyBits": 256 } });
    assert_eq!(config.json(), expected);
}

#[tokio::test]
async fn what_was_read_may_be_written_back_and_changes_nothing() {
    let api = TestApi::start().await;
    let root = api.get("/v1/connect/ca/roots").await.json();
    api.put(PATH, api.get(PATH).await.json()).await.is(200, "");
    let before = api.store.view().index();

    api.put(PATH, api.get(PATH).await.json()).await.is(200, "");

    assert_eq!(api.store.view().index(), before);
    assert_eq!(api.get("/v1/connect/ca/roots").await.json(), root);
}

#[tokio::test]
async fn durations_are_texts_or_nanoseconds_and_the_rest_has_defaults() {
    let api = TestApi::start().await;
    let settings = json!({ "LeafCertTTL": "24h", "IntermediateCertTTL": 360_000_000_000_000_u64, "CSRMaxPerSecond": "7.5",
        "PrivateKeyBits": "256", "RotationPeriod": "2160h" });
    let body = json!({ "Provider": "consul", "Config": settings, "force_without_cross_signing": true });

    api.put(PATH, body).await.is(200, "");

    let row = api.get(PATH).await.json();
    assert_eq!(row["ForceWithoutCrossSigning"], true);
    let shown = &row["Config"];
    assert_eq!(
        (&shown["LeafCertTTL"], &shown["IntermediateCertTTL"], &shown["RootCertTTL"], &shown["CSRMaxPerSecond"]),
        (&json!("24h"), &json!("100h"), &json!("87600h"), &json!(7.5))
    );
}

#[tokio::test]
async fn new_leaves_are_valid_as_long_as_it_says() {
    let (store, _) = Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).expect("memory opens");
    let authority = Authority::open(store.clone(), meshgate::ca::Options::default()).await.expect("a root is made");
    let api = TestApi::start_with(|api| {
        api.store = store;
        api.certificates = Arc::new(Issuer(authority));
    })
    .await;
    let hours = async |service: &str| {
        let leaf = api.get(&format!("/v1/agent/connect/ca/leaf/{service}")).await.json();
        let time = |field: &str| {
            let text = leaf[field].as_str().expect("a time").to_owned();
            time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).expect("a time")
        };
        (time("ValidBefore") - time("ValidAfter")).whole_hours()
    };

    assert_eq!(hours("first").await, 72);
    api.put(PATH, config(json!({ "LeafCertTTL": "2h" }))).await.is(200, "");

    assert_eq!(hours("second").await, 2);
    assert_eq!(hours("first").await, 72);
}

#[tokio::test]
async fn what_breaks_a_rule_or_cannot_be_done_is_a_500() {
    let api = TestApi::start().await;

    for (settings, fragment) in [
        (json!({ "LeafCertTTL": "30m" }), "LeafCertTTL"),
        (json!({ "LeafCertTTL": "8761h", "IntermediateCertTTL": "87600h" }), "LeafCertTTL"),
        (json!({ "LeafCertTTL": "1h", "IntermediateCertTTL": "2h" }), "IntermediateCertTTL"),
        (json!({ "LeafCertTTL": "24h", "IntermediateCertTTL": "71h" }), "IntermediateCertTTL"),
        (json!({ "RootCertTTL": "8759h" }), "RootCertTTL"),
        (json!({ "LeafCertTTL": "soon" }), "LeafCertTTL"),
        (json!({ "LeafCertTTTL": "3h" }), "LeafCertTTTL"),
        (json!({ "CSRMaxPerSecond": -1 }), "CSRMaxPerSecond"),
        (json!({ "PrivateKeyType": "rsa", "PrivateKeyBits": 4096 }), "PrivateKeyType"),
        (json!({ "PrivateKeyBits": 384 }), "PrivateKeyType"),
        (json!({ "PrivateKey": "-----BEGIN" }), "PrivateKey"),
        (json!({ "RootCert": "-----BEGIN" }), "RootCert"),
    ] {
        api.refuses(Method::PUT, PATH, config(settings), 500, fragment).await;
    }
    for provider in ["vault", "aws-pca", ""] {
        api.refuses(Method::PUT, PATH, json!({ "Provider": provider }), 500, "Provider").await;
    }
}

#[tokio::test]
async fn a_state_and_unknown_keys_are_a_400() {
    let api = TestApi::start().await;

    let with_state = json!({ "Provider": "consul", "State": { "foo": "bar" } });
    api.refuses(Method::PUT, PATH, with_state, 400, "State").await;
    api.refuses(Method::PUT, PATH, json!({ "Provder": "consul" }), 400, "json: unknown field \"Provder\"").await;
    api.refuses(Method::PUT, PATH, "", 400, "Request decode failed").await;
}
