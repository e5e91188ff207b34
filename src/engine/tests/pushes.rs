//! What is noted of pushes: whom they touch, and when those have it.

use super::*;

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
    let events: Vec<_> = bench.engine.events_from(0).into_iter().map(|event| event.what).collect();
    assert!(matches!(&events[0], ProxyHappening::Connected(version) if version == "1.40.0"), "{events:?}");
    assert!(matches!(&events[1], ProxyHappening::Refused { index: at, .. } if *at == index), "{events:?}");
    assert_eq!(bench.engine.push_totals().refused[kind as usize], 1);
    drop(web);
    assert!(matches!(bench.engine.events_from(2)[0].what, ProxyHappening::Disconnected(0)));
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
