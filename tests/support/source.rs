//! Snapshots that a test publishes, and the reports that come back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use meshgate::envoy::snapshot::{Feedback, NodeIdentity, Resource, ResourceType, Snapshot, SnapshotSource};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::ads::within;

type Published = HashMap<String, watch::Sender<Option<Arc<Snapshot>>>>;
type Reports = Vec<(Arc<str>, u64, Feedback)>;

/// One snapshot per node id.
#[derive(Default)]
pub(crate) struct Source {
    published: Mutex<Published>,
    reports: watch::Sender<Reports>,
}

impl Source {
    fn of(&self, id: &str) -> watch::Sender<Option<Arc<Snapshot>>> {
        self.published.lock().expect("no test panics while it holds this").entry(id.to_owned()).or_default().clone()
    }

    pub(crate) fn publish(&self, id: &str, snapshot: Snapshot) {
        self.of(id).send_replace(Some(Arc::new(snapshot)));
    }

    /// Waits until exactly this was reported about a proxy.
    pub(crate) async fn expect(&self, id: &str, expected: &[Feedback]) {
        let matches = |reports: &Reports| {
            let mut reported = reports.iter().filter(|(node, ..)| **node == *id).map(|(_, _, feedback)| feedback);
            expected.iter().all(|feedback| reported.next() == Some(feedback)) && reported.next().is_none()
        };
        let mut reports = self.reports.subscribe();
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), reports.wait_for(matches)).await;
        assert!(waited.is_ok(), "{:#?}", self.reports.borrow());
    }

    /// Waits until a stream of the proxy has ended.
    pub(crate) async fn expect_end(&self, id: &str) {
        let is_end = |reports: &Reports| {
            reports.iter().any(|(node, _, feedback)| **node == *id && *feedback == Feedback::Disconnected)
        };
        within(self.reports.subscribe().wait_for(is_end)).await.expect("the source lives");
    }

    /// What Envoys refused since this was last called.
    pub(crate) fn take_refusals(&self) -> Vec<String> {
        let mut refusals = Vec::new();
        self.reports.send_modify(|reports| {
            for (_, _, feedback) in reports.drain(..) {
                if let Feedback::Nacked { kind, message, .. } = feedback {
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
    fn watch(&self, node: &NodeIdentity) -> BoxStream<'static, Arc<Snapshot>> {
        let sender = self.of(&node.id);
        // The sender lives as long as the stream, which therefore never ends by itself.
        let snapshots = WatchStream::new(sender.subscribe()).filter_map(std::future::ready);
        snapshots
            .map(move |snapshot| {
                let _keep = &sender;
                snapshot
            })
            .boxed()
    }

    fn report(&self, node: &NodeIdentity, stream: u64, feedback: Feedback) {
        self.reports.send_modify(|reports| reports.push((node.id.clone(), stream, feedback)));
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
