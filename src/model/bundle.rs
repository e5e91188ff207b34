//! Bundles: the whole state apart from secrets, as one document (`docs/bundle.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Check, CheckId, ConfigEntry, Datacenter, DnsDomain, EntryKey, FederationState, Imported, InstanceId,
    IntentionPolicy, Namespace, NamespaceDefinition, Node, NodeName, Partition, PartitionDefinition, PeerTrustBundle,
    Peering, Place, Problems, QueryResult, Service, is_default, is_label,
};

/// The state of a control plane with what it was started with, without certificates and keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bundle {
    /// What the process was started with.
    pub agent: BundleAgent,
    /// Nodes of the catalog.
    pub nodes: Vec<Indexed<Node>>,
    /// Service instances of the catalog.
    pub services: Vec<Indexed<ServiceOnNode>>,
    /// Checks of the catalog.
    pub checks: Vec<Indexed<Check>>,
    /// Config entries.
    pub entries: Vec<Indexed<ConfigEntry>>,
    /// Datacenters that are known whether or not they have rows.
    pub datacenters: Vec<Indexed<KnownDatacenter>>,
    /// Partitions that were made by name.
    pub partitions: Vec<Indexed<PartitionDefinition>>,
    /// Namespaces that were made by name.
    pub namespaces: Vec<Indexed<NamespaceDefinition>>,
    /// The mesh gateways of each datacenter as they were replicated.
    pub federation_states: Vec<Indexed<FederationState>>,
    /// Peerings.
    pub peerings: Vec<Indexed<Peering>>,
    /// The roots of peers.
    pub trust_bundles: Vec<Indexed<PeerTrustBundle>>,
    /// What peers exported to us.
    pub imported: Vec<Indexed<Imported>>,
    /// Results of prepared queries.
    pub queries: Vec<Indexed<QueryResult>>,
    /// Names and addresses are pseudonyms.
    pub is_redacted: bool,
    /// Hashes of what each registered proxy is sent apart from secrets, by the proxies' names; empty where they were not
    /// computed. They follow from the rest.
    pub configurations: BTreeMap<String, String>,
}

impl Bundle {
    /// Puts the rows into the order of their keys, in which the store tells them.
    pub fn sort(&mut self) {
        fn by_key<T: BundleRow>(rows: &mut [Indexed<T>]) {
            rows.sort_by_cached_key(|row| row.value.key());
        }
        by_key(&mut self.nodes);
        by_key(&mut self.services);
        by_key(&mut self.checks);
        by_key(&mut self.entries);
        by_key(&mut self.datacenters);
        by_key(&mut self.partitions);
        by_key(&mut self.namespaces);
        by_key(&mut self.federation_states);
        by_key(&mut self.peerings);
        by_key(&mut self.trust_bundles);
        by_key(&mut self.imported);
        by_key(&mut self.queries);
    }
}

/// What a process was started with, as far as the configuration of proxies depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BundleAgent {
    /// Its own datacenter.
    pub datacenter: Datacenter,
    /// The other datacenters that it hosts.
    pub hosted_datacenters: Vec<Datacenter>,
    /// The node that its local services are on.
    pub node_name: NodeName,
    /// UUID of the cluster, which its trust domain is named after; empty where that is left to whoever reads the bundle.
    #[serde(rename = "ClusterID")]
    pub cluster_id: String,
    /// What happens to calls that no intention speaks about.
    pub default_intention_policy: IntentionPolicy,
    /// The DNS domain of the agents.
    pub domain: DnsDomain,
}

impl Default for BundleAgent {
    /// What an agent is that was told nothing.
    fn default() -> Self {
        Self {
            datacenter: Datacenter::from("dc1"),
            hosted_datacenters: Vec::new(),
            node_name: NodeName::from("localhost"),
            cluster_id: String::new(),
            default_intention_policy: IntentionPolicy::default(),
            domain: DnsDomain::default(),
        }
    }
}

impl BundleAgent {
    /// Every broken rule.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_label(&mut problems, "Datacenter", self.datacenter.as_str());
        for (position, datacenter) in self.hosted_datacenters.iter().enumerate() {
            validate_label(&mut problems, &format!("HostedDatacenters[{position}]"), datacenter.as_str());
        }
        if self.node_name.as_str().is_empty() {
            problems.rule("NodeName", "must be the name of the agent's node");
        }
        problems.refuse_control_characters("NodeName", self.node_name.as_str());
        if !self.cluster_id.is_empty() && uuid::Uuid::try_parse(&self.cluster_id).is_err() {
            problems.rule("ClusterID", format!("{:?} is not a UUID", self.cluster_id));
        }
        problems
    }
}

/// A row with the commit that last changed it in the state that it comes from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Indexed<T> {
    /// The row.
    pub value: T,
    /// The commit; 0 leaves it to whoever reads the bundle.
    pub modify_index: u64,
}

/// A service instance with the node that it is on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceOnNode {
    /// Datacenter of the node.
    pub datacenter: Datacenter,
    /// Partition of the node.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Name of the node.
    pub node: NodeName,
    /// The instance.
    pub service: Service,
}

impl ServiceOnNode {
    /// Where the node is.
    pub fn place(&self) -> Place {
        Place::new(&self.datacenter, &self.partition)
    }
}

/// A datacenter that answers, and may have nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KnownDatacenter {
    /// Its name.
    pub name: Datacenter,
}

/// A row of a bundle: a value with a key that judges itself.
pub trait BundleRow: Clone {
    /// What identifies it among the rows of its kind.
    type Key: Ord;

    /// Puts it into the form that is stored. What names no datacenter is of `home`.
    fn normalize(&mut self, home: &Datacenter);

    /// Every broken rule that can be seen without the other rows, once it is normalized.
    fn validate(&self) -> Problems;

    /// Its key, once it is normalized.
    fn key(&self) -> Self::Key;
}

pub(super) fn default_to(datacenter: &mut Datacenter, home: &Datacenter) {
    if datacenter.is_default() {
        *datacenter = home.clone();
    }
}

pub(super) fn validate_label(problems: &mut Problems, path: &str, name: &str) {
    if !is_label(name) {
        problems
            .rule(path, format!("{name:?} is no name of a tenant: use letters, digits, - and _, at most 63 of them"));
    }
}

/// Judges the place that a row belongs to.
pub(super) fn validate_place(problems: &mut Problems, datacenter: &Datacenter, partition: &Partition) {
    validate_label(problems, "Datacenter", datacenter.as_str());
    validate_label(problems, "Partition", partition.as_str());
}

pub(super) fn validate_node_name(problems: &mut Problems, name: &NodeName) {
    if name.as_str().is_empty() {
        problems.rule("Node", "must be the name of a node");
    }
    problems.refuse_control_characters("Node", name.as_str());
}

impl BundleRow for Node {
    type Key = (Place, NodeName);

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        validate_node_name(&mut problems, &self.node);
        if self.address.is_empty() {
            problems.rule("Address", "must be the address of the node");
        }
        problems
    }

    fn key(&self) -> Self::Key {
        (self.place(), self.node.clone())
    }
}

impl BundleRow for ServiceOnNode {
    type Key = InstanceId;

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
        if self.service.partition.is_default() {
            self.service.partition = self.partition.clone();
        }
        self.service.normalize();
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        validate_node_name(&mut problems, &self.node);
        if self.service.partition != self.partition {
            problems.rule("Service.Partition", "must be the partition of the node");
        }
        problems.extend_under("Service", self.service.validate());
        problems
    }

    fn key(&self) -> Self::Key {
        InstanceId { place: self.place(), node: self.node.clone(), id: self.service.id.clone() }
    }
}

impl BundleRow for Check {
    type Key = (Place, NodeName, CheckId);

    fn normalize(&mut self, home: &Datacenter) {
        default_to(&mut self.datacenter, home);
        if self.check_id.as_str().is_empty() {
            self.check_id = CheckId::from(self.name.as_str());
        }
    }

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_place(&mut problems, &self.datacenter, &self.partition);
        validate_node_name(&mut problems, &self.node);
        if self.check_id.as_str().is_empty() {
            problems.rule("CheckID", "must be the ID of the check, or Name its name");
        }
        if let Some(refusal) = self.status.refusal() {
            problems.rule("Status", refusal);
        }
        problems
    }

    fn key(&self) -> Self::Key {
        (self.place(), self.node.clone(), self.check_id.clone())
    }
}

impl BundleRow for ConfigEntry {
    type Key = EntryKey;

    /// Entries belong to no datacenter.
    fn normalize(&mut self, _: &Datacenter) {
        ConfigEntry::normalize(self, &Partition::default(), &Namespace::default());
    }

    fn validate(&self) -> Problems {
        ConfigEntry::validate(self)
    }

    fn key(&self) -> Self::Key {
        ConfigEntry::key(self)
    }
}

impl BundleRow for KnownDatacenter {
    type Key = Datacenter;

    fn normalize(&mut self, _: &Datacenter) {}

    fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_label(&mut problems, "Name", self.name.as_str());
        problems
    }

    fn key(&self) -> Self::Key {
        self.name.clone()
    }
}
