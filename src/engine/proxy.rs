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

/// What a proxy has to take over, apart from its own parts.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Assignments that changed.
    pub(super) assignments: Vec<AssignmentKey>,
    /// One of them goes without other endpoints than before.
    pub(super) has_other_problems: bool,
    /// Its certificate or the roots changed.
    pub(super) has_other_secrets: bool,
}

/// One proxy.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    /// Clients that name the proxy in different ways have a slot each.
    pub(super) slots: Vec<Arc<Slot>>,
    parts: BTreeMap<Owner, EncodedPart>,
    /// The snapshot does not hold the parts as they are yet.
    pub(super) has_newer_parts: bool,
    pub(super) assignments: BTreeSet<AssignmentKey>,
    pub(super) identity: Option<SpiffeId>,
    pub(super) is_registered: bool,
    /// What keeps parts at an older state, and what they go without.
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
                Ok(part) => {
                    self.failures.extend(part.left_out.iter().map(ToString::to_string));
                    self.parts.entry(owner).or_default().update(part, interner);
                }
                Err(error) => self.failures.push(error.to_string()),
            }
        }
        self.failures.extend(self.parts.values().flat_map(EncodedPart::problems).cloned());
        for kind in [ResourceType::Listener, ResourceType::Cluster] {
            let clashes = self.clashes(kind);
            self.failures.extend(clashes);
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

    /// What an operator gives under a name that another resource has. The first one is sent.
    fn clashes(&self, kind: ResourceType) -> Vec<String> {
        let mut first = BTreeMap::new();
        let mut clashes = Vec::new();
        for (resource, given) in self.parts.values().flat_map(|part| part.resources(kind)) {
            let Some((other, other_given)) = first.insert(&resource.name, (resource, given)) else { continue };
            if Arc::ptr_eq(other, resource) {
                continue;
            }
            // Of two generated clusters with one name, both are right.
            if let Some(given) = given.or(other_given) {
                let (origin, name) = (&given.origin, &resource.name);
                clashes.push(format!(
                    "{origin}: another {kind} resource of this proxy is called {name:?}, and only one is sent"
                ));
            }
        }
        clashes
    }

    /// Takes over what is pending and sends the snapshot that results, if it is another one. True if it was sent.
    ///
    /// Costs what changed, not what the proxy holds, unless its parts were made again.
    pub(super) fn update(
        &mut self,
        pending: &Pending,
        view: &View,
        assignments: &Assignments,
        (secrets, interner): (&mut Secrets, &mut Interner),
    ) -> bool {
        let is_first = self.snapshot.is_none();
        if is_first && !self.is_registered {
            return false;
        }
        let mut next = self.snapshot.clone().unwrap_or_default();
        let mut is_changed = is_first;
        if is_first || self.has_newer_parts || pending.has_other_secrets {
            let Some(held) = self.secrets(view, (secrets, interner)) else {
                // The first certificate is still being made; it wakes the proxy when it is there.
                return false;
            };
            is_changed |= replace(&mut next, ResourceType::Secret, held.into_iter());
        }
        if is_first || self.has_newer_parts {
            for kind in OWN_TYPES {
                let resources = self.parts.values().flat_map(|part| part.resources(kind));
                is_changed |= replace(&mut next, kind, resources.map(|(resource, _)| resource.clone()));
            }
            let endpoints = self.assignments.iter().filter_map(|key| assignments.get(key));
            is_changed |= replace(&mut next, ResourceType::Endpoint, endpoints.map(|shared| shared.resource.clone()));
            self.has_newer_parts = false;
        } else {
            let changed = pending.assignments.iter().filter(|key| self.assignments.contains(key));
            for shared in changed.filter_map(|key| assignments.get(key)) {
                is_changed |= put(&mut next, ResourceType::Endpoint, &shared.resource);
            }
        }
        if is_changed {
            for slot in &self.slots {
                slot.publish(next.clone());
            }
            self.snapshot = Some(next);
        }
        is_changed
    }

    /// The proxy's own certificate and the roots; nothing for a proxy that opens no TLS, `None` before it has a certificate.
    fn secrets(&self, view: &View, (secrets, interner): (&mut Secrets, &mut Interner)) -> Option<Vec<Arc<Resource>>> {
        let Some(identity) = &self.identity else { return Some(Vec::new()) };
        let leaf = secrets.leaf(identity, view, interner)?;
        Some(vec![leaf, secrets.roots(view, interner)])
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

/// Makes `snapshot` hold exactly these resources of a type, and touches only what differs. True if anything did. Equal
/// resources are one, so that pointers tell.
fn replace(snapshot: &mut Snapshot, kind: ResourceType, resources: impl Iterator<Item = Arc<Resource>>) -> bool {
    let mut is_changed = false;
    let mut wanted = BTreeSet::new();
    for resource in resources {
        // Two parts can have one cluster; the first one says what it is.
        if wanted.insert(resource.name.clone()) {
            is_changed |= put(snapshot, kind, &resource);
        }
    }
    let set = snapshot.get_mut(kind);
    if set.len() > wanted.len() {
        let gone: Vec<_> = set.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in gone {
            set.remove(&name);
        }
        is_changed = true;
    }
    is_changed
}

/// True if the snapshot did not hold this very resource.
fn put(snapshot: &mut Snapshot, kind: ResourceType, resource: &Arc<Resource>) -> bool {
    let set = snapshot.get_mut(kind);
    let is_other = !set.get(&resource.name).is_some_and(|held| Arc::ptr_eq(held, resource));
    if is_other {
        set.insert(resource.name.clone(), resource.clone());
    }
    is_other
}
