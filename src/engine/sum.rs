//! What parts add up to: their resources by name, which of two listeners keeps its place, and what is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::encoded::EncodedPart;
use super::parts::{Assignments, Entry};
use super::shared::{AssignmentKey, Shared, SharedKey};
use crate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use crate::ir::ClusterName;
use crate::resolve::Claims;

/// The types of the resources that parts have, or lead to. Secrets are each proxy's own.
pub(super) const OF_PARTS: [ResourceType; 4] =
    [ResourceType::Listener, ResourceType::Cluster, ResourceType::Route, ResourceType::Endpoint];

/// Parts, earlier ones first: of two that want the same, the earlier one gets it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    /// All but secrets.
    pub(super) resources: Snapshot,
    /// Where its listeners listen.
    claims: Claims,
    /// What is lost because two parts want the same.
    pub(super) conflicts: Vec<String>,
    /// Clusters that two parts have, with endpoints from different sources.
    disputed: BTreeSet<ClusterName>,
}

impl Sum {
    /// Adds up parts. Sets of resources that are as in `before` are the very same.
    pub(super) fn of(before: Snapshot, entries: &[&Entry], assignments: &Assignments) -> Self {
        let mut sum = Self { resources: before, ..Self::default() };
        let made: Vec<_> = made(entries).collect();
        let listeners = sum.open_listeners(&made);
        replace(&mut sum.resources, ResourceType::Listener, listeners.into_iter());
        for kind in [ResourceType::Cluster, ResourceType::Route] {
            let resources = made.iter().flat_map(|part| part.resources(kind));
            replace(&mut sum.resources, kind, resources.map(|(resource, _)| resource.clone()));
        }
        for kind in [ResourceType::Listener, ResourceType::Cluster] {
            sum.conflicts.extend(clashes(kind, &made));
        }
        let lacks_parts = entries.iter().any(|entry| entry.part.is_none());
        for kind in [ResourceType::Listener, ResourceType::Cluster, ResourceType::Route] {
            let is_incomplete = lacks_parts || made.iter().any(|part| part.is_incomplete(kind));
            sum.resources.set_incomplete(kind, is_incomplete);
        }
        sum.find_endpoints(&made, assignments);
        sum
    }

    /// Notes where the listeners listen, and returns those that can be opened.
    fn open_listeners(&mut self, made: &[&Arc<EncodedPart>]) -> Vec<Arc<Resource>> {
        let mut opened = Vec::new();
        for (wanted, made) in made.iter().flat_map(|part| part.listeners()) {
            let claimed = wanted.map_or(Ok(()), |wanted| self.claims.claim(&wanted.name, &wanted.bind));
            match claimed {
                Ok(()) => opened.extend(made.cloned()),
                Err(why) => self.conflicts.push(why.to_string()),
            }
        }
        opened
    }

    /// Two upstreams can lead to one cluster; the first part says what it is, here as for the cluster itself.
    fn find_endpoints(&mut self, made: &[&Arc<EncodedPart>], assignments: &Assignments) {
        let mut sources = BTreeMap::new();
        for (cluster, source) in made.iter().flat_map(|part| &part.endpoints) {
            if sources.entry(cluster).or_insert(source) != &source {
                self.disputed.insert(cluster.clone());
            }
        }
        let found = sources.into_iter().filter_map(|(cluster, source)| {
            let key = (cluster.clone(), source.clone());
            assignments.get(&key)?.resource.clone()
        });
        replace(&mut self.resources, ResourceType::Endpoint, found);
    }

    /// Takes over assignments that changed. True if the endpoints are others then.
    pub(super) fn put_endpoints<'e>(
        &mut self,
        changed: &[Arc<AssignmentKey>],
        entries: impl Fn() -> Vec<&'e Entry>,
        assignments: &Assignments,
    ) -> bool {
        let mut is_changed = false;
        for key in changed {
            let winner = || {
                let source = made(&entries()).find_map(|part| part.endpoints_of(&key.0))?;
                Some((key.0.clone(), source.clone()))
            };
            let winner = self.disputed.contains(&key.0).then(winner).flatten();
            is_changed |= put_shared(&mut self.resources, &**key, assignments.get(winner.as_ref().unwrap_or(key)));
        }
        is_changed
    }

    /// True if both want the same, so that what they add up to is not just both of them.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let share_a_name = |kind: ResourceType| {
            let (own, others) = (self.resources.get(kind), other.resources.get(kind));
            own.keys().any(|name| others.contains_key(name))
        };
        self.claims.meet(&other.claims) || OF_PARTS.into_iter().any(share_a_name)
    }
}

/// The parts that were made.
pub(super) fn made<'e>(entries: &[&'e Entry]) -> impl Iterator<Item = &'e Arc<EncodedPart>> {
    entries.iter().filter_map(|entry| entry.part.as_ref())
}

/// What the assignments of parts go without.
pub(super) fn omissions(entries: &[&Entry], assignments: &Assignments) -> Vec<String> {
    let endpoints = made(entries).flat_map(|part| &part.endpoints);
    let shared = endpoints.filter_map(|(name, source)| assignments.get(&(name.clone(), source.clone())));
    shared.flat_map(|shared| &shared.omissions).cloned().collect()
}

/// What an operator gives under a name that another resource has. The first one is sent.
fn clashes(kind: ResourceType, made: &[&Arc<EncodedPart>]) -> Vec<String> {
    if !made.iter().any(|part| part.is_given()) {
        // Of two generated resources with one name, both are right.
        return Vec::new();
    }
    let mut first = BTreeMap::new();
    let mut clashes = Vec::new();
    for (resource, given) in made.iter().flat_map(|part| part.resources(kind)) {
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

/// Makes `snapshot` hold a shared resource under the name of `key`. True if it held another one.
pub(super) fn put_shared<K: SharedKey, U>(snapshot: &mut Snapshot, key: &K, shared: Option<&Shared<U>>) -> bool {
    match shared.and_then(|shared| shared.resource.as_ref()) {
        Some(resource) => put(snapshot, K::KIND, resource),
        None => snapshot.get_mut(K::KIND).remove(&key.name()),
    }
}

/// Makes `snapshot` hold exactly these resources of a type, and touches only what differs. True if anything did. Equal
/// resources are one, so that pointers tell.
pub(super) fn replace(
    snapshot: &mut Snapshot,
    kind: ResourceType,
    resources: impl Iterator<Item = Arc<Resource>>,
) -> bool {
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
pub(super) fn put(snapshot: &mut Snapshot, kind: ResourceType, resource: &Arc<Resource>) -> bool {
    let set = snapshot.get_mut(kind);
    let is_other = !set.get(&resource.name).is_some_and(|held| Arc::ptr_eq(held, resource));
    if is_other {
        // Certificates are a proxy's own, and the roots of others are few.
        if kind == ResourceType::Secret { set.insert_own(resource.clone()) } else { set.insert(resource.clone()) }
    }
    is_other
}
