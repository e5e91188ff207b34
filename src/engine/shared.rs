//! Resources that proxies share: the endpoints of clusters whose sources are equal, the certificate of an identity, and
//! whom to trust.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Options;
use super::chains::Chains;
use super::intern::Interner;
use super::recording::Recording;
use crate::envoy::snapshot::{self, Resource, ResourceType};
use crate::envoy::{self, names};
use crate::ir::ClusterName;
use crate::model::TrustDomain;
use crate::resolve::{EndpointSource, assignment};
use crate::store::{Key, Reader, Readers, View};

/// What everything is made from.
#[derive(Clone, Copy)]
pub(super) struct World<'w> {
    pub(super) view: &'w Arc<View>,
    pub(super) options: &'w Options,
    pub(super) trust_domain: &'w TrustDomain,
    pub(super) chains: &'w Chains,
}

impl World<'_> {
    /// The state for `reader`, which notes what is asked.
    pub(super) fn state<'r, 'v>(&'r self, reader: &'r Reader<'v>) -> Recording<'r, 'v> {
        Recording::new(reader, &self.options.hosted).sharing(self.chains)
    }
}

/// What identifies a shared resource: its name, and what it is made from. Proxies may know one name with different
/// sources.
pub(super) trait SharedKey: Ord + Clone {
    /// The type of the resources.
    const KIND: ResourceType;

    /// The name of the resource.
    fn name(&self) -> String;

    /// The resource as it is now, and what it goes without. What is read goes through `reader`.
    fn make(&self, reader: &Reader<'_>, world: World<'_>) -> Made;
}

/// A resource that was made.
#[derive(Debug)]
pub(super) struct Made {
    /// Nothing while what it needs is not there.
    pub(super) resource: Option<snapshot::Resource>,
    /// What it goes without, for people.
    pub(super) omissions: Vec<String>,
}

/// What identifies an assignment.
pub(super) type AssignmentKey = (ClusterName, EndpointSource);

impl SharedKey for AssignmentKey {
    const KIND: ResourceType = ResourceType::Endpoint;

    fn name(&self) -> String {
        names::cluster(&self.0)
    }

    fn make(&self, reader: &Reader<'_>, world: World<'_>) -> Made {
        let (assignment, omissions) = assignment(&world.state(reader), &self.0, &self.1);
        Made {
            resource: Some(envoy::assignment(&assignment)),
            omissions: omissions.iter().map(ToString::to_string).collect(),
        }
    }
}

/// One shared resource.
#[derive(Debug, Clone)]
pub(super) struct Shared<U> {
    pub(super) resource: Option<Arc<Resource>>,
    pub(super) omissions: Vec<String>,
    users: BTreeSet<U>,
}

/// Every shared resource of a type that somebody uses.
#[derive(Debug, Clone)]
pub(super) struct SharedTable<K, U> {
    table: BTreeMap<Arc<K>, Shared<U>>,
    readers: Readers<Arc<K>>,
}

/// A shared resource that is another one than before, or goes without other things.
#[derive(Debug)]
pub(super) struct Change<K> {
    pub(super) key: Arc<K>,
    /// What it goes without is something else.
    pub(super) has_other_problems: bool,
}

impl<K, U> Default for SharedTable<K, U> {
    fn default() -> Self {
        Self { table: BTreeMap::new(), readers: Readers::default() }
    }
}

impl<K: SharedKey, U: Ord + Copy> SharedTable<K, U> {
    /// `user` uses it from now on. Whoever uses the same shares its key.
    pub(super) fn join(&mut self, key: K, user: U, world: World<'_>, interner: &mut Interner) -> Arc<K> {
        let known = self.table.get_key_value(&key).map(|(known, _)| known.clone());
        let key = known.unwrap_or_else(|| {
            let key = Arc::new(key);
            let (resource, omissions) = self.compute(&key, world, interner);
            self.table.insert(key.clone(), Shared { resource, omissions, users: BTreeSet::new() });
            key
        });
        if let Some(shared) = self.table.get_mut(&key) {
            shared.users.insert(user);
        }
        key
    }

    /// `user` uses it no longer; the last one takes it away.
    pub(super) fn leave(&mut self, key: &K, user: U) {
        let Some(shared) = self.table.get_mut(key) else { return };
        shared.users.remove(&user);
        if shared.users.is_empty()
            && let Some((key, _)) = self.table.remove_entry(key)
        {
            self.readers.remove(&key);
        }
    }

    /// Everything that was read to make them.
    pub(super) fn keys_read(&self) -> impl Iterator<Item = &Key> {
        self.readers.keys()
    }

    pub(super) fn get(&self, key: &K) -> Option<&Shared<U>> {
        self.table.get(key)
    }

    /// Those that were made from one of these keys.
    pub(super) fn readers_of<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> BTreeSet<Arc<K>> {
        self.readers.of(keys)
    }

    /// Who uses it.
    pub(super) fn users(&self, key: &K) -> impl Iterator<Item = U> {
        self.table.get(key).into_iter().flat_map(|shared| shared.users.iter().copied())
    }

    /// Computes again what read one of these keys; returns what changed.
    pub(super) fn advance<'k>(
        &mut self,
        changed: impl Iterator<Item = &'k Key>,
        world: World<'_>,
        interner: &mut Interner,
    ) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        for key in self.readers.of(changed) {
            let (resource, omissions) = self.compute(&key, world, interner);
            let Some(shared) = self.table.get_mut(&key) else { continue };
            let is_same = match (&shared.resource, &resource) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (old, new) => old.is_none() && new.is_none(),
            };
            let has_other_problems = shared.omissions != omissions;
            (shared.resource, shared.omissions) = (resource, omissions);
            if !is_same || has_other_problems {
                changes.push(Change { key, has_other_problems });
            }
        }
        changes
    }

    fn compute(
        &mut self,
        key: &Arc<K>,
        world: World<'_>,
        interner: &mut Interner,
    ) -> (Option<Arc<Resource>>, Vec<String>) {
        let reader = Reader::new(world.view);
        let made = key.make(&reader, world);
        self.readers.set(key, reader.into_read_set());
        (made.resource.map(|resource| interner.intern(K::KIND, resource)), made.omissions)
    }
}
