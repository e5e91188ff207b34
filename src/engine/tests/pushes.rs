//! What is noted of pushes: whom they touch, and when those have it.

use super::*;
use crate::envoy::snapshot::{Numbers, Open, Unsettled};

/// Waits until the engine has noted so much.
async fn noted(bench: &Bench, holds: impl Fn(&[Push]) -> bool) -> Vec<Push> {
    let mut changes = bench.engine.happenings();
    let waiting = async {
        loop {
            let pushes = bench.engine.pushes(|_| true);
            if holds(&pushes) {
                return pushes;
            }
            changes.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time")
}

/// What a client says that has all of it.
fn settled(published: &Published) -> Progress {
    Progress { taken: published.number, unsettled: Vec::new() }
}

fn ids(push: &Push) -> Vec<&str> {
    push.shown.iter().map(|pushed| pushed.proxy.id.as_str()).collect()
}

#[tokio::test]
async fn a_commit_is_live_when_every_connected_proxy_that_it_touches_has_it() {
    let bench = bench().await;
    let here = place("dc1", "");
    let calling = |name: &str, port: u16| on_node(&here, sidecar(name, port, vec![upstream("api", port + 1)]));
    bench
        .write([calling("web", 1000), calling("cron", 2000), on_node(&here, sidecar("idle", 3000, vec![]))].concat())
        .await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    let (mut cron, mut idle) = (bench.watch("cron-sidecar-proxy", ""), bench.watch("idle-sidecar-proxy", ""));
    let told = Feedback::Connected { user_agent_version: "1.40.0".to_owned() };
    web.0.report(told);
    for stream in [&mut web, &mut cron, &mut idle] {
        let snapshot = stream.0.next().await.unwrap();
        stream.0.progress(settled(&snapshot));
    }
    let before = noted(&bench, |pushes| pushes.iter().all(|push| push.live == push.proxies)).await;

    bench.write(vec![resolver("api", "other")]).await;
    let index = bench.store.view().index();
    let is_sent = |pushes: &[Push]| pushes.last().is_some_and(|push| push.index == index);
    let sent = noted(&bench, is_sent).await.pop().unwrap();

    assert!(!before.is_empty());
    assert_eq!(sent.since, index - 1);
    assert_eq!(ids(&sent), ["web-sidecar-proxy", "cron-sidecar-proxy"]);
    assert!(sent.shown[0].types.contains(&ResourceType::Cluster), "{sent:?}");
    assert!(!sent.shown[0].types.contains(&ResourceType::Secret), "{sent:?}");
    assert_eq!((sent.live, sent.live_after), (0, None));
    let report =
        |id: &str| bench.engine.proxies().into_iter().find(|report| report.instance.id.as_str() == id).unwrap();
    assert_eq!((report("web-sidecar-proxy").index, report("web-sidecar-proxy").acked < index), (index, true));
    assert!(report("web-sidecar-proxy").behind.is_some() && report("idle-sidecar-proxy").behind.is_none());

    // One that says it of what it had before has nothing yet.
    let (newer, of_cron) = (web.0.next().await.unwrap(), cron.0.next().await.unwrap());
    web.0.progress(Progress { taken: newer.number - 1, unsettled: vec![] });
    assert_eq!(bench.engine.pushes(|_| true).last().unwrap().live, 0);
    let kind = ResourceType::Cluster;
    web.0.report(Feedback::Nacked { kind, resources: vec![], message: "no".to_owned() });
    assert_eq!(bench.engine.pushes(|_| true).last().unwrap().refused, 1);
    let nack = report("web-sidecar-proxy").types[&kind].last_nack.clone().unwrap();
    assert_eq!(nack.commits, (index - 1, index));
    web.0.progress(settled(&newer));
    cron.0.progress(settled(&of_cron));

    let live = bench.engine.pushes(|_| false).pop().unwrap();
    assert_eq!((live.live, live.refused, live.shown.len()), (2, 0, 0));
    assert!(live.live_after.is_some());
    assert_eq!(report("web-sidecar-proxy").acked, index);
    // A proxy can come before the engine has seen its registration.
    let is_news = |what: &ProxyHappening| !matches!(what, ProxyHappening::Problem(_));
    let events: Vec<_> = bench.engine.events_from(0).into_iter().map(|event| event.what).filter(is_news).collect();
    assert!(matches!(&events[0], ProxyHappening::Connected(version) if version == "1.40.0"), "{events:?}");
    assert!(matches!(&events[1], ProxyHappening::Refused { index: at, .. } if *at == Some(index)), "{events:?}");
    let of_sidecars = bench.engine.push_totals().refused[ProxyKind::ConnectProxy as usize];
    assert_eq!((of_sidecars[kind as usize], of_sidecars.iter().sum::<u64>()), (1, 1));
    let of_gateways = bench.engine.push_totals().refused[ProxyKind::MeshGateway as usize];
    assert_eq!(of_gateways.iter().sum::<u64>(), 0);
    drop(web);
    let last = bench.engine.events_from(0).pop().unwrap();
    assert!(matches!(last.what, ProxyHappening::Disconnected(0)), "{last:?}");
}

#[tokio::test]
async fn a_commit_that_touches_nobody_is_no_push() {
    let bench = bench().await;
    bench.write(on_node(&place("dc1", ""), sidecar("web", 1000, vec![]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    web.next().await;
    let before = noted(&bench, |pushes| !pushes.is_empty()).await.len();

    bench.write(vec![resolver("unrelated", "other")]).await;
    bench.write(on_node(&place("dc1", ""), Service { port: 1001, ..sidecar("web", 1000, vec![]) })).await;
    web.next().await;
    let pushes = noted(&bench, |pushes| pushes.len() > before).await;

    assert_eq!(pushes.len(), before + 1);
    let last = pushes.last().unwrap();
    assert_eq!((last.index, last.proxies), (bench.store.view().index(), 1));
}

#[tokio::test]
async fn what_is_refused_keeps_no_later_push_from_being_live() {
    let bench = bench().await;
    let dialling = |port| on_node(&place("dc1", ""), sidecar("web", 1000, vec![upstream("api", port)]));
    bench.write(dialling(9_191)).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    web.0.report(Feedback::Connected { user_agent_version: String::new() });
    let first = web.0.next().await.unwrap();
    web.0.progress(settled(&first));
    // How many proxies have each of the last pushes.
    let live = async |count: usize| {
        let index = bench.store.view().index();
        let pushes = noted(&bench, |pushes| pushes.last().is_some_and(|push| push.index == index)).await;
        pushes[pushes.len() - count..].iter().map(|push| push.live).collect::<Vec<_>>()
    };

    bench.write(vec![resolver("api", "other")]).await;
    let refused = web.0.next().await.unwrap();
    let changed = Numbers { after: first.number, until: refused.number };
    let open = Unsettled { kind: ResourceType::Cluster, name: None, changed, why: Open::Refused };
    web.0.progress(Progress { taken: refused.number, unsettled: vec![open.clone()] });
    assert_eq!(live(1).await, [0]);

    bench.write(dialling(9_192)).await;
    let other = web.0.next().await.unwrap();
    web.0.progress(Progress { taken: other.number, unsettled: vec![open] });
    assert_eq!(live(2).await, [0, 1]);
    let behind = bench.engine.proxies()[0].behind;
    assert!(behind.is_some());

    // What takes the place of what was refused settles both.
    bench.write(vec![resolver("api", "third")]).await;
    let last = web.0.next().await.unwrap();
    web.0.progress(settled(&last));
    assert_eq!(live(3).await, [1, 1, 1]);
    assert_eq!(bench.engine.proxies()[0].behind, None);
}

#[tokio::test]
async fn a_proxy_has_what_all_of_its_streams_have() {
    let bench = bench().await;
    bench.write(on_node(&place("dc1", ""), sidecar("web", 1000, vec![]))).await;
    let node = NodeIdentity { id: "web-sidecar-proxy".into(), ..NodeIdentity::default() };
    let mut older = bench.watch("web-sidecar-proxy", "");
    let mut newer = Watched(bench.engine.watch(&node, 1));
    for stream in [&mut older, &mut newer] {
        stream.0.report(Feedback::Connected { user_agent_version: String::new() });
    }
    let (of_older, of_newer) = (older.0.next().await.unwrap(), newer.0.next().await.unwrap());

    older.0.progress(settled(&of_older));
    assert_eq!((bench.engine.proxies()[0].acked, bench.engine.proxies()[0].behind.is_some()), (0, true));
    newer.0.progress(settled(&of_newer));
    assert_ne!(bench.engine.proxies()[0].acked, 0);

    // It never said anything, so that nothing is known of it.
    let mut last = Watched(bench.engine.watch(&node, 2));
    last.0.report(Feedback::Connected { user_agent_version: String::new() });
    assert!(bench.engine.proxies()[0].behind.is_some());
}

#[tokio::test]
async fn what_a_proxy_keeps_for_want_of_better_is_counted_when_it_begins() {
    let bench = bench().await;
    bench.write(on_node(&place("dc1", ""), sidecar("web", 1000, vec![]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    web.0.report(Feedback::Connected { user_agent_version: String::new() });
    let taken = web.0.next().await.unwrap().number;
    let kept = |kinds: &[ResourceType]| {
        let unsettled = |kind: &ResourceType| Unsettled {
            kind: *kind,
            name: Some("old".into()),
            changed: Numbers::ALL,
            why: Open::Withheld,
        };
        Progress { taken, unsettled: kinds.iter().map(unsettled).collect() }
    };
    let held = || {
        let held = bench.engine.push_totals().held;
        (held[ResourceType::Cluster as usize], held[ResourceType::Listener as usize])
    };

    web.0.progress(kept(&[ResourceType::Cluster]));
    assert_eq!(held(), (1, 0));
    // It goes on, and more begins.
    web.0.progress(kept(&[ResourceType::Cluster, ResourceType::Listener]));
    assert_eq!(held(), (1, 1));
    web.0.progress(kept(&[]));
    web.0.progress(kept(&[ResourceType::Cluster]));
    assert_eq!(held(), (2, 1));
}
