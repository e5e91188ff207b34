//! Everything that can be asked about a small world, put to a reader, a view and the plain tables.

use std::collections::{BTreeMap, BTreeSet};

use meshgate::model::{
    CheckId, Datacenter, EntryKey, EntryKind, Imported, ImportedKey, InstanceId, NodeName, Partition, PeerKey,
    PeerName, Place, QueryKey, Service, ServiceId, ServiceKey, ServiceKind, ServiceName, SpiffeId,
};
use meshgate::store::{CheckKey, Index, Instance, Key, NodeKey, Reader, Stored, View};

use super::model::{Row, Tables, destination, shown, text};

pub(crate) const DATACENTERS: [&str; 2] = ["dc1", "dc2"];
pub(crate) const PARTITIONS: [&str; 2] = ["default", "team-a"];
pub(crate) const NODES: [&str; 2] = ["n1", "n2"];
pub(crate) const SERVICES: [&str; 3] = ["api", "db", "web"];
pub(crate) const CHECKS: [&str; 2] = ["c1", "c2"];
pub(crate) const PEERS: [&str; 2] = ["east", "west"];

/// One question that a reader answers.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Datacenters,
    Partitions(Datacenter),
    Nodes(Place),
    Node(NodeKey),
    ServicesOn(NodeKey),
    ChecksOn(NodeKey),
    Service(InstanceId),
    ServiceKeys(Place),
    ServiceTags(Place),
    MeshServiceKeys(Place),
    InstancesNamed(ServiceKey),
    Endpoints(ServiceKey),
    MeshGateways(Place),
    Entry(EntryKey),
    Entries(EntryKind, Partition),
    EntriesOfKind(EntryKind),
    PartitionDefinitions(Datacenter),
    NamespaceDefinitions(Partition),
    CaConfig,
    FederationStates,
    Peerings(Place),
    TrustBundle(PeerKey),
    TrustBundles(Place),
    ImportedFrom(PeerKey),
    ImportedNames(PeerKey),
    Imported(PeerKey, ServiceName),
    Queries(Place),
    Query(QueryKey),
    Roots,
    ActiveRoot,
    Leaf(SpiffeId),
}

pub(crate) fn places() -> Vec<Place> {
    let all = DATACENTERS.iter().flat_map(|dc| PARTITIONS.iter().map(move |partition| (dc, partition)));
    all.map(|(dc, partition)| Place::new(&Datacenter::from(*dc), &Partition::from(*partition))).collect()
}

pub(crate) fn nodes() -> Vec<NodeKey> {
    let on = |place: Place| NODES.iter().map(move |node| NodeKey::new(&place, &NodeName::from(*node)));
    places().into_iter().flat_map(on).collect()
}

pub(crate) fn instances() -> Vec<InstanceId> {
    let on = |node: NodeKey| SERVICES.iter().map(move |id| node.instance(&ServiceId::from(*id)));
    nodes().into_iter().flat_map(on).collect()
}

pub(crate) fn checks() -> Vec<CheckKey> {
    let on = |node: NodeKey| CHECKS.iter().map(move |id| CheckKey { node: node.clone(), check: CheckId::from(*id) });
    nodes().into_iter().flat_map(on).collect()
}

pub(crate) fn names() -> Vec<ServiceName> {
    let of = |partition: &&str| {
        let partition = Partition::from(*partition);
        SERVICES.iter().map(move |name| ServiceName::new(&partition, &Default::default(), name))
    };
    PARTITIONS.iter().flat_map(of).collect()
}

pub(crate) fn services() -> Vec<ServiceKey> {
    let of = |dc: &&str| {
        let datacenter = Datacenter::from(*dc);
        names().into_iter().map(move |service| ServiceKey { datacenter: datacenter.clone(), service })
    };
    DATACENTERS.iter().flat_map(of).collect()
}

pub(crate) fn identities() -> Vec<SpiffeId> {
    let services = services().into_iter().map(SpiffeId::Service);
    services.chain(places().into_iter().map(SpiffeId::MeshGateway)).collect()
}

pub(crate) fn peers() -> Vec<PeerKey> {
    let of = |place: Place| PEERS.iter().map(move |name| PeerKey::new(&place, &PeerName::from(*name)));
    places().into_iter().flat_map(of).collect()
}

pub(crate) fn imported() -> Vec<ImportedKey> {
    let of = |peer: PeerKey| {
        NODES.iter().flat_map(move |node| {
            let peer = peer.clone();
            SERVICES.iter().map(move |id| ImportedKey {
                peer: peer.clone(),
                node: NodeName::from(*node),
                id: ServiceId::from(*id),
            })
        })
    };
    peers().into_iter().flat_map(of).collect()
}

pub(crate) fn queries() -> Vec<QueryKey> {
    let of =
        |place: Place| SERVICES.iter().map(move |name| QueryKey { place: place.clone(), name: (*name).to_owned() });
    places().into_iter().flat_map(of).collect()
}

/// Every question about the world.
pub(crate) fn all() -> Vec<Question> {
    let mut all = vec![
        Question::Datacenters,
        Question::FederationStates,
        Question::CaConfig,
        Question::Roots,
        Question::ActiveRoot,
    ];
    all.extend(DATACENTERS.iter().map(|dc| Question::PartitionDefinitions(Datacenter::from(*dc))));
    all.extend(PARTITIONS.iter().map(|partition| Question::NamespaceDefinitions(Partition::from(*partition))));
    all.extend(DATACENTERS.iter().map(|dc| Question::Partitions(Datacenter::from(*dc))));
    for place in places() {
        all.extend([
            Question::Nodes(place.clone()),
            Question::ServiceKeys(place.clone()),
            Question::ServiceTags(place.clone()),
            Question::MeshServiceKeys(place.clone()),
            Question::MeshGateways(place.clone()),
            Question::Peerings(place.clone()),
            Question::TrustBundles(place.clone()),
            Question::Queries(place),
        ]);
    }
    for peer in peers() {
        all.extend([
            Question::TrustBundle(peer.clone()),
            Question::ImportedFrom(peer.clone()),
            Question::ImportedNames(peer.clone()),
        ]);
        all.extend(names().into_iter().map(|name| Question::Imported(peer.clone(), name)));
    }
    all.extend(queries().into_iter().map(Question::Query));
    for node in nodes() {
        all.extend([Question::Node(node.clone()), Question::ServicesOn(node.clone()), Question::ChecksOn(node)]);
    }
    all.extend(instances().into_iter().map(Question::Service));
    for service in services() {
        all.extend([Question::InstancesNamed(service.clone()), Question::Endpoints(service)]);
    }
    for kind in [EntryKind::ServiceDefaults, EntryKind::ServiceResolver] {
        all.push(Question::EntriesOfKind(kind));
        all.extend(names().into_iter().map(|name| Question::Entry(EntryKey { kind, name })));
        all.extend(PARTITIONS.iter().map(|partition| Question::Entries(kind, Partition::from(*partition))));
    }
    all.extend(identities().into_iter().map(Question::Leaf));
    all
}

/// What a reader says, and what it says it depends on.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) index: Index,
    pub(crate) read: BTreeSet<Key>,
}

/// Puts a question to a view, through a reader.
pub(crate) fn ask(view: &View, question: &Question) -> Answer {
    let reader = Reader::new(view);
    let text = match question.clone() {
        Question::Datacenters => text(&reader.datacenters()),
        Question::Partitions(datacenter) => text(&reader.partitions(&datacenter)),
        Question::Nodes(place) => rows(reader.nodes(&place)),
        Question::Node(key) => rows(reader.node(&key)),
        Question::ServicesOn(key) => rows(reader.services_on(&key)),
        Question::ChecksOn(key) => rows(reader.checks_on(&key)),
        Question::Service(id) => rows(reader.service(&id)),
        Question::ServiceKeys(place) => text(&reader.service_keys(&place).collect::<Vec<_>>()),
        Question::ServiceTags(place) => text(&reader.service_tags(&place).into_iter().collect::<BTreeMap<_, _>>()),
        Question::MeshServiceKeys(place) => text(&reader.mesh_service_keys(&place).collect::<Vec<_>>()),
        Question::InstancesNamed(service) => text(&several(reader.instances_named(&service))),
        Question::Endpoints(service) => text(&several(reader.endpoints(&service))),
        Question::MeshGateways(place) => text(&several(reader.mesh_gateways(&place))),
        Question::Entry(key) => rows(reader.entry(&key)),
        Question::Entries(kind, partition) => rows(reader.entries(kind, &partition)),
        Question::EntriesOfKind(kind) => rows(reader.entries_of_kind(kind)),
        Question::PartitionDefinitions(datacenter) => rows(reader.partition_definitions(&datacenter)),
        Question::NamespaceDefinitions(partition) => rows(reader.namespace_definitions(&partition)),
        Question::CaConfig => rows(reader.ca_config()),
        Question::FederationStates => rows(reader.federation_states()),
        Question::Peerings(place) => rows(reader.peerings(&place)),
        Question::TrustBundle(peer) => rows(reader.trust_bundle(&peer)),
        Question::TrustBundles(place) => rows(reader.trust_bundles(&place)),
        Question::ImportedFrom(peer) => rows(reader.imported_from(&peer)),
        Question::ImportedNames(peer) => text(&reader.imported_names(&peer).collect::<Vec<_>>()),
        Question::Imported(peer, service) => rows(reader.imported(&peer, &service)),
        Question::Queries(place) => text(&reader.queries(&place).collect::<Vec<_>>()),
        Question::Query(key) => rows(reader.query(&key)),
        Question::Roots => rows(reader.roots()),
        Question::ActiveRoot => text(&reader.active_root()),
        Question::Leaf(identity) => rows(reader.leaf(&identity)),
    };
    Answer { text, index: reader.index(), read: reader.into_read_set() }
}

/// The same question, answered from the tables alone.
pub(crate) fn expected(tables: &Tables, question: &Question) -> String {
    let here = |wanted: &Place| {
        let wanted = wanted.clone();
        move |place: &Place| *place == wanted
    };
    match question.clone() {
        Question::Datacenters => text(&tables.datacenters()),
        Question::Partitions(datacenter) => text(&tables.partitions(&datacenter)),
        Question::Nodes(place) => text(
            &tables.nodes.iter().filter(|(key, _)| key.place == place).map(|(_, row)| shown(row)).collect::<Vec<_>>(),
        ),
        Question::Node(key) => text(&tables.nodes.get(&key).map(shown).into_iter().collect::<Vec<_>>()),
        Question::ServicesOn(node) => {
            let on = tables.services.iter().filter(|(id, _)| NodeKey::new(&id.place, &id.node) == node);
            text(&on.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::ChecksOn(node) => {
            let on = tables.checks.iter().filter(|(key, _)| key.node == node);
            text(&on.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::Service(id) => text(&tables.services.get(&id).map(shown).into_iter().collect::<Vec<_>>()),
        Question::ServiceKeys(place) => text(&tables.keys(&place, |service| Some(service.full_name()))),
        Question::ServiceTags(place) => text(&tables.tags(&place)),
        Question::MeshServiceKeys(place) => text(&tables.keys(&place, destination)),
        Question::InstancesNamed(key) => {
            let place = here(&key.place());
            text(&tables.instances(|at, service| place(at) && service.full_name() == key.service))
        }
        Question::Endpoints(key) => {
            let place = here(&key.place());
            text(&tables.instances(|at, service| place(at) && destination(service).as_ref() == Some(&key.service)))
        }
        Question::MeshGateways(wanted) => {
            let place = here(&wanted);
            text(&tables.instances(|at, service| place(at) && service.kind == ServiceKind::MeshGateway))
        }
        Question::Entry(key) => text(&tables.entries.get(&key).map(shown).into_iter().collect::<Vec<_>>()),
        Question::Entries(kind, partition) => {
            let wanted = tables.entries.iter().filter(|(key, _)| key.kind == kind && key.name.partition == partition);
            text(&wanted.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::EntriesOfKind(kind) => {
            let wanted = tables.entries.iter().filter(|(key, _)| key.kind == kind);
            text(&wanted.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::PartitionDefinitions(datacenter) => {
            let here = tables.partition_definitions.iter().filter(|(place, _)| place.datacenter == datacenter);
            text(&here.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::NamespaceDefinitions(partition) => {
            let here = tables.namespace_definitions.iter().filter(|((of, _), _)| *of == partition);
            text(&here.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::CaConfig => text(&tables.ca_config.values().map(shown).collect::<Vec<_>>()),
        Question::FederationStates => text(&tables.federation_states.values().map(shown).collect::<Vec<_>>()),
        Question::Peerings(place) => text(&of_place(&tables.peerings, &place)),
        Question::TrustBundle(peer) => {
            text(&tables.trust_bundles.get(&peer).map(shown).into_iter().collect::<Vec<_>>())
        }
        Question::TrustBundles(place) => text(&of_place(&tables.trust_bundles, &place)),
        Question::ImportedFrom(peer) => {
            let of = tables.imported.iter().filter(|(key, _)| key.peer == peer);
            text(&of.map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::ImportedNames(peer) => {
            let names = tables.imported.iter().filter(|(key, _)| key.peer == peer);
            let sorted: BTreeSet<_> = names.filter_map(|(_, row)| dialled(&row.value)).collect();
            text(&sorted.into_iter().collect::<Vec<_>>())
        }
        Question::Imported(peer, service) => {
            let of = |(key, row): &(&ImportedKey, &Row<Imported>)| {
                key.peer == peer && dialled(&row.value).as_ref() == Some(&service)
            };
            text(&tables.imported.iter().filter(of).map(|(_, row)| shown(row)).collect::<Vec<_>>())
        }
        Question::Queries(place) => {
            text(&tables.queries.keys().filter(|key| key.place == place).cloned().collect::<Vec<_>>())
        }
        Question::Query(key) => text(&tables.queries.get(&key).map(shown).into_iter().collect::<Vec<_>>()),
        Question::Roots => {
            let mut roots: Vec<_> = tables.roots.values().collect();
            roots.sort_by_key(|row| (!row.value.active, row.create));
            text(&roots.into_iter().map(shown).collect::<Vec<_>>())
        }
        Question::ActiveRoot => text(&tables.roots.values().map(|row| &row.value).find(|root| root.active)),
        Question::Leaf(identity) => text(&tables.leaves.get(&identity).map(shown).into_iter().collect::<Vec<_>>()),
    }
}

/// The rows of the peerings of a place.
fn of_place<T: std::fmt::Debug>(table: &BTreeMap<PeerKey, Row<T>>, place: &Place) -> Vec<String> {
    table.iter().filter(|(key, _)| key.place == *place).map(|(_, row)| shown(row)).collect()
}

/// The service that connections to an imported instance reach: one of ours by its partition.
fn dialled(imported: &Imported) -> Option<ServiceName> {
    let service = Service { partition: imported.partition.clone(), ..(*imported.service).clone() };
    destination(&service)
}

fn row<T: std::fmt::Debug>(row: &Stored<T>) -> String {
    text(&(&row.value, row.create_index, row.modify_index))
}

fn rows<'v, T: std::fmt::Debug + 'v>(rows: impl IntoIterator<Item = &'v Stored<T>>) -> String {
    text(&rows.into_iter().map(row).collect::<Vec<_>>())
}

fn several(instances: Vec<Instance>) -> Vec<String> {
    let show = |instance: &Instance| {
        let checks: Vec<_> = instance.checks.iter().map(row).collect();
        text(&(row(&instance.service), row(&instance.node), checks))
    };
    instances.iter().map(show).collect()
}
