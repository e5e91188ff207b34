//! Resources that proxies share: the endpoints of clusters whose sources are equal, the certificate of an identity, and
//! whom to trust.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::intern::Interner;
use super::proxy::Pending;
use super::readers::Readers;
use super::recording::Recording;
use crate::envoy::snapshot::{self, Resource, ResourceType};
use crate::envoy::{self, names};
use crate::ir::ClusterName;
use crate::model::{Datacenter, InstanceId, TrustDomain};
use crate::resolve::{EndpointSource, assignment};
use crate::store::{Key, Reader, View};

/// What shared resources are made from, apart from their source.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'w> {
    pub(super) view: &'w View,
    /// Datacenters that exist without a row.
    pub(super) hosted: &'w [Datacenter],
    pub(super) trust_domain: &'w TrustDomain,
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

    /// The list of what changed of this type.
    fn pending(pending: &mut Pending) -> &mut Vec<Self>;
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
        let (assignment, omissions) = assignment(&Recording::new(reader, world.hosted), &self.0, &self.1);
        Made {
            resource: Some(envoy::assignment(&assignment)),
            omissions: omissions.iter().map(ToString::to_string).collect(),
        }
    }

    fn pending(pending: &mut Pending) -> &mut Vec<Self> {
        &mut pending.assignments
    }
}

/// One shared resource.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) resource: Option<Arc<Resource>>,
    pub(super) omissions: Vec<String>,
    users: BTreeSet<InstanceId>,
}

/// Every shared resource of a type that some proxy uses.
#[derive(Debug)]
pub(super) struct SharedTable<K> {
    table: BTreeMap<K, Shared>,
    readers: Readers<K>,
}

impl<K> Default for SharedTable<K> {
    fn default() -> Self {
        Self { table: BTreeMap::new(), readers: Readers::default() }
    }
}

impl<K: SharedKey> SharedTable<K> {
    /// `user` uses these from now on, and used those until now. The last user of one takes it away.
    pub(super) fn replace(
        &mut self,
        user: &InstanceId,
        (old, new): (&BTreeSet<K>, &BTreeSet<K>),
        world: World<'_>,
        interner: &mut Interner,
    ) {
        for key in new.difference(old) {
            self.join(key, user, world, interner);
        }
        for key in old.difference(new) {
            self.leave(key, user);
        }
    }

    fn join(&mut self, key: &K, user: &InstanceId, world: World<'_>, interner: &mut Interner) {
        if !self.table.contains_key(key) {
            let (resource, omissions) = self.compute(key, world, interner);
            self.table.insert(key.clone(), Shared { resource, omissions, users: BTreeSet::new() });
        }
        if let Some(shared) = self.table.get_mut(key) {
            shared.users.insert(user.clone());
        }
    }

    /// `user` uses it no longer; the last one takes it away.
    pub(super) fn leave(&mut self, key: &K, user: &InstanceId) {
        let Some(shared) = self.table.get_mut(key) else { return };
        shared.users.remove(user);
        if shared.users.is_empty() {
            self.table.remove(key);
            self.readers.remove(key);
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&Shared> {
        self.table.get(key)
    }

    /// Computes again what read one of these keys; adds what changed to what its users have to take over.
    pub(super) fn advance<'k>(
        &mut self,
        changed: impl Iterator<Item = &'k Key>,
        world: World<'_>,
        interner: &mut Interner,
        pending: &mut BTreeMap<InstanceId, Pending>,
    ) {
        for key in self.readers.of(changed) {
            let (resource, omissions) = self.compute(&key, world, interner);
            let Some(shared) = self.table.get_mut(&key) else { continue };
            let is_same = match (&shared.resource, &resource) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (old, new) => old.is_none() && new.is_none(),
            };
            let same_problems = shared.omissions == omissions;
            (shared.resource, shared.omissions) = (resource, omissions);
            for user in shared.users.iter().filter(|_| !is_same || !same_problems) {
                let pending = pending.entry(user.clone()).or_default();
                K::pending(pending).push(key.clone());
                pending.has_other_problems |= !same_problems;
            }
        }
    }

    fn compute(&mut self, key: &K, world: World<'_>, interner: &mut Interner) -> (Option<Arc<Resource>>, Vec<String>) {
        let reader = Reader::new(world.view);
        let made = key.make(&reader, world);
        self.readers.set(key, reader.into_read_set());
        (made.resource.map(|resource| interner.intern(K::KIND, resource)), made.omissions)
    }
}
