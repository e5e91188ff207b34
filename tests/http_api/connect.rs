//! Certificates.

use serde_json::json;

use crate::support::http::TestApi;

#[tokio::test]
async fn there_is_one_active_root() {
    let api = TestApi::start().await;

    let roots = api.get("/v1/connect/ca/roots").await.json();
    let of_agent = api.get("/v1/agent/connect/ca/roots").await;

    let root = &roots["Roots"][0];
    assert_eq!(roots["Roots"].as_array().expect("a list").len(), 1);
    assert_eq!((&root["Active"], &root["ID"]), (&json!(true), &roots["ActiveRootID"]));
    assert_eq!((&root["PrivateKeyType"], &root["PrivateKeyBits"]), (&json!("ec"), &json!(256)));
    let domain = roots["TrustDomain"].as_str().expect("a text");
    assert_eq!(domain, format!("{}.consul", root["ExternalTrustDomain"].as_str().expect("a text")));
    assert!(root["RootCert"].as_str().expect("a text").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(!roots.to_string().contains("PRIVATE KEY"));
    assert_eq!((of_agent.json(), of_agent.header("x-cache")), (roots, "MISS"));
}

#[tokio::test]
async fn the_roots_come_as_pem_too() {
    let api = TestApi::start().await;

    let answer = api.get("/v1/connect/ca/roots?pem=true").await;

    assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
    answer.says(200, "-----BEGIN CERTIFICATE-----");
    assert!(api.get("/v1/connect/ca/roots?pem=false").await.json()["Roots"].is_array());
    api.get("/v1/connect/ca/roots?pem=banana").await.says(400, "pem");
}

#[tokio::test]
async fn a_leaf_is_issued_for_any_name_and_kept() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;

    let leaf = api.get("/v1/agent/connect/ca/leaf/any-name").await;
    let again = api.get("/v1/agent/connect/ca/leaf/any-name").await;
    let elsewhere = api.get("/v1/agent/connect/ca/leaf/any-name?dc=dc2&partition=team&ns=blue").await.json();

    let domain = api.get("/v1/connect/ca/roots").await.json()["TrustDomain"].as_str().expect("a text").to_owned();
    let body = leaf.json();
    assert_eq!(body["ServiceURI"], json!(format!("spiffe://{domain}/ns/default/dc/dc1/svc/any-name")));
    assert_eq!(elsewhere["ServiceURI"], json!(format!("spiffe://{domain}/ap/team/ns/blue/dc/dc2/svc/any-name")));
    assert_eq!(body["Service"], "any-name");
    assert!(body["CertPEM"].as_str().expect("a text").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(body["PrivateKeyPEM"].as_str().expect("a text").contains("PRIVATE KEY"));
    assert_eq!(again.json(), body);
    assert_eq!(leaf.index(), body["ModifyIndex"].as_u64().expect("a number"));
    api.get("/v1/agent/connect/ca/leaf/").await.is(400, "Missing service name");
}
