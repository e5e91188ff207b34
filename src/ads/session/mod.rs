//! One xDS stream as a plain value: requests and snapshots in, responses out.
//!
//! The client holds some state; the snapshot says what it should be. A session sends the difference, in an order that
//! never leaves the client pointing at something that is not there, and at most one response per type that the client
//! has not answered. It keeps no queue of changes: what is sent is computed when it can be sent, from the latest snapshot.
//!
//! ```text
//!   on_request ──► subscriptions, answers ─┐
//!   on_snapshot ─► what changed ───────────┼─► pending names ──► next() ──► response, in the order of `order`
//!   on_tick ─────► what is overdue ────────┘
//! ```
//!
//! Time is the age of the stream and is passed in.

mod delta;
mod flush;
mod progress;
mod sotw;
mod type_state;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use self::type_state::TypeState;
use super::message::{Event, Interest, Request, RequestError, Response, Variant};
use super::order::STEPS;
use crate::envoy::snapshot::{Numbers, Published, Resource, ResourceSet, ResourceType, Snapshot};

/// How long a response may stay unanswered before nothing waits for it any more: Envoy's fetch timeout of 15 s, after
/// which it goes on without what it waits for, and a margin (xds-protocol, R19).
const ACK_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest resource name in bytes.
const NAME_LIMIT: usize = 2048;

/// Longest reason of a refusal that is kept, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    names_limit: usize,
    types: [TypeState; 5],
    /// `None` until the proxy is known; nothing is answered before.
    snapshot: Option<Arc<Snapshot>>,
    /// Endpoints of clusters that were sent before the client asked for endpoints: they are sent whatever it holds.
    owed_endpoints: BTreeSet<Arc<str>>,
    next_nonce: u64,
}

impl Session {
    /// A stream that just opened. It may name at most `names_limit` resources of each type.
    pub fn new(variant: Variant, names_limit: usize) -> Self {
        let types = ResourceType::ALL.map(|kind| TypeState::new(kind, variant));
        Self { names_limit, types, snapshot: None, owed_endpoints: BTreeSet::new(), next_nonce: 1 }
    }

    /// Takes what the client says. Responses follow from [`Session::next`].
    ///
    /// # Errors
    /// The request asks for more than a stream may hold. The session is unchanged; the stream should end.
    pub fn on_request(&mut self, request: Request) -> Result<Option<Event>, RequestError> {
        let Request { kind, nonce, rejection, interest } = request;
        let rejection = rejection.map(|message| truncate(message, MESSAGE_LIMIT));
        match interest {
            Interest::Delta { subscribe, unsubscribe, initial_versions } => {
                let new = subscribe.iter().filter(|name| !self.state(kind).subscription.names(name)).count();
                self.check_count(kind, initial_versions.len().max(new + self.state(kind).subscription.count()))?;
                check_lengths(kind, subscribe.iter().chain(initial_versions.iter().map(|(name, _)| name)))?;
                let event = self.on_delta_answer(kind, &nonce, rejection);
                self.on_delta_interest(kind, &subscribe, &unsubscribe, &initial_versions);
                self.note_asked(kind, &subscribe, &unsubscribe);
                Ok(event)
            }
            Interest::StateOfTheWorld { names, has_taken } => {
                self.check_count(kind, names.len())?;
                check_lengths(kind, names.iter())?;
                self.state_mut(kind).note_taken_before(has_taken);
                let event = self.on_sotw(kind, &nonce, rejection, &names);
                self.find_unasked(kind);
                Ok(event)
            }
        }
    }

    /// Takes what the client should have from now on.
    pub fn on_snapshot(&mut self, Published { number, snapshot }: Published) {
        let is_first = self.snapshot.is_none();
        if is_first {
            self.meet(&snapshot, number);
        }
        self.find_all_unasked();
        let before = self.snapshot.take().unwrap_or_default();
        if !is_same_set(before.get(ResourceType::Secret), snapshot.get(ResourceType::Secret)) {
            for kind in [ResourceType::Cluster, ResourceType::Listener] {
                self.state_mut(kind).try_refused_again();
            }
        }
        for state in &mut self.types {
            let changed = Numbers { after: state.taken, until: number };
            state.taken = number;
            let (old, new) = (before.get(state.kind), snapshot.get(state.kind));
            if is_first {
                // As long as nothing was asked for, there is no name to look at.
                state.unasked_is_due = !state.kind.is_wildcard();
                if !state.subscription.is_open() {
                    continue;
                }
            }
            if old.ptr_eq(new) {
                continue;
            }
            for (name, held) in old.changes_to(new) {
                if !is_first {
                    state.note_unasked(name, new.contains_key(name), changed);
                }
                if state.subscription.is_open() {
                    state.note_change(name, held, changed);
                }
            }
        }
        let leads_elsewhere = |kind| !before.get(kind).ptr_eq(snapshot.get(kind));
        if leads_elsewhere(ResourceType::Listener) || leads_elsewhere(ResourceType::Cluster) {
            self.types.iter_mut().for_each(TypeState::forget_needs);
        }
        self.snapshot = Some(snapshot);
    }

    /// What was asked for before the proxy was known has texts of its own, and waits for the first snapshot.
    fn meet(&mut self, snapshot: &Snapshot, number: u64) {
        for state in &mut self.types {
            for pending in state.pending.values_mut() {
                pending.changed = Numbers::up_to(number);
            }
            let known = snapshot.get(state.kind);
            state.subscription.share_names(|name| known.get(name).map(|known| known.name.clone()));
        }
    }

    /// Looks for answers that have not come in time.
    pub fn on_tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        for state in &mut self.types {
            if let Some(sent) = &mut state.in_flight
                && !sent.overdue
                && sent.sent_at + ACK_TIMEOUT <= now
            {
                sent.overdue = true;
                events.push(Event::Overdue { kind: state.kind });
            }
        }
        events
    }

    /// When [`Session::on_tick`] has something to find; `None` while no answer is waited for.
    pub fn next_tick(&self) -> Option<Duration> {
        let waiting = self.types.iter().filter_map(|state| state.in_flight.as_ref()).filter(|sent| !sent.overdue);
        waiting.map(|sent| sent.sent_at + ACK_TIMEOUT).min()
    }

    /// The next response to send; `None` if there is nothing to send until something happens.
    pub fn next(&mut self, now: Duration) -> Option<Response> {
        let snapshot = self.snapshot.clone()?;
        STEPS.into_iter().find_map(|step| self.take_step(step, &snapshot, now))
    }

    /// True once the proxy is known.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    fn check_count(&self, kind: ResourceType, count: usize) -> Result<(), RequestError> {
        let limit = self.names_limit;
        if count > limit { Err(RequestError::TooManyNames { kind, count, limit }) } else { Ok(()) }
    }

    /// The names as the snapshot has them, so that a subscription shares their text; sorted, each of them once.
    fn share_names(&self, kind: ResourceType, names: &[String]) -> Vec<Arc<str>> {
        let mut sorted: Vec<_> = names.iter().map(|name| &**name).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let Some(snapshot) = &self.snapshot else { return sorted.into_iter().map(Arc::from).collect() };
        let known = snapshot.get(kind).get_sorted(sorted.iter().copied());
        let share = |(name, known): (&&str, Option<&Arc<Resource>>)| match known {
            Some(known) => known.name.clone(),
            None => Arc::from(*name),
        };
        sorted.iter().zip(known).map(share).collect()
    }

    fn state(&self, kind: ResourceType) -> &TypeState {
        &self.types[kind as usize]
    }

    fn state_mut(&mut self, kind: ResourceType) -> &mut TypeState {
        &mut self.types[kind as usize]
    }
}

/// Sets that nobody touched are one; to see that costs nothing.
fn is_same_set(a: &ResourceSet, b: &ResourceSet) -> bool {
    a.ptr_eq(b) || a == b
}

fn check_lengths<'a>(kind: ResourceType, names: impl Iterator<Item = &'a String>) -> Result<(), RequestError> {
    match names.map(String::len).max() {
        Some(length) if length > NAME_LIMIT => Err(RequestError::NameTooLong { kind, length, limit: NAME_LIMIT }),
        Some(_) | None => Ok(()),
    }
}

fn truncate(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.shrink_to_fit();
    }
    text
}
