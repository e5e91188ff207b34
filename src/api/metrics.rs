//! What the API counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

/// Counters of the API. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    started: Instant,
    panics: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
    plans: Arc<AtomicU64>,
    /// Changes that proxies were to try first: those that were made, and the others.
    trials: Arc<[AtomicU64; 2]>,
    /// Answers by the first digit of their status.
    answers: Arc<[AtomicU64; CLASSES.len()]>,
}

/// The classes of answers.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            panics: Arc::default(),
            waiting: Arc::default(),
            plans: Arc::default(),
            trials: Arc::default(),
            answers: Arc::default(),
        }
    }
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

    /// Changes that were planned.
    pub(super) fn plans(&self) -> u64 {
        self.plans.load(Ordering::Relaxed)
    }

    pub(super) fn count_plan(&self) {
        self.plans.fetch_add(1, Ordering::Relaxed);
    }

    /// How many changes proxies were to try first, by what became of them.
    pub(super) fn trials(&self) -> [(&'static str, u64); 2] {
        let [made, halted] = &*self.trials;
        [("made", made.load(Ordering::Relaxed)), ("halted", halted.load(Ordering::Relaxed))]
    }

    pub(super) fn count_trial(&self, is_made: bool) {
        let [made, halted] = &*self.trials;
        let count = if is_made { made } else { halted };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How long it has been counting.
    pub(super) fn running(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many answers there were of each class.
    pub(super) fn answers(&self) -> [(&'static str, u64); CLASSES.len()] {
        std::array::from_fn(|class| (CLASSES[class], self.answers[class].load(Ordering::Relaxed)))
    }

    pub(super) fn count_answer(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(answers) = self.answers.get(class) {
            answers.fetch_add(1, Ordering::Relaxed);
        }
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
