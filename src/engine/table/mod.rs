//! Resources of one type that belong to a part of a proxy, as they are wanted and as they could be made.
//!
//! **Invariant.** A resource that an operator gives and that cannot be used stays as the operator last gave it, with what
//! protects it as it is now, or as it was generated until then. Where there was nothing, there is nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::intern::Interner;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::envoy::{self, GivenErrors, names};
use crate::ir::{self, Given};

/// What is encoded as one resource.
pub(super) trait Encodable: Clone + PartialEq {
    /// The type of the resource.
    const KIND: ResourceType;

    /// The name of the resource if it is generated, which no other one of the part has.
    fn name(&self) -> String;

    /// The resource.
    fn encode(&self) -> Result<Resource, GivenErrors>;

    /// What an operator gave in place of it.
    fn given(&self) -> Option<&Given>;

    /// Puts what `older` has in place of what cannot be used. False if nothing is left to encode.
    fn take_back(&mut self, errors: &GivenErrors, older: Option<&Self>) -> bool;

    /// True if this is what `older` was, with another name.
    fn replaces(&self, older: &Self) -> bool;
}

/// Resources by [`Encodable::name`].
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: BTreeMap<String, Arc<Entry<T>>>,
}

/// One resource.
#[derive(Debug)]
struct Entry<T> {
    wanted: T,
    /// What was encoded, if something was, and it is not what was wanted.
    instead: Option<T>,
    resource: Option<Arc<Resource>>,
    problems: Vec<String>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<T> Entry<T> {
    fn encoded(&self) -> Option<&T> {
        self.resource.as_ref().map(|_| self.instead.as_ref().unwrap_or(&self.wanted))
    }
}

impl<T: Encodable> Table<T> {
    /// The table that holds these, after this one.
    pub(super) fn next(&self, items: Vec<T>, interner: &mut Interner) -> Self {
        let entry = |item: T| {
            let name = item.name();
            let entry = match self.entries.get(&name) {
                Some(same) if same.wanted == item => same.clone(),
                Some(older) => Arc::new(Entry::new(item, older.encoded(), interner)),
                None => {
                    let older = self.entries.values().filter_map(|entry| entry.encoded());
                    let moved = older.into_iter().find(|older| item.replaces(older));
                    Arc::new(Entry::new(item, moved, interner))
                }
            };
            (name, entry)
        };
        Self { entries: items.into_iter().map(entry).collect() }
    }

    /// True if both have the same resources, and the same things to say about them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Entry<T>, &Entry<T>)| {
            let resources = a.resource.as_ref().map(Arc::as_ptr) == b.resource.as_ref().map(Arc::as_ptr);
            resources && a.problems == b.problems && a.wanted == b.wanted
        };
        let both = self.entries.values().zip(other.entries.values());
        let mut differing = both.filter(|(a, b)| !Arc::ptr_eq(a, b));
        self.entries.len() == other.entries.len() && differing.all(|(a, b)| same((a, b)))
    }

    /// What is wanted, each with what was encoded for it.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&T, Option<&Arc<Resource>>)> {
        self.entries.values().map(|entry| (&entry.wanted, entry.resource.as_ref()))
    }

    /// What was encoded, each with what an operator gave for it.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&Arc<Resource>, Option<&Given>)> {
        let entries = self.entries.values();
        entries.filter_map(|entry| Some((entry.resource.as_ref()?, entry.encoded().and_then(T::given))))
    }

    /// What could not be used, and why.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.entries.values().flat_map(|entry| &entry.problems)
    }

    /// True if something is wanted and could not be made.
    pub(super) fn is_incomplete(&self) -> bool {
        self.entries.values().any(|entry| entry.resource.is_none())
    }

    /// True if the resource that is generated as `name` is wanted and could not be made.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.resource.is_none())
    }

    /// What an operator gave, with another name, for the resource that is generated as `name`.
    pub(super) fn renamed(&self, name: &str) -> Option<(&Arc<str>, &Given)> {
        let called = &self.resource(name).filter(|resource| *resource.name != *name)?.name;
        Some((called, self.entries.get(name)?.encoded()?.given()?))
    }

    /// What there is in the end, perhaps under another name, of the resource that is generated as `name`.
    pub(super) fn resource(&self, name: &str) -> Option<&Arc<Resource>> {
        self.entries.get(name)?.resource.as_ref()
    }
}

impl<T: Encodable> Entry<T> {
    fn new(wanted: T, older: Option<&T>, interner: &mut Interner) -> Self {
        let errors = match wanted.encode() {
            Ok(resource) => {
                let resource = Some(interner.intern(T::KIND, resource));
                return Self { wanted, instead: None, resource, problems: Vec::new() };
            }
            Err(errors) => errors,
        };
        let mut instead = wanted.clone();
        let resource = instead.take_back(&errors, older).then(|| instead.encode().ok()).flatten();
        Self {
            wanted,
            instead: resource.is_some().then_some(instead),
            resource: resource.map(|resource| interner.intern(T::KIND, resource)),
            problems: errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Encodable for ir::Listener {
    const KIND: ResourceType = ResourceType::Listener;

    fn name(&self) -> String {
        names::listener(&self.name, &self.bind)
    }

    fn encode(&self) -> Result<Resource, GivenErrors> {
        envoy::listener(self)
    }

    fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    fn take_back(&mut self, errors: &GivenErrors, older: Option<&Self>) -> bool {
        if errors.tracing.is_some() {
            self.tracing = older.and_then(|older| older.tracing.clone());
        }
        if errors.whole.is_some() {
            let Some(older) = older else { return false };
            self.given.clone_from(&older.given);
            self.tracing.clone_from(&older.tracing);
        }
        true
    }

    fn replaces(&self, older: &Self) -> bool {
        self.name == older.name
    }
}

impl Encodable for ir::Cluster {
    const KIND: ResourceType = ResourceType::Cluster;

    fn name(&self) -> String {
        names::cluster(&self.name)
    }

    fn encode(&self) -> Result<Resource, GivenErrors> {
        envoy::cluster(self)
    }

    fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    fn take_back(&mut self, _: &GivenErrors, older: Option<&Self>) -> bool {
        let Some(older) = older else { return false };
        self.given.clone_from(&older.given);
        true
    }

    fn replaces(&self, _: &Self) -> bool {
        // Another name is another cluster.
        false
    }
}

impl Encodable for ir::RouteConfiguration {
    const KIND: ResourceType = ResourceType::Route;

    fn name(&self) -> String {
        names::upstream(&self.name)
    }

    fn encode(&self) -> Result<Resource, GivenErrors> {
        Ok(envoy::route(self))
    }

    fn given(&self) -> Option<&Given> {
        None
    }

    fn take_back(&mut self, _: &GivenErrors, _: Option<&Self>) -> bool {
        true
    }

    fn replaces(&self, _: &Self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
