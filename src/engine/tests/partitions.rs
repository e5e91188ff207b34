//! Who has a certificate of another partition meets the rules about it, whether or not anything is registered there.

use super::*;
use crate::model::{ServiceKey, ServiceName, SpiffeId};

/// True if some listener refuses the callers of other partitions.
fn refuses_other_partitions(snapshot: &Snapshot) -> bool {
    let listeners = snapshot.get(ResourceType::Listener).values();
    let mut shown =
        listeners.map(|it| crate::envoy::json::resource(ResourceType::Listener, &it.body).unwrap().to_string());
    shown.any(|listener| listener.contains("/ap/.+"))
}

#[tokio::test]
async fn a_certificate_of_a_partition_without_registrations_is_refused() {
    let bench = bench().await;
    bench.write(on_node(&place("dc1", ""), sidecar("db", 21_000, vec![]))).await;
    let mut db = bench.watch("db-sidecar-proxy", "");
    assert!(!refuses_other_partitions(&*db.next().await), "with the default partition alone there is nobody to refuse");

    let service = ServiceName::new(&Partition::from("team-a"), &Namespace::default(), "web");
    let web = SpiffeId::Service(ServiceKey { datacenter: Datacenter::from("dc1"), service });
    bench.authority.leaf(&web).await.unwrap();
    db.until(refuses_other_partitions).await;

    // Registrations that come and go change nothing about who has a certificate.
    let team_a = place("dc1", "team-a");
    bench.write(on_node(&team_a, sidecar("web", 21_001, vec![]))).await;
    bench.write(vec![Op::DeleteNode(NodeKey::new(&team_a, &NodeName::from("agent")))]).await;
    assert!(refuses_other_partitions(&*bench.watch("db-sidecar-proxy", "").next().await));

    bench.write(vec![Op::DeleteLeaf(web)]).await;
    db.until(|snapshot| !refuses_other_partitions(snapshot)).await;
}
