//! Operations on a draft [`View`]: tables, indexes, changed keys and the rows to make durable, kept in step.

use std::io;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::any::Row;
use super::embedded::named as named_row;
use super::history::Class;
use super::view::Recent;
use super::{BadRow, CheckKey, Index, Key, NodeKey, Op, StoreError, Stored, View};
use crate::model::{
    CaConfig, Check, CheckId, ConfigEntry, Datacenter, EntryKey, FederationState, Imported, ImportedKey, InstanceId,
    Leaf, Namespace, NamespaceDefinition, Node, Partition, PartitionDefinition, PeerKey, PeerTrustBundle, Peering,
    Place, QueryKey, QueryResult, Root, Service, ServiceId, ServiceKey, ServiceKind, SpiffeId,
};

/// The rows that a draft changed, by the keys that the backend keeps them by, in the order of the changes.
pub(super) type RowChanges = Vec<(Vec<u8>, Option<Row>)>;

/// A view that is being made, at the index of its commit.
pub(super) struct Draft {
    pub(super) view: View,
    pub(super) rows: RowChanges,
    at: Index,
    stamp: Stamp,
}

/// The commit that changes a row.
#[derive(Clone, Copy)]
enum Stamp {
    /// This one.
    Now(Index),
    /// Another one, where the row comes from.
    Restored(Index),
}

/// What the backend keeps of a row.
#[derive(Serialize, Deserialize)]
pub(super) struct Record<T> {
    /// The node, for rows whose value does not say it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) at: Option<NodeKey>,
    pub(super) create: Index,
    pub(super) modify: Index,
    pub(super) value: T,
}

/// The tables, by the first byte of a row's key.
pub(super) mod tag {
    pub(in crate::store) const NODE: u8 = b'n';
    pub(in crate::store) const SERVICE: u8 = b's';
    pub(in crate::store) const CHECK: u8 = b'c';
    pub(in crate::store) const ENTRY: u8 = b'e';
    pub(in crate::store) const DATACENTER: u8 = b'd';
    pub(in crate::store) const PARTITION: u8 = b'a';
    pub(in crate::store) const NAMESPACE: u8 = b'm';
    pub(in crate::store) const FEDERATION_STATE: u8 = b'f';
    pub(in crate::store) const PEERING: u8 = b'p';
    pub(in crate::store) const TRUST_BUNDLE: u8 = b't';
    pub(in crate::store) const IMPORTED: u8 = b'i';
    pub(in crate::store) const QUERY: u8 = b'q';
    pub(in crate::store) const CA_CONFIG: u8 = b'k';
    pub(in crate::store) const ROOT: u8 = b'r';
    pub(in crate::store) const LEAF: u8 = b'l';
}

fn row_key(tag: u8, key: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(serde_json::to_vec(key).expect("keys are strings and structs of strings"));
    bytes
}

pub(super) fn entry_row_key(key: &EntryKey) -> Vec<u8> {
    row_key(tag::ENTRY, &(key.kind, &key.name))
}

/// Writes a row as the backend keeps it. Nothing that is written to here fails.
pub(super) fn write_row<T: Serialize>(out: impl io::Write, at: Option<&NodeKey>, row: &Stored<T>) {
    let record = Record { at: at.cloned(), create: row.create_index, modify: row.modify_index, value: &*row.value };
    serde_json::to_writer(out, &record).expect("model values have string keys and finite numbers");
}

fn row_value<T: Serialize>(at: Option<&NodeKey>, row: &Stored<T>) -> Vec<u8> {
    let mut value = Vec::with_capacity(128);
    write_row(&mut value, at, row);
    value
}

/// Puts `value` into a table unless the same is there already; returns the new row.
fn put<K: Ord + Clone, T: PartialEq>(
    table: &mut OrdMap<K, Stored<T>>,
    key: &K,
    value: T,
    stamp: Stamp,
) -> Option<Stored<T>> {
    let (Stamp::Now(at) | Stamp::Restored(at)) = stamp;
    let is_as_told = |old: &Stored<T>| matches!(stamp, Stamp::Now(_)) || old.modify_index == at;
    let create_index = match table.get(key) {
        Some(old) if *old.value == value && is_as_told(old) => return None,
        Some(old) => old.create_index.min(at),
        None => at,
    };
    let row = Stored { value: Arc::new(value), create_index, modify_index: at };
    table.insert(key.clone(), row.clone());
    Some(row)
}

fn index<K: Ord + Clone, V: Ord + Clone>(table: &mut OrdMap<K, OrdSet<V>>, key: K, value: V) -> bool {
    let set = table.entry(key).or_default();
    let is_first = set.is_empty();
    set.insert(value);
    is_first
}

fn unindex<K: Ord + Clone, V: Ord + Clone>(table: &mut OrdMap<K, OrdSet<V>>, key: &K, value: &V) -> bool {
    let Some(set) = table.get_mut(key) else { return false };
    set.remove(value);
    let was_last = set.is_empty();
    if was_last {
        table.remove(key);
    }
    was_last
}

impl View {
    /// The state that these operations would make of this one, for decisions that build on each other in one write.
    #[must_use]
    pub fn after(&self, ops: &[Op]) -> Self {
        let mut draft = Draft::after(self.clone(), ops);
        ops.iter().cloned().for_each(|op| draft.apply(op));
        draft.finish().0
    }
}

impl Draft {
    /// A draft of the commit after `view`. The first commit is 2: readers are told 1 for what was never written, and must
    /// see the first write as news.
    /// No row is newer than the last commit, so a draft that restores rows comes after theirs.
    pub(super) fn after(view: View, ops: &[Op]) -> Self {
        let restored = ops.iter().map(|op| if let Op::Restore(_, at) = op { *at } else { 0 }).max().unwrap_or_default();
        let at = (view.index.max(1) + 1).max(restored);
        let recent = Recent { since: view.index, changed_until: view.changed.clone(), ..Recent::default() };
        let view = View { recent: Some(Arc::new(recent)), ..view };
        Self { view, rows: Vec::new(), at, stamp: Stamp::Now(at) }
    }

    /// A draft of a state of which nothing is known but its rows.
    pub(super) fn of_rows(view: View, at: Index) -> Self {
        let view = View { index: at, floor: at, changed: OrdMap::new(), recent: None, ..view };
        Self { view, rows: Vec::new(), at, stamp: Stamp::Now(at) }
    }

    /// That state.
    pub(super) fn into_state(self) -> View {
        View { changed: OrdMap::new(), recent: None, ..self.view }
    }

    /// Has a row be there as it is, whatever is there.
    pub(super) fn place(&mut self, row: Row) {
        match row {
            Row::Node(row) => {
                let key = NodeKey { place: row.value.place(), node: row.value.node.clone() };
                self.view.nodes.insert(key, row);
            }
            Row::Service(node, row) => {
                let id = node.instance(&row.value.id);
                if let Some(old) = self.view.services.insert(id.clone(), row.clone()) {
                    self.unindex_service(&id, &old.value);
                }
                self.index_service(&id, &row.value);
            }
            Row::Check(row) => {
                let (key, service) = (CheckKey::of(&row.value), row.value.service_id.clone());
                if let Some(old) = self.view.checks.insert(key.clone(), row) {
                    self.unindex_check(&key, &old.value.service_id);
                }
                index(&mut self.view.checks_of, key.node.instance(&service), key.check);
            }
            Row::Entry(row) => drop(self.view.entries.insert(row.value.key(), row)),
            Row::Datacenter(row) => drop(self.view.datacenters.insert((*row.value).clone(), row)),
            Row::Partition(row) => drop(self.view.partition_definitions.insert(row.value.place(), row)),
            Row::Namespace(row) => drop(self.view.namespace_definitions.insert(row.value.key(), row)),
            Row::FederationState(row) => {
                self.view.federation_states.insert(row.value.datacenter.clone(), row);
            }
            Row::Peering(row) => drop(self.view.peerings.insert(row.value.key(), row)),
            Row::TrustBundle(row) => drop(self.view.trust_bundles.insert(row.value.key(), row)),
            Row::Imported(row) => {
                let key = row.value.key();
                if let Some(old) = self.view.imported.insert(key.clone(), row.clone()) {
                    self.unindex_imported(&key, &old.value);
                }
                self.index_imported(&key, &row.value);
            }
            Row::Query(row) => drop(self.view.queries.insert(row.value.key(), row)),
            Row::CaConfig(row) => drop(self.view.ca_config.insert((), row)),
            Row::Root(row) => drop(self.view.roots.insert(row.value.id.clone(), row)),
            Row::Leaf(row) => {
                let identity = row.value.identity.clone();
                let partition = identity.partition().clone();
                if self.view.leaves.insert(identity, row).is_none() {
                    self.count_leaf(&partition);
                }
            }
        }
    }

    /// Has a row be gone, and nothing but it: what stands on it may have been there before it.
    pub(super) fn take_away(&mut self, row: &Row) {
        match row {
            Row::Node(row) => {
                self.view.nodes.remove(&NodeKey { place: row.value.place(), node: row.value.node.clone() });
            }
            Row::Service(node, row) => {
                let id = node.instance(&row.value.id);
                if let Some(old) = self.view.services.remove(&id) {
                    self.unindex_service(&id, &old.value);
                }
            }
            Row::Check(row) => self.delete_check(&CheckKey::of(&row.value)),
            Row::Entry(row) => self.delete_entry(&row.value.key()),
            Row::Datacenter(row) => self.delete_datacenter(&row.value),
            Row::Partition(row) => self.delete_partition(&row.value.place()),
            Row::Namespace(row) => {
                let (partition, namespace) = row.value.key();
                self.delete_namespace(partition, namespace);
            }
            Row::FederationState(row) => self.delete_federation_state(&row.value.datacenter),
            Row::Peering(row) => drop(self.view.peerings.remove(&row.value.key())),
            Row::TrustBundle(row) => self.delete_trust_bundle(&row.value.key()),
            Row::Imported(row) => self.delete_imported(&row.value.key()),
            Row::Query(row) => self.delete_query(&row.value.key()),
            Row::CaConfig(_) => self.delete_ca_config(),
            Row::Root(row) => self.delete_root(&row.value.id),
            Row::Leaf(row) => self.delete_leaf(&row.value.identity),
        }
    }

    /// Applies one operation. What changes nothing leaves no trace.
    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::PutNode(node) => self.put_node(node),
            Op::DeleteNode(key) => self.delete_node(&key),
            Op::PutService(node, service) => self.put_service(&node, service),
            Op::DeleteService(id) => self.delete_service(&id),
            Op::PutCheck(check) => self.put_check(check),
            Op::DeleteCheck(key) => self.delete_check(&key),
            Op::PutEntry(entry) => self.put_entry(entry),
            Op::DeleteEntry(key) => self.delete_entry(&key),
            Op::Restore(op, at) => {
                let now = std::mem::replace(&mut self.stamp, Stamp::Restored(at));
                self.apply(*op);
                self.stamp = now;
            }
            Op::PutPeering(peering) => self.put_peering(peering),
            Op::DeletePeering(key) => self.delete_peering(&key),
            Op::PutTrustBundle(bundle) => self.put_trust_bundle(bundle),
            Op::DeleteTrustBundle(key) => self.delete_trust_bundle(&key),
            Op::PutImported(imported) => self.put_imported(imported),
            Op::DeleteImported(key) => self.delete_imported(&key),
            Op::PutDatacenter(datacenter) => self.put_datacenter(datacenter),
            Op::DeleteDatacenter(datacenter) => self.delete_datacenter(&datacenter),
            Op::PutPartition(definition) => self.put_partition(definition),
            Op::DeletePartition(place) => self.delete_partition(&place),
            Op::PutNamespace(definition) => self.put_namespace(definition),
            Op::DeleteNamespace(partition, namespace) => self.delete_namespace(partition, namespace),
            Op::PutFederationState(state) => self.put_federation_state(state),
            Op::DeleteFederationState(datacenter) => self.delete_federation_state(&datacenter),
            Op::PutQuery(result) => self.put_query(result),
            Op::DeleteQuery(key) => self.delete_query(&key),
            Op::PutCaConfig(config) => self.put_ca_config(config),
            Op::DeleteCaConfig => self.delete_ca_config(),
            Op::PutRoot(root) => self.put_root(root),
            Op::DeleteRoot(id) => self.delete_root(&id),
            Op::PutLeaf(leaf) => self.put_leaf(leaf),
            Op::DeleteLeaf(identity) => self.delete_leaf(&identity),
        }
    }

    /// True if some operation changed something.
    pub(super) fn is_changed(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The view of the commit, if anything changed.
    pub(super) fn finish(mut self) -> (View, RowChanges) {
        if self.is_changed() {
            self.view.index = self.at;
        }
        (self.view, self.rows)
    }

    fn touch(&mut self, key: Key) {
        let recent = self.view.recent.as_mut().map(Arc::make_mut);
        if recent.is_none_or(|recent| recent.keys.insert(key.clone())) {
            self.view.changed.insert(key, self.at);
        }
    }

    fn note_check(&mut self, key: &CheckKey) {
        if let Some(recent) = &mut self.view.recent {
            Arc::make_mut(recent).checks.insert(key.clone());
        }
    }

    fn put_node(&mut self, node: Node) {
        let key = NodeKey { place: node.place(), node: node.node.clone() };
        let is_new = !self.view.nodes.contains_key(&key);
        let Some(row) = put(&mut self.view.nodes, &key, node, self.stamp) else { return };
        self.rows.push((row_key(tag::NODE, &key), Some(Row::Node(row))));
        if is_new {
            self.touch_places(&key.place);
        }
        self.touch_node(&key);
    }

    fn delete_node(&mut self, key: &NodeKey) {
        let services: Vec<_> = self.view.services_on(key).map(|row| key.instance(&row.value.id)).collect();
        for id in services {
            self.delete_service(&id);
        }
        let checks: Vec<_> = self.view.checks_on(key).map(|row| CheckKey::of(&row.value)).collect();
        for check in checks {
            self.delete_check(&check);
        }
        if self.view.nodes.remove(key).is_some() {
            self.rows.push((row_key(tag::NODE, key), None));
            self.touch_places(&key.place);
            self.touch_node(key);
        }
    }

    fn touch_places(&mut self, place: &Place) {
        self.touch(Key::Datacenters);
        self.touch(Key::Partitions(place.datacenter.clone()));
    }

    /// A node's address and checks are part of everything on it.
    fn touch_node(&mut self, key: &NodeKey) {
        self.touch(Key::Nodes(key.place.clone()));
        self.touch(Key::Node(key.place.clone(), key.node.clone()));
        let services: Vec<_> = self.view.services_on(key).map(|row| row.value.clone()).collect();
        for service in services {
            self.touch_instance(&key.place, &service);
        }
    }

    /// Whoever lists the instance, with its node and checks.
    fn touch_instance(&mut self, place: &Place, service: &Service) {
        self.touch(Key::Service(named(place, service)));
        if let Some(key) = destination(place, service) {
            self.touch(Key::Endpoints(key));
        }
        if service.kind == ServiceKind::MeshGateway {
            self.touch(Key::Gateways(place.clone()));
        }
    }

    fn put_service(&mut self, node: &NodeKey, service: Service) {
        let id = node.instance(&service.id);
        let old = self.view.services.get(&id).cloned();
        let Some(row) = put(&mut self.view.services, &id, service, self.stamp) else { return };
        self.rows.push((row_key(tag::SERVICE, &id), Some(Row::Service(node.clone(), row.clone()))));
        let stands = |service: &Service| (named(&id.place, service), destination(&id.place, service), service.kind);
        match &old {
            // Most changes leave it where it stands in the indexes.
            Some(old) if stands(&old.value) == stands(&row.value) => self.touch_service(&id, &row.value),
            _ => {
                if let Some(old) = &old {
                    self.unindex_service(&id, &old.value);
                }
                self.index_service(&id, &row.value);
            }
        }
        let is_same = |old: &Service| old.tags == row.value.tags && old.full_name() == row.value.full_name();
        if !old.is_some_and(|old| is_same(&old.value)) {
            self.touch(Key::ServiceNames(id.place.clone()));
        }
    }

    fn index_service(&mut self, id: &InstanceId, service: &Service) {
        if index(&mut self.view.by_name, named(&id.place, service), id.clone()) {
            self.touch(Key::ServiceNames(id.place.clone()));
        }
        if let Some(key) = destination(&id.place, service)
            && index(&mut self.view.by_destination, key, id.clone())
        {
            self.touch(Key::MeshServiceNames(id.place.clone()));
        }
        if service.kind == ServiceKind::MeshGateway {
            index(&mut self.view.gateways, id.place.clone(), id.clone());
        }
        self.touch_service(id, service);
    }

    fn touch_service(&mut self, id: &InstanceId, service: &Service) {
        self.touch(Key::Instance(id.clone()));
        self.touch(Key::Node(id.place.clone(), id.node.clone()));
        self.touch_instance(&id.place, service);
    }

    fn unindex_service(&mut self, id: &InstanceId, service: &Service) {
        if unindex(&mut self.view.by_name, &named(&id.place, service), id) {
            self.touch(Key::ServiceNames(id.place.clone()));
        }
        if let Some(key) = destination(&id.place, service)
            && unindex(&mut self.view.by_destination, &key, id)
        {
            self.touch(Key::MeshServiceNames(id.place.clone()));
        }
        if service.kind == ServiceKind::MeshGateway {
            unindex(&mut self.view.gateways, &id.place, id);
        }
        self.touch_instance(&id.place, service);
    }

    fn delete_service(&mut self, id: &InstanceId) {
        let checks: Vec<_> = self.view.checks_of(id).map(|row| CheckKey::of(&row.value)).collect();
        for check in checks {
            self.delete_check(&check);
        }
        let Some(old) = self.view.services.remove(id) else { return };
        self.rows.push((row_key(tag::SERVICE, id), None));
        self.unindex_service(id, &old.value);
        self.touch(Key::Instance(id.clone()));
        self.touch(Key::Node(id.place.clone(), id.node.clone()));
        self.touch(Key::ServiceNames(id.place.clone()));
    }

    fn put_check(&mut self, check: Check) {
        let key = CheckKey::of(&check);
        let old = self.view.checks.get(&key).cloned();
        let Some(row) = put(&mut self.view.checks, &key, check, self.stamp) else { return };
        self.note_check(&key);
        self.rows.push((row_key(tag::CHECK, &key), Some(Row::Check(row.clone()))));
        if let Some(old) = old {
            self.unindex_check(&key, &old.value.service_id);
        }
        index(&mut self.view.checks_of, key.node.instance(&row.value.service_id), key.check.clone());
        self.touch_check(&key, &row.value.service_id);
    }

    fn delete_check(&mut self, key: &CheckKey) {
        let Some(old) = self.view.checks.remove(key) else { return };
        self.note_check(key);
        self.rows.push((row_key(tag::CHECK, key), None));
        self.unindex_check(key, &old.value.service_id);
    }

    fn unindex_check(&mut self, key: &CheckKey, service: &ServiceId) {
        unindex::<InstanceId, CheckId>(&mut self.view.checks_of, &key.node.instance(service), &key.check);
        self.touch_check(key, service);
    }

    fn touch_check(&mut self, key: &CheckKey, service: &ServiceId) {
        self.touch(Key::Node(key.node.place.clone(), key.node.node.clone()));
        if service.as_str().is_empty() {
            self.touch_node(&key.node);
        } else if let Some(row) = self.view.services.get(&key.node.instance(service)).cloned() {
            self.touch_instance(&key.node.place, &row.value);
        }
    }

    fn put_entry(&mut self, mut entry: ConfigEntry) {
        entry.arrange();
        let key = entry.key();
        if let Some(row) = put(&mut self.view.entries, &key, entry, self.stamp) {
            self.rows.push((entry_row_key(&key), Some(Row::Entry(row))));
            self.touch_entry(key);
        }
    }

    fn delete_entry(&mut self, key: &EntryKey) {
        if self.view.entries.remove(key).is_some() {
            self.rows.push((entry_row_key(key), None));
            self.touch_entry(key.clone());
        }
    }

    fn touch_entry(&mut self, key: EntryKey) {
        self.touch(Key::EntriesOfKind(key.kind));
        self.touch(Key::Entries(key.kind, key.name.partition.clone()));
        self.touch(Key::Entry(key));
    }

    fn put_peering(&mut self, peering: Peering) {
        let key = peering.key();
        if let Some(row) = put(&mut self.view.peerings, &key, peering, self.stamp) {
            self.rows.push((row_key(tag::PEERING, &key), Some(Row::Peering(row))));
            self.touch(Key::Peerings(key.place));
        }
    }

    fn delete_peering(&mut self, key: &PeerKey) {
        let imported: Vec<_> = self.view.imported_from(key).map(|row| row.value.key()).collect();
        for instance in imported {
            self.delete_imported(&instance);
        }
        self.delete_trust_bundle(key);
        if self.view.peerings.remove(key).is_some() {
            self.rows.push((row_key(tag::PEERING, key), None));
            self.touch(Key::Peerings(key.place.clone()));
        }
    }

    fn put_trust_bundle(&mut self, bundle: PeerTrustBundle) {
        let key = bundle.key();
        if let Some(row) = put(&mut self.view.trust_bundles, &key, bundle, self.stamp) {
            self.rows.push((row_key(tag::TRUST_BUNDLE, &key), Some(Row::TrustBundle(row))));
            self.touch_trust_bundle(key);
        }
    }

    fn delete_trust_bundle(&mut self, key: &PeerKey) {
        if self.view.trust_bundles.remove(key).is_some() {
            self.rows.push((row_key(tag::TRUST_BUNDLE, key), None));
            self.touch_trust_bundle(key.clone());
        }
    }

    fn touch_trust_bundle(&mut self, key: PeerKey) {
        self.touch(Key::TrustBundles(key.place.clone()));
        self.touch(Key::TrustBundle(key));
    }

    fn put_imported(&mut self, imported: Imported) {
        let key = imported.key();
        let old = self.view.imported.get(&key).cloned();
        let Some(row) = put(&mut self.view.imported, &key, imported, self.stamp) else { return };
        if let Some(old) = old {
            self.unindex_imported(&key, &old.value);
        }
        self.rows.push((row_key(tag::IMPORTED, &key), Some(Row::Imported(row.clone()))));
        self.index_imported(&key, &row.value);
    }

    fn delete_imported(&mut self, key: &ImportedKey) {
        let Some(old) = self.view.imported.remove(key) else { return };
        self.rows.push((row_key(tag::IMPORTED, key), None));
        self.unindex_imported(key, &old.value);
    }

    fn index_imported(&mut self, key: &ImportedKey, imported: &Imported) {
        self.touch(Key::ImportedFrom(key.peer.clone()));
        let Some(name) = imported.mesh_destination() else { return };
        let of = (key.peer.clone(), name.clone());
        if index(&mut self.view.imported_by_destination, of, key.clone()) {
            self.touch(Key::ImportedNames(key.peer.clone()));
        }
        self.touch(Key::Imported(key.peer.clone(), name));
    }

    fn unindex_imported(&mut self, key: &ImportedKey, imported: &Imported) {
        self.touch(Key::ImportedFrom(key.peer.clone()));
        let Some(name) = imported.mesh_destination() else { return };
        let of = (key.peer.clone(), name.clone());
        if unindex(&mut self.view.imported_by_destination, &of, key) {
            self.touch(Key::ImportedNames(key.peer.clone()));
        }
        self.touch(Key::Imported(key.peer.clone(), name));
    }

    fn put_datacenter(&mut self, datacenter: Datacenter) {
        let key = datacenter.clone();
        if let Some(row) = put(&mut self.view.datacenters, &key, datacenter, self.stamp) {
            self.rows.push((row_key(tag::DATACENTER, &key), Some(Row::Datacenter(row))));
            self.touch(Key::Datacenters);
        }
    }

    fn delete_datacenter(&mut self, datacenter: &Datacenter) {
        if self.view.datacenters.remove(datacenter).is_some() {
            self.rows.push((row_key(tag::DATACENTER, datacenter), None));
            self.touch(Key::Datacenters);
        }
    }

    fn put_partition(&mut self, definition: PartitionDefinition) {
        let place = definition.place();
        if let Some(row) = put(&mut self.view.partition_definitions, &place, definition, self.stamp) {
            self.rows.push((row_key(tag::PARTITION, &place), Some(Row::Partition(row))));
            self.touch(Key::PartitionDefinitions(place.datacenter));
        }
    }

    fn delete_partition(&mut self, place: &Place) {
        if self.view.partition_definitions.remove(place).is_some() {
            self.rows.push((row_key(tag::PARTITION, place), None));
            self.touch(Key::PartitionDefinitions(place.datacenter.clone()));
        }
    }

    fn put_namespace(&mut self, definition: NamespaceDefinition) {
        let key = definition.key();
        if let Some(row) = put(&mut self.view.namespace_definitions, &key, definition, self.stamp) {
            self.rows.push((row_key(tag::NAMESPACE, &key), Some(Row::Namespace(row))));
            self.touch(Key::NamespaceDefinitions(key.0));
        }
    }

    fn delete_namespace(&mut self, partition: Partition, namespace: Namespace) {
        let key = (partition, namespace);
        if self.view.namespace_definitions.remove(&key).is_some() {
            self.rows.push((row_key(tag::NAMESPACE, &key), None));
            self.touch(Key::NamespaceDefinitions(key.0));
        }
    }

    fn put_federation_state(&mut self, state: FederationState) {
        let key = state.datacenter.clone();
        if let Some(row) = put(&mut self.view.federation_states, &key, state, self.stamp) {
            self.rows.push((row_key(tag::FEDERATION_STATE, &key), Some(Row::FederationState(row))));
            self.touch(Key::FederationStates);
        }
    }

    fn delete_federation_state(&mut self, datacenter: &Datacenter) {
        if self.view.federation_states.remove(datacenter).is_some() {
            self.rows.push((row_key(tag::FEDERATION_STATE, datacenter), None));
            self.touch(Key::FederationStates);
        }
    }

    fn put_query(&mut self, result: QueryResult) {
        let key = result.key();
        let is_new = self.view.query(&key).is_none();
        if let Some(row) = put(&mut self.view.queries, &key, result, self.stamp) {
            self.rows.push((row_key(tag::QUERY, &key), Some(Row::Query(row))));
            if is_new {
                self.touch(Key::Queries(key.place.clone()));
            }
            self.touch(Key::Query(key));
        }
    }

    fn delete_query(&mut self, key: &QueryKey) {
        if self.view.queries.remove(key).is_some() {
            self.rows.push((row_key(tag::QUERY, key), None));
            self.touch(Key::Queries(key.place.clone()));
            self.touch(Key::Query(key.clone()));
        }
    }

    fn put_ca_config(&mut self, config: CaConfig) {
        if let Some(row) = put(&mut self.view.ca_config, &(), config, self.stamp) {
            self.rows.push((row_key(tag::CA_CONFIG, &()), Some(Row::CaConfig(row))));
            self.touch(Key::CaConfig);
        }
    }

    fn delete_ca_config(&mut self) {
        if self.view.ca_config.remove(&()).is_some() {
            self.rows.push((row_key(tag::CA_CONFIG, &()), None));
            self.touch(Key::CaConfig);
        }
    }

    fn put_root(&mut self, root: Root) {
        let key = root.id.clone();
        if let Some(row) = put(&mut self.view.roots, &key, root, self.stamp) {
            self.rows.push((row_key(tag::ROOT, &key), Some(Row::Root(row))));
            self.touch(Key::Roots);
        }
    }

    fn delete_root(&mut self, id: &String) {
        if self.view.roots.remove(id).is_some() {
            self.rows.push((row_key(tag::ROOT, id), None));
            self.touch(Key::Roots);
        }
    }

    fn put_leaf(&mut self, leaf: Leaf) {
        let identity = leaf.identity.clone();
        let is_new = !self.view.leaves.contains_key(&identity);
        if let Some(row) = put(&mut self.view.leaves, &identity, leaf, self.stamp) {
            self.rows.push((row_key(tag::LEAF, &identity), Some(Row::Leaf(row))));
            if is_new {
                self.count_leaf(identity.partition());
            }
            self.touch(Key::Leaf(identity));
        }
    }

    fn count_leaf(&mut self, partition: &Partition) {
        let count = self.view.certified.get(partition).copied().unwrap_or_default();
        self.view.certified.insert(partition.clone(), count + 1);
        if count == 0 {
            self.touch(Key::CertifiedPartitions);
        }
    }

    fn delete_leaf(&mut self, identity: &SpiffeId) {
        if self.view.leaves.remove(identity).is_some() {
            self.rows.push((row_key(tag::LEAF, identity), None));
            self.touch(Key::Leaf(identity.clone()));
            self.discount_leaf(identity.partition());
        }
    }

    fn discount_leaf(&mut self, partition: &Partition) {
        match self.view.certified.get(partition).copied().unwrap_or_default() {
            0 | 1 => {
                self.view.certified.remove(partition);
                self.touch(Key::CertifiedPartitions);
            }
            count => {
                self.view.certified.insert(partition.clone(), count - 1);
            }
        }
    }
}

fn named(place: &Place, service: &Service) -> ServiceKey {
    ServiceKey { datacenter: place.datacenter.clone(), service: service.full_name() }
}

fn destination(place: &Place, service: &Service) -> Option<ServiceKey> {
    service.mesh_destination().map(|service| ServiceKey { datacenter: place.datacenter.clone(), service })
}

/// Every row of a view as the backend keeps it, sorted by table.
pub(super) fn rows(view: &View) -> Vec<(Vec<u8>, Vec<u8>)> {
    // Every table is named, so that none can be forgotten; the rest follows from them.
    let View {
        index: _,
        floor: _,
        nodes,
        services,
        checks,
        entries,
        datacenters,
        partition_definitions,
        namespace_definitions,
        federation_states,
        peerings,
        trust_bundles,
        imported,
        queries,
        ca_config,
        roots,
        leaves,
        certified: _,
        by_name: _,
        by_destination: _,
        gateways: _,
        imported_by_destination: _,
        checks_of: _,
        changed: _,
        recent: _,
    } = view;
    let mut rows = Vec::new();
    rows.extend(table(tag::NODE, nodes));
    rows.extend(services.iter().map(|(id, row)| {
        let node = NodeKey::new(&id.place, &id.node);
        (row_key(tag::SERVICE, id), row_value(Some(&node), row))
    }));
    rows.extend(table(tag::CHECK, checks));
    rows.extend(entries.iter().map(|(key, row)| (entry_row_key(key), row_value(None, row))));
    rows.extend(table(tag::DATACENTER, datacenters));
    rows.extend(table(tag::PARTITION, partition_definitions));
    rows.extend(table(tag::NAMESPACE, namespace_definitions));
    rows.extend(table(tag::FEDERATION_STATE, federation_states));
    rows.extend(table(tag::PEERING, peerings));
    rows.extend(table(tag::TRUST_BUNDLE, trust_bundles));
    rows.extend(table(tag::IMPORTED, imported));
    rows.extend(table(tag::QUERY, queries));
    rows.extend(table(tag::CA_CONFIG, ca_config));
    rows.extend(table(tag::ROOT, roots));
    rows.extend(table(tag::LEAF, leaves));
    rows
}

fn table<K: Ord + Serialize, T: Serialize>(
    tag: u8,
    table: &OrdMap<K, Stored<T>>,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    table.iter().map(move |(key, row)| (row_key(tag, key), row_value(None, row)))
}

/// What the table of a row is called.
pub(super) fn table_name(key: &[u8]) -> &'static str {
    match key.first() {
        Some(&tag::NODE) => "Nodes",
        Some(&tag::SERVICE) => "Services",
        Some(&tag::CHECK) => "Checks",
        Some(&tag::ENTRY) => "ConfigEntries",
        Some(&tag::DATACENTER) => "Datacenters",
        Some(&tag::PARTITION) => "Partitions",
        Some(&tag::NAMESPACE) => "Namespaces",
        Some(&tag::CA_CONFIG) => "ConnectCAConfig",
        Some(&tag::FEDERATION_STATE) => "FederationStates",
        Some(&tag::PEERING) => "Peerings",
        Some(&tag::TRUST_BUNDLE) => "PeeringTrustBundles",
        Some(&tag::IMPORTED) => "Imported",
        Some(&tag::QUERY) => "PreparedQueries",
        Some(&tag::ROOT) => "ConnectCARoots",
        Some(&tag::LEAF) => "ConnectCALeaves",
        _ => "Unknown",
    }
}

/// What a change of a row is about.
pub(super) fn class(key: &[u8]) -> Class {
    match key.first() {
        Some(&(tag::NODE | tag::SERVICE)) => Class::Catalog,
        Some(&tag::CHECK) => Class::Health,
        Some(&tag::LEAF) => Class::Certificates,
        _ => Class::Config,
    }
}

/// What a row is called by people.
pub(super) fn row_name(key: &[u8]) -> String {
    let text = key.get(1..).unwrap_or_default();
    let name = || {
        Some(match key.first()? {
            &tag::NODE => of_key(text, |NodeKey { place, node }| format!("{place}/{node}"))?,
            &tag::SERVICE => of_key(text, |id: InstanceId| id.to_string())?,
            &tag::CHECK => of_key(text, |CheckKey { node, check }| format!("{}/{}/{check}", node.place, node.node))?,
            &tag::ENTRY => of_key(text, |(kind, name)| EntryKey { kind, name }.to_string())?,
            &tag::DATACENTER | &tag::FEDERATION_STATE => of_key(text, |name: Datacenter| name.to_string())?,
            &tag::PARTITION => of_key(text, |place: Place| place.to_string())?,
            &tag::NAMESPACE => of_key(text, |(partition, name): (Partition, Namespace)| format!("{partition}/{name}"))?,
            &tag::PEERING | &tag::TRUST_BUNDLE => of_key(text, |key: PeerKey| format!("{}/{}", key.place, key.name))?,
            &tag::IMPORTED => of_key(text, |ImportedKey { peer, node, id }| format!("{}/{node}/{id}", peer.name))?,
            &tag::QUERY => of_key(text, |key: QueryKey| format!("{}/{}", key.place, key.name))?,
            &tag::ROOT => of_key(text, |id: String| id)?,
            &tag::LEAF => of_key(text, |identity| match identity {
                SpiffeId::Service(key) => key.to_string(),
                SpiffeId::MeshGateway(place) => format!("mesh gateways of {place}"),
            })?,
            _ => String::new(),
        })
    };
    name().unwrap_or_else(|| String::from_utf8_lossy(text).into_owned())
}

fn of_key<K: serde::de::DeserializeOwned>(text: &[u8], name: impl FnOnce(K) -> String) -> Option<String> {
    serde_json::from_slice(text).ok().map(name)
}

/// The view that these rows make.
///
/// # Errors
/// All rows that cannot be understood. None is skipped: a store with less than it was told is no store.
pub(super) fn load(at: Index, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<View, StoreError> {
    let (view, bad) = load_most(at, rows);
    if bad.is_empty() { Ok(view) } else { Err(StoreError::Rows(bad)) }
}

/// The view that those of the rows make that can be understood, and the others.
pub(super) fn load_most(at: Index, rows: &[(Vec<u8>, Vec<u8>)]) -> (View, Vec<BadRow>) {
    let mut draft = Draft::of_rows(View::default(), at);
    let mut bad = Vec::new();
    for (key, value) in rows {
        match Row::read(key, value) {
            Ok(row) => draft.place(row),
            Err(source) => bad.push(BadRow { key: named_row(key), source }),
        }
    }
    (draft.into_state(), bad)
}
