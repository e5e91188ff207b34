//! `exported-services`: what other partitions and peers may reach.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Namespace, Partition, PeerName, Problems, ServiceName, is_default};

/// The exports of one partition.
///
/// ```hcl
/// Kind = "exported-services"
/// Name = "default"
/// Services = [{ Name = "billing", Consumers = [{ Partition = "team-a" }] }]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExportedServices {
    /// Name of the exporting partition.
    pub name: String,
    /// The same partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// What is exported, and to whom.
    pub services: Vec<ExportedService>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// One exported service, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExportedService {
    /// The service; `*` means every one of the namespace.
    pub name: String,
    /// Its namespace; `*` means every one.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// Who may reach it.
    pub consumers: Vec<Consumer>,
}

/// Who may reach an exported service. Without any field: the default partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Consumer {
    /// Another partition of the same datacenter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// A peer.
    #[serde(alias = "PeerName", skip_serializing_if = "is_default")]
    pub peer: PeerName,
    /// A group of partitions and peers; refused.
    #[serde(skip_serializing_if = "is_default")]
    pub sameness_group: String,
}

impl ExportedServices {
    pub(super) fn normalize(&mut self) {
        if self.name.is_empty() {
            self.partition.as_str().clone_into(&mut self.name);
        }
        // The entry lives in the partition that it names.
        if self.partition.is_default() {
            self.partition = Partition::from(self.name.as_str());
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.name != self.partition.as_str() {
            problems.rule(
                "Name",
                format!("must be the name of the exporting partition, {:?}, not {:?}", self.partition, self.name),
            );
        }
        for (position, service) in self.services.iter().enumerate() {
            let path = format!("Services[{position}]");
            if service.name.is_empty() {
                problems.rule(format!("{path}.Name"), "a service name is required; * stands for all");
            }
            if service.namespace.as_str() == "*" && service.name != "*" {
                problems.rule(format!("{path}.Name"), "with the namespace * the name must be * too");
            }
            if service.consumers.is_empty() {
                problems.rule(format!("{path}.Consumers"), "at least one consumer is required");
            }
            for (number, consumer) in service.consumers.iter().enumerate() {
                consumer.validate(&format!("{path}.Consumers[{number}]"), problems);
            }
        }
    }

    /// True if `service` of this partition is exported to `consumer`. An exact item replaces a wildcard one.
    pub fn exports_to_partition(&self, service: &ServiceName, consumer: &Partition) -> bool {
        self.consumers(service).any(|known| known.is_partition(consumer))
    }

    /// The peers that `service` of this partition is exported to, sorted. An exact item replaces a wildcard one.
    pub fn importing_peers(&self, service: &ServiceName) -> BTreeSet<PeerName> {
        let peers = self.consumers(service).map(|consumer| &consumer.peer);
        peers.filter(|peer| !peer.is_default()).cloned().collect()
    }

    /// The partitions that `service` of this partition is exported to, sorted.
    pub fn importing_partitions(&self, service: &ServiceName) -> BTreeSet<Partition> {
        let partitions = self.consumers(service).filter(|consumer| consumer.peer.is_default());
        partitions.map(|consumer| consumer.partition.clone().unwrap_or_default()).collect()
    }

    /// Who may reach `service`: what the most exact item says.
    pub fn consumers(&self, service: &ServiceName) -> impl Iterator<Item = &Consumer> {
        let namespace = service.namespace.as_str();
        let items = [(&*service.name, namespace), ("*", namespace), ("*", "*")]
            .into_iter()
            .map(|(name, namespace)| self.items(name, namespace))
            .find(|items| !items.is_empty());
        items.into_iter().flatten().flat_map(|item| &item.consumers)
    }

    fn items(&self, name: &str, namespace: &str) -> Vec<&ExportedService> {
        self.services.iter().filter(|item| item.name == name && item.namespace.as_str() == namespace).collect()
    }

    /// True if `service` is exported to any partition but its own.
    pub fn exports_to_other_partition(&self, service: &ServiceName) -> bool {
        self.importing_partitions(service).iter().any(|partition| *partition != self.partition)
    }
}

impl Consumer {
    fn is_partition(&self, partition: &Partition) -> bool {
        self.peer.as_str().is_empty() && self.partition.clone().unwrap_or_default() == *partition
    }

    fn validate(&self, path: &str, problems: &mut Problems) {
        let partition = self.partition.as_ref().map_or("", Partition::as_str);
        let named = [partition, self.peer.as_str(), &self.sameness_group];
        if named.iter().filter(|name| !name.is_empty()).count() > 1 {
            problems.rule(path, "only one of Peer, Partition and SamenessGroup may be set");
        }
        if !self.sameness_group.is_empty() {
            problems.rule(format!("{path}.SamenessGroup"), "sameness groups are not supported");
        }
        for (field, value) in [("Peer", self.peer.as_str()), ("Partition", partition)] {
            if value == "*" {
                problems.rule(format!("{path}.{field}"), "a wildcard is not allowed here");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, consumer: &str) -> ExportedService {
        let consumers = vec![Consumer { partition: Some(Partition::from(consumer)), ..Consumer::default() }];
        ExportedService { name: name.to_owned(), consumers, ..ExportedService::default() }
    }

    #[test]
    fn an_exact_item_replaces_the_wildcard() {
        let entry =
            ExportedServices { services: vec![item("*", "team-a"), item("db", "team-b")], ..Default::default() };
        let exported = |name, partition: &str| {
            entry.exports_to_partition(&ServiceName::in_default(name), &Partition::from(partition))
        };

        assert!(exported("api", "team-a") && exported("db", "team-b"));
        assert!(!exported("db", "team-a") && !exported("api", "team-b"));
    }

    #[test]
    fn a_peer_is_no_partition() {
        let consumers = vec![Consumer { peer: PeerName::from("west"), ..Consumer::default() }];
        let service = ExportedService { name: "api".to_owned(), consumers, ..ExportedService::default() };
        let entry = ExportedServices { services: vec![service], ..Default::default() };

        assert!(!entry.exports_to_partition(&ServiceName::in_default("api"), &Partition::default()));
    }
}
