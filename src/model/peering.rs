//! Peerings: foreign clusters with trust domains of their own, and what they export to us (contract 5).

use serde::{Deserialize, Serialize};

use super::{Datacenter, HealthEntry, NodeName, Partition, PeerName, Place, ServiceId, ServiceName, is_default};

/// What identifies a peering: its local name, in the partition of ours that has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerKey {
    /// Our side of the peering.
    pub place: Place,
    /// The name that our side gave it.
    pub name: PeerName,
}

impl PeerKey {
    /// A peering of a place.
    pub fn new(place: &Place, name: &PeerName) -> Self {
        Self { place: place.clone(), name: name.clone() }
    }
}

/// How far a peering has come (contract 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PeeringState {
    /// Nobody has said.
    #[default]
    Undefined,
    /// A token was generated and nobody has come with it yet.
    Pending,
    /// A token was taken and the first exchange has not succeeded yet.
    Establishing,
    /// It works.
    Active,
    /// It worked, and the other side has not been heard of for too long.
    Failing,
    /// It is being removed, with all that was imported.
    Deleting,
    /// The other side removed it.
    Terminated,
}

/// A peering, as far as generation reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Peering {
    /// The datacenter of our side.
    pub datacenter: Datacenter,
    /// The partition of our side.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// The name that our side gave it.
    pub name: PeerName,
    /// UUID of the peering on our side.
    #[serde(rename = "ID")]
    pub id: String,
    /// How far it has come.
    pub state: PeeringState,
    /// TLS name of the other side's servers.
    #[serde(rename = "PeerServerName", skip_serializing_if = "is_default")]
    pub server_name: String,
    /// `host:port` of the other side's servers as it told them. A peering without any addresses is one that the other side
    /// dials.
    #[serde(rename = "PeerServerAddresses", skip_serializing_if = "is_default")]
    pub server_addresses: Vec<String>,
    /// `host:port` of the other side's servers as an operator gave them; where there are any, they alone count.
    #[serde(skip_serializing_if = "is_default")]
    pub manual_server_addresses: Vec<String>,
}

impl Peering {
    /// What identifies it.
    pub fn key(&self) -> PeerKey {
        PeerKey::new(&Place::new(&self.datacenter, &self.partition), &self.name)
    }

    /// The addresses to dial the other side's servers at, sorted; none if the other side dials (contract 4.6, i).
    pub fn addresses_to_dial(&self) -> Vec<&str> {
        let manual = &self.manual_server_addresses;
        let addresses = if manual.is_empty() { &self.server_addresses } else { manual };
        let mut addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// The roots of a peer's trust domain (contract 5.3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PeerTrustBundle {
    /// The datacenter of our side.
    pub datacenter: Datacenter,
    /// The partition of our side.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// The name that our side gave the peering.
    #[serde(rename = "PeerName")]
    pub peer: PeerName,
    /// The peer's trust domain, as it told it.
    pub trust_domain: String,
    /// The partition of the peer that exports to us.
    #[serde(skip_serializing_if = "is_default")]
    pub exported_partition: Partition,
    /// Certificates in PEM form, as the peer told them. They need not parse.
    #[serde(rename = "RootPEMs")]
    pub root_pems: Vec<String>,
}

impl PeerTrustBundle {
    /// The peering that it belongs to.
    pub fn key(&self) -> PeerKey {
        PeerKey::new(&Place::new(&self.datacenter, &self.partition), &self.peer)
    }
}

/// One instance as a peer exported it: a service itself, or, for each mesh gateway of the peer, the synthetic
/// `<service>-sidecar-proxy` that carries the gateway's addresses and a [`PeerMeta`](super::PeerMeta) (contract 5.2).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Imported {
    /// The datacenter of our side.
    pub datacenter: Datacenter,
    /// The partition of our side.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// The name that our side gave the peering.
    #[serde(rename = "PeerName")]
    pub peer: PeerName,
    /// The instance. Its node's datacenter is the peer's own name of it.
    pub instance: HealthEntry,
}

/// What identifies an imported instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImportedKey {
    /// The peering it came through.
    pub peer: PeerKey,
    /// Its node.
    pub node: NodeName,
    /// Its ID there.
    pub id: ServiceId,
}

impl Imported {
    /// The peering that it came through.
    pub fn peer_key(&self) -> PeerKey {
        PeerKey::new(&Place::new(&self.datacenter, &self.partition), &self.peer)
    }

    /// What identifies it.
    pub fn key(&self) -> ImportedKey {
        ImportedKey {
            peer: self.peer_key(),
            node: self.instance.node.node.clone(),
            id: self.instance.service.id.clone(),
        }
    }

    /// The name of its service. What is imported lives in the partition that imports it.
    pub fn name(&self) -> ServiceName {
        ServiceName { partition: self.partition.clone(), ..self.instance.service.full_name() }
    }

    /// The service that mesh traffic to it reaches, if it takes any.
    pub fn mesh_destination(&self) -> Option<ServiceName> {
        let destination = self.instance.service.mesh_destination()?;
        Some(ServiceName { partition: self.partition.clone(), ..destination })
    }
}
