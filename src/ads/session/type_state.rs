//! What one stream knows about one resource type: what the client asked for, and where it may differ from the snapshot.
//!
//! Nothing is kept for a resource that the client holds as it should. `pending` lists the others, so that a stream in
//! sync costs its subscription and no more, whatever the size of the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ads::message::{Event, Variant};
use crate::ads::subscription::Subscription;
use crate::envoy::snapshot::{Numbers, Resource, ResourceSet, ResourceType, Snapshot, Version};
use crate::envoy::stub;

#[derive(Debug)]
pub(super) struct TypeState {
    pub(super) kind: ResourceType,
    pub(super) variant: Variant,
    pub(super) subscription: Subscription,
    /// Names that are looked at in the next flush. Only names that the subscription covers.
    pub(super) pending: BTreeMap<Arc<str>, Pending>,
    /// Contents that the client refused.
    pub(super) rejected: BTreeMap<Arc<str>, Rejection>,
    /// The set that the client refused, where sets travel as a whole, and what of it may be to blame.
    pub(super) rejected_set: Option<(Version, Numbers)>,
    /// It refused a set without saying for what, and has taken none since.
    pub(super) is_unexplained: bool,
    /// The client has a set of an earlier stream, and nobody knows what is in it.
    pub(super) in_doubt: bool,
    pub(super) in_flight: Option<InFlight>,
    /// A response must go out even if it is empty (R26).
    pub(super) answer_due: bool,
    /// The nonce of the latest response.
    pub(super) last_nonce: Option<u64>,
    /// Names in the snapshot that the client has not asked for, of a type that it asks for by name.
    pub(super) unasked: BTreeMap<Arc<str>, Unasked>,
    /// `unasked` was not looked for since the first snapshot: a client that comes back asks for everything next.
    pub(super) unasked_is_due: bool,
    /// The number of the snapshot that the stream took last.
    pub(super) taken: u64,
}

/// A name at which the client may differ from the snapshot.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) held: Held,
    pub(super) reason: Reason,
    /// The snapshots that made it pending.
    pub(super) changed: Numbers,
}

/// A name that the client has not asked for.
#[derive(Debug)]
pub(super) struct Unasked {
    /// The snapshots that changed it.
    pub(super) changed: Numbers,
    /// Something leads to it, once that was looked for.
    pub(super) is_needed: Option<bool>,
}

/// What the client has under a name.
#[derive(Debug)]
pub(super) enum Held {
    Nothing,
    /// It said so when it reconnected.
    Version(Version),
    /// It was sent this and did not refuse.
    Resource(Arc<Resource>),
    /// Something, or nothing: a response with this name was refused (R17), or another control plane gave it.
    Unknown,
}

/// Why a name is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The snapshot changed: nothing to do if the client has it already.
    Changed,
    /// Asked for by a client that says that it holds some version: an answer is due unless it is the right one (R42).
    Resumed,
    /// Sent in any case.
    Forced,
}

/// A content that the client refused under a name; `content` is `None` for a removal.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) content: Option<Version>,
    /// It came with others, so that it may be innocent: sent once more, alone (R17).
    pub(super) retry: bool,
    /// What the client had before and may still use; for whole sets the content itself where nobody knows that.
    pub(super) kept: Option<Arc<Resource>>,
    /// Listeners that were taken away in the same response and whose place this one should take. An Envoy takes away what is
    /// gone before it looks at what is new, so that it has neither of them then: as long as the refusal stands, they stand in.
    pub(super) displaced: Vec<Arc<Resource>>,
}

impl Rejection {
    /// True if nobody knows what the client had before, so that what it refused stays in whole sets all the same.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| Some(kept.version) == self.content)
    }

    /// True as long as this is what the snapshot has, and it is not tried once more.
    fn stands(&self, name: &str, set: &ResourceSet) -> bool {
        !self.retry && set.get(name).is_some_and(|wanted| self.content == Some(wanted.version))
    }
}

/// The response that the client has not answered yet.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    pub(super) sent_at: Duration,
    /// Waited for long enough: nothing else waits for it any more (R19).
    pub(super) overdue: bool,
    /// What was new in it, sorted by name.
    pub(super) upserts: Vec<Sent>,
    pub(super) removed: Vec<Arc<str>>,
    /// The version of the whole set, where sets travel as a whole.
    pub(super) set: Option<Version>,
    /// The snapshots that all of it comes from.
    pub(super) changed: Numbers,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) name: Arc<str>,
    pub(super) version: Version,
    pub(super) before: Option<Arc<Resource>>,
    /// What to go on with if it is refused: for a listener, those that the same response takes away and whose place it takes.
    pub(super) displaced: Vec<Arc<Resource>>,
    /// The snapshots that it comes from.
    pub(super) changed: Numbers,
}

/// What should happen to a pending name.
#[derive(Debug)]
pub(super) enum Action {
    Upsert(Arc<Resource>),
    /// The client has it and should not.
    Remove(Arc<str>),
    /// The client asks for it and it does not exist (R22).
    Deny(Arc<str>),
}

impl Action {
    fn content(&self) -> Option<Version> {
        match self {
            Action::Upsert(resource) => Some(resource.version),
            Action::Remove(_) | Action::Deny(_) => None,
        }
    }
}

/// The pending names of one type that may be sent now.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) upserts: Vec<Arc<Resource>>,
    pub(super) removals: Vec<Arc<str>>,
    pub(super) denials: Vec<Arc<str>>,
    /// Sent one by one when there is nothing else.
    pub(super) retries: Vec<Action>,
}

impl TypeState {
    pub(super) fn new(kind: ResourceType, variant: Variant) -> Self {
        Self {
            kind,
            variant,
            subscription: Subscription::default(),
            pending: BTreeMap::new(),
            rejected: BTreeMap::new(),
            rejected_set: None,
            is_unexplained: false,
            in_doubt: false,
            in_flight: None,
            answer_due: false,
            last_nonce: None,
            unasked: BTreeMap::new(),
            unasked_is_due: false,
            taken: 0,
        }
    }

    /// True if every response holds all that the client should have, and what is missing is deleted (R30).
    pub(super) fn sends_whole_set(&self) -> bool {
        self.variant == Variant::StateOfTheWorld && self.kind.is_wildcard()
    }

    /// True if a response may be sent: at most one is unanswered (R47).
    pub(super) fn can_send(&self) -> bool {
        self.subscription.is_open() && self.in_flight.is_none()
    }

    /// True if others should wait for the answer to a response of this type.
    pub(super) fn is_unanswered(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|sent| !sent.overdue)
    }

    /// True if a resource is on its way to the client, or about to be, and not refused or overdue.
    pub(super) fn is_awaiting(&self, name: &str, set: &ResourceSet) -> bool {
        if let Some(sent) = &self.in_flight {
            if sent.overdue {
                return false;
            }
            if sent.upserts.binary_search_by(|sent| (*sent.name).cmp(name)).is_ok() {
                return true;
            }
        }
        let Some((name, pending)) = self.pending.get_key_value(name) else { return false };
        match self.action(name, pending, set) {
            Some(action @ Action::Upsert(_)) => !self.is_rejected(name, action.content()),
            Some(Action::Remove(_) | Action::Deny(_)) | None => false,
        }
    }

    /// Notes that the snapshot has something else under a name than before, since one of these.
    pub(super) fn note_change(&mut self, name: &Arc<str>, before: Option<&Arc<Resource>>, changed: Numbers) {
        if self.subscription.covers(name) {
            let before = before.or_else(|| self.stands_in(name));
            let held = before.map_or(Held::Nothing, |resource| Held::Resource(resource.clone()));
            self.note_pending(name, held, Reason::Changed, changed);
        }
    }

    /// A name is pending. What the client has, and why it is, stays what it was if it has been pending already.
    pub(super) fn note_pending(
        &mut self,
        name: &Arc<str>,
        held: Held,
        reason: Reason,
        changed: Numbers,
    ) -> &mut Pending {
        let pending = self.pending.entry(name.clone()).or_insert(Pending { held, reason, changed });
        pending.changed = pending.changed.and(changed);
        pending
    }

    /// Whatever snapshot the client may not have all of.
    pub(super) fn all_taken(&self) -> Numbers {
        Numbers::up_to(self.taken)
    }

    /// Sends a name in any case. `held` is what the client has if nothing says otherwise.
    pub(super) fn force(&mut self, name: &Arc<str>, held: Held) {
        let changed = self.all_taken();
        self.note_pending(name, held, Reason::Forced, changed).reason = Reason::Forced;
    }

    /// Sends a name in any case that the client holds as it should, unless it is pending already.
    pub(super) fn force_again(&mut self, name: &Arc<str>, set: &ResourceSet) {
        let held = set.get(name).map_or(Held::Nothing, |resource| Held::Resource(resource.clone()));
        self.force(name, held);
    }

    /// Forgets what the subscription covers no longer.
    pub(super) fn forget_uncovered(&mut self) {
        let subscription = &self.subscription;
        self.pending.retain(|name, _| subscription.covers(name));
        self.rejected.retain(|name, _| subscription.covers(name));
    }

    /// Drops pending names that turn out to be in order, and sorts the others.
    pub(super) fn gather(&mut self, snapshot: &Snapshot) -> Batch {
        let set = snapshot.get(self.kind);
        self.look_at_standins(set);
        let mut pending = std::mem::take(&mut self.pending);
        let mut batch = Batch::default();
        pending.retain(|name, entry| match self.action(name, entry, set) {
            None => false,
            Some(Action::Remove(_)) if self.is_withheld(name, entry, snapshot) => true,
            Some(action) => {
                self.sort_into(&mut batch, name, action);
                true
            }
        });
        self.pending = pending;
        batch
    }

    /// Looks at what stands in for refused listeners: whether it still should, and as what.
    fn look_at_standins(&mut self, set: &ResourceSet) {
        let mut held = Vec::new();
        for (refused, rejection) in &mut self.rejected {
            if rejection.retry {
                // It was taken away, and is not given back yet.
                continue;
            }
            held.extend(rejection.displaced.iter().cloned());
            rejection.displaced.retain(|standin| !set.contains_key(&standin.name));
            // What callers may do is in there as it is today.
            let generated = set.get(refused).and_then(|wanted| wanted.instead_of.as_ref());
            for standin in &mut rejection.displaced {
                if let Some(generated) = generated.filter(|it| it.name == standin.name) {
                    standin.clone_from(generated);
                }
            }
        }
        for standin in held {
            self.note_pending(&standin.name.clone(), Held::Resource(standin), Reason::Changed, self.all_taken());
        }
    }

    /// What stands in under a name.
    fn stands_in(&self, name: &str) -> Option<&Arc<Resource>> {
        let refusals = self.rejected.values().filter(|rejection| !rejection.retry);
        refusals.flat_map(|rejection| &rejection.displaced).find(|standin| *standin.name == *name)
    }

    /// Whatever stands in for something that the client refused.
    pub(super) fn standins<'s>(&'s self, set: &'s ResourceSet) -> impl Iterator<Item = &'s Arc<Resource>> {
        let refusals = self.rejected.iter().filter(|(refused, rejection)| rejection.stands(refused, set));
        refusals.flat_map(|(_, rejection)| &rejection.displaced)
    }

    /// What the client should have under a name.
    fn wanted<'s>(&'s self, name: &str, set: &'s ResourceSet) -> Option<&'s Arc<Resource>> {
        set.get(name).or_else(|| self.standins(set).find(|standin| *standin.name == *name))
    }

    /// True if another process gave it to the client, perhaps for what this one could not make.
    pub(super) fn is_withheld(&self, name: &str, pending: &Pending, snapshot: &Snapshot) -> bool {
        snapshot.is_incomplete(self.kind)
            && matches!(pending.held, Held::Version(_) | Held::Unknown)
            && !snapshot.get(self.kind).contains_key(name)
    }

    fn sort_into(&self, batch: &mut Batch, name: &str, action: Action) {
        if self.is_rejected(name, action.content()) {
            if self.rejected.get(name).is_some_and(|rejection| rejection.retry) {
                batch.retries.push(action);
            }
            return;
        }
        match action {
            Action::Upsert(resource) => batch.upserts.push(resource),
            Action::Remove(name) => batch.removals.push(name),
            Action::Deny(name) => batch.denials.push(name),
        }
    }

    fn is_rejected(&self, name: &str, content: Option<Version>) -> bool {
        self.rejected.get(name).is_some_and(|rejection| rejection.content == content)
    }

    /// What a pending name needs; `None` if the client is as it should be.
    fn action(&self, name: &Arc<str>, pending: &Pending, set: &ResourceSet) -> Option<Action> {
        let Some(resource) = self.wanted(name, set) else { return self.action_without(name, pending) };
        let is_held = match &pending.held {
            Held::Nothing | Held::Unknown => false,
            Held::Version(version) => *version == resource.version,
            Held::Resource(held) => held.version == resource.version,
        };
        (pending.reason == Reason::Forced || !is_held).then(|| Action::Upsert(resource.clone()))
    }

    /// What a name needs that the snapshot does not have. Named routes, endpoints and secrets are never taken away: the
    /// client keeps them until what uses them is gone, and then unsubscribes (R33).
    fn action_without(&self, name: &Arc<str>, pending: &Pending) -> Option<Action> {
        let holds_nothing = matches!(pending.held, Held::Nothing);
        let is_asked = pending.reason != Reason::Changed;
        let gone = || if holds_nothing { Action::Deny(name.clone()) } else { Action::Remove(name.clone()) };
        let is_named = self.subscription.names(name);
        match (self.variant, self.kind) {
            (_, ResourceType::Route) if is_named => {
                (is_asked && holds_nothing).then(|| Action::Upsert(Arc::new(stub::missing_route(name))))
            }
            (Variant::Delta, ResourceType::Route) => (!holds_nothing).then(gone),
            (Variant::Delta, ResourceType::Secret | ResourceType::Endpoint) if is_named => is_asked.then(gone),
            (Variant::Delta, _) => (is_asked || !holds_nothing).then(gone),
            (Variant::StateOfTheWorld, ResourceType::Cluster | ResourceType::Listener) => (!holds_nothing).then(gone),
            (Variant::StateOfTheWorld, ResourceType::Secret | ResourceType::Endpoint | ResourceType::Route) => None,
        }
    }

    /// Has what was refused sent once more: it may have been for a secret that it leads to, which is another one now.
    ///
    /// Not where something stands in for it: that would have to go for the attempt, which costs its connections.
    pub(super) fn try_refused_again(&mut self) {
        for rejection in self.rejected.values_mut() {
            rejection.retry |= rejection.displaced.is_empty();
        }
        self.answer_due |= self.rejected_set.take().is_some();
    }

    /// Takes the answer to the response in flight.
    pub(super) fn on_answer(&mut self, rejection: Option<String>) -> Option<Event> {
        let sent = self.in_flight.take()?;
        match rejection {
            None => self.on_ack(sent),
            Some(message) => Some(self.on_nack(sent, message)),
        }
    }

    fn on_ack(&mut self, sent: InFlight) -> Option<Event> {
        let names = sent.upserts.iter().map(|sent| &sent.name).chain(&sent.removed);
        for name in names {
            self.rejected.remove(name);
        }
        // What is gone does not stand in any more. Until a refused one was tried once more, it is not given back yet.
        for rejection in self.rejected.values_mut().filter(|rejection| !rejection.retry) {
            rejection.displaced.retain(|standin| !sent.removed.contains(&standin.name));
        }
        if self.sends_whole_set() {
            // What is in doubt was in it.
            self.rejected.retain(|_, rejection| !rejection.is_in_doubt());
        }
        (self.rejected_set, self.is_unexplained, self.in_doubt) = (None, false, false);
        // While a refused resource is outstanding, the client has not taken everything.
        self.rejected.is_empty().then_some(Event::Acked { kind: self.kind })
    }

    /// A refused response may be applied in part: what the client has under its names is not known any more (R17).
    fn on_nack(&mut self, sent: InFlight, message: String) -> Event {
        let resources = sent.upserts.iter().map(|sent| (sent.name.clone(), sent.version)).collect();
        if self.sends_whole_set() {
            self.on_refused_set(sent, &message);
        } else {
            let is_alone = sent.upserts.len() == 1;
            let retry = sent.upserts.len() + sent.removed.len() > 1;
            let upserts = sent.upserts.into_iter().map(|it| {
                // Nobody refuses that something goes. An attempt without it would only keep its place empty for longer.
                let retry = retry && (!is_alone || it.displaced.is_empty());
                let content = Some(it.version);
                (it.name, Rejection { content, retry, kept: it.before, displaced: it.displaced }, it.changed)
            });
            let removed = sent.removed.into_iter().map(|name| {
                (name, Rejection { content: None, retry, kept: None, displaced: Vec::new() }, sent.changed)
            });
            for (name, rejection, changed) in upserts.chain(removed) {
                self.reject(name, rejection, changed);
            }
        }
        Event::Nacked { kind: self.kind, resources, message }
    }

    pub(super) fn reject(&mut self, name: Arc<str>, mut rejection: Rejection, changed: Numbers) {
        if !self.subscription.covers(&name) {
            return;
        }
        self.note_pending(&name, Held::Unknown, Reason::Changed, changed).held = Held::Unknown;
        if let Some(earlier) = self.rejected.remove(&name) {
            rejection.kept = rejection.kept.or(earlier.kept);
            let is_new = |it: &Arc<Resource>| rejection.displaced.iter().all(|known| known.name != it.name);
            let more: Vec<_> = earlier.displaced.into_iter().filter(is_new).collect();
            rejection.displaced.extend(more);
        }
        // Each stands in for one of them.
        for other in self.rejected.values_mut() {
            other.displaced.retain(|standin| rejection.displaced.iter().all(|it| it.name != standin.name));
        }
        if !rejection.retry {
            rejection.displaced.retain(|standin| self.subscription.covers(&standin.name));
            for standin in &rejection.displaced {
                self.note_pending(&standin.name, Held::Unknown, Reason::Changed, changed).held = Held::Unknown;
            }
        }
        self.rejected.insert(name, rejection);
    }
}
