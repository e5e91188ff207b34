//! Intentions decide who gets through, behind gateways too.

use std::net::SocketAddr;

use meshgate::cli::demo::Callee;
use meshgate::model::GatewayMode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Certificate, TestMesh, Waiting, visit};

const GATEWAY_PORT: u16 = 8_443;

/// Writes who may call a service.
async fn intend(mesh: &TestMesh, partition: &str, service: &str, sources: Value) {
    let body = json!({"Kind": "service-intentions", "Name": service, "Partition": partition, "Sources": sources});
    mesh.put(&format!("/v1/config?partition={partition}"), &body).await;
}

/// The status that a request ends with; nothing if its connection is closed.
async fn status(method: &Method, url: &str, header: Option<(&str, &str)>) -> Option<u16> {
    let client = reqwest::Client::builder().timeout(Waiting::LIMIT).build().unwrap();
    let mut request = client.request(method.clone(), url);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

/// Waits until requests end so.
async fn becomes(url: &str, expected: Option<u16>) {
    let waiting = Waiting::for_(format!("{expected:?} of {url}"));
    while status(&Method::GET, url, None).await != expected {
        waiting.again().await;
    }
}

async fn leaf(mesh: &TestMesh, service: &str, partition: &str) -> Certificate {
    let path = format!("/v1/agent/connect/ca/leaf/{service}?partition={partition}");
    Certificate::of_leaf(&mesh.control_plane.get(&path).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_decide_about_each_request_behind_two_gateways() {
    let mut mesh = TestMesh::start().await;
    let callee = Callee::OtherDatacenter;
    mesh.set_mode(GatewayMode::Local).await;
    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    let url = mesh.url(callee);
    let admin = format!("{url}admin");
    assert_eq!(status(&Method::GET, &admin, None).await, Some(200));

    let http = |action: &str, http: Value| json!({"Action": action, "HTTP": http});
    let token = json!([{"Name": "x-token", "Present": true}]);
    let permissions = json!([
        http("allow", json!({"PathExact": "/admin", "Header": token})),
        http("deny", json!({"PathPrefix": "/admin"})),
        http("deny", json!({"PathRegex": "/v[0-9]+/.*", "Methods": ["put", "DELETE"]})),
    ]);
    intend(&mesh, "default", "api", json!([{"Name": "web", "Permissions": permissions}])).await;

    becomes(&admin, Some(403)).await;
    for (method, path, header, expected) in [
        (Method::GET, "admin", Some(("x-token", "any")), 200),
        (Method::GET, "admin/users", Some(("x-token", "any")), 403),
        (Method::PUT, "v1/keys", None, 403),
        (Method::GET, "v1/keys", None, 200),
        (Method::PUT, "keys", None, 200),
        (Method::GET, "", None, 200),
    ] {
        assert_eq!(status(&method, &format!("{url}{path}"), header).await, Some(expected), "{method} {path}");
    }

    intend(&mesh, "default", "api", json!([{"Name": "web", "Action": "deny"}])).await;
    becomes(&url, Some(403)).await;
    mesh.control_plane.delete("/v1/config/service-intentions/api").await.unwrap();
    becomes(&url, Some(200)).await;
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_apart_by_their_certificates_behind_a_gateway() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Remote).await;
    let url = mesh.url(Callee::OtherPartition);
    becomes(&url, Some(200)).await;
    let gateway = SocketAddr::from((mesh.address(3, 1), GATEWAY_PORT));
    let sni = format!("billing.default.team-a.dc1.internal-v1.{}", mesh.trust_domain().await);
    let (web, cron) = (leaf(&mesh, "web", "default").await, leaf(&mesh, "cron", "default").await);
    let greeting = "hello from billing in dc1/team-a";
    assert!(visit(gateway, &sni, Some(&cron)).await.answer.contains(greeting));

    let from_default = |name: &str, action: &str| json!({"Name": name, "Partition": "default", "Action": action});
    intend(&mesh, "team-a", "billing", json!([from_default("web", "deny")])).await;
    becomes(&url, None).await;
    assert!(visit(gateway, &sni, Some(&cron)).await.answer.contains(greeting));

    intend(&mesh, "team-a", "billing", json!([from_default("web", "allow"), from_default("*", "deny")])).await;
    becomes(&url, Some(200)).await;
    assert!(visit(gateway, &sni, Some(&web)).await.answer.contains(greeting));
    let refused = visit(gateway, &sni, Some(&cron)).await;
    assert!(refused.server.ends_with("/svc/billing"), "{refused:?}");
    assert_eq!(refused.answer, "");
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_an_export_gets_through_no_sidecar() {
    let mesh = TestMesh::start().await;
    let domain = mesh.trust_domain().await;
    let gateway = SocketAddr::from((mesh.address(2, 1), GATEWAY_PORT));
    let sni = format!("api.default.dc2.internal.{domain}");
    let (friend, stranger) = (leaf(&mesh, "web", "default").await, leaf(&mesh, "billing", "team-a").await);

    let welcome = visit(gateway, &sni, Some(&friend)).await;
    let refused = visit(gateway, &sni, Some(&stranger)).await;

    assert!(welcome.answer.contains("hello from api in dc2/default"), "{welcome:?}");
    assert!(refused.answer.starts_with("HTTP/1.1 403"), "{refused:?}");
    assert!(!refused.answer.contains("hello"), "{refused:?}");
    mesh.is_clean().await;
}
