//! A store without indexes and without cleverness: tables only, every answer computed from all rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use meshgate::model::{
    CaConfig, Check, ConfigEntry, Datacenter, EntryKey, FederationState, Imported, ImportedKey, InstanceId, Leaf,
    Namespace, NamespaceDefinition, Node, Partition, PartitionDefinition, PeerKey, PeerTrustBundle, Peering, Place,
    QueryKey, QueryResult, Root, Service, ServiceId, ServiceKey, ServiceKind, ServiceName, SpiffeId,
};
use meshgate::store::{CheckKey, Index, NodeKey, Op};

/// A value with the commits that made it and last changed it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row<T> {
    pub(crate) value: T,
    pub(crate) create: Index,
    pub(crate) modify: Index,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) index: Index,
    pub(crate) nodes: BTreeMap<NodeKey, Row<Node>>,
    pub(crate) services: BTreeMap<InstanceId, Row<Service>>,
    pub(crate) checks: BTreeMap<CheckKey, Row<Check>>,
    pub(crate) entries: BTreeMap<EntryKey, Row<ConfigEntry>>,
    pub(crate) datacenters: BTreeMap<Datacenter, Row<Datacenter>>,
    pub(crate) partition_definitions: BTreeMap<Place, Row<PartitionDefinition>>,
    pub(crate) namespace_definitions: BTreeMap<(Partition, Namespace), Row<NamespaceDefinition>>,
    pub(crate) ca_config: BTreeMap<(), Row<CaConfig>>,
    pub(crate) federation_states: BTreeMap<Datacenter, Row<FederationState>>,
    pub(crate) peerings: BTreeMap<PeerKey, Row<Peering>>,
    pub(crate) trust_bundles: BTreeMap<PeerKey, Row<PeerTrustBundle>>,
    pub(crate) imported: BTreeMap<ImportedKey, Row<Imported>>,
    pub(crate) queries: BTreeMap<QueryKey, Row<QueryResult>>,
    pub(crate) roots: BTreeMap<String, Row<Root>>,
    pub(crate) leaves: BTreeMap<SpiffeId, Row<Leaf>>,
}

/// The commit that a row is changed by, and whether it is another one than that of the write.
type Stamp = (Index, bool);

fn put<K: Ord, T: PartialEq>(table: &mut BTreeMap<K, Row<T>>, key: K, value: T, (at, is_restored): Stamp) -> bool {
    let create = match table.get(&key) {
        Some(old) if old.value == value && (!is_restored || old.modify == at) => return false,
        Some(old) => old.create.min(at),
        None => at,
    };
    table.insert(key, Row { value, create, modify: at });
    true
}

impl Tables {
    /// Applies one commit. It raises the index if it changes anything, be it back and forth; the first one makes it 2.
    pub(crate) fn commit(&mut self, ops: &[Op]) {
        let restored = ops.iter().map(|op| if let Op::Restore(_, at) = op { *at } else { 0 }).max();
        let at = (self.index.max(1) + 1).max(restored.unwrap_or_default());
        let mut is_changed = false;
        for op in ops {
            is_changed |= self.apply(op.clone(), (at, false));
        }
        if is_changed {
            self.index = at;
        }
    }

    fn apply(&mut self, op: Op, at: Stamp) -> bool {
        match op {
            Op::Restore(op, at) => self.apply(*op, (at, true)),
            Op::PutNode(node) => {
                let key = NodeKey::new(&node.place(), &node.node);
                put(&mut self.nodes, key, node, at)
            }
            Op::DeleteNode(key) => {
                let before = self.rows();
                self.services.retain(|id, _| NodeKey::new(&id.place, &id.node) != key);
                self.checks.retain(|check, _| check.node != key);
                self.nodes.remove(&key);
                self.rows() != before
            }
            Op::PutService(node, service) => put(&mut self.services, node.instance(&service.id), service, at),
            Op::DeleteService(id) => {
                let before = self.rows();
                self.checks.retain(|key, row| key.node.instance(&row.value.service_id) != id);
                self.services.remove(&id);
                self.rows() != before
            }
            Op::PutCheck(check) => put(&mut self.checks, CheckKey::of(&check), check, at),
            Op::DeleteCheck(key) => self.checks.remove(&key).is_some(),
            Op::PutEntry(entry) => put(&mut self.entries, entry.key(), entry, at),
            Op::DeleteEntry(key) => self.entries.remove(&key).is_some(),
            Op::PutPeering(peering) => put(&mut self.peerings, peering.key(), peering, at),
            Op::DeletePeering(key) => {
                let before = self.rows();
                self.imported.retain(|instance, _| instance.peer != key);
                self.trust_bundles.remove(&key);
                self.peerings.remove(&key);
                self.rows() != before
            }
            Op::PutTrustBundle(bundle) => put(&mut self.trust_bundles, bundle.key(), bundle, at),
            Op::DeleteTrustBundle(key) => self.trust_bundles.remove(&key).is_some(),
            Op::PutImported(imported) => put(&mut self.imported, imported.key(), imported, at),
            Op::DeleteImported(key) => self.imported.remove(&key).is_some(),
            Op::PutDatacenter(datacenter) => put(&mut self.datacenters, datacenter.clone(), datacenter, at),
            Op::DeleteDatacenter(datacenter) => self.datacenters.remove(&datacenter).is_some(),
            Op::PutPartition(definition) => put(&mut self.partition_definitions, definition.place(), definition, at),
            Op::DeletePartition(place) => self.partition_definitions.remove(&place).is_some(),
            Op::PutNamespace(definition) => put(&mut self.namespace_definitions, definition.key(), definition, at),
            Op::DeleteNamespace(partition, namespace) => {
                self.namespace_definitions.remove(&(partition, namespace)).is_some()
            }
            Op::DeleteCaConfig => self.ca_config.remove(&()).is_some(),
            Op::PutCaConfig(config) => put(&mut self.ca_config, (), config, at),
            Op::PutFederationState(state) => put(&mut self.federation_states, state.datacenter.clone(), state, at),
            Op::DeleteFederationState(datacenter) => self.federation_states.remove(&datacenter).is_some(),
            Op::PutQuery(result) => put(&mut self.queries, result.key(), result, at),
            Op::DeleteQuery(key) => self.queries.remove(&key).is_some(),
            Op::PutRoot(root) => put(&mut self.roots, root.id.clone(), root, at),
            Op::DeleteRoot(id) => self.roots.remove(&id).is_some(),
            Op::PutLeaf(leaf) => put(&mut self.leaves, leaf.identity.clone(), leaf, at),
            Op::DeleteLeaf(identity) => self.leaves.remove(&identity).is_some(),
        }
    }

    fn rows(&self) -> usize {
        let catalog = self.nodes.len() + self.services.len() + self.checks.len();
        catalog + self.peerings.len() + self.trust_bundles.len() + self.imported.len()
    }

    /// Instances that `wanted` selects, as `instance` shows them, sorted by node and ID.
    pub(crate) fn instances(&self, wanted: impl Fn(&Place, &Service) -> bool) -> Vec<String> {
        let selected = self.services.iter().filter(|(id, row)| wanted(&id.place, &row.value));
        selected.filter_map(|(id, _)| self.instance(id)).collect()
    }

    /// An instance with its node, the node's checks and its own; nothing without its node.
    pub(crate) fn instance(&self, id: &InstanceId) -> Option<String> {
        let node = NodeKey::new(&id.place, &id.node);
        let mut checks = self.checks_of(&node.instance(&ServiceId::default()));
        if !id.id.as_str().is_empty() {
            checks.extend(self.checks_of(id));
        }
        Some(text(&(shown(self.services.get(id)?), shown(self.nodes.get(&node)?), checks)))
    }

    pub(crate) fn checks_of(&self, id: &InstanceId) -> Vec<String> {
        let judged = self.checks.iter().filter(|(key, row)| key.node.instance(&row.value.service_id) == *id);
        judged.map(|(_, row)| shown(row)).collect()
    }

    /// The services that `name` finds in the rows of a place, sorted, each once.
    pub(crate) fn keys(&self, place: &Place, name: impl Fn(&Service) -> Option<ServiceName>) -> Vec<ServiceKey> {
        let here = self.services.iter().filter(|(id, _)| id.place == *place);
        let key = |service| ServiceKey { datacenter: place.datacenter.clone(), service };
        let mut found: Vec<_> = here.filter_map(|(_, row)| name(&row.value)).map(key).collect();
        found.sort();
        found.dedup();
        found
    }

    /// The services of a place, each with the tags of its instances.
    pub(crate) fn tags(&self, place: &Place) -> BTreeMap<ServiceKey, BTreeSet<String>> {
        let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (_, row) in self.services.iter().filter(|(id, _)| id.place == *place) {
            let key = ServiceKey { datacenter: place.datacenter.clone(), service: row.value.full_name() };
            found.entry(key).or_default().extend(row.value.tags.clone());
        }
        found
    }

    pub(crate) fn datacenters(&self) -> Vec<Datacenter> {
        let with_nodes = self.nodes.keys().map(|key| key.place.datacenter.clone());
        let mut found: Vec<_> = with_nodes.chain(self.datacenters.keys().cloned()).collect();
        found.sort();
        found.dedup();
        found
    }

    pub(crate) fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition> {
        let here = self.nodes.keys().filter(|key| key.place.datacenter == *datacenter);
        let mut found: Vec<_> = here.map(|key| key.place.partition.clone()).chain([Partition::default()]).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// The service that connections to an instance reach, as the contract says it.
pub(crate) fn destination(service: &Service) -> Option<ServiceName> {
    let name = match service.kind {
        ServiceKind::ConnectProxy => &service.proxy.destination_service_name,
        ServiceKind::Typical if service.connect.native => &service.name,
        ServiceKind::Typical
        | ServiceKind::MeshGateway
        | ServiceKind::TerminatingGateway
        | ServiceKind::IngressGateway
        | ServiceKind::ApiGateway => return None,
    };
    Some(ServiceName::new(&service.partition, &service.namespace, name))
}

pub(crate) fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// A row in the words that the questions use.
pub(crate) fn shown<T: Debug>(row: &Row<T>) -> String {
    text(&(&row.value, row.create, row.modify))
}
