//! A row of whatever table: as the backend keeps it, as it stands in a state, and as people see it.

use std::io;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

use super::apply::{Record, tag, write_row};
use super::{NodeKey, Stored, View};
use crate::model::{
    CaConfig, Check, ConfigEntry, Datacenter, EntryKey, FederationState, Imported, InstanceId, Leaf,
    NamespaceDefinition, Node, PartitionDefinition, PeerTrustBundle, Peering, QueryResult, Root, Service,
};

/// A row of some table. Copies share what is in it.
#[derive(Debug, Clone)]
pub(super) enum Row {
    Node(Stored<Node>),
    /// An instance, and where it is.
    Service(NodeKey, Stored<Service>),
    Check(Stored<Check>),
    Entry(Stored<ConfigEntry>),
    Datacenter(Stored<Datacenter>),
    Partition(Stored<PartitionDefinition>),
    Namespace(Stored<NamespaceDefinition>),
    FederationState(Stored<FederationState>),
    Peering(Stored<Peering>),
    TrustBundle(Stored<PeerTrustBundle>),
    Imported(Stored<Imported>),
    Query(Stored<QueryResult>),
    CaConfig(Stored<CaConfig>),
    Root(Stored<Root>),
    Leaf(Stored<Leaf>),
}

impl Row {
    /// A row as the backend keeps it.
    ///
    /// # Errors
    /// There is no such table, or the value is none of it.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, serde_json::Error> {
        let unknown = || serde_json::Error::custom("no table has such a key");
        Ok(match *key.first().ok_or_else(unknown)? {
            tag::NODE => Self::Node(stored(value)?),
            tag::SERVICE => {
                let record: Record<Service> = serde_json::from_slice(value)?;
                let node = record.at.clone().ok_or_else(unknown)?;
                Self::Service(node, record.into())
            }
            tag::CHECK => Self::Check(stored(value)?),
            tag::ENTRY => {
                let Record { at, create, modify, value } = serde_json::from_slice::<Record<Value>>(value)?;
                Self::Entry(Record { at, create, modify, value: ConfigEntry::from_stored(value)? }.into())
            }
            tag::DATACENTER => Self::Datacenter(stored(value)?),
            tag::PARTITION => Self::Partition(stored(value)?),
            tag::NAMESPACE => Self::Namespace(stored(value)?),
            tag::FEDERATION_STATE => Self::FederationState(stored(value)?),
            tag::PEERING => Self::Peering(stored(value)?),
            tag::TRUST_BUNDLE => Self::TrustBundle(stored(value)?),
            tag::IMPORTED => Self::Imported(stored(value)?),
            tag::QUERY => Self::Query(stored(value)?),
            tag::CA_CONFIG => Self::CaConfig(stored(value)?),
            tag::ROOT => Self::Root(stored(value)?),
            tag::LEAF => Self::Leaf(stored(value)?),
            _ => return Err(unknown()),
        })
    }

    /// The row of a state that the backend keeps under this key, if there is one.
    pub(super) fn of(view: &View, key: &[u8]) -> Option<Self> {
        let (tag, text) = (key.first()?, key.get(1..)?);
        Some(match *tag {
            tag::NODE => Self::Node(found(&view.nodes, text)?),
            tag::SERVICE => {
                let id: InstanceId = serde_json::from_slice(text).ok()?;
                Self::Service(NodeKey::new(&id.place, &id.node), view.services.get(&id)?.clone())
            }
            tag::CHECK => Self::Check(found(&view.checks, text)?),
            tag::ENTRY => {
                let (kind, name) = serde_json::from_slice(text).ok()?;
                Self::Entry(view.entries.get(&EntryKey { kind, name })?.clone())
            }
            tag::DATACENTER => Self::Datacenter(found(&view.datacenters, text)?),
            tag::PARTITION => Self::Partition(found(&view.partition_definitions, text)?),
            tag::NAMESPACE => Self::Namespace(found(&view.namespace_definitions, text)?),
            tag::FEDERATION_STATE => Self::FederationState(found(&view.federation_states, text)?),
            tag::PEERING => Self::Peering(found(&view.peerings, text)?),
            tag::TRUST_BUNDLE => Self::TrustBundle(found(&view.trust_bundles, text)?),
            tag::IMPORTED => Self::Imported(found(&view.imported, text)?),
            tag::QUERY => Self::Query(found(&view.queries, text)?),
            tag::CA_CONFIG => Self::CaConfig(found(&view.ca_config, text)?),
            tag::ROOT => Self::Root(found(&view.roots, text)?),
            tag::LEAF => Self::Leaf(found(&view.leaves, text)?),
            _ => return None,
        })
    }

    /// The value as the backend keeps it.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(128);
        self.write(&mut value);
        value
    }

    /// How many bytes that is.
    pub(super) fn size(&self) -> usize {
        let mut counter = Counter(0);
        self.write(&mut counter);
        counter.0
    }

    fn write(&self, out: &mut impl io::Write) {
        match self {
            Self::Node(row) => write_row(out, None, row),
            Self::Service(node, row) => write_row(out, Some(node), row),
            Self::Check(row) => write_row(out, None, row),
            Self::Entry(row) => write_row(out, None, row),
            Self::Datacenter(row) => write_row(out, None, row),
            Self::Partition(row) => write_row(out, None, row),
            Self::Namespace(row) => write_row(out, None, row),
            Self::FederationState(row) => write_row(out, None, row),
            Self::Peering(row) => write_row(out, None, row),
            Self::TrustBundle(row) => write_row(out, None, row),
            Self::Imported(row) => write_row(out, None, row),
            Self::Query(row) => write_row(out, None, row),
            Self::CaConfig(row) => write_row(out, None, row),
            Self::Root(row) => write_row(out, None, row),
            Self::Leaf(row) => write_row(out, None, row),
        }
    }

    /// The row for people; `None` for one of a table that has secrets.
    pub(super) fn told(&self) -> Option<Value> {
        match self {
            Self::Node(row) => value(row),
            Self::Service(_, row) => value(row),
            Self::Check(row) => serde_json::to_value(super::bundle::without_secrets(&row.value)).ok(),
            Self::Entry(row) => value(row),
            Self::Datacenter(row) => value(row),
            Self::Partition(row) => value(row),
            Self::Namespace(row) => value(row),
            Self::FederationState(row) => value(row),
            Self::Peering(row) => value(row),
            Self::TrustBundle(row) => value(row),
            Self::Imported(row) => value(row),
            Self::Query(row) => value(row),
            Self::CaConfig(_) | Self::Root(_) | Self::Leaf(_) => None,
        }
    }
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T> From<Record<T>> for Stored<T> {
    fn from(record: Record<T>) -> Self {
        Self { value: Arc::new(record.value), create_index: record.create, modify_index: record.modify }
    }
}

fn stored<T: DeserializeOwned>(value: &[u8]) -> Result<Stored<T>, serde_json::Error> {
    Ok(serde_json::from_slice::<Record<T>>(value)?.into())
}

fn found<K: Ord + DeserializeOwned, T>(table: &OrdMap<K, Stored<T>>, text: &[u8]) -> Option<Stored<T>> {
    table.get(&serde_json::from_slice::<K>(text).ok()?).cloned()
}

fn value<T: Serialize>(row: &Stored<T>) -> Option<Value> {
    serde_json::to_value(&*row.value).ok()
}
