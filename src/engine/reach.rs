//! How far a commit got: which proxies it reached, and which of them have acknowledged it.
//!
//! **Problem.** "Applied" says that a commit is stored. People want to know when it is live, and who is missing.
//!
//! **Invariant.** A proxy counts as having a commit only if its client acknowledged, on a stream that is open or was the last
//! one, every resource that the commit changed, in the version of that commit or of a later one. Whoever is connected, was
//! connected within the last minute, or was before the process started and can still come back, is asked.

use std::collections::VecDeque;

use crate::envoy::snapshot::{Names, Progress, ResourceType, Snapshot};
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

    pub(super) fn contains(self, index: Index) -> bool {
        self.after < index && index <= self.until
    }
}

/// A snapshot that was published.
#[derive(Debug)]
pub(super) struct Publication {
    number: u64,
    /// The commits that made it.
    pub(super) span: Span,
    /// What is different in it, of the types of which something is.
    changed: Vec<(ResourceType, Names)>,
}

impl Publication {
    pub(super) fn new(number: u64, span: Span, before: Option<&Snapshot>, after: &Snapshot) -> Self {
        let names = |kind| match before {
            Some(before) => {
                let changes = before.get(kind).changes_to(after.get(kind));
                Names::of(changes.into_iter().map(|(name, _)| name.clone()))
            }
            None => Names::All,
        };
        let changed = ResourceType::ALL.map(|kind| (kind, names(kind))).into_iter();
        // To a proxy that had nothing everything is new, whichever commit made it.
        let span = if before.is_some() { span } else { Span::up_to(span.until) };
        Self { number, span, changed: changed.filter(|(_, names)| !names.is_empty()).collect() }
    }

    /// Adds the newest one. What is known of the oldest ones becomes less exact.
    pub(super) fn keep(known: &mut VecDeque<Self>, newest: Self) {
        known.push_back(newest);
        if known.len() > MOST
            && let Some(oldest) = known.pop_front()
            && let Some(next) = known.front_mut()
        {
            next.span.after = oldest.span.after;
            next.changed = ResourceType::ALL.map(|kind| (kind, Names::All)).into();
        }
    }

    fn changes(&self, kind: ResourceType, name: &str) -> bool {
        self.changed.iter().any(|(of, names)| *of == kind && names.contain(name))
    }

    /// What of `names` it changed; `None` for nothing.
    fn among(&self, kind: ResourceType, names: &Names) -> Option<String> {
        match names {
            Names::Some(names) => {
                let changed: Vec<&str> = names.iter().filter(|it| self.changes(kind, it)).map(|it| &**it).collect();
                (!changed.is_empty()).then(|| format!("{kind} {}", changed.join(", ")))
            }
            Names::All => self.changed.iter().any(|(of, _)| *of == kind).then(|| kind.to_string()),
        }
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

/// How far a publication got on a stream that came so far.
pub(super) fn stage<'r>(
    publication: &Publication,
    progress: Option<&(u64, Progress)>,
    refusal: impl Fn(ResourceType) -> Option<&'r str>,
) -> Stage {
    let Some((taken, progress)) = progress else {
        return Stage::Waiting("it has not acknowledged what it was sent first".to_owned());
    };
    let by_type = || progress.0.iter().map(|(kind, unsettled)| (*kind, unsettled));
    if *taken < publication.number {
        return Stage::Waiting("it was sent, and is not acknowledged yet".to_owned());
    }
    let refused = by_type().find_map(|(kind, it)| Some((kind, publication.among(kind, &it.refused)?)));
    if let Some((kind, names)) = refused {
        return Stage::Refused(format!("{names}: {}", refusal(kind).unwrap_or("no reason was given")));
    }
    let waiting: Vec<_> = by_type().filter_map(|(kind, it)| publication.among(kind, &it.waiting)).collect();
    if waiting.is_empty() { Stage::Live } else { Stage::Waiting(format!("not acknowledged: {}", waiting.join("; "))) }
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
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::envoy::snapshot::{Resource, Unsettled};

    fn snapshot(clusters: &[(&str, &'static str)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (name, body) in clusters {
            let resource = Resource::new(name, Bytes::from_static(body.as_bytes()), []);
            snapshot.insert(ResourceType::Cluster, Arc::new(resource));
        }
        snapshot
    }

    fn progress(taken: u64, waiting: Names, refused: Names) -> (u64, Progress) {
        (taken, Progress(vec![(ResourceType::Cluster, Unsettled { waiting, refused })]))
    }

    fn names(names: &[&str]) -> Names {
        Names::of(names.iter().map(|name| Arc::from(*name)))
    }

    #[test]
    fn a_commit_is_live_where_everything_that_it_changed_is_acknowledged() {
        let (older, newer) = (snapshot(&[("a", "1"), ("b", "1")]), snapshot(&[("a", "2"), ("b", "1")]));
        let publication = Publication::new(2, Span { after: 5, until: 7 }, Some(&older), &newer);
        let none = || Names::default();
        let cases = [
            (progress(1, none(), none()), "waiting"),
            (progress(2, none(), none()), "live"),
            (progress(3, none(), none()), "live"),
            (progress(2, names(&["a"]), none()), "waiting"),
            (progress(2, names(&["b"]), names(&["b"])), "live"),
            (progress(2, none(), names(&["a"])), "refused"),
            (progress(2, Names::All, none()), "waiting"),
        ];
        for (progress, expected) in cases {
            let found = match stage(&publication, Some(&progress), |_| Some("no")) {
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
        assert!(matches!(stage(&publication, None, |_| None), Stage::Waiting(_)));
        assert_eq!((publication.span.contains(5), publication.span.contains(6)), (false, true));
    }

    #[test]
    fn what_is_forgotten_is_never_taken_for_acknowledged() {
        let mut known = VecDeque::new();
        let bodies = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
        for (number, pair) in bodies.windows(2).enumerate() {
            let (older, newer) = (snapshot(&[("a", pair[0])]), snapshot(&[("a", pair[1])]));
            let at = number as u64;
            Publication::keep(
                &mut known,
                Publication::new(at + 1, Span { after: at, until: at + 1 }, Some(&older), &newer),
            );
        }

        let covering = |index| known.iter().find(|it| it.span.contains(index)).map(|it| it.number);
        // Of the oldest ones it is asked for the first one that is known.
        assert_eq!((covering(1), covering(8), covering(9), covering(11)), (Some(8), Some(8), Some(9), Some(11)));
        assert!(known[0].changes(ResourceType::Listener, "whatever"));
    }
}
