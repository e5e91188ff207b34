//! Requests of the State-of-the-World form.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Session;
use super::type_state::{Held, InFlight, Reason, Rejection, Sent, TypeState};
use crate::ads::message::Event;
use crate::ads::subscription::Changes;
use crate::envoy::snapshot::{ResourceSet, ResourceType};

/// How a request stands to the latest response of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There was no response yet.
    First,
    /// It answers an older response: the answer to the latest one follows and holds the complete list (R12).
    Stale,
    Answer,
    /// The response was answered already, so that the client speaks by itself.
    Again,
}

impl Session {
    pub(super) fn on_sotw(
        &mut self,
        kind: ResourceType,
        nonce: &str,
        rejection: Option<String>,
        names: &[String],
    ) -> Option<Event> {
        let names = self.share_names(kind, names);
        let snapshot = self.snapshot.clone().unwrap_or_default();
        let set = snapshot.get(kind);
        let state = self.state_mut(kind);
        let standing = state.standing(nonce);
        let event = match standing {
            Standing::Stale => {
                state.note_stale(&names);
                return None;
            }
            Standing::Answer => state.on_answer(rejection),
            Standing::First | Standing::Again => None,
        };
        let is_first = !state.subscription.is_open();
        let changes = state.subscription.apply_sotw(kind, &names);
        state.forget_uncovered();
        if standing == Standing::Again && changes.is_empty() {
            state.answer_again(set);
        } else {
            state.answer_changes(&changes, set, is_first);
        }
        event
    }
}

impl TypeState {
    /// Notes what the first request says about earlier streams.
    pub(super) fn note_taken_before(&mut self, has_taken: bool) {
        self.in_doubt |= has_taken && self.last_nonce.is_none() && self.sends_whole_set();
    }

    /// A client that says what it refuses of a set gets the set without that: with what it had instead, and with the
    /// listeners whose place that should have taken. Where it may have had something that nobody knows, the refused one stays
    /// in, as Envoy keeps what it has under a name that is still there.
    ///
    /// Where it does not say, the set is not sent again until it changes.
    pub(super) fn on_refused_set(&mut self, sent: InFlight, message: &str) {
        // What had been taken before is not to blame.
        let had_more = self.is_unexplained || self.rejected.values().any(Rejection::is_in_doubt);
        let is_alone = sent.upserts.len() == 1 && !had_more;
        self.rejected_set = sent.set.map(|set| (set, sent.changed));
        for gone in &sent.removed {
            self.rejected.remove(gone);
        }
        let is_refused = |it: &Sent| is_alone || is_named(&it.name, message);
        let (refused, others): (Vec<_>, Vec<_>) = sent.upserts.into_iter().partition(is_refused);
        if refused.is_empty() {
            self.is_unexplained = true;
            return;
        }
        self.answer_due = true;
        for it in refused {
            let content = Some(it.version);
            let rejection = Rejection { content, retry: false, kept: it.before, displaced: it.displaced };
            self.reject(it.name, rejection, it.changed);
        }
        // A set that cannot be read is refused as a whole, so that nothing of it is there.
        for it in others {
            let held = match it.before {
                Some(before) if before.version == it.version => Held::Unknown,
                Some(before) => Held::Resource(before),
                None => Held::Nothing,
            };
            self.note_pending(&it.name, held, Reason::Changed, it.changed);
        }
    }

    fn standing(&self, nonce: &str) -> Standing {
        match self.last_nonce {
            None => Standing::First,
            Some(latest) if latest.to_string() != nonce => Standing::Stale,
            Some(_) if self.in_flight.is_some() => Standing::Answer,
            Some(_) => Standing::Again,
        }
    }

    /// A list that is too old to be followed still tells what the client dropped. If the next one names that again, the
    /// client waits for it.
    fn note_stale(&mut self, names: &[Arc<str>]) {
        let names: BTreeSet<_> = names.iter().collect();
        let dropped: Vec<_> = self.subscription.iter().filter(|name| !names.contains(name)).cloned().collect();
        for name in &dropped {
            if self.sends_whole_set() {
                self.answer_due = true;
            } else {
                self.force(name, Held::Nothing);
            }
        }
    }

    /// Answers what the request added. The first request of a type is answered even if there is nothing (R26).
    fn answer_changes(&mut self, changes: &Changes, set: &ResourceSet, is_first: bool) {
        let changed = self.all_taken();
        if changes.wildcard_asked {
            for name in set.keys() {
                self.note_change(name, None, changed);
            }
        }
        for name in &changes.asked {
            if self.sends_whole_set() {
                self.note_change(name, None, changed);
            } else {
                self.force(name, Held::Nothing);
            }
        }
        let is_more = changes.wildcard_asked || !changes.asked.is_empty();
        self.answer_due |= is_more && (self.sends_whole_set() || (is_first && changes.wildcard_asked));
    }

    /// Sends once more what the client asks for. Envoy repeats its request for endpoints after a cluster changed, and
    /// waits for them (R39).
    fn answer_again(&mut self, set: &ResourceSet) {
        let is_wildcard = self.subscription.is_wildcard();
        if self.sends_whole_set() {
            self.answer_due = is_wildcard || self.subscription.count() > 0;
            return;
        }
        let named: Vec<_> =
            if is_wildcard { set.keys().cloned().collect() } else { self.subscription.iter().cloned().collect() };
        for name in &named {
            self.force_again(name, set);
        }
    }
}

/// True if a client says that it refuses this resource. Envoy lists those that it cannot use (`ours: why, other: why`), and
/// prints one that it cannot even read, fields of it in lines of their own.
fn is_named(name: &str, message: &str) -> bool {
    let is_listed = |(at, _): (usize, &str)| message[..at].is_empty() || message[..at].ends_with([' ', '\n']);
    let is_printed = || message.lines().any(|line| line == format!("name: \"{name}\""));
    message.match_indices(&format!("{name}: ")).any(is_listed) || is_printed()
}
