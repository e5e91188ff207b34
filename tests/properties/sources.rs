//! Where resources come from: whoever makes a change that was named gets exactly what was claimed, from the store and the
//! engine themselves, and what was not named changes nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use meshgate::engine::{Effect, Leaves, ProvenanceAsked, Row};
use meshgate::envoy::json;
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType, Snapshot};
use meshgate::model::{InstanceId, NodeName, Partition, Place, ServiceId, TrustDomain};
use meshgate::store::{CheckKey, Op, Reader};
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use serde_json::Value;

use crate::support::mesh::{CLUSTER_ID, Mesh};
use crate::world::{Purpose, World, world};
use crate::{config, engine_options, runtime, snapshots, write};

/// How many times as many meshes are looked at where something was seen too rarely.
const ROUNDS: usize = 6;

/// Resources of a mesh that are looked at, and effects of each that are tried.
const RESOURCES: usize = 4;
const EFFECTS: usize = 6;

fn instance(node: &NodeIdentity) -> InstanceId {
    InstanceId {
        place: Place::new(&(&*node.datacenter).into(), &Partition::from(&*node.partition)),
        node: NodeName::from(&*node.node_name),
        id: ServiceId::from(&*node.id),
    }
}

async fn resource(mesh: &Mesh, proxy: &NodeIdentity, (kind, name): (ResourceType, &str)) -> Option<Value> {
    let found = snapshots(mesh, &BTreeSet::from([proxy.clone()])).await;
    shown(&found[proxy], (kind, name))
}

fn shown(snapshot: &Snapshot, (kind, name): (ResourceType, &str)) -> Option<Value> {
    let resource = snapshot.get(kind).get(name)?;
    Some(json::resource(kind, &resource.body).expect("it can be shown"))
}

/// What a change does, by making it.
async fn seen(
    (mesh, world): (&Mesh, &World),
    proxy: &NodeIdentity,
    wanted: (ResourceType, &str),
    effect: &Effect,
) -> Option<Option<BTreeMap<String, Value>>> {
    let view = mesh.store.view();
    let now = resource(mesh, proxy, wanted).await?;
    mesh.store.write(vec![effect.change.op(&view)?]).await.expect("what is named can be done");
    let newer = resource(mesh, proxy, wanted).await;
    if effect.change.row.read(&Reader::new(&view)).is_none() {
        mesh.store.write(vec![effect.change.row.removal()?]).await.expect("it can be undone");
    }
    // Other rows can have gone with the one.
    write(mesh, world.rows()).await;
    Some(newer.map(|newer| Leaves::of(&now).differences(&Leaves::of(&newer))))
}

async fn claims_hold(world: World, counts: &RefCell<BTreeMap<&'static str, u32>>) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, world.rows()).await;
    let (options, trust_domain) = (engine_options(), TrustDomain::of_cluster(CLUSTER_ID));
    let all = snapshots(&mesh, &world.proxies()).await;
    let kinds = [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener, ResourceType::Route];
    let resources = all.iter().flat_map(|(proxy, snapshot)| {
        kinds.into_iter().flat_map(move |kind| snapshot.get(kind).keys().map(move |name| (proxy, kind, name.clone())))
    });
    let resources: Vec<_> = resources.collect();
    let step = (resources.len() / RESOURCES).max(1);
    for (proxy, kind, name) in resources.into_iter().step_by(step) {
        let (id, view) = (instance(proxy), mesh.store.view());
        let asked = ProvenanceAsked { options: &options, trust_domain: &trust_domain, proxy: &id, kind };
        let Some(found) = asked.provenance(&view, &name) else {
            return Err(TestCaseError::fail(format!("{kind} {name} of {id} cannot be explained")));
        };
        let wanted = (kind, &*name);
        let sent = shown(&all[proxy], wanted);
        prop_assert_eq!(Some(&found.resource), sent.as_ref());
        let step = (found.effects.len() / EFFECTS).max(1);
        for effect in found.effects.iter().step_by(step) {
            let seen = seen((&mesh, &world), proxy, wanted, effect).await;
            let claimed = (!effect.is_end()).then(|| effect.leaves.clone());
            prop_assert_eq!(seen, Some(claimed), "{} {} of {}: {:?}", kind, name, id, effect.change);
            *counts.borrow_mut().entry(if effect.is_end() { "ends" } else { "changes" }).or_default() += 1;
        }
        nothing_else_matters(&mesh, &world, (proxy, wanted), &found.effects, counts).await?;
    }
    Ok(())
}

/// Takes entries and checks away that were not named.
async fn nothing_else_matters(
    mesh: &Mesh,
    world: &World,
    (proxy, wanted): (&NodeIdentity, (ResourceType, &str)),
    effects: &[Effect],
    counts: &RefCell<BTreeMap<&'static str, u32>>,
) -> Result<(), TestCaseError> {
    let named: BTreeSet<&Row> = effects.iter().map(|effect| &effect.change.row).collect();
    let row = |op: &Op| {
        if let Op::PutEntry(entry) = op {
            return Some((Row::Entry(entry.key()), op.clone()));
        }
        let Op::PutCheck(check) = op else { return None };
        Some((Row::Check(CheckKey::of(check)), op.clone()))
    };
    let others: Vec<_> = world.iter().filter_map(row).filter(|(row, _)| !named.contains(row)).collect();
    let now = resource(mesh, proxy, wanted).await;
    let step = (others.len() / 3).max(1);
    for (row, back) in others.into_iter().step_by(step) {
        let Some(removal) = row.removal() else { continue };
        if mesh.store.write(vec![removal]).await.is_err() {
            continue;
        }
        let then = resource(mesh, proxy, wanted).await;
        mesh.store.write(vec![back]).await.expect("it can be undone");
        prop_assert!(now == then, "{:?} was not named: {:#?}\n{:#?}", row, now, then);
        *counts.borrow_mut().entry("is left alone").or_default() += 1;
    }
    Ok(())
}

#[test]
fn whoever_changes_a_source_gets_exactly_what_was_claimed() {
    let counts: RefCell<BTreeMap<&str, u32>> = RefCell::default();
    let wanted = [("changes", 10), ("ends", 1), ("is left alone", 5)];
    // More meshes until everything was seen often enough to mean something.
    for _ in 0..ROUNDS {
        let found = TestRunner::new(config(15))
            .run(&world(Purpose::Everything), |world| runtime().block_on(claims_hold(world, &counts)));
        match found {
            Ok(()) => {}
            Err(TestError::Abort(reason)) => panic!("{reason}"),
            Err(TestError::Fail(reason, mesh)) => panic!("{reason}\nin {mesh:?}"),
        }
        let counts = counts.borrow();
        if wanted.iter().all(|(what, at_least)| counts.get(what).is_some_and(|seen| seen >= at_least)) {
            return;
        }
    }
    panic!("seen too rarely: {:?}", counts.borrow());
}
