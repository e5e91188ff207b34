//! The meeting point of one proxy's streams and the engine: the current snapshot, and what the streams told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::envoy::snapshot::{Feedback, ResourceType, Snapshot};
use crate::model::InstanceId;

/// The meeting point.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) instance: InstanceId,
    current: watch::Sender<Option<Arc<Snapshot>>>,
    is_fresh: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    streams: BTreeMap<u64, StreamReport>,
    problems: Vec<String>,
    is_registered: bool,
}

/// What is known about a proxy with a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProxyReport {
    /// The proxy.
    #[serde(serialize_with = "as_text")]
    pub instance: InstanceId,
    /// It is in the catalog, so that it gets configuration.
    pub is_registered: bool,
    /// How many resources it should have, by type.
    pub resources: BTreeMap<String, usize>,
    /// What keeps parts of it at an older state or empty.
    pub problems: Vec<String>,
    /// Its streams, by number.
    pub streams: BTreeMap<u64, StreamReport>,
}

/// What one stream told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Envoy's version as it says it; empty if it does not.
    pub user_agent_version: String,
    /// When it opened, in seconds since 1970.
    pub connected_since: u64,
    /// When it last took a response, by type, in milliseconds since 1970.
    pub acked: BTreeMap<String, u64>,
    /// The last refusal of each type that was not followed by an ACK.
    pub nacked: BTreeMap<String, Nack>,
}

/// A refused response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nack {
    /// Envoy's reason.
    pub message: String,
    /// Names of the resources in the response.
    pub resources: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

fn as_text<S: serde::Serializer>(value: &InstanceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn millis_since_1970() -> u64 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Slot {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self { instance, current: watch::channel(None).0, is_fresh: AtomicBool::new(true), told: Mutex::default() }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Nothing that holds the lock can leave it half changed.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> WatchStream<Option<Arc<Snapshot>>> {
        WatchStream::new(self.current.subscribe())
    }

    pub(super) fn is_watched(&self) -> bool {
        self.current.receiver_count() > 0
    }

    /// True the first time that somebody asks.
    pub(super) fn take_fresh(&self) -> bool {
        self.is_fresh.swap(false, Ordering::Relaxed)
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.current.send_replace(Some(Arc::new(snapshot)));
    }

    /// Replaces what is wrong; returns what was not known before.
    pub(super) fn set_problems(&self, is_registered: bool, problems: Vec<String>) -> Vec<String> {
        let mut told = self.told();
        let new = problems.iter().filter(|problem| !told.problems.contains(problem)).cloned().collect();
        told.is_registered = is_registered;
        told.problems = problems;
        new
    }

    pub(super) fn note(&self, stream: u64, feedback: Feedback) {
        let mut told = self.told();
        let now = millis_since_1970();
        match feedback {
            Feedback::Connected { user_agent_version } => {
                let report = StreamReport {
                    user_agent_version,
                    connected_since: now / 1_000,
                    acked: BTreeMap::new(),
                    nacked: BTreeMap::new(),
                };
                told.streams.insert(stream, report);
            }
            Feedback::Acked { kind } => {
                if let Some(report) = told.streams.get_mut(&stream) {
                    report.acked.insert(kind.to_string(), now);
                    report.nacked.remove(kind.short_name());
                }
            }
            Feedback::Nacked { kind, resources, message } => {
                let resources = resources.into_iter().map(|(name, _)| name.to_string()).collect();
                if let Some(report) = told.streams.get_mut(&stream) {
                    report.nacked.insert(kind.to_string(), Nack { message, resources, at: now });
                }
            }
            Feedback::Disconnected => {
                told.streams.remove(&stream);
            }
        }
    }

    pub(super) fn report(&self) -> ProxyReport {
        let snapshot = self.current.borrow().clone();
        let count = |kind: ResourceType| {
            let count = snapshot.as_ref().map_or(0, |snapshot| snapshot.get(kind).len());
            (kind.to_string(), count)
        };
        let told = self.told();
        ProxyReport {
            instance: self.instance.clone(),
            is_registered: told.is_registered,
            resources: ResourceType::ALL.into_iter().map(count).collect(),
            problems: told.problems.clone(),
            streams: told.streams.clone(),
        }
    }
}
