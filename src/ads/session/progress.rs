//! How far the client is: what of the snapshot it does not hold as it should.
//!
//! **Invariant.** What is told as settled was acknowledged on this stream, or the client said when it opened the stream that it
//! holds it. A resource that the client must have and has not even asked for is not settled.

use std::sync::Arc;

use super::Session;
use super::type_state::{Held, TypeState};
use crate::envoy::snapshot::{Names, Progress, Resource, ResourceType, Snapshot, Unsettled};

impl Session {
    /// How far the client is with the snapshot; `None` while it is about to answer something, and before there is one.
    pub fn progress(&self) -> Option<Progress> {
        let snapshot = self.snapshot.as_deref()?;
        if self.types.iter().any(TypeState::is_unanswered) {
            return None;
        }
        let unsettled = self.types.iter().map(|state| (state.kind, state.unsettled(snapshot)));
        Some(Progress(unsettled.filter(|(_, it)| !(it.waiting.is_empty() && it.refused.is_empty())).collect()))
    }

    /// Looks again which names of the snapshot the client has not asked for.
    pub(super) fn find_unasked(&mut self, kind: ResourceType) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        let state = self.state_mut(kind);
        if !kind.is_wildcard() {
            let unasked = snapshot.get(kind).keys().filter(|name| !state.subscription.covers(name));
            state.unasked = unasked.cloned().collect();
        }
    }
}

impl TypeState {
    /// Notes whether the client must still ask for a name that changed.
    pub(super) fn note_unasked(&mut self, name: &Arc<str>, exists: bool) {
        if !self.kind.is_wildcard() && exists && !self.subscription.covers(name) {
            self.unasked.insert(name.clone());
        } else {
            self.unasked.remove(name);
        }
    }

    fn unsettled(&self, snapshot: &Snapshot) -> Unsettled {
        if self.kind.is_wildcard() && !self.subscription.is_open() {
            return Unsettled { waiting: Names::All, refused: Names::default() };
        }
        let in_flight = self.in_flight.iter();
        let sent = in_flight.flat_map(|it| it.upserts.iter().map(|sent| &sent.name).chain(&it.removed));
        let is_sent = |name: &Arc<str>| sent.clone().any(|sent| sent == name);
        // What came with others is tried once more, alone.
        let is_refused = |name: &Arc<str>| self.rejected.get(name).is_some_and(|it| !it.retry) && !is_sent(name);
        let refused = self.rejected.keys().filter(|name| is_refused(name));
        let is_withheld = |name: &Arc<str>, held: &Held| {
            let is_foreign = matches!(held, Held::Version(_) | Held::Unknown);
            is_foreign && snapshot.is_incomplete(self.kind) && !snapshot.get(self.kind).contains_key(name)
        };
        let pending = self.pending.iter().filter(|(name, it)| !is_refused(name) && !is_withheld(name, &it.held));
        let unasked = self.unasked.iter().filter(|name| is_needed(self.kind, name, snapshot));
        let waiting = pending.map(|(name, _)| name).chain(sent.clone()).chain(unasked);
        Unsettled {
            waiting: Names::of(waiting.cloned()),
            refused: if self.rejected_set.is_some() { Names::All } else { Names::of(refused.cloned()) },
        }
    }
}

/// True if something in the snapshot leads to this resource. An operator can give a listener in place of one that does.
fn is_needed(kind: ResourceType, name: &str, snapshot: &Snapshot) -> bool {
    let cluster = snapshot.get(ResourceType::Cluster).get(name);
    let users: &[ResourceType] = match kind {
        ResourceType::Endpoint => return cluster.is_some_and(|it| it.references.iter().any(|it| **it == *name)),
        ResourceType::Route => &[ResourceType::Listener],
        ResourceType::Secret => &[ResourceType::Listener, ResourceType::Cluster],
        ResourceType::Cluster | ResourceType::Listener => return true,
    };
    // Names stand in messages as they are.
    let says = |user: &Arc<Resource>| user.body.windows(name.len()).any(|part| part == name.as_bytes());
    users.iter().any(|user| snapshot.get(*user).values().any(says))
}
