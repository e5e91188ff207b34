//! Exported services decide what another partition may reach.

use std::net::SocketAddr;

use meshgate::cli::demo::Callee;
use meshgate::model::GatewayMode;
use serde_json::json;

use crate::support::{Certificate, Place, TestMesh, Visit, Waiting, visit};

/// Requests that must all fail.
const REQUESTS: u32 = 10;

/// Waits until requests to `url` fail; then all of them must, and none may reach these Envoys.
async fn nothing_passes(mesh: &TestMesh, url: &str, behind: &[&str]) {
    let waiting = Waiting::for_(format!("the end of the way to {url}"));
    while mesh.request(url).await.is_ok() {
        waiting.again().await;
    }
    let before = mesh.received().await;
    for _ in 0..REQUESTS {
        assert!(mesh.request(url).await.is_err(), "a request to {url} passed");
    }
    let after = mesh.received().await;
    for name in behind {
        assert_eq!(after[name], before[name], "{name} was reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_export_ends_the_way_in_every_mode() {
    const BEHIND: &[&str] = &["gateway team-a", "sidecar billing"];
    let mut mesh = TestMesh::start().await;
    let callee = Callee::OtherPartition;
    let sni = format!("billing.default.team-a.dc1.internal-v1.{}", mesh.trust_domain().await);
    let gateway = SocketAddr::from((mesh.address(3, 1), 8_443));
    let web = Certificate::of_leaf(&mesh.control_plane.get("/v1/agent/connect/ca/leaf/web").await.unwrap());
    let ways: [(GatewayMode, &[&str]); 3] = [
        (GatewayMode::None, &["sidecar web", "sidecar billing"]),
        (GatewayMode::Local, &["sidecar web", "gateway dc1", "gateway team-a", "sidecar billing"]),
        (GatewayMode::Remote, &["sidecar web", "gateway team-a", "sidecar billing"]),
    ];

    for (mode, way) in ways {
        mesh.set_mode(mode).await;
        mesh.takes(callee, way).await;
        assert!(mesh.admin("gateway team-a").clusters().await.contains(&sni));
        assert!(visit(gateway, &sni, Some(&web)).await.server.ends_with("/svc/billing"));

        mesh.export_billing(false).await.unwrap();
        nothing_passes(&mesh, &mesh.url(callee), BEHIND).await;
        let clusters = mesh.admin("gateway team-a").clusters().await;
        assert!(clusters.iter().all(|name| !name.contains("billing")), "{mode}: {clusters:?}");
        assert_eq!(visit(gateway, &sni, Some(&web)).await, Visit::default(), "{mode}");

        mesh.export_billing(true).await.unwrap();
        mesh.answers(&mesh.url(callee)).await;
        mesh.takes(callee, way).await;
    }
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_never_exported_anything_is_out_of_reach_in_every_mode() {
    const BEHIND: &[&str] = &["gateway team-b", "sidecar ledger"];
    let mut mesh = TestMesh::start().await;
    let team_b = Place { datacenter: "dc1", partition: "team-b", number: 4, host: 10 };
    let lan = format!("{}:8443", mesh.address(4, 1));
    let wan = format!("{}:8443", mesh.address(100, 4));
    let gateway = ["-gateway", "mesh", "-register", "-address", &lan, "-wan-address", &wan, "-partition", "team-b"];
    mesh.start_envoy("gateway team-b", &gateway).await.unwrap();
    mesh.add_service(team_b, "ledger", "sidecar ledger", json!({})).await;
    let shop = Place { datacenter: "dc1", partition: "default", number: 1, host: 30 };
    let host = mesh.address(1, 30).to_string();
    let upstream = json!({
        "DestinationName": "ledger", "DestinationPartition": "team-b", "LocalBindAddress": host, "LocalBindPort": 9_191,
    });
    mesh.add_service(shop, "shop", "sidecar shop", json!({"Proxy": {"Upstreams": [upstream]}})).await;
    let url = format!("http://{host}:9191/");

    for mode in GatewayMode::ALL {
        mesh.set_mode(mode).await;
        // The way to billing changes with the same entry, so it tells when the mode has arrived.
        mesh.takes(Callee::OtherPartition, &Callee::OtherPartition.hops(mode)).await;
        nothing_passes(&mesh, &url, BEHIND).await;
        let clusters = mesh.admin("gateway team-b").clusters().await;
        assert!(clusters.iter().all(|name| !name.contains("ledger")), "{mode}: {clusters:?}");
    }

    let services = json!([{"Name": "ledger", "Consumers": [{"Partition": "default"}]}]);
    let entry = json!({"Kind": "exported-services", "Name": "team-b", "Partition": "team-b", "Services": services});
    mesh.put("/v1/config?partition=team-b", &entry).await;
    mesh.answers(&url).await;
    let way = mesh.carriers_to(&url, "hello from ledger in dc1/team-b", REQUESTS).await;
    assert_eq!(way, ["gateway team-b", "sidecar ledger", "sidecar shop"].into());
    assert_eq!(GatewayMode::ALL.last(), Some(&GatewayMode::Remote), "the way above is that of the last mode");
    mesh.is_clean().await;
}
