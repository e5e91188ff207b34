//! How often certificates were replaced, and how often that failed.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    Leaf,
    Root,
}

/// How many certificates of a kind were replaced since the process started, and how many times one should have been and was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotations {
    /// Replaced.
    pub ok: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// The counts of both kinds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    leaf: [AtomicU64; 2],
    root: [AtomicU64; 2],
}

impl Tally {
    fn of(&self, what: Replaced) -> &[AtomicU64; 2] {
        match what {
            Replaced::Leaf => &self.leaf,
            Replaced::Root => &self.root,
        }
    }

    pub(super) fn add(&self, what: Replaced, Rotations { ok, failed }: Rotations) {
        for (count, more) in self.of(what).iter().zip([ok, failed]) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(super) fn total(&self, what: Replaced) -> Rotations {
        let [ok, failed] = self.of(what).each_ref().map(|count| count.load(Ordering::Relaxed));
        Rotations { ok, failed }
    }
}
