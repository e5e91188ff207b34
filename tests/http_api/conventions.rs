//! Routing, methods, layout, headers, and what is off.

use reqwest::Method;
use serde_json::json;

use crate::support::http::TestApi;

#[tokio::test]
async fn an_agent_blocks_endpoints_restricts_writers_and_adds_headers() {
    let access = |writers: &str| meshgate::api::Access {
        blocked: vec!["/v1/agent/host".to_owned()],
        writers: vec![writers.parse().expect("a network")],
        headers: [("access-control-allow-origin", "*")]
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .into_iter()
            .collect(),
    };
    let from_here = TestApi::start_with(|api| api.options.access = access("127.0.0.0/8")).await;
    let from_elsewhere = TestApi::start_with(|api| api.options.access = access("10.0.0.0/8")).await;

    for api in [&from_here, &from_elsewhere] {
        api.get("/v1/agent/host").await.says(403, "is blocked by the configuration of the agent");
        api.get("/v1/agent/%68ost").await.says(403, "is blocked by the configuration of the agent");
        let answer = api.get("/v1/nope").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (404, "*"));
        api.get("/v1/catalog/nodes").await.is(200, "[]");
    }
    from_here.put("/v1/agent/service/register", r#"{"Name":"web"}"#).await.is(200, "");
    let body = r#"{"Name":"web"}"#;
    from_elsewhere.refuses(Method::PUT, "/v1/agent/service/register", body, 403, "access is restricted").await;
    from_elsewhere.call(Method::OPTIONS, "/v1/agent/self", &[], String::new()).await.is(200, "");
}

#[tokio::test]
async fn an_unknown_path_is_told_with_a_newline() {
    let api = TestApi::start().await;

    api.get("/").await.is(301, "");
    for path in ["/v1/nope", "/v1/kv/a", "/v1/session/list", "/v1/operator/raft/configuration", "/v1/query", "/nope"] {
        let answer = api.get(path).await;
        answer.says(404, "is no known endpoint");
        assert!(answer.text().ends_with('\n'));
    }
}

#[tokio::test]
async fn options_lists_the_methods() {
    let api = TestApi::start().await;

    for (path, allow) in [
        ("/v1/agent/self", "OPTIONS,GET"),
        ("/v1/catalog/register", "OPTIONS,PUT"),
        ("/v1/config", "OPTIONS,PUT"),
        ("/v1/config/service-defaults/web", "OPTIONS,GET,DELETE"),
        ("/v1/agent/service/deregister/x", "OPTIONS,PUT"),
    ] {
        let answer = api.call(Method::OPTIONS, path, &[], String::new()).await;
        answer.is(200, "");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_head_included() {
    let api = TestApi::start().await;

    let post = api.call(Method::POST, "/v1/agent/self", &[], String::new()).await;
    post.is(405, "method POST not allowed");
    assert_eq!(post.header("allow"), "OPTIONS,GET");
    api.get("/v1/agent/service/register").await.is(405, "method GET not allowed");
    api.call(Method::HEAD, "/v1/agent/self", &[], String::new()).await.is(405, "");
}

#[tokio::test]
async fn pretty_indents_by_four_and_ends_with_a_newline() {
    let api = TestApi::start().await;

    for path in ["/v1/agent/self?pretty", "/v1/agent/self?pretty=false"] {
        let text = api.get(path).await.text();
        assert!(text.starts_with("{\n    \"") && text.ends_with("}\n"), "{text}");
    }
    assert!(!api.get("/v1/agent/self").await.text().contains('\n'));
}

#[tokio::test]
async fn development_mode_indents_without_a_newline() {
    let api = TestApi::start_with(|api| api.options.pretty = true).await;

    let text = api.get("/v1/agent/self").await.text();

    assert!(text.starts_with("{\n    \"") && text.ends_with('}'), "{text}");
}

#[tokio::test]
async fn reads_say_how_fresh_they_are() {
    let api = TestApi::start().await;

    for (path, consistency) in [
        ("/v1/catalog/nodes", "leader"),
        ("/v1/catalog/nodes?stale=", "stale"),
        ("/v1/catalog/nodes?consistent", "consistent"),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("x-consul-effective-consistency"), consistency, "{path}");
        assert_eq!(answer.header("x-consul-default-acl-policy"), "allow");
        assert!(answer.index() >= 1);
        assert_eq!((answer.header("x-consul-knownleader"), answer.header("x-consul-lastcontact")), ("true", "0"));
    }
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_refused() {
    let api = TestApi::start().await;

    for (query, status, fragment) in [
        ("stale&consistent", 400, "cannot be given together"),
        ("cached&consistent", 400, "cannot be given together"),
        ("wait=potato&index=1", 400, "Invalid wait time"),
        ("wait=potato", 400, "Invalid wait time"),
        ("index=abc", 400, "Invalid index"),
        ("index=-1", 400, "Invalid index"),
        ("max_stale=soon", 400, "max_stale"),
        ("filter=@@", 500, "Failed to create boolean expression evaluator"),
        ("a=%zz", 500, "query string"),
        ("dc=nowhere", 500, "No path to datacenter: \"nowhere\" is not hosted here, but "),
        ("datacenter=nowhere&dc=dc1", 500, "No path to datacenter: \"nowhere\" is not hosted here, but "),
    ] {
        api.refuses(Method::GET, &format!("/v1/catalog/nodes?{query}"), "", status, fragment).await;
    }
}

#[tokio::test]
async fn tokens_are_accepted_and_ignored() {
    let api = TestApi::start().await;

    for headers in [[("authorization", "bearer x")], [("x-consul-token", "x")]] {
        let answer = api.call(Method::GET, "/v1/agent/self?token=y", &headers, String::new()).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn what_is_off_says_so() {
    let api = TestApi::start().await;

    api.get("/v1/acl/tokens").await.is(401, "ACL support disabled");
    api.put("/v1/acl/bootstrap", "").await.is(401, "ACL support disabled");
    api.get("/v1/peerings").await.is(500, "peering is disabled");
    api.call(Method::POST, "/v1/peering/token", &[], json!({ "PeerName": "east" }).to_string())
        .await
        .is(500, "peering is disabled");
}

#[tokio::test]
async fn a_path_that_cannot_be_printed_is_refused() {
    let api = TestApi::start().await;

    api.get("/v1/catalog/service/a%0ab").await.says(400, "cannot be printed");
    api.get("/v1/catalog/service/a%ffb").await.says(400, "UTF-8");
    api.get("/v1/catalog/service/a%20b").await.is(200, "[]");
    api.get("/v1/catalog/service/%E2%82%AC").await.is(200, "[]");
}

#[tokio::test]
async fn large_answers_are_compressed_if_the_client_takes_it() {
    let api = TestApi::start().await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        api.register(json!({ "Name": name, "Port": 80, "Meta": { "text": "x".repeat(400) } })).await;
    }
    let gzip = [("accept-encoding", "gzip")];

    let large = api.call(Method::GET, "/v1/agent/services", &gzip, String::new()).await;
    let small = api.call(Method::GET, "/v1/status/leader", &gzip, String::new()).await;

    assert_eq!((large.header("content-encoding"), &large.body[..2]), ("gzip", &[0x1f, 0x8b][..]));
    assert_eq!(small.header("content-encoding"), "");
}

#[tokio::test]
async fn the_status_names_this_process() {
    let api = TestApi::start().await;
    let address = api.url.trim_start_matches("http://").to_owned();

    assert_eq!(api.get("/v1/status/leader").await.json(), json!(address));
    assert_eq!(api.get("/v1/status/peers").await.json(), json!([address]));
    api.get("/v1/status/leader?dc=nowhere").await.says(500, "No path to datacenter");
}

#[tokio::test]
async fn readiness_says_what_is_waited_for() {
    let api = TestApi::start().await;

    let guard = api.readiness.wait_for("the store");
    let waiting = api.get("/v1/meshgate/ready").await;
    drop(guard);

    waiting.is(503, r#"{"Ready":false,"WaitingFor":["the store"]}"#);
    api.get("/v1/meshgate/ready").await.is(200, r#"{"Ready":true,"WaitingFor":[]}"#);
    api.get("/v1/meshgate/proxies").await.is(200, "[]");
}
