//! Sidecars that agree share their parts, and none loses by it what another one never had.

use serde_json::json;

use super::*;
use crate::model::entry::{ServiceDefaults, UpstreamConfig, UpstreamConfiguration};

/// A sidecar of `of`, named after it, that dials `api`; perhaps with a cluster of its own that is none.
fn dialling(of: &str, has_wrong_cluster: bool) -> Vec<Op> {
    let config = if has_wrong_cluster { json!({"envoy_cluster_json": "nonsense"}) } else { json!({}) };
    let api = Upstream { config: config.as_object().cloned().unwrap(), ..upstream("api", 9_191) };
    on_node(&place("dc1", ""), sidecar(of, 21_000, vec![api]))
}

fn has_cluster_of_api(snapshot: &Snapshot) -> bool {
    names(snapshot, ResourceType::Cluster).iter().any(|name| name.starts_with("api."))
}

#[tokio::test]
async fn services_about_which_nothing_is_said_share_what_they_dial() {
    let bench = bench().await;
    bench.write([dialling("web", false), dialling("cron", false)].concat()).await;
    let (mut web, mut cron) = (bench.watch("web-sidecar-proxy", ""), bench.watch("cron-sidecar-proxy", ""));

    let (of_web, of_cron) = (web.next().await, cron.next().await);

    for kind in [ResourceType::Cluster, ResourceType::Listener, ResourceType::Endpoint] {
        let of_api = |snapshot: &Snapshot| snapshot.get(kind).values().find(|it| it.name.starts_with("api")).cloned();
        assert!(Arc::ptr_eq(&of_api(&of_web).unwrap(), &of_api(&of_cron).unwrap()), "{kind}");
    }

    // Once something is said about one of them, the other one stays as it was.
    let mut defaults = ConfigEntry::ServiceDefaults(ServiceDefaults {
        name: "cron".to_owned(),
        upstream_config: Some(UpstreamConfiguration {
            defaults: Some(UpstreamConfig { connect_timeout_ms: 77, ..UpstreamConfig::default() }),
            ..UpstreamConfiguration::default()
        }),
        ..ServiceDefaults::default()
    });
    defaults.normalize(&Partition::default(), &Namespace::default());
    bench.write(vec![Op::PutEntry(defaults)]).await;
    let is_customised = |snapshot: &Snapshot| !has_cluster_of_api(snapshot);
    cron.until(is_customised).await;
    assert!(has_cluster_of_api(&*bench.watch("web-sidecar-proxy", "").next().await));
}

#[tokio::test]
async fn each_keeps_what_it_had_where_something_wrong_is_given() {
    let bench = bench().await;
    bench.write([dialling("web", false), dialling("cron", false), dialling("late", true)].concat()).await;
    let (mut web, mut cron) = (bench.watch("web-sidecar-proxy", ""), bench.watch("cron-sidecar-proxy", ""));
    let mut late = bench.watch("late-sidecar-proxy", "");
    assert!(has_cluster_of_api(&*web.next().await) && has_cluster_of_api(&*cron.next().await));
    // There never was anything else.
    assert!(!has_cluster_of_api(&*late.next().await));

    bench.write([dialling("web", true), dialling("cron", true)].concat()).await;

    for id in ["web-sidecar-proxy", "cron-sidecar-proxy"] {
        let told = |report: &ProxyReport| report.instance.id.as_str() == id && !report.problems.is_empty();
        let is_told = async {
            while !bench.engine.proxies().iter().any(told) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_told).await.expect("in time");
        assert!(has_cluster_of_api(&*bench.watch(id, "").next().await), "{id}");
    }
    bench.write(dialling("late", false)).await;
    late.until(has_cluster_of_api).await;
}
