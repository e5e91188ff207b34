//! How far the client is: what of the snapshot it does not hold as it should, and since when.
//!
//! **Invariant.** What is not told was acknowledged on this stream, or the client said when it opened the stream that it
//! holds it. A resource that the client must have and has not even asked for is told.
//!
//! For each name it is known which snapshots it is pending for, so that whoever asks about a commit can tell a resource that
//! the commit changed from one that was refused before. That costs nothing for what the client holds as it should.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use super::type_state::{Pending, TypeState, Unasked};
use crate::ads::subscription::EVERYTHING;
use crate::envoy::snapshot::{Numbers, Open, Progress, Resource, ResourceType, Snapshot, Unsettled};

/// Most names of each type that are told one by one.
const MOST: usize = 16;

impl Session {
    /// How far the client is with the snapshot; `None` while it is about to answer something, and before there is one.
    pub fn progress(&mut self) -> Option<Progress> {
        let snapshot = self.snapshot.clone()?;
        if self.types.iter().any(TypeState::is_unanswered) {
            return None;
        }
        self.find_all_unasked();
        let taken = self.state(ResourceType::Cluster).taken;
        Some(Progress {
            taken,
            unsettled: self.types.iter_mut().flat_map(|state| state.unsettled(&snapshot)).collect(),
        })
    }

    /// Takes note of what the client asks for, and of what it no longer does.
    pub(super) fn note_asked(&mut self, kind: ResourceType, subscribe: &[String], unsubscribe: &[String]) {
        if subscribe.iter().chain(unsubscribe).any(|name| name == EVERYTHING) {
            self.find_unasked(kind);
            return;
        }
        let Some(snapshot) = self.snapshot.clone().filter(|_| !kind.is_wildcard()) else { return };
        let state = self.state_mut(kind);
        if state.unasked_is_due {
            return;
        }
        let changed = state.all_taken();
        for name in subscribe {
            state.unasked.remove(&**name);
        }
        for name in unsubscribe {
            if let Some(known) = snapshot.get(kind).get(name) {
                state.note_unasked(&known.name, true, changed);
            }
        }
    }

    /// Looks which names the client has not asked for, where that is due.
    pub(super) fn find_all_unasked(&mut self) {
        for kind in ResourceType::ALL {
            if self.state(kind).unasked_is_due {
                self.find_unasked(kind);
            }
        }
    }

    /// Looks again which names of the snapshot the client has not asked for.
    pub(super) fn find_unasked(&mut self, kind: ResourceType) {
        let Some(snapshot) = self.snapshot.clone().filter(|_| !kind.is_wildcard()) else { return };
        let state = self.state_mut(kind);
        state.unasked_is_due = false;
        let mut known = std::mem::take(&mut state.unasked);
        let with_past = state.subscription.uncovered(snapshot.get(kind).keys()).map(|name| {
            let fresh = Unasked { changed: state.all_taken(), is_needed: None };
            (name.clone(), known.remove(name).unwrap_or(fresh))
        });
        state.unasked = with_past.collect();
    }
}

impl TypeState {
    /// Notes whether the client must still ask for a name that these snapshots changed.
    pub(super) fn note_unasked(&mut self, name: &Arc<str>, exists: bool, changed: Numbers) {
        if !self.kind.is_wildcard() && exists && !self.subscription.covers(name) {
            let unasked = self.unasked.entry(name.clone()).or_insert(Unasked { changed, is_needed: None });
            unasked.changed = unasked.changed.and(changed);
        } else if self.unasked.remove(name).is_some() && self.unasked.is_empty() {
            self.unasked = BTreeMap::new();
        }
    }

    /// What leads to resources of this type is something else.
    pub(super) fn forget_needs(&mut self) {
        for unasked in self.unasked.values_mut() {
            unasked.is_needed = None;
        }
    }

    fn unsettled(&mut self, snapshot: &Snapshot) -> Vec<Unsettled> {
        let kind = self.kind;
        let all = |changed, why| Unsettled { kind, name: None, changed, why };
        if kind.is_wildcard() && !self.subscription.is_open() {
            return vec![all(Numbers::ALL, Open::Waiting)];
        }
        let named =
            |(name, changed): (&Arc<str>, Numbers), why| Unsettled { kind, name: Some(name.clone()), changed, why };
        let mut unasked = Vec::new();
        for (name, it) in &mut self.unasked {
            if unasked.len() > MOST {
                return vec![all(Numbers::up_to(self.taken), Open::Waiting)];
            }
            if *it.is_needed.get_or_insert_with(|| is_needed(kind, name, snapshot)) {
                unasked.push(named((name, it.changed), Open::Waiting));
            }
        }
        let why = |name: &Arc<str>, it: &Pending| match self.rejected.get(name) {
            // What came with others is tried once more, alone.
            Some(rejection) if !rejection.retry => Open::Refused,
            _ if self.is_withheld(name, it, snapshot) => Open::Withheld,
            _ => Open::Waiting,
        };
        let pending = self.pending.iter().map(|(name, it)| named((name, it.changed), why(name, it)));
        let overdue = self.in_flight.iter().flat_map(|it| {
            let upserts = it.upserts.iter().map(|sent| (&sent.name, sent.changed));
            upserts.chain(it.removed.iter().map(|name| (name, it.changed))).map(|sent| named(sent, Open::Waiting))
        });
        let set = self.rejected_set.iter().map(|(_, changed)| all(*changed, Open::Refused));
        let mut unsettled: Vec<_> = pending.chain(overdue).chain(unasked).chain(set).collect();
        if unsettled.len() > MOST {
            let summed = [Open::Waiting, Open::Withheld, Open::Refused].map(|why| {
                let changed = unsettled.iter().filter(|it| it.why == why).map(|it| it.changed);
                changed.reduce(Numbers::and).map(|changed| all(changed, why))
            });
            unsettled = summed.into_iter().flatten().collect();
        }
        unsettled
    }
}

/// True if something in the snapshot leads to this resource. An operator can give a listener in place of one that does.
fn is_needed(kind: ResourceType, name: &str, snapshot: &Snapshot) -> bool {
    let users: &[ResourceType] = match kind {
        ResourceType::Endpoint => {
            let cluster = snapshot.get(ResourceType::Cluster).get(name);
            return cluster.is_some_and(|it| it.references.iter().any(|it| **it == *name));
        }
        ResourceType::Route => &[ResourceType::Listener],
        ResourceType::Secret => &[ResourceType::Listener, ResourceType::Cluster],
        ResourceType::Cluster | ResourceType::Listener => return true,
    };
    // Names stand in messages as they are.
    let named = memchr::memmem::Finder::new(name.as_bytes());
    let says = |user: &Arc<Resource>| named.find(&user.body).is_some();
    users.iter().any(|user| snapshot.get(*user).values().any(says))
}
