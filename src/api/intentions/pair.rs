//! Who calls and who is called, as query parameters name them: `web`, `namespace/web`, `partition/namespace/web`, and
//! `peer:east/web` for whoever calls.

use super::refused;
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::scope::Scope;
use crate::model::entry::{IntentionSource, ServiceIntentions};
use crate::model::{EntryKey, EntryKind, Namespace, Partition, PeerName, ServiceName, is_label};

/// Starts the name of a service of a peer.
const PEER: &str = "peer:";

/// Whether a source may be of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peers {
    Allowed,
    Refused,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// The peer of whoever calls; empty for the own cluster.
    peer: PeerName,
    /// Whoever calls.
    pub(super) source: ServiceName,
    /// What is called.
    pub(super) destination: ServiceName,
}

impl Pair {
    /// A pair of the own cluster.
    pub(super) fn new(source: ServiceName, destination: ServiceName) -> Self {
        Self { peer: PeerName::default(), source, destination }
    }

    /// The pair that `source` and `destination` of a call name.
    pub(super) fn of(call: &Call, peers: Peers) -> Result<Self, ApiError> {
        let scope = call.scope.clone().in_namespace(None)?;
        let source = required(call, "source")?;
        let destination = name(&scope, "destination", required(call, "destination")?)?;
        let (peer, source) = match source.strip_prefix(PEER) {
            Some(of_peer) if peers == Peers::Allowed => of_peer_name(&scope, of_peer)?,
            _ => (PeerName::default(), name(&scope, "source", source)?),
        };
        Ok(Self { peer, source, destination })
    }

    /// The entry about what is called.
    pub(super) fn key(&self) -> EntryKey {
        EntryKey { kind: EntryKind::ServiceIntentions, name: self.destination.clone() }
    }

    /// The position of whoever calls among the sources of an entry about what is called.
    pub(super) fn position(&self, entry: &ServiceIntentions) -> Option<usize> {
        entry.sources.iter().position(|source| {
            let same_partition = || !self.peer.is_default() || *entry.partition_of(source) == self.source.partition;
            source.sameness_group.is_empty()
                && source.peer == self.peer
                && source.name == *self.source.name
                && entry.namespace_of(source) == self.source.namespace
                && same_partition()
        })
    }

    /// A source that names whoever calls, and says the rest as `said` does.
    pub(super) fn named(&self, entry: &ServiceIntentions, said: IntentionSource) -> IntentionSource {
        let source = IntentionSource { name: self.source.name.to_string(), namespace: None, partition: None, ..said };
        // What is the entry's own need not be said again.
        let namespace = Some(&self.source.namespace).filter(|namespace| **namespace != entry.namespace_of(&source));
        let partition = Some(&self.source.partition).filter(|partition| **partition != entry.partition);
        IntentionSource { namespace: namespace.cloned(), partition: partition.cloned(), ..source }
    }
}

/// A parameter that must be there.
pub(super) fn required<'c>(call: &'c Call, parameter: &str) -> Result<&'c str, ApiError> {
    call.query.value(parameter).ok_or_else(|| refused(parameter, "the parameter is required"))
}

/// The service of the own cluster that a parameter names.
pub(super) fn name(scope: &Scope, parameter: &str, text: &str) -> Result<ServiceName, ApiError> {
    if text.starts_with(PEER) {
        return Err(refused(parameter, format!("{text:?}: a service of a peer cannot be named here")));
    }
    let (partition, namespace, name) = match *text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => ("", "", name),
        [namespace, name] => ("", namespace, name),
        [partition, namespace, name] => (partition, namespace, name),
        _ => {
            let message = format!("{text:?}: expected a service, namespace/service or partition/namespace/service");
            return Err(refused(parameter, message));
        }
    };
    if name.is_empty() {
        return Err(refused(parameter, format!("{text:?} names no service; * stands for every one")));
    }
    let partition = if partition.is_empty() { scope.place.partition.clone() } else { Partition::from(partition) };
    let namespace = if namespace.is_empty() { scope.namespace.clone() } else { Namespace::from(namespace) };
    let is_every = namespace.as_str() == "*";
    let tenants = [(false, partition.as_str()), (is_every, namespace.as_str())];
    if let Some((_, tenant)) = tenants.into_iter().find(|(is_every, tenant)| !is_every && !is_label(tenant)) {
        let message = format!("{tenant:?}: a partition or namespace has letters, digits, - and _, at most 63 of them");
        return Err(refused(parameter, message));
    }
    Ok(ServiceName::new(&partition, &namespace, name))
}

/// `east/web` or `east/namespace/web`.
fn of_peer_name(scope: &Scope, text: &str) -> Result<(PeerName, ServiceName), ApiError> {
    let (peer, rest) = text.split_once('/').unwrap_or((text, ""));
    if peer.is_empty() || rest.matches('/').count() > 1 {
        let message = format!("{PEER}{text}: expected {PEER}name/service or {PEER}name/namespace/service");
        return Err(refused("source", message));
    }
    Ok((PeerName::from(peer), name(scope, "source", rest)?))
}
