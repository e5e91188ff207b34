//! What a plan says of connections is what Envoys count.

use std::collections::BTreeMap;

use meshgate::model::GatewayMode;
use serde_json::{Value, json};

use crate::hatches::listener;
use crate::support::TestMesh;

/// What an Envoy counts that tells one impact from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    clusters_changed: u64,
    /// Filter chains of a listener were replaced, and the others stayed.
    in_place: u64,
    listeners_changed: u64,
    listeners_removed: u64,
}

async fn counts(mesh: &TestMesh, envoy: &str) -> Counts {
    let stats = mesh.admin(envoy).stats("^(listener_manager|cluster_manager)[.]").await;
    let of = |name: &str| stats.get(name).copied().unwrap_or_default();
    let in_place = of("listener_manager.listener_in_place_updated");
    Counts {
        clusters_changed: of("cluster_manager.cluster_modified"),
        in_place,
        listeners_changed: of("listener_manager.listener_modified") - in_place,
        listeners_removed: of("listener_manager.listener_removed"),
    }
}

/// How many resources of each impact a plan has for the sidecar of web.
fn impacts(plan: &Value) -> BTreeMap<String, u64> {
    let all = plan["Affected"].as_array().unwrap().iter();
    let web = all.filter(|proxy| proxy["ID"].as_str().is_some_and(|id| id.starts_with("web")));
    let mut impacts = BTreeMap::new();
    for resource in web.flat_map(|proxy| proxy["Resources"].as_array().unwrap()) {
        *impacts.entry(resource["Impact"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    impacts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planned_is_what_envoys_count() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let directory = tempfile::tempdir().unwrap();
    let settled = mesh.run("wait -timeout 30s").await;
    assert_eq!(settled.1, 0, "{}", settled.0);
    let limited = json!({ "Kind": "service-defaults", "Name": "web", "MaxInboundConnections": 7 });
    let changes = [
        ("endpoints", json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": "remote" } })),
        ("clusters-changed", json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "7s" })),
        ("chains-drained", limited),
    ];

    for (expected, entry) in changes {
        let file = directory.path().join(format!("{expected}.json"));
        std::fs::write(&file, entry.to_string()).unwrap();
        let file = file.display();
        let (text, code) = mesh.run(&format!("plan -o json -validate -f {file}")).await;
        assert_eq!(code, 2, "{text}");
        let plan: Value = serde_json::from_str(&text).unwrap();
        let planned = impacts(&plan);
        assert!(planned.contains_key(expected), "{expected}: {plan:#}");
        assert_eq!(plan["Validated"]["Refused"], json!([]), "{plan:#}");
        let before = counts(&mesh, "sidecar web").await;

        let (text, code) = mesh.run(&format!("apply -wait -force -f {file}")).await;

        assert!(code == 0 && text.contains(" is live: "), "{text}");
        let after = counts(&mesh, "sidecar web").await;
        let of = |impact: &str| planned.get(impact).copied().unwrap_or_default();
        let counted = Counts {
            clusters_changed: after.clusters_changed - before.clusters_changed,
            in_place: after.in_place - before.in_place,
            listeners_changed: after.listeners_changed - before.listeners_changed,
            listeners_removed: after.listeners_removed - before.listeners_removed,
        };
        let promised = Counts {
            clusters_changed: of("clusters-changed"),
            in_place: of("chains-drained") + of("chains-added"),
            listeners_changed: of("listeners-drained"),
            listeners_removed: 0,
        };
        assert_eq!(counted, promised, "{expected}: {planned:?}");
    }
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_with_routes_of_their_own_are_validated() {
    let mesh = TestMesh::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("change.json");
    let change = |entry: Value| {
        std::fs::write(&file, entry.to_string()).unwrap();
        file.display().to_string()
    };
    let http = change(json!({ "Kind": "service-defaults", "Name": "api", "Protocol": "http" }));
    let (text, code) = mesh.run(&format!("apply -wait -force -f {http}")).await;
    assert_eq!(code, 0, "{text}");

    // The routes of the public listener lead to a cluster that does not change.
    let permissions = json!([{ "Action": "deny", "HTTP": { "PathPrefix": "/none" } }]);
    let sources = json!([{ "Name": "web", "Permissions": permissions }]);
    let intentions = change(json!({ "Kind": "service-intentions", "Name": "api", "Sources": sources }));
    let (text, code) = mesh.run(&format!("plan -o json -validate -f {intentions}")).await;

    assert_eq!(code, 2, "{text}");
    let plan: Value = serde_json::from_str(&text).unwrap();
    let listeners = plan["Affected"].as_array().unwrap().iter().flat_map(|it| it["Resources"].as_array().unwrap());
    let with_routes = listeners.filter(|it| it["Message"].to_string().contains("routeConfig")).count();
    assert!(with_routes > 0 && !text.contains("\"CDS\""), "{plan:#}");
    let validated = &plan["Validated"];
    assert_eq!((&validated["Refused"], &validated["Missing"], &validated["More"]), (&json!([]), &json!([]), &json!(0)));
    assert_ne!(validated["Accepted"], json!([]), "{plan:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_would_refuse_is_told_before_it_is_sent() {
    let mesh = TestMesh::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("change.json");
    // A listener needs a prefix for its statistics, which Envoy alone knows.
    let document = listener("127.0.0.1", "api", "");
    let overrides = json!({ "Overrides": [{ "Name": "api", "EnvoyListenerJSON": document }] });
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "UpstreamConfig": overrides });
    std::fs::write(&file, entry.to_string()).unwrap();
    let before = mesh.get("/v1/config/service-defaults").await;

    let (text, code) = mesh.run(&format!("plan -validate -f {}", file.display())).await;

    assert_eq!(code, 1, "{text}");
    let refusal = text.lines().find(|line| line.starts_with("! MG-ENVOY-001  ")).unwrap_or_else(|| panic!("{text}"));
    assert!(refusal.contains("web-sidecar-proxy: Envoy 1.") && text.contains("StatPrefix"), "{text}");
    // Nobody was sent anything.
    assert_eq!(mesh.get("/v1/config/service-defaults").await, before);
    mesh.is_clean().await;
}
