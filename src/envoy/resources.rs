//! The resources of one type that a proxy has: those that it has in common with others, and its own.
//!
//! A persistent map is the right thing for what thousands of proxies share: the next one costs what changed. It is the wrong
//! one for the two or three resources that each of them has for itself, since whoever adds one to a shared map gets copies of
//! its nodes. So these stand beside it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::snapshot::Resource;

/// The resources of one type, by name. A clone costs next to nothing.
#[derive(Clone, Default)]
pub struct ResourceSet {
    common: OrdMap<Arc<str>, Arc<Resource>>,
    /// Sorted by name. None of these names is in `common`.
    own: Option<Arc<[Arc<Resource>]>>,
}

/// A difference between two sets: the name, and what the first one had under it.
pub type Change<'s> = (&'s Arc<str>, Option<&'s Arc<Resource>>);

impl ResourceSet {
    fn own(&self) -> &[Arc<Resource>] {
        self.own.as_deref().unwrap_or_default()
    }

    fn find_own(&self, name: &str) -> Result<usize, usize> {
        self.own().binary_search_by(|resource| (*resource.name).cmp(name))
    }

    /// The resource of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let own = self.find_own(name).ok().and_then(|at| self.own().get(at));
        own.or_else(|| self.common.get(name))
    }

    /// What it has under each of these names, which are sorted. For many names that is one walk through both.
    pub fn get_sorted<'s, 'n>(
        &'s self,
        names: impl ExactSizeIterator<Item = &'n str>,
    ) -> impl Iterator<Item = Option<&'s Arc<Resource>>> {
        // To find one name takes some ten comparisons.
        let walks = names.len().saturating_mul(8) >= self.len();
        let mut all = self.values().peekable();
        names.map(move |name| {
            if !walks {
                return self.get(name);
            }
            while all.next_if(|resource| *resource.name < *name).is_some() {}
            all.peek().copied().filter(|resource| *resource.name == *name)
        })
    }

    /// True if there is a resource of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.common.len() + self.own().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let (mut common, mut own) = (self.common.values().peekable(), self.own().iter().peekable());
        std::iter::from_fn(move || match (common.peek(), own.peek()) {
            (Some(one), Some(other)) if other.name < one.name => own.next(),
            (None, _) => own.next(),
            (Some(_), _) => common.next(),
        })
    }

    /// The names of all of them, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.values().map(|resource| &resource.name)
    }

    /// All of them with their names, in the order of these.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Resource>)> {
        self.values().map(|resource| (&resource.name, resource))
    }

    /// Adds a resource to what there is in common, or puts it in the place of the one of this name.
    pub fn insert(&mut self, resource: Arc<Resource>) {
        match self.find_own(&resource.name) {
            Ok(at) => self.replace_own(at, resource),
            Err(_) => {
                self.common.insert(resource.name.clone(), resource);
            }
        }
    }

    /// Adds a resource to the proxy's own, or puts it in the place of the one of this name.
    pub fn insert_own(&mut self, resource: Arc<Resource>) {
        match self.find_own(&resource.name) {
            Ok(at) => self.replace_own(at, resource),
            Err(at) => {
                self.take_from_common(&resource.name);
                let mut own = self.own().to_vec();
                own.insert(at, resource);
                self.own = Some(own.into());
            }
        }
    }

    fn replace_own(&mut self, at: usize, resource: Arc<Resource>) {
        if let Some(place) = self.own.as_mut().and_then(|own| Arc::make_mut(own).get_mut(at)) {
            *place = resource;
        }
    }

    /// Makes these the proxy's own, and all of them; of two with one name, the first one. True if they were others.
    pub fn set_own(&mut self, resources: impl IntoIterator<Item = Arc<Resource>>) -> bool {
        let mut own: Vec<_> = resources.into_iter().collect();
        own.sort_by(|one, other| one.name.cmp(&other.name));
        own.dedup_by(|later, first| later.name == first.name);
        for resource in &own {
            self.take_from_common(&resource.name);
        }
        let held = self.own();
        let is_same = held.len() == own.len() && held.iter().zip(&own).all(|(one, other)| Arc::ptr_eq(one, other));
        if !is_same {
            self.own = (!own.is_empty()).then(|| own.into());
        }
        !is_same
    }

    /// Takes a resource out. True if it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Ok(at) = self.find_own(name) else { return self.take_from_common(name) };
        let rest: Vec<_> = self.own().iter().enumerate().filter(|(other, _)| *other != at).collect();
        self.own = (!rest.is_empty()).then(|| rest.into_iter().map(|(_, resource)| resource.clone()).collect());
        true
    }

    /// Looks first, since the map copies nodes for a name that it does not have.
    fn take_from_common(&mut self, name: &str) -> bool {
        self.common.contains_key(name) && self.common.remove(name).is_some()
    }

    /// True if both are one set, which costs nothing to find out. Two that are equal can be two.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        let is_same_own = match (&self.own, &other.own) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_same_own && self.common.ptr_eq(&other.common)
    }

    /// What is different in `newer`, in the order of the names. Costs what differs, and what is the proxy's own.
    pub fn changes_to<'s>(&'s self, newer: &'s Self) -> Vec<Change<'s>> {
        let mut names = BTreeSet::new();
        if !self.common.ptr_eq(&newer.common) {
            names.extend(self.common.diff(&newer.common).map(|change| match change {
                DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. } => name,
            }));
        }
        // A resource can have been in common in one, and the proxy's own in the other.
        names.extend(self.own().iter().chain(newer.own()).map(|resource| &resource.name));
        let change = |name: &'s Arc<str>| {
            let (before, after) = (self.get(name), newer.get(name));
            let is_same = match (before, after) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before == after,
                (before, after) => before.is_none() && after.is_none(),
            };
            (!is_same).then_some((name, before))
        };
        names.into_iter().filter_map(change).collect()
    }
}

impl PartialEq for ResourceSet {
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other) || (self.len() == other.len() && self.changes_to(other).is_empty())
    }
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Named = (u8, u8);

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Named),
        InsertOwn(Named),
        SetOwn(Vec<Named>),
        Remove(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let named = || (0..6_u8, 0..3_u8);
        let step = prop_oneof![
            named().prop_map(Step::Insert),
            named().prop_map(Step::InsertOwn),
            vec(named(), 0..4).prop_map(Step::SetOwn),
            (0..6_u8).prop_map(Step::Remove),
        ];
        vec(step, 0..12)
    }

    fn resource((name, body): Named) -> Arc<Resource> {
        Arc::new(Resource::new(&name.to_string(), Bytes::copy_from_slice(&[body]), []))
    }

    type Model = BTreeMap<String, u8>;

    /// The set after these steps, and what it should hold.
    fn after(steps: &[Step]) -> (ResourceSet, Model) {
        let (mut set, mut model, mut own) = (ResourceSet::default(), Model::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Insert(named) => set.insert(resource(*named)),
                Step::InsertOwn(named) => {
                    set.insert_own(resource(*named));
                    own.insert(named.0.to_string());
                }
                Step::SetOwn(all) => {
                    set.set_own(all.iter().map(|named| resource(*named)));
                    model.retain(|name, _| !own.contains(name));
                    own = all.iter().map(|named| named.0.to_string()).collect();
                }
                Step::Remove(name) => {
                    let name = name.to_string();
                    assert_eq!(set.remove(&name), model.remove(&name).is_some());
                    own.remove(&name);
                }
            }
            let put: Vec<_> = match step {
                Step::Insert(named) | Step::InsertOwn(named) => vec![*named],
                // Of two with one name the first one counts.
                Step::SetOwn(all) => all.iter().rev().copied().collect(),
                Step::Remove(_) => Vec::new(),
            };
            model.extend(put.into_iter().map(|(name, body)| (name.to_string(), body)));
        }
        (set, model)
    }

    fn body(resource: &Arc<Resource>) -> u8 {
        resource.body[0]
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_into_it(steps in steps()) {
            let (set, model) = after(&steps);

            let held: Vec<_> = set.values().map(|resource| (resource.name.to_string(), body(resource))).collect();
            prop_assert_eq!(held, model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len());
            for name in 0..6_u8 {
                let name = name.to_string();
                prop_assert_eq!(set.get(&name).map(body), model.get(&name).copied());
            }
            for asked in [vec!["1"], vec!["0", "2", "2", "3", "5", "6"]] {
                let found: Vec<_> = set.get_sorted(asked.iter().copied()).map(|found| found.map(body)).collect();
                prop_assert_eq!(found, asked.iter().map(|name| model.get(*name).copied()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn changes_lead_from_one_set_to_another(older in steps(), newer in steps()) {
            let ((older, old), (newer, new)) = (after(&older), after(&newer));

            let changes = older.changes_to(&newer).into_iter();
            let changes: Vec<_> = changes.map(|(name, held)| (name.to_string(), held.map(body))).collect();
            let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
            let wanted: Vec<_> = differing.map(|name| (name.clone(), old.get(name).copied())).collect();
            prop_assert_eq!(&changes, &wanted);
            prop_assert_eq!(older == newer, old == new);
        }
    }
}
