//! One proxy with streams: its parts as last made, and the snapshot that they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::encoded::EncodedPart;
use super::intern::Interner;
use super::secrets::Secrets;
use super::shared::{AssignmentKey, Assignments};
use super::slot::Slot;
use crate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use crate::model::{InstanceId, SpiffeId};
use crate::resolve::{Owner, Parts};
use crate::store::View;

/// Types whose resources belong to a proxy's own parts.
const OWN_TYPES: [ResourceType; 3] = [ResourceType::Cluster, ResourceType::Listener, ResourceType::Route];

/// One proxy.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    /// Clients that name the proxy in different ways have a slot each.
    pub(super) slots: Vec<Arc<Slot>>,
    parts: BTreeMap<Owner, EncodedPart>,
    /// The snapshot does not hold the parts as they are yet.
    has_newer_parts: bool,
    pub(super) assignments: BTreeSet<AssignmentKey>,
    pub(super) identity: Option<SpiffeId>,
    pub(super) is_registered: bool,
    /// What keeps parts at an older state.
    pub(super) failures: Vec<String>,
    snapshot: Option<Snapshot>,
}

impl Proxy {
    /// What was last published.
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Takes over newer parts. One that could not be made stays as it last was, and is reported.
    pub(super) fn take(&mut self, parts: Parts, interner: &mut Interner) {
        self.has_newer_parts = true;
        self.parts.retain(|owner, _| parts.contains_key(owner));
        self.failures.clear();
        for (owner, part) in parts {
            match part {
                Ok(part) => self.parts.entry(owner).or_default().update(part, interner),
                Err(error) => self.failures.push(error.to_string()),
            }
        }
        self.assignments = BTreeSet::new();
        let mut named = BTreeSet::new();
        for (cluster, source) in self.parts.values().flat_map(|part| &part.endpoints) {
            // Two upstreams can lead to one cluster; the first part says what it is, here as for the cluster itself.
            if named.insert(cluster) {
                self.assignments.insert((cluster.clone(), source.clone()));
            }
        }
    }

    /// What the proxy should have now; `None` while its first certificate is being made.
    pub(super) fn compose(
        &self,
        view: &View,
        assignments: &Assignments,
        (secrets, interner): (&mut Secrets, &mut Interner),
    ) -> Option<Snapshot> {
        let mut next = self.snapshot.clone().unwrap_or_default();
        // Where only endpoints or secrets changed, as they mostly do, all others are as they were.
        for kind in OWN_TYPES.into_iter().filter(|_| self.has_newer_parts) {
            let resources = self.parts.values().flat_map(|part| part.resources(kind));
            replace(&mut next, kind, resources.cloned());
        }
        let endpoints = self.assignments.iter().filter_map(|key| assignments.get(key));
        replace(&mut next, ResourceType::Endpoint, endpoints.map(|shared| shared.resource.clone()));
        if let Some(identity) = &self.identity {
            let leaf = secrets.leaf(identity, view, interner)?;
            replace(&mut next, ResourceType::Secret, [leaf, secrets.roots(view, interner)].into_iter());
        }
        Some(next)
    }

    /// Sends a snapshot to every stream, unless it is what they have. True if it was sent.
    pub(super) fn publish(&mut self, next: Snapshot) -> bool {
        self.has_newer_parts = false;
        if self.snapshot.as_ref() == Some(&next) {
            return false;
        }
        for slot in &self.slots {
            slot.publish(next.clone());
        }
        self.snapshot = Some(next);
        true
    }

    /// Tells the slots what is wrong, and the log what is newly wrong.
    pub(super) fn tell_problems(&self, instance: &InstanceId, assignments: &Assignments) {
        let omissions = self.assignments.iter().filter_map(|key| assignments.get(key)).flat_map(|it| &it.omissions);
        let problems: Vec<String> = self.failures.iter().cloned().chain(omissions.map(ToString::to_string)).collect();
        let mut new = BTreeSet::new();
        for slot in &self.slots {
            new.extend(slot.set_problems(self.is_registered, problems.clone()));
        }
        for problem in new {
            tracing::warn!(proxy = %instance, "{problem}");
        }
    }
}

/// Makes `snapshot` hold exactly these resources of a type, and touches only what differs.
fn replace(snapshot: &mut Snapshot, kind: ResourceType, resources: impl Iterator<Item = Arc<Resource>>) {
    let set = snapshot.get_mut(kind);
    let mut wanted = BTreeSet::new();
    for resource in resources {
        if !wanted.insert(resource.name.clone()) {
            continue;
        }
        if !set.get(&resource.name).is_some_and(|held| Arc::ptr_eq(held, &resource)) {
            set.insert(resource.name.clone(), resource);
        }
    }
    if set.len() > wanted.len() {
        let gone: Vec<_> = set.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in gone {
            set.remove(&name);
        }
    }
}
