//! Checks that sidecars expose: they are asked through the sidecar, which may be the only way to the application.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{CheckDefinition, CheckId, EntryKind, SocketEndpoint};
use crate::store::{CheckKey, Key, NodeKey, View};

/// Finds the checks of a node that sidecars expose, and where.
pub type Exposures = fn(&View, &NodeKey) -> BTreeMap<CheckId, SocketEndpoint>;

/// Where exposed checks are asked. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Exposed(Arc<RwLock<BTreeMap<CheckKey, SocketEndpoint>>>);

impl Exposed {
    /// What to ask for a check at this moment.
    pub(super) fn question(&self, key: &CheckKey, definition: &CheckDefinition) -> CheckDefinition {
        let exposed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        exposed.get(key).map_or_else(|| definition.clone(), |address| definition.asked_at(address))
    }

    /// Takes over what the sidecars of these nodes expose.
    pub(super) fn follow(&self, view: &View, nodes: &[NodeKey], find: Exposures) {
        let of_node = |node: &NodeKey| {
            let found = find(view, node).into_iter();
            let keyed = found.map(|(check, address)| (CheckKey { node: node.clone(), check }, address));
            keyed.collect::<Vec<_>>()
        };
        let found = nodes.iter().flat_map(of_node).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// True if a change may move what sidecars expose. The results of checks, which change all the time, do not.
pub(super) fn may_move(old: &View, new: &View, is_own: impl Fn(&NodeKey) -> bool) -> bool {
    let by_key = |key: &Key| {
        if let Key::Entry(entry) = key {
            return matches!(entry.kind, EntryKind::ProxyDefaults | EntryKind::ServiceDefaults);
        }
        matches!(key, Key::Instance(id) if is_own(&NodeKey::new(&id.place, &id.node)))
    };
    let is_redefined = |key: &&CheckKey| {
        let definition = |view: &View| view.check(key).map(|row| row.value.definition.clone());
        is_own(&key.node) && definition(old) != definition(new)
    };
    new.changed_since(old).any(by_key) || new.checks_changed_since(old).any(|key| is_redefined(&key))
}
