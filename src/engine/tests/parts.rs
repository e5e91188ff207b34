//! Sidecars that agree share their parts, and none loses by it what another one never had.

use serde_json::json;

use super::*;
use crate::model::entry::{ServiceDefaults, UpstreamConfig, UpstreamConfiguration};

/// A sidecar of `of`, named after it, that dials `api`; perhaps with a cluster of its own that is none.
pub(super) fn dialling(of: &str, has_wrong_cluster: bool) -> Vec<Op> {
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

#[tokio::test]
async fn sidecars_with_the_same_upstreams_share_whole_sets_and_change_together() {
    let bench = bench().await;
    let backend = |port| on_node(&place("dc1", ""), Service { port, ..sidecar("api", port, vec![]) });
    bench.write([dialling("web", false), dialling("cron", false), backend(8_080)].concat()).await;
    let (mut web, mut cron) = (bench.watch("web-sidecar-proxy", ""), bench.watch("cron-sidecar-proxy", ""));
    let endpoints = |snapshot: &Snapshot| snapshot.get(ResourceType::Endpoint).clone();
    let (before, other) = (endpoints(&*web.next().await), endpoints(&*cron.next().await));
    assert!(before.ptr_eq(&other) && before.len() == 1);

    bench.write(backend(8_081)).await;

    let is_other = |snapshot: &Snapshot| !endpoints(snapshot).ptr_eq(&before);
    let (web, cron) = (web.until(is_other).await, cron.until(is_other).await);
    assert!(endpoints(&web).ptr_eq(&endpoints(&cron)) && endpoints(&web) != before);
    assert_ne!(names(&web, ResourceType::Listener), Vec::<String>::new());
}

#[tokio::test]
async fn a_sidecar_whose_own_listener_has_the_place_of_an_upstream_alone_goes_without_it() {
    let bench = bench().await;
    let here = place("dc1", "");
    let narrow = |of: &str, port: u16| {
        let config = json!({"bind_address": "127.0.0.1"});
        let mut service = sidecar(of, port, vec![upstream("api", 9_191)]);
        service.proxy.config = config.as_object().cloned().unwrap();
        on_node(&here, service)
    };
    bench.write([narrow("web", 21_000), narrow("cron", 9_191)].concat()).await;
    let (mut web, mut cron) = (bench.watch("web-sidecar-proxy", ""), bench.watch("cron-sidecar-proxy", ""));

    let (of_web, of_cron) = (web.next().await, cron.next().await);

    assert_eq!(names(&of_web, ResourceType::Listener), ["api:127.0.0.1:9191", "public_listener:127.0.0.1:21000"]);
    assert_eq!(names(&of_cron, ResourceType::Listener), ["public_listener:127.0.0.1:9191"]);
    let reports = bench.engine.proxies();
    let problems: Vec<_> = reports.iter().map(|report| (report.instance.id.as_str(), &report.problems)).collect();
    let lost = "the listener of upstream \"api\" is left out: it would listen on 127.0.0.1:9191, where the public listener \
                listens; give it another port";
    assert_eq!(problems, [("cron-sidecar-proxy", &vec![lost.to_owned()]), ("web-sidecar-proxy", &Vec::new())]);

    // Endpoints reach it all the same, and so does the listener once its place is free.
    bench.write(on_node(&here, sidecar("api", 8_080, vec![]))).await;
    cron.until(|snapshot| endpoints(snapshot, "api") == ["10.0.0.1:8080"]).await;
    bench.write(narrow("cron", 21_001)).await;
    cron.until(|snapshot| names(snapshot, ResourceType::Listener).len() == 2).await;
}
