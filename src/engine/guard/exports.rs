//! What a peer imports must stay what the peer can dial (contract 4.4, 6.10).
//!
//! The peer was told who may answer, and its calls end at the exporter's own gateway, which leads them no further than to
//! the services around it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::chains::{compiled, exports};
use crate::model::{Datacenter, EntryKind, Partition, Place, Problems, ServiceName};
use crate::resolve::{Chain, ChainError, Node, NodeKey, Scope, TargetKey};
use crate::store::{Key, View};

/// Adds a problem for each service whose way for peers the step from `before` to `after` breaks.
pub(super) fn check(before: &View, after: &View, problems: &mut Problems) {
    for partition in exporting(after) {
        // The datacenter decides only which instances a wildcard stands for; those without entries lead nowhere else.
        let place = Place::new(&Datacenter::from("dc"), &partition);
        let old = exports(before, &place).value;
        for service in exports(after, &place).value.exported.keys() {
            let chain = |view: &View| -> Arc<Result<Chain, ChainError>> {
                let (service, datacenter) = (service.clone(), place.datacenter.clone());
                compiled(view, &Scope { service, datacenter, is_plain: false }).value
            };
            let (was_exported, after) = (old.exported.contains_key(service), chain(after));
            let before = was_exported.then(|| chain(before));
            let before = before.as_deref().and_then(|chain| chain.as_ref().ok());
            if let Ok(after) = &*after
                && let Some(why) = broken(before, after, &place)
            {
                problems.rule("", format!("service {service} is exported to peers, so {why}"));
            }
        }
    }
}

/// Why peers could not dial `after`, where that does not hold for `before` already.
fn broken(before: Option<&Chain>, after: &Chain, place: &Place) -> Option<String> {
    let leaves = |chain: &Chain| leaves_its_place(chain, place);
    if let Some(why) = leaves(after).filter(|_| before.is_none_or(|before| leaves(before).is_none())) {
        return Some(why);
    }
    let known: BTreeSet<&ServiceName> = before?.targets.keys().map(|target| &target.service).collect();
    let new = after.targets.keys().find(|target| !known.contains(&target.service));
    let new = new.filter(|_| !after.protocol.is_http_like())?;
    Some(format!(
        "its chain cannot begin to lead to {new}: peers were told who may answer, and gateways pass tcp on as it is; \
         export that service instead, or set Protocol to http"
    ))
}

/// Where a chain leads that no gateway takes a peer's calls.
fn leaves_its_place(chain: &Chain, place: &Place) -> Option<String> {
    let is_elsewhere = |target: &TargetKey| target.datacenter != place.datacenter && target.peer.is_default();
    chain.nodes.iter().find_map(|(key, node)| match (key, node) {
        (NodeKey::Resolver(target), Node::Resolver(node)) => {
            if !target.peer.is_default() || is_elsewhere(target) || target.service.partition != place.partition {
                return Some(format!("its chain cannot lead to {target}, which is in another place"));
            }
            let leg = node.failover.iter().find(|leg| is_elsewhere(leg));
            leg.map(|leg| format!("its chain cannot fail over to {leg}, which is in another datacenter"))
        }
        (_, Node::Router(_) | Node::Splitter(_) | Node::Resolver(_)) => None,
    })
}

fn exporting(view: &View) -> BTreeSet<Partition> {
    let entries = view.entries().filter(|(key, _)| key.kind == EntryKind::ExportedServices);
    entries.map(|(key, _)| key.name.partition.clone()).collect()
}

/// True for an entry that decides what is exported.
pub(super) fn shapes_exports(key: &Key) -> bool {
    matches!(key, Key::Entry(entry) if entry.kind == EntryKind::ExportedServices)
}
