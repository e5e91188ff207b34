//! When to recompute, for whom: from commits of the store to the snapshots that streams send.
//!
//! **Problem.** A change must reach the proxies that care, at once, and cost nothing for all others.
//!
//! **Invariant.** What a proxy has is a function of the view. Every part of it remembers the keys that were read to make
//! it; a commit recomputes what read one of the changed keys, and publishes a snapshot only if a resource changed. What
//! cannot be made stays as it last was.
//!
//! ```text
//! commit ─► changed keys ─┬─► proxies that read one      ─► parts of ir ─► encode what differs ─┐
//!                         ├─► assignments that read one  ─► one message for all that share it ──┼─► snapshots
//!                         └─► roots, leaves              ─► secrets ────────────────────────────┘
//! ```

mod absent;
mod chains;
mod core;
mod encoded;
mod explain;
mod guard;
mod intern;
mod journal;
mod leaves;
mod lint;
mod offline;
mod outbound;
mod parts;
mod preview;
mod provenance;
mod proxy;
mod reach;
mod recording;
mod secrets;
mod shared;
mod slot;
mod sum;
mod table;
mod trial;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use dashmap::DashMap;
use futures::Stream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use explain::{Row, leading};
pub use guard::guard;
pub use journal::{LAGS, ProxyEvent, ProxyHappening, ProxyKind, Push, PushTotals, Pushed, TrialStep};
pub use leaves::Leaves;
pub use lint::{LintFinding, Severity, lint};
pub use offline::{Configuration, Offline};
pub use preview::{Preview, Previewed};
pub use provenance::{Asked as ProvenanceAsked, Change, Effect, Provenance};
pub use reach::{Reach, Stage, Unmade};
pub use slot::{NackReport, ProxyReport, TypeReport};
pub use trial::{Canary, Candidate, Halt, TrialChange, TrialError, Trying};

use self::core::{Core, Issuer};
use self::journal::Journal;
use self::recording::Recording;
use self::slot::{Awaited, Slot};
use self::trial::Trial;
use crate::ca::Authority;
use crate::envoy::snapshot::{
    self, Feedback, NodeIdentity, Progress, Published, ResourceType, Snapshot, SnapshotSource,
};
use crate::model::{
    Datacenter, DnsDomain, InstanceId, IntentionPolicy, NodeName, Partition, Place, Proxy, Service, ServiceId, SpiffeId,
};
use crate::resolve::{self, Chain, ChainError, ExposedCheck, Scope, State as _};
use crate::store::{Index, NodeKey, Reader, Store, Stored, View};
use crate::telemetry::caused_by;

/// How long a proxy is kept up to date after its last stream. Whoever loses its connection is back within seconds (Envoy
/// waits for half a minute at most), and is told at once what it missed.
const LINGER: Duration = Duration::from_secs(60);

/// How many compute what would be sent at the same time; others wait for their turn.
const TURNS: usize = 2;

/// How long the engine may take to answer. One that has stopped answers nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the process says about itself to those who do not say more.
#[derive(Debug, Clone)]
pub struct Options {
    /// The process's own datacenter, for streams that name none.
    pub datacenter: Datacenter,
    /// Every datacenter that is hosted, the own one included.
    pub hosted: Vec<Datacenter>,
    /// The node that the agent's own registrations are on, for streams that name none.
    pub node: NodeName,
    /// What happens to calls that no intention speaks about.
    pub default_intention: IntentionPolicy,
    /// The DNS domain of the agents.
    pub dns_domain: DnsDomain,
}

/// A proxy's registration with what central configuration adds to it; what is read goes through `reader`.
pub fn merged_proxy(reader: &Reader<'_>, service: &Service) -> Proxy {
    resolve::merged_proxy(&Recording::new(reader, &[]), service)
}

/// The checks that the sidecars of a node expose; what is read goes through `reader`.
pub fn exposed_checks(reader: &Reader<'_>, node: &NodeKey) -> Vec<ExposedCheck> {
    resolve::exposed_checks(&Recording::new(reader, &[]), &node.place, &node.node)
}

/// True for a sidecar that exposes the checks of its application; what is read goes through `reader`.
pub fn exposes_checks(reader: &Reader<'_>, service: &Service) -> bool {
    resolve::exposes_checks(&Recording::new(reader, &[]), service)
}

/// The discovery chain of a scope; what is read goes through `reader`.
pub fn discovery_chain(reader: &Reader<'_>, scope: &Scope) -> Arc<Result<Chain, ChainError>> {
    Recording::new(reader, &[]).chain(scope)
}

/// The state as resolving asks for it; what is read goes through `reader`. `hosted` are datacenters that exist without a
/// row.
pub fn state<'r, 'v>(reader: &'r Reader<'v>, hosted: &'r [Datacenter]) -> impl resolve::State + use<'r, 'v> {
    Recording::new(reader, hosted)
}

/// The engine. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    slots: DashMap<NodeIdentity, Arc<Slot>>,
    /// Slots that the core does not know yet, and names whose last stream may have gone.
    news: Mutex<News>,
    /// There are some.
    wake: Notify,
    /// The commit that everything is published of.
    seen: AtomicU64,
    /// Of those who compute what would be sent.
    turns: Arc<Semaphore>,
    /// Of those that have proxies try a change: one at a time.
    trials: Arc<Semaphore>,
    /// Whoever waits for acknowledgements may look again.
    progress: Progressed,
    /// Proxies that had a certificate when the engine started, so that they may have been connected to the process before,
    /// and until when they count.
    returning: Mutex<Option<(Instant, BTreeSet<InstanceId>)>>,
    /// What became of changes.
    journal: Journal,
}

#[derive(Default)]
struct News {
    fresh: Vec<Arc<Slot>>,
    left: Vec<NodeIdentity>,
    /// Who wants to compute further from the state as it is.
    asking: Vec<oneshot::Sender<Core>>,
    /// A change that is to be tried.
    trial: Option<Box<Trial>>,
}

impl Shared {
    fn news(&self) -> MutexGuard<'_, News> {
        // Nothing that holds the lock can leave it half changed.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which proxies may have been connected to the process before.
    fn expect_back(&self, view: &View) {
        let had_certificate = |(instance, row): (&InstanceId, &Stored<Service>)| {
            view.leaf(&core::identity(instance, &row.value)).map(|_| instance.clone())
        };
        let instances = view.proxies().filter_map(had_certificate).collect();
        let mut returning = self.returning.lock().unwrap_or_else(PoisonError::into_inner);
        *returning = Some((Instant::now() + LINGER, instances));
    }

    /// Until when proxies count that were connected to the process before; `None` once they do no more.
    fn expected_until(&self) -> Option<Instant> {
        let mut returning = self.returning.lock().unwrap_or_else(PoisonError::into_inner);
        if returning.as_ref().is_some_and(|(until, _)| *until <= Instant::now()) {
            *returning = None;
        }
        returning.as_ref().map(|(until, _)| *until)
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news());
        self.wake.notify_one();
    }
}

/// Whom the certificate of a registered proxy speaks for.
pub fn identity(proxy: &InstanceId, service: &Service) -> SpiffeId {
    core::identity(proxy, service)
}

impl Engine {
    /// An engine that answers nobody yet.
    pub fn new(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                slots: DashMap::new(),
                news: Mutex::default(),
                wake: Notify::new(),
                seen: AtomicU64::new(0),
                turns: Arc::new(Semaphore::new(TURNS)),
                trials: Arc::new(Semaphore::new(1)),
                progress: Progressed::default(),
                returning: Mutex::default(),
                journal: Journal::default(),
            }),
        }
    }

    /// Follows the store until `shutdown`, on the thread that calls it: generating is work for a processor.
    pub async fn run(self, store: Store, authority: Authority, shutdown: CancellationToken) {
        let mut views = store.watch();
        let issuer = Issuer::Authority(authority);
        let view = views.borrow_and_update().clone();
        self.shared.expect_back(&view);
        let mut core = Core::new(self.shared.options.clone(), issuer, view, self.shared.journal.clone());
        let mut lingering = VecDeque::new();
        let mut trial = None;
        loop {
            self.update_streams(&mut core, &mut lingering, &mut trial);
            if trial.as_deref().is_some_and(Trial::is_given_up) {
                // What was tried may be the state by now, and is not taken away then.
                let view = views.borrow_and_update().clone();
                self.advance(&mut core, &mut trial, view, &store);
            }
            // In one order with the count of those who wait: whoever is not counted sees it.
            self.shared.seen.store(core.view().index(), Ordering::SeqCst);
            self.shared.progress.notify();
            let next = lingering.front().map(|(until, _)| *until).into_iter().chain(self.shared.expected_until()).min();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.wake.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                changed = views.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let view = views.borrow_and_update().clone();
                    self.advance(&mut core, &mut trial, view, &store);
                }
            }
        }
    }

    /// A newer state, for those too that try a change. Ends their trial if the change is the state now, cannot be made any more,
    /// or nobody wants to know.
    fn advance(&self, core: &mut Core, trial: &mut Option<Box<Trial>>, view: Arc<View>, store: &Store) {
        let asked = |trial: &Trial| {
            if trial.is_given_up() { Err("it was given up".to_owned()) } else { trial.candidate(&view) }
        };
        // What the change makes of the state can take its time, for which others do not wait. Only if this state may be the end
        // of the trial, it is asked first: those that tried the change are part of the push then.
        let is_first = |trial: &&Trial| trial.is_given_up() || trial.is_met_by(&view);
        let candidate = trial.as_deref().filter(is_first).map(asked);
        let ended = if let Some(Err(why)) = &candidate { trial.take().map(|trial| (trial, why.clone())) } else { None };
        if let Some((trial, _)) = &ended {
            trial.release();
        }
        let traced = store.take_traced(view.index());
        // What follows belongs to the last of them, and each of them says how many proxies it came to.
        let published = traced.last().unwrap_or(&tracing::Span::none()).in_scope(|| core.advance(view.clone()));
        for span in traced {
            span.record("proxies", published);
        }
        if let Some((trial, why)) = ended {
            trial.end(core, why);
        }
        let Some(trying) = trial.as_deref_mut() else { return };
        let candidate = candidate.unwrap_or_else(|| asked(trying));
        if let Err(why) = candidate.and_then(|candidate| trying.advance(candidate, &view)) {
            end_trial(core, trial, why);
        }
    }

    /// Starts proxies that a stream asks for, and forgets those that no stream has asked for any more for a while.
    fn update_streams(
        &self,
        core: &mut Core,
        lingering: &mut VecDeque<(Instant, NodeIdentity)>,
        trial: &mut Option<Box<Trial>>,
    ) {
        let mut news = News::default();
        std::mem::swap(&mut *self.shared.news(), &mut news);
        let now = Instant::now();
        // Those too whose stream has gone: another one may have found the slot already.
        core.start(news.fresh);
        for node in news.left {
            // Nobody can have a minute of others' memory for a name that means nothing.
            let is_known = self.shared.slots.get(&node).is_some_and(|slot| core.is_registered(&slot));
            if is_known {
                lingering.push_back((now + LINGER, node));
            } else {
                self.forget(core, &node, |slot| !slot.is_watched());
            }
        }
        while let Some((_, node)) = lingering.pop_front_if(|(until, _)| *until <= now) {
            self.forget(core, &node, |slot| slot.unwatched_since().is_some_and(|since| since + LINGER <= now));
        }
        // Who stopped waiting needs nothing.
        for asking in news.asking.into_iter().filter(|asking| !asking.is_closed()) {
            let _ = asking.send(core.detached());
        }
        // There is never a second one: the first one holds what a trial needs.
        if let Some(asked) = news.trial.filter(|asked| !asked.is_given_up())
            && let Err(why) = trial.insert(asked).begin(core, &self.shared.journal)
        {
            end_trial(core, trial, why);
        }
    }

    /// Forgets a slot if it is still so. A stream that came in the meantime holds it.
    fn forget(&self, core: &mut Core, node: &NodeIdentity, is_over: impl Fn(&Slot) -> bool) {
        if let Some((_, slot)) = self.shared.slots.remove_if(node, |_, slot| is_over(slot)) {
            core.stop(&slot);
        }
    }

    /// What it was told about the process.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What is known about every proxy with a stream, sorted.
    pub fn proxies(&self) -> Vec<ProxyReport> {
        let mut reports: Vec<_> =
            self.shared.slots.iter().filter(|slot| slot.is_watched()).map(|slot| slot.report()).collect();
        reports.sort_by(|a, b| a.instance.cmp(&b.instance));
        reports
    }

    /// How far a commit got, proxy by proxy.
    pub fn reach(&self, index: Index) -> Reach {
        let is_seen = self.shared.seen.load(Ordering::SeqCst) >= index;
        // A proxy that is known by several names is where it is connected.
        let mut found: BTreeMap<InstanceId, (bool, Stage)> = BTreeMap::new();
        for slot in &self.shared.slots {
            let (is_watched, stage) = (slot.is_watched(), slot.stage(index));
            let best = found.entry((*slot.instance).clone()).or_insert_with(|| (is_watched, stage.clone()));
            if (is_watched, &stage) > (best.0, &best.1) {
                *best = (is_watched, stage);
            }
        }
        let mut returning = self.shared.returning.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, instances)) = &mut *returning {
            instances.retain(|instance| !found.contains_key(instance));
            if *until <= Instant::now() {
                *returning = None;
            } else {
                let why = "it has not come back since the control plane was started";
                found.extend(instances.iter().map(|it| (it.clone(), (false, Stage::Waiting(why.to_owned())))));
            }
        }
        let proxies = found.into_iter().map(|(instance, (_, stage))| (instance, stage)).collect();
        Reach { is_seen, proxies }
    }

    /// Ready once [`Engine::reach`] may tell something else than when this was called.
    pub fn progressed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.shared.progress.notified()
    }

    /// The configurations as they are, to compute further from without anybody seeing it; `None` if the engine does not run.
    pub async fn offline(&self) -> Option<Offline> {
        let (core, turn) = self.detached().await?;
        // Making what no stream has asked for is work for a processor.
        tokio::task::spawn_blocking(|| Offline::from(core, turn)).await.ok()
    }

    /// A copy of everything without streams, once it is the caller's turn; `None` if the engine does not run.
    async fn detached(&self) -> Option<(Core, OwnedSemaphorePermit)> {
        // Each has a copy of what is not shared, and keeps a processor busy.
        let turn = self.shared.turns.clone().acquire_owned().await.ok()?;
        let (reply, answer) = oneshot::channel();
        self.shared.tell(|news| news.asking.push(reply));
        let core = timeout(PATIENCE, answer).await.ok()?.ok()?;
        Some((core, turn))
    }

    /// The pushes that are remembered, the oldest one first; of their proxies, those that `is_shown` is true for.
    pub fn pushes(&self, is_shown: impl Fn(&InstanceId) -> bool) -> Vec<Push> {
        self.shared.journal.pushes(is_shown)
    }

    /// The connected proxies of which something could not be made that still cannot be.
    pub fn unmade(&self) -> Vec<Unmade> {
        let of = |slot: &Arc<Slot>| {
            let spans = slot.unmade().into_iter();
            let unmade =
                |span: reach::Span| Unmade { since: span.after, index: span.until, proxy: slot.instance.clone() };
            spans.map(unmade).collect::<Vec<_>>()
        };
        self.shared.slots.iter().flat_map(|slot| of(&slot)).collect()
    }

    /// How many pushes there were, and how long they took.
    pub fn push_totals(&self) -> PushTotals {
        self.shared.journal.totals()
    }

    /// What happened to proxies from this number of an event on, in order.
    pub fn events_from(&self, number: u64) -> Vec<ProxyEvent> {
        self.shared.journal.events_from(number)
    }

    /// Yields whenever a push or another event was noted.
    pub fn happenings(&self) -> watch::Receiver<u64> {
        self.shared.journal.changes()
    }

    /// Yields whenever there is another event: what pushes come to is none.
    pub fn events(&self) -> watch::Receiver<u64> {
        self.shared.journal.events()
    }

    /// What a connected proxy should have.
    pub fn snapshot(&self, proxy: &InstanceId) -> Option<Arc<Snapshot>> {
        let of_proxy =
            |slot: &dashmap::mapref::multiple::RefMulti<'_, NodeIdentity, Arc<Slot>>| *slot.instance == *proxy;
        self.shared.slots.iter().filter(of_proxy).find_map(|slot| slot.snapshot())
    }

    fn instance(&self, node: &NodeIdentity) -> InstanceId {
        let options = &self.shared.options;
        let datacenter = match &*node.datacenter {
            "" => options.datacenter.clone(),
            named => Datacenter::from(named),
        };
        InstanceId {
            place: Place { datacenter, partition: Partition::from(&*node.partition) },
            node: if node.node_name.is_empty() { options.node.clone() } else { NodeName::from(&*node.node_name) },
            id: ServiceId::from(&*node.id),
        }
    }
}

/// Ends a trial. The state is that of `core` already.
fn end_trial(core: &Core, trial: &mut Option<Box<Trial>>, why: String) {
    if let Some(trial) = trial.take() {
        trial.release();
        trial.end(core, why);
    }
}

impl SnapshotSource for Engine {
    fn watch(&self, node: &NodeIdentity, stream: u64) -> Box<dyn snapshot::Watch> {
        // The entry stays locked until the slot has a reader, so that the core cannot take it for abandoned.
        let mut fresh = None;
        let entry = self.shared.slots.entry(node.clone());
        let slot = entry.or_insert_with(|| fresh.insert(Arc::new(Slot::new(self.instance(node)))).clone());
        let (slot, reader) = (slot.clone(), slot.subscribe());
        if let Some(slot) = fresh {
            self.shared.tell(|news| news.fresh.push(slot));
        }
        Box::new(Watch { shared: self.shared.clone(), node: node.clone(), slot, reader, stream })
    }
}

/// Tells those who wait for acknowledgements that there may be one. While nobody waits, an acknowledgement takes no lock
/// that others take.
#[derive(Default)]
struct Progressed {
    notify: Notify,
    waiting: AtomicUsize,
}

impl Progressed {
    /// Called after what there is to see can be seen.
    fn notify(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.notify.notify_waiters();
        }
    }

    /// Ready once something was told after this call.
    fn notified(&self) -> impl Future<Output = ()> + Send + '_ {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let (counted, notified) = (Counted(&self.waiting), self.notify.notified());
        async move {
            notified.await;
            drop(counted);
        }
    }
}

/// One of those who wait.
struct Counted<'c>(&'c AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The snapshots of one stream.
struct Watch {
    shared: Arc<Shared>,
    node: NodeIdentity,
    slot: Arc<Slot>,
    reader: Arc<slot::Reader>,
    stream: u64,
}

impl Watch {
    /// A trace's part that says what a proxy refused: of the push that it was part of, if that is traced.
    fn trace_refusal(&self, place: Option<journal::Place>, (kind, resources, reason): (ResourceType, usize, &str)) {
        let push = place.and_then(|place| self.shared.journal.end_trace(place));
        let refusal = tracing::debug_span!(
            parent: None,
            "refusal",
            proxy = %self.slot.instance,
            r#type = kind.short_name(),
            resources,
            otel.status_code = "ERROR",
            otel.status_description = reason
        );
        drop(caused_by(refusal, &push.unwrap_or_else(tracing::Span::none)));
    }
}

impl Stream for Watch {
    type Item = Published;

    fn poll_next(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        self.slot.poll_newer(&self.reader, context).map(Some)
    }
}

impl snapshot::Watch for Watch {
    fn report(&mut self, feedback: Feedback) {
        let mut commits = (0, 0);
        let happened = match &feedback {
            Feedback::Connected { user_agent_version } => Some(ProxyHappening::Connected(user_agent_version.clone())),
            Feedback::Acked { .. } => None,
            Feedback::Nacked { kind, resources, message } => {
                let (place, index);
                (place, index, commits) = match self.slot.awaited(self.stream) {
                    Awaited::Pushed { place, index } => {
                        let of_push = place.and_then(|place| self.shared.journal.refused(place));
                        // What it had when it came is as new as its last change.
                        (place, Some(index), of_push.unwrap_or((index.saturating_sub(1), index)))
                    }
                    // No commit is behind it.
                    Awaited::Tried(index) => (None, None, (index, index)),
                };
                self.shared.journal.count_refusal(self.slot.kind(), *kind);
                self.trace_refusal(place, (*kind, resources.len(), message));
                let resources = resources.iter().map(|(name, _)| name.to_string()).collect();
                Some(ProxyHappening::Refused { kind: *kind, resources, message: message.clone(), index })
            }
        };
        self.slot.note(self.stream, feedback, commits);
        if let Some(what) = happened {
            self.shared.journal.happened(&self.slot.instance, what);
        }
        self.shared.progress.notify();
    }

    fn progress(&mut self, progress: Progress) {
        let (taken, held) = self.slot.note_progress(self.stream, progress);
        for place in taken {
            self.shared.journal.live(place);
        }
        self.shared.journal.count_held(held);
        self.shared.progress.notify();
    }
}

impl Drop for Watch {
    /// Tells the core that a stream has gone.
    fn drop(&mut self) {
        let left = self.slot.forget(self.stream);
        self.shared.journal.happened(&self.slot.instance, ProxyHappening::Disconnected(left));
        self.slot.unsubscribe(&self.reader);
        self.shared.progress.notify();
        let node = std::mem::take(&mut self.node);
        self.shared.tell(|news| news.left.push(node));
    }
}

#[cfg(test)]
mod tests;
