//! The parts that proxies are made of. Sidecars that agree in what matters to an upstream share the part for it: it is
//! resolved and encoded once, and held once.
//!
//! **Invariant.** A part that cannot be made, or into which an operator put something that cannot be used, stays as it last
//! was. What it was is remembered with the part, so whoever comes from another one with a past of its own does not share it
//! then.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;

use super::encoded::EncodedPart;
use super::intern::Interner;
use super::shared::{AssignmentKey, SharedTable, World};
use crate::ir::UpstreamId;
use crate::model::{InstanceId, Place, ServiceKind};
use crate::resolve::{
    Caller, Context, Dialled, Forwarded, Forwarder, Part, PartError, forwarding_part, gateway_part, inbound_part,
    upstream_part,
};
use crate::store::{Index, Key, Reader, Readers};

/// A proxy with streams, by a number that no other one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ProxyId(pub(super) u64);

/// A part, by a number that no other one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PartId(u64);

/// The outbound side of sidecars, by a number that no other one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OutboundId(pub(super) u64);

/// Who has a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    /// A proxy, for itself.
    Proxy(ProxyId),
    /// All proxies with this outbound side.
    Outbound(OutboundId),
}

/// Assignments by their parts.
pub(super) type Assignments = SharedTable<AssignmentKey, PartId>;

/// What of a proxy a part is. A part that cannot be made leaves the others alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// The inbound side of a sidecar, or the listeners of a gateway.
    Own,
    /// One upstream of a sidecar.
    Upstream(UpstreamId),
    /// All that a gateway forwards to.
    Forwarding,
}

/// What a part is made from.
#[derive(Debug, Clone)]
pub(super) enum Recipe {
    /// The registration of one proxy; of a gateway with what it forwards.
    Own(InstanceId, Arc<Forwarded>),
    /// What gateways of a place have in common.
    Forwarding(Place, Arc<Forwarder>),
    /// What sidecars of a place have in common, and an upstream of theirs.
    Upstream(Place, Arc<Caller>, Box<Dialled>),
}

/// What identifies a part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PartKey {
    ingredients: Ingredients,
    /// The only proxy that has it, if it has a past of its own.
    alone: Option<InstanceId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Ingredients {
    Own(InstanceId),
    /// Upstream and caller, or a gateway, written out.
    Shared(Place, Arc<str>),
}

/// A part.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    key: Arc<PartKey>,
    pub(super) owner: Owner,
    recipe: Recipe,
    /// As it was last made, if it ever was.
    pub(super) part: Option<Arc<EncodedPart>>,
    /// Why it could not be made, and what is wrong with what was made.
    pub(super) problems: Vec<String>,
    /// The commit that it was last made for, if something that this made necessary could not be done, and what.
    failed: Option<(Index, Vec<String>)>,
    users: BTreeSet<User>,
}

/// Parts that were made again.
#[derive(Debug, Default)]
pub(super) struct Remade {
    /// Those that are other ones then.
    pub(super) changed: Vec<PartId>,
    /// Those that are what they were, because they still cannot be what they should.
    pub(super) failed: Vec<PartId>,
}

/// Every part that some proxy has.
#[derive(Debug, Clone, Default)]
pub(super) struct PartTable {
    ids: BTreeMap<Arc<PartKey>, PartId>,
    /// In boxes: numbers grow, and a map that is filled so is half empty.
    entries: BTreeMap<PartId, Box<Entry>>,
    readers: Readers<PartId>,
    last: u64,
}

/// What parts are made with.
pub(super) struct Kitchen<'k> {
    pub(super) world: World<'k>,
    pub(super) interner: &'k mut Interner,
    pub(super) assignments: &'k mut Assignments,
}

impl PartTable {
    pub(super) fn get(&self, id: PartId) -> Option<&Entry> {
        self.entries.get(&id).map(|entry| &**entry)
    }

    /// These parts, in this order.
    pub(super) fn entries(&self, ids: &[PartId]) -> Vec<&Entry> {
        ids.iter().filter_map(|id| self.get(*id)).collect()
    }

    /// Everything that was read to make the parts.
    pub(super) fn keys_read(&self) -> impl Iterator<Item = &Key> {
        self.readers.keys()
    }

    /// Who has the part.
    pub(super) fn users(&self, id: PartId) -> impl Iterator<Item = User> {
        self.entries.get(&id).into_iter().flat_map(|entry| entry.users.iter().copied())
    }

    /// Makes a gateway's own part again if what it forwards is something else.
    fn follow(&mut self, id: PartId, recipe: &Recipe, kitchen: &mut Kitchen<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let (Recipe::Own(_, held), Recipe::Own(_, newer)) = (&mut entry.recipe, recipe)
            && held != newer
        {
            held.clone_from(newer);
            entry.make(id, &mut self.readers, kitchen);
        }
    }

    /// The part of a proxy that is made so. What it was until now is among the parts that the proxy `had`.
    pub(super) fn join(
        &mut self,
        (user, instance): (User, &InstanceId),
        (owner, recipe): (Owner, Recipe),
        had: &[PartId],
        kitchen: &mut Kitchen<'_>,
    ) -> PartId {
        let older = had.iter().filter_map(|id| self.get(*id)).find(|entry| entry.owner == owner);
        let older = older.and_then(|entry| entry.part.clone());
        let ingredients = recipe.ingredients();
        let alone = Arc::new(PartKey { ingredients: ingredients.clone(), alone: Some(instance.clone()) });
        let shared = Arc::new(PartKey { ingredients, alone: None });
        let is_open = |id: &&PartId| older.is_none() || had.contains(id) || self.is_sound(**id);
        let known = self.ids.get(&alone).or_else(|| self.ids.get(&shared).filter(is_open)).copied();
        if let Some(known) = known {
            self.follow(known, &recipe, kitchen);
        }
        let id = known.unwrap_or_else(|| {
            let mut entry = Entry {
                key: shared,
                owner,
                recipe,
                part: older.clone(),
                problems: Vec::new(),
                failed: None,
                users: BTreeSet::new(),
            };
            self.last += 1;
            let id = PartId(self.last);
            entry.make(id, &mut self.readers, kitchen);
            if older.is_some() && !entry.is_sound() || self.ids.contains_key(&entry.key) {
                entry.key = alone;
            }
            entry.join_assignments(id, kitchen);
            self.ids.insert(entry.key.clone(), id);
            self.entries.insert(id, Box::new(entry));
            id
        });
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.users.insert(user);
        }
        id
    }

    /// The parts that were made from one of these keys.
    pub(super) fn readers_of<'c>(&self, keys: impl Iterator<Item = &'c Key>) -> BTreeSet<PartId> {
        self.readers.of(keys)
    }

    /// True if the part is as it should be.
    pub(super) fn is_sound(&self, id: PartId) -> bool {
        self.get(id).is_some_and(Entry::is_sound)
    }

    /// True if the part is for one proxy alone, which has a past of its own.
    pub(super) fn is_alone(&self, id: PartId) -> bool {
        self.get(id).is_some_and(|entry| entry.key.alone.is_some())
    }

    /// The user has the part no longer; the last one takes it away.
    pub(super) fn leave(&mut self, id: PartId, user: User, assignments: &mut Assignments) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.users.remove(&user);
        if !entry.users.is_empty() {
            return;
        }
        self.readers.remove(&id);
        if let Some(entry) = self.entries.remove(&id) {
            self.ids.remove(&entry.key);
            for key in entry.assignments() {
                assignments.leave(&key, id);
            }
        }
    }

    /// Makes the parts again that read one of these keys.
    pub(super) fn advance<'c>(&mut self, changed: impl Iterator<Item = &'c Key>, kitchen: &mut Kitchen<'_>) -> Remade {
        let mut remade = Remade::default();
        for id in self.readers.of(changed) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let (older, problems) = (entry.part.clone(), std::mem::take(&mut entry.problems));
            let left: Vec<_> = entry.assignments().collect();
            entry.make(id, &mut self.readers, kitchen);
            let is_same = match (&older, &entry.part) {
                (Some(older), Some(newer)) => Arc::ptr_eq(older, newer) || older.is_same(newer),
                (older, newer) => older.is_none() && newer.is_none(),
            };
            if is_same && problems == entry.problems {
                remade.failed.extend(entry.failed.as_ref().map(|_| id));
                continue;
            }
            entry.join_assignments(id, kitchen);
            let stay: BTreeSet<_> = entry.assignments().collect();
            for key in left.iter().filter(|key| !stay.contains(key)) {
                kitchen.assignments.leave(key, id);
            }
            remade.changed.push(id);
        }
        remade
    }
}

impl Entry {
    /// True if it is as it should be.
    fn is_sound(&self) -> bool {
        self.part.is_some() && self.problems.is_empty()
    }

    /// Makes it from the current view, or leaves it as it was.
    fn make(&mut self, id: PartId, readers: &mut Readers<PartId>, kitchen: &mut Kitchen<'_>) {
        let reader = Reader::new(kitchen.world.view);
        let made = contained(|| self.recipe.make(&reader, kitchen.world));
        readers.set(&id, reader.into_read_set());
        let failed = match made {
            Ok(None) => Vec::new(),
            Ok(Some(Ok(part))) => {
                let none = EncodedPart::default();
                let older = self.part.as_deref().unwrap_or(&none);
                let part = older.next(self.recipe.place(), part, kitchen.interner);
                let failed = part.failures_since(older).collect();
                self.problems = part.problems().collect();
                self.part = Some(Arc::new(part));
                failed
            }
            Ok(Some(Err(error))) => self.keep(error.to_string()),
            Err(defect) => self.keep(defect),
        };
        self.failed = (!failed.is_empty()).then(|| (kitchen.world.view.index(), failed));
    }

    /// It stays as it was. Returns what to say.
    fn keep(&mut self, why: String) -> Vec<String> {
        let of_part = self.part.iter().flat_map(|part| part.problems());
        self.problems = std::iter::once(why.clone()).chain(of_part).collect();
        vec![why]
    }

    /// What a commit made necessary and could not be done, with that commit.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Index, String)> {
        self.failed.iter().flat_map(|(index, failures)| failures.iter().map(|it| (*index, it.clone())))
    }

    fn assignments(&self) -> impl Iterator<Item = AssignmentKey> {
        let endpoints = self.part.iter().flat_map(|part| &part.endpoints);
        endpoints.map(|(name, source)| (name.clone(), source.clone()))
    }

    fn join_assignments(&self, id: PartId, kitchen: &mut Kitchen<'_>) {
        for key in self.assignments() {
            kitchen.assignments.join(key, id, kitchen.world, kitchen.interner);
        }
    }
}

impl Recipe {
    fn ingredients(&self) -> Ingredients {
        match self {
            Recipe::Own(instance, _) => Ingredients::Own(instance.clone()),
            Recipe::Forwarding(place, forwarder) => {
                Ingredients::Shared(place.clone(), written(forwarder.as_ref()).into())
            }
            Recipe::Upstream(place, caller, dialled) => {
                Ingredients::Shared(place.clone(), written(&(dialled, caller)).into())
            }
        }
    }

    fn place(&self) -> &Place {
        match self {
            Recipe::Own(instance, _) => &instance.place,
            Recipe::Upstream(place, ..) | Recipe::Forwarding(place, _) => place,
        }
    }

    /// The part; `None` if there is nothing to make it from any more.
    fn make(&self, reader: &Reader<'_>, world: World<'_>) -> Option<Result<Part, PartError>> {
        let context = Context {
            state: &world.state(reader),
            trust_domain: world.trust_domain,
            default_intention: world.options.default_intention,
            dns_domain: &world.options.dns_domain,
        };
        let (instance, forwarded) = match self {
            Recipe::Own(instance, forwarded) => (instance, forwarded),
            Recipe::Upstream(place, caller, dialled) => return Some(upstream_part(context, place, caller, dialled)),
            Recipe::Forwarding(place, forwarder) => return Some(Ok(forwarding_part(context, place, forwarder))),
        };
        let service = &reader.service(instance)?.value;
        match service.kind {
            ServiceKind::ConnectProxy => Some(Ok(inbound_part(context, instance, service))),
            ServiceKind::MeshGateway => Some(Ok(gateway_part(context, service, forwarded))),
            ServiceKind::Typical
            | ServiceKind::TerminatingGateway
            | ServiceKind::IngressGateway
            | ServiceKind::ApiGateway => None,
        }
    }
}

/// A value written out: equal ones are written alike.
fn written(value: &(impl Serialize + std::fmt::Debug)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| format!("{value:?}"))
}

/// What `make` returns, or what to say if it panics: a defect that one part's configuration meets must not keep the others
/// from theirs.
pub(super) fn contained<T>(make: impl FnOnce() -> T) -> Result<T, String> {
    // What `make` leaves half done is its own, and is dropped with it.
    catch_unwind(AssertUnwindSafe(make)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        format!("a defect of meshgate, please report it: resolving panicked: {text}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_contained_and_told() {
        assert_eq!(contained(|| 7), Ok(7));
        let defect = Err("a defect of meshgate, please report it: resolving panicked: no 7".to_owned());
        assert_eq!(contained(|| -> u8 { panic!("no {}", 7) }), defect);
    }
}
