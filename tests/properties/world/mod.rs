//! Random small meshes, as rows.

mod catalog;
mod elsewhere;
mod entries;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use meshgate::envoy::snapshot::NodeIdentity;
use meshgate::model::{Datacenter, Node, NodeName, Partition, Place, Proxy, Service, ServiceId, ServiceKind};
use meshgate::store::{CheckKey, NodeKey, Op};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy};
use serde_json::json;

pub(crate) use topology::proxy_name;

/// Datacenter and partition.
const PLACES: [(&str, &str); 4] = [("dc1", "default"), ("dc1", "team-a"), ("dc2", "default"), ("dc2", "team-a")];
/// A service may lead to those before it that speak what it speaks, never the other way, so that nothing goes in circles.
const SERVICES: [&str; 4] = ["api", "cache", "db", "web"];
/// Nothing leads to it and it leads nowhere, so that it can be exported to peers whatever else there is.
const SHOP: &str = "shop";
/// The only peering of each place.
const PEER: &str = "alpha";
/// The only prepared query of each place.
const QUERY: &str = "db";
/// Those that speak HTTP, in every partition, so that no chain changes its protocol on the way.
pub(crate) const HTTP_SERVICES: [&str; 2] = ["api", "web"];

/// The rows of a mesh by a name of their own, so that two meshes can be compared row by row.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct World(BTreeMap<String, Op>);

/// One line for each row, without what is not set.
impl fmt::Debug for World {
    #[allow(clippy::wildcard_enum_match_arm, reason = "every other row is shown as it is")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in self.iter() {
            let row = match op {
                Op::PutNode(node) => json!(node),
                Op::PutService(node, service) => json!({ "Service": service, "Node": format!("{node:?}") }),
                Op::PutCheck(check) => json!(check),
                Op::PutEntry(entry) => json!(entry),
                other => json!(format!("{other:?}")),
            };
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

impl World {
    fn new(ops: impl IntoIterator<Item = Op>) -> Self {
        Self(ops.into_iter().map(|op| (format!("{:?}", removal(&op)), op)).collect())
    }

    /// Every row.
    pub(crate) fn rows(&self) -> Vec<Op> {
        self.0.values().cloned().collect()
    }

    /// Every row, where it is.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Op> {
        self.0.values()
    }

    /// What turns this mesh into another one.
    pub(crate) fn changes_to(&self, other: &Self) -> Vec<Op> {
        let gone = self.0.iter().filter(|(name, _)| !other.0.contains_key(*name)).map(|(_, op)| removal(op));
        let new = other.0.iter().filter(|(name, op)| self.0.get(*name) != Some(*op)).map(|(_, op)| op.clone());
        gone.chain(new).collect()
    }

    /// The proxies that are registered, sorted.
    pub(crate) fn proxies(&self) -> BTreeSet<NodeIdentity> {
        let proxy = |op: &Op| {
            let Op::PutService(node, service) = op else { return None };
            service.is_proxy().then(|| identity(node, service))
        };
        self.0.values().filter_map(proxy).collect()
    }
}

/// What takes the row of `op` away.
fn removal(op: &Op) -> Op {
    match op {
        Op::PutNode(node) => Op::DeleteNode(NodeKey::new(&node.place(), &node.node)),
        Op::PutService(node, service) => Op::DeleteService(node.instance(&service.id)),
        Op::PutCheck(check) => Op::DeleteCheck(CheckKey::of(check)),
        Op::PutEntry(entry) => Op::DeleteEntry(entry.key()),
        Op::Restore(op, _) => removal(op),
        Op::PutPeering(peering) => Op::DeletePeering(peering.key()),
        Op::PutTrustBundle(bundle) => Op::DeleteTrustBundle(bundle.key()),
        Op::PutImported(imported) => Op::DeleteImported(imported.key()),
        Op::PutDatacenter(datacenter) => Op::DeleteDatacenter(datacenter.clone()),
        Op::PutPartition(definition) => Op::DeletePartition(definition.place()),
        Op::PutNamespace(definition) => Op::DeleteNamespace(definition.partition.clone(), definition.name.clone()),
        Op::PutFederationState(state) => Op::DeleteFederationState(state.datacenter.clone()),
        Op::PutQuery(result) => Op::DeleteQuery(result.key()),
        Op::DeleteNode(_)
        | Op::DeleteService(_)
        | Op::DeleteCheck(_)
        | Op::DeleteEntry(_)
        | Op::DeletePeering(_)
        | Op::DeleteTrustBundle(_)
        | Op::DeleteImported(_)
        | Op::DeleteDatacenter(_)
        | Op::DeletePartition(_)
        | Op::DeleteNamespace(..)
        | Op::DeleteFederationState(_)
        | Op::DeleteQuery(_) => unreachable!("no row"),
        Op::PutCaConfig(_)
        | Op::DeleteCaConfig
        | Op::PutRoot(_)
        | Op::DeleteRoot(_)
        | Op::PutLeaf(_)
        | Op::DeleteLeaf(_) => {
            unreachable!("the authority alone reads them")
        }
    }
}

fn place(index: usize) -> Place {
    let (datacenter, partition) = PLACES[index];
    Place::new(&Datacenter::from(datacenter), &Partition::from(partition))
}

/// What a mesh is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Little of everything, also of what is elsewhere.
    Everything,
    /// So much that most upstreams lead somewhere, and nothing that the rules here do not speak about.
    Paths,
}

/// A mesh.
pub(crate) fn world(purpose: Purpose) -> impl Strategy<Value = World> {
    let (resolvers, routings, defaults, intentions) = match purpose {
        Purpose::Everything => (0..4, 0..3, 0..7, 0..3),
        Purpose::Paths => (1..7, 0..5, 3..10, 0..4),
    };
    let places = [0, 1, 2, 3].map(|index| catalog::place_rows(index, purpose));
    let entries = (
        vec(entries::resolver(), resolvers),
        vec(entries::routing(), routings),
        vec(entries::defaults(), defaults),
        vec(entries::intentions(), intentions),
        entries::exports(purpose),
    );
    let elsewhere = match purpose {
        Purpose::Everything => {
            let all = ([0, 1, 2, 3].map(elsewhere::peering), elsewhere::federation(), elsewhere::servers(0));
            let all = all.prop_map(|(peerings, federation, servers)| {
                peerings.into_iter().chain([federation, servers]).flatten().collect()
            });
            all.boxed()
        }
        Purpose::Paths => Just(Vec::new()).boxed(),
    };
    (places, entries, elsewhere).prop_map(|(places, entries, elsewhere)| {
        let (resolvers, routings, defaults, intentions, exports) = entries;
        let entries = [resolvers, routings, defaults, intentions, exports, elsewhere].into_iter().flatten();
        World::new(places.into_iter().flatten().chain(entries::protocols()).chain(entries))
    })
}

/// A sidecar that sorts after all others, and that concerns nobody: its service is neither called nor exported.
pub(crate) fn fence(port: u16) -> (Vec<Op>, NodeIdentity) {
    let place = place(PLACES.len() - 1);
    let name = NodeName::from("zz");
    let node = Node {
        node: name.clone(),
        address: "10.9.0.1".to_owned(),
        datacenter: place.datacenter.clone(),
        partition: place.partition.clone(),
        ..Node::default()
    };
    let mut service = Service {
        kind: ServiceKind::ConnectProxy,
        id: ServiceId::from("fence"),
        name: "fence-sidecar-proxy".to_owned(),
        port,
        partition: place.partition.clone(),
        proxy: Proxy { destination_service_name: "fence".to_owned(), ..Proxy::default() },
        ..Service::default()
    };
    service.normalize();
    let key = NodeKey::new(&place, &name);
    let identity = identity(&key, &service);
    (vec![Op::PutNode(node), Op::PutService(key, service)], identity)
}

/// How the Envoy of a proxy calls itself.
pub(crate) fn identity(node: &NodeKey, service: &Service) -> NodeIdentity {
    NodeIdentity {
        id: service.id.as_str().into(),
        datacenter: node.place.datacenter.as_str().into(),
        partition: node.place.partition.as_str().into(),
        namespace: "".into(),
        node_name: node.node.as_str().into(),
    }
}
