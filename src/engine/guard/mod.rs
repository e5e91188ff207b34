//! Rules across config entries, checked on the state that a write would make (contract 6.10).

mod chains;
mod exports;
mod intentions;
mod permissive;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use crate::model::{EntryKind, Problems};
use crate::store::{Guard, Key};

use self::chains::Chains;

/// A guard for the store: refuses writes that break what entries mean together. What was already broken before a write is
/// not held against it.
pub fn guard() -> Guard {
    let chains = Mutex::new(Chains::default());
    std::sync::Arc::new(move |before, after, _| {
        let mut problems = Problems::default();
        if after.changed_since(before).any(shapes_chains) {
            // A defect in the middle of an update leaves a memory that another view starts anew.
            chains.lock().unwrap_or_else(PoisonError::into_inner).check(before, after, &mut problems);
            intentions::check(before, after, &mut problems);
        }
        if after.changed_since(before).any(|key| shapes_chains(key) || exports::shapes_exports(key)) {
            exports::check(before, after, &mut problems);
        }
        permissive::check(before, after, &mut problems);
        problems.into_result()
    })
}

/// True for an entry that chains are made of.
fn shapes_chains(key: &Key) -> bool {
    let Key::Entry(entry) = key else { return false };
    match entry.kind {
        EntryKind::ProxyDefaults
        | EntryKind::ServiceDefaults
        | EntryKind::ServiceResolver
        | EntryKind::ServiceRouter
        | EntryKind::ServiceSplitter => true,
        EntryKind::ExportedServices
        | EntryKind::Mesh
        | EntryKind::ServiceIntentions
        | EntryKind::IngressGateway
        | EntryKind::TerminatingGateway => false,
    }
}
