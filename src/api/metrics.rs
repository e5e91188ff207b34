//! What the API counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the API. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    panics: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
}

impl Metrics {
    /// Handlers that panicked since the start; each one answered 500.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Calls that wait for a change at the moment.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a waiting call until the guard is dropped, also by a client that goes away.
    pub(super) fn count_waiting(&self) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.waiting.clone())
    }
}

/// One call that waits.
#[derive(Debug)]
pub(super) struct Waiting(Arc<AtomicU64>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
