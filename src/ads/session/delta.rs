//! Requests of the Delta form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Session;
use super::type_state::{Held, Pending, Reason, TypeState};
use crate::ads::message::Event;
use crate::ads::subscription::Changes;
use crate::envoy::snapshot::{ResourceSet, ResourceType, Snapshot, Version};

/// What a reconnecting client says that it holds; `None` for a version that is not ours.
type InitialVersions<'a> = BTreeMap<&'a str, Option<Version>>;

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
        let before = subscribe.iter().filter(|name| state.subscription.covers(name)).cloned().collect::<BTreeSet<_>>();
        let changes = state.subscription.apply_delta(kind, &subscribe, &unsubscribe);
        state.drop_names(&changes, set);
        if is_first {
            let held = initial_versions.iter().map(|(name, version)| (&**name, Version::parse(version))).collect();
            self.on_first_interest(kind, &changes, &held, &snapshot);
            return;
        }
        if changes.wildcard_asked {
            state.add_all(set, &InitialVersions::new());
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
        if changes.wildcard_asked {
            state.add_all(snapshot.get(kind), initial_versions);
        }
        for name in &changes.asked {
            match initial_versions.get(&**name) {
                Some(version) if !in_doubt && !owed.contains(name) => state.resume(name, *version),
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
        for name in set.keys() {
            if !self.subscription.names(name) {
                let pending = Pending { held: Held::Nothing, reason: Reason::Changed };
                self.pending.entry(name.clone()).or_insert(pending);
            }
        }
        for (name, version) in initial_versions {
            let held = version.map_or(Held::Unknown, Held::Version);
            self.pending.insert(Arc::from(*name), Pending { held, reason: Reason::Changed });
        }
    }

    fn resume(&mut self, name: &Arc<str>, version: Option<Version>) {
        let held = version.map_or(Held::Unknown, Held::Version);
        self.pending.insert(name.clone(), Pending { held, reason: Reason::Resumed });
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
