//! Changes that some proxies try before they are made.

use super::*;
use crate::envoy::snapshot::{Numbers, Open, Unsettled};
use crate::model::{EntryKey, EntryKind, Problem, Problems, ServiceName};

/// A proxy that takes what it is sent.
struct Taking {
    stream: Watched,
    number: u64,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Taking {
    async fn new(bench: &Bench, id: &str) -> Self {
        Self::of_version(bench, id, "1.40.0").await
    }

    async fn of_version(bench: &Bench, id: &str, version: &str) -> Self {
        let mut stream = bench.watch(id, "");
        stream.0.report(Feedback::Connected { user_agent_version: version.to_owned() });
        let mut taking = Self { stream, number: 0 };
        taking.take().await;
        taking
    }

    async fn next(&mut self) -> Published {
        let next = tokio::time::timeout(Duration::from_secs(10), self.stream.0.next()).await;
        let next = next.expect("in time").expect("a snapshot");
        self.number = next.number;
        next
    }

    /// Acknowledges the next one.
    async fn take(&mut self) -> Arc<Snapshot> {
        let next = self.next().await;
        self.settled();
        next.snapshot
    }

    fn settled(&mut self) {
        self.stream.0.progress(Progress { taken: self.number, unsettled: Vec::new() });
    }

    /// Refuses a cluster of the next one.
    async fn refuse(&mut self) -> Arc<Snapshot> {
        let before = self.number;
        let next = self.next().await;
        let kind = ResourceType::Cluster;
        let name: Arc<str> = "api".into();
        let resources = vec![(name.clone(), snapshot::Version::of(b"x"))];
        self.stream.0.report(Feedback::Nacked { kind, resources, message: "no such thing".to_owned() });
        let changed = Numbers { after: before, until: next.number };
        let open = Unsettled { kind, name: Some(name), changed, why: Open::Refused };
        self.stream.0.progress(Progress { taken: next.number, unsettled: vec![open] });
        next.snapshot
    }

    /// True if nothing more was sent.
    fn has_no_news(&mut self) -> bool {
        futures::FutureExt::now_or_never(self.stream.0.next()).is_none()
    }
}

/// Two sidecars that call api and one that does not, each with a stream that has taken everything.
async fn three() -> (Bench, Taking, Taking, Taking) {
    let bench = bench().await;
    let here = place("dc1", "");
    let calling = |name: &str, port: u16| on_node(&here, sidecar(name, port, vec![upstream("api", port + 1)]));
    let ops = [calling("a", 1000), calling("b", 2000), on_node(&here, sidecar("api", 3000, vec![]))];
    bench.write(ops.concat()).await;
    let mut streams = Vec::new();
    // Not in the order of their names.
    for id in ["api-sidecar-proxy", "b-sidecar-proxy", "a-sidecar-proxy"] {
        streams.push(Taking::new(&bench, id).await);
    }
    let a = streams.pop().unwrap();
    let b = streams.pop().unwrap();
    (bench, a, b, streams.pop().unwrap())
}

/// A change that makes of a state what these operations make of it.
fn change(ops: Vec<Op>) -> TrialChange {
    TrialChange { name: "service-resolver/api".into(), candidate: Arc::new(move |view| Ok(view.after(&ops))) }
}

async fn tried(bench: &Bench, ops: Vec<Op>) -> Trying {
    bench.engine.try_out(change(ops), 1).await.unwrap().expect("it touches proxies")
}

fn steps(bench: &Bench) -> Vec<TrialStep> {
    let steps = bench
        .engine
        .events_from(0)
        .into_iter()
        .filter_map(|event| if let ProxyHappening::Trial(_, step) = event.what { Some(step) } else { None });
    steps.collect()
}

async fn seen(bench: &Bench) {
    let index = bench.store.view().index();
    while !bench.engine.reach(index).is_seen {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the engine has ended a trial.
async fn is_over(bench: &Bench) {
    while bench.engine.shared.trials.available_permits() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn leads_to(snapshot: &Snapshot, cluster: &str) -> bool {
    names(snapshot, ResourceType::Cluster).iter().any(|name| name.starts_with(cluster))
}

fn addresses(snapshot: &Snapshot) -> Vec<String> {
    endpoints(snapshot, "other.")
}

#[tokio::test]
async fn what_one_proxy_takes_is_made_and_all_have_it_then() {
    let (bench, mut a, mut b, mut api) = three().await;
    let before = bench.store.view().index();
    let reached = bench.engine.reach(before);

    let mut trying = tried(&bench, vec![resolver("api", "other")]).await;
    let (verdict, of_a) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.take());

    assert_eq!(verdict, Ok(()));
    let canaries: Vec<_> =
        trying.canaries().iter().map(|it| (it.proxy.id.as_str(), &*it.envoy_version, it.alike)).collect();
    assert_eq!(canaries, [("a-sidecar-proxy", "1.40.0", 2)]);
    assert!(leads_to(&of_a, "other."), "{of_a:?}");
    assert!(b.has_no_news() && api.has_no_news());
    assert_eq!(bench.store.view().index(), before);
    assert_eq!(bench.engine.reach(before), reached);
    let reports = bench.engine.proxies();
    assert_eq!(reports[0].trial.as_deref(), Some("service-resolver/api"));
    assert_eq!(reports.iter().filter(|report| report.trial.is_some()).count(), 1);

    bench.write(vec![resolver("api", "other")]).await;
    let index = bench.store.view().index();
    trying.over(Ok(index));

    // To whoever tried it nothing is news.
    assert_eq!(a.take().await, of_a);
    assert!(leads_to(&*b.take().await, "other."));
    assert!(api.has_no_news());
    seen(&bench).await;
    let live: Vec<_> =
        bench.engine.reach(index).proxies.into_iter().filter(|(_, stage)| *stage == Stage::Live).collect();
    assert_eq!(live.len(), 2);
    let push = bench.engine.pushes(|_| true).pop().unwrap();
    assert_eq!((push.since, push.index, push.proxies, push.live), (index - 1, index, 2, 2));
    assert_eq!(steps(&bench), [TrialStep::Begun, TrialStep::Made(index)]);
    assert!(bench.engine.proxies().iter().all(|report| report.trial.is_none() && report.acked == report.index));
}

#[tokio::test]
async fn what_one_proxy_refuses_reaches_no_second_one_and_is_taken_back() {
    let (bench, mut a, mut b, _api) = three().await;
    let before = bench.engine.proxies();
    let had = bench.engine.snapshot(&before[0].instance).unwrap();
    let index = bench.store.view().index();

    let mut trying = tried(&bench, vec![resolver("api", "other")]).await;
    let (verdict, _) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.refuse());

    let halt = verdict.unwrap_err();
    assert!(matches!(halt, Halt::Refused { .. }));
    let told = halt.to_string();
    assert!(
        told.contains("a-sidecar-proxy (connect-proxy, Envoy 1.40.0) refused it: CDS api: no such thing"),
        "{told}"
    );
    drop(trying);
    assert_eq!(*a.take().await, *had);
    assert!(b.has_no_news());
    assert_eq!(bench.store.view().index(), index);
    assert_eq!(steps(&bench), [TrialStep::Begun, TrialStep::Halted(told)]);
    // No commit is behind it.
    let nack = bench.engine.proxies()[0].types[&ResourceType::Cluster].last_nack.clone().unwrap();
    assert_eq!(nack.commits, (index, index));
    let refused = bench
        .engine
        .events_from(0)
        .into_iter()
        .find_map(|event| if let ProxyHappening::Refused { index, .. } = event.what { Some(index) } else { None });
    assert_eq!(refused, Some(None));
    // What comes next reaches everybody again.
    bench.write(vec![resolver("api", "third")]).await;
    for stream in [&mut a, &mut b] {
        assert!(leads_to(&*stream.take().await, "third."));
    }
}

#[tokio::test]
async fn whoever_does_not_answer_in_time_ends_a_trial_and_a_refusal_that_comes_late_is_of_no_commit() {
    let (bench, mut a, _b, _api) = three().await;
    let index = bench.store.view().index();

    let mut trying = tried(&bench, vec![resolver("api", "other")]).await;
    let (verdict, sent) = tokio::join!(trying.verdict(Duration::from_millis(20), Duration::ZERO), a.next());

    assert!(
        matches!(&verdict, Err(Halt::Late { reason, .. }) if reason.contains("not acknowledged yet")),
        "{verdict:?}"
    );
    drop(trying);
    let back = a.next().await;
    assert!(back.number > sent.number);
    let nack = Feedback::Nacked { kind: ResourceType::Cluster, resources: vec![], message: "no".to_owned() };
    a.stream.0.report(nack);
    let report = &bench.engine.proxies()[0];
    assert_eq!(report.types[&ResourceType::Cluster].last_nack.as_ref().unwrap().commits, (index, index));
    a.settled();
    assert_eq!(bench.engine.proxies()[0].behind, None);
}

#[tokio::test]
async fn what_others_commit_reaches_those_that_try_a_change() {
    let (bench, mut a, mut b, _api) = three().await;
    let here = place("dc1", "");
    let mut trying = tried(&bench, vec![resolver("api", "other")]).await;
    let (verdict, of_a) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.take());
    assert_eq!((verdict, addresses(&of_a)), (Ok(()), vec![]));

    // It means nothing to those that have the state alone.
    bench.write(on_node(&here, sidecar("other", 4000, vec![]))).await;
    let index = bench.store.view().index();
    assert_eq!(addresses(&*a.take().await), ["10.0.0.1:4000"]);
    seen(&bench).await;
    assert!(b.has_no_news());
    let stage = bench.engine.reach(index).proxies.into_iter().find(|(it, _)| it.id.as_str() == "a-sidecar-proxy");
    assert_eq!(stage.unwrap().1, Stage::Live);
    // And this means something to them, and nothing where it is tried.
    bench.write(on_node(&here, Service { port: 3001, ..sidecar("api", 3000, vec![]) })).await;
    assert_eq!(endpoints(&*b.take().await, "api."), ["10.0.0.1:3001"]);
    seen(&bench).await;
    assert!(a.has_no_news());
    assert_eq!(trying.verdict(PATIENCE, Duration::ZERO).await, Ok(()));

    drop(trying);
    assert_eq!(endpoints(&*a.take().await, "api."), ["10.0.0.1:3001"]);
    assert!(b.has_no_news());
}

#[tokio::test]
async fn what_a_tried_change_leaves_out_of_a_commit_is_awaited_until_the_trial_is_over() {
    let (bench, mut a, mut b, _api) = three().await;
    let here = place("dc1", "");
    let trying = tried(&bench, vec![resolver("api", "other")]).await;
    a.take().await;

    bench.write(on_node(&here, Service { port: 3001, ..sidecar("api", 3000, vec![]) })).await;
    let index = bench.store.view().index();
    b.take().await;
    seen(&bench).await;
    let stage = || bench.engine.reach(index).proxies.into_iter().find(|(it, _)| it.id.as_str() == "a-sidecar-proxy");
    let held = stage().unwrap().1;
    assert!(matches!(&held, Stage::Waiting(why) if why.contains("it tries a change")), "{held:?}");
    assert!(a.has_no_news());

    drop(trying);
    a.next().await;
    assert!(matches!(stage().unwrap().1, Stage::Waiting(why) if why.contains("not acknowledged yet")));
    a.settled();
    assert_eq!(stage().unwrap().1, Stage::Live);
}

#[tokio::test]
async fn what_was_refused_before_a_trial_is_not_live_because_of_it() {
    let (bench, mut a, mut b, _api) = three().await;
    bench.write(vec![resolver("api", "third")]).await;
    tokio::join!(a.refuse(), b.take());
    let live = || bench.engine.pushes(|_| true).pop().unwrap().live;
    assert_eq!(live(), 1);

    let trying = tried(&bench, vec![resolver("api", "other")]).await;
    a.take().await;
    assert_eq!(live(), 1);
    drop(trying);
    a.refuse().await;
    assert_eq!(live(), 1);
}

#[tokio::test]
async fn a_defect_in_a_change_ends_its_trial_and_nothing_else() {
    let (bench, mut a, mut b, _api) = three().await;
    let index = bench.store.view().index();
    let ops = vec![resolver("api", "other")];
    let candidate: Candidate = Arc::new(move |view| {
        assert!(view.index() <= index, "a defect");
        Ok(view.after(&ops))
    });
    let mut trying = bench.engine.try_out(TrialChange { name: "x".into(), candidate }, 1).await.unwrap().unwrap();
    let (verdict, _) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.take());
    assert_eq!(verdict, Ok(()));

    // The change is not about this.
    bench.write(on_node(&place("dc1", ""), Service { port: 3001, ..sidecar("api", 3000, vec![]) })).await;

    let verdict = trying.verdict(PATIENCE, Duration::from_secs(60)).await;
    assert!(matches!(&verdict, Err(Halt::Ended(why)) if why.contains("a defect of meshgate")), "{verdict:?}");
    for stream in [&mut a, &mut b] {
        assert_eq!(endpoints(&*stream.take().await, "api."), ["10.0.0.1:3001"]);
    }
}

#[tokio::test]
async fn whoever_lacks_a_part_does_not_try_a_change() {
    let bench = bench().await;
    // A cluster that never could be made: nothing is taken away from who has more.
    bench.write(parts::dialling("a", true)).await;
    bench.write(parts::dialling("b", false)).await;
    let _a = Taking::new(&bench, "a-sidecar-proxy").await;
    let b = Taking::new(&bench, "b-sidecar-proxy").await;

    let ops = vec![resolver("api", "other")];
    let trying = tried(&bench, ops.clone()).await;
    assert_eq!(trying.canaries()[0].proxy.id.as_str(), "b-sidecar-proxy");
    drop(trying);
    is_over(&bench).await;
    drop(b);
    let nobody = bench.engine.try_out(change(ops), 1).await.err();
    assert!(matches!(nobody, Some(TrialError::Nobody { incomplete: 1, .. })), "{nobody:?}");
}

#[tokio::test]
async fn a_change_that_cannot_be_made_any_more_is_tried_no_longer() {
    let (bench, mut a, _b, _api) = three().await;
    let index = bench.store.view().index();
    let ops = vec![resolver("api", "other")];
    let candidate: Candidate = Arc::new(move |view| {
        let problem = || Problem::rule("", "it was changed: plan again");
        if view.index() > index { Err(Problems::from(problem())) } else { Ok(view.after(&ops)) }
    });
    let asked = TrialChange { name: "x".into(), candidate };
    let mut trying = bench.engine.try_out(asked, 1).await.unwrap().unwrap();
    let (verdict, _) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.take());
    assert_eq!(verdict, Ok(()));

    let lasting = trying.verdict(PATIENCE, Duration::from_secs(60));
    let (verdict, ()) = tokio::join!(lasting, bench.write(vec![resolver("api", "third")]));

    assert!(matches!(&verdict, Err(Halt::Ended(why)) if why.contains("it was changed: plan again")), "{verdict:?}");
    assert!(leads_to(&*a.take().await, "third."));
}

#[tokio::test]
async fn one_trial_is_enough_and_ends_with_whoever_asked_for_it() {
    let (bench, mut a, _b, _api) = three().await;
    let had = bench.engine.snapshot(&bench.engine.proxies()[0].instance).unwrap();
    let trying = tried(&bench, vec![resolver("api", "other")]).await;
    a.take().await;

    let second = bench.engine.try_out(change(vec![resolver("api", "third")]), 1).await;
    assert!(matches!(second, Err(TrialError::Busy)));
    // As when a call is dropped.
    let mut dropped = trying;
    let waited = tokio::time::timeout(Duration::from_millis(5), dropped.verdict(PATIENCE, PATIENCE)).await;
    assert!(waited.is_err());
    drop(dropped);

    assert_eq!(*a.take().await, *had);
    assert_eq!(steps(&bench).pop(), Some(TrialStep::Halted("whoever asked for it has gone".to_owned())));
    is_over(&bench).await;
    tried(&bench, vec![resolver("api", "third")]).await;
}

#[tokio::test]
async fn one_that_goes_or_falls_ill_with_a_change_ends_its_trial() {
    let (bench, mut a, _b, _api) = three().await;
    let mut trying = tried(&bench, vec![resolver("api", "other")]).await;
    let (verdict, _) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.take());
    assert_eq!(verdict, Ok(()));
    drop(a);
    let verdict = trying.verdict(Duration::from_millis(20), Duration::from_secs(60)).await;
    assert!(matches!(&verdict, Err(Halt::Late { reason, .. }) if reason.contains("has not come back")), "{verdict:?}");
    drop(trying);
    is_over(&bench).await;

    let mut a = Taking::new(&bench, "a-sidecar-proxy").await;
    let mut trying = tried(&bench, vec![resolver("api", "other")]).await;
    let (verdict, _) = tokio::join!(trying.verdict(PATIENCE, Duration::ZERO), a.take());
    assert_eq!(verdict, Ok(()));
    let check = Check {
        node: NodeName::from("agent"),
        check_id: "alive".to_owned().into(),
        status: CheckStatus::Critical,
        service_id: ServiceId::from("a-sidecar-proxy"),
        datacenter: Datacenter::from("dc1"),
        ..Check::default()
    };
    let lasting = trying.verdict(PATIENCE, Duration::from_secs(60));
    let (verdict, ()) = tokio::join!(lasting, bench.write(vec![Op::PutCheck(check)]));
    assert!(matches!(&verdict, Err(Halt::Ended(why)) if why.contains("\"alive\" has become critical")), "{verdict:?}");
}

#[tokio::test]
async fn each_kind_and_version_is_tried_before_a_second_of_one() {
    let (bench, _a, b, _api) = three().await;
    drop(b);
    let _older = Taking::of_version(&bench, "b-sidecar-proxy", "1.39.0").await;
    let here = place("dc1", "");
    let gateways = [on_node(&place("dc2", ""), gateway("10.2.0.1", 8443)), on_node(&here, gateway("10.1.0.1", 8443))];
    bench.write(gateways.concat()).await;
    let _gateway = Taking::new(&bench, "mesh-gateway").await;

    // Those that call it dial another port, its own sidecar listens there, and gateways lead to it.
    let ops = on_node(&here, Service { port: 3009, ..sidecar("api", 3000, vec![]) });
    let mut found = Vec::new();
    for most in [2, 9] {
        let trying = bench.engine.try_out(change(ops.clone()), most).await.unwrap().unwrap();
        let canaries = trying.canaries().iter().map(|it| (it.proxy.id.to_string(), it.envoy_version.clone(), it.alike));
        found.push(canaries.collect::<Vec<_>>());
        drop(trying);
        is_over(&bench).await;
    }

    let told = |id: &str, version: &str, alike| (id.to_owned(), version.to_owned(), alike);
    let all = vec![
        told("b-sidecar-proxy", "1.39.0", 1),
        told("a-sidecar-proxy", "1.40.0", 2),
        told("mesh-gateway", "1.40.0", 1),
        told("api-sidecar-proxy", "1.40.0", 2),
    ];
    assert_eq!(found, [all[..2].to_vec(), all]);
}

#[tokio::test]
async fn whoever_a_change_does_not_touch_does_not_try_it() {
    let (bench, _a, _b, _api) = three().await;

    let nothing = bench.engine.try_out(change(vec![resolver("nobody", "other")]), 1).await;
    let late = on_node(&place("dc1", ""), sidecar("late", 5000, vec![]));
    let nobody = bench.engine.try_out(change(late), 1).await;

    assert!(matches!(nothing, Ok(None)));
    assert!(matches!(nobody, Err(TrialError::Nobody { touched: 1, incomplete: 0 })), "{:?}", nobody.err());
    assert_eq!(steps(&bench), []);
}

#[tokio::test]
async fn what_is_tried_is_at_every_moment_what_the_change_makes_of_the_state() {
    let (bench, mut a, _b, _api) = three().await;
    let here = place("dc1", "");
    let id = |name: &str| NodeKey::new(&here, &NodeName::from("agent")).instance(&ServiceId::from(name));
    let entry = |name: &str| {
        let name = ServiceName::new(&here.partition, &Namespace::default(), name);
        EntryKey { kind: EntryKind::ServiceResolver, name }
    };
    let gone = entry("third");
    let tries = [vec![resolver("api", "other")], vec![resolver("other", "third"), Op::DeleteEntry(gone.clone())]];
    bench.write(vec![resolver("third", "api")]).await;
    for ops in tries {
        let sent = change(ops);
        let made = sent.candidate.clone();
        let mut trying = bench.engine.try_out(sent, 1).await.unwrap();
        let mut steps_tried = 0;
        // Somebody else changes the same and other rows, in an order that repeats itself late.
        for step in 0_u16..48 {
            let port = 4_000 + step % 5;
            let ops = match step * 7 % 11 {
                0 => vec![resolver("third", "other")],
                1 => vec![Op::DeleteEntry(gone.clone())],
                2 => vec![resolver("api", "third")],
                3 => on_node(&here, Service { port, ..sidecar("other", port, vec![]) }),
                5 => vec![Op::DeleteService(id("other-sidecar-proxy"))],
                6 | 7 => on_node(&here, Service { port, ..sidecar("third", port, vec![]) }),
                8 => vec![resolver("other", "api")],
                9 => on_node(&here, sidecar("a", 1000, vec![upstream("api", 1001), upstream("other", 5_000 + step)])),
                4 => on_node(&here, Service { port, ..sidecar("api", 3000, vec![]) }),
                _ => vec![Op::DeleteEntry(entry("other"))],
            };
            // Some would lead in a circle.
            let _ = bench.store.write(ops).await;
            seen(&bench).await;
            let view = bench.store.view();
            let trial = bench.engine.proxies()[0].trial.is_some();
            let wanted = if trial { Arc::new(made(&view).unwrap()) } else { view.clone() };
            let preview = preview::Preview::new(
                bench.engine.options(),
                bench.authority.trust_domain(),
                &wanted,
                [id("a-sidecar-proxy")],
            );
            let expected = preview.get(&id("a-sidecar-proxy")).unwrap();
            let found = bench.engine.snapshot(&id("a-sidecar-proxy")).unwrap();
            assert_eq!((&*found, expected.is_whole), (&*expected.snapshot, true), "step {step}, tried: {trial}");
            steps_tried += u32::from(trial);
            if !trial {
                drop(trying.take());
                is_over(&bench).await;
                let again = TrialChange { name: "again".into(), candidate: made.clone() };
                trying = bench.engine.try_out(again, 1).await.unwrap_or_default();
            }
        }
        assert!(steps_tried > 12, "{steps_tried} steps were tried");
        drop(trying);
        is_over(&bench).await;
    }
    while !a.has_no_news() {}
}
