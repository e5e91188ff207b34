//! What Consul has no endpoint for.

use meshgate::codec;
use serde_json::json;

use crate::support::http::TestApi;

#[tokio::test]
async fn a_bundle_is_the_whole_state_without_secrets() {
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
    // A leaf and its key are rows as well.
    api.get("/v1/agent/connect/ca/leaf/web").await.says(200, "PRIVATE KEY");

    let told = api.get("/v1/meshgate/debug/bundle").await;

    assert_eq!(told.header("content-type"), "application/json");
    for secret in ["PRIVATE KEY", "CERTIFICATE", "7f2c"] {
        assert!(!told.text().contains(secret), "{secret}");
    }
    let read = codec::bundle(told.text().as_bytes()).unwrap();
    assert_eq!((read.nodes.len(), read.services.len(), read.checks.len(), read.entries.len()), (1, 1, 1, 1));
    assert_eq!(read.agent.datacenter.as_str(), "dc1");
    assert!(!read.agent.cluster_id.is_empty());
    // The same state gives the same bytes, whoever asks and however.
    let again = api.get("/v1/meshgate/debug/bundle?pretty&partition=team-a").await;
    assert_eq!(again.text().strip_suffix('\n'), Some(told.text().as_str()));
}
