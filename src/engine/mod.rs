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

mod core;
mod encoded;
mod guard;
mod intern;
mod proxy;
mod readers;
mod recording;
mod secrets;
mod shared;
mod slot;

use std::sync::Arc;

use dashmap::DashMap;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use guard::guard;
pub use slot::{NackReport, ProxyReport, TypeReport};

use self::core::Core;
use self::recording::Recording;
use self::slot::Slot;
use crate::ca::Authority;
use crate::envoy::snapshot::{Feedback, NodeIdentity, Snapshot, SnapshotSource};
use crate::model::{Datacenter, InstanceId, IntentionPolicy, NodeName, Partition, Place, Proxy, Service, ServiceId};
use crate::resolve;
use crate::store::{Reader, Store};

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
}

/// A proxy's registration with what central configuration adds to it; what is read goes through `reader`.
pub fn merged_proxy(reader: &Reader<'_>, service: &Service) -> Proxy {
    resolve::merged_proxy(&Recording::new(reader, &[]), service)
}

/// The engine. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    slots: DashMap<NodeIdentity, Arc<Slot>>,
    /// A stream came or went; the core looks at the slots.
    streams: Notify,
}

impl Engine {
    /// An engine that answers nobody yet.
    pub fn new(options: Options) -> Self {
        Self { shared: Arc::new(Shared { options, slots: DashMap::new(), streams: Notify::new() }) }
    }

    /// Follows the store until `shutdown`, on the thread that calls it: generating is work for a processor.
    pub async fn run(self, store: Store, authority: Authority, shutdown: CancellationToken) {
        let mut views = store.watch();
        let mut core = Core::new(self.shared.options.clone(), authority, views.borrow_and_update().clone());
        loop {
            self.update_streams(&mut core);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.streams.notified() => {}
                changed = views.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let view = views.borrow_and_update().clone();
                    core.advance(view);
                }
            }
        }
    }

    /// Starts proxies that a stream asks for, and forgets those that no stream asks for any more.
    fn update_streams(&self, core: &mut Core) {
        self.shared.slots.retain(|_, slot| {
            let is_watched = slot.is_watched();
            if !is_watched {
                core.stop(slot);
            }
            is_watched
        });
        let fresh: Vec<_> =
            self.shared.slots.iter().filter(|slot| slot.take_fresh()).map(|s| s.value().clone()).collect();
        core.start(fresh);
    }

    /// What is known about every proxy with a stream, sorted.
    pub fn proxies(&self) -> Vec<ProxyReport> {
        let mut reports: Vec<_> = self.shared.slots.iter().map(|slot| slot.report()).collect();
        reports.sort_by(|a, b| a.instance.cmp(&b.instance));
        reports
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

impl SnapshotSource for Engine {
    fn watch(&self, node: &NodeIdentity) -> BoxStream<'static, Arc<Snapshot>> {
        // The entry stays locked until the slot has a receiver, so that the core cannot take it for abandoned.
        let entry = self.shared.slots.entry(node.clone());
        let slot = entry.or_insert_with(|| Arc::new(Slot::new(self.instance(node))));
        let snapshots = slot.subscribe();
        drop(slot);
        self.shared.streams.notify_one();
        snapshots.filter_map(|snapshot| async { snapshot }.boxed()).boxed()
    }

    fn report(&self, node: &NodeIdentity, stream: u64, feedback: Feedback) {
        let is_end = matches!(feedback, Feedback::Disconnected);
        if let Some(slot) = self.shared.slots.get(node) {
            slot.note(stream, feedback);
        }
        if is_end {
            self.shared.streams.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
