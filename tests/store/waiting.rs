//! Waiting for a change of some keys.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use meshgate::model::{Node, NodeName};
use meshgate::store::{Key, NodeKey, Op, Store, StoreError};

use super::commit::{gate, node, start};
use super::{in_memory, open};

/// The keys of whoever reads this node.
fn keys(name: &str) -> BTreeSet<Key> {
    BTreeSet::from([Key::Node(Node::default().place(), NodeName::from(name))])
}

/// The keys of whoever reads this node and so many others that nobody looks it up by them.
fn many_keys(name: &str) -> BTreeSet<Key> {
    (0..1_000).flat_map(|number| keys(&format!("other-{number}"))).chain(keys(name)).collect()
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn commits_of_others_do_not_wake() {
    let store = in_memory();
    store.write(node("a")).await.unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(store.changed(keys("a"), store.view().index()));
    assert!(waiting.as_mut().poll(&mut context).is_pending());

    for number in 0..100 {
        store.write(node(number)).await.unwrap();
    }
    // The writer has done everything that belongs to a commit before it takes the next one.
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);

    store.write(Op::DeleteNode(NodeKey::new(&Node::default().place(), &NodeName::from("a")))).await.unwrap();
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_change_that_came_before_the_wait_ends_it_at_once() {
    let store = in_memory();
    let seen = store.view().index();
    store.write(node("a")).await.unwrap();

    assert!(store.changed(keys("a"), seen).now_or_never().is_some());
    assert!(store.changed(keys("a"), store.view().index()).now_or_never().is_none());
}

#[tokio::test]
async fn whoever_waits_for_many_keys_hears_of_each_and_of_no_other() {
    let store = in_memory();
    store.write(node("a")).await.unwrap();
    let seen = store.view().index();
    let mut waiting = Box::pin(store.changed(many_keys("a"), seen));
    assert!((&mut waiting).now_or_never().is_none());

    store.write(node("stranger")).await.unwrap();
    assert!((&mut waiting).now_or_never().is_none());
    store.write(node("other-999")).await.unwrap();

    // Whoever waits for so many keys is told after the writer.
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it is told").unwrap();
    assert!(store.changed(many_keys("a"), seen).now_or_never().is_some());
    assert!(store.changed(many_keys("a"), store.view().index()).now_or_never().is_none());
}

#[tokio::test]
async fn a_group_of_commits_wakes_for_each_of_them() {
    let (backend, keeper) = gate();
    let (store, _) = open(backend);
    let first = start(&store, node("first"));
    keeper.arrived.recv().unwrap();
    let [a, b] = ["a", "b"].map(|name| start(&store, node(name)));
    let wait = |name| Box::pin(store.changed(keys(name), 2));
    let (mut for_a, mut for_b, mut for_c) = (wait("a"), wait("b"), wait("c"));
    for waiting in [&mut for_a, &mut for_b, &mut for_c] {
        assert!(waiting.now_or_never().is_none());
    }

    for verdict in [true, true] {
        keeper.verdicts.send(verdict).unwrap();
    }
    let batch = {
        first.await.unwrap();
        keeper.arrived.recv().unwrap()
    };
    a.await.unwrap();
    b.await.unwrap();

    assert_eq!(batch.changes.len(), 2, "both were committed together");
    for_a.await.unwrap();
    for_b.await.unwrap();
    assert!(for_c.now_or_never().is_none());
}

#[tokio::test]
async fn a_commit_that_is_not_kept_wakes_nobody() {
    let (backend, keeper) = gate();
    let (store, _) = open(backend);
    let mut waiting = Box::pin(store.changed(keys("a"), 0));
    assert!((&mut waiting).now_or_never().is_none());

    let lost = start(&store, node("a"));
    keeper.arrived.recv().unwrap();
    keeper.verdicts.send(false).unwrap();
    assert!(lost.await.is_err());

    let kept = start(&store, node("b"));
    keeper.arrived.recv().unwrap();
    keeper.verdicts.send(true).unwrap();
    kept.await.unwrap();
    assert!((&mut waiting).now_or_never().is_none());
}

/// The address of the node that changes, as a number.
fn number(store: &Store) -> (usize, u64) {
    let view = store.view();
    let row = view.node(&NodeKey::new(&Node::default().place(), &NodeName::from("n")));
    (row.map_or(0, |row| row.value.address.parse().unwrap()), view.index())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_change_is_missed_however_waiting_and_writing_meet() {
    const LAST: usize = 2_000;
    const WAITERS: usize = 16;
    let store = in_memory();
    let waiters = (0..WAITERS).map(|waiter| {
        let store = store.clone();
        let keys = if waiter % 2 == 0 { keys } else { many_keys };
        tokio::spawn(async move {
            loop {
                let (number, seen) = number(&store);
                if number == LAST {
                    return;
                }
                store.changed(keys("n"), seen).await.unwrap();
            }
        })
    });
    let waiters: Vec<_> = waiters.collect();

    for number in 1..=LAST {
        let changed = Node { node: NodeName::from("n"), address: number.to_string(), ..Node::default() };
        store.write(Op::PutNode(changed)).await.unwrap();
    }

    let all = tokio::time::timeout(Duration::from_secs(20), futures::future::join_all(waiters)).await;
    assert!(all.expect("each sees the last change").iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_writer_that_ends_ends_the_waits() {
    let store = in_memory();
    let waiting = futures::future::join(store.changed(keys("a"), 0), store.changed(many_keys("a"), 0));
    let ended = store.write_with(|_| std::panic::panic_any(Bomb));

    let (waited, ended) = tokio::join!(waiting, ended);

    assert!(matches!(waited, (Err(StoreError::Closed), Err(StoreError::Closed))));
    assert!(matches!(ended, Err(StoreError::Closed)));
}

/// A panic that cannot be told as an answer: dropping it panics as well, which ends the writer.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("once more");
    }
}
