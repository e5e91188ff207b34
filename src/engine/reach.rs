//! How far a commit got: which proxies it reached, and which of them have acknowledged it.
//!
//! **Problem.** "Applied" says that a commit is stored. People want to know when it is live, and who is missing.
//!
//! **Invariant.** A proxy counts as having a commit only if its client acknowledged, on a stream that is open or was the last
//! one, every resource that the commit changed, in the version of that commit or of a later one. Where it is not known what
//! a commit changed, it counts as having changed what is open. Whoever is connected, was
//! connected within the last minute, or was before the process started and can still come back, is asked.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::envoy::snapshot::{Numbers, Open, Progress, ResourceType, Unsettled};
use crate::model::InstanceId;
use crate::store::Index;

/// Most publications of a proxy that are told apart.
const MOST: usize = 4;

/// Commits after one, up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) after: Index,
    pub(super) until: Index,
}

impl Span {
    /// Everything up to a commit.
    pub(super) fn up_to(until: Index) -> Self {
        Self { after: 0, until }
    }

    /// No commit: proxies came when this was the last one.
    pub(super) fn arrival(index: Index) -> Self {
        Self { after: index, until: index }
    }

    /// The commits that something is due to: the last one, if it is due to none.
    pub(super) fn or_last(self) -> Self {
        if self.after < self.until { self } else { Self::of(self.until) }
    }

    /// This commit.
    pub(super) fn of(index: Index) -> Self {
        Self { after: index.saturating_sub(1), until: index }
    }

    pub(super) fn contains(self, index: Index) -> bool {
        self.after < index && index <= self.until
    }

    /// With everything after an earlier commit, if there is one.
    pub(super) fn since(self, earlier: Option<Index>) -> Self {
        Self { after: earlier.map_or(self.after, |earlier| earlier.min(self.after)), until: self.until }
    }
}

/// Snapshots that were published, and the commits that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) numbers: Numbers,
    pub(super) span: Span,
}

impl Publication {
    /// The snapshot with this number.
    pub(super) fn new(number: u64, span: Span) -> Self {
        Self { numbers: Numbers { after: number.saturating_sub(1), until: number }, span }
    }

    /// Adds the newest one. The oldest ones are not told apart any more.
    pub(super) fn keep(known: &mut VecDeque<Self>, newest: Self) {
        known.push_back(newest);
        if known.len() > MOST
            && let Some(oldest) = known.pop_front()
            && let Some(next) = known.front_mut()
        {
            next.numbers = next.numbers.and(oldest.numbers);
            next.span = next.span.since(Some(oldest.span.after));
        }
    }

    /// The snapshots that have something of a commit: the one that it made, and those that made up for what failed then.
    pub(super) fn of(known: &VecDeque<Self>, index: Index) -> Option<Numbers> {
        known.iter().filter(|it| it.span.contains(index)).map(|it| it.numbers).reduce(Numbers::and)
    }
}

/// How far a commit got at a proxy, the best first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It changes nothing for the proxy.
    Untouched,
    /// The proxy has acknowledged it.
    Live,
    /// The proxy has not acknowledged it yet, and why.
    Waiting(String),
    /// A part of the proxy could not be made, and why; it stays as it last was.
    Unmade(String),
    /// The proxy has refused it, and why; it keeps what it had.
    Refused(String),
}

/// How far what was published with these numbers got on a stream that came so far.
pub(super) fn stage<'r>(
    numbers: Numbers,
    progress: Option<&Progress>,
    refusal: impl Fn(ResourceType) -> Option<&'r str>,
) -> Stage {
    let Some(progress) = progress else {
        return Stage::Waiting("it has not acknowledged what it was sent first".to_owned());
    };
    if progress.taken < numbers.until {
        return Stage::Waiting("it was sent, and is not acknowledged yet".to_owned());
    }
    let open = progress.unsettled.iter().filter(|it| it.concerns(numbers));
    let (refused, waiting): (Vec<_>, Vec<_>) = open.partition(|it| it.why == Open::Refused);
    if let Some(first) = refused.first() {
        let of_kind: Vec<_> = refused.iter().copied().filter(|it| it.kind == first.kind).collect();
        return Stage::Refused(format!("{}: {}", told(&of_kind), refusal(first.kind).unwrap_or("no reason was given")));
    }
    if waiting.is_empty() { Stage::Live } else { Stage::Waiting(format!("not acknowledged: {}", told(&waiting))) }
}

/// Resources for people, by type.
fn told(unsettled: &[&Unsettled]) -> String {
    let of_kind = |of: &[&Unsettled]| {
        let names: Vec<&str> = of.iter().filter_map(|it| it.name.as_deref()).collect();
        let kind = of.first().map(|it| it.kind.to_string()).unwrap_or_default();
        if names.is_empty() { kind } else { format!("{kind} {}", names.join(", ")) }
    };
    unsettled.chunk_by(|one, other| one.kind == other.kind).map(of_kind).collect::<Vec<_>>().join("; ")
}

/// A proxy of which something could not be made, and still cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmade {
    /// It was asked for by the commits after this one,
    pub since: Index,
    /// until this one.
    pub index: Index,
    /// The proxy.
    pub proxy: Arc<InstanceId>,
}

/// How far a commit got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The engine has seen it. Before that nothing is known.
    pub is_seen: bool,
    /// What became of it at each proxy that counts, sorted.
    pub proxies: Vec<(InstanceId, Stage)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str, (after, until): (u64, u64), is_refused: bool) -> Unsettled {
        let changed = Numbers { after, until };
        let why = if is_refused { Open::Refused } else { Open::Waiting };
        Unsettled { kind: ResourceType::Cluster, name: Some(Arc::from(name)), changed, why }
    }

    #[test]
    fn a_commit_is_live_where_everything_that_it_may_have_changed_is_acknowledged() {
        let publication = Publication::new(2, Span { after: 5, until: 7 });
        let all = Unsettled { name: None, changed: Numbers::ALL, ..open("", (0, 0), false) };
        let cases = [
            (1, vec![], "waiting"),
            (2, vec![], "live"),
            (3, vec![], "live"),
            (2, vec![open("a", (1, 2), false)], "waiting"),
            // What an earlier or a later one changed is not its.
            (2, vec![open("b", (0, 1), true)], "live"),
            (3, vec![open("b", (2, 3), true), open("c", (2, 3), false)], "live"),
            (3, vec![open("a", (0, 3), true), open("b", (1, 2), false)], "refused"),
            (2, vec![all], "waiting"),
        ];
        for (taken, unsettled, expected) in cases {
            let progress = Progress { taken, unsettled };
            let found = match stage(publication.numbers, Some(&progress), |_| Some("no")) {
                Stage::Live => "live",
                Stage::Waiting(_) => "waiting",
                Stage::Refused(why) => {
                    assert_eq!(why, "CDS a: no");
                    "refused"
                }
                Stage::Untouched | Stage::Unmade(_) => "something else",
            };
            assert_eq!(found, expected, "{progress:?}");
        }
        assert!(matches!(stage(publication.numbers, None, |_| None), Stage::Waiting(_)));
        assert_eq!((publication.span.contains(5), publication.span.contains(6)), (false, true));
    }

    #[test]
    fn what_is_forgotten_is_never_taken_for_acknowledged() {
        let mut known = VecDeque::new();
        for number in 1..=11 {
            Publication::keep(&mut known, Publication::new(number, Span::of(number)));
        }

        let covering = |index| Publication::of(&known, index);
        // Of the oldest ones it is asked for the first one that is known, with all that came before it.
        let oldest = Some(Numbers { after: 0, until: 8 });
        assert_eq!((covering(1), covering(8)), (oldest, oldest));
        assert_eq!(covering(9), Some(Numbers { after: 8, until: 9 }));
        assert_eq!(covering(12), None);
    }

    #[test]
    fn what_makes_up_for_a_failure_counts_for_the_commit_that_failed() {
        let mut known = VecDeque::new();
        Publication::keep(&mut known, Publication::new(1, Span::of(7)));
        Publication::keep(&mut known, Publication::new(2, Span::of(9).since(Some(5))));

        // What the commit did make at once counts as well.
        assert_eq!(Publication::of(&known, 7), Some(Numbers { after: 0, until: 2 }));
        assert_eq!(Publication::of(&known, 9), Some(Numbers { after: 1, until: 2 }));
        assert_eq!(Publication::of(&known, 5), None);
    }
}
