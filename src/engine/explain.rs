//! What explanations are made with: resolving for one proxy, and views that differ from the state in one field.

use serde_json::{Value, json};

use super::Options;
use super::recording::Recording;
use crate::model::{
    ConfigEntry, EntryKey, FieldPath, Imported, ImportedKey, InstanceId, Node, PeerKey, PeerTrustBundle, Peering,
    QueryKey, QueryResult, Service, ServiceName, TrustDomain, Upstream,
};
use crate::resolve::explain::Leading;
use crate::resolve::{Caller, Context, PartError, upstream_leading};
use crate::store::{CheckKey, Index, NodeKey, Op, Reader, Stored, View};

/// Where an upstream of a registered sidecar leads, and why; what is read goes through `reader`.
///
/// # Errors
/// It cannot be told.
pub fn leading(
    reader: &Reader<'_>,
    options: &Options,
    trust_domain: &TrustDomain,
    (instance, service): (&InstanceId, &Service),
    upstream: &Upstream,
) -> Result<Leading, PartError> {
    let state = Recording::new(reader, &options.hosted);
    let caller = Caller::of(&state, service);
    let context = Context {
        state: &state,
        trust_domain,
        default_intention: options.default_intention,
        dns_domain: &options.dns_domain,
    };
    upstream_leading(context, &instance.place, &caller, upstream)
}

/// A row that explanations name, and try out other contents of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A config entry.
    Entry(EntryKey),
    /// The registration of an instance.
    Instance(InstanceId),
    /// A node.
    Node(NodeKey),
    /// A check.
    Check(CheckKey),
    /// A peering.
    Peering(PeerKey),
    /// The trust bundle of a peering.
    TrustBundle(PeerKey),
    /// An instance that a peer exported.
    Imported(ImportedKey),
    /// The result of a prepared query.
    Query(QueryKey),
}

impl Row {
    /// The row in JSON, and the commit that last changed it.
    pub fn read(&self, reader: &Reader<'_>) -> Option<(Value, Index)> {
        fn written<T: serde::Serialize>(row: &Stored<T>) -> Option<(Value, Index)> {
            Some((serde_json::to_value(&*row.value).ok()?, row.modify_index))
        }
        let view = reader.view();
        match self {
            Row::Entry(key) => written(reader.entry(key)?),
            Row::Instance(id) => written(reader.service(id)?),
            Row::Node(key) => written(reader.node(key)?),
            Row::Check(key) => written(view.check(key)?),
            Row::Peering(key) => written(reader.peerings(&key.place).find(|row| row.value.key() == *key)?),
            Row::TrustBundle(key) => written(reader.trust_bundle(key)?),
            Row::Imported(key) => written(reader.imported_from(&key.peer).find(|row| row.value.key() == *key)?),
            Row::Query(key) => written(reader.query(key)?),
        }
    }

    /// The operation that makes the row say this; `None` if it cannot say this, or would be another row.
    pub fn to_say(&self, value: Value) -> Option<Op> {
        fn read<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
            serde_json::from_value(value).ok()
        }
        match self {
            Row::Entry(key) => {
                let mut entry = ConfigEntry::from_stored(value).ok()?;
                entry.normalize(&key.name.partition, &key.name.namespace);
                let is_allowed = entry.key() == *key && entry.validate().into_result().is_ok();
                entry.arrange();
                is_allowed.then_some(Op::PutEntry(entry))
            }
            Row::Instance(id) => {
                let mut service: Service = read(value)?;
                service.normalize();
                let is_it = service.id == id.id && service.partition == id.place.partition;
                let is_it = is_it && service.validate().into_result().is_ok();
                is_it.then(|| Op::PutService(NodeKey::new(&id.place, &id.node), service))
            }
            Row::Node(key) => {
                let node: Node = read(value)?;
                (NodeKey::new(&node.place(), &node.node) == *key).then_some(Op::PutNode(node))
            }
            Row::Check(key) => read(value).filter(|check| CheckKey::of(check) == *key).map(Op::PutCheck),
            Row::Peering(key) => read(value).filter(|row: &Peering| row.key() == *key).map(Op::PutPeering),
            Row::TrustBundle(key) => {
                read(value).filter(|row: &PeerTrustBundle| row.key() == *key).map(Op::PutTrustBundle)
            }
            Row::Imported(key) => read(value).filter(|row: &Imported| row.key() == *key).map(Op::PutImported),
            Row::Query(key) => read(value).filter(|row: &QueryResult| row.key() == *key).map(Op::PutQuery),
        }
    }

    /// The row as it could begin, where there is none; `None` if it cannot be made up.
    pub(super) fn blank(&self) -> Option<Value> {
        match self {
            Row::Entry(key) => {
                let ServiceName { partition, namespace, name } = &key.name;
                let mut blank = json!({ "Kind": key.kind, "Name": name.to_string() });
                if !partition.is_default() {
                    blank["Partition"] = json!(partition);
                }
                if !namespace.is_default() {
                    blank["Namespace"] = json!(namespace);
                }
                Some(blank)
            }
            Row::Instance(_)
            | Row::Node(_)
            | Row::Check(_)
            | Row::Peering(_)
            | Row::TrustBundle(_)
            | Row::Imported(_)
            | Row::Query(_) => None,
        }
    }

    /// The operation that takes the row away, and what belongs to it: the checks of an instance, what came through a peering.
    /// `None` for nodes, with which instances would go.
    pub fn removal(&self) -> Option<Op> {
        Some(match self {
            Row::Entry(key) => Op::DeleteEntry(key.clone()),
            Row::Instance(id) => Op::DeleteService(id.clone()),
            Row::Node(_) => return None,
            Row::Check(key) => Op::DeleteCheck(key.clone()),
            Row::Peering(key) => Op::DeletePeering(key.clone()),
            Row::TrustBundle(key) => Op::DeleteTrustBundle(key.clone()),
            Row::Imported(key) => Op::DeleteImported(key.clone()),
            Row::Query(key) => Op::DeleteQuery(key.clone()),
        })
    }

    /// The state without one field of the row; `None` if there is no such field, or the row cannot be without it.
    pub fn without(&self, view: &View, field: &FieldPath) -> Option<View> {
        let (mut value, _) = self.read(&Reader::new(view))?;
        let op = field.remove(&mut value).then(|| self.to_say(value))??;
        Some(view.after(&[op]))
    }
}
