//! One proxy with streams: its parts as last made, and the snapshot that they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::encoded::EncodedPart;
use super::intern::Interner;
use super::secrets::SecretKey;
use super::shared::{AssignmentKey, SharedKey, SharedTable};
use super::slot::Slot;
use crate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use crate::model::{InstanceId, Place, SpiffeId};
use crate::resolve::{Owner, Parts};

/// Types whose resources belong to a proxy's own parts.
const OWN_TYPES: [ResourceType; 3] = [ResourceType::Cluster, ResourceType::Listener, ResourceType::Route];

/// What a proxy has to take over, apart from its own parts.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Assignments that changed.
    pub(super) assignments: Vec<AssignmentKey>,
    /// Secrets that changed.
    pub(super) secrets: Vec<SecretKey>,
    /// One of them goes without other things than before.
    pub(super) has_other_problems: bool,
}

/// What proxies share.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) assignments: SharedTable<AssignmentKey>,
    pub(super) secrets: SharedTable<SecretKey>,
}

/// One proxy.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    /// Clients that name the proxy in different ways have a slot each.
    pub(super) slots: Vec<Arc<Slot>>,
    parts: BTreeMap<Owner, EncodedPart>,
    /// One part of it could not be made and never was.
    lacks_parts: bool,
    /// The snapshot does not hold the parts as they are yet.
    pub(super) has_newer_parts: bool,
    pub(super) assignments: BTreeSet<AssignmentKey>,
    pub(super) secrets: BTreeSet<SecretKey>,
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

    /// Takes over newer parts. One that could not be made stays as it last was, and is reported. `identity` is whom the
    /// proxy's certificate speaks for, should it need one.
    pub(super) fn take(&mut self, place: &Place, identity: &SpiffeId, parts: Parts, interner: &mut Interner) {
        self.has_newer_parts = true;
        self.parts.retain(|owner, _| parts.contains_key(owner));
        self.failures.clear();
        self.lacks_parts = false;
        for (owner, part) in parts {
            match part {
                Ok(part) => {
                    self.failures.extend(part.left_out.iter().map(ToString::to_string));
                    self.parts.entry(owner).or_default().update(place, part, interner);
                }
                Err(error) => {
                    self.lacks_parts |= !self.parts.contains_key(&owner);
                    self.failures.push(error.to_string());
                }
            }
        }
        self.failures.extend(self.parts.values().flat_map(EncodedPart::problems));
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
        let trusts = self.parts.values().flat_map(|part| &part.trusts);
        self.secrets = trusts.map(|(name, source)| SecretKey::Trust(name.clone(), source.clone())).collect();
        if !self.secrets.is_empty() {
            self.secrets.insert(SecretKey::Leaf(identity.clone()));
        }
    }

    /// The identity that the proxy needs a certificate for.
    pub(super) fn identity(&self) -> Option<&SpiffeId> {
        self.secrets.iter().find_map(|key| if let SecretKey::Leaf(identity) = key { Some(identity) } else { None })
    }

    /// True while the certificate that the proxy needs is still being made.
    fn waits_for_certificate(&self, common: &Common) -> bool {
        let leaf = self.identity().map(|identity| SecretKey::Leaf(identity.clone()));
        leaf.is_some_and(|key| common.secrets.get(&key).is_none_or(|leaf| leaf.resource.is_none()))
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
    pub(super) fn update(&mut self, pending: &Pending, common: &Common) -> bool {
        let is_first = self.snapshot.is_none();
        if is_first && (!self.is_registered || self.waits_for_certificate(common)) {
            return false;
        }
        let mut next = self.snapshot.clone().unwrap_or_default();
        let mut is_changed = is_first;
        if is_first || self.has_newer_parts {
            for kind in OWN_TYPES {
                let resources = self.parts.values().flat_map(|part| part.resources(kind));
                is_changed |= replace(&mut next, kind, resources.map(|(resource, _)| resource.clone()));
                let is_incomplete = self.lacks_parts || self.parts.values().any(|part| part.is_incomplete(kind));
                is_changed |= next.set_incomplete(kind, is_incomplete);
            }
            is_changed |= replace_shared(&mut next, &self.assignments, &common.assignments);
            is_changed |= replace_shared(&mut next, &self.secrets, &common.secrets);
            self.has_newer_parts = false;
        } else {
            is_changed |= put_shared(&mut next, &pending.assignments, &self.assignments, &common.assignments);
            is_changed |= put_shared(&mut next, &pending.secrets, &self.secrets, &common.secrets);
        }
        if is_changed {
            for slot in &self.slots {
                slot.publish(next.clone());
            }
            self.snapshot = Some(next);
        }
        is_changed
    }

    /// Tells the slots what is wrong, and the log what is newly wrong.
    pub(super) fn tell_problems(&self, instance: &InstanceId, common: &Common) {
        let of_assignments = self.assignments.iter().filter_map(|key| common.assignments.get(key));
        let of_secrets = self.secrets.iter().filter_map(|key| common.secrets.get(key));
        let omissions = of_assignments.chain(of_secrets).flat_map(|shared| &shared.omissions);
        let mut told = BTreeSet::new();
        // Two secrets can go without the same root.
        let problems = self.failures.iter().chain(omissions).filter(|problem| told.insert(problem.as_str()));
        let problems: Vec<String> = problems.cloned().collect();
        let mut new = BTreeSet::new();
        for slot in &self.slots {
            new.extend(slot.set_problems(self.is_registered, problems.clone()));
        }
        for problem in new {
            tracing::warn!(proxy = %instance, "{problem}");
        }
    }
}

/// Makes `snapshot` hold exactly the shared resources with these keys. True if anything differed.
fn replace_shared<K: SharedKey>(snapshot: &mut Snapshot, keys: &BTreeSet<K>, table: &SharedTable<K>) -> bool {
    let resources = keys.iter().filter_map(|key| table.get(key)?.resource.clone());
    replace(snapshot, K::KIND, resources)
}

/// Makes `snapshot` hold those of the changed shared resources that the proxy has. True if any differed.
fn put_shared<K: SharedKey>(snapshot: &mut Snapshot, changed: &[K], own: &BTreeSet<K>, table: &SharedTable<K>) -> bool {
    let mut is_changed = false;
    for key in changed.iter().filter(|key| own.contains(key)) {
        is_changed |= match table.get(key).and_then(|shared| shared.resource.as_ref()) {
            Some(resource) => put(snapshot, K::KIND, resource),
            None => snapshot.get_mut(K::KIND).remove(&*key.name()).is_some(),
        };
    }
    is_changed
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
