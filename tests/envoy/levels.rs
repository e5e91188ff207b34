//! The four documented levels, each stronger one over the weaker ones, while a client keeps sending.

use meshgate::cli::demo::{Callee, Traffic};
use meshgate::model::GatewayMode;
use meshgate::resolve::{Rung, Sources};

use crate::support::TestMesh;

/// A level, what it says, and the way that requests take then.
type Step = (Rung, Option<GatewayMode>, &'static [&'static str]);

async fn a_stronger_level_wins(callee: Callee, steps: &[Step]) {
    let mut mesh = TestMesh::start().await;
    mesh.takes(callee, steps.last().unwrap().2).await;
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
    let mut sources = Sources::default();
    for (rung, mode, way) in steps {
        sources = sources.with(*rung, *mode);
        mesh.set_modes(sources).await.unwrap();
        mesh.moves(&traffic, way).await;
    }
    assert!(traffic.sent() > 100, "{} requests are no traffic", traffic.sent());
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    let errors = mesh
        .admin("sidecar web")
        .stats(r"^(http\.upstream|cluster\.(api|billing)).*(downstream_rq_5xx|no_cluster|upstream_cx_connect_fail)$")
        .await;
    assert!(errors.values().all(|count| *count == 0), "{errors:?}");
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stronger_level_wins_on_the_way_to_another_datacenter() {
    const NONE: &[&str] = &["sidecar web", "sidecar api"];
    const LOCAL: &[&str] = &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"];
    const REMOTE: &[&str] = &["sidecar web", "gateway dc2", "sidecar api"];
    a_stronger_level_wins(
        Callee::OtherDatacenter,
        &[
            (Rung::ProxyDefaults, Some(GatewayMode::Local), LOCAL),
            (Rung::ServiceDefaults, Some(GatewayMode::Remote), REMOTE),
            (Rung::Instance, Some(GatewayMode::None), NONE),
            (Rung::Upstream, Some(GatewayMode::Local), LOCAL),
            (Rung::Upstream, None, NONE),
            (Rung::Instance, None, REMOTE),
            (Rung::ServiceDefaults, None, LOCAL),
            (Rung::ProxyDefaults, None, NONE),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stronger_level_wins_on_the_way_to_another_partition() {
    const NONE: &[&str] = &["sidecar web", "sidecar billing"];
    const LOCAL: &[&str] = &["sidecar web", "gateway dc1", "gateway team-a", "sidecar billing"];
    const REMOTE: &[&str] = &["sidecar web", "gateway team-a", "sidecar billing"];
    a_stronger_level_wins(
        Callee::OtherPartition,
        &[
            (Rung::ProxyDefaults, Some(GatewayMode::Remote), REMOTE),
            (Rung::ServiceDefaults, Some(GatewayMode::Local), LOCAL),
            (Rung::Instance, Some(GatewayMode::Remote), REMOTE),
            (Rung::Upstream, Some(GatewayMode::None), NONE),
            (Rung::Instance, None, NONE),
            (Rung::Upstream, None, LOCAL),
            (Rung::ProxyDefaults, None, LOCAL),
            (Rung::ServiceDefaults, None, NONE),
        ],
    )
    .await;
}
