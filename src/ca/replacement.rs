//! Leaves that somebody wants replaced before they are due.

use std::collections::{BTreeMap, BTreeSet};

use super::issue::check_identity;
use super::renewal::is_needed;
use super::{Authority, CaError};
use crate::model::{Leaf, SpiffeId};
use crate::store::Stored;

impl Authority {
    /// Replaces the leaves of these identities, due or not, and returns the new ones in the order of the identities. One that
    /// is renewed by somebody else in the meantime is not replaced twice.
    ///
    /// # Errors
    /// An identity fits into no certificate, before anything is replaced; or no certificate can be made or stored. Those of
    /// earlier batches are replaced then.
    pub async fn replace(&self, identities: BTreeSet<SpiffeId>) -> Result<Vec<Stored<Leaf>>, CaError> {
        let shared = &self.shared;
        for identity in &identities {
            check_identity(identity, self.trust_domain())?;
        }
        let view = shared.store.view();
        let serial = |identity: &SpiffeId| view.leaf(identity).map(|row| row.value.serial.clone());
        let before: BTreeMap<_, _> = identities.iter().map(|identity| (identity.clone(), serial(identity))).collect();
        let mut open = identities.clone();
        while !open.is_empty() {
            let turn = shared.issuing.lock().await;
            let view = shared.store.view();
            let root = view.active_root().ok_or(CaError::NoRoot)?.clone();
            let batch: BTreeSet<_> = open.iter().take(shared.batch_size(&view)).cloned().collect();
            let replaced = before.clone();
            let is_as_before = move |identity: &SpiffeId, stored: Option<&Leaf>| {
                replaced.get(identity).is_some_and(|serial| serial.as_ref() == stored.map(|leaf| &leaf.serial))
            };
            shared.issue(&view, root, batch, move |_, identity, stored| is_as_before(identity, stored)).await?;
            drop(turn);
            // A change of the root may have come in between: then they are still as before.
            let view = shared.store.view();
            open.retain(|identity| view.leaf(identity).map(|row| &row.value.serial) == before[identity].as_ref());
        }
        let view = shared.store.view();
        Ok(identities.iter().filter_map(|identity| view.leaf(identity).cloned()).collect())
    }

    /// The identities that have a leaf and need one: somebody registered presents it, or asked for it.
    pub fn identities(&self) -> BTreeSet<SpiffeId> {
        let view = self.shared.store.view();
        let asked = self.shared.asked();
        let leaves = view.leaves().map(|row| &row.value.identity);
        leaves.filter(|identity| asked.contains(*identity) || is_needed(&view, identity)).cloned().collect()
    }
}
