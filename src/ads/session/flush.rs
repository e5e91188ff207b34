//! What is sent next: one step of the order, one response.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Session;
use super::type_state::{Action, Batch, Held, InFlight, Sent, TypeState};
use crate::ads::message::{Content, Response, Variant};
use crate::ads::order::{Carries, Step};
use crate::envoy::listening_addresses;
use crate::envoy::snapshot::{Numbers, Resource, ResourceSet, ResourceType, Snapshot, Version};

/// Delta responses are split when their resources exceed this many bytes (R50).
const SPLIT_BYTES: usize = 8 << 20;

/// Where a listener listens.
type Place = (BTreeSet<String>, Arc<Resource>);

/// What a response changes for the client.
#[derive(Debug, Default)]
struct Outgoing {
    upserts: Vec<Arc<Resource>>,
    removed: Vec<Arc<str>>,
}

impl From<Action> for Outgoing {
    fn from(action: Action) -> Self {
        match action {
            Action::Upsert(resource) => Self { upserts: vec![resource], removed: Vec::new() },
            Action::Remove(name) | Action::Deny(name) => Self { upserts: Vec::new(), removed: vec![name] },
        }
    }
}

impl Session {
    /// The response of this step, if one is due and may be sent.
    pub(super) fn take_step(&mut self, step: Step, snapshot: &Snapshot, now: Duration) -> Option<Response> {
        let state = self.state_mut(step.kind);
        if !state.can_send() || (state.pending.is_empty() && !state.answer_due) {
            return None;
        }
        let batch = state.gather(snapshot);
        let outgoing = match step.carries {
            Carries::Upserts => self.choose_upserts(step.kind, batch),
            Carries::Removals => self.choose_removals(batch),
            Carries::All => self.choose_all(step.kind, batch, snapshot),
        }?;
        self.send(step, outgoing, snapshot, now)
    }

    /// Clusters to add or change. Those that are gone stay until nothing uses them; a first answer does not wait for
    /// that, so it may be empty.
    fn choose_upserts(&self, kind: ResourceType, batch: Batch) -> Option<Outgoing> {
        let is_idle = batch.upserts.is_empty() && batch.denials.is_empty();
        if is_idle && !self.state(kind).answer_due {
            let retry = batch.retries.into_iter().find(|retry| !matches!(retry, Action::Remove(_)))?;
            return Some(retry.into());
        }
        Some(Outgoing { upserts: batch.upserts, removed: batch.denials })
    }

    /// Clusters to take away: last of all, after the client answered the listeners and routes that replace their users.
    fn choose_removals(&self, batch: Batch) -> Option<Outgoing> {
        let users = [ResourceType::Listener, ResourceType::Route].map(|user| self.state(user));
        if users.iter().any(|user| user.is_unanswered()) {
            return None;
        }
        // A listener whose change was refused still runs as it was, and so does one whose place another one should take.
        let in_use = |name: &str| {
            let kept = users.iter().flat_map(|user| user.kept());
            kept.flat_map(|kept| kept.references.iter()).any(|used| &**used == name)
        };
        let removed: Vec<_> = batch.removals.into_iter().filter(|name| !in_use(name)).collect();
        if !removed.is_empty() {
            return Some(Outgoing { upserts: Vec::new(), removed });
        }
        let retry = batch.retries.into_iter().find(|retry| matches!(retry, Action::Remove(name) if !in_use(name)))?;
        Some(retry.into())
    }

    /// Everything of one type, less what has to wait for clusters (R36).
    fn choose_all(&self, kind: ResourceType, batch: Batch, snapshot: &Snapshot) -> Option<Outgoing> {
        let waits = |resource: &Arc<Resource>| self.waits_for_cluster(kind, resource, snapshot);
        let (waiting, upserts): (Vec<_>, Vec<_>) = batch.upserts.into_iter().partition(waits);
        let removed = [batch.removals, batch.denials].concat();
        let is_atomic = self.state(kind).sends_whole_set() || (kind == ResourceType::Listener && !removed.is_empty());
        if !waiting.is_empty() && (is_atomic || upserts.is_empty()) {
            // A listener that is gone may leave its address to one that waits (R35).
            return None;
        }
        if upserts.is_empty() && removed.is_empty() && !self.state(kind).answer_due {
            let may_go = |retry: &Action| !matches!(retry, Action::Upsert(resource) if waits(resource));
            return batch.retries.into_iter().find(may_go).map(Outgoing::from);
        }
        Some(Outgoing { upserts, removed })
    }

    /// True if the resource leads to a cluster that the client has not confirmed yet.
    fn waits_for_cluster(&self, kind: ResourceType, resource: &Resource, snapshot: &Snapshot) -> bool {
        let clusters = self.state(ResourceType::Cluster);
        let is_gated = matches!(kind, ResourceType::Listener | ResourceType::Route);
        if !is_gated || (clusters.in_flight.is_none() && clusters.pending.is_empty()) {
            return false;
        }
        resource.references.iter().any(|name| clusters.is_awaiting(name, snapshot.get(ResourceType::Cluster)))
    }

    /// Notes what is sent and builds the response. `None` if the client refused exactly this set before.
    fn send(&mut self, step: Step, mut outgoing: Outgoing, snapshot: &Snapshot, now: Duration) -> Option<Response> {
        let nonce = self.next_nonce;
        let set = snapshot.get(step.kind);
        let state = self.state_mut(step.kind);
        let is_whole = state.sends_whole_set();
        // Listeners that are gone share their response with those that may take their address.
        if !is_whole && (step.kind != ResourceType::Listener || outgoing.removed.is_empty()) {
            cut(&mut outgoing.upserts);
        }
        let places = state.places(&outgoing);
        let gone = outgoing.removed.iter().filter_map(|name| state.pending.remove(name));
        let of_removals: Vec<_> = gone.map(|pending| pending.changed).collect();
        let sent = outgoing.upserts.iter().map(|resource| state.mark_sent(resource, &places));
        let upserts: Vec<_> = sent.collect();
        let of_upserts = upserts.iter().map(|sent| sent.changed);
        let mut changed =
            of_upserts.chain(of_removals.iter().copied()).reduce(Numbers::and).unwrap_or_else(|| state.all_taken());
        if state.pending.is_empty() {
            // An empty map keeps a node, and most streams have nothing pending for most of the time.
            state.pending = BTreeMap::new();
        }
        state.answer_due = false;
        let content = state.content(&outgoing, set);
        let version = match &content {
            Content::Delta { .. } => None,
            Content::StateOfTheWorld { version, .. } => Some(*version),
        };
        if let Some((rejected, of_rejected)) = &mut state.rejected_set {
            // What was refused with the earlier set is in this one as well.
            changed = of_rejected.and(changed);
            *of_rejected = changed;
            if Some(*rejected) == version {
                return None;
            }
        }
        let (removed, overdue) = (outgoing.removed, false);
        state.in_flight = Some(InFlight { nonce, sent_at: now, overdue, upserts, removed, set: version, changed });
        state.last_nonce = Some(nonce);
        self.next_nonce += 1;
        if step.kind == ResourceType::Cluster {
            self.make_endpoints_due(&outgoing.upserts, snapshot);
        }
        Some(Response { kind: step.kind, nonce, content })
    }

    /// A cluster that is sent warms until its endpoints follow it, changed or not (R37).
    fn make_endpoints_due(&mut self, clusters: &[Arc<Resource>], snapshot: &Snapshot) {
        let set = snapshot.get(ResourceType::Endpoint);
        for name in clusters.iter().flat_map(|cluster| cluster.references.iter()) {
            let endpoints = self.state_mut(ResourceType::Endpoint);
            if endpoints.subscription.covers(name) {
                endpoints.force_again(name, set);
            } else if endpoints.variant == Variant::Delta && !endpoints.subscription.is_open() {
                self.owed_endpoints.insert(name.clone());
            }
        }
    }
}

impl TypeState {
    /// What the client may still use, though the snapshot does not have it or has something else.
    fn kept(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let is_whole = self.sends_whole_set();
        self.rejected.values().flat_map(move |rejection| {
            let is_known = !(is_whole && rejection.is_in_doubt());
            rejection.kept.iter().filter(move |_| is_known).chain(&rejection.displaced)
        })
    }

    /// The listeners that this takes away while it adds others, as far as it is known what the client has.
    fn places(&self, outgoing: &Outgoing) -> Vec<Place> {
        if self.kind != ResourceType::Listener || outgoing.upserts.is_empty() {
            return Vec::new();
        }
        let generated = |name: &str| {
            let mut generated = outgoing.upserts.iter().filter_map(|upsert| upsert.instead_of.as_ref());
            generated.find(|it| *it.name == *name)
        };
        let held = |name: &Arc<str>| match &self.pending.get(name)?.held {
            Held::Resource(held) => Some(held),
            // The client said what it has when it came back, or was given it by another control plane.
            Held::Nothing | Held::Version(_) | Held::Unknown => {
                let kept = self.rejected.get(name).and_then(|rejection| rejection.kept.as_ref());
                kept.or_else(|| generated(name))
            }
        };
        // Whoever stands in for one that is gone does so for the one that comes after it.
        let standins = |name| self.rejected.get(name).into_iter().flat_map(|rejection| &rejection.displaced);
        let all = outgoing.removed.iter().flat_map(|name| held(name).into_iter().chain(standins(name)));
        let distinct: BTreeMap<_, _> = all.map(|held| (&held.name, held)).collect();
        distinct.into_values().map(|held| (listening_addresses(held), held.clone())).collect()
    }

    fn mark_sent(&mut self, resource: &Arc<Resource>, places: &[Place]) -> Sent {
        let pending = self.pending.remove(&resource.name);
        let changed = pending.as_ref().map_or(self.all_taken(), |pending| pending.changed);
        let mut displaced = displaced(resource, places);
        let rejection = self.rejected.get(&resource.name);
        let before = match pending.map(|pending| pending.held) {
            Some(Held::Resource(held)) => Some(held),
            Some(Held::Nothing | Held::Version(_) | Held::Unknown) | None if self.in_doubt && rejection.is_none() => {
                displaced.extend(resource.instead_of.clone());
                Some(resource.clone())
            }
            Some(Held::Nothing | Held::Version(_) | Held::Unknown) | None => rejection.and_then(|it| it.kept.clone()),
        };
        Sent { name: resource.name.clone(), version: resource.version, before, displaced, changed }
    }

    fn content(&self, outgoing: &Outgoing, set: &ResourceSet) -> Content {
        match self.variant {
            Variant::Delta => Content::Delta { resources: outgoing.upserts.clone(), removed: outgoing.removed.clone() },
            Variant::StateOfTheWorld => {
                let all = self.whole_set(outgoing, set);
                let version = Version::of_all(&all);
                let resources = if self.sends_whole_set() { all } else { outgoing.upserts.clone() };
                Content::StateOfTheWorld { version, resources }
            }
        }
    }

    /// All that the client should have, with those whose removal has to wait, and without what it refused: what it had
    /// before is there instead, and what stands in.
    fn whole_set(&self, outgoing: &Outgoing, set: &ResourceSet) -> Vec<Arc<Resource>> {
        let all: Vec<_> = if self.subscription.is_wildcard() {
            set.values().cloned().collect()
        } else {
            self.subscription.iter().filter_map(|name| set.get(name).cloned()).collect()
        };
        if !self.sends_whole_set() {
            return all;
        }
        let is_sent = |name: &str| outgoing.upserts.iter().any(|upsert| *upsert.name == *name);
        let usable = |resource: Arc<Resource>| match self.rejected.get(&resource.name) {
            Some(refusal) if refusal.content == Some(resource.version) && !is_sent(&resource.name) => {
                refusal.kept.clone()
            }
            Some(_) | None => Some(resource),
        };
        let waiting = self.pending.iter().filter_map(|(name, pending)| match &pending.held {
            Held::Resource(held) => Some(held),
            Held::Nothing | Held::Version(_) | Held::Unknown => self.rejected.get(name)?.kept.as_ref(),
        });
        let gone = waiting.chain(self.standins(set)).filter(|it| !set.contains_key(&it.name)).cloned();
        let all = all.into_iter().filter_map(usable).chain(gone).map(|it| (it.name.clone(), it));
        all.collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

/// What to go on with if this listener is refused: what is generated in place of an operator's, whatever the operator gave
/// before, as it says today what callers may do; and the listeners that listened where this one should.
fn displaced(listener: &Resource, places: &[Place]) -> Vec<Arc<Resource>> {
    if places.is_empty() {
        return Vec::new();
    }
    let addresses = listening_addresses(listener);
    let standin = |(place, held): &Place| match &listener.instead_of {
        Some(generated) if *stands_for(held) == generated.name => Some(generated.clone()),
        Some(_) | None => (!place.is_disjoint(&addresses)).then(|| held.clone()),
    };
    places.iter().filter_map(standin).collect()
}

/// What a listener is called where it is generated.
fn stands_for(listener: &Resource) -> &Arc<str> {
    listener.instead_of.as_ref().map_or(&listener.name, |generated| &generated.name)
}

/// Keeps as many as fit into one response, at least one.
fn cut(upserts: &mut Vec<Arc<Resource>>) {
    let mut bytes = 0;
    let fits = upserts.iter().take_while(|resource| {
        bytes += resource.body.len();
        bytes <= SPLIT_BYTES
    });
    let count = fits.count().max(1);
    upserts.truncate(count);
}
