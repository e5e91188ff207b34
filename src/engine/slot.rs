//! The meeting point of one proxy's streams and the engine: the current snapshot, and what the streams told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::journal::Place;
use crate::envoy::snapshot::{Feedback, ResourceType, Snapshot};
use crate::model::InstanceId;
use crate::store::Index;

/// The meeting point.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) instance: Arc<InstanceId>,
    current: Mutex<Current>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Current {
    snapshot: Option<Arc<Snapshot>>,
    readers: Vec<Arc<Reader>>,
    /// When the last reader left.
    unwatched_since: Option<Instant>,
    /// The commit that the snapshot was made for.
    index: Index,
    /// The same of the last snapshot that the proxy had as a whole; 0 since it connected.
    acked: Index,
    /// Since when it has not had what it should have.
    behind_since: Option<Instant>,
    /// The push that brought the snapshot, until the proxy has it.
    place: Option<Place>,
}

/// What became of a snapshot that was published.
#[derive(Debug)]
pub(super) struct Published {
    /// Somebody waits for it.
    pub(super) is_watched: bool,
    /// A push that the proxy had not taken yet.
    pub(super) earlier: Option<Place>,
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
    is_registered: bool,
    problems: Vec<String>,
    /// The numbers of the streams, and Envoy's version as each says it.
    streams: Vec<(u64, String)>,
    /// In the order of the types.
    types: [TypeReport; ResourceType::ALL.len()],
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
        Self { instance: Arc::new(instance), current: Mutex::default(), told: Mutex::default() }
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

    /// What was last published.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current().snapshot.clone()
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.current().readers.is_empty()
    }

    /// Hands a snapshot to the streams, made for a commit and part of a push, if it is part of one.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>, index: Index, place: Option<Place>) -> Published {
        let mut current = self.current();
        // What was there is dropped after the lock.
        let _older = current.snapshot.replace(snapshot);
        let is_watched = !current.readers.is_empty();
        current.index = index;
        current.behind_since.get_or_insert_with(Instant::now);
        let earlier = std::mem::replace(&mut current.place, place.filter(|_| is_watched));
        for reader in &current.readers {
            reader.is_behind.store(true, Ordering::Release);
            reader.waker.wake();
        }
        Published { is_watched, earlier }
    }

    /// A stream's client has all of a snapshot. Returns the push that brought it, if that is news.
    pub(super) fn in_sync(&self, snapshot: &Arc<Snapshot>) -> Option<Place> {
        let mut current = self.current();
        // Of an older one nothing is noted: the stream goes on to the newer one at once.
        if !current.snapshot.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, snapshot)) {
            return None;
        }
        current.acked = current.index;
        current.behind_since = None;
        current.place.take()
    }

    /// The push that the proxy has not taken yet, and the commit that it should be as new as.
    pub(super) fn awaited(&self) -> (Option<Place>, Index) {
        let current = self.current();
        (current.place, current.index)
    }

    /// A first stream has nothing until it says so.
    fn starts_anew(&self) {
        let mut current = self.current();
        current.acked = 0;
        if current.snapshot.is_some() {
            current.behind_since.get_or_insert_with(Instant::now);
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
        self.current().snapshot.clone().map_or(Poll::Pending, Poll::Ready)
    }

    /// Replaces what is wrong; returns what was not known before.
    pub(super) fn set_problems(&self, is_registered: bool, problems: Vec<String>) -> Vec<String> {
        let mut told = self.told();
        let new = problems.iter().filter(|problem| !told.problems.contains(problem)).cloned().collect();
        told.is_registered = is_registered;
        told.problems = problems;
        new
    }

    pub(super) fn note(&self, stream: u64, feedback: Feedback, commits: (Index, Index)) {
        let mut told = self.told();
        match feedback {
            Feedback::Connected { user_agent_version } => {
                if told.streams.is_empty() {
                    self.starts_anew();
                    // What an earlier process took or refused says nothing about this one.
                    told.types = Default::default();
                }
                told.streams.push((stream, user_agent_version));
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

    /// The stream ended. Returns how many are left.
    pub(super) fn forget(&self, stream: u64) -> usize {
        let mut told = self.told();
        told.streams.retain(|(number, _)| *number != stream);
        told.streams.len()
    }

    pub(super) fn report(&self) -> ProxyReport {
        let (snapshot, index, acked, behind) = {
            let current = self.current();
            let behind = current.behind_since.map(|since| since.elapsed());
            (current.snapshot.clone(), current.index, current.acked, behind)
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
            is_registered: told.is_registered,
            problems: told.problems.clone(),
            streams: told.streams.len(),
            envoy_version: told.streams.last().map(|(_, version)| version.clone()).unwrap_or_default(),
            types: ResourceType::ALL.into_iter().map(of_type).collect(),
        }
    }
}
