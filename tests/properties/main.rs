//! What holds for every mesh: its snapshots are a function of its rows, whole in themselves, the same whether they are
//! reached step by step or at once, and nobody is told what does not concern them.

#[path = "../support/mod.rs"]
mod support;

mod doctor;
mod integrity;
mod intentions;
mod offline;
mod oracle;
mod paths;
mod quarantine;
mod sources;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use meshgate::codec;
use meshgate::envoy::snapshot::{NodeIdentity, Resource, ResourceType, Snapshot};
use meshgate::model::{BundleAgent, Datacenter, IntentionPolicy};
use meshgate::store::{Embedded, Op};
use proptest::prelude::{Just, ProptestConfig, Strategy};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, proptest};
use tokio::runtime::Runtime;

use support::mesh::{Mesh, Watched, options};
use world::{Purpose, World, world};

/// Orders in which the rows of one mesh are written.
const ORDERS: usize = 20;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn engine_options() -> meshgate::engine::Options {
    options(&[Datacenter::from("dc1"), Datacenter::from("dc2")], IntentionPolicy::Allow)
}

/// Writes one row after the other. What has to wait for another one, such as an instance for its node, is tried again;
/// what is accepted only together is written together.
async fn write(mesh: &Mesh, mut ops: Vec<Op>) {
    loop {
        let mut refused = Vec::new();
        for op in ops.iter().cloned() {
            if mesh.store.write(vec![op.clone()]).await.is_err() {
                refused.push(op);
            }
        }
        if refused.len() == ops.len() {
            break;
        }
        ops = refused;
    }
    mesh.store.write(ops).await.expect("the mesh as a whole is accepted");
}

/// What every proxy has, certificates included.
async fn snapshots(mesh: &Mesh, proxies: &BTreeSet<NodeIdentity>) -> BTreeMap<NodeIdentity, Arc<Snapshot>> {
    let engine = mesh.fresh_engine();
    let mut all = BTreeMap::new();
    for proxy in proxies {
        all.insert(proxy.clone(), Watched::new(&engine, proxy).next().await);
    }
    all
}

/// A mesh and some orders of its rows.
fn orders() -> impl Strategy<Value = (World, Vec<Vec<Op>>)> {
    world(Purpose::Everything).prop_flat_map(|world| {
        let order = Just(world.rows()).prop_shuffle();
        (Just(world), proptest::collection::vec(order, ORDERS))
    })
}

/// Two meshes, and the steps from one to the other in some order.
fn change() -> impl Strategy<Value = (World, World, Vec<Op>)> {
    (world(Purpose::Everything), world(Purpose::Everything)).prop_flat_map(|(before, after)| {
        let steps = Just(before.changes_to(&after)).prop_shuffle();
        (Just(before), Just(after), steps)
    })
}

/// Writes that go by in front of a proxy that sorts after all others: once it has a write, the others had theirs.
struct Fence {
    watched: Watched,
    port: u16,
}

impl Fence {
    async fn new(mesh: &Mesh) -> Self {
        let (ops, node) = world::fence(1);
        mesh.store.write(ops).await.expect("the fence is accepted");
        let mut watched = Watched::new(&mesh.engine, &node);
        watched.next().await;
        Self { watched, port: 1 }
    }

    /// Waits until the engine has seen every write so far.
    async fn pass(&mut self, mesh: &Mesh) {
        self.port += 1;
        mesh.store.write(world::fence(self.port).0).await.expect("the fence is accepted");
        let end = format!(":{}", self.port);
        let is_new = |snapshot: &Snapshot| snapshot.get(ResourceType::Listener).keys().any(|name| name.ends_with(&end));
        self.watched.until(is_new).await;
    }
}

async fn orders_lead_to_one_state(world: World, orders: Vec<Vec<Op>>) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    let proxies = world.proxies();
    let mut first = None;
    for order in orders {
        write(&mesh, order).await;
        let found = snapshots(&mesh, &proxies).await;
        let expected = first.get_or_insert_with(|| found.clone());
        prop_assert_eq!(&found, &*expected);
        // What was written last goes first, as instances before their nodes.
        mesh.store.write(world.changes_to(&World::default())).await.expect("everything can go at once");
    }
    Ok(())
}

async fn snapshots_are_whole(world: World) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, world.rows()).await;
    for (proxy, snapshot) in snapshots(&mesh, &world.proxies()).await {
        let faults = integrity::faults(&snapshot);
        prop_assert!(faults.is_empty(), "{proxy:?}: {faults:#?}");
    }
    Ok(())
}

/// Follows every step: whoever's snapshot a step changes gets exactly the new one, and nobody else gets anything.
async fn steps_reach_whom_they_concern(before: World, after: World, steps: Vec<Op>) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, before.rows()).await;
    let staying: BTreeSet<_> = before.proxies().intersection(&after.proxies()).cloned().collect();
    let mut watched: Vec<_> = staying.iter().map(|proxy| Watched::new(&mesh.engine, proxy)).collect();
    let mut current = snapshots(&mesh, &staying).await;
    let mut fence = Fence::new(&mesh).await;
    for (watched, expected) in watched.iter_mut().zip(current.values()) {
        prop_assert_eq!(watched.came(), Some(expected.clone()));
    }
    for step in steps {
        if mesh.store.write(vec![step.clone()]).await.is_err() {
            continue;
        }
        let next = snapshots(&mesh, &staying).await;
        fence.pass(&mesh).await;
        for ((proxy, watched), expected) in current.keys().zip(&mut watched).zip(next.values()) {
            let came = watched.came();
            let is_due = current[proxy] != *expected;
            prop_assert_eq!(came.as_ref(), is_due.then_some(expected), "{:?} after {:?}", proxy, step);
        }
        current = next;
    }
    Ok(())
}

/// Follows many steps, as far as the engine does not fold them.
async fn steps_lead_where_a_new_start_leads(before: World, after: World, steps: Vec<Op>) -> Result<(), TestCaseError> {
    let mesh = Mesh::start(engine_options()).await;
    write(&mesh, before.rows()).await;
    let proxies = after.proxies();
    let mut watched: Vec<_> = proxies.iter().map(|proxy| Watched::new(&mesh.engine, proxy)).collect();
    write(&mesh, steps).await;
    let expected = snapshots(&mesh, &proxies).await;
    Fence::new(&mesh).await;
    for ((proxy, expected), watched) in expected.iter().zip(&mut watched) {
        prop_assert_eq!(watched.came(), Some(expected.clone()), "{:?}", proxy);
    }
    Ok(())
}

/// What the proxies of a stored mesh have, after these rows were written to it.
fn stored(directory: &Path, rows: Vec<Op>, proxies: &BTreeSet<NodeIdentity>) -> BTreeMap<NodeIdentity, Arc<Snapshot>> {
    let runtime = runtime();
    let (found, writer) = runtime.block_on(async {
        let backend = Embedded::open(directory).expect("the file opens");
        let (mesh, writer) = Mesh::open(Box::new(backend), engine_options()).await;
        write(&mesh, rows).await;
        (snapshots(&mesh, proxies).await, writer)
    });
    drop(runtime);
    writer.join().expect("the writer closes the file");
    found
}

/// Resources by name; a secret has no contents.
type Contents = Vec<(String, Option<Bytes>)>;

/// What proxies have apart from the contents of secrets.
fn without_secrets(
    snapshots: BTreeMap<NodeIdentity, Arc<Snapshot>>,
) -> BTreeMap<(NodeIdentity, ResourceType), Contents> {
    let of_type = |snapshot: &Snapshot, kind| {
        let resources = snapshot.get(kind).iter();
        let body = |resource: &Resource| (kind != ResourceType::Secret).then(|| resource.body.clone());
        resources.map(|(name, resource)| (name.to_string(), body(resource))).collect()
    };
    let of_proxy = |(proxy, snapshot): (NodeIdentity, Arc<Snapshot>)| {
        ResourceType::ALL.map(|kind| ((proxy.clone(), kind), of_type(&snapshot, kind)))
    };
    snapshots.into_iter().flat_map(of_proxy).collect()
}

/// The bundle of a mesh, as it is written.
fn bundle(mesh: &Mesh) -> String {
    let bundle = mesh.store.view().bundle(BundleAgent::default());
    codec::bundle_to_json(&bundle).expect("rows can be written")
}

async fn a_bundle_makes_the_same_mesh(world: World) -> Result<(), TestCaseError> {
    let first = Mesh::start(engine_options()).await;
    write(&first, world.rows()).await;
    let proxies = world.proxies();
    let expected = without_secrets(snapshots(&first, &proxies).await);
    let text = bundle(&first);
    prop_assert!(!text.contains("PRIVATE KEY"));

    let second = Mesh::start(engine_options()).await;
    let read = codec::bundle(text.as_bytes()).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
    second.store.write(read).await.map_err(|error| TestCaseError::fail(error.to_string()))?;

    prop_assert_eq!(bundle(&second), text);
    prop_assert_eq!(without_secrets(snapshots(&second, &proxies).await), expected);
    prop_assert_eq!(bundle(&second), bundle(&first));
    Ok(())
}

/// So many cases where they run fast, and a fifth of them in a debug build.
fn config(cases: u32) -> ProptestConfig {
    all(if cfg!(debug_assertions) { cases.div_ceil(5) } else { cases })
}

/// So many cases.
fn all(cases: u32) -> ProptestConfig {
    // Rows are many, so that making a failing mesh smaller could go on for long.
    ProptestConfig { cases, failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(50))]

    #[test]
    fn the_order_of_writes_leaves_no_trace((world, orders) in orders()) {
        runtime().block_on(orders_lead_to_one_state(world, orders))?;
    }

    #[test]
    fn every_snapshot_is_whole(world in world(Purpose::Everything)) {
        runtime().block_on(snapshots_are_whole(world))?;
    }

    #[test]
    fn a_state_gives_what_is_sent(world in world(Purpose::Everything)) {
        runtime().block_on(offline::a_state_gives_what_is_sent(world))?;
    }

    #[test]
    fn a_draft_gives_what_comes_after_it((before, after, steps) in change()) {
        runtime().block_on(offline::a_draft_gives_what_comes_after_it((before, after), steps))?;
    }

    #[test]
    fn a_bundle_of_a_mesh_makes_the_same_mesh(world in world(Purpose::Everything)) {
        runtime().block_on(a_bundle_makes_the_same_mesh(world))?;
    }

    #[test]
    fn a_bad_part_costs_only_itself((world, spoil) in quarantine::spoiled()) {
        runtime().block_on(quarantine::a_bad_part_costs_only_itself(world, spoil))?;
    }

    #[test]
    fn a_part_that_goes_bad_stays_as_it_was((world, spoil) in quarantine::spoiled()) {
        runtime().block_on(quarantine::a_part_that_goes_bad_stays_as_it_was(world, spoil))?;
    }

    #[test]
    fn step_by_step_leads_where_a_new_start_leads((before, after, steps) in change()) {
        runtime().block_on(steps_lead_where_a_new_start_leads(before, after, steps))?;
    }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn rules_about_callers_say_what_intentions_say(judged in intentions::judged()) {
        runtime().block_on(intentions::rules_say_what_intentions_say(judged))?;
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn a_write_reaches_whom_it_concerns_and_nobody_else((before, after, steps) in change()) {
        runtime().block_on(steps_reach_whom_they_concern(before, after, steps))?;
    }

    #[test]
    fn a_past_state_is_what_it_was((before, after, steps) in change()) {
        runtime().block_on(offline::a_past_state_is_what_it_was((before, after), steps))?;
    }

    #[test]
    fn a_restart_leaves_no_trace(world in world(Purpose::Everything)) {
        let directory = tempfile::tempdir().expect("there is room for temporary files");
        let proxies = world.proxies();
        let before = stored(directory.path(), world.rows(), &proxies);
        let after = stored(directory.path(), Vec::new(), &proxies);
        prop_assert_eq!(before, after);
    }
}
