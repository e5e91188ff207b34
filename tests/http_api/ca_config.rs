//! The configuration of the certificate authority.

use std::sync::Arc;

use meshgate::app::Issuer;
use meshgate::ca::Authority;
use meshgate::store::{Memory, Store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

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
        (json!({ "PrivateKeyType": "rsa" }), "no keys of type \"rsa\" with 256 PrivateKeyBits are made"),
        (json!({ "PrivateKeyBits": 521 }), "use ec with 256 or 384, or rsa with 2048 or 4096"),
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
async fn another_kind_of_keys_makes_another_root() {
    let api = TestApi::start().await;
    let before = api.get("/v1/connect/ca/roots").await.json();

    api.put(PATH, config(json!({ "PrivateKeyType": "rsa", "PrivateKeyBits": 2048 }))).await.is(200, "");

    let roots = api.get("/v1/connect/ca/roots").await.json();
    assert_ne!(roots["ActiveRootID"], before["ActiveRootID"]);
    let [new, old] = [&roots["Roots"][0], &roots["Roots"][1]];
    assert_eq!((&new["PrivateKeyType"], &new["PrivateKeyBits"]), (&json!("rsa"), &json!(2048)));
    assert_eq!((&old["PrivateKeyType"], &old["PrivateKeyBits"]), (&json!("ec"), &json!(256)));
    let leaf = api.get("/v1/agent/connect/ca/leaf/web").await.json();
    let key = leaf["PrivateKeyPEM"].as_str().expect("a key");
    assert!(key.len() > 1000, "an RSA key is long: {}", key.len());
    assert_eq!(api.get(PATH).await.json()["Config"]["PrivateKeyBits"], 2048);
}

#[tokio::test]
async fn a_state_and_unknown_keys_are_a_400() {
    let api = TestApi::start().await;

    let with_state = json!({ "Provider": "consul", "State": { "foo": "bar" } });
    api.refuses(Method::PUT, PATH, with_state, 400, "State").await;
    api.refuses(Method::PUT, PATH, json!({ "Provder": "consul" }), 400, "json: unknown field \"Provder\"").await;
    api.refuses(Method::PUT, PATH, "", 400, "Request decode failed").await;
}

/// A key and a root of an operator, both in PEM form.
fn own_root() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Our CA");
    (key.serialize_pem(), params.self_signed(&key).expect("a root").pem())
}

#[tokio::test]
async fn the_root_of_an_operator_takes_over_and_the_old_one_stays_trusted() {
    let api = TestApi::start().await;
    let before = api.get("/v1/connect/ca/roots").await;
    let leaf = api.get("/v1/agent/connect/ca/leaf/web").await.json();
    let (key, cert) = own_root();
    let own = config(json!({ "PrivateKey": key, "RootCert": cert, "LeafCertTTL": "24h" }));

    let waiting = format!("/v1/connect/ca/roots?index={}&wait=10s", before.index());
    let (roots, done) = tokio::join!(api.get(&waiting), api.put(PATH, &own));

    done.is(200, "");
    let (roots, before) = (roots.json(), before.json());
    let [new, old] = [&roots["Roots"][0], &roots["Roots"][1]];
    assert_eq!((&new["RootCert"], &new["Active"], &new["Name"]), (&json!(cert), &json!(true), &json!("Our CA")));
    assert_eq!((&new["ID"], &roots["TrustDomain"]), (&roots["ActiveRootID"], &before["TrustDomain"]));
    assert_eq!((&old["ID"], &old["Active"]), (&before["ActiveRootID"], &json!(false)));
    assert_eq!((new["IntermediateCerts"].as_array().map(Vec::len), &old["IntermediateCerts"]), (Some(1), &json!(null)));
    let renewed = api.get("/v1/agent/connect/ca/leaf/web").await.json();
    assert_ne!(renewed["SerialNumber"], leaf["SerialNumber"]);
    let chain = renewed["CertPEM"].as_str().expect("a text");
    assert!(chain.ends_with(new["IntermediateCerts"][0].as_str().expect("a text")), "{chain}");
    let pem = api.get("/v1/connect/ca/roots?pem=true").await.text();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
}

#[tokio::test]
async fn a_key_is_never_shown_and_what_is_shown_can_be_written_back() {
    let api = TestApi::start().await;
    let (key, cert) = own_root();
    let own = config(json!({ "PrivateKey": key, "RootCert": cert }));
    api.put(PATH, &own).await.is(200, "");
    let roots = api.get("/v1/connect/ca/roots").await.json();

    let shown = api.get(PATH).await.json();

    assert_eq!((&shown["Config"]["RootCert"], &shown["Config"]["PrivateKey"]), (&json!(cert), &json!(null)));
    for again in [&shown, &own] {
        api.put(PATH, again).await.is(200, "");
        assert_eq!(api.get("/v1/connect/ca/roots").await.json(), roots);
    }
    let key = config(json!({ "PrivateKey": key, "RootCert": own_root().1 }));
    api.refuses(Method::PUT, PATH, key, 500, "Config.PrivateKey: is not the key of RootCert").await;
}

#[tokio::test]
async fn a_new_key_without_cross_signing_stands_alone() {
    let api = TestApi::start().await;
    let body =
        json!({ "Provider": "consul", "ForceWithoutCrossSigning": true, "Config": { "PrivateKey": own_root().0 } });

    api.put(PATH, body).await.is(200, "");

    let roots = api.get("/v1/connect/ca/roots").await.json();
    assert_eq!(roots["Roots"].as_array().map(Vec::len), Some(2));
    assert_eq!(roots["Roots"][0]["IntermediateCerts"], json!(null));
}
