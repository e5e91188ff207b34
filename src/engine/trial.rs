//! A change that a few proxies try before it is made.
//!
//! **Problem.** What an Envoy refuses should reach one of them and not a second one, and nothing should be stored that no Envoy
//! has taken.
//!
//! **Invariant.** Those that try a change are at every moment sent what the change makes of the latest state, and nobody else
//! is sent anything of it. However a trial ends, they are given what the state is then: if the change became the state, that
//! is what they have.
//!
//! ```text
//! state ─────► core ──────────► all others         (held back for those that try)
//!   └─ change ─► candidate ─► core of its own ─► those that try
//! ```
//!
//! Nothing of a trial is stored. Whoever comes back to another process, or to this one after it was started anew, gets the
//! state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::journal::{Journal, ProxyHappening, ProxyKind, TrialStep};
use super::parts::contained;
use super::proxy::Proxy;
use super::reach::{Span, Stage};
use super::slot::Slot;
use super::{Engine, Shared};
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::model::{CheckStatus, InstanceId, Problems};
use crate::store::{Index, Key, NodeKey, View};

/// No trial takes longer.
const LONGEST: Duration = Duration::from_secs(300);

/// Makes of a state what a change would make of it. It is asked again for each newer state.
///
/// The problems say why the change cannot be made any more.
pub type Candidate = Arc<dyn Fn(&View) -> Result<View, Problems> + Send + Sync>;

/// What is to be tried.
#[derive(Clone)]
pub struct TrialChange {
    /// What it is about, for people.
    pub name: Arc<str>,
    /// What it makes of a state.
    pub candidate: Candidate,
}

/// A proxy that tries a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// The proxy.
    pub proxy: InstanceId,
    /// Its kind.
    pub kind: ProxyKind,
    /// Envoy's version as its stream says it; empty if it does not.
    pub envoy_version: String,
    /// How many proxies of this kind and version are connected and touched by the change, itself included.
    pub alike: usize,
}

impl std::fmt::Display for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { proxy, kind, envoy_version, .. } = self;
        let version = if envoy_version.is_empty() { "of unknown version" } else { envoy_version };
        write!(f, "{proxy} ({}, Envoy {version})", kind.as_str())
    }
}

/// Why nothing is tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// One at a time: two changes cannot both be all that differs.
    #[error("another change is being tried: wait until that is over, or apply this one without `canary`")]
    Busy,
    /// The engine does not run.
    #[error("proxies are not configured at the moment: is the process stopping?")]
    NoEngine,
    /// The change cannot be made.
    #[error("{0}")]
    Refused(Problems),
    /// Nobody who could try it.
    #[error(
        "nobody could try it: of the {touched} proxies that the change touches none is connected to this process with the \
         certificate that it needs{}. Nothing was stored; apply it without `canary`",
        but_incomplete(*.incomplete)
    )]
    Nobody {
        /// How many it touches.
        touched: usize,
        /// How many of them are connected and have their certificate, and lack a part that could not be made.
        incomplete: usize,
    },
}

fn but_incomplete(proxies: usize) -> String {
    if proxies == 0 {
        return String::new();
    }
    format!(
        " and with all of its parts (of {proxies} a part cannot be made: `meshgate ps` and `meshgate plan` say why)"
    )
}

/// Why a change is not what it should be on those that tried it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A proxy refused it.
    #[error("{canary} refused it: {reason}. Correct what this comes from, and apply again")]
    Refused {
        /// Which.
        canary: Box<Canary>,
        /// The resource, and Envoy's reason.
        reason: String,
    },
    /// A proxy does not have it in time.
    #[error(
        "{canary} did not take it within {} s: {reason}. Look at that proxy (`meshgate ps`), or give it more time",
        .patience.as_secs_f64()
    )]
    Late {
        /// Which.
        canary: Box<Canary>,
        /// What it lacks.
        reason: String,
        /// How long it had.
        patience: Duration,
    },
    /// It ended, because of something else than what a proxy said.
    #[error("{0}")]
    Ended(String),
}

/// How far a trial is.
#[derive(Debug, Clone)]
enum State {
    /// The engine has not seen it.
    Asked,
    /// The proxies are sent it. Each name of a proxy has a slot, with the number of its last snapshot before.
    Running(Arc<[(Arc<Slot>, u64)]>),
    /// The engine has ended it, and why.
    Over(String),
}

/// The engine's side of a trial.
pub(super) struct Trial {
    change: TrialChange,
    canaries: Arc<[Canary]>,
    /// What makes the configurations of those that try; it has no others, and no streams.
    core: Core,
    /// The state that it was last made from.
    base: Arc<View>,
    /// What could not be made of the proxies without the change.
    known: BTreeMap<InstanceId, BTreeSet<String>>,
    /// Those that were healthy when it began.
    healthy: Vec<InstanceId>,
    slots: Vec<Arc<Slot>>,
    /// The state in which it began.
    since: Index,
    state: watch::Sender<State>,
    given_up: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// A change while some proxies have it and others do not. Dropping it gives them what the state is.
pub struct Trying {
    shared: Arc<Shared>,
    change: Arc<str>,
    canaries: Arc<[Canary]>,
    state: watch::Receiver<State>,
    given_up: CancellationToken,
    step: TrialStep,
}

impl Engine {
    /// Has connected proxies that a change touches try it: at most so many, of each kind and Envoy version one before a second
    /// of any. `None` if it touches no proxy, so that there is nothing to try.
    ///
    /// # Errors
    /// The change cannot be made, there is nobody to try it, or another one is tried.
    pub async fn try_out(&self, change: TrialChange, most: usize) -> Result<Option<Trying>, TrialError> {
        let permit = self.shared.trials.clone().try_acquire_owned().map_err(|_| TrialError::Busy)?;
        let (core, turn) = self.detached().await.ok_or(TrialError::NoEngine)?;
        let reports = self.proxies().into_iter().filter(|report| report.is_registered);
        let versions = reports.map(|report| (report.instance, report.envoy_version)).collect();
        let candidate = change.candidate.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            prepared(core, &candidate, &versions, most)
        });
        let Some(Prepared { core, base, known, canaries }) = prepared.await.map_err(|_| TrialError::NoEngine)?? else {
            return Ok(None);
        };
        let (state, states) = watch::channel(State::Asked);
        let given_up = CancellationToken::new();
        let (name, canaries): (_, Arc<[Canary]>) = (change.name.clone(), canaries.into());
        let trial = Trial {
            change,
            canaries: canaries.clone(),
            core,
            since: base.index(),
            base,
            known,
            healthy: Vec::new(),
            slots: Vec::new(),
            state,
            given_up: given_up.clone(),
            _permit: permit,
        };
        self.shared.tell(|news| news.trial = Some(Box::new(trial)));
        let step = TrialStep::Halted("whoever asked for it has gone".to_owned());
        let shared = self.shared.clone();
        Ok(Some(Trying { shared, change: name, canaries, state: states, given_up, step }))
    }
}

/// Everything that a trial begins with.
struct Prepared {
    core: Core,
    base: Arc<View>,
    known: BTreeMap<InstanceId, BTreeSet<String>>,
    canaries: Vec<Canary>,
}

/// What is known of a proxy without the change.
struct Before {
    snapshot: Option<Arc<Snapshot>>,
    waits_for_certificate: bool,
    unmade: BTreeSet<String>,
}

fn prepared(
    mut core: Core,
    candidate: &Candidate,
    versions: &BTreeMap<InstanceId, String>,
    most: usize,
) -> Result<Option<Prepared>, TrialError> {
    core.include_registered();
    let base = core.view().clone();
    let before: BTreeMap<_, _> =
        core.proxies().map(|(proxy, _)| (proxy.instance.clone(), Before::of(&core, proxy))).collect();
    let next = candidate(&base).map_err(TrialError::Refused)?;
    core.advance(Arc::new(next));
    core.include_registered();
    let is_touched = |proxy: &&Proxy| {
        before.get(&proxy.instance).is_none_or(|before| before.differs(&core, proxy)) && proxy.is_registered
    };
    let mut touched: Vec<_> = core.proxies().map(|(proxy, _)| proxy).filter(is_touched).collect();
    // Not in the order in which they came.
    touched.sort_by(|one, other| one.instance.cmp(&other.instance));
    if touched.is_empty() {
        return Ok(None);
    }
    let mut alike: BTreeMap<(&str, &str), Vec<&Proxy>> = BTreeMap::new();
    let mut incomplete = 0;
    for proxy in &touched {
        let Some(had) = before.get(&proxy.instance).filter(|before| !before.waits_for_certificate) else { continue };
        let (Some(had), Some(has)) = (&had.snapshot, proxy.snapshot()) else { continue };
        // A certificate for another identity is made once that is stored.
        let version = versions.get(&proxy.instance).filter(|_| !core.waits_for_certificate(proxy));
        let Some(version) = version else { continue };
        if may_keep_more(had) || may_keep_more(has) {
            incomplete += 1;
        } else {
            alike.entry((kind(proxy).as_str(), version)).or_default().push(proxy);
        }
    }
    let canaries = chosen(&alike, most);
    if canaries.is_empty() {
        return Err(TrialError::Nobody { touched: touched.len(), incomplete });
    }
    let kept: BTreeSet<_> = canaries.iter().map(|canary| canary.proxy.clone()).collect();
    core.keep_only(&kept);
    let known = before.into_iter().filter(|(proxy, _)| kept.contains(proxy));
    let known = known.map(|(proxy, before)| (proxy, before.unmade)).collect();
    Ok(Some(Prepared { core, base, known, canaries }))
}

/// True if nothing is taken away from a client that comes back on another stream, so that it would keep what it only tried.
fn may_keep_more(snapshot: &Snapshot) -> bool {
    [ResourceType::Cluster, ResourceType::Listener].into_iter().any(|kind| snapshot.is_incomplete(kind))
}

fn kind(proxy: &Proxy) -> ProxyKind {
    if proxy.is_gateway { ProxyKind::MeshGateway } else { ProxyKind::ConnectProxy }
}

/// The first of each sort, then the second ones, until there are enough.
fn chosen(alike: &BTreeMap<(&str, &str), Vec<&Proxy>>, most: usize) -> Vec<Canary> {
    let deepest = alike.values().map(Vec::len).max().unwrap_or_default();
    let in_turn =
        (0..deepest).flat_map(|turn| alike.iter().filter_map(move |(sort, all)| Some((sort, all, *all.get(turn)?))));
    let canary = |((_, version), all, proxy): (&(&str, &str), &Vec<&Proxy>, &Proxy)| Canary {
        proxy: proxy.instance.clone(),
        kind: kind(proxy),
        envoy_version: (*version).to_owned(),
        alike: all.len(),
    };
    in_turn.take(most).map(canary).collect()
}

impl Before {
    fn of(core: &Core, proxy: &Proxy) -> Self {
        Self {
            snapshot: proxy.snapshot().cloned(),
            waits_for_certificate: core.waits_for_certificate(proxy),
            unmade: core.unmade(proxy),
        }
    }

    fn differs(&self, core: &Core, proxy: &Proxy) -> bool {
        let is_same = match (&self.snapshot, proxy.snapshot()) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        !is_same || !core.unmade(proxy).is_subset(&self.unmade)
    }
}

impl Trial {
    /// True once nobody is interested in it any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }

    /// Sends the change to those that try it. `core` has the state.
    ///
    /// # Errors
    /// Why it is over before it began.
    pub(super) fn begin(&mut self, core: &Core, journal: &Journal) -> Result<(), String> {
        let view = core.view();
        let newer = if Arc::ptr_eq(view, &self.base) { None } else { Some(self.candidate(view)?) };
        for canary in &*self.canaries {
            self.slots.extend(core.proxy(&canary.proxy).into_iter().flat_map(|proxy| proxy.slots.iter().cloned()));
            journal.happened(
                &Arc::new(canary.proxy.clone()),
                ProxyHappening::Trial(self.change.name.clone(), TrialStep::Begun),
            );
        }
        self.since = view.index();
        let healthy = self.canaries.iter().map(|canary| canary.proxy.clone());
        self.healthy = healthy.filter(|proxy| failing(view, proxy).is_none()).collect();
        let running =
            self.slots.iter().map(|slot| (slot.clone(), slot.begin_trial(self.change.name.clone()))).collect();
        if let Some(candidate) = newer {
            self.follow(candidate, view);
        }
        // What commits made they were sent already.
        self.publish(Span::arrival(self.since))?;
        self.state.send_replace(State::Running(running));
        Ok(())
    }

    /// True if a newer state differs in something that the change is about: the change may be made.
    pub(super) fn is_met_by(&self, view: &View) -> bool {
        let changed: BTreeSet<&Key> = view.changed_since(&self.base).collect();
        self.core.view().changed_since(&self.base).any(|key| changed.contains(key))
    }

    /// What the change makes of a state.
    ///
    /// # Errors
    /// Why the trial is over.
    pub(super) fn candidate(&self, view: &View) -> Result<Arc<View>, String> {
        // A defect in it ends the trial alone.
        let candidate = contained(|| (self.change.candidate)(view))?.map_err(|problems| problems.to_string())?;
        if candidate.changed_since(view).next().is_none() {
            return Err("somebody else made the change meanwhile".to_owned());
        }
        let ill = self.healthy.iter().find_map(|proxy| Some((proxy, failing(view, proxy)?)));
        if let Some((proxy, check)) = ill {
            return Err(format!("{proxy} has it, and its check {check:?} has become critical: look at that proxy"));
        }
        Ok(Arc::new(candidate))
    }

    /// Sends what the change makes of a newer state.
    ///
    /// # Errors
    /// Why the trial is over.
    pub(super) fn advance(&mut self, candidate: Arc<View>, view: &Arc<View>) -> Result<(), String> {
        let span = self.follow(candidate, view);
        self.publish(span)
    }

    /// Makes the configurations for a newer state. Returns the commits that made it.
    fn follow(&mut self, candidate: Arc<View>, view: &Arc<View>) -> Span {
        let older = self.core.view().clone();
        let base = std::mem::replace(&mut self.base, view.clone());
        // What commits changed and what the change does can bear one number in both.
        let changed: BTreeSet<&Key> = candidate.changed_since(&older).chain(view.changed_since(&base)).collect();
        let changed: Vec<_> = changed.into_iter().collect();
        let span = Span { after: base.index(), until: view.index() };
        self.core.advance_by(candidate.clone(), &changed, span);
        span
    }

    fn publish(&self, span: Span) -> Result<(), String> {
        for canary in &*self.canaries {
            let Some(proxy) = self.core.proxy(&canary.proxy) else { continue };
            let known = self.known.get(&canary.proxy);
            let unmade = self.core.unmade(proxy);
            if let Some(new) = unmade.iter().find(|problem| known.is_none_or(|known| !known.contains(*problem))) {
                return Err(format!("a part of {canary} cannot be made: {new}"));
            }
        }
        for slot in &self.slots {
            if let Some(snapshot) = self.core.proxy(&slot.instance).and_then(Proxy::snapshot) {
                slot.publish_trial(snapshot, span);
            }
        }
        Ok(())
    }

    /// What is pushed reaches those that tried from now on.
    pub(super) fn release(&self) {
        self.slots.iter().for_each(|slot| slot.end_trial());
    }

    /// Gives those that tried what the state is, unless a push has done so, and says why it is over.
    pub(super) fn end(self, core: &Core, why: String) {
        let span = Span { after: self.since, until: core.view().index() };
        for slot in &self.slots {
            if let Some(snapshot) = core.proxy(&slot.instance).and_then(Proxy::snapshot) {
                slot.give_back(snapshot, span);
            }
        }
        self.state.send_replace(State::Over(why));
    }
}

/// A check of a proxy, or of its node, that is critical.
fn failing(view: &View, proxy: &InstanceId) -> Option<String> {
    let node = NodeKey::new(&proxy.place, &proxy.node);
    let of_node = view.checks_on(&node).filter(|row| row.value.service_id.as_str().is_empty());
    let mut checks = view.checks_of(proxy).chain(of_node);
    let failing = checks.find(|row| row.value.status == CheckStatus::Critical);
    failing.map(|row| row.value.check_id.to_string())
}

impl Trying {
    /// Those that try it.
    pub fn canaries(&self) -> &[Canary] {
        &self.canaries
    }

    /// Waits until each of them has acknowledged all of it, for which it has so much time, also to come back if it loses its
    /// stream; and so much longer, in which none may refuse it or stay away.
    ///
    /// # Errors
    /// Why it should not be made.
    pub async fn verdict(&mut self, patience: Duration, lasting: Duration) -> Result<(), Halt> {
        let verdict = self.watched(patience, lasting).await;
        if let Err(halt) = &verdict {
            self.step = TrialStep::Halted(halt.to_string());
        }
        verdict
    }

    /// It became the state with this commit, or why it did not.
    pub fn over(mut self, made: Result<Index, String>) {
        self.step = made.map_or_else(TrialStep::Halted, TrialStep::Made);
    }

    async fn watched(&mut self, patience: Duration, lasting: Duration) -> Result<(), Halt> {
        let end = Instant::now() + LONGEST;
        let (mut since, mut taken): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            let shared = self.shared.clone();
            let progressed = shared.progress.notified();
            let now = Instant::now();
            let next = match self.look()? {
                None => {
                    since = None;
                    let until = *taken.get_or_insert(now) + lasting;
                    if until <= now {
                        return Ok(());
                    }
                    until
                }
                Some((canary, reason)) => {
                    let until = *since.get_or_insert(now) + patience;
                    if until <= now {
                        return Err(Halt::Late { canary: Box::new(canary), reason, patience });
                    }
                    until
                }
            };
            if end <= now {
                return Err(Halt::Ended(format!("it took longer than {} s", LONGEST.as_secs())));
            }
            tokio::select! {
                () = progressed => {}
                changed = self.state.changed() => {
                    if changed.is_err() && !matches!(*self.state.borrow(), State::Over(_)) {
                        return Err(Halt::Ended(TrialError::NoEngine.to_string()));
                    }
                }
                () = sleep_until(next.min(end)) => {}
            }
        }
    }

    /// The first one that does not have all of it, and why.
    ///
    /// # Errors
    /// One refused it, or it is over.
    fn look(&self) -> Result<Option<(Canary, String)>, Halt> {
        let first = || self.canaries.first().cloned();
        let slots = match &*self.state.borrow() {
            State::Over(why) => return Err(Halt::Ended(why.clone())),
            State::Asked => return Ok(first().map(|canary| (canary, "it was not sent yet".to_owned()))),
            State::Running(slots) => slots.clone(),
        };
        let mut missing = None;
        for canary in &*self.canaries {
            let of_canary = slots.iter().filter(|(slot, _)| *slot.instance == canary.proxy);
            // One that is known by several names counts where it is connected.
            let stages = of_canary.filter_map(|(slot, since)| slot.stage_since(*since));
            let reason = match stages.max() {
                Some(Stage::Refused(reason)) => {
                    return Err(Halt::Refused { canary: Box::new(canary.clone()), reason });
                }
                Some(Stage::Live | Stage::Untouched) => continue,
                Some(Stage::Waiting(reason) | Stage::Unmade(reason)) => reason,
                None => "it has lost its connection and has not come back".to_owned(),
            };
            missing = missing.or_else(|| Some((canary.clone(), reason)));
        }
        Ok(missing)
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        self.given_up.cancel();
        self.shared.wake.notify_one();
        for canary in &*self.canaries {
            let what = ProxyHappening::Trial(self.change.clone(), self.step.clone());
            self.shared.journal.happened(&Arc::new(canary.proxy.clone()), what);
        }
    }
}
