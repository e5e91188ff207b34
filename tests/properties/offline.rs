//! What is computed without streams is what a running engine sends, for a state and for what comes after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshgate::codec;
use meshgate::engine::{Configuration, Offline};
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType, Snapshot};
use meshgate::model::{BundleAgent, InstanceId, Place};
use meshgate::store::{Op, View};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use crate::support::mesh::{Mesh, Watched};
use crate::world::World;
use crate::{Fence, engine_options, snapshots, write};

fn instance(node: &NodeIdentity) -> InstanceId {
    InstanceId {
        place: Place::new(&(&*node.datacenter).into(), &(&*node.partition).into()),
        node: (&*node.node_name).into(),
        id: (&*node.id).into(),
    }
}

fn computed(view: &Arc<View>) -> Offline {
    let root = view.active_root().expect("the authority made one");
    Offline::of(engine_options(), root.trust_domain.clone(), view.clone())
}

fn snapshot_of(all: &BTreeMap<InstanceId, Configuration>, node: &NodeIdentity) -> Option<Arc<Snapshot>> {
    all.get(&instance(node)).and_then(|configuration| configuration.snapshot.clone())
}

/// Nobody has asked for the proxies yet, so that there are no certificates; then all have.
pub(crate) async fn a_state_gives_what_is_sent(world: World) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, world.rows()).await;
    let proxies = world.proxies();
    let early = computed(&mesh.store.view()).configurations();
    let sent = snapshots(&mesh, &proxies).await;
    let late = computed(&mesh.store.view()).configurations();

    for (node, sent) in &sent {
        prop_assert_eq!(snapshot_of(&late, node), Some(sent.clone()), "{:?}", node);
        let early = snapshot_of(&early, node).expect("it is registered");
        for kind in ResourceType::ALL.into_iter().filter(|kind| *kind != ResourceType::Secret) {
            prop_assert_eq!(early.get(kind), sent.get(kind), "{:?}", node);
        }
        let certificates = |snapshot: &Snapshot| snapshot.get(ResourceType::Secret).contains_key("leaf");
        prop_assert!(!certificates(&early));
    }
    prop_assert_eq!(late.values().filter(|it| it.snapshot.is_some()).count(), sent.len());
    Ok(())
}

/// One commit of all steps: what is computed for it before is what comes after it, also from the state of a fresh process.
pub(crate) async fn a_draft_gives_what_comes_after_it(
    (before, after): (World, World),
    steps: Vec<Op>,
) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, before.rows()).await;
    let staying: Vec<_> = before.proxies().intersection(&after.proxies()).cloned().collect();
    let mut watched: Vec<_> = staying.iter().map(|proxy| Watched::new(&mesh.engine, proxy)).collect();
    let mut fence = Fence::new(&mesh).await;
    let mut had = Vec::new();
    for watched in &mut watched {
        had.push(watched.next().await);
    }
    let mut offline = mesh.engine.offline().await.expect("the engine runs");
    let view = mesh.store.view();
    offline.advance(view.clone());
    let now = offline.configurations();
    for (node, had) in staying.iter().zip(&had) {
        prop_assert_eq!(snapshot_of(&now, node), Some(had.clone()), "{:?}", node);
    }
    let draft = Arc::new(view.after(&steps));
    let readers = offline.readers_of(&draft.changed_since(&view).collect::<Vec<_>>());
    offline.advance(draft.clone());
    let planned = offline.configurations();

    if mesh.store.write(steps).await.is_err() {
        // Rules across rows refuse it, so that nothing comes.
        return Ok(());
    }
    fence.pass(&mesh).await;
    for ((node, watched), had) in staying.iter().zip(&mut watched).zip(had) {
        let came = watched.came();
        let planned = snapshot_of(&planned, node).expect("it was configured before");
        prop_assert!(came.is_none() || readers.contains(&instance(node)), "{:?} reads what changes", node);
        prop_assert_eq!(&planned, &came.unwrap_or(had), "{:?}", node);
    }
    Ok(())
}

/// What the history says of any commit is what the state was after it, in its rows and in what proxies had.
pub(crate) async fn a_past_state_is_what_it_was(
    (before, _): (World, World),
    steps: Vec<Op>,
) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, before.rows()).await;
    let mut known = vec![mesh.store.view()];
    for step in steps {
        if mesh.store.write(vec![step]).await.is_ok() {
            known.push(mesh.store.view());
        }
    }
    let current = mesh.store.view();
    let again = |then: &Arc<View>| mesh.store.history().state_at(then.index(), &current).expect("it is remembered");
    let rows = |state: &View| codec::bundle_to_json(&state.bundle(BundleAgent::default())).expect("it can be written");
    for then in &known {
        prop_assert_eq!(rows(&again(then)), rows(then), "after commit {}", then.index());
    }
    let middle = &known[known.len() / 2];
    let had = |state: &Arc<View>| -> BTreeMap<_, _> {
        computed(state).configurations().into_iter().map(|(proxy, it)| (proxy, it.snapshot)).collect()
    };
    prop_assert_eq!(had(&again(middle)), had(middle));
    Ok(())
}
