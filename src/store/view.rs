//! The state after one commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use super::{CheckKey, Index, Key, NodeKey, Stored};
use crate::model::{
    CaConfig, Check, CheckId, ConfigEntry, Datacenter, EntryKey, FederationState, Imported, ImportedKey, InstanceId,
    Leaf, Namespace, NamespaceDefinition, Node, Partition, PartitionDefinition, PeerKey, PeerName, PeerTrustBundle,
    Peering, Place, QueryKey, QueryResult, Root, Service, ServiceKey, ServiceName, SpiffeId,
};

/// The state after one commit: tables, their secondary indexes, and the commit that last changed each key.
///
/// Cloning costs a reference count for each table.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub(super) index: Index,
    /// No key is older than this: what happened before the store was opened is not known key by key.
    pub(super) floor: Index,
    pub(super) nodes: OrdMap<NodeKey, Stored<Node>>,
    pub(super) services: OrdMap<InstanceId, Stored<Service>>,
    pub(super) checks: OrdMap<CheckKey, Stored<Check>>,
    pub(super) entries: OrdMap<EntryKey, Stored<ConfigEntry>>,
    /// Datacenters that are known whether or not they have rows.
    pub(super) datacenters: OrdMap<Datacenter, Stored<Datacenter>>,
    pub(super) partition_definitions: OrdMap<Place, Stored<PartitionDefinition>>,
    pub(super) namespace_definitions: OrdMap<(Partition, Namespace), Stored<NamespaceDefinition>>,
    pub(super) federation_states: OrdMap<Datacenter, Stored<FederationState>>,
    pub(super) peerings: OrdMap<PeerKey, Stored<Peering>>,
    pub(super) trust_bundles: OrdMap<PeerKey, Stored<PeerTrustBundle>>,
    pub(super) imported: OrdMap<ImportedKey, Stored<Imported>>,
    pub(super) queries: OrdMap<QueryKey, Stored<QueryResult>>,
    /// At most one row.
    pub(super) ca_config: OrdMap<(), Stored<CaConfig>>,
    pub(super) roots: OrdMap<String, Stored<Root>>,
    pub(super) leaves: OrdMap<SpiffeId, Stored<Leaf>>,
    /// How many leaves each partition has.
    pub(super) certified: OrdMap<Partition, usize>,
    /// Instances under their own name.
    pub(super) by_name: OrdMap<ServiceKey, OrdSet<InstanceId>>,
    /// Instances that accept mesh traffic for a service.
    pub(super) by_destination: OrdMap<ServiceKey, OrdSet<InstanceId>>,
    /// Mesh gateways by place.
    pub(super) gateways: OrdMap<Place, OrdSet<InstanceId>>,
    /// Imported instances that accept mesh traffic for a service, by peering and service.
    pub(super) imported_by_destination: OrdMap<(PeerKey, ServiceName), OrdSet<ImportedKey>>,
    /// Checks by what they judge; the empty service ID stands for the node.
    pub(super) checks_of: OrdMap<InstanceId, OrdSet<CheckId>>,
    pub(super) changed: OrdMap<Key, Index>,
    /// What the last commit, or the last group of them, changed; `None` for a state that none made.
    pub(super) recent: Option<Arc<Recent>>,
}

/// What differs from an earlier state, so that whoever saw that one need not compare.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    /// The commit that made the earlier state, which is not alone with it: drafts that were refused have it too.
    pub(super) since: Index,
    /// What had changed until then. Every commit changes some key, so with the commit it tells the state.
    pub(super) changed_until: OrdMap<Key, Index>,
    pub(super) keys: BTreeSet<Key>,
    pub(super) checks: BTreeSet<CheckKey>,
}

impl Recent {
    /// Takes over what was changed after it.
    pub(super) fn extend(&mut self, later: &Self) {
        self.keys.extend(later.keys.iter().cloned());
        self.checks.extend(later.checks.iter().cloned());
    }
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Nodes of every place.
    pub nodes: usize,
    /// Services, however many instances each has.
    pub services: usize,
    /// Instances of services.
    pub instances: usize,
    /// Peerings.
    pub peerings: usize,
    /// Leaf certificates.
    pub leaves: usize,
}

/// An instance with the node it is on and the checks that judge it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The instance.
    pub service: Stored<Service>,
    /// Its node.
    pub node: Stored<Node>,
    /// The node's checks, then its own, each sorted by ID.
    pub checks: Vec<Stored<Check>>,
}

impl From<&Stored<Imported>> for Instance {
    /// All parts of an imported instance are as new as the whole.
    fn from(row: &Stored<Imported>) -> Self {
        fn part<T>(row: &Stored<Imported>, value: &Arc<T>) -> Stored<T> {
            Stored { value: value.clone(), create_index: row.create_index, modify_index: row.modify_index }
        }
        Self {
            service: part(row, &row.value.service),
            node: part(row, &row.value.node),
            checks: row.value.checks.iter().map(|check| part(row, check)).collect(),
        }
    }
}

impl View {
    /// The commit that made this state.
    pub fn index(&self) -> Index {
        self.index
    }

    /// How many rows there are.
    pub fn counts(&self) -> Counts {
        Counts {
            nodes: self.nodes.len(),
            services: self.by_name.len(),
            instances: self.services.len(),
            peerings: self.peerings.len(),
            leaves: self.leaves.len(),
        }
    }

    /// The last commit that changed this part of the state.
    pub fn changed_at(&self, key: &Key) -> Index {
        self.changed.get(key).copied().unwrap_or_default().max(self.floor)
    }

    /// The keys that differ between `older` and this state, without looking at those that do not.
    pub fn changed_since<'v>(&'v self, older: &'v View) -> impl Iterator<Item = &'v Key> {
        let recent = self.recent_since(older);
        let compared = recent.is_none().then(|| older.changed.diff(&self.changed).map(new_key));
        recent.into_iter().flat_map(|recent| &recent.keys).chain(compared.into_iter().flatten())
    }

    /// The checks that differ between `older` and this state, without looking at those that do not.
    pub fn checks_changed_since<'v>(&'v self, older: &'v View) -> impl Iterator<Item = &'v CheckKey> {
        let recent = self.recent_since(older);
        let compared = recent.is_none().then(|| older.checks.diff(&self.checks).map(new_key));
        // What came and went again in one commit is as it was.
        let differs = |key: &&CheckKey| older.check(key) != self.check(key);
        let noted = recent.into_iter().flat_map(|recent| &recent.checks).filter(differs);
        noted.chain(compared.into_iter().flatten())
    }

    /// What differs from `older`, if that is the state of which this one knows it.
    fn recent_since(&self, older: &View) -> Option<&Recent> {
        let is_it = |recent: &&Recent| recent.since == older.index && recent.changed_until.ptr_eq(&older.changed);
        self.recent.as_deref().filter(is_it)
    }

    /// A node.
    pub fn node(&self, key: &NodeKey) -> Option<&Stored<Node>> {
        self.nodes.get(key)
    }

    /// The nodes of a place, sorted.
    pub fn nodes(&self, place: &Place) -> impl Iterator<Item = &Stored<Node>> {
        let from = NodeKey::new(place, &crate::model::NodeName::default());
        self.nodes.range(from..).take_while(move |(key, _)| key.place == *place).map(|(_, row)| row)
    }

    /// An instance's own row.
    pub fn service(&self, id: &InstanceId) -> Option<&Stored<Service>> {
        self.services.get(id)
    }

    /// The instances on a node, sorted by ID.
    pub fn services_on(&self, node: &NodeKey) -> impl Iterator<Item = &Stored<Service>> {
        let from = node.instance(&crate::model::ServiceId::default());
        let node = node.clone();
        self.services
            .range(from..)
            .take_while(move |(id, _)| id.place == node.place && id.node == node.node)
            .map(|(_, row)| row)
    }

    /// Every proxy of every place.
    pub fn proxies(&self) -> impl Iterator<Item = (&InstanceId, &Stored<Service>)> {
        self.services.iter().filter(|(_, row)| row.value.is_proxy())
    }

    /// A check.
    pub fn check(&self, key: &CheckKey) -> Option<&Stored<Check>> {
        self.checks.get(key)
    }

    /// The checks on a node, sorted by ID.
    pub fn checks_on(&self, node: &NodeKey) -> impl Iterator<Item = &Stored<Check>> {
        let from = CheckKey { node: node.clone(), check: CheckId::default() };
        let node = node.clone();
        self.checks.range(from..).take_while(move |(key, _)| key.node == node).map(|(_, row)| row)
    }

    /// Every check of every place.
    pub fn checks(&self) -> impl Iterator<Item = (&CheckKey, &Stored<Check>)> {
        self.checks.iter()
    }

    /// The checks that judge exactly this: an instance, or a node if the ID is empty.
    pub fn checks_of(&self, id: &InstanceId) -> impl Iterator<Item = &Stored<Check>> {
        let node = NodeKey::new(&id.place, &id.node);
        self.checks_of
            .get(id)
            .into_iter()
            .flatten()
            .filter_map(move |check| self.checks.get(&CheckKey { node: node.clone(), check: check.clone() }))
    }

    /// An instance with its node and checks; `None` if it or its node is gone.
    pub fn instance(&self, id: &InstanceId) -> Option<Instance> {
        let node_key = NodeKey::new(&id.place, &id.node);
        let of_node = node_key.instance(&crate::model::ServiceId::default());
        Some(Instance {
            service: self.services.get(id)?.clone(),
            node: self.nodes.get(&node_key)?.clone(),
            checks: self.checks_of(&of_node).chain(self.checks_of(id)).cloned().collect(),
        })
    }

    fn instances(&self, ids: Option<&OrdSet<InstanceId>>) -> Vec<Instance> {
        ids.into_iter().flatten().filter_map(|id| self.instance(id)).collect()
    }

    /// The instances of a service under its own name, sorted by node and ID.
    pub fn instances_named(&self, service: &ServiceKey) -> Vec<Instance> {
        self.instances(self.by_name.get(service))
    }

    /// The tags of a service's instances, sorted.
    pub fn tags_of(&self, service: &ServiceKey) -> BTreeSet<&str> {
        let instances = self.by_name.get(service).into_iter().flatten().filter_map(|id| self.services.get(id));
        instances.flat_map(|row| row.value.tags.iter().map(String::as_str)).collect()
    }

    /// The instances that accept mesh traffic for a service, sorted by node and ID.
    pub fn endpoints(&self, service: &ServiceKey) -> Vec<Instance> {
        self.instances(self.by_destination.get(service))
    }

    /// The mesh gateways of a place, sorted by node and ID.
    pub fn mesh_gateways(&self, place: &Place) -> Vec<Instance> {
        self.instances(self.gateways.get(place))
    }

    /// The services of a place, sorted.
    pub fn service_keys(&self, place: &Place) -> impl Iterator<Item = &ServiceKey> {
        keys_in(&self.by_name, place)
    }

    /// The services of a place that mesh traffic can reach, sorted.
    pub fn mesh_service_keys(&self, place: &Place) -> impl Iterator<Item = &ServiceKey> {
        keys_in(&self.by_destination, place)
    }

    /// The datacenters with nodes, and those that were made known without any; sorted.
    pub fn datacenters(&self) -> Vec<Datacenter> {
        let mut found: Vec<_> = self.datacenters.keys().cloned().collect();
        let mut next = self.place_from(&Place::new(&Datacenter::lowest(), &Partition::lowest()));
        while let Some(place) = next {
            next = self.place_from(&Place::new(&after(place.datacenter.as_str()), &Partition::lowest()));
            found.push(place.datacenter.clone());
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// True for a datacenter with nodes, and for one that was made known.
    pub fn knows_datacenter(&self, datacenter: &Datacenter) -> bool {
        let first = self.place_from(&Place::new(datacenter, &Partition::lowest()));
        self.datacenters.contains_key(datacenter) || first.is_some_and(|place| place.datacenter == *datacenter)
    }

    /// The first place with nodes, of this one and those that sort after it.
    fn place_from(&self, place: &Place) -> Option<&Place> {
        self.nodes.range(NodeKey::new(place, &crate::model::NodeName::lowest())..).next().map(|(key, _)| &key.place)
    }

    /// The datacenters that were made known, sorted.
    pub fn known_datacenters(&self) -> impl Iterator<Item = &Stored<Datacenter>> {
        self.datacenters.values()
    }

    /// The partitions of a datacenter with rows, sorted; always with the default one.
    pub fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition> {
        let mut found = vec![Partition::default()];
        let mut next = self.place_from(&Place::new(datacenter, &Partition::lowest()));
        while let Some(place) = next.filter(|place| place.datacenter == *datacenter) {
            next = self.place_from(&Place::new(datacenter, &after(place.partition.as_str())));
            found.push(place.partition.clone());
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What was said about the partitions of a datacenter, sorted by name.
    pub fn partition_definitions(
        &self,
        datacenter: &Datacenter,
    ) -> impl Iterator<Item = &Stored<PartitionDefinition>> + use<'_> {
        let datacenter = datacenter.clone();
        let from = Place::new(&datacenter, &Partition::lowest());
        self.partition_definitions
            .range(from..)
            .take_while(move |(place, _)| place.datacenter == datacenter)
            .map(|(_, row)| row)
    }

    /// The datacenters about whose partitions somebody said something.
    pub fn datacenters_with_partitions(&self) -> impl Iterator<Item = &Datacenter> {
        self.partition_definitions.keys().map(|place| &place.datacenter)
    }

    /// What was said about the namespaces of a partition, sorted by name.
    pub fn namespace_definitions(
        &self,
        partition: &Partition,
    ) -> impl Iterator<Item = &Stored<NamespaceDefinition>> + use<'_> {
        let partition = partition.clone();
        let from = (partition.clone(), Namespace::lowest());
        self.namespace_definitions.range(from..).take_while(move |((of, _), _)| *of == partition).map(|(_, row)| row)
    }

    /// A config entry.
    pub fn entry(&self, key: &EntryKey) -> Option<&Stored<ConfigEntry>> {
        self.entries.get(key)
    }

    /// Every config entry, sorted by kind and name.
    pub fn entries(&self) -> impl Iterator<Item = (&EntryKey, &Stored<ConfigEntry>)> {
        self.entries.iter()
    }

    /// The federation states, sorted by datacenter.
    pub fn federation_states(&self) -> impl Iterator<Item = &Stored<FederationState>> {
        self.federation_states.values()
    }

    /// The peerings of a place, sorted by name.
    pub fn peerings(&self, place: &Place) -> impl Iterator<Item = &Stored<Peering>> {
        of_place(&self.peerings, place)
    }

    /// Every peering of every place.
    pub fn all_peerings(&self) -> impl Iterator<Item = &Stored<Peering>> {
        self.peerings.values()
    }

    /// The trust bundle of a peering.
    pub fn trust_bundle(&self, peer: &PeerKey) -> Option<&Stored<PeerTrustBundle>> {
        self.trust_bundles.get(peer)
    }

    /// The trust bundles of the peerings of a place, sorted by peering.
    pub fn trust_bundles(&self, place: &Place) -> impl Iterator<Item = &Stored<PeerTrustBundle>> {
        of_place(&self.trust_bundles, place)
    }

    /// Everything that was imported through a peering, sorted by node and ID.
    pub fn imported_from<'v>(&'v self, peer: &PeerKey) -> impl Iterator<Item = &'v Stored<Imported>> + use<'v> {
        let (node, id) = Default::default();
        let from = ImportedKey { peer: peer.clone(), node, id };
        let peer = peer.clone();
        self.imported.range(from..).take_while(move |(key, _)| key.peer == peer).map(|(_, row)| row)
    }

    /// The services of a peer that mesh traffic can reach, sorted.
    pub fn imported_names(&self, peer: &PeerKey) -> impl Iterator<Item = &ServiceName> {
        let lowest = ServiceName { partition: Partition::lowest(), ..ServiceName::lowest(&peer.place.partition) };
        let peer = peer.clone();
        let from = (peer.clone(), lowest);
        self.imported_by_destination
            .range(from..)
            .map(|(key, _)| key)
            .take_while(move |(of, _)| *of == peer)
            .map(|(_, name)| name)
    }

    /// The instances that accept mesh traffic for a service of a peer, sorted by node and ID.
    pub fn imported(&self, peer: &PeerKey, service: &ServiceName) -> impl Iterator<Item = &Stored<Imported>> {
        let keys = self.imported_by_destination.get(&(peer.clone(), service.clone()));
        keys.into_iter().flatten().filter_map(|key| self.imported.get(key))
    }

    /// The results of the prepared queries of a place, sorted by name.
    pub fn queries(&self, place: &Place) -> impl Iterator<Item = &Stored<QueryResult>> {
        let place = place.clone();
        let from = QueryKey { place: place.clone(), name: String::new() };
        self.queries.range(from..).take_while(move |(key, _)| key.place == place).map(|(_, row)| row)
    }

    /// The results of a prepared query.
    pub fn query(&self, key: &QueryKey) -> Option<&Stored<QueryResult>> {
        self.queries.get(key)
    }

    /// The configuration of the CA, if somebody has written one.
    pub fn ca_config(&self) -> Option<&Stored<CaConfig>> {
        self.ca_config.get(&())
    }

    /// The roots of the CA, the active one first.
    pub fn roots(&self) -> Vec<&Stored<Root>> {
        let mut roots: Vec<_> = self.roots.values().collect();
        roots.sort_by_key(|root| (!root.value.active, root.create_index));
        roots
    }

    /// The root that signs.
    pub fn active_root(&self) -> Option<&Arc<Root>> {
        self.roots.values().map(|row| &row.value).find(|root| root.active)
    }

    /// The leaf of an identity.
    pub fn leaf(&self, identity: &SpiffeId) -> Option<&Stored<Leaf>> {
        self.leaves.get(identity)
    }

    /// Every leaf.
    pub fn leaves(&self) -> impl Iterator<Item = &Stored<Leaf>> {
        self.leaves.values()
    }

    /// The partitions that somebody has a certificate of, sorted.
    pub fn certified_partitions(&self) -> impl Iterator<Item = &Partition> {
        self.certified.keys()
    }
}

/// The key of a row that is there, is another one, or is gone.
fn new_key<'v, K, V>(item: DiffItem<'v, 'v, K, V>) -> &'v K {
    match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => key,
    }
}

/// The name that sorts next after this one. No name holds a zero byte.
fn after<N: From<String>>(name: &str) -> N {
    N::from(format!("{name}\0"))
}

/// The rows of the peerings of a place. Keys sort by place, so they stand together.
fn of_place<'v, T>(table: &'v OrdMap<PeerKey, Stored<T>>, place: &Place) -> impl Iterator<Item = &'v Stored<T>> {
    let place = place.clone();
    let from = PeerKey::new(&place, &PeerName::lowest());
    table.range(from..).take_while(move |(key, _)| key.place == place).map(|(_, row)| row)
}

/// The services of a place. Keys sort by datacenter, partition, namespace, name, so they stand together.
fn keys_in<'v>(
    index: &'v OrdMap<ServiceKey, OrdSet<InstanceId>>,
    place: &Place,
) -> impl Iterator<Item = &'v ServiceKey> {
    let place = place.clone();
    let from = ServiceKey {
        datacenter: place.datacenter.clone(),
        service: crate::model::ServiceName::lowest(&place.partition),
    };
    index
        .range(from..)
        .map(|(key, _)| key)
        .take_while(move |key| key.datacenter == place.datacenter && key.service.partition == place.partition)
}
