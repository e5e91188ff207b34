//! The meeting point of one proxy's streams and the engine: the current snapshot, and what the streams told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::reach::{Publication, Span, Stage, stage};
use crate::envoy::snapshot::{Feedback, Progress, ResourceType, Snapshot};
use crate::model::InstanceId;
use crate::store::Index;

/// The meeting point.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) instance: InstanceId,
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
    readers: Vec<Arc<Reader>>,
    /// When the last reader left.
    unwatched_since: Option<Instant>,
}

/// A stream that waits for snapshots.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// There is a snapshot that it has not seen.
    is_behind: AtomicBool,
    /// The number of the snapshot that it took last.
    taken: AtomicU64,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Told {
    /// The engine has looked for the proxy.
    is_known: bool,
    is_registered: bool,
    problems: Vec<String>,
    /// What could not be made when it last was something else, and which commits made it so.
    unmade: Option<(Span, Vec<String>)>,
    streams: Vec<StreamTold>,
    /// How far the last stream came that ended.
    left: Option<(u64, Progress)>,
    /// In the order of the types.
    types: [TypeReport; ResourceType::ALL.len()],
}

/// What an open stream told.
#[derive(Debug)]
struct StreamTold {
    number: u64,
    /// Envoy's version as it says it.
    version: String,
    /// How far it is, and with which snapshot.
    progress: Option<(u64, Progress)>,
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
}

impl Slot {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self { instance, current: Mutex::default(), told: Mutex::default() }
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
        current.readers.push(reader.clone());
        current.unwatched_since = None;
        reader
    }

    pub(super) fn unsubscribe(&self, reader: &Arc<Reader>) {
        let mut current = self.current();
        current.readers.retain(|known| !Arc::ptr_eq(known, reader));
        if current.readers.is_empty() {
            current.readers = Vec::new();
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

    /// Publishes what commits of this span made of the proxy.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>, span: Span) {
        // Only the engine publishes, so that nothing changes while the two are compared without the lock.
        let (number, older) = {
            let current = self.current();
            (current.last + 1, current.snapshot.clone())
        };
        let publication = Publication::new(number, span, older.as_deref(), &snapshot);
        let mut current = self.current();
        current.last = number;
        Publication::keep(&mut current.publications, publication);
        // What was there is dropped after the lock.
        let _older = current.snapshot.replace(snapshot);
        for reader in &current.readers {
            reader.is_behind.store(true, Ordering::Release);
            reader.waker.wake();
        }
    }

    /// The snapshot, once there is one that the reader has not seen.
    pub(super) fn poll_newer(&self, reader: &Reader, context: &mut Context<'_>) -> Poll<Arc<Snapshot>> {
        if !reader.is_behind.swap(false, Ordering::Acquire) {
            reader.waker.register(context.waker());
            // One may have come in between.
            if !reader.is_behind.swap(false, Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        let current = self.current();
        reader.taken.store(current.last, Ordering::Release);
        current.snapshot.clone().map_or(Poll::Pending, Poll::Ready)
    }

    /// Replaces what is wrong, the first `faults` of which are parts that could not be made; returns what was not known
    /// before.
    pub(super) fn set_problems(
        &self,
        is_registered: bool,
        (problems, faults): (Vec<String>, usize),
        span: Span,
    ) -> Vec<String> {
        let mut told = self.told();
        let is_new = |problem: &&String| !told.problems.contains(problem);
        let unmade: Vec<_> = problems.iter().take(faults).filter(is_new).cloned().collect();
        let new = problems.iter().filter(is_new).cloned().collect();
        // What was wrong before anybody looked is nobody's change.
        if told.is_known && !unmade.is_empty() {
            told.unmade = Some((span, unmade));
        }
        told.is_known = true;
        told.is_registered = is_registered;
        told.problems = problems;
        new
    }

    pub(super) fn note(&self, stream: u64, feedback: Feedback) {
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
                report.last_nack = Some(Box::new(NackReport { message, resources, at: OffsetDateTime::now_utc() }));
            }
        }
    }

    /// How far the stream is with what its reader took last.
    pub(super) fn note_progress(&self, stream: u64, reader: &Reader, progress: Progress) {
        let taken = reader.taken.load(Ordering::Acquire);
        let mut told = self.told();
        if let Some(known) = told.streams.iter_mut().find(|known| known.number == stream) {
            known.progress = Some((taken, progress));
        }
    }

    /// The stream ended.
    pub(super) fn forget(&self, stream: u64) {
        let mut told = self.told();
        let ended: Vec<_> = told.streams.extract_if(.., |known| known.number == stream).collect();
        if let Some(progress) = ended.into_iter().find_map(|ended| ended.progress) {
            told.left = Some(progress);
        }
    }

    /// How far a commit got, which the engine has seen.
    pub(super) fn stage(&self, index: Index) -> Stage {
        let current = self.current();
        let publication = current.publications.iter().find(|it| it.span.contains(index));
        let (is_published, is_watched) = (current.snapshot.is_some(), !current.readers.is_empty());
        let told = self.told();
        if !told.is_known {
            return Stage::Waiting("it has just connected".to_owned());
        }
        if let Some((span, problems)) = &told.unmade
            && span.contains(index)
        {
            return Stage::Unmade(problems.join("; "));
        }
        let Some(publication) = publication else {
            let is_early = told.is_registered && !is_published;
            let why = "it has no configuration yet: its certificate is being made";
            return if is_early { Stage::Waiting(why.to_owned()) } else { Stage::Untouched };
        };
        let refusal = |kind: ResourceType| told.types[kind as usize].last_nack.as_ref().map(|nack| &*nack.message);
        let streams = told.streams.iter().map(|stream| stream.progress.as_ref());
        if is_watched && told.streams.is_empty() {
            return Stage::Waiting("it has just connected".to_owned());
        }
        if told.streams.is_empty() {
            let last = stage(publication, told.left.as_ref(), refusal);
            let is_lost = matches!(last, Stage::Waiting(_));
            let why = "it lost its connection before it acknowledged";
            return if is_lost { Stage::Waiting(why.to_owned()) } else { last };
        }
        streams.map(|progress| stage(publication, progress, refusal)).max().unwrap_or(Stage::Live)
    }

    pub(super) fn report(&self) -> ProxyReport {
        let snapshot = self.current().snapshot.clone();
        let told = self.told();
        let of_type = |kind: ResourceType| {
            let mut report = told.types[kind as usize].clone();
            report.resources = snapshot.as_ref().map_or(0, |snapshot| snapshot.get(kind).len());
            (kind, report)
        };
        ProxyReport {
            instance: self.instance.clone(),
            is_registered: told.is_registered,
            problems: told.problems.clone(),
            streams: told.streams.len(),
            envoy_version: told.streams.last().map(|stream| stream.version.clone()).unwrap_or_default(),
            types: ResourceType::ALL.into_iter().map(of_type).collect(),
        }
    }
}
