//! Requests of the Delta form.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Session;
use super::type_state::{Held, Pending, Reason, TypeState};
use crate::ads::message::Event;
use crate::ads::subscription::Changes;
use crate::envoy::snapshot::{Resource, ResourceSet, ResourceType, Snapshot, Version};

/// What a reconnecting client says that it holds.
#[derive(Debug, Default)]
struct InitialVersions<'a> {
    /// Sorted by name; `None` for a version that is not ours.
    held: Vec<(&'a str, Option<Version>)>,
}

impl<'a> InitialVersions<'a> {
    /// Of a name that is said twice, the last one counts.
    fn new(said: &'a [(String, String)]) -> Self {
        let mut held: Vec<_> = said.iter().rev().map(|(name, version)| (&**name, Version::parse(version))).collect();
        held.sort_by_key(|(name, _)| *name);
        held.dedup_by_key(|(name, _)| *name);
        Self { held }
    }

    /// What is said about each of these names, which are sorted.
    fn get_sorted<'n>(
        &self,
        names: impl Iterator<Item = &'n Arc<str>>,
    ) -> impl Iterator<Item = Option<Option<Version>>> {
        let mut held = self.held.iter().peekable();
        names.map(move |name| {
            while held.next_if(|(said, _)| *said < &**name).is_some() {}
            held.next_if(|(said, _)| *said == &**name).map(|(_, version)| *version)
        })
    }
}

impl Session {
    /// Matches an answer to the response in flight. Any other nonce answers nothing (R13).
    pub(super) fn on_delta_answer(
        &mut self,
        kind: ResourceType,
        nonce: &str,
        rejection: Option<String>,
    ) -> Option<Event> {
        let state = self.state_mut(kind);
        let is_answer = state.in_flight.as_ref().is_some_and(|sent| sent.nonce.to_string() == nonce);
        if is_answer { state.on_answer(rejection) } else { None }
    }

    /// Applies subscriptions. They count whatever the nonce says (R13).
    pub(super) fn on_delta_interest(
        &mut self,
        kind: ResourceType,
        subscribe: &[String],
        unsubscribe: &[String],
        initial_versions: &[(String, String)],
    ) {
        let (subscribe, unsubscribe) = (self.share_names(kind, subscribe), self.share_names(kind, unsubscribe));
        let snapshot = self.snapshot.clone().unwrap_or_default();
        let set = snapshot.get(kind);
        let state = self.state_mut(kind);
        let is_first = !state.subscription.is_open();
        let before: BTreeSet<_> = subscribe.iter().filter(|name| state.subscription.covers(name)).cloned().collect();
        let changes = state.subscription.apply_delta(kind, &subscribe, &unsubscribe);
        state.drop_names(&changes, set);
        if is_first {
            self.on_first_interest(kind, &changes, &InitialVersions::new(initial_versions), &snapshot);
            return;
        }
        if changes.wildcard_asked {
            state.add_all(set, &InitialVersions::default());
        }
        for name in &changes.asked {
            if before.contains(name) {
                state.force_again(name, set);
            } else {
                state.force(name, Held::Nothing);
            }
        }
    }

    /// The first request of a type on a stream: the client may hold what an earlier stream sent (R41, R42).
    fn on_first_interest(
        &mut self,
        kind: ResourceType,
        changes: &Changes,
        initial_versions: &InitialVersions<'_>,
        snapshot: &Snapshot,
    ) {
        let in_doubt = kind == ResourceType::Endpoint && !self.state(ResourceType::Cluster).subscription.is_open();
        let owed =
            if kind == ResourceType::Endpoint { std::mem::take(&mut self.owed_endpoints) } else { BTreeSet::new() };
        let state = self.state_mut(kind);
        let set = snapshot.get(kind);
        if changes.wildcard_asked {
            state.add_all(set, initial_versions);
        }
        let wanted = set.get_sorted(changes.asked.iter().map(|name| &**name));
        let held = initial_versions.get_sorted(changes.asked.iter());
        for ((name, wanted), held) in changes.asked.iter().zip(wanted).zip(held) {
            match held {
                Some(version) if !in_doubt && !owed.contains(name) => state.resume(name, version, wanted),
                Some(_) => state.force(name, Held::Unknown),
                None => state.force(name, Held::Nothing),
            }
        }
    }
}

impl TypeState {
    /// Everything is asked for: whatever is not known to be held is pending, and an answer is due even if that is
    /// nothing (R26).
    fn add_all(&mut self, set: &ResourceSet, initial_versions: &InitialVersions<'_>) {
        self.answer_due = true;
        let held = &initial_versions.held;
        let is_current = |((name, version), wanted): (&(&str, _), &Arc<Resource>)| {
            **name == *wanted.name && *version == Some(wanted.version)
        };
        if held.len() == set.len() && held.iter().zip(set.values()).all(is_current) {
            // As after most reconnects.
            return;
        }
        let changed = self.all_taken();
        for name in set.keys() {
            if !self.subscription.names(name) {
                self.note_pending(name, Held::Nothing, Reason::Changed, changed);
            }
        }
        for (name, version) in held {
            let held = version.map_or(Held::Unknown, Held::Version);
            self.pending.insert(Arc::from(*name), Pending { held, reason: Reason::Changed, changed });
        }
    }

    fn resume(&mut self, name: &Arc<str>, version: Option<Version>, wanted: Option<&Arc<Resource>>) {
        if version.is_some() && version == wanted.map(|wanted| wanted.version) {
            return;
        }
        let held = version.map_or(Held::Unknown, Held::Version);
        let pending = Pending { held, reason: Reason::Resumed, changed: self.all_taken() };
        self.pending.insert(name.clone(), pending);
    }

    /// Names that are no longer asked for are forgotten; one that a wildcard still covers is answered once more (R23).
    fn drop_names(&mut self, changes: &Changes, set: &ResourceSet) {
        if self.subscription.is_wildcard() {
            for name in &changes.dropped {
                self.force_again(name, set);
            }
        } else {
            self.forget_uncovered();
        }
    }
}
