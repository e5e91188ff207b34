//! The control plane ends and comes back under traffic: nobody loses a request, and nobody is sent anything.

use std::collections::BTreeMap;
use std::process::Command;

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use serde_json::Value;

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
