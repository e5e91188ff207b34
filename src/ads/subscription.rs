//! What a client wants of one type (xds-protocol, R20 to R25).
//!
//! `*` stands for everything. Before it existed, a first request without names meant the same; Envoy still opens its
//! listener and cluster subscriptions so. Names that follow add to that wildcard in Delta and replace it in
//! State-of-the-World.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::envoy::snapshot::ResourceType;

/// The name that stands for every resource.
pub(super) const EVERYTHING: &str = "*";

/// The subscription of one stream to one type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    wildcard: Wildcard,
    /// Sorted. Every stream keeps it for as long as it lasts, so it is as small as it can be.
    names: Box<[Arc<str>]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Wildcard {
    /// The type was not asked for yet.
    #[default]
    Unasked,
    Off,
    /// The first request named nothing, and no later one named anything.
    Legacy,
    On,
}

/// What a request changed.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Changes {
    /// Names to answer, sorted.
    pub asked: Vec<Arc<str>>,
    /// Names that are no longer named; a wildcard may still cover them.
    pub dropped: Vec<Arc<str>>,
    /// Everything is asked for.
    pub wildcard_asked: bool,
}

impl Changes {
    /// True if the request said nothing new.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.dropped.is_empty() && !self.wildcard_asked
    }
}

impl Subscription {
    /// True once the client asked for the type.
    pub fn is_open(&self) -> bool {
        self.wildcard != Wildcard::Unasked
    }

    /// True if everything is asked for.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.wildcard, Wildcard::Legacy | Wildcard::On)
    }

    /// True if the resource is of interest.
    pub fn covers(&self, name: &str) -> bool {
        self.is_wildcard() || self.names(name)
    }

    /// True if the resource is asked for by its name.
    pub fn names(&self, name: &str) -> bool {
        contains(&self.names, name)
    }

    /// Those of these names that are not of interest. They are sorted, and most of them share their text with the own ones.
    pub fn uncovered<'a>(&'a self, sorted: impl Iterator<Item = &'a Arc<str>>) -> impl Iterator<Item = &'a Arc<str>> {
        let mut own = self.names.iter().peekable();
        sorted.filter(move |name| {
            if self.is_wildcard() || own.next_if(|known| Arc::ptr_eq(known, name)).is_some() {
                return false;
            }
            while own.next_if(|known| known < name).is_some() {}
            own.next_if(|known| known == name).is_none()
        })
    }

    /// Holds the text of its names as somebody else does, where `shared` knows them.
    pub fn share_names(&mut self, shared: impl Fn(&str) -> Option<Arc<str>>) {
        for name in &mut self.names {
            if let Some(shared) = shared(name) {
                *name = shared;
            }
        }
    }

    /// Every name that is asked for, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// How many names are asked for.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Applies a Delta request. Every subscribed name is answered, known or not (R21); a name in both lists ends up
    /// unsubscribed.
    pub fn apply_delta(&mut self, kind: ResourceType, subscribe: &[Arc<str>], unsubscribe: &[Arc<str>]) -> Changes {
        let unsubscribe: BTreeSet<_> = unsubscribe.iter().cloned().collect();
        let mut changes = Changes::default();
        if !self.is_open() {
            changes.wildcard_asked = subscribe.is_empty() && kind.is_wildcard();
            self.wildcard = if changes.wildcard_asked { Wildcard::Legacy } else { Wildcard::Off };
        }
        if !unsubscribe.is_empty() {
            let mut names = std::mem::take(&mut self.names).into_vec();
            changes.dropped = names.extract_if(.., |name| unsubscribe.contains(name)).collect();
            self.names = names.into_boxed_slice();
        }
        if unsubscribe.contains(EVERYTHING) {
            self.wildcard = Wildcard::Off;
            changes.wildcard_asked = false;
        }
        let (everything, asked): (Vec<_>, Vec<_>) = subscribe
            .iter()
            .filter(|name| !unsubscribe.contains(&***name))
            .cloned()
            .partition(|name| &**name == EVERYTHING);
        if !everything.is_empty() {
            self.wildcard = Wildcard::On;
            changes.wildcard_asked = true;
        }
        changes.asked = sorted(asked);
        if self.names.is_empty() {
            self.names = changes.asked.as_slice().into();
        } else if !changes.asked.is_empty() {
            // An acknowledgement asks for nothing, and is what comes most often.
            let mut names = std::mem::take(&mut self.names).into_vec();
            names.extend(changes.asked.iter().cloned());
            self.names = sorted(names).into_boxed_slice();
        }
        changes
    }

    /// Applies a State-of-the-World request, which holds the complete list.
    pub fn apply_sotw(&mut self, kind: ResourceType, names: &[Arc<str>]) -> Changes {
        let was_wildcard = self.is_wildcard();
        let may_be_legacy = matches!(self.wildcard, Wildcard::Unasked | Wildcard::Legacy) && kind.is_wildcard();
        self.wildcard = match names {
            [] if may_be_legacy => Wildcard::Legacy,
            _ if names.iter().any(|name| &**name == EVERYTHING) => Wildcard::On,
            _ => Wildcard::Off,
        };
        let names = sorted(names.iter().filter(|name| &***name != EVERYTHING).cloned().collect());
        let asked = names.iter().filter(|name| !contains(&self.names, name)).cloned().collect();
        let dropped = self.names.iter().filter(|name| !contains(&names, name)).cloned().collect();
        self.names = names.into_boxed_slice();
        Changes { asked, dropped, wildcard_asked: self.is_wildcard() && !was_wildcard }
    }
}

/// True if a sorted list has this name.
fn contains(sorted: &[Arc<str>], name: &str) -> bool {
    sorted.binary_search_by(|known| (**known).cmp(name)).is_ok()
}

/// The names in order, each of them once. Of two runs that are in order, such as a list and what is added to it, the order
/// is found by merging them.
fn sorted(mut names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};

    fn names(list: &str) -> Vec<Arc<str>> {
        list.split_whitespace().map(Arc::from).collect()
    }

    /// Which of these a subscription covers.
    fn covered(subscription: &Subscription) -> String {
        let covered: Vec<_> = ["a", "b", "c"].into_iter().filter(|name| subscription.covers(name)).collect();
        covered.join(" ")
    }

    #[test]
    fn delta_requests_add_and_take_away() {
        // Kind, then per request: subscribe, unsubscribe, what is covered afterwards, what must be answered.
        type Request = (&'static str, &'static str, &'static str, &'static str);
        let cases: &[(&str, ResourceType, &[Request])] = &[
            (
                "a legacy wildcard keeps what is added to it, and ends by name", // T019, T020
                Cluster,
                &[("", "", "a b c", "*"), ("a", "", "a b c", "a"), ("", "*", "a", "")],
            ),
            (
                "a wildcard comes and goes between names", // T021
                Cluster,
                &[("a", "", "a", "a"), ("*", "", "a b c", "*"), ("b", "", "a b c", "b"), ("", "*", "a b", "")],
            ),
            ("no wildcard for endpoints", Endpoint, &[("", "", "", "")]), // T024
            ("no wildcard for routes", Route, &[("", "", "", "")]),
            ("no wildcard for secrets", Secret, &[("", "", "", "")]),
            ("an explicit wildcard for endpoints", Endpoint, &[("*", "", "a b c", "*")]),
            (
                "a wildcard in both lists is interest in nothing", // T025
                Cluster,
                &[("*", "*", "", ""), ("a", "", "a", "a"), ("", "", "a", "")],
            ),
            ("a name in both lists is not subscribed", Endpoint, &[("a", "", "a", "a"), ("a b", "a", "b", "b")]),
            ("a name asked for twice is answered once", Endpoint, &[("a a", "", "a", "a")]), // T027
            ("a name asked for again is answered again", Endpoint, &[("a", "", "a", "a"), ("a", "", "a", "a")]), // T026
            ("an empty request after names is no wildcard", Listener, &[("a", "", "a", "a"), ("", "a", "", "")]),
            ("an unknown name is not missed", Endpoint, &[("a", "", "a", "a"), ("", "c", "a", "")]), // T028
            ("reconnect with a wildcard and a name", Cluster, &[("* a", "", "a b c", "* a")]),       // T042
        ];

        for (case, kind, requests) in cases {
            let mut subscription = Subscription::default();
            for (subscribe, unsubscribe, expected, answered) in *requests {
                let changes = subscription.apply_delta(*kind, &names(subscribe), &names(unsubscribe));

                let star = changes.wildcard_asked.then(|| Arc::from("*"));
                let asked: Vec<Arc<str>> = star.into_iter().chain(changes.asked).collect();
                assert_eq!(covered(&subscription), *expected, "{case}: +[{subscribe}] -[{unsubscribe}]");
                assert_eq!(asked.join(" "), *answered, "{case}: +[{subscribe}] -[{unsubscribe}]");
            }
        }
    }

    #[test]
    fn state_of_the_world_requests_replace() {
        // Kind, then per request: names, what is covered afterwards, what is new.
        type Request = (&'static str, &'static str, &'static str);
        let cases: &[(&str, ResourceType, &[Request])] = &[
            (
                "names replace a legacy wildcard, and nothing then means nothing", // T023
                Cluster,
                &[("", "a b c", "*"), ("* a", "a b c", "a"), ("a", "a", ""), ("", "", "")],
            ),
            ("a repeated legacy wildcard stays one", Listener, &[("", "a b c", "*"), ("", "a b c", "")]),
            ("names replace names", Route, &[("a", "a", "a"), ("b", "b", "b"), ("a b", "a b", "a"), ("a", "a", "")]), // T039
            ("no names for endpoints is no interest", Endpoint, &[("", "", ""), ("a", "a", "a"), ("", "", "")]), // T038
            ("a wildcard comes back", Cluster, &[("a", "a", "a"), ("*", "a b c", "*")]),
        ];

        for (case, kind, requests) in cases {
            let mut subscription = Subscription::default();
            for (list, expected, new) in *requests {
                let changes = subscription.apply_sotw(*kind, &names(list));

                let star = changes.wildcard_asked.then(|| Arc::from("*"));
                let asked: Vec<Arc<str>> = star.into_iter().chain(changes.asked).collect();
                assert_eq!(covered(&subscription), *expected, "{case}: [{list}]");
                assert_eq!(asked.join(" "), *new, "{case}: [{list}]");
            }
        }
    }
}
