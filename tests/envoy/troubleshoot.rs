//! What `meshgate troubleshoot` reads off an Envoy, without asking the control plane.

use meshgate::cli::demo::Callee;
use serde_json::{Value, json};

use crate::hatches::listener;
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
    mesh.request(&mesh.url(Callee::OtherDatacenter)).await.unwrap();

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

/// What an Envoy says that it has is what it should have, and what it refused is where the two differ.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_held_against_what_it_should_have() {
    let mesh = TestMesh::start().await;
    mesh.request(&mesh.url(Callee::OtherDatacenter)).await.unwrap();
    let at = |envoy: &str| mesh.envoys().iter().find(|it| it.name == envoy).unwrap().admin();
    let web = format!("proxy web-sidecar-proxy -envoy-admin-endpoint {}", at("sidecar web"));
    let gateway = format!("proxy mesh-gateway -datacenter dc2 -envoy-admin-endpoint {}", at("gateway dc2"));

    for line in [&web, &gateway] {
        let (text, code) = mesh.run(&format!("{line} -diff")).await;
        assert!(code == 0 && text.starts_with("Envoy has what it should have: "), "{code}: {text}");
        // Both are told in the same tables.
        for what in ["listeners", "clusters", "endpoints"] {
            let rows = async |more: &str| {
                let (text, code) = mesh.run(&format!("{line} {what} {more} -o short")).await;
                assert_eq!(code, 0, "{text}");
                let mut rows: Vec<_> = text.lines().map(str::to_owned).collect();
                rows.sort();
                rows
            };
            assert_eq!(rows("-actual").await, rows("-desired").await, "{line} {what}");
        }
    }
    // What replaces filter chains alone leaves a listener with the version that it had, by Envoy's word.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("limited.json");
    let limited = json!({ "Kind": "service-defaults", "Name": "web", "MaxInboundConnections": 7 });
    std::fs::write(&file, limited.to_string()).unwrap();
    let (text, code) = mesh.run(&format!("apply -wait -f {}", file.display())).await;
    assert_eq!(code, 0, "{text}");
    let (text, code) = mesh.run(&format!("{web} -diff")).await;
    assert!(code == 0 && text.starts_with("Envoy has what it should have: "), "{code}: {text}");
    let (text, code) = mesh.run(&format!("{web} bootstrap -actual")).await;
    assert!(code == 0 && text.contains("\"web-sidecar-proxy\""), "{text}");
    let elsewhere = format!("proxy web-sidecar-proxy -diff -envoy-admin-endpoint {}", at("sidecar api"));
    let (text, code) = mesh.run(&elsewhere).await;
    assert!(code == 3 && text.contains("is that of \"api-sidecar-proxy\""), "{code}: {text}");

    // A listener that Envoy refuses, because it has no prefix for its statistics.
    let clusters = mesh.admin("sidecar web").clusters().await;
    let cluster = clusters.into_iter().find(|name| name.contains("api.default.dc2")).expect("the cluster of api");
    let url = mesh.url(Callee::OtherDatacenter);
    let host = url.trim_start_matches("http://").split(':').next().unwrap();
    let ours = json!({ "Name": "api", "EnvoyListenerJSON": listener(host, &cluster, "") });
    let refused = json!({ "Kind": "service-defaults", "Name": "web", "UpstreamConfig": { "Overrides": [ours] } });
    mesh.put("/v1/config", &refused).await;
    let waiting = Waiting::for_("a difference");
    loop {
        let (text, code) = mesh.run(&format!("{web} listeners -diff")).await;
        if code == 1 && text.contains("+ LDS ours: it is not there, and should be as ") {
            break;
        }
        waiting.again().await;
    }
}
