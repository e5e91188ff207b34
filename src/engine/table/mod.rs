//! Resources of one type that belong to a part of a proxy, as they are wanted and as they could be made.
//!
//! **Invariant.** A resource that an operator gives and that cannot be used stays as the operator last gave it, with what
//! protects it as it is now, or as it was generated until then. Where there was nothing, there is nothing.
//!
//! What was wanted is not kept, as every proxy has resources of its own: a fingerprint tells whether it is still the same.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::intern::Interner;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::envoy::{self, GivenErrors, names};
use crate::ir::{self, Bind, Given, ListenerName};

/// What is encoded as one resource.
pub(super) trait Encodable: Clone + Hash {
    /// The type of the resource.
    const KIND: ResourceType;

    /// What is kept of it besides the resource.
    type Kept: Debug;

    /// The name of the resource if it is generated, which no other one of the part has.
    fn name(&self) -> String;

    /// What is kept of it.
    fn kept(&self) -> Self::Kept;

    /// The resource.
    fn encode(&self) -> Result<Resource, GivenErrors>;

    /// What an operator gave for it.
    fn given(&self) -> AllGiven;

    /// Puts what was given for `older` in place of what cannot be used. False if nothing is left to encode.
    fn take_back(&mut self, errors: &GivenErrors, older: Option<&AllGiven>) -> bool;

    /// The resource as it is without what an operator gave, if clients can go on with that.
    fn generated(&self) -> Option<Resource>;

    /// True if this is what `older` was, with another name.
    fn replaces(&self, older: &Self::Kept) -> bool;
}

/// What an operator gave for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AllGiven {
    /// All of it.
    whole: Option<Given>,
    /// How a listener traces.
    tracing: Option<Given>,
}

/// A listener that was wanted.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) name: ListenerName,
    pub(super) bind: Bind,
}

/// Resources by [`Encodable::name`].
#[derive(Debug)]
pub(super) struct Table<T: Encodable> {
    /// Sorted.
    entries: Box<[Arc<Entry<T::Kept>>]>,
}

/// One resource.
#[derive(Debug)]
struct Entry<K> {
    /// What it is called if it is generated.
    name: Arc<str>,
    /// Of what was wanted. Two that differ are taken for the same once in 2^64 changes.
    fingerprint: u64,
    kept: K,
    /// For what was wanted; absent if nothing was given.
    given: Option<Box<AllGiven>>,
    /// For what was encoded, if something was; absent if nothing was given.
    encoded: Option<Box<AllGiven>>,
    resource: Option<Arc<Resource>>,
    problems: Box<[String]>,
}

impl<T: Encodable> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Box::default() }
    }
}

impl AllGiven {
    fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl<K> Entry<K> {
    /// What an operator gave for what was encoded; `None` if nothing was.
    fn past(&self) -> Option<AllGiven> {
        self.resource.as_ref().map(|_| self.encoded.as_deref().cloned().unwrap_or_default())
    }
}

impl<T: Encodable> Table<T> {
    /// The table that holds these, after this one.
    pub(super) fn next(&self, items: &[T], interner: &mut Interner) -> Self {
        let entry = |item: &T| {
            let (name, fingerprint) = (item.name(), fingerprint(item));
            match self.get(&name) {
                Some(same) if same.fingerprint == fingerprint => same.clone(),
                Some(older) => Arc::new(Entry::new(item, (&name, fingerprint), older.past(), interner)),
                None => {
                    let encoded = self.entries.iter().filter(|entry| entry.resource.is_some());
                    let moved = encoded.into_iter().find(|older| item.replaces(&older.kept));
                    let past = moved.and_then(|moved| moved.past());
                    Arc::new(Entry::new(item, (&name, fingerprint), past, interner))
                }
            }
        };
        let mut entries: Vec<_> = items.iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self { entries: entries.into() }
    }

    fn get(&self, name: &str) -> Option<&Arc<Entry<T::Kept>>> {
        let at = self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// True if both have the same resources, and the same things to say about them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Entry<T::Kept>, &Entry<T::Kept>)| {
            let resources = a.resource.as_ref().map(Arc::as_ptr) == b.resource.as_ref().map(Arc::as_ptr);
            resources && a.problems == b.problems && a.fingerprint == b.fingerprint
        };
        let both = self.entries.iter().zip(&other.entries);
        let mut differing = both.filter(|(a, b)| !Arc::ptr_eq(a, b));
        self.entries.len() == other.entries.len() && differing.all(|(a, b)| same((a, b)))
    }

    /// What was encoded, each with what an operator gave for it.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&Arc<Resource>, Option<&Given>)> {
        let encoded = self.entries.iter().filter_map(|entry| Some((entry, entry.resource.as_ref()?)));
        encoded.map(|(entry, resource)| (resource, entry.encoded.as_ref().and_then(|given| given.whole.as_ref())))
    }

    /// True if an operator gave something for what is wanted.
    pub(super) fn is_given(&self) -> bool {
        self.entries.iter().any(|entry| entry.given.is_some())
    }

    /// What could not be used, and why.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().flat_map(|entry| &entry.problems)
    }

    /// What could not be used of what is wanted since this older table.
    pub(super) fn failures_since(&self, older: &Self) -> impl Iterator<Item = &String> {
        let is_newer = |entry: &&Arc<Entry<T::Kept>>| !older.get(&entry.name).is_some_and(|it| Arc::ptr_eq(it, entry));
        self.entries.iter().filter(|entry| !entry.problems.is_empty()).filter(is_newer).flat_map(|it| &it.problems)
    }

    /// True if something is wanted and could not be made.
    pub(super) fn is_incomplete(&self) -> bool {
        self.entries.iter().any(|entry| entry.resource.is_none())
    }

    /// True if the resource that is generated as `name` is wanted and could not be made.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.get(name).is_some_and(|entry| entry.resource.is_none())
    }

    /// What an operator gave, with another name, for the resource that is generated as `name`.
    pub(super) fn renamed(&self, name: &str) -> Option<(&Arc<str>, &Given)> {
        let entry = self.get(name)?;
        let called = &entry.resource.as_ref().filter(|resource| *resource.name != *name)?.name;
        Some((called, entry.encoded.as_ref()?.whole.as_ref()?))
    }

    /// What there is in the end, perhaps under another name, of the resource that is generated as `name`.
    pub(super) fn resource(&self, name: &str) -> Option<&Arc<Resource>> {
        self.get(name)?.resource.as_ref()
    }
}

impl Table<ir::Listener> {
    /// Where the wanted listeners listen, each with what was encoded for it. One that its operator gives listens where that
    /// says, so there is no place of it.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (Option<&Listening>, Option<&Arc<Resource>>)> {
        self.entries.iter().map(|entry| {
            let is_given = entry.given.as_ref().is_some_and(|given| given.whole.is_some());
            ((!is_given).then_some(&entry.kept), entry.resource.as_ref())
        })
    }
}

impl<K> Entry<K> {
    fn new<T: Encodable<Kept = K>>(
        wanted: &T,
        (name, fingerprint): (&str, u64),
        past: Option<AllGiven>,
        interner: &mut Interner,
    ) -> Self {
        let given = wanted.given();
        let mut problems = Vec::new();
        let mut older = None;
        let resource = wanted.encode().or_else(|errors| {
            problems.extend(errors.iter().map(ToString::to_string));
            let mut usable = wanted.clone();
            if !usable.take_back(&errors, past.as_ref()) {
                return Err(errors);
            }
            older.insert(usable).encode()
        });
        let used = older.as_ref().unwrap_or(wanted);
        let resource = resource.ok().map(|mut resource| {
            if *resource.name != *name {
                resource.instead_of = used.generated().map(|generated| interner.intern(T::KIND, generated));
            }
            interner.intern(T::KIND, resource)
        });
        Self {
            // Most are called as they are generated, and share the text.
            name: match &resource {
                Some(resource) if *resource.name == *name => resource.name.clone(),
                Some(_) | None => name.into(),
            },
            fingerprint,
            kept: wanted.kept(),
            given: given.boxed(),
            encoded: resource.as_ref().and_then(|_| used.given().boxed()),
            resource,
            problems: problems.into(),
        }
    }
}

fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Encodable for ir::Listener {
    const KIND: ResourceType = ResourceType::Listener;

    type Kept = Listening;

    fn name(&self) -> String {
        names::listener(&self.name, &self.bind)
    }

    fn kept(&self) -> Listening {
        Listening { name: self.name.clone(), bind: self.bind.clone() }
    }

    fn encode(&self) -> Result<Resource, GivenErrors> {
        envoy::listener(self)
    }

    fn given(&self) -> AllGiven {
        AllGiven { whole: self.given.clone(), tracing: self.tracing.clone() }
    }

    fn take_back(&mut self, errors: &GivenErrors, older: Option<&AllGiven>) -> bool {
        if errors.tracing.is_some() {
            self.tracing = older.and_then(|older| older.tracing.clone());
        }
        if errors.whole.is_some() {
            let Some(older) = older else { return false };
            self.given.clone_from(&older.whole);
            self.tracing.clone_from(&older.tracing);
        }
        true
    }

    fn generated(&self) -> Option<Resource> {
        Self { given: None, ..self.clone() }.encode().ok()
    }

    fn replaces(&self, older: &Listening) -> bool {
        self.name == older.name
    }
}

impl Encodable for ir::Cluster {
    const KIND: ResourceType = ResourceType::Cluster;

    type Kept = ();

    fn name(&self) -> String {
        names::cluster(&self.name)
    }

    fn kept(&self) {}

    fn encode(&self) -> Result<Resource, GivenErrors> {
        envoy::cluster(self)
    }

    fn given(&self) -> AllGiven {
        AllGiven { whole: self.given.clone(), tracing: None }
    }

    fn take_back(&mut self, _: &GivenErrors, older: Option<&AllGiven>) -> bool {
        let Some(older) = older else { return false };
        self.given.clone_from(&older.whole);
        true
    }

    fn generated(&self) -> Option<Resource> {
        // Clusters that are gone are taken away after the others were acknowledged.
        None
    }

    fn replaces(&self, (): &()) -> bool {
        // Another name is another cluster.
        false
    }
}

impl Encodable for ir::RouteConfiguration {
    const KIND: ResourceType = ResourceType::Route;

    type Kept = ();

    fn name(&self) -> String {
        names::upstream(&self.name)
    }

    fn kept(&self) {}

    fn encode(&self) -> Result<Resource, GivenErrors> {
        Ok(envoy::route(self))
    }

    fn given(&self) -> AllGiven {
        AllGiven::default()
    }

    fn take_back(&mut self, _: &GivenErrors, _: Option<&AllGiven>) -> bool {
        true
    }

    fn generated(&self) -> Option<Resource> {
        None
    }

    fn replaces(&self, (): &()) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
