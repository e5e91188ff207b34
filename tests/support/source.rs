//! Snapshots that a test publishes, and the reports that come back.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use meshgate::envoy::snapshot::{
    Feedback, NodeIdentity, Progress, Published as Numbered, Resource, ResourceType, Snapshot, SnapshotSource, Watch,
};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::ads::within;

type Published = HashMap<String, watch::Sender<Option<Numbered>>>;
/// Proxy, stream, and what the stream told; nothing when it ended.
type Reports = Vec<(Arc<str>, u64, Option<Feedback>)>;

/// One snapshot per node id.
#[derive(Default)]
pub(crate) struct Source {
    published: Mutex<Published>,
    /// The proxies whose streams said that they have everything, each time.
    in_sync: watch::Sender<Vec<Arc<str>>>,
    reports: watch::Sender<Reports>,
}

impl Source {
    fn of(&self, id: &str) -> watch::Sender<Option<Numbered>> {
        self.published.lock().expect("no test panics while it holds this").entry(id.to_owned()).or_default().clone()
    }

    pub(crate) fn publish(&self, id: &str, snapshot: Snapshot) {
        self.of(id).send_modify(|published| {
            let number = published.as_ref().map_or(0, |it| it.number) + 1;
            *published = Some(Numbered { number, snapshot: Arc::new(snapshot) });
        });
    }

    /// Waits until exactly this was reported about a proxy.
    pub(crate) async fn expect(&self, id: &str, expected: &[Feedback]) {
        let matches = |reports: &Reports| {
            let mut reported =
                reports.iter().filter(|(node, ..)| **node == *id).map(|(_, _, feedback)| feedback.as_ref());
            expected.iter().all(|feedback| reported.next() == Some(Some(feedback))) && reported.next().is_none()
        };
        let mut reports = self.reports.subscribe();
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), reports.wait_for(matches)).await;
        assert!(waited.is_ok(), "{:#?}", self.reports.borrow());
    }

    /// Waits until a proxy has said so many times that it has everything.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub(crate) async fn expect_in_sync(&self, id: &str, times: usize) {
        let said = |all: &Vec<Arc<str>>| all.iter().filter(|node| ***node == *id).count() == times;
        within(self.in_sync.subscribe().wait_for(said)).await.expect("the source lives");
    }

    /// How many times a proxy has said that it has everything.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub(crate) fn in_sync(&self, id: &str) -> usize {
        self.in_sync.borrow().iter().filter(|node| ***node == *id).count()
    }

    /// Waits until a stream of the proxy has ended.
    pub(crate) async fn expect_end(&self, id: &str) {
        let is_end = |reports: &Reports| reports.iter().any(|(node, _, feedback)| **node == *id && feedback.is_none());
        within(self.reports.subscribe().wait_for(is_end)).await.expect("the source lives");
    }

    /// What Envoys refused since this was last called.
    pub(crate) fn take_refusals(&self) -> Vec<String> {
        let mut refusals = Vec::new();
        self.reports.send_modify(|reports| {
            for (_, _, feedback) in reports.drain(..) {
                if let Some(Feedback::Nacked { kind, message, .. }) = feedback {
                    refusals.push(format!("{kind}: {message}"));
                }
            }
        });
        refusals
    }

    /// How many streams the proxy has had.
    pub(crate) fn streams(&self, id: &str) -> usize {
        let reports = self.reports.borrow();
        reports.iter().filter(|(node, ..)| **node == *id).map(|(_, stream, _)| stream).collect::<BTreeSet<_>>().len()
    }
}

impl SnapshotSource for Source {
    fn watch(&self, node: &NodeIdentity, stream: u64) -> Box<dyn Watch> {
        let sender = self.of(&node.id);
        let snapshots = WatchStream::new(sender.subscribe()).filter_map(std::future::ready).boxed();
        let (reports, in_sync) = (self.reports.clone(), self.in_sync.clone());
        Box::new(Watched { snapshots, _sender: sender, reports, in_sync, node: node.id.clone(), stream })
    }
}

/// What one stream gets and tells.
struct Watched {
    snapshots: BoxStream<'static, Numbered>,
    /// It lives as long as the stream, which therefore never ends by itself.
    _sender: watch::Sender<Option<Numbered>>,
    reports: watch::Sender<Reports>,
    in_sync: watch::Sender<Vec<Arc<str>>>,
    node: Arc<str>,
    stream: u64,
}

impl Watched {
    fn tell(&self, feedback: Option<Feedback>) {
        self.reports.send_modify(|reports| reports.push((self.node.clone(), self.stream, feedback)));
    }
}

impl Stream for Watched {
    type Item = Numbered;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.snapshots.poll_next_unpin(context)
    }
}

impl Watch for Watched {
    fn progress(&mut self, progress: Progress) {
        if progress.unsettled.is_empty() {
            self.in_sync.send_modify(|all| all.push(self.node.clone()));
        }
    }

    fn report(&mut self, feedback: Feedback) {
        self.tell(Some(feedback));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tell(None);
    }
}

pub(crate) fn resource(name: &str, body: &str) -> Arc<Resource> {
    Arc::new(Resource::new(name, Bytes::copy_from_slice(body.as_bytes()), []))
}

/// Clusters of these names and contents.
pub(crate) fn snapshot(clusters: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, body) in clusters {
        snapshot.insert(ResourceType::Cluster, resource(name, body));
    }
    snapshot
}
