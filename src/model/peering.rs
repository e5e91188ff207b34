//! Peerings: foreign clusters with trust domains of their own, and what they export to us (contract 5).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bundle::{BundleRow, default_to, validate_place};
use super::{
    Check, Datacenter, HealthEntry, Node, NodeName, Partition, PeerName, Place, Problems, Service, ServiceId,
    ServiceName, is_default, is_sni,
};

/// Most addresses of a peer's servers, certificates in a trust bundle, and names of an imported service.
const MOST: usize = 1024;
/// Longest certificate in PEM form, in bytes.
const LONGEST_PEM: usize = 64 << 10;
/// Longest address or name, in bytes.
const LONGEST_NAME: usize = 4096;

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

/// True for a name that a peering can have.
pub fn is_peer_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inside) && !name.starts_with('-') && !name.ends_with('-')
}

fn validate_peer_name(problems: &mut Problems, path: &str, name: &PeerName) {
    if !is_peer_name(name.as_str()) {
        let rule = "a peering's name has 1 to 63 lower-case letters, digits and -, with a letter or digit at both ends";
        problems.rule(path, format!("{:?} is no name of a peering: {rule}", name.as_str()));
    }
}

/// Refuses lists and texts of a size that nobody means.
fn validate_sizes(problems: &mut Problems, path: &str, texts: &[String], longest: usize) {
    if texts.len() > MOST {
        problems.rule(path, format!("{} are more than the {MOST} that are kept", texts.len()));
    }
    for (position, text) in texts.iter().enumerate().filter(|(_, text)| text.len() > longest) {
        problems
            .rule(format!("{path}[{position}]"), format!("{} bytes are more than the {longest} allowed", text.len()));
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

impl BundleRow for Peering {
    type Key = PeerKey;

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        validate_peer_name(&mut problems, "Name", &self.name);
        problems.refuse_control_characters("ID", &self.id);
        if !is_sni(&self.server_name) {
            problems.rule("PeerServerName", "must have at most 255 bytes and no zero byte");
        }
        validate_sizes(&mut problems, "PeerServerAddresses", &self.server_addresses, LONGEST_NAME);
        validate_sizes(&mut problems, "ManualServerAddresses", &self.manual_server_addresses, LONGEST_NAME);
        problems
    }

    fn key(&self) -> PeerKey {
        Peering::key(self)
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

impl BundleRow for PeerTrustBundle {
    type Key = PeerKey;

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        validate_peer_name(&mut problems, "PeerName", &self.peer);
        if self.trust_domain.is_empty() {
            problems.rule("TrustDomain", "must be the trust domain of the peer");
        }
        if self.trust_domain.len() > LONGEST_NAME {
            problems.rule("TrustDomain", format!("must have at most {LONGEST_NAME} bytes"));
        }
        problems.refuse_control_characters("TrustDomain", &self.trust_domain);
        validate_sizes(&mut problems, "RootPEMs", &self.root_pems, LONGEST_PEM);
        for (position, pem) in self.root_pems.iter().enumerate() {
            if pem.contains("PRIVATE KEY-----") {
                problems.rule(format!("RootPEMs[{position}]"), "holds a private key: give certificates alone");
            }
        }
        problems
    }

    fn key(&self) -> PeerKey {
        PeerTrustBundle::key(self)
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
    /// Its node; the datacenter is the peer's own.
    pub node: Arc<Node>,
    /// The instance.
    pub service: Arc<Service>,
    /// The node's checks and its own.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Vec<Arc<Check>>,
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
    /// The instance with its node and checks.
    pub fn instance(&self) -> HealthEntry {
        let (node, service, checks) = (self.node.clone(), self.service.clone(), self.checks.clone());
        HealthEntry { node, service, checks, modify_index: 0 }
    }

    /// The peering that it came through.
    pub fn peer_key(&self) -> PeerKey {
        PeerKey::new(&Place::new(&self.datacenter, &self.partition), &self.peer)
    }

    /// What identifies it.
    pub fn key(&self) -> ImportedKey {
        ImportedKey { peer: self.peer_key(), node: self.node.node.clone(), id: self.service.id.clone() }
    }

    /// The name of its service. What is imported lives in the partition that imports it.
    pub fn name(&self) -> ServiceName {
        ServiceName { partition: self.partition.clone(), ..self.service.full_name() }
    }

    /// The service that mesh traffic to it reaches, if it takes any.
    pub fn mesh_destination(&self) -> Option<ServiceName> {
        let destination = self.service.mesh_destination()?;
        Some(ServiceName { partition: self.partition.clone(), ..destination })
    }
}

impl BundleRow for Imported {
    type Key = ImportedKey;

    /// What is imported lives under the peering's name in the partition that imports it.
    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
        let mut instance = self.instance();
        instance.normalize(&self.partition);
        Arc::make_mut(&mut instance.service).peer_name = self.peer.clone();
        (self.node, self.service, self.checks) = (instance.node, instance.service, instance.checks);
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        validate_peer_name(&mut problems, "PeerName", &self.peer);
        problems.0.extend(self.instance().validate().0);
        if let Some(meta) = &self.service.connect.peer_meta {
            validate_sizes(&mut problems, "Service.Connect.PeerMeta.SNI", &meta.sni, LONGEST_NAME);
            validate_sizes(&mut problems, "Service.Connect.PeerMeta.SpiffeID", &meta.spiffe_id, LONGEST_NAME);
        }
        problems
    }

    fn key(&self) -> ImportedKey {
        Imported::key(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peerings_are_labels_in_lower_case() {
        for name in ["a", "0", "peer-b", "a--b", &"x".repeat(63)] {
            assert!(is_peer_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "\u{e4}", &"x".repeat(64)] {
            assert!(!is_peer_name(name), "{name}");
        }
    }

    #[test]
    fn addresses_that_an_operator_gave_replace_the_others() {
        let told = ["b:1".to_owned(), "a:1".to_owned(), "b:1".to_owned()];
        let peering = Peering { server_addresses: told.to_vec(), ..Peering::default() };
        let manual = Peering { manual_server_addresses: vec!["c:1".to_owned()], ..peering.clone() };

        assert_eq!(peering.addresses_to_dial(), ["a:1", "b:1"]);
        assert_eq!(manual.addresses_to_dial(), ["c:1"]);
        assert_eq!(Peering::default().addresses_to_dial(), [""; 0]);
    }

    #[test]
    fn every_broken_rule_is_told() {
        let home = Datacenter::from("dc1");
        let paths = |problems: Problems| problems.0.into_iter().map(|problem| problem.path).collect::<Vec<_>>();
        let mut peering = Peering {
            partition: Partition::from("a.b"),
            name: PeerName::from("Peer"),
            server_name: "x".repeat(256),
            server_addresses: vec![String::new(); MOST + 1],
            ..Peering::default()
        };
        let mut bundle = PeerTrustBundle {
            root_pems: vec!["x".repeat(LONGEST_PEM + 1), "-----BEGIN EC PRIVATE KEY-----".to_owned()],
            ..PeerTrustBundle::default()
        };
        peering.normalize(&home);
        bundle.normalize(&home);

        assert_eq!(paths(peering.validate()), ["Partition", "Name", "PeerServerName", "PeerServerAddresses"]);
        assert_eq!(paths(bundle.validate()), ["PeerName", "TrustDomain", "RootPEMs[0]", "RootPEMs[1]"]);
    }
}
