//! The control plane ends and comes back under traffic: nobody loses a request, and nobody is sent anything.

use std::collections::BTreeMap;
use std::process::Command;

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use serde_json::{Value, json};

use crate::support::{Admin, TestMesh, Waiting};

/// What Envoys count when something is sent to them that they do not have yet.
const CHANGES: &str = r"listener_manager\.(listener_(added|modified|removed|in_place_updated)|lds\.update_rejected)|cluster_manager\.cluster_(added|modified|removed)|\.assignment_stale";

/// Everything that each Envoy has over xDS, with versions and the times at which they came, and its counters of changes.
async fn held(mesh: &TestMesh) -> BTreeMap<&'static str, (BTreeMap<String, Value>, BTreeMap<String, u64>)> {
    let mut held = BTreeMap::new();
    for envoy in mesh.envoys() {
        let admin = Admin::at(envoy.admin());
        held.insert(envoy.name, (admin.dynamic().await, admin.stats(CHANGES).await));
    }
    held
}

/// Waits until every Envoy has a stream again, and has answered what came on it.
async fn reconnected(mesh: &TestMesh) {
    let waiting = Waiting::for_("the streams of all Envoys");
    loop {
        let proxies = mesh.proxies().await;
        let with_stream = proxies.iter().filter(|proxy| proxy["Streams"].as_u64() == Some(1)).count();
        let answered = proxies.iter().all(|proxy| accepted(proxy, "CDS") && accepted(proxy, "LDS"));
        if with_stream == mesh.envoys().len() && answered {
            return;
        }
        waiting.again().await;
    }
}

fn accepted(proxy: &Value, kind: &str) -> bool {
    let mut types = proxy["Types"].as_array().unwrap().iter();
    types.any(|state| state["Type"] == kind && state["Acks"].as_u64() >= Some(1))
}

async fn nobody_notices(signal: &str) {
    let mut mesh = TestMesh::start().await;
    let callee = Callee::OtherDatacenter;
    mesh.set_mode(GatewayMode::Local).await;
    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
    let other = Traffic::start(&mesh.url(Callee::OtherPartition), Callee::OtherPartition.greeting());
    let before = held(&mesh).await;

    let process = mesh.control_plane.process_id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    let status = mesh.control_plane.ended().await.unwrap();
    assert_eq!(status.success(), signal == "-TERM", "{status}");
    mesh.carry(&traffic).await;
    mesh.control_plane.start_again().await.unwrap();
    reconnected(&mesh).await;
    mesh.carry(&traffic).await;

    let after = held(&mesh).await;
    for (name, (resources, changes)) in &before {
        assert!(resources.len() > 3, "{name} has {resources:?}");
        assert_eq!(&after[name].0, resources, "{name}");
        assert_eq!(&after[name].1, changes, "{name}");
    }
    mesh.set_mode(GatewayMode::Remote).await;
    mesh.moves(&traffic, &["sidecar web", "gateway dc2", "sidecar api", "gateway team-a", "sidecar billing"]).await;
    assert!(traffic.sent() > 50 && other.sent() > 50);
    assert_eq!((traffic.failed(), other.failed()), (0, 0));
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_it_was_killed() {
    nobody_notices("-KILL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_it_was_stopped() {
    nobody_notices("-TERM").await;
}

/// What was saved comes back under traffic: who has everything already is sent nothing, and what came in between goes without
/// anybody else noticing.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_a_snapshot_is_restored() {
    let mut mesh = TestMesh::start().await;
    let callee = Callee::OtherDatacenter;
    mesh.set_mode(GatewayMode::Local).await;
    mesh.takes(callee, &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"]).await;
    let url = format!("http://{}/v1/snapshot", mesh.control_plane.http_address());
    let archive = reqwest::get(&url).await.unwrap().bytes().await.unwrap();
    let restore = async || {
        let answer = reqwest::Client::new().put(&url).body(archive.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    };
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
    let other = Traffic::start(&mesh.url(Callee::OtherPartition), Callee::OtherPartition.greeting());
    let before = held(&mesh).await;

    restore().await;
    mesh.go_on(&traffic).await;
    let same = held(&mesh).await;
    for (name, (resources, changes)) in &before {
        assert_eq!(&same[name].0, resources, "{name}");
        assert_eq!(&same[name].1, changes, "{name}");
    }

    // A service that nobody dials, behind the gateway of dc2 alone.
    let late = json!({"Name": "late", "Port": 9_000, "Connect": {"SidecarService": {}}});
    mesh.put("/v1/agent/service/register?dc=dc2", &late).await;
    let knows_late = async || mesh.admin("gateway dc2").clusters().await.iter().any(|name| name.starts_with("late."));
    let waiting = Waiting::for_("the cluster of a new service");
    while !knows_late().await {
        waiting.again().await;
    }
    restore().await;
    let waiting = Waiting::for_("the end of the cluster of a new service");
    while knows_late().await {
        waiting.again().await;
    }
    mesh.go_on(&traffic).await;

    let after = held(&mesh).await;
    for (name, (resources, changes)) in before.iter().filter(|(name, _)| **name != "gateway dc2") {
        assert_eq!(&after[name].0, resources, "{name}");
        assert_eq!(&after[name].1, changes, "{name}");
    }
    assert_eq!(after["gateway dc2"].0, before["gateway dc2"].0);
    assert_eq!((traffic.failed(), other.failed()), (0, 0));
    mesh.is_clean().await;
}
