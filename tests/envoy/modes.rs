//! Every gateway mode, to another datacenter and to another partition.

use meshgate::cli::demo::Callee;
use meshgate::model::GatewayMode;

use crate::support::TestMesh;

/// Requests whose way is looked at.
const REQUESTS: u32 = 20;

/// The way of every mode, and the address of each gateway that it enters by.
type Expected = (GatewayMode, &'static [&'static str], &'static [(&'static str, &'static str)]);

async fn take_the_way_of_their_mode(callee: Callee, table: &[Expected]) {
    let mut mesh = TestMesh::start().await;
    for (mode, way, entrances) in table {
        mesh.set_mode(*mode).await;
        mesh.takes(callee, way).await;

        assert_eq!(mesh.carriers(callee, REQUESTS).await, way.iter().copied().collect(), "{mode}");
        for (gateway, listener) in *entrances {
            let admin = mesh.admin(gateway);
            let pattern = format!(r"^tcp\.mesh_gateway_(local|remote)\.{listener}.*downstream_cx_rx_bytes_total$");
            let before = admin.sum(&pattern).await;
            mesh.carriers(callee, 1).await;
            assert!(admin.sum(&pattern).await > before, "{mode}: nothing came in by {listener} of {gateway}");
        }
    }
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_another_datacenter_take_the_way_of_their_mode() {
    take_the_way_of_their_mode(
        Callee::OtherDatacenter,
        &[
            (GatewayMode::None, &["sidecar web", "sidecar api"], &[]),
            (
                GatewayMode::Local,
                &["sidecar web", "gateway dc1", "gateway dc2", "sidecar api"],
                &[("gateway dc1", "lan"), ("gateway dc2", "wan")],
            ),
            (GatewayMode::Remote, &["sidecar web", "gateway dc2", "sidecar api"], &[("gateway dc2", "wan")]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_another_partition_take_the_way_of_their_mode() {
    take_the_way_of_their_mode(
        Callee::OtherPartition,
        &[
            (GatewayMode::None, &["sidecar web", "sidecar billing"], &[]),
            (
                GatewayMode::Local,
                &["sidecar web", "gateway dc1", "gateway team-a", "sidecar billing"],
                &[("gateway dc1", "lan"), ("gateway team-a", "wan")],
            ),
            (GatewayMode::Remote, &["sidecar web", "gateway team-a", "sidecar billing"], &[("gateway team-a", "wan")]),
        ],
    )
    .await;
}
