//! The meeting point of one proxy's streams and the engine: the current snapshot, and what the streams told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::journal::{Place, ProxyKind, Types};
use super::reach::{Publication, Span, Stage, stage};
use crate::envoy::snapshot::{Feedback, Numbers, Open, Progress, Published, ResourceType, Snapshot, Unsettled};
use crate::model::InstanceId;
use crate::store::Index;

/// Most failures of a proxy that are told apart.
const MOST_UNMADE: usize = 4;

/// Most refused pushes of a proxy that are remembered.
const MOST_REFUSED: usize = 4;

/// The meeting point.
///
/// Whoever takes both locks takes `current` first.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) instance: Arc<InstanceId>,
    /// What is published is for a gateway.
    is_gateway: AtomicBool,
    current: Mutex<Current>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Current {
    snapshot: Option<Arc<Snapshot>>,
    /// The last snapshots that were published, the oldest first.
    publications: VecDeque<Publication>,
    /// The number of the last one.
    last: u64,
    /// Shared, so that they can be woken after the lock.
    readers: Arc<[Arc<Reader>]>,
    /// When the last reader left.
    unwatched_since: Option<Instant>,
    /// The commit that the snapshot was made for.
    index: Index,
    /// The same of the last snapshot that the proxy had as a whole; 0 since it connected.
    acked: Index,
    /// Since when it has not had what it should have.
    behind_since: Option<Instant>,
    /// The push that brought the snapshot, until the proxy has answered it, and the snapshots that have something of it or
    /// of earlier ones that it has not answered either.
    awaited: Option<(Numbers, Place)>,
    /// Pushes of which the proxy refused a part and has taken all else; the oldest first.
    refused: VecDeque<Place>,
    /// The change that the proxy tries: what is pushed is held back while it does.
    trial: Option<Arc<str>>,
    /// The number of the last snapshot that it was only to try.
    tried: u64,
    /// The commits of which something is held back.
    held: Option<Span>,
}

/// What a proxy has not taken yet.
#[derive(Debug)]
pub(super) enum Awaited {
    /// What commits made.
    Pushed {
        /// The push, if it is one that is remembered.
        place: Option<Place>,
        /// The commit that the proxy should be as new as.
        index: Index,
    },
    /// A change that it tries in the state of this commit, or tried before it was given back what it had.
    Tried(Index),
}

/// What became of a snapshot that was published.
#[derive(Debug)]
pub(super) struct Handed {
    /// Somebody waits for it.
    pub(super) is_watched: bool,
    /// A push that the proxy had not taken yet.
    pub(super) earlier: Option<Place>,
}

/// What is wrong with a proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// All of it, each once. What could not be made comes first.
    pub(super) problems: Vec<String>,
    /// How many could not be made.
    pub(super) unmade: usize,
    /// Those of them that were tried, once more perhaps, and could not be made.
    pub(super) tried: Vec<String>,
}

/// What is new in what is wrong.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// What was not known before.
    pub(super) new: Vec<String>,
    /// Something that could not be made for commits after this one is made now, or not wanted any more.
    pub(super) mended_after: Option<Index>,
}

/// A stream that waits for snapshots.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// There is a snapshot that it has not seen.
    is_behind: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Told {
    /// The engine has looked for the proxy.
    is_known: bool,
    is_registered: bool,
    problems: Vec<String>,
    /// What could not be made and still is not, by the commits that asked for it; the oldest ones first.
    unmade: VecDeque<(Span, Vec<String>)>,
    streams: Vec<StreamTold>,
    /// How far the last stream came that ended.
    left: Option<Progress>,
    /// In the order of the types.
    types: [TypeReport; ResourceType::ALL.len()],
}

/// What an open stream told.
#[derive(Debug)]
struct StreamTold {
    number: u64,
    /// Envoy's version as it says it.
    version: String,
    /// How far it is.
    progress: Option<Progress>,
}

/// What is known about a proxy with a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyReport {
    /// The proxy.
    pub instance: InstanceId,
    /// It is in the catalog, so that it gets configuration.
    pub is_registered: bool,
    /// What keeps parts of it at an older state or empty.
    pub problems: Vec<String>,
    /// Open streams.
    pub streams: usize,
    /// Envoy's version as the newest stream says it; empty if it does not.
    pub envoy_version: String,
    /// The last commit that changed what it should have; 0 while nothing was made for it.
    pub index: Index,
    /// The last such commit whose outcome it has acknowledged as a whole since it connected; 0 for none.
    pub acked: Index,
    /// How long it has not had what it should have.
    pub behind: Option<Duration>,
    /// The change that it tries.
    pub trial: Option<Arc<str>>,
    /// What became of the responses of each type.
    pub types: BTreeMap<ResourceType, TypeReport>,
}

/// What became of the responses of one type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TypeReport {
    /// Resources that the proxy should have.
    pub resources: usize,
    /// The last response that the proxy answered was accepted.
    pub is_acked: bool,
    /// Accepted responses.
    pub acks: u64,
    /// Refused responses.
    pub nacks: u64,
    /// The last refusal.
    pub last_nack: Option<Box<NackReport>>,
}

/// A refused response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NackReport {
    /// Envoy's reason.
    pub message: String,
    /// Names of the resources in the response.
    pub resources: Vec<String>,
    /// When it came.
    pub at: OffsetDateTime,
    /// What was refused came with the commits after the first, until the second.
    pub commits: (Index, Index),
}

impl Slot {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self {
            instance: Arc::new(instance),
            is_gateway: AtomicBool::new(false),
            current: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The kind of proxy that what is published is for.
    pub(super) fn kind(&self) -> ProxyKind {
        if self.is_gateway.load(Ordering::Relaxed) { ProxyKind::MeshGateway } else { ProxyKind::ConnectProxy }
    }

    /// Said before what is published, so that a refusal of it comes later.
    pub(super) fn set_gateway(&self, is_gateway: bool) {
        self.is_gateway.store(is_gateway, Ordering::Relaxed);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Nothing that holds the lock can leave it half changed.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more stream, which has seen nothing yet.
    pub(super) fn subscribe(&self) -> Arc<Reader> {
        let mut current = self.current();
        let reader = Arc::new(Reader { is_behind: current.snapshot.is_some().into(), ..Reader::default() });
        current.readers = current.readers.iter().chain([&reader]).cloned().collect();
        current.unwatched_since = None;
        reader
    }

    pub(super) fn unsubscribe(&self, reader: &Arc<Reader>) {
        let mut current = self.current();
        current.readers = current.readers.iter().filter(|known| !Arc::ptr_eq(known, reader)).cloned().collect();
        if current.readers.is_empty() {
            current.unwatched_since = Some(Instant::now());
        }
    }

    /// Since when no stream waits for snapshots; `None` while one does.
    pub(super) fn unwatched_since(&self) -> Option<Instant> {
        self.current().unwatched_since
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.current().readers.is_empty()
    }

    /// What was last published.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current().snapshot.clone()
    }

    /// Publishes what commits of this span made of the proxy, as part of a push, if it is part of one.
    ///
    /// Held back while the proxy tries a change.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>, span: Span, place: Option<Place>) -> Handed {
        let mut current = self.current();
        let span = span.since(current.held.take().map(|held| held.after));
        if current.trial.is_some() {
            current.held = Some(span);
            return Handed { is_watched: false, earlier: None };
        }
        Self::put(current, snapshot, span, place)
    }

    /// Publishes after a trial what commits of this span and the held back ones made of the proxy, unless a push has done so.
    pub(super) fn give_back(&self, snapshot: &Arc<Snapshot>, span: Span) {
        if self.has(snapshot) {
            self.current().held = None;
        } else {
            self.publish(snapshot.clone(), span, None);
        }
    }

    /// Publishes what the proxy shall try. Commits of this span are in there as well. Nothing if it is that already.
    pub(super) fn publish_trial(&self, snapshot: &Arc<Snapshot>, span: Span) {
        if !self.has(snapshot) {
            let mut current = self.current();
            current.tried = current.last + 1;
            Self::put(current, snapshot.clone(), span, None);
        }
    }

    /// True if this was last published.
    pub(super) fn has(&self, snapshot: &Arc<Snapshot>) -> bool {
        self.current().snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot))
    }

    /// Begins to hold back what is pushed, for a trial of this change. Returns the number of the last snapshot before.
    pub(super) fn begin_trial(&self, change: Arc<str>) -> u64 {
        let mut current = self.current();
        current.trial = Some(change);
        current.last
    }

    /// What is pushed from now on is not held back any more.
    pub(super) fn end_trial(&self) {
        self.current().trial = None;
    }

    /// How far the proxy is with the snapshots after this number; `None` while it has no stream.
    pub(super) fn stage_since(&self, after: u64) -> Option<Stage> {
        let current = self.current();
        let told = self.told();
        let is_open = !current.readers.is_empty() && !told.streams.is_empty();
        is_open.then(|| told.stage(Numbers { after, until: current.last }))
    }

    fn put(mut current: MutexGuard<'_, Current>, snapshot: Arc<Snapshot>, span: Span, place: Option<Place>) -> Handed {
        current.last += 1;
        // To a proxy that had nothing everything is new, whichever commit made it.
        let span = if current.snapshot.is_some() { span } else { Span::up_to(span.until) };
        let publication = Publication::new(current.last, span);
        Publication::keep(&mut current.publications, publication);
        // What was there is dropped after the lock.
        let _older = current.snapshot.replace(snapshot);
        let is_watched = !current.readers.is_empty();
        current.index = span.until;
        current.behind_since.get_or_insert_with(Instant::now);
        let numbers = publication.numbers;
        let earlier = match (current.awaited, place.filter(|_| is_watched)) {
            (Some((since, earlier)), Some(place)) => {
                current.awaited = Some((since.and(numbers), place));
                Some(earlier)
            }
            (None, place) => {
                current.awaited = place.map(|place| (numbers, place));
                None
            }
            // When it comes back it takes this one with what it was sent before.
            (Some((since, earlier)), None) => {
                current.awaited = Some((since.and(numbers), earlier));
                None
            }
        };
        let readers = current.readers.clone();
        drop(current);
        // After the lock, which is the first thing that who wakes takes.
        for reader in &*readers {
            reader.is_behind.store(true, Ordering::Release);
            reader.waker.wake();
        }
        Handed { is_watched, earlier }
    }

    /// What the client of a stream has not taken yet.
    pub(super) fn awaited(&self, stream: u64) -> Awaited {
        let current = self.current();
        let told = self.told();
        let progress = told.streams.iter().find(|known| known.number == stream).and_then(|it| it.progress.as_ref());
        // What it answers after the trial can be an answer to what it was to try.
        if progress.map_or(current.trial.is_some(), |progress| progress.taken <= current.tried) {
            return Awaited::Tried(current.index);
        }
        Awaited::Pushed { place: current.awaited.map(|(_, place)| place), index: current.index }
    }

    /// A stream that opens has nothing until it says so.
    fn starts_anew(&self) {
        let mut current = self.current();
        current.acked = 0;
        if current.snapshot.is_some() {
            current.behind_since.get_or_insert_with(Instant::now);
        }
    }

    /// The snapshot, once there is one that the reader has not seen.
    pub(super) fn poll_newer(&self, reader: &Reader, context: &mut Context<'_>) -> Poll<Published> {
        if !reader.is_behind.swap(false, Ordering::Acquire) {
            reader.waker.register(context.waker());
            // One may have come in between.
            if !reader.is_behind.swap(false, Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        let current = self.current();
        let published = |snapshot: &Arc<Snapshot>| Published { number: current.last, snapshot: snapshot.clone() };
        current.snapshot.as_ref().map(published).map_or(Poll::Pending, Poll::Ready)
    }

    /// Replaces what is wrong, which is so since commits of this span.
    pub(super) fn set_problems(&self, is_registered: bool, faults: Faults, span: Span) -> Changed {
        let Faults { problems, unmade, tried } = faults;
        let mut told = self.told();
        let is_new = |problem: &&String| !told.problems.contains(problem);
        let new: Vec<_> = problems.iter().filter(is_new).cloned().collect();
        let unmade = problems.get(..unmade).unwrap_or_default();
        let failed: Vec<_> = unmade.iter().filter(|it| is_new(it) || tried.contains(it)).cloned().collect();
        let mended_after = told.keep_unmade(unmade, failed, is_registered, span);
        told.is_known = true;
        told.is_registered = is_registered;
        told.problems = problems;
        Changed { new, mended_after }
    }

    /// Takes note of what a stream told. A refusal is of what came with these commits.
    pub(super) fn note(&self, stream: u64, feedback: Feedback, commits: (Index, Index)) {
        if matches!(feedback, Feedback::Connected { .. }) {
            self.starts_anew();
        }
        let mut told = self.told();
        match feedback {
            Feedback::Connected { user_agent_version } => {
                if told.streams.is_empty() {
                    // What an earlier process took or refused says nothing about this one.
                    told.types = Default::default();
                }
                told.streams.push(StreamTold { number: stream, version: user_agent_version, progress: None });
            }
            Feedback::Acked { kind } => {
                let report = &mut told.types[kind as usize];
                report.is_acked = true;
                report.acks += 1;
            }
            Feedback::Nacked { kind, resources, message } => {
                let resources = resources.into_iter().map(|(name, _)| name.to_string()).collect();
                let report = &mut told.types[kind as usize];
                report.is_acked = false;
                report.nacks += 1;
                report.last_nack =
                    Some(Box::new(NackReport { message, resources, at: OffsetDateTime::now_utc(), commits }));
            }
        }
    }

    /// How far a stream is. Returns the pushes that its proxy has taken as a whole, if that is news, and the types of which it
    /// begins to hold something that is not taken away.
    pub(super) fn note_progress(&self, stream: u64, progress: Progress) -> (impl Iterator<Item = Place>, Types) {
        let mut current = self.current();
        let mut told = self.told();
        let mut held = Types::default();
        if let Some(known) = told.streams.iter_mut().find(|known| known.number == stream) {
            held = withheld(&progress).without(known.progress.as_ref().map(withheld).unwrap_or_default());
            known.progress = Some(progress);
        }
        let (mut live, mut refused) = (None, VecDeque::new());
        // A stream goes on from an older snapshot at once, and what counts is what all of them have.
        if let Some(open) = told.open_of(current.last) {
            // What it only tries can lack what was pushed before: that is known of the snapshot after the trial.
            let is_tried = current.tried == current.last;
            if let Some((numbers, place)) = current.awaited.filter(|_| !is_tried) {
                match open.clone().filter(|it| it.concerns(numbers)).map(|it| it.why).min() {
                    Some(Open::Waiting) => {}
                    Some(Open::Withheld | Open::Refused) => {
                        current.refused.push_back(place);
                        current.awaited = None;
                    }
                    None => live = current.awaited.take().map(|(_, place)| place),
                }
            }
            if open.clone().next().is_none() {
                current.acked = current.index;
                current.behind_since = None;
                if !is_tried {
                    refused = std::mem::take(&mut current.refused);
                }
            } else if current.refused.len() > MOST_REFUSED {
                current.refused.pop_front();
            }
        }
        (refused.into_iter().chain(live), held)
    }

    /// The stream ended. Returns how many are left.
    pub(super) fn forget(&self, stream: u64) -> usize {
        let mut told = self.told();
        let ended: Vec<_> = told.streams.extract_if(.., |known| known.number == stream).collect();
        if let Some(ended) = ended.into_iter().next() {
            told.left = ended.progress;
        }
        told.streams.len()
    }

    /// The commits of which something could not be made that still cannot be; nothing for a proxy without a stream, and
    /// where it is not known which commits it was.
    pub(super) fn unmade(&self) -> Vec<Span> {
        let told = self.told();
        if told.streams.is_empty() {
            return Vec::new();
        }
        told.unmade.iter().map(|(span, _)| *span).filter(|span| span.after > 0).collect()
    }

    /// How far a commit got, which the engine has seen.
    pub(super) fn stage(&self, index: Index) -> Stage {
        let current = self.current();
        let numbers = Publication::of(&current.publications, index);
        let (is_published, is_watched) = (current.snapshot.is_some(), !current.readers.is_empty());
        let is_held = current.held.is_some_and(|held| held.contains(index));
        let told = self.told();
        if !told.is_known {
            return Stage::Waiting("it has just connected".to_owned());
        }
        if let Some((_, problems)) = told.unmade.iter().find(|(span, _)| span.contains(index)) {
            return Stage::Unmade(problems.join("; "));
        }
        let Some(numbers) = numbers else {
            if is_held {
                return Stage::Waiting("it tries a change that leaves this out, and is sent it after that".to_owned());
            }
            let is_early = told.is_registered && !is_published;
            let why = "it has no configuration yet: its certificate is being made";
            return if is_early { Stage::Waiting(why.to_owned()) } else { Stage::Untouched };
        };
        if is_watched && told.streams.is_empty() {
            return Stage::Waiting("it has just connected".to_owned());
        }
        if told.streams.is_empty() {
            let last = stage(numbers, told.left.as_ref(), |kind| told.refusal(kind));
            let is_lost = matches!(last, Stage::Waiting(_));
            let why = "it lost its connection before it acknowledged";
            return if is_lost { Stage::Waiting(why.to_owned()) } else { last };
        }
        told.stage(numbers)
    }

    pub(super) fn report(&self) -> ProxyReport {
        let (snapshot, index, acked, behind, trial) = {
            let current = self.current();
            let behind = current.behind_since.map(|since| since.elapsed());
            (current.snapshot.clone(), current.index, current.acked, behind, current.trial.clone())
        };
        let told = self.told();
        let of_type = |kind: ResourceType| {
            let mut report = told.types[kind as usize].clone();
            report.resources = snapshot.as_ref().map_or(0, |snapshot| snapshot.get(kind).len());
            (kind, report)
        };
        ProxyReport {
            instance: (*self.instance).clone(),
            index,
            acked,
            behind,
            trial,
            is_registered: told.is_registered,
            problems: told.problems.clone(),
            streams: told.streams.len(),
            envoy_version: told.streams.last().map(|stream| stream.version.clone()).unwrap_or_default(),
            types: ResourceType::ALL.into_iter().map(of_type).collect(),
        }
    }
}

/// The types of which a client holds something that is not taken away.
fn withheld(progress: &Progress) -> Types {
    let of = progress.unsettled.iter().filter(|it| it.why == Open::Withheld);
    Types::of(of.map(|it| it.kind))
}

impl Told {
    /// Envoy's last reason to refuse something of a type.
    fn refusal(&self, kind: ResourceType) -> Option<&str> {
        self.types[kind as usize].last_nack.as_ref().map(|nack| &*nack.message)
    }

    /// How far the open stream is that has least of the snapshots with these numbers.
    fn stage(&self, numbers: Numbers) -> Stage {
        let streams = self.streams.iter().map(|stream| stream.progress.as_ref());
        streams.map(|progress| stage(numbers, progress, |kind| self.refusal(kind))).max().unwrap_or(Stage::Live)
    }

    /// What the proxy does not hold as it should of the snapshot with this number; `None` until all of its streams have
    /// answered that one.
    fn open_of(&self, number: u64) -> Option<impl Iterator<Item = &Unsettled> + Clone> {
        let has_it = |of: &StreamTold| of.progress.as_ref().is_some_and(|progress| progress.taken == number);
        let all = self.streams.iter().all(has_it);
        all.then(|| self.streams.iter().filter_map(|of| of.progress.as_ref()).flat_map(|it| &it.unsettled))
    }

    /// Keeps what `failed` for commits of this span, and of what did before what is still among the `unmade`. Returns the
    /// commit after which something failed that does not any more.
    fn keep_unmade(
        &mut self,
        unmade: &[String],
        failed: Vec<String>,
        is_registered: bool,
        span: Span,
    ) -> Option<Index> {
        let mut mended_after: Option<Index> = None;
        self.unmade.retain_mut(|(span, problems)| {
            let before = problems.len();
            problems.retain(|problem| unmade.contains(problem));
            if problems.len() < before {
                mended_after = Some(mended_after.map_or(span.after, |known| known.min(span.after)));
            }
            !problems.is_empty()
        });
        // That a proxy is not registered when it comes is no failure of a commit.
        if failed.is_empty() || !(self.is_known || is_registered) {
            return mended_after;
        }
        // Which commits asked for what failed before anybody looked is not known. And what failed before may have failed
        // again for another reason.
        let span = if self.is_known { span.since(mended_after) } else { Span::up_to(span.until) };
        self.unmade.push_back((span, failed));
        if self.unmade.len() > MOST_UNMADE
            && let Some((oldest, problems)) = self.unmade.pop_front()
            && let Some((next, known)) = self.unmade.front_mut()
        {
            *next = next.since(Some(oldest.after));
            known.extend(problems.into_iter().filter(|problem| !known.contains(problem)).collect::<Vec<_>>());
        }
        mended_after
    }
}
