//! What became of changes: which commit touched which proxies, when each of them had it, and what else happened to them.
//!
//! **Invariant.** It is bounded, and what it costs a change does not depend on what it has noted already: one entry for each
//! proxy that is sent something, in one list, and one look under a lock when that proxy has it.
//!
//! A push covers the commits after one state until another, because states that come while another one is being worked
//! on are taken over together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::reach::Span;
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::model::InstanceId;
use crate::store::Index;
use crate::telemetry::caused_by;

/// Most pushes that are remembered.
const PUSHES: usize = 1024;
/// Most proxies of all of them together.
const TARGETS: usize = 1 << 16;
/// Most other events.
const EVENTS: usize = 2048;
/// Most proxies of a push whose part in a trace is told.
const TRACED: usize = 16;
/// Most names of refused resources that an event holds.
const NAMES: usize = 10;

/// The times until proxies have what they are sent that are told apart, in milliseconds.
pub const LAGS: [u64; 11] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// Resource types as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Types(u8);

/// The push that a proxy was last part of, and its place in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    push: u64,
    target: u32,
}

/// A push while it is made.
#[derive(Debug)]
pub(super) struct Pushing {
    number: u64,
    targets: Vec<Target>,
    /// What it is part of, where that is traced.
    cause: tracing::Span,
    traces: Vec<(u32, tracing::Span)>,
}

/// What happened, for all who look. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    noted: Mutex<Noted>,
    /// How many changes there were.
    changes: watch::Sender<u64>,
    /// How many of them are events.
    events: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Noted {
    pushes: VecDeque<Noting>,
    /// The number of the first of them.
    first: u64,
    targets: usize,
    events: VecDeque<ProxyEvent>,
    next_event: u64,
    totals: PushTotals,
}

/// How many times something happened since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushTotals {
    /// Snapshots that were sent towards proxies, by the types that differ in them.
    pub pushed: [u64; ResourceType::ALL.len()],
    /// Snapshots whose proxy has them, or something newer.
    pub live: u64,
    /// The time until then, added up.
    pub lag: Duration,
    /// How many had it in at most as long as each of [`LAGS`], but not as the one before; then all others.
    pub lags: [u64; LAGS.len() + 1],
    /// Refused responses by the kind of proxy, in the order of the kinds and of the types.
    pub refused: [[u64; ResourceType::ALL.len()]; ProxyKind::ALL.len()],
    /// How many times it began that resources of a type stay with a proxy because another process gave them to it, perhaps for
    /// what this one cannot make.
    pub held: [u64; ResourceType::ALL.len()],
}

/// The kinds of proxies that are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// A sidecar.
    ConnectProxy,
    /// A mesh gateway.
    MeshGateway,
}

impl ProxyKind {
    /// Every kind.
    pub const ALL: [ProxyKind; 2] = [ProxyKind::ConnectProxy, ProxyKind::MeshGateway];

    /// The kind as registrations write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProxyKind::ConnectProxy => "connect-proxy",
            ProxyKind::MeshGateway => "mesh-gateway",
        }
    }
}

#[derive(Debug)]
struct Noting {
    since: Index,
    index: Index,
    time: OffsetDateTime,
    started: Instant,
    targets: Vec<Target>,
    live: usize,
    last: Option<Duration>,
    /// What it is part of, where that is traced, until it is noted whom it went to.
    cause: tracing::Span,
    /// Proxies that refused a part of it before that.
    refused_early: Vec<u32>,
    /// What traces say about the first of the proxies, until they have answered.
    traces: Vec<(u32, tracing::Span)>,
    /// Proxies that had it before it was noted that they were sent it.
    early: Vec<(u32, Instant)>,
}

/// One proxy of a push that is being made.
#[derive(Debug)]
pub(super) struct Target {
    proxy: Arc<InstanceId>,
    types: Types,
    is_refused: bool,
    /// An earlier push that the proxy has not taken yet.
    earlier: Option<Place>,
    live_after: Option<Duration>,
}

/// One push: what followed from the commits after `since` until `index`.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// Its number; they grow.
    pub number: u64,
    /// The last commit that it has nothing of. The same as `index` for proxies that came.
    pub since: Index,
    /// The last commit that it has.
    pub index: Index,
    /// When it was sent.
    pub time: OffsetDateTime,
    /// How many proxies it touched.
    pub proxies: usize,
    /// How many of them have it, or something newer.
    pub live: usize,
    /// How many refused a part of it and have nothing newer yet.
    pub refused: usize,
    /// The time until the last of all had it; `None` while one has not.
    pub live_after: Option<Duration>,
    /// Those that were asked for.
    pub shown: Vec<Pushed>,
}

/// One proxy of a push.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The proxy.
    pub proxy: Arc<InstanceId>,
    /// The resource types in which what it has changed.
    pub types: Vec<ResourceType>,
    /// The time until it had all of it, or something newer.
    pub live_after: Option<Duration>,
    /// It refused a part of it.
    pub is_refused: bool,
}

/// Something that happened to a proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyEvent {
    /// Its number; they grow.
    pub number: u64,
    /// When it happened.
    pub time: OffsetDateTime,
    /// The proxy.
    pub proxy: Arc<InstanceId>,
    /// What happened.
    pub what: ProxyHappening,
}

/// What can happen to a proxy.
#[derive(Debug, Clone, PartialEq)]
pub enum ProxyHappening {
    /// A stream for it opened; the text is Envoy's version as it says it.
    Connected(String),
    /// A stream of it ended; so many are left.
    Disconnected(usize),
    /// It refused a response.
    Refused {
        /// The type.
        kind: ResourceType,
        /// The first of the resources in it.
        resources: Vec<String>,
        /// Envoy's reason.
        message: String,
        /// The commit that what it was sent belongs to; none if it was a change that it tried.
        index: Option<Index>,
    },
    /// A part of it cannot be made, and stays as it was.
    Problem(String),
    /// It tries a change, or did so.
    Trial(Arc<str>, TrialStep),
}

/// How far a change is that a proxy tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialStep {
    /// The proxy is sent it.
    Begun,
    /// It became the state with this commit.
    Made(Index),
    /// The proxy is given back what the state is, and why.
    Halted(String),
}

impl Types {
    /// The types in which two snapshots differ.
    pub(super) fn changed(before: Option<&Arc<Snapshot>>, after: Option<&Arc<Snapshot>>) -> Self {
        let (Some(before), Some(after)) = (before, after) else { return Self(u8::MAX) };
        let differs = |kind: &ResourceType| !before.get(*kind).ptr_eq(after.get(*kind));
        Self::of(ResourceType::ALL.into_iter().filter(differs))
    }

    /// These types.
    pub(super) fn of(kinds: impl Iterator<Item = ResourceType>) -> Self {
        Self(kinds.fold(0, |bits, kind| bits | (1 << kind as u8)))
    }

    /// Those that are not among others.
    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    fn iter(self) -> impl Iterator<Item = ResourceType> {
        ResourceType::ALL.into_iter().filter(move |kind| self.0 & (1 << *kind as u8) != 0)
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self(Arc::new(Shared { noted: Mutex::default(), changes: watch::channel(0).0, events: watch::channel(0).0 }))
    }
}

impl Journal {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Nothing that holds the lock can leave it half changed.
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Yields whenever something was noted.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Yields whenever something was noted that is no push.
    pub(super) fn events(&self) -> watch::Receiver<u64> {
        self.0.events.subscribe()
    }

    /// Begins a push. What it pushes out is dropped after the lock.
    pub(super) fn begin(&self, span: Span) -> Pushing {
        let noting = Noting {
            since: span.after,
            index: span.until,
            time: OffsetDateTime::now_utc(),
            started: Instant::now(),
            targets: Vec::new(),
            live: 0,
            last: None,
            cause: tracing::Span::current(),
            refused_early: Vec::new(),
            traces: Vec::new(),
            early: Vec::new(),
        };
        let mut forgotten = Vec::new();
        let mut noted = self.noted();
        if noted.pushes.back().is_some_and(Noting::is_idle) {
            // It touched nobody.
            noted.pushes.pop_back();
        }
        while noted.pushes.len() >= PUSHES || (noted.targets > TARGETS && !noted.pushes.is_empty()) {
            let Some(oldest) = noted.pushes.pop_front() else { break };
            noted.targets -= oldest.targets.len();
            noted.first += 1;
            forgotten.push(oldest);
        }
        noted.pushes.push_back(noting);
        let number = noted.first + noted.pushes.len() as u64 - 1;
        drop(noted);
        drop(forgotten);
        Pushing { number, targets: Vec::new(), cause: tracing::Span::current(), traces: Vec::new() }
    }

    /// Notes whom a push went to.
    pub(super) fn add(&self, pushing: Pushing) {
        let Pushing { number, targets, cause, traces } = pushing;
        if targets.is_empty() {
            if !cause.is_none()
                && let Some(noting) = self.noted().get(number)
            {
                noting.cause = tracing::Span::none();
            }
            return;
        }
        let mut noted = self.noted();
        noted.targets += targets.len();
        for kind in targets.iter().flat_map(|target| target.types.iter()) {
            noted.totals.pushed[kind as usize] += 1;
        }
        let Some(noting) = noted.get(number) else { return };
        noting.targets = targets;
        noting.traces = traces;
        noting.cause = tracing::Span::none();
        for target in std::mem::take(&mut noting.refused_early) {
            noting.end_trace(target, "refused");
        }
        let early = std::mem::take(&mut noting.early);
        for (target, at) in early {
            noted.live(Place { push: number, target }, at);
        }
        drop(noted);
        self.tell();
    }

    /// A proxy has all that it was last sent, and so all that it was sent before.
    pub(super) fn live(&self, place: Place) {
        self.noted().live(place, Instant::now());
        self.tell();
    }

    /// A proxy refused a part of what it was last sent. Returns the commits whose outcome that is: those after the first,
    /// until the second.
    pub(super) fn refused(&self, place: Place) -> Option<(Index, Index)> {
        let mut noted = self.noted();
        let noting = noted.get(place.push)?;
        if let Some(target) = noting.targets.get_mut(place.target as usize) {
            target.is_refused = true;
        }
        let span = Span { after: noting.since, until: noting.index }.or_last();
        Some((span.after, span.until))
    }

    /// Ends what a trace says about a proxy that refused a part of a push. Returns what the refusal belongs to, if that is traced:
    /// the proxy's part, or the whole before it is noted that it went to the proxy.
    pub(super) fn end_trace(&self, place: Place) -> Option<tracing::Span> {
        let mut noted = self.noted();
        let noting = noted.get(place.push)?;
        if noting.cause.is_none() {
            return noting.end_trace(place.target, "refused");
        }
        noting.refused_early.push(place.target);
        Some(noting.cause.clone())
    }

    /// A proxy of this kind refused a response of this type.
    pub(super) fn count_refusal(&self, of: ProxyKind, kind: ResourceType) {
        self.noted().totals.refused[of as usize][kind as usize] += 1;
    }

    /// It began that resources of these types are not taken away from a proxy.
    pub(super) fn count_held(&self, types: Types) {
        if types == Types::default() {
            return;
        }
        let mut noted = self.noted();
        types.iter().for_each(|kind| noted.totals.held[kind as usize] += 1);
    }

    /// Something else happened to a proxy.
    pub(super) fn happened(&self, proxy: &Arc<InstanceId>, mut what: ProxyHappening) {
        if let ProxyHappening::Refused { resources, .. } = &mut what {
            resources.truncate(NAMES);
        }
        let mut noted = self.noted();
        if noted.events.len() >= EVENTS {
            noted.events.pop_front();
        }
        let number = noted.next_event;
        noted.next_event += 1;
        noted.events.push_back(ProxyEvent { number, time: OffsetDateTime::now_utc(), proxy: proxy.clone(), what });
        drop(noted);
        self.tell();
        self.0.events.send_replace(number + 1);
    }

    /// What happened to proxies from this number on, in order.
    pub(super) fn events_from(&self, number: u64) -> Vec<ProxyEvent> {
        let noted = self.noted();
        let known = noted.next_event.saturating_sub(number).min(noted.events.len() as u64);
        noted.events.iter().skip(noted.events.len() - known as usize).cloned().collect()
    }

    /// The pushes, the oldest one first; of their proxies, those that `is_shown` is true for.
    pub(super) fn pushes(&self, is_shown: impl Fn(&InstanceId) -> bool) -> Vec<Push> {
        let noted = self.noted();
        let push = |(position, noting): (usize, &Noting)| Push {
            number: noted.first + position as u64,
            since: noting.since,
            index: noting.index,
            time: noting.time,
            proxies: noting.targets.len(),
            live: noting.live,
            refused: noting.targets.iter().filter(|target| target.is_refused).count(),
            live_after: noting.last.filter(|_| noting.live == noting.targets.len()),
            shown: noting.targets.iter().filter(|target| is_shown(&target.proxy)).map(Target::told).collect(),
        };
        let pushes = noted.pushes.iter().enumerate();
        pushes.filter(|(_, noting)| !noting.targets.is_empty()).map(push).collect()
    }

    /// How many times what happened.
    pub(super) fn totals(&self) -> PushTotals {
        self.noted().totals
    }
}

impl Pushing {
    /// The place of the next proxy.
    pub(super) fn next(&self) -> Place {
        Place { push: self.number, target: self.targets.len() as u32 }
    }

    /// The next proxy is this one; `earlier` is a push that it has not taken yet.
    pub(super) fn add(&mut self, proxy: &Arc<InstanceId>, types: Types, earlier: Option<Place>) {
        if !self.cause.is_none() && self.targets.len() < TRACED {
            let types = types.iter().map(ResourceType::short_name).collect::<Vec<_>>().join(",");
            let span = tracing::debug_span!(parent: None, "push", %proxy, types, outcome = tracing::field::Empty);
            self.traces.push((self.targets.len() as u32, caused_by(span, &self.cause)));
        }
        self.targets.push(Target { proxy: proxy.clone(), types, is_refused: false, earlier, live_after: None });
    }
}

impl Noting {
    fn is_idle(&self) -> bool {
        self.targets.is_empty() && self.early.is_empty()
    }

    fn end_trace(&mut self, target: u32, outcome: &'static str) -> Option<tracing::Span> {
        let position = self.traces.iter().position(|(traced, _)| *traced == target)?;
        let (_, span) = self.traces.swap_remove(position);
        span.record("outcome", outcome);
        Some(span)
    }
}

impl Noted {
    fn live(&mut self, place: Place, at: Instant) {
        let mut next = Some(place);
        while let Some(place) = next {
            let Some(noting) = self.get(place.push) else { break };
            let lag = at.saturating_duration_since(noting.started);
            let Some(target) = noting.targets.get_mut(place.target as usize) else {
                noting.early.push((place.target, at));
                break;
            };
            if target.live_after.is_some() {
                break;
            }
            target.live_after = Some(lag);
            target.is_refused = false;
            next = target.earlier.take();
            noting.end_trace(place.target, "live");
            noting.live += 1;
            noting.last = noting.last.max(Some(lag));
            self.totals.live += 1;
            self.totals.lag += lag;
            self.totals.lags[LAGS.partition_point(|bound| Duration::from_millis(*bound) < lag)] += 1;
        }
    }

    fn get(&mut self, push: u64) -> Option<&mut Noting> {
        let position = usize::try_from(push.checked_sub(self.first)?).ok()?;
        self.pushes.get_mut(position)
    }
}

impl Target {
    fn told(&self) -> Pushed {
        Pushed {
            proxy: self.proxy.clone(),
            types: self.types.iter().collect(),
            live_after: self.live_after,
            is_refused: self.is_refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{self, Datacenter, NodeName, Partition, ServiceId};

    fn proxy(name: &str) -> Arc<InstanceId> {
        let place = model::Place::new(&Datacenter::from("dc1"), &Partition::default());
        Arc::new(InstanceId { place, node: NodeName::from("n"), id: ServiceId::from(name) })
    }

    /// Pushes to proxies, each with the push that it has not taken yet.
    fn push(journal: &Journal, index: Index, proxies: &[(&str, Option<Place>)]) -> Vec<Place> {
        let mut push = journal.begin(Span::of(index));
        let mut places = Vec::new();
        for (name, earlier) in proxies {
            places.push(push.next());
            push.add(&proxy(name), Types(1), *earlier);
        }
        journal.add(push);
        places
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_is_live_when_the_last_proxy_has_it_or_something_newer() {
        let journal = Journal::default();
        let first = push(&journal, 7, &[("a", None), ("b", None)]);
        tokio::time::advance(Duration::from_millis(10)).await;
        journal.live(first[0]);
        assert_eq!(journal.refused(first[1]), Some((6, 7)));
        let told = journal.pushes(|_| true);
        assert_eq!((told[0].live, told[0].refused, told[0].live_after), (1, 1, None));

        // What b has not taken is overtaken by what it takes then.
        let second = push(&journal, 9, &[("b", Some(first[1]))]);
        tokio::time::advance(Duration::from_millis(5)).await;
        journal.live(second[0]);
        journal.live(second[0]);

        let told = journal.pushes(|id| id.id.as_str() == "b");
        let live: Vec<_> = told.iter().map(|push| (push.index, push.live, push.refused, push.live_after)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(live, [(7, 2, 0, ms(15)), (9, 1, 0, ms(5))]);
        assert_eq!(told[0].shown.len(), 1);
        assert_eq!(told[0].shown[0].types, [ResourceType::Secret]);
        let mut totals =
            PushTotals { pushed: [3, 0, 0, 0, 0], live: 3, lag: Duration::from_millis(30), ..PushTotals::default() };
        (totals.lags[1], totals.lags[2], totals.lags[3]) = (1, 1, 1);
        assert_eq!(journal.totals(), totals);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_faster_than_the_push_is_not_missed() {
        let journal = Journal::default();
        let mut push = journal.begin(Span::of(2));
        let place = push.next();
        push.add(&proxy("a"), Types(1), None);
        tokio::time::advance(Duration::from_millis(3)).await;
        journal.live(place);
        tokio::time::advance(Duration::from_millis(9)).await;
        journal.add(push);
        journal.begin(Span::of(3));
        journal.begin(Span::of(4));

        let told = journal.pushes(|_| true);

        let of_push: Vec<_> = told.iter().map(|push| (push.index, push.live_after)).collect();
        assert_eq!(of_push, [(2, Some(Duration::from_millis(3)))]);
    }

    #[test]
    fn it_is_bounded() {
        let journal = Journal::default();
        let proxies: Vec<_> = (0..TARGETS / 4).map(|_| ("a", None)).collect();
        let oldest = push(&journal, 1, &proxies);
        for index in 2..7 {
            push(&journal, index, &proxies);
        }
        // The last one is looked at when the next one begins.
        assert_eq!(journal.pushes(|_| false).iter().map(|push| push.index).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        journal.live(oldest[0]);
        assert_eq!(journal.totals().live, 0);
        for index in 0..2 * PUSHES as u64 {
            push(&journal, index + 10, &[("a", None)]);
        }
        assert_eq!(journal.pushes(|_| false).len(), PUSHES);
        for _ in 0..EVENTS + 5 {
            journal.happened(&proxy("a"), ProxyHappening::Disconnected(0));
        }
        assert_eq!(journal.events_from(0).len(), EVENTS);
        assert_eq!(journal.events_from(EVENTS as u64 + 3).len(), 2);
    }
}
