//! Random commits: the store answers as plain tables would, before and after it is reopened, and names what it changed.

use std::collections::BTreeSet;

use meshgate::model::entry::{ServiceDefaults, ServiceResolver};
use meshgate::model::{
    CaConfig, Check, CheckStatus, ConfigEntry, Datacenter, EntryKey, EntryKind, FederationState, HealthEntry, Imported,
    Leaf, Namespace, NamespaceDefinition, Node, PartitionDefinition, PeerTrustBundle, Peering, PeeringState,
    PrivateKey, QueryResult, Root, Service, ServiceId, ServiceKind, TrustDomain,
};
use meshgate::store::{Key, Op, Outcome, Snapshot, View};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use time::OffsetDateTime;

use super::model::Tables;
use super::questions::{self, ask, expected};
use super::{embedded, in_memory};

fn node() -> impl Strategy<Value = Op> {
    (select(questions::nodes()), 0..3u8).prop_map(|(key, address)| {
        Op::PutNode(Node {
            node: key.node.clone(),
            datacenter: key.place.datacenter.clone(),
            partition: key.place.partition.clone(),
            address: format!("10.0.0.{address}"),
            ..Node::default()
        })
    })
}

fn service() -> impl Strategy<Value = Op> {
    let kinds = vec![ServiceKind::Typical, ServiceKind::ConnectProxy, ServiceKind::MeshGateway];
    let names = || select(questions::SERVICES.to_vec());
    let parts = (select(questions::instances()), names(), names(), select(kinds), any::<bool>(), 0..2u8);
    parts.prop_map(|(id, name, destination, kind, native, tag)| {
        let node = meshgate::store::NodeKey::new(&id.place, &id.node);
        let mut service = Service {
            kind,
            id: id.id,
            name: name.to_owned(),
            tags: vec![format!("v{tag}")],
            partition: id.place.partition,
            ..Service::default()
        };
        service.connect.native = native && kind == ServiceKind::Typical;
        if kind == ServiceKind::ConnectProxy {
            service.proxy.destination_service_name = destination.to_owned();
        }
        Op::PutService(node, service)
    })
}

fn check() -> impl Strategy<Value = Op> {
    let judged = select(["", "api", "db", "web"].to_vec());
    let statuses = vec![CheckStatus::Passing, CheckStatus::Critical];
    (select(questions::checks()), judged, select(statuses)).prop_map(|(key, service, status)| {
        Op::PutCheck(Check {
            node: key.node.node,
            datacenter: key.node.place.datacenter,
            partition: key.node.place.partition,
            check_id: key.check,
            service_id: ServiceId::from(service),
            status,
            ..Check::default()
        })
    })
}

fn entry() -> impl Strategy<Value = Op> {
    (select(questions::names()), any::<bool>(), select(["http", "tcp"].to_vec())).prop_map(
        |(name, is_defaults, text)| {
            let (partition, text) = (name.partition, text.to_owned());
            let name = name.name.to_string();
            Op::PutEntry(if is_defaults {
                ConfigEntry::ServiceDefaults(ServiceDefaults { name, partition, protocol: text, ..Default::default() })
            } else {
                ConfigEntry::ServiceResolver(ServiceResolver {
                    name,
                    partition,
                    default_subset: text,
                    ..Default::default()
                })
            })
        },
    )
}

fn entry_key() -> impl Strategy<Value = EntryKey> {
    let kinds = vec![EntryKind::ServiceDefaults, EntryKind::ServiceResolver];
    (select(questions::names()), select(kinds)).prop_map(|(name, kind)| EntryKey { kind, name })
}

fn root() -> impl Strategy<Value = Op> {
    (select(["aa", "bb"].to_vec()), any::<bool>()).prop_map(|(id, active)| {
        Op::PutRoot(Root {
            id: id.to_owned(),
            name: "root".to_owned(),
            serial_number: 7,
            signing_key_id: "cc".to_owned(),
            cluster_id: "one".to_owned(),
            trust_domain: TrustDomain::from("one.consul"),
            not_before: OffsetDateTime::UNIX_EPOCH,
            not_after: OffsetDateTime::UNIX_EPOCH,
            cert_pem: "certificate".to_owned(),
            key_pem: PrivateKey::from("key".to_owned()),
            active,
            intermediates: Vec::new(),
            trusted_until: None,
        })
    })
}

fn leaf() -> impl Strategy<Value = Op> {
    (select(questions::identities()), 0..3u8).prop_map(|(identity, serial)| {
        Op::PutLeaf(Leaf {
            uri: identity.uri(&TrustDomain::from("one.consul")),
            identity,
            serial: format!("0{serial}"),
            root_id: "aa".to_owned(),
            not_before: OffsetDateTime::UNIX_EPOCH,
            not_after: OffsetDateTime::UNIX_EPOCH,
            cert_pem: "certificate".to_owned(),
            key_pem: PrivateKey::from("key".to_owned()),
        })
    })
}

fn datacenter() -> impl Strategy<Value = Datacenter> {
    // One of them never has a node.
    select(vec!["dc1", "dc2", "dc3"]).prop_map(Datacenter::from)
}

fn peering() -> impl Strategy<Value = Op> {
    let states = vec![PeeringState::Pending, PeeringState::Active];
    (select(questions::peers()), select(states)).prop_map(|(key, state)| {
        let (datacenter, partition) = (key.place.datacenter, key.place.partition);
        Op::PutPeering(Peering { datacenter, partition, name: key.name, state, ..Peering::default() })
    })
}

fn trust_bundle() -> impl Strategy<Value = Op> {
    (select(questions::peers()), 0..3u8).prop_map(|(key, root)| {
        Op::PutTrustBundle(PeerTrustBundle {
            datacenter: key.place.datacenter,
            partition: key.place.partition,
            peer: key.name,
            trust_domain: "two.consul".to_owned(),
            root_pems: vec![format!("root {root}")],
            ..PeerTrustBundle::default()
        })
    })
}

/// An application or the proxy that stands for one, as some catalog tells it.
fn told() -> impl Strategy<Value = HealthEntry> {
    let names = || select(questions::SERVICES.to_vec());
    let parts = (select(questions::NODES.to_vec()), names(), names(), any::<bool>(), any::<bool>(), 0..3u64);
    parts.prop_map(|(node, id, name, is_proxy, native, modify_index)| {
        let mut service = Service { id: ServiceId::from(id), name: name.to_owned(), ..Service::default() };
        if is_proxy {
            service.kind = ServiceKind::ConnectProxy;
            service.proxy.destination_service_name = name.to_owned();
        }
        service.connect.native = native && !is_proxy;
        let node = Node { node: node.into(), ..Node::default() };
        HealthEntry { node: node.into(), service: service.into(), checks: Vec::new(), modify_index }
    })
}

fn imported() -> impl Strategy<Value = Op> {
    (select(questions::peers()), told()).prop_map(|(key, told)| {
        Op::PutImported(Imported {
            datacenter: key.place.datacenter,
            partition: key.place.partition,
            peer: key.name,
            node: told.node,
            service: told.service,
            checks: told.checks,
        })
    })
}

fn federation_state() -> impl Strategy<Value = Op> {
    (datacenter(), vec(told(), 0..3))
        .prop_map(|(datacenter, mesh_gateways)| Op::PutFederationState(FederationState { datacenter, mesh_gateways }))
}

fn query() -> impl Strategy<Value = Op> {
    (select(questions::queries()), vec(told(), 0..3)).prop_map(|(key, nodes)| {
        let (datacenter, partition) = (key.place.datacenter, key.place.partition);
        Op::PutQuery(QueryResult { datacenter, partition, name: key.name, nodes })
    })
}

/// What operators say about tenants and the CA.
fn said() -> impl Strategy<Value = Op> {
    let tenant = || (select(questions::places()), select(questions::SERVICES.to_vec()), any::<bool>());
    prop_oneof![
        tenant().prop_map(|(place, description, disable_gossip)| {
            let (datacenter, name) = (place.datacenter, place.partition);
            Op::PutPartition(PartitionDefinition {
                datacenter,
                name,
                description: description.to_owned(),
                disable_gossip,
            })
        }),
        select(questions::places()).prop_map(Op::DeletePartition),
        tenant().prop_map(|(place, name, is_long)| {
            let (partition, name) = (place.partition, Namespace::from(name));
            let description = if is_long { "long" } else { "" }.to_owned();
            Op::PutNamespace(NamespaceDefinition { partition, name, description, ..Default::default() })
        }),
        tenant().prop_map(|(place, name, _)| Op::DeleteNamespace(place.partition, Namespace::from(name))),
        any::<bool>().prop_map(|force_without_cross_signing| {
            Op::PutCaConfig(CaConfig { force_without_cross_signing, ..CaConfig::default() })
        }),
    ]
}

/// What other control planes know.
fn from_elsewhere() -> impl Strategy<Value = Op> {
    prop_oneof![
        peering(),
        trust_bundle(),
        imported(),
        imported(),
        datacenter().prop_map(Op::PutDatacenter),
        federation_state(),
        query(),
    ]
}

fn gone_elsewhere() -> impl Strategy<Value = Op> {
    prop_oneof![
        select(questions::peers()).prop_map(Op::DeletePeering),
        select(questions::peers()).prop_map(Op::DeleteTrustBundle),
        select(questions::imported()).prop_map(Op::DeleteImported),
        datacenter().prop_map(Op::DeleteDatacenter),
        datacenter().prop_map(Op::DeleteFederationState),
        select(questions::queries()).prop_map(Op::DeleteQuery),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => from_elsewhere(),
        2 => gone_elsewhere(),
        2 => said(),
        2 => (prop_oneof![node(), service(), peering(), imported()], 1..20u64)
            .prop_map(|(op, at)| Op::Restore(Box::new(op), at)),
        3 => node(),
        6 => service(),
        4 => check(),
        2 => entry(),
        1 => root(),
        1 => leaf(),
        1 => select(questions::nodes()).prop_map(Op::DeleteNode),
        2 => select(questions::instances()).prop_map(Op::DeleteService),
        2 => select(questions::checks()).prop_map(Op::DeleteCheck),
        1 => entry_key().prop_map(Op::DeleteEntry),
        1 => select(questions::identities()).prop_map(Op::DeleteLeaf),
        1 => select(["aa", "bb"].to_vec()).prop_map(|id| Op::DeleteRoot(id.to_owned())),
        1 => Just(Op::DeleteCaConfig),
    ]
}

fn commits() -> impl Strategy<Value = Vec<Vec<Op>>> {
    vec(vec(op(), 1..6), 1..16)
}

/// The first question that the view answers otherwise than the tables.
fn difference(view: &View, tables: &Tables) -> Option<String> {
    let wrong = |question: &questions::Question| {
        let (got, wanted) = (ask(view, question).text, expected(tables, question));
        (got != wanted).then(|| format!("{question:?}\n  store:  {got}\n  tables: {wanted}"))
    };
    let by_reader = questions::all().iter().find_map(wrong);
    by_reader.or_else(|| {
        let judged = questions::instances().into_iter().find(|id| {
            let checks: Vec<_> = view
                .checks_of(id)
                .map(|row| format!("{:?}", (&row.value, row.create_index, row.modify_index)))
                .collect();
            checks != tables.checks_of(id)
        });
        judged.map(|id| format!("checks of {id}")).or_else(|| {
            let known = tables.datacenters();
            let all = questions::DATACENTERS.iter().chain(&["dc", "dc3", "dc4"]).map(|name| Datacenter::from(*name));
            let wrong = |datacenter: &Datacenter| view.knows_datacenter(datacenter) != known.contains(datacenter);
            all.into_iter().find(wrong).map(|datacenter| format!("is {datacenter} known"))
        })
    })
}

/// Runs a future of the store, whose writer is a thread of its own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn answers_are_those_of_plain_tables(commits in commits()) {
        block_on(async {
            let store = in_memory();
            let mut tables = Tables::default();
            for ops in commits {
                let before = tables.index;
                tables.commit(&ops);
                let outcome = store.write(ops).await.unwrap();
                let wanted = if tables.index == before { Outcome::Unchanged(before) } else { Outcome::Committed(tables.index) };
                prop_assert_eq!(outcome, wanted);
                prop_assert_eq!(store.view().index(), tables.index);
                prop_assert_eq!(difference(&store.view(), &tables), None);
            }
            Ok(())
        })?;
    }

    #[test]
    fn whoever_read_what_a_commit_changed_is_told(commits in commits()) {
        block_on(async {
            let store = in_memory();
            for ops in commits {
                let old = store.view();
                store.write(ops).await.unwrap();
                let new = store.view();
                let changed: BTreeSet<&Key> = new.changed_since(&old).collect();
                for question in questions::all() {
                    let (before, after) = (ask(&old, &question), ask(&new, &question));
                    if before.text != after.text {
                        prop_assert!(before.read.iter().any(|key| changed.contains(key)), "nobody told {question:?}");
                        prop_assert_eq!(after.index, new.index(), "{:?}", question);
                    }
                }
                let checks: Vec<_> = new.checks_changed_since(&old).cloned().collect();
                let differs = |key: &meshgate::store::CheckKey| old.check(key) != new.check(key);
                prop_assert_eq!(checks, questions::checks().into_iter().filter(differs).collect::<Vec<_>>());
            }
            Ok(())
        })?;
    }
}

proptest! {
    #[test]
    fn every_state_can_become_every_other_one(wanted in commits(), now in commits()) {
        let mut tables = Tables::default();
        wanted.iter().for_each(|ops| tables.commit(ops));
        let state = |commits: Vec<Vec<Op>>| commits.iter().fold(View::default(), |view, ops| view.after(ops));
        let wanted = Snapshot::of(&state(wanted), "wanted".to_owned()).to_archive().unwrap();
        let wanted = Snapshot::from_archive(&wanted).unwrap().view().unwrap();
        prop_assert_eq!(difference(&wanted, &tables), None);
        let now = state(now);

        let became = now.after(&now.to_become(&wanted).ops);

        prop_assert_eq!(became.to_become(&wanted).ops, Vec::new());
        let rows = |view: &View| {
            let mut rows = Snapshot::of(view, String::new()).tables();
            // A certificate that is still good stays.
            rows.remove("ConnectCALeaves");
            rows.into_iter().map(|(name, table)| (name, table.rows)).collect::<Vec<_>>()
        };
        prop_assert_eq!(rows(&became), rows(&wanted));
    }
}

proptest! {
    // Each case syncs to the disk a dozen times.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    #[test]
    fn a_reopened_store_gives_the_same_answers(commits in commits(), again in commits()) {
        block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut tables = Tables::default();
            for commits in [commits, again] {
                let (store, writer) = embedded(directory.path());
                prop_assert_eq!(store.view().index(), tables.index);
                prop_assert_eq!(difference(&store.view(), &tables), None);
                for ops in commits {
                    tables.commit(&ops);
                    store.write(ops).await.unwrap();
                }
                drop(store);
                writer.join().unwrap();
            }
            let (store, _) = embedded(directory.path());
            prop_assert_eq!(store.view().index(), tables.index);
            prop_assert_eq!(difference(&store.view(), &tables), None);
            Ok(())
        })?;
    }
}
