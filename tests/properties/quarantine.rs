//! One bad part costs nothing but itself: N valid parts and a bad one are the N valid ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshgate::envoy::snapshot::{NodeIdentity, ResourceType, Snapshot};
use meshgate::model::{OpaqueConfig, Service, ServiceKind};
use meshgate::store::Op;
use proptest::prelude::{Strategy, any};
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, prop_assume};
use serde_json::json;

use crate::support::mesh::{Mesh, Watched};
use crate::world::{self, Purpose, World};
use crate::{Fence, engine_options, snapshots, without_secrets, write};

/// Documents that are none of what they stand for, each in a way of its own.
const DOCUMENTS: [&str; 6] = [
    "nonsense",
    "{}",
    "[]",
    "null",
    r#"{"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "x"}"#,
    r#"{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "x", "no_such_field": 1}"#,
];
/// The hatches of a sidecar, and of an upstream of it.
const OF_SIDECAR: [&str; 2] = ["envoy_public_listener_json", "envoy_local_cluster_json"];
const OF_UPSTREAM: [&str; 2] = ["envoy_listener_json", "envoy_cluster_json"];

/// A bad hatch for some sidecar of a mesh.
#[derive(Debug, Clone)]
pub(crate) struct Spoil {
    sidecar: Index,
    upstream: Index,
    of_upstream: bool,
    hatch: usize,
    document: &'static str,
}

/// A mesh, and a bad hatch for it.
pub(crate) fn spoiled() -> impl Strategy<Value = (World, Spoil)> {
    let spoil = (any::<Index>(), any::<Index>(), any::<bool>(), 0..2usize, select(DOCUMENTS.to_vec()));
    let spoil = spoil.prop_map(|(sidecar, upstream, of_upstream, hatch, document)| Spoil {
        sidecar,
        upstream,
        of_upstream,
        hatch,
        document,
    });
    (world::world(Purpose::Everything), spoil)
}

impl Spoil {
    /// The row of the sidecar that is spoiled; `None` in a mesh without one.
    fn row<'w>(&self, rows: &'w [Op]) -> Option<(usize, &'w Op)> {
        let is_sidecar = |op: &&Op| matches!(op, Op::PutService(_, it) if it.kind == ServiceKind::ConnectProxy);
        let sidecars: Vec<_> = rows.iter().enumerate().filter(|(_, op)| is_sidecar(op)).collect();
        (!sidecars.is_empty()).then(|| sidecars[self.sidecar.index(sidecars.len())])
    }

    /// The sidecar with the bad hatch, and the name of the hatch.
    fn applied(&self, op: &Op) -> (Op, &'static str) {
        let Op::PutService(node, service) = op else { unreachable!("the row of a sidecar") };
        let mut service = service.clone();
        let (config, hatch) = self.place(&mut service);
        config.insert(hatch.to_owned(), json!(self.document));
        (Op::PutService(node.clone(), service), hatch)
    }

    fn place<'s>(&self, service: &'s mut Service) -> (&'s mut OpaqueConfig, &'static str) {
        let proxy = &mut service.proxy;
        if self.of_upstream && !proxy.upstreams.is_empty() {
            let count = proxy.upstreams.len();
            return (&mut proxy.upstreams[self.upstream.index(count)].config, OF_UPSTREAM[self.hatch]);
        }
        (&mut proxy.config, OF_SIDECAR[self.hatch])
    }
}

/// What a sidecar should have for a local cluster that an operator gives.
fn given_cluster(op: &Op) -> Op {
    let Op::PutService(node, service) = op else { unreachable!("the row of a sidecar") };
    let mut service = service.clone();
    let cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "local_app", "type": "STATIC", "connect_timeout": "7s",
        "load_assignment": {"cluster_name": "local_app", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}}},
        ]}]},
    });
    service.proxy.config.insert("envoy_local_cluster_json".to_owned(), json!(cluster.to_string()));
    Op::PutService(node.clone(), service)
}

/// A mesh that is written with the bad hatch has what it has without it, less what the hatch stands for and what leads there:
/// where there was nothing, there is nothing.
pub(crate) async fn a_bad_part_costs_only_itself(world: World, spoil: Spoil) -> Result<(), TestCaseError> {
    let rows = world.rows();
    let found = spoil.row(&rows);
    prop_assume!(found.is_some());
    let Some((position, sidecar)) = found else { return Ok(()) };
    let Op::PutService(node, service) = sidecar else { unreachable!("the row of a sidecar") };
    let (valid, bad) = (Mesh::start(engine_options()).await, Mesh::start(engine_options()).await);
    let mut with_bad = rows.clone();
    with_bad[position] = spoil.applied(sidecar).0;
    write(&valid, rows.clone()).await;
    write(&bad, with_bad).await;

    let expected = without_secrets(snapshots(&valid, &world.proxies()).await);
    let found = without_secrets(snapshots(&bad, &world.proxies()).await);
    for (of @ (proxy, _), contents) in &found {
        let wanted = &expected[of];
        if *proxy.id == *service.id.as_str() && *proxy.node_name == *node.node.as_str() {
            // Whom the missing part trusts is told all the same.
            let is_foreign = |it: &&(String, _)| of.1 != ResourceType::Secret && !wanted.contains(it);
            let foreign: Vec<_> = contents.iter().filter(is_foreign).map(|(name, _)| name).collect();
            prop_assert!(foreign.is_empty(), "{:?} has {:?}", of, foreign);
        } else {
            prop_assert_eq!(contents, wanted, "{:?}", of);
        }
    }
    Ok(())
}

/// Who is connected when a part goes bad keeps every byte, the last good version of that part included; and it is told.
pub(crate) async fn a_part_that_goes_bad_stays_as_it_was(world: World, spoil: Spoil) -> Result<(), TestCaseError> {
    let rows = world.rows();
    let found = spoil.row(&rows);
    prop_assume!(found.is_some());
    let Some((_, sidecar)) = found else { return Ok(()) };
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, rows.clone()).await;
    let mut watched = BTreeMap::new();
    for proxy in world.proxies() {
        watched.insert(proxy.clone(), Watched::new(&mesh.engine, &proxy));
    }
    let mut fence = Fence::new(&mesh).await;
    let mut held: BTreeMap<NodeIdentity, Arc<Snapshot>> = BTreeMap::new();
    for (proxy, watched) in &mut watched {
        held.insert(proxy.clone(), watched.next().await);
    }

    // A hatch that is right concerns its sidecar and one cluster of it.
    let good = given_cluster(sidecar);
    mesh.store.write(vec![good.clone()]).await.expect("it is accepted");
    fence.pass(&mesh).await;
    let came: Vec<_> = watched.iter_mut().filter_map(|(proxy, it)| Some((proxy.clone(), it.came()?))).collect();
    prop_assert_eq!(came.len(), 1);
    for (proxy, snapshot) in came {
        for kind in ResourceType::ALL {
            let (new, old) = (snapshot.get(kind), held[&proxy].get(kind));
            let differs = new.iter().filter(|(name, resource)| old.get(name) != Some(*resource));
            let differs: Vec<_> = differs.map(|(name, _)| name.to_string()).collect();
            let expected: &[&str] = if kind == ResourceType::Cluster { &["local_app"] } else { &[] };
            prop_assert_eq!(differs, expected);
        }
        held.insert(proxy, snapshot);
    }

    // The same hatch goes bad, or another one of the sidecar does.
    let (bad, hatch) = spoil.applied(&good);
    mesh.store.write(vec![bad]).await.expect("a hatch is judged when it is used");
    fence.pass(&mesh).await;
    for (proxy, watched) in &mut watched {
        // That something could not be made is news, for a client that holds it from somebody else, as is whom it trusts.
        let Some(came) = watched.came() else { continue };
        for kind in ResourceType::ALL {
            let (new, old) = (came.get(kind), held[proxy].get(kind));
            let kept = old.iter().filter(|(name, resource)| new.get(name) == Some(*resource)).count();
            prop_assert_eq!(kept, old.len(), "{:?} of {:?} for {}", kind, proxy, hatch);
            prop_assert!(kind == ResourceType::Secret || new.len() == kept, "{:?} of {:?} for {}", kind, proxy, hatch);
        }
    }
    if OF_SIDECAR.contains(&hatch) {
        let offline = mesh.engine.offline().await.expect("the engine runs");
        let problems: Vec<_> = offline.configurations().into_values().flat_map(|it| it.problems).collect();
        prop_assert!(problems.iter().any(|problem| problem.contains(hatch)), "{hatch}: {problems:?}");
    }
    Ok(())
}
