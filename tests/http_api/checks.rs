//! Checks that are registered alone, and the health of instances as load balancers ask for it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const REGISTER: &str = "/v1/agent/check/register";

#[tokio::test]
async fn a_check_of_a_service_and_one_of_the_node_appear_and_go() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Tags": ["v1"] })).await;

    let body = json!({ "Name": "web up", "ServiceID": "web", "HTTP": "http://127.0.0.1:1", "Interval": "10s" });
    api.put(REGISTER, body).await.is(200, "");
    api.put(REGISTER, json!({ "ID": "disk", "Name": "Disk", "TTL": "1h", "Notes": "free space" })).await.is(200, "");
    let checks = api.get("/v1/agent/checks").await.json();
    api.put("/v1/agent/check/deregister/web%20up", "").await.is(200, "");
    api.put("/v1/agent/check/deregister/disk", "").await.is(200, "");

    let web = &checks["web up"];
    assert_eq!((&web["ServiceName"], &web["ServiceTags"]), (&json!("web"), &json!(["v1"])));
    assert_eq!((&web["Status"], &web["Type"], &web["Interval"]), (&json!("critical"), &json!("http"), &json!("10s")));
    let disk = &checks["disk"];
    assert_eq!((&disk["ServiceID"], &disk["Name"], &disk["Notes"]), (&json!(""), &json!("Disk"), &json!("free space")));
    assert_eq!(api.get("/v1/agent/checks").await.json(), json!({}));
    api.refuses(Method::PUT, "/v1/agent/check/deregister/disk", "", 404, "disk").await;
}

#[tokio::test]
async fn a_check_of_the_node_needs_no_service_and_takes_every_service_out() {
    let api = TestApi::start().await;

    api.put(REGISTER, json!({ "Name": "disk", "TTL": "1h" })).await.is(200, "");
    api.register(json!({ "Name": "web" })).await;

    let rows = api.get("/v1/health/service/web").await.json();
    assert_eq!(rows[0]["Checks"][0]["CheckID"], "disk");
    assert_eq!(api.get("/v1/health/service/web?passing").await.json(), json!([]));
    api.put("/v1/agent/check/pass/disk", "").await.is(200, "");
    assert_eq!(api.get("/v1/health/service/web?passing").await.json()[0]["Service"]["ID"], "web");
}

#[tokio::test]
async fn registering_a_check_again_keeps_its_last_result() {
    let api = TestApi::start().await;
    api.put(REGISTER, json!({ "Name": "beat", "TTL": "1h" })).await;
    api.put("/v1/agent/check/pass/beat?note=fine", "").await;

    api.put(REGISTER, json!({ "Name": "beat", "TTL": "2h" })).await.is(200, "");

    let beat = &api.get("/v1/agent/checks").await.json()["beat"];
    assert_eq!((&beat["Status"], &beat["Output"]), (&json!("passing"), &json!("fine")));
    assert_eq!(beat["Definition"]["TTL"], "2h0m0s");
}

#[tokio::test]
async fn what_the_go_client_sends_for_a_check_is_taken() {
    let api = TestApi::start().await;
    let body = json!({
        "ID": "disk", "Name": "disk", "Notes": "", "ServiceID": "", "CheckID": "disk", "Token": "secret", "TTL": "15s",
        "Header": null, "args": null, "Namespace": "", "Partition": "",
    });

    api.put(REGISTER, body).await.is(200, "");

    assert_eq!(api.get("/v1/agent/checks").await.json()["disk"]["Definition"], json!({ "TTL": "15s" }));
}

#[tokio::test]
async fn checks_that_break_rules_are_refused() {
    let api = TestApi::start().await;

    for (body, status, fragment) in [
        (json!({ "TTL": "1s" }), 400, "Missing check name"),
        (json!({ "Name": "a" }), 400, "Invalid check"),
        (json!({ "Name": "a", "TTL": "1s", "Interval": "1s" }), 400, "Interval"),
        (json!({ "Name": "a", "TCP": "127.0.0.1:1" }), 400, "Interval"),
        (json!({ "Name": "a", "TTL": "1s", "Status": "sideways" }), 400, "sideways"),
        (json!({ "Name": "a", "TTL": "1s", "Bogus": 1 }), 400, "unknown field \"Bogus\""),
        (json!({ "Name": "a", "TTL": "1s", "ServiceID": "ghost" }), 404, "ghost"),
        (json!({ "Name": "a", "Args": ["true"], "Interval": "1s" }), 500, "Scripts are disabled"),
        (json!({ "Name": "a", "TTL": "1s", "Partition": "x y" }), 400, "partition"),
    ] {
        api.refuses(Method::PUT, REGISTER, body, status, fragment).await;
    }
    api.refuses(Method::PUT, REGISTER, "x".repeat(600 * 1024), 413, "524288").await;
}

#[tokio::test]
async fn the_health_of_an_instance_is_a_status_code() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Check": { "TTL": "1h" } })).await;
    let path = "/v1/agent/health/service/id/web";

    for (report, code, word) in [("pass", 200, "passing"), ("warn", 429, "warning"), ("fail", 503, "critical")] {
        api.put(&format!("/v1/agent/check/{report}/service:web"), "").await.is(200, "");
        let whole = api.get(path).await;
        assert_eq!((whole.status, whole.header("x-consul-reason")), (code, word));
        let body: Value = serde_json::from_slice(&whole.body).expect("JSON");
        assert_eq!((&body["AggregatedStatus"], &body["Service"]["ID"]), (&json!(word), &json!("web")));
        assert_eq!(body["Checks"][0]["CheckID"], "service:web");
        api.get(&format!("{path}?format=text")).await.is(code, word);
        let text = api.call(Method::GET, path, &[("accept", "text/plain")], String::new()).await;
        text.is(code, word);
        api.get("/v1/agent/health/service/name/web?format=text").await.is(code, word);
    }
}

#[tokio::test]
async fn maintenance_of_a_service_or_the_node_outweighs_everything() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Check": { "TTL": "1h" } })).await;
    let health = async || api.get("/v1/agent/health/service/id/web?format=text").await;

    api.put("/v1/agent/service/maintenance/web?enable=true", "").await.is(200, "");
    health().await.is(503, "maintenance");
    api.put("/v1/agent/service/maintenance/web?enable=false", "").await.is(200, "");
    health().await.is(503, "critical");
    api.put("/v1/agent/maintenance?enable=true&reason=upgrade", "").await.is(200, "");
    health().await.is(503, "maintenance");
    let check = api.get("/v1/agent/checks").await.json()["_node_maintenance"].clone();
    api.put("/v1/agent/maintenance?enable=false", "").await.is(200, "");
    health().await.is(503, "critical");

    assert_eq!((&check["Status"], &check["Notes"]), (&json!("critical"), &json!("upgrade")));
    api.refuses(Method::PUT, "/v1/agent/maintenance", "", 400, "Missing enable").await;
}

#[tokio::test]
async fn the_health_of_a_name_is_that_of_its_worst_instance() {
    let api = TestApi::start().await;
    let check = |status: &str| json!({ "TTL": "1h", "Status": status });
    api.register(json!({ "Name": "web", "ID": "one", "Check": check("passing") })).await;
    api.register(json!({ "Name": "web", "ID": "two", "Check": check("warning") })).await;

    let answer = api.get("/v1/agent/health/service/name/web").await;

    assert_eq!(answer.status, 429);
    let rows: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let statuses: Vec<_> = rows.as_array().expect("a list").iter().map(|row| row["AggregatedStatus"].clone()).collect();
    assert_eq!(statuses, ["passing", "warning"]);
}

#[tokio::test]
async fn nobody_is_healthy_who_is_not_there() {
    let api = TestApi::start().await;

    let unknown = r#"{"AggregatedStatus":"critical","Service":null,"Checks":null}"#;
    api.get("/v1/agent/health/service/id/ghost").await.is(404, unknown);
    api.get("/v1/agent/health/service/name/ghost").await.is(404, "[]");
}

#[tokio::test]
async fn nobody_reports_on_a_check_that_is_not_there() {
    let api = TestApi::start().await;

    for report in ["pass", "warn", "fail", "update"] {
        let path = format!("/v1/agent/check/{report}/ghost");
        api.refuses(Method::PUT, &path, r#"{"Status": "passing"}"#, 404, "Unknown check ID \"ghost\"").await;
    }
}
