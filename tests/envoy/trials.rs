//! What some Envoys try before it is made reaches no others unless those take it.

use std::collections::BTreeMap;

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use serde_json::{Value, json};

use crate::support::{TestMesh, Waiting, program};

/// Responses of clusters and listeners that each Envoy took and refused.
async fn answered(mesh: &TestMesh) -> BTreeMap<&'static str, (u64, u64)> {
    let mut answered = BTreeMap::new();
    for envoy in mesh.envoys() {
        let admin = mesh.admin(envoy.name);
        let taken = admin.sum("^(cluster_manager.cds|listener_manager.lds).update_success$").await;
        let refused = admin.sum("^(cluster_manager.cds|listener_manager.lds).update_rejected$").await;
        answered.insert(envoy.name, (taken, refused));
    }
    answered
}

/// The defaults of all proxies as they are, with these settings of sidecars.
async fn defaults(mesh: &TestMesh, config: Value) -> Value {
    let mut entry = mesh.get("/v1/config/proxy-defaults/global").await;
    let fields = entry.as_object_mut().unwrap();
    fields.retain(|name, _| !name.ends_with("Index"));
    fields.insert("Config".to_owned(), config);
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_envoy_refuses_reaches_no_second_one_and_what_it_takes_is_sent_once() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let settled = mesh.run("wait -timeout 30s").await;
    assert_eq!(settled.1, 0, "{}", settled.0);
    let url = mesh.url(Callee::OtherDatacenter);
    mesh.answers(&url).await;
    let traffic = Traffic::start(&url, Callee::OtherDatacenter.greeting());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("defaults.json");
    let change = async |mesh: &TestMesh, config: Value, options: &str| {
        std::fs::write(&file, defaults(mesh, config).await.to_string()).unwrap();
        mesh.run(&format!("apply -f {} {options}", file.display())).await
    };
    let (before, index) =
        (answered(&mesh).await, mesh.get("/v1/config/proxy-defaults/global").await["ModifyIndex"].clone());

    // Two sidecars would have it. Envoy takes no ring of this size, which is no business of the control plane.
    let cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "local_app", "connectTimeout": "5s",
        "lbPolicy": "RING_HASH", "ringHashLbConfig": { "minimumRingSize": "9000000" },
    });
    let refused = json!({ "envoy_local_cluster_json": cluster.to_string() });
    let (text, code) = change(&mesh, refused, "-canary 1 -wait").await;

    assert_eq!(code, 1, "{text}");
    for part in [
        "Trying it first, on at most 1 of the ",
        "nothing was stored: ",
        "/web-sidecar-proxy (connect-proxy, Envoy ",
        ") refused it: CDS local_app: ",
        "MinimumRingSize",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let waiting = Waiting::for_("what it had before");
    while mesh.proxies().await.iter().any(|proxy| proxy["Sync"] != "synced") {
        waiting.again().await;
    }
    assert_eq!(mesh.get("/v1/config/proxy-defaults/global").await["ModifyIndex"], index);
    let after = answered(&mesh).await;
    let touched: Vec<_> = after.iter().filter(|(name, counts)| **counts != before[*name]).collect();
    let ((taken, refused), (_, refused_before)) = (after["sidecar web"], before["sidecar web"]);
    assert_eq!(touched, [(&"sidecar web", &(taken, refused))], "{before:?}");
    assert_eq!(refused, refused_before + 1, "{before:?} {after:?}");
    let (events, _) = mesh.run("events").await;
    assert!(events.contains("in a trial: ") && events.contains("proxy-defaults/global  halted: "), "{events}");
    assert_eq!(mesh.run("ps").await.1, 0);
    mesh.go_on(&traffic).await;

    // What it takes all get, and whoever tried it has it already.
    let (text, code) =
        change(&mesh, json!({ "local_connect_timeout_ms": 7000 }), "-canary 1 -canary-for 200ms -wait").await;
    assert_eq!(code, 0, "{text}");
    let tried = "  web-sidecar-proxy  dc1/default  took it: one of 2 touched connect-proxy with Envoy ";
    assert!(text.contains(tried) && text.contains(" is live: 2 of 2 proxies"), "{text}");
    let last = answered(&mesh).await;
    for (name, (taken, _)) in &last {
        // The third sidecar is in another partition, with defaults of its own.
        let expected = u64::from(["sidecar web", "sidecar api"].contains(name));
        assert_eq!(taken - after[name].0, expected, "{name}: {after:?} {last:?}");
    }
    // What comes next is at its first proxy at once.
    let resolver = directory.path().join("resolver.json");
    for timeout in ["7s", "8s"] {
        let entry = json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": timeout });
        std::fs::write(&resolver, entry.to_string()).unwrap();
        let (text, code) = mesh.run(&format!("apply -f {} -canary 1 -canary-timeout 5s", resolver.display())).await;
        assert_eq!(code, 0, "{text}");
    }
    let made = mesh.run("events").await.0;
    assert!(made.contains("proxy-defaults/global  made by rev "), "{made}");
    mesh.go_on(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
}

/// How long Envoys wait for connections of a cluster whose name begins like this.
async fn timeout(mesh: &TestMesh, envoy: &str, cluster: &str) -> String {
    let dynamic = mesh.admin(envoy).dynamic().await;
    let is_it = |name: &String| name.strip_prefix("dynamic_active_clusters ").is_some_and(|it| it.contains(cluster));
    let found = dynamic.into_iter().find(|(name, _)| is_it(name)).unwrap_or_else(|| panic!("no cluster {cluster}"));
    found.1["cluster"]["connect_timeout"].as_str().unwrap().to_owned()
}

async fn comes_to(mesh: &TestMesh, envoy: &str, cluster: &str, expected: &str) {
    let waiting = Waiting::for_(format!("{expected} of {cluster} at {envoy}"));
    while timeout(mesh, envoy, cluster).await != expected {
        waiting.again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_ends_with_the_command_and_with_the_process() {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(GatewayMode::Local).await;
    let url = mesh.url(Callee::OtherDatacenter);
    mesh.answers(&url).await;
    let traffic = Traffic::start(&url, Callee::OtherDatacenter.greeting());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("defaults.json");
    let entry = defaults(&mesh, json!({ "local_connect_timeout_ms": 7000 })).await;
    std::fs::write(&file, entry.to_string()).unwrap();
    let before = timeout(&mesh, "sidecar web", "local_app").await;
    let begin = |mesh: &TestMesh| {
        let mut command = tokio::process::Command::new(program());
        command.args(["apply", "-canary", "1", "-canary-for", "60s", "-f"]).arg(&file).kill_on_drop(true);
        command.env("CONSUL_HTTP_ADDR", mesh.control_plane.http_address()).spawn().unwrap()
    };

    let mut command = begin(&mesh);
    comes_to(&mesh, "sidecar web", "local_app", "7s").await;
    assert_eq!(timeout(&mesh, "sidecar api", "local_app").await, before);
    let (text, _) = mesh.run("ps").await;
    let tries = text.lines().filter(|line| line.contains("tries proxy-defaults/global")).collect::<Vec<_>>();
    assert!(matches!(tries.as_slice(), [line] if line.starts_with("web-sidecar-proxy ")), "{text}");
    let (text, code) = mesh.run(&format!("plan -f {}", file.display())).await;
    assert!(code == 2 && text.contains("Affects 2 of "), "{text}");
    // What somebody else commits is sent to it as well.
    mesh.put("/v1/config", &json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "9s" })).await;
    comes_to(&mesh, "sidecar web", "api.default.dc2", "9s").await;
    assert_eq!(timeout(&mesh, "sidecar web", "local_app").await, "7s");
    command.kill().await.unwrap();
    comes_to(&mesh, "sidecar web", "local_app", &before).await;
    assert_eq!(timeout(&mesh, "sidecar web", "api.default.dc2").await, "9s");

    let mut command = begin(&mesh);
    comes_to(&mesh, "sidecar web", "local_app", "7s").await;
    let process = mesh.control_plane.process_id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    mesh.control_plane.ended().await.unwrap();
    assert!(!command.wait().await.unwrap().success());
    mesh.control_plane.start_again().await.unwrap();
    comes_to(&mesh, "sidecar web", "local_app", &before).await;

    assert_eq!(mesh.get("/v1/config/proxy-defaults/global").await["Config"].get("local_connect_timeout_ms"), None);
    mesh.go_on(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.is_clean().await;
}
