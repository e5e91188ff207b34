//! One proxy with streams: its parts, and the snapshot that they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::encoded::EncodedPart;
use super::parts::{Assignments, Entry, PartId, PartTable, ProxyId};
use super::secrets::SecretKey;
use super::shared::{AssignmentKey, Shared, SharedKey};
use super::slot::Slot;
use crate::envoy::snapshot::{Resource, ResourceSet, ResourceType, Snapshot};
use crate::ir::ClusterName;
use crate::model::{InstanceId, SpiffeId};
use crate::resolve::Claims;

/// Secrets by the proxies that have them.
pub(super) type Secrets = super::shared::SharedTable<SecretKey, ProxyId>;

/// What a proxy has to take over.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Assignments that changed.
    pub(super) assignments: Vec<Arc<AssignmentKey>>,
    /// Secrets that changed.
    pub(super) secrets: Vec<Arc<SecretKey>>,
    /// One of its parts is another one, or it has other parts.
    pub(super) has_newer_parts: bool,
    /// It goes without other things than before.
    pub(super) has_other_problems: bool,
}

/// What the last proxy made of its assignments, while one state is published. Others that had the same do not make it again.
#[derive(Debug, Default)]
pub(super) struct Step {
    before: ResourceSet,
    changed: Vec<Arc<AssignmentKey>>,
    after: ResourceSet,
}

impl Step {
    fn is_for(&self, before: &ResourceSet, changed: &[Arc<AssignmentKey>]) -> bool {
        let is_same = |(a, b): (&Arc<AssignmentKey>, &Arc<AssignmentKey>)| Arc::ptr_eq(a, b);
        let both = self.changed.iter().zip(changed);
        self.changed.len() == changed.len() && self.before.ptr_eq(before) && both.into_iter().all(is_same)
    }
}

/// What proxies share.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) parts: PartTable,
    pub(super) assignments: Assignments,
    pub(super) secrets: Secrets,
}

/// One proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) instance: InstanceId,
    /// Clients that name the proxy in different ways have a slot each.
    pub(super) slots: Vec<Arc<Slot>>,
    /// Its parts, by what they are of it.
    pub(super) parts: Vec<PartId>,
    pub(super) secrets: Vec<Arc<SecretKey>>,
    pub(super) is_registered: bool,
    /// What keeps it as it was, apart from what is wrong with its parts.
    pub(super) failures: Vec<String>,
    /// What it loses because two of its parts want the same.
    conflicts: Vec<String>,
    /// Clusters that two parts have, with endpoints from different sources.
    disputed: BTreeSet<ClusterName>,
    snapshot: Option<Arc<Snapshot>>,
}

impl Proxy {
    /// A proxy of which nothing is known yet.
    pub(super) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            slots: Vec::new(),
            parts: Vec::new(),
            secrets: Vec::new(),
            is_registered: false,
            failures: Vec::new(),
            conflicts: Vec::new(),
            disputed: BTreeSet::new(),
            snapshot: None,
        }
    }

    /// What was last published.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    fn entries<'c>(&self, parts: &'c PartTable) -> impl Iterator<Item = &'c Entry> {
        self.parts.iter().filter_map(|id| parts.get(*id))
    }

    fn made<'c>(&self, parts: &'c PartTable) -> impl Iterator<Item = &'c Arc<EncodedPart>> {
        self.entries(parts).filter_map(|entry| entry.part.as_ref())
    }

    /// The secrets that its parts need, if `identity` is whom its certificate speaks for.
    pub(super) fn wanted_secrets(&self, identity: &SpiffeId, parts: &PartTable) -> BTreeSet<SecretKey> {
        let trusts = self.made(parts).flat_map(|part| &part.trusts);
        let mut secrets: BTreeSet<_> =
            trusts.map(|(name, source)| SecretKey::Trust(name.clone(), source.clone())).collect();
        if !secrets.is_empty() {
            secrets.insert(SecretKey::Leaf(identity.clone()));
        }
        secrets
    }

    /// The identity that the proxy needs a certificate for.
    pub(super) fn identity(&self) -> Option<&SpiffeId> {
        self.secrets.iter().find_map(|key| match &**key {
            SecretKey::Leaf(identity) => Some(identity),
            SecretKey::Trust(..) => None,
        })
    }

    /// True while the certificate that the proxy needs is still being made.
    fn waits_for_certificate(&self, secrets: &Secrets) -> bool {
        let leaf = self.identity().map(|identity| SecretKey::Leaf(identity.clone()));
        leaf.is_some_and(|key| secrets.get(&key).is_none_or(|leaf| leaf.resource.is_none()))
    }

    /// Takes over what is pending. True if the snapshot is another one then. The first snapshot begins as that of `sibling`,
    /// so that both share what is equal in them.
    ///
    /// Costs what changed, not what the proxy holds, unless one of its parts is another one.
    pub(super) fn update(
        &mut self,
        pending: &Pending,
        common: &Common,
        (sibling, step): (Option<&Snapshot>, &mut Step),
    ) -> bool {
        let is_first = self.snapshot.is_none();
        if is_first && (!self.is_registered || self.waits_for_certificate(&common.secrets)) {
            return false;
        }
        let mut next = self.snapshot.as_deref().or(sibling).cloned().unwrap_or_default();
        let mut is_changed = is_first;
        if is_first || pending.has_newer_parts {
            is_changed |= self.put_together(&mut next, common);
        } else {
            is_changed |= self.put_endpoints(&mut next, &pending.assignments, common, step);
            for key in &pending.secrets {
                is_changed |= put_shared(&mut next, &**key, common.secrets.get(key));
            }
        }
        if is_changed {
            self.snapshot = Some(Arc::new(next));
        }
        is_changed
    }

    /// Sends the snapshot to every slot.
    pub(super) fn publish(&self) {
        let Some(snapshot) = &self.snapshot else { return };
        for slot in &self.slots {
            slot.publish(snapshot.clone());
        }
    }

    /// Takes over assignments that changed. Of proxies that had one set before, all have one afterwards.
    fn put_endpoints(
        &self,
        snapshot: &mut Snapshot,
        changed: &[Arc<AssignmentKey>],
        common: &Common,
        step: &mut Step,
    ) -> bool {
        let is_plain = self.disputed.is_empty();
        let set = snapshot.get_mut(ResourceType::Endpoint);
        if is_plain && step.is_for(set, changed) {
            let is_changed = !set.ptr_eq(&step.after);
            set.clone_from(&step.after);
            return is_changed;
        }
        let before = set.clone();
        let mut is_changed = false;
        for key in changed {
            let winner = self.disputed.contains(&key.0).then(|| self.endpoints_of(&key.0, &common.parts)).flatten();
            let shared = common.assignments.get(winner.as_ref().unwrap_or(key));
            is_changed |= put_shared(snapshot, &**key, shared);
        }
        if is_plain {
            *step = Step { before, changed: changed.to_vec(), after: snapshot.get(ResourceType::Endpoint).clone() };
        }
        is_changed
    }

    /// Where the endpoints of a cluster come from: the first part that has it says so.
    fn endpoints_of(&self, cluster: &ClusterName, parts: &PartTable) -> Option<AssignmentKey> {
        let source = self.made(parts).find_map(|part| part.endpoints.get(cluster))?;
        Some((cluster.clone(), source.clone()))
    }

    /// Makes the snapshot hold what the parts add up to.
    fn put_together(&mut self, snapshot: &mut Snapshot, common: &Common) -> bool {
        self.conflicts.clear();
        let mut is_changed = replace(snapshot, ResourceType::Listener, self.listeners(&common.parts).into_iter());
        for kind in [ResourceType::Cluster, ResourceType::Route] {
            let resources = self.made(&common.parts).flat_map(|part| part.resources(kind));
            is_changed |= replace(snapshot, kind, resources.map(|(resource, _)| resource.clone()));
        }
        for kind in [ResourceType::Listener, ResourceType::Cluster] {
            let clashes = self.clashes(kind, &common.parts);
            self.conflicts.extend(clashes);
        }
        let lacks_parts = self.entries(&common.parts).any(|entry| entry.part.is_none());
        for kind in [ResourceType::Listener, ResourceType::Cluster, ResourceType::Route] {
            let is_incomplete = lacks_parts || self.made(&common.parts).any(|part| part.is_incomplete(kind));
            is_changed |= snapshot.set_incomplete(kind, is_incomplete);
        }
        let mut sources = BTreeMap::new();
        let mut disputed = BTreeSet::new();
        for (cluster, source) in self.made(&common.parts).flat_map(|part| &part.endpoints) {
            // Two upstreams can lead to one cluster; the first part says what it is, here as for the cluster itself.
            if sources.entry(cluster).or_insert(source) != &source {
                disputed.insert(cluster.clone());
            }
        }
        let assignments = sources.into_iter().filter_map(|(cluster, source)| {
            let key = (cluster.clone(), source.clone());
            common.assignments.get(&key)?.resource.clone()
        });
        is_changed |= replace(snapshot, ResourceType::Endpoint, assignments);
        self.disputed = disputed;
        let secrets = self.secrets.iter().filter_map(|key| common.secrets.get(key)?.resource.clone());
        is_changed | replace(snapshot, ResourceType::Secret, secrets)
    }

    /// The listeners that can be opened. An earlier part keeps its place.
    fn listeners(&mut self, parts: &PartTable) -> Vec<Arc<Resource>> {
        let mut claims = Claims::default();
        let mut opened = Vec::new();
        let mut conflicts = Vec::new();
        for (wanted, made) in self.made(parts).flat_map(|part| part.listeners()) {
            match claims.claim(wanted) {
                Ok(()) => opened.extend(made.cloned()),
                Err(why) => conflicts.push(why.to_string()),
            }
        }
        self.conflicts.extend(conflicts);
        opened
    }

    /// What an operator gives under a name that another resource has. The first one is sent.
    fn clashes(&self, kind: ResourceType, parts: &PartTable) -> Vec<String> {
        if !self.made(parts).any(|part| part.is_given()) {
            // Of two generated resources with one name, both are right.
            return Vec::new();
        }
        let mut first = BTreeMap::new();
        let mut clashes = Vec::new();
        for (resource, given) in self.made(parts).flat_map(|part| part.resources(kind)) {
            let Some((other, other_given)) = first.insert(&resource.name, (resource, given)) else { continue };
            if Arc::ptr_eq(other, resource) {
                continue;
            }
            if let Some(given) = given.or(other_given) {
                let (origin, name) = (&given.origin, &resource.name);
                clashes.push(format!(
                    "{origin}: another {kind} resource of this proxy is called {name:?}, and only one is sent"
                ));
            }
        }
        clashes
    }

    /// Tells the slots what is wrong, and the log what is newly wrong.
    pub(super) fn tell_problems(&self, common: &Common) {
        let of_parts = self.entries(&common.parts).flat_map(|entry| &entry.problems);
        let endpoints = self.made(&common.parts).flat_map(|part| &part.endpoints);
        let of_assignments = endpoints.filter_map(|(name, source)| {
            let key = (name.clone(), source.clone());
            common.assignments.get(&key).map(omissions)
        });
        let of_secrets = self.secrets.iter().filter_map(|key| common.secrets.get(key).map(omissions));
        let omissions = of_assignments.chain(of_secrets).flatten();
        let mut told = BTreeSet::new();
        // Two secrets can go without the same root.
        let all = self.failures.iter().chain(of_parts).chain(&self.conflicts).chain(omissions);
        let problems: Vec<String> = all.filter(|problem| told.insert(problem.as_str())).cloned().collect();
        let mut new = BTreeSet::new();
        for slot in &self.slots {
            new.extend(slot.set_problems(self.is_registered, problems.clone()));
        }
        for problem in new {
            tracing::warn!(proxy = %self.instance, "{problem}");
        }
    }
}

fn omissions<U>(shared: &Shared<U>) -> &Vec<String> {
    &shared.omissions
}

/// Makes `snapshot` hold a shared resource under the name of `key`. True if it held another one.
fn put_shared<K: SharedKey, U>(snapshot: &mut Snapshot, key: &K, shared: Option<&Shared<U>>) -> bool {
    match shared.and_then(|shared| shared.resource.as_ref()) {
        Some(resource) => put(snapshot, K::KIND, resource),
        None => snapshot.get_mut(K::KIND).remove(&*key.name()).is_some(),
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
