//! When a leaf is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::issue::SKEW;
use crate::model::{Leaf, Root, SpiffeId};
use crate::store::View;

/// Renewal starts between these parts of a lifetime, in per mille: late enough not to churn, early enough to have a
/// quarter of the lifetime left for a store or process that is down.
const RENEW_FROM: u32 = 600;
const RENEW_SPREAD: u32 = 150;
/// After this time it is said again that the root ends soon.
const TELL_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What has to be done about the leaves of a view.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Leaves to replace.
    pub(super) renew: Vec<SpiffeId>,
    /// Expired leaves that nobody needs.
    pub(super) drop: Vec<SpiffeId>,
}

/// True if a leaf can be handed out and need not be replaced.
pub(super) fn is_fit(leaf: &Leaf, root: &Root, now: OffsetDateTime) -> bool {
    // A leaf that lives as long as the root gains nothing from being replaced.
    is_valid(leaf, root, now) && (now < renew_at(leaf) || leaf.not_after >= root.not_after)
}

/// True if a leaf is accepted by those who trust the root.
pub(super) fn is_valid(leaf: &Leaf, root: &Root, now: OffsetDateTime) -> bool {
    leaf.root_id == root.id && leaf.not_before <= now && now < leaf.not_after
}

/// When a leaf is replaced. Leaves that were issued together are replaced apart, and a leaf at the same moment whoever
/// asks: the jitter is a hash of the serial number.
pub(super) fn renew_at(leaf: &Leaf) -> OffsetDateTime {
    let issued = leaf.not_before + SKEW;
    let digest = Sha256::digest(leaf.serial.as_bytes());
    let jitter = u32::from(u16::from_be_bytes([digest[0], digest[1]])) * RENEW_SPREAD / u32::from(u16::MAX);
    issued + (leaf.not_after - issued) * (RENEW_FROM + jitter) / 1000
}

/// Looks through all leaves. Those of identities that nobody has asked for and nobody in the catalog has are left to
/// expire.
pub(super) fn due(view: &View, now: OffsetDateTime, asked: &BTreeSet<SpiffeId>) -> Due {
    let mut due = Due::default();
    let Some(root) = view.active_root() else { return due };
    for leaf in view.leaves().map(|row| &row.value) {
        if is_fit(leaf, root, now) {
            continue;
        }
        if asked.contains(&leaf.identity) || is_needed(view, &leaf.identity) {
            due.renew.push(leaf.identity.clone());
        } else if now >= leaf.not_after {
            due.drop.push(leaf.identity.clone());
        }
    }
    due
}

/// What was said about the end of a root, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndTold {
    root_id: String,
    leaf_ttl: Duration,
    at: OffsetDateTime,
}

/// What is to be said now about the end of the active root: from two lifetimes of a leaf before it, once a day, and when
/// the root or that lifetime was changed.
pub(super) fn end_to_tell(
    last: Option<&EndTold>,
    root: &Root,
    leaf_ttl: Duration,
    now: OffsetDateTime,
) -> Option<EndTold> {
    let is_told = |last: &EndTold| last.root_id == root.id && last.leaf_ttl == leaf_ttl && now - last.at < TELL_AGAIN;
    let is_near = root.not_after - now < leaf_ttl * 2;
    (is_near && !last.is_some_and(is_told)).then(|| EndTold { root_id: root.id.clone(), leaf_ttl, at: now })
}

/// True if somebody is registered who presents this identity.
pub(super) fn is_needed(view: &View, identity: &SpiffeId) -> bool {
    match identity {
        SpiffeId::Service(key) => !view.endpoints(key).is_empty() || !view.instances_named(key).is_empty(),
        SpiffeId::MeshGateway(place) => !view.mesh_gateways(place).is_empty(),
    }
}
