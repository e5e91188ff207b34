//! The names by which finished listeners choose.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::listener::v3::Listener;
use prost::Message;

use super::snapshot::{ResourceType, Snapshot};

/// The server names that filter chains of the listeners match.
pub fn server_names(snapshot: &Snapshot) -> BTreeSet<String> {
    let listeners = snapshot.get(ResourceType::Listener).values();
    let chains =
        listeners.filter_map(|resource| Listener::decode(resource.body.clone()).ok()).flat_map(|it| it.filter_chains);
    chains.filter_map(|chain| chain.filter_chain_match).flat_map(|it| it.server_names).collect()
}
