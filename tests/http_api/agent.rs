//! Registrations with the agent, and what it says about itself.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const REGISTER: &str = "/v1/agent/service/register";

#[tokio::test]
async fn the_agent_describes_itself() {
    let api = TestApi::start().await;

    let about = api.get("/v1/agent/self").await.json();

    assert!(about.as_object().expect("an object").values().all(|member| member.is_object() || member.is_null()));
    assert_eq!(about["Config"]["Datacenter"], "dc1");
    assert_eq!((&about["Config"]["NodeName"], &about["Config"]["Server"]), (&json!("localhost"), &json!(true)));
    assert_eq!((&about["Member"]["Name"], &about["Member"]["Status"]), (&json!("localhost"), &json!(1)));
    assert_eq!(about["xDS"]["Ports"], json!({ "Plaintext": 8502, "TLS": -1 }));
    assert_eq!(about["xDS"]["SupportedProxies"]["envoy"], json!(["1.40.0", "1.39.3", "1.38.3", "1.37.0", "1.36.4"]));
}

#[tokio::test]
async fn a_closed_ads_port_is_not_shown() {
    let api = TestApi::start_with(|api| api.options.grpc_port = None).await;

    let about = api.get("/v1/agent/self").await.json();

    assert_eq!((about.get("xDS"), &about["DebugConfig"]["GRPCPort"]), (None, &json!(-1)));
}

#[tokio::test]
async fn the_agent_is_its_only_member() {
    let api = TestApi::start().await;

    let names = |members: Value| -> Vec<String> {
        let members = members.as_array().expect("a list").clone();
        members.iter().map(|member| member["Name"].as_str().expect("a name").to_owned()).collect()
    };

    assert_eq!(names(api.get("/v1/agent/members").await.json()), ["localhost"]);
    assert_eq!(names(api.get("/v1/agent/members?wan=1").await.json()), ["localhost.dc1"]);
    api.get("/v1/agent/members?wan=1&segment=a").await.says(400, "cannot be given together");
}

#[tokio::test]
async fn a_cluster_of_one_joins_only_itself_and_forces_nobody_out() {
    let api = TestApi::start_with(|api| api.options.advertise = "10.0.0.1".to_owned()).await;
    let put = Method::PUT;

    for own in [
        "join/10.0.0.1",
        "join/10.0.0.1:8301?wan=1",
        "join/localhost",
        "force-leave/localhost",
        "force-leave/localhost.dc1?prune=1&wan=1",
    ] {
        api.put(&format!("/v1/agent/{own}"), "").await.is(200, "");
    }
    api.refuses(put.clone(), "/v1/agent/join/10.0.0.2", "", 500, "Failed to join 10.0.0.2").await;
    api.refuses(put.clone(), "/v1/agent/join/", "", 400, "Missing address to join").await;
    api.refuses(put.clone(), "/v1/agent/force-leave/ghost", "", 500, "No node found with name \"ghost\"").await;
    api.refuses(put, "/v1/agent/force-leave/", "", 400, "Missing node name").await;
}

#[tokio::test]
async fn who_asks_the_agent_to_leave_is_answered_before_it_stops() {
    let leave = tokio_util::sync::CancellationToken::new();
    let asked = leave.clone();
    let api = TestApi::start_with(|api| api.leave = asked).await;

    api.put("/v1/agent/leave", "").await.is(200, "");

    assert!(leave.is_cancelled());
}

#[tokio::test]
async fn output_is_kept_up_to_the_size_of_the_agent_or_the_check() {
    let api = TestApi::start_with(|api| api.options.check_output_max_size = 100).await;
    api.put("/v1/agent/check/register", json!({ "Name": "long", "TTL": "1h", "OutputMaxSize": 5000 }))
        .await
        .is(200, "");
    api.put("/v1/agent/check/register", json!({ "Name": "short", "TTL": "1h", "OutputMaxSize": 7 })).await.is(200, "");
    let kept = async |check: &str| {
        let report = json!({ "Status": "passing", "Output": "x".repeat(200) });
        api.put(&format!("/v1/agent/check/update/{check}"), report).await.is(200, "");
        api.get("/v1/agent/checks").await.json()[check]["Output"].as_str().expect("a text").len()
    };

    assert_eq!((kept("long").await, kept("short").await), (100, 7));
}

#[tokio::test]
async fn a_registration_appears() {
    let api = TestApi::start().await;

    api.put(REGISTER, json!({ "Name": "web", "Port": 80 })).await.is(200, "");

    let web = &api.get("/v1/agent/services").await.json()["web"];
    assert_eq!(
        web,
        &json!({
            "ID": "web", "Service": "web", "Tags": [], "Meta": {}, "Port": 80, "Address": "",
            "Weights": { "Passing": 1, "Warning": 1 }, "EnableTagOverride": false, "CreateIndex": 3, "ModifyIndex": 3,
            "Datacenter": "dc1",
        })
    );
    let node = &api.get("/v1/catalog/nodes").await.json()[0];
    assert_eq!((&node["Node"], &node["Address"]), (&json!("localhost"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn keys_are_matched_without_case_and_some_by_alias() {
    let api = TestApi::start().await;

    api.put(REGISTER, json!({ "name": "web", "port": 80 })).await.is(200, "");
    api.put(
        REGISTER,
        json!({
            "Name": "api", "Port": 81, "enable_tag_override": true,
            "tagged_addresses": { "wan": { "Address": "198.18.0.1", "Port": 8080 } },
            "Connect": { "sidecar_service": {} },
        }),
    )
    .await
    .is(200, "");

    let services = api.get("/v1/agent/services").await.json();
    assert_eq!(services["web"]["Port"], 80);
    assert_eq!(services["api"]["EnableTagOverride"], true);
    assert_eq!(services["api"]["TaggedAddresses"]["wan"], json!({ "Address": "198.18.0.1", "Port": 8080 }));
    assert_eq!(services["api-sidecar-proxy"]["Kind"], "connect-proxy");
}

#[tokio::test]
async fn what_the_go_client_sends_for_unset_fields_is_taken() {
    let api = TestApi::start().await;

    let body = json!({
        "Name": "web", "Check": null, "Checks": null, "Connect": null, "Weights": null, "Tags": null, "Meta": null,
        "Proxy": null,
    });
    api.put(REGISTER, body).await.is(200, "");
    let body = json!({
        "Name": "proxy", "Kind": "connect-proxy", "Port": 21000,
        "Proxy": { "DestinationServiceName": "web", "MeshGateway": {}, "Expose": {} },
    });
    api.put(REGISTER, body).await.is(200, "");
}

#[tokio::test]
async fn a_ttl_is_a_text_or_a_number_of_nanoseconds() {
    let api = TestApi::start().await;

    api.register(json!({ "Name": "a", "Check": { "TTL": 10_000_000_000_u64 } })).await;
    api.register(json!({ "Name": "b", "Check": { "TTL": "10s" } })).await;

    let checks = api.get("/v1/agent/checks").await.json();
    assert_eq!(checks["service:a"]["Definition"], json!({ "TTL": "10s" }));
    assert_eq!(checks["service:b"]["Definition"], json!({ "TTL": "10s" }));
    assert_eq!((&checks["service:a"]["Status"], &checks["service:a"]["Type"]), (&json!("critical"), &json!("ttl")));
    assert_eq!(checks["service:a"]["Name"], "Service 'a' check");
}

#[tokio::test]
async fn checks_survive_a_registration_that_does_not_name_them() {
    let api = TestApi::start().await;
    let ttl = |id: &str| json!({ "CheckID": id, "TTL": "1h", "Status": "passing" });
    api.register(json!({ "Name": "web", "Checks": [ttl("one"), ttl("two")] })).await;

    api.register(json!({ "Name": "web", "Tags": ["v2"], "Check": { "CheckID": "one", "TTL": "2h" } })).await;
    let kept = api.get("/v1/agent/checks").await.json();
    api.put(&format!("{REGISTER}?replace-existing-checks"), json!({ "Name": "web", "Check": ttl("one") })).await;
    let replaced = api.get("/v1/agent/checks").await.json();

    assert_eq!((&kept["one"]["Status"], &kept["one"]["Definition"]["TTL"]), (&json!("passing"), &json!("2h0m0s")));
    assert_eq!((&kept["two"]["Status"], &kept["two"]["ServiceTags"]), (&json!("passing"), &json!(["v2"])));
    assert_eq!(replaced.as_object().expect("an object").keys().collect::<Vec<_>>(), ["one"]);
}

#[tokio::test]
async fn deregistering_takes_the_checks_along() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "ID": "web-1", "Check": { "TTL": "1h" } })).await;

    api.put("/v1/agent/service/deregister/web-1", "").await.is(200, "");

    assert_eq!(api.get("/v1/agent/services").await.json(), json!({}));
    assert_eq!(api.get("/v1/agent/checks").await.json(), json!({}));
    api.refuses(Method::PUT, "/v1/agent/service/deregister/web-1", "", 404, "not the name").await;
    api.refuses(Method::PUT, "/v1/agent/service/deregister/", "", 400, "Missing service ID").await;
}

#[tokio::test]
async fn ids_may_hold_slashes() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "ID": "team/web 1" })).await;

    assert_eq!(api.get("/v1/agent/service/team/web%201").await.json()["Service"], "web");
    api.put("/v1/agent/service/deregister/team%2Fweb%201", "").await.is(200, "");
    api.get("/v1/agent/service/team/web%201").await.is(404, "unknown service ID: team/web 1");
}

#[tokio::test]
async fn reports_set_the_status_and_are_told() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Check": { "TTL": "1h" } })).await;
    let check = || async { api.get("/v1/agent/checks").await.json()["service:web"].clone() };

    for (call, body, status, output) in [
        ("pass/service:web?note=fine", Value::Null, "passing", "fine"),
        ("warn/service:web", Value::Null, "warning", ""),
        ("fail/service:web?note=gone", Value::Null, "critical", "gone"),
        ("update/service:web", json!({ "Status": "passing", "Output": "back" }), "passing", "back"),
        ("update/service:web", json!({ "Status": "passing", "Output": "back" }), "passing", "back"),
    ] {
        api.put(&format!("/v1/agent/check/{call}"), body).await.is(200, "");
        let now = check().await;
        assert_eq!((&now["Status"], &now["Output"]), (&json!(status), &json!(output)), "{call}");
    }

    let told = api.reports.0.lock().expect("not poisoned");
    assert_eq!(told.iter().map(|key| key.check.as_str()).collect::<Vec<_>>(), ["service:web"; 5]);
}

#[tokio::test]
async fn reports_on_other_checks_are_refused() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Check": { "HTTP": "http://127.0.0.1:1", "Interval": "10s" } })).await;
    api.register(json!({ "Name": "ttl", "Check": { "TTL": "1h" } })).await;

    let put = Method::PUT;
    let update = "/v1/agent/check/update/service:ttl";
    api.refuses(put.clone(), "/v1/agent/check/pass/service:web", "", 500, "does not have associated TTL").await;
    api.refuses(put.clone(), "/v1/agent/check/pass/ghost", "", 404, "ghost").await;
    api.refuses(put.clone(), "/v1/agent/check/pass/", "", 400, "Missing check ID").await;
    api.refuses(put.clone(), update, json!({ "Status": "nope" }), 400, "Request decode failed:").await;
    api.refuses(put, update, "{", 400, "Request decode failed:").await;
}

#[tokio::test]
async fn maintenance_puts_a_critical_check_on_the_instance() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web" })).await;
    let path = "/v1/agent/service/maintenance/web";

    api.put(&format!("{path}?enable=true&reason=broken%20disk"), "").await.is(200, "");
    let on = api.get("/v1/agent/checks").await.json();
    api.put(&format!("{path}?enable=false"), "").await.is(200, "");
    let off = api.get("/v1/agent/checks").await.json();

    let check = &on["_service_maintenance:web"];
    assert_eq!((&check["Status"], &check["Notes"]), (&json!("critical"), &json!("broken disk")));
    assert_eq!(off, json!({}));
    api.refuses(Method::PUT, path, "", 400, "Missing enable").await;
    api.refuses(Method::PUT, &format!("{path}?enable=maybe"), "", 400, "enable").await;
    api.refuses(Method::PUT, "/v1/agent/service/maintenance/ghost?enable=true", "", 404, "ghost").await;
}
