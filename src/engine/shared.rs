//! Assignments: the endpoints of clusters, shared by all proxies whose cluster has the same source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::intern::Interner;
use super::proxy::Pending;
use super::readers::Readers;
use super::recording::Recording;
use crate::envoy;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::ir::ClusterName;
use crate::model::{Datacenter, InstanceId};
use crate::resolve::{EndpointSource, Omission, assignment};
use crate::store::{Key, Reader, View};

/// What identifies an assignment. Proxies in different places may know one cluster name with different sources.
pub(super) type AssignmentKey = (ClusterName, EndpointSource);

/// One assignment.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) resource: Arc<Resource>,
    pub(super) omissions: Vec<Omission>,
    users: BTreeSet<InstanceId>,
}

/// Every assignment that some proxy uses.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    table: BTreeMap<AssignmentKey, Shared>,
    readers: Readers<AssignmentKey>,
}

impl Assignments {
    /// The assignment with this key, which `user` uses from now on.
    pub(super) fn join(
        &mut self,
        key: &AssignmentKey,
        user: &InstanceId,
        (view, hosted): (&View, &[Datacenter]),
        interner: &mut Interner,
    ) {
        if !self.table.contains_key(key) {
            let (resource, omissions) = self.compute(key, view, hosted, interner);
            self.table.insert(key.clone(), Shared { resource, omissions, users: BTreeSet::new() });
        }
        if let Some(shared) = self.table.get_mut(key) {
            shared.users.insert(user.clone());
        }
    }

    /// `user` uses it no longer; the last one takes it away.
    pub(super) fn leave(&mut self, key: &AssignmentKey, user: &InstanceId) {
        let Some(shared) = self.table.get_mut(key) else { return };
        shared.users.remove(user);
        if shared.users.is_empty() {
            self.table.remove(key);
            self.readers.remove(key);
        }
    }

    pub(super) fn get(&self, key: &AssignmentKey) -> Option<&Shared> {
        self.table.get(key)
    }

    /// Computes again what read one of these keys; adds what changed to what its users have to take over.
    pub(super) fn advance<'k>(
        &mut self,
        changed: impl Iterator<Item = &'k Key>,
        (view, hosted): (&View, &[Datacenter]),
        interner: &mut Interner,
        pending: &mut BTreeMap<InstanceId, Pending>,
    ) {
        for key in self.readers.of(changed) {
            let (resource, omissions) = self.compute(&key, view, hosted, interner);
            let Some(shared) = self.table.get_mut(&key) else { continue };
            let is_same = Arc::ptr_eq(&shared.resource, &resource);
            let same_problems = shared.omissions == omissions;
            (shared.resource, shared.omissions) = (resource, omissions);
            for user in shared.users.iter().filter(|_| !is_same || !same_problems) {
                let pending = pending.entry(user.clone()).or_default();
                pending.assignments.push(key.clone());
                pending.has_other_problems |= !same_problems;
            }
        }
    }

    fn compute(
        &mut self,
        key: &AssignmentKey,
        view: &View,
        hosted: &[Datacenter],
        interner: &mut Interner,
    ) -> (Arc<Resource>, Vec<Omission>) {
        let reader = Reader::new(view);
        let (assignment, omissions) = assignment(&Recording::new(&reader, hosted), &key.0, &key.1);
        self.readers.set(key, reader.into_read_set());
        (interner.intern(ResourceType::Endpoint, envoy::assignment(&assignment)), omissions)
    }
}
