//! Alias checks: the health of something else, computed from the view.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Finding;
use crate::model::{Check, CheckKind, CheckStatus, InstanceId, NodeName, ServiceId};
use crate::store::{CheckKey, NodeKey, Op, Stored, View};

/// Which alias checks depend on what.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// By what is mirrored; the empty service ID stands for the node.
    by_target: BTreeMap<InstanceId, BTreeSet<CheckKey>>,
    targets: BTreeMap<CheckKey, InstanceId>,
}

impl Aliases {
    /// Follows a check that was added, changed or removed.
    pub(super) fn sync(&mut self, key: &CheckKey, row: Option<&Check>) {
        if let Some(old) = self.targets.remove(key) {
            for watched in watched(&old) {
                self.unwatch(&watched, key);
            }
        }
        let Some(target) = row.and_then(target) else { return };
        for watched in watched(&target) {
            self.by_target.entry(watched).or_default().insert(key.clone());
        }
        self.targets.insert(key.clone(), target);
    }

    fn unwatch(&mut self, watched: &InstanceId, key: &CheckKey) {
        if let Some(keys) = self.by_target.get_mut(watched) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_target.remove(watched);
            }
        }
    }

    /// The aliases that depend on a service, or on a node if the ID is empty.
    pub(super) fn of(&self, target: &InstanceId) -> impl Iterator<Item = &CheckKey> {
        self.by_target.get(target).into_iter().flatten()
    }
}

/// A service depends on its node's checks as well.
fn watched(target: &InstanceId) -> BTreeSet<InstanceId> {
    let node = InstanceId { id: ServiceId::default(), ..target.clone() };
    BTreeSet::from([target.clone(), node])
}

/// What an alias check mirrors: a service, by default on the same node, or a node (empty ID).
fn target(check: &Check) -> Option<InstanceId> {
    let definition = &check.definition;
    if definition.kind() != Some(CheckKind::Alias) {
        return None;
    }
    let named = &definition.alias_node;
    let node: &NodeName = if named.as_str().is_empty() { &check.node } else { named };
    Some(InstanceId { place: check.place(), node: node.clone(), id: definition.alias_service.clone() })
}

/// The operations that bring these aliases up to date.
pub(super) fn updates(view: &View, keys: &BTreeSet<CheckKey>) -> Vec<Op> {
    let update = |key| {
        let row = &view.check(key)?.value;
        evaluate(view, row)?.applied_to(row)
    };
    keys.iter().filter_map(update).collect()
}

/// The health of what an alias mirrors; `None` if the check is no alias.
fn evaluate(view: &View, check: &Check) -> Option<Finding> {
    let target = target(check)?;
    if !target.id.as_str().is_empty() && view.service(&target).is_none() {
        let (service, node) = (&target.id, &target.node);
        return Some(Finding::critical(format!("service {service:?} is not registered on node {node:?}")));
    }
    let mut visited = BTreeSet::from([CheckKey::of(check)]);
    let worst = leaves(view, &target, &mut visited).into_iter().max_by_key(|row| row.value.status);
    Some(match worst {
        None => Finding::passing("nothing checks it"),
        Some(row) if row.value.status == CheckStatus::Passing => Finding::passing("all its checks pass"),
        Some(row) => Finding::new(
            row.value.status,
            format!("check {:?} is {}: {}", row.value.check_id, row.value.status.as_str(), row.value.output),
        ),
    })
}

/// The checks behind a target that are no aliases. Aliases stand for what they mirror, each once: so aliases of each
/// other end, and do not keep each other critical.
fn leaves<'v>(view: &'v View, target: &InstanceId, visited: &mut BTreeSet<CheckKey>) -> Vec<&'v Stored<Check>> {
    let mut found = Vec::new();
    let mut targets = vec![target.clone()];
    while let Some(next) = targets.pop() {
        for row in watched(&next).iter().flat_map(|id| view.checks_of(id)) {
            if !visited.insert(CheckKey::of(&row.value)) {
                continue;
            }
            match self::target(&row.value) {
                Some(mirrored) => targets.push(mirrored),
                None => found.push(row),
            }
        }
    }
    found
}

/// The instance or node that a check judges.
pub(super) fn judged(node: &NodeKey, check: &Check) -> InstanceId {
    node.instance(&check.service_id)
}
