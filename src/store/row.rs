//! Rows and the operations on them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Index;
use crate::model::{
    CaConfig, Check, CheckId, ConfigEntry, Datacenter, EntryKey, FederationState, Imported, ImportedKey, InstanceId,
    Leaf, Namespace, NamespaceDefinition, Node, NodeName, Partition, PartitionDefinition, PeerKey, PeerTrustBundle,
    Peering, Place, QueryKey, QueryResult, Root, Service, ServiceId, SpiffeId,
};

/// A row with the commits that made it and last changed it.
#[derive(Debug, PartialEq)]
pub struct Stored<T> {
    /// What is stored.
    pub value: Arc<T>,
    /// The commit that made the row.
    pub create_index: Index,
    /// The commit that last changed it.
    pub modify_index: Index,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), create_index: self.create_index, modify_index: self.modify_index }
    }
}

/// What identifies a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeKey {
    /// Where it is.
    pub place: Place,
    /// Its name.
    pub node: NodeName,
}

impl NodeKey {
    /// A node of a place.
    pub fn new(place: &Place, node: &NodeName) -> Self {
        Self { place: place.clone(), node: node.clone() }
    }

    /// An instance on this node.
    pub fn instance(&self, id: &ServiceId) -> InstanceId {
        InstanceId { place: self.place.clone(), node: self.node.clone(), id: id.clone() }
    }
}

/// What identifies a check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckKey {
    /// The node it is registered on.
    pub node: NodeKey,
    /// Its ID there.
    pub check: CheckId,
}

impl CheckKey {
    /// The key of this check.
    pub fn of(check: &Check) -> Self {
        Self { node: NodeKey { place: check.place(), node: check.node.clone() }, check: check.check_id.clone() }
    }
}

/// One change of one row. Operations of a write happen together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Adds or replaces a node.
    PutNode(Node),
    /// Removes a node with everything on it.
    DeleteNode(NodeKey),
    /// Adds or replaces an instance on a node.
    PutService(NodeKey, Service),
    /// Removes an instance with its checks.
    DeleteService(InstanceId),
    /// Adds or replaces a check.
    PutCheck(Check),
    /// Removes a check.
    DeleteCheck(CheckKey),
    /// Adds or replaces a config entry.
    PutEntry(ConfigEntry),
    /// Removes a config entry.
    DeleteEntry(EntryKey),
    /// Does one of the operations that add or replace a row, which then was last changed by this commit: the one that did
    /// it where the row comes from. No later commit has a lower index.
    Restore(Box<Op>, Index),
    /// Adds or replaces a peering.
    PutPeering(Peering),
    /// Removes a peering with its trust bundle and all that was imported through it.
    DeletePeering(PeerKey),
    /// Adds or replaces the trust bundle of a peering.
    PutTrustBundle(PeerTrustBundle),
    /// Removes the trust bundle of a peering.
    DeleteTrustBundle(PeerKey),
    /// Adds or replaces an instance that a peer exported.
    PutImported(Imported),
    /// Removes an instance that a peer exported.
    DeleteImported(ImportedKey),
    /// Makes a datacenter known of which there may be no rows: it answers, and has nothing.
    PutDatacenter(Datacenter),
    /// Forgets a datacenter; its rows stay, and as long as there are any it is known by them.
    DeleteDatacenter(Datacenter),
    /// Adds or replaces what is said about a partition.
    PutPartition(PartitionDefinition),
    /// Removes what is said about a partition. Its rows stay, and as long as there are any it exists.
    DeletePartition(Place),
    /// Adds or replaces what is said about a namespace.
    PutNamespace(NamespaceDefinition),
    /// Removes what is said about a namespace. Its rows stay, and as long as there are any it exists.
    DeleteNamespace(Partition, Namespace),
    /// Adds or replaces the federation state of a datacenter.
    PutFederationState(FederationState),
    /// Removes the federation state of a datacenter.
    DeleteFederationState(Datacenter),
    /// Adds or replaces the results of a prepared query.
    PutQuery(QueryResult),
    /// Removes the results of a prepared query.
    DeleteQuery(QueryKey),
    /// Replaces the configuration of the CA.
    PutCaConfig(CaConfig),
    /// Removes the configuration of the CA, which then is what it is without one.
    DeleteCaConfig,
    /// Adds or replaces a root.
    PutRoot(Root),
    /// Removes a root.
    DeleteRoot(String),
    /// Adds or replaces the leaf of an identity.
    PutLeaf(Leaf),
    /// Removes the leaf of an identity.
    DeleteLeaf(SpiffeId),
}
