//! Readiness: the process is ready once nobody holds a guard any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Tells whether the process is ready, and what it still waits for.
#[derive(Debug, Clone)]
pub struct Readiness {
    waiting: Arc<watch::Sender<BTreeMap<u64, &'static str>>>,
}

/// Keeps the process from being ready while it exists.
#[derive(Debug)]
pub struct ReadinessGuard {
    id: u64,
    waiting: Arc<watch::Sender<BTreeMap<u64, &'static str>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { waiting: Arc::new(watch::channel(BTreeMap::new()).0) }
    }
}

impl Readiness {
    /// Makes the process wait for `what` until the guard is dropped.
    pub fn wait_for(&self, what: &'static str) -> ReadinessGuard {
        let mut id = 0;
        self.waiting.send_modify(|waiting| {
            id = waiting.keys().next_back().map_or(0, |last| last + 1);
            waiting.insert(id, what);
        });
        ReadinessGuard { id, waiting: self.waiting.clone() }
    }

    /// True if nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// What is waited for, oldest first.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.waiting.borrow().values().copied().collect()
    }

    /// Returns once the process is ready.
    pub async fn ready(&self) {
        // The sender lives as long as `self`, so the channel cannot be closed.
        let _ = self.waiting.subscribe().wait_for(BTreeMap::is_empty).await;
    }
}

impl Drop for ReadinessGuard {
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| {
            waiting.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_once_every_guard_is_gone() {
        let readiness = Readiness::default();
        let store = readiness.wait_for("store");
        let listeners = readiness.wait_for("listeners");

        drop(store);

        assert_eq!((readiness.is_ready(), readiness.waiting_for()), (false, vec!["listeners"]));
        drop(listeners);
        readiness.ready().await;
        assert!(readiness.is_ready());
    }
}
