//! Traces across the store: from the commit to whoever publishes it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Span, field};

use super::Index;
use crate::telemetry::caused_by;

/// Most commits that wait to be published, with their spans. Older ones end unpublished.
const MOST: usize = 256;

/// The spans of commits that are durable and not published yet. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Traced(Arc<Mutex<VecDeque<(Index, Span)>>>);

impl Traced {
    /// A commit is durable: what follows from it begins.
    pub(super) fn add(&self, index: Index, write: &Span) {
        let span = caused_by(tracing::debug_span!(parent: None, "publish", index, proxies = field::Empty), write);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST {
            waiting.pop_front();
        }
        waiting.push_back((index, span));
    }

    /// Takes those of commits up to this one.
    pub(super) fn take(&self, until: Index) -> Vec<Span> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.partition_point(|(index, _)| *index <= until);
        waiting.drain(..count).map(|(_, span)| span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_taken_once_and_only_so_many_wait() {
        let traced = Traced::default();
        (1..=300).for_each(|index| traced.add(index, &Span::none()));

        assert_eq!(traced.take(50).len(), 6);
        assert_eq!(traced.take(50).len(), 0);
        assert_eq!(traced.take(300).len(), 250);
    }
}
