//! What `meshgate troubleshoot` reads off an Envoy, without asking the control plane.

use serde_json::Value;

use crate::support::{TestMesh, Waiting};

/// What a command prints that asks an Envoy.
async fn ask(mesh: &TestMesh, envoy: &str, line: &str) -> String {
    let admin = mesh.envoys().iter().find(|it| it.name == envoy).unwrap().admin();
    let (text, code) = mesh.run(&format!("troubleshoot {line} -envoy-admin-endpoint {admin}")).await;
    assert_eq!(code, 0, "{line}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_an_upstream_is_gone_through_and_what_is_broken_is_marked() {
    let mesh = TestMesh::start().await;
    mesh.request(&mesh.url(meshgate::cli::demo::Callee::OtherDatacenter)).await.unwrap();

    let listed = ask(&mesh, "sidecar web", "upstreams").await;

    let ids: Vec<_> = listed.lines().skip(1).take_while(|line| !line.is_empty()).map(str::trim).collect();
    assert!(ids.len() >= 2, "{listed}");
    let far = *ids.iter().find(|id| id.contains("dc2")).unwrap_or_else(|| panic!("{listed}"));
    for id in &ids {
        let said = ask(&mesh, "sidecar web", &format!("proxy -upstream-envoy-id {id}")).await;
        assert!(said.lines().count() >= 6 && said.lines().all(|line| line.starts_with('✓')), "{id}: {said}");
    }
    let unknown = ask(&mesh, "sidecar web", "proxy -upstream-envoy-id nobody").await;
    assert!(unknown.contains("✗ the upstream has no listener") && unknown.contains("✗ no cluster leads"), "{unknown}");

    let instance = mesh.instance("/v1/health/connect/api?dc=dc2").await;
    let path = format!("/v1/agent/service/maintenance/{}?enable=true&dc=dc2", instance["ID"].as_str().unwrap());
    mesh.put(&path, &Value::Null).await;

    let waiting = Waiting::for_("an upstream without a healthy endpoint");
    loop {
        let said = ask(&mesh, "sidecar web", &format!("proxy -upstream-envoy-id {far}")).await;
        if said.lines().any(|line| line.starts_with("✗ cluster") && line.contains(" has 0 healthy endpoints")) {
            break;
        }
        waiting.again().await;
    }
}
