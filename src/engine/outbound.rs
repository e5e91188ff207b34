//! The outbound side of proxies. Sidecars whose registrations have the same upstreams have one for all of them, and gateways
//! of a place that differ in no more than their addresses: it is looked up, put together, and brought up to date once,
//! however many replicas there are.
//!
//! **Invariant.** What is kept of a part that cannot be made is kept for those who had it (see `parts`). So a proxy with a
//! past of its own has an outbound side of its own while it differs from what others have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::parts::{Assignments, Entry, Kitchen, OutboundId, Owner, PartId, PartTable, ProxyId, Recipe, User};
use super::proxy::secrets_of;
use super::reach::Span;
use super::secrets::SecretKey;
use super::shared::AssignmentKey;
use super::sum::{self, Sum};
use crate::model::{InstanceId, Place, Service, ServiceKind};
use crate::resolve::{Forwarded, Forwarder, State, Upstreams};
use crate::store::Index;

/// What of registrations an outbound side is made from.
#[derive(Debug, Clone)]
pub(super) enum Side {
    /// The upstreams of sidecars.
    Sidecar(Upstreams),
    /// Mesh gateways.
    Gateway(Arc<Forwarder>),
}

impl Side {
    fn of(state: &dyn State, service: &Service) -> Self {
        if service.kind == ServiceKind::MeshGateway {
            Side::Gateway(Arc::new(Forwarder::of(service)))
        } else {
            Side::Sidecar(Upstreams::of(state, service))
        }
    }

    /// True if it is the side of this registration too.
    fn is_of(&self, state: &dyn State, service: &Service) -> bool {
        match self {
            Side::Sidecar(upstreams) => service.kind == ServiceKind::ConnectProxy && upstreams.are_of(state, service),
            Side::Gateway(forwarder) => **forwarder == Forwarder::of(service),
        }
    }

    /// The parts that it is made of.
    fn recipes(&self, place: &Place) -> Vec<(Owner, Recipe)> {
        match self {
            Side::Sidecar(upstreams) => {
                let caller = upstreams.caller();
                let recipe = |(id, dialled)| {
                    (Owner::Upstream(id), Recipe::Upstream(place.clone(), caller.clone(), Box::new(dialled)))
                };
                upstreams.dialled().into_iter().map(recipe).collect()
            }
            Side::Gateway(forwarder) => {
                vec![(Owner::Forwarding, Recipe::Forwarding(place.clone(), forwarder.clone()))]
            }
        }
    }
}

/// A number that outbound sides have in common if they are the same.
pub(super) fn fingerprint(service: &Service) -> u64 {
    if service.kind == ServiceKind::MeshGateway { 0 } else { Upstreams::fingerprint(service) }
}

/// The outbound side of some proxies.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    place: Place,
    side: Side,
    fingerprint: u64,
    /// The only proxy that has it, if it has a past of its own.
    alone: Option<InstanceId>,
    parts: Vec<PartId>,
    /// What the parts add up to.
    pub(super) sum: Sum,
    /// Whom to trust, by the secrets that say it.
    pub(super) trusts: BTreeSet<SecretKey>,
    /// What is wrong with the parts.
    pub(super) problems: Vec<String>,
    /// What commits made necessary and could not be done, with these.
    failed: Vec<(Index, String)>,
    /// What the endpoints go without.
    pub(super) omissions: Vec<String>,
    users: BTreeSet<ProxyId>,
}

/// Every outbound side that some proxy has.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbounds {
    table: BTreeMap<OutboundId, Outbound>,
    by_fingerprint: HashMap<u64, Vec<OutboundId>>,
    last: u64,
}

/// The outbound side that a registration asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is there.
    Known(OutboundId),
    /// It has to be made.
    New {
        /// What registrations ask for it.
        side: Side,
        /// What it is made of.
        recipes: Vec<(Owner, Recipe)>,
        /// Proxies without the past of this one have another one.
        is_taken: bool,
    },
}

/// What of an outbound side is out of date.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Assignments that changed.
    pub(super) assignments: Vec<Arc<AssignmentKey>>,
    /// One of its parts is another one.
    pub(super) has_newer_parts: bool,
    /// One of its parts could not be made once more.
    pub(super) has_failed: bool,
    /// Its assignments go without other things than before.
    pub(super) has_other_omissions: bool,
}

/// What is new in an outbound side.
#[derive(Debug, Clone, Copy)]
pub(super) struct News {
    /// Anything but its endpoints alone.
    pub(super) has_newer_parts: bool,
    pub(super) has_newer_endpoints: bool,
    pub(super) has_other_problems: bool,
}

impl Outbound {
    /// Its parts.
    pub(super) fn entries<'p>(&self, parts: &'p PartTable) -> Vec<&'p Entry> {
        parts.entries(&self.parts)
    }

    /// What the listeners of a gateway have to know of it.
    pub(super) fn forwarded(&self, parts: &PartTable) -> Arc<Forwarded> {
        let made = self.parts.iter().filter_map(|id| parts.get(*id)?.part.as_ref()).next();
        let made = made.filter(|_| self.is_of_gateways());
        made.and_then(|part| part.forwarded.clone()).unwrap_or_default()
    }

    /// True if proxies have listeners that depend on it.
    pub(super) fn is_of_gateways(&self) -> bool {
        matches!(self.side, Side::Gateway(_))
    }

    /// Adds up the parts.
    fn add_up(&mut self, parts: &PartTable, assignments: &Assignments) {
        let entries = self.entries(parts);
        self.sum = Sum::of(std::mem::take(&mut self.sum).resources, &entries, assignments);
        self.trusts = secrets_of(&entries);
        self.problems = entries.iter().flat_map(|entry| entry.problems.iter().cloned()).collect();
        self.omissions = sum::omissions(&entries, assignments);
        self.note_failures(parts);
    }

    fn note_failures(&mut self, parts: &PartTable) {
        self.failed = self.entries(parts).into_iter().flat_map(Entry::failures).collect();
    }

    /// What commits of this span made necessary and could not be done.
    pub(super) fn failures(&self, span: Span) -> impl Iterator<Item = &String> {
        self.failed.iter().filter(move |(index, _)| span.contains(*index)).map(|(_, failure)| failure)
    }
}

impl Outbounds {
    pub(super) fn get(&self, id: OutboundId) -> Option<&Outbound> {
        self.table.get(&id)
    }

    /// Who has it.
    pub(super) fn users(&self, id: OutboundId) -> impl Iterator<Item = ProxyId> {
        self.table.get(&id).into_iter().flat_map(|outbound| outbound.users.iter().copied())
    }

    /// What the registration of a proxy asks for, which `had` another one until now, or the same.
    pub(super) fn asked(
        &self,
        (instance, service): (&InstanceId, &Service),
        state: &dyn State,
        had: Option<OutboundId>,
        parts: &PartTable,
    ) -> Asked {
        let alike = self.by_fingerprint.get(&fingerprint(service)).into_iter().flatten();
        let alike = alike.filter_map(|id| Some((*id, self.table.get(id)?)));
        let is_same = |it: &Outbound| it.place == instance.place && it.side.is_of(state, service);
        let same: Vec<_> = alike.filter(|(_, outbound)| is_same(outbound)).collect();
        if let Some((id, _)) = same.iter().find(|(_, outbound)| outbound.alone.as_ref() == Some(instance)) {
            return Asked::Known(*id);
        }
        let shared = same.iter().find(|(_, outbound)| outbound.alone.is_none());
        if let Some((id, outbound)) = shared
            && (had.is_none() || had == Some(*id) || outbound.parts.iter().all(|part| parts.is_sound(*part)))
        {
            return Asked::Known(*id);
        }
        let side = Side::of(state, service);
        Asked::New { recipes: side.recipes(&instance.place), side, is_taken: shared.is_some() }
    }

    /// The outbound side that a proxy asked for, which is its own from now on.
    pub(super) fn join(
        &mut self,
        (user, instance): (ProxyId, &InstanceId),
        (asked, fingerprint): (Asked, u64),
        had: Option<OutboundId>,
        parts: &mut PartTable,
        kitchen: &mut Kitchen<'_>,
    ) -> OutboundId {
        let id = match asked {
            Asked::Known(id) => id,
            Asked::New { side, recipes, is_taken } => {
                self.last += 1;
                let id = OutboundId(self.last);
                let had = had.and_then(|had| self.get(had)).map(|had| had.parts.clone()).unwrap_or_default();
                let user = User::Outbound(id);
                let part = |made| parts.join((user, instance), made, &had, kitchen);
                let ids: Vec<_> = recipes.into_iter().map(part).collect();
                let is_alone = is_taken || ids.iter().any(|part| parts.is_alone(*part));
                let mut outbound = Outbound {
                    place: instance.place.clone(),
                    side,
                    fingerprint,
                    alone: is_alone.then(|| instance.clone()),
                    parts: ids,
                    sum: Sum::default(),
                    trusts: BTreeSet::new(),
                    problems: Vec::new(),
                    failed: Vec::new(),
                    omissions: Vec::new(),
                    users: BTreeSet::new(),
                };
                outbound.add_up(parts, kitchen.assignments);
                self.table.insert(id, outbound);
                self.by_fingerprint.entry(fingerprint).or_default().push(id);
                id
            }
        };
        if let Some(outbound) = self.table.get_mut(&id) {
            outbound.users.insert(user);
        }
        id
    }

    /// The proxy has it no longer; the last one takes it away.
    pub(super) fn leave(
        &mut self,
        id: OutboundId,
        user: ProxyId,
        parts: &mut PartTable,
        assignments: &mut Assignments,
    ) {
        let Some(outbound) = self.table.get_mut(&id) else { return };
        outbound.users.remove(&user);
        if !outbound.users.is_empty() {
            return;
        }
        let Some(outbound) = self.table.remove(&id) else { return };
        if let Some(alike) = self.by_fingerprint.get_mut(&outbound.fingerprint) {
            alike.retain(|known| *known != id);
            if alike.is_empty() {
                self.by_fingerprint.remove(&outbound.fingerprint);
            }
        }
        for part in outbound.parts {
            parts.leave(part, User::Outbound(id), assignments);
        }
    }

    /// Brings it up to date; returns what is new in it.
    pub(super) fn refresh(
        &mut self,
        id: OutboundId,
        stale: &Stale,
        parts: &PartTable,
        assignments: &Assignments,
    ) -> Option<News> {
        let outbound = self.table.get_mut(&id)?;
        if stale.has_newer_parts {
            outbound.add_up(parts, assignments);
            return Some(News { has_newer_parts: true, has_newer_endpoints: true, has_other_problems: true });
        }
        if stale.has_failed {
            outbound.note_failures(parts);
        }
        let ids = &outbound.parts;
        let entries = || parts.entries(ids);
        let has_newer_endpoints = outbound.sum.put_endpoints(&stale.assignments, entries, assignments);
        if stale.has_other_omissions {
            outbound.omissions = sum::omissions(&entries(), assignments);
        }
        let has_other_problems = stale.has_other_omissions || stale.has_failed;
        Some(News { has_newer_parts: false, has_newer_endpoints, has_other_problems })
    }
}
