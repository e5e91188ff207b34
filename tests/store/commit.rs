//! Group commit, and what happens when the backend fails.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use meshgate::model::{Node, NodeName, Problem};
use meshgate::store::{Backend, Batch, Embedded, Loaded, Op, Outcome, Store, StoreError, Write};

use super::{embedded, in_memory, open};

pub(crate) fn node(name: impl ToString) -> Op {
    Op::PutNode(Node { node: NodeName::from(name.to_string()), ..Node::default() })
}

fn names(store: &Store) -> Vec<String> {
    let place = Node::default().place();
    store.view().nodes(&place).map(|row| row.value.node.to_string()).collect()
}

/// A backend whose every sync the test allows or lets fail.
pub(crate) struct Gate {
    arrived: Sender<Batch>,
    verdicts: Receiver<bool>,
    /// Whether what was refused last may be done now.
    is_full: bool,
}

/// The test's side of it.
pub(crate) struct Keeper {
    pub(crate) arrived: Receiver<Batch>,
    pub(crate) verdicts: Sender<bool>,
}

pub(crate) fn gate() -> (Gate, Keeper) {
    let ((arrived, arrivals), (verdicts, verdict)) = (channel(), channel());
    (Gate { arrived, verdicts: verdict, is_full: false }, Keeper { arrived: arrivals, verdicts })
}

impl Backend for Gate {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.arrived.send(batch.clone()).unwrap();
        self.is_full = !self.verdicts.recv().unwrap();
        if self.is_full { Err(StoreError::Backend("disk full".into())) } else { Ok(()) }
    }

    /// Fails once after each refusal.
    fn replace(&mut self, _: &dyn Fn() -> Loaded) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_full) { Err(StoreError::Backend("disk full".into())) } else { Ok(()) }
    }
}

/// Starts a write, which then waits for its turn.
pub(crate) fn start(store: &Store, write: impl Into<Write>) -> BoxFuture<'static, Result<Outcome, StoreError>> {
    let (store, write) = (store.clone(), write.into());
    let mut started = async move { store.write(write).await }.boxed();
    assert!((&mut started).now_or_never().is_none());
    started
}

#[tokio::test]
async fn many_writers_get_an_index_each() {
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = embedded(directory.path());

    let outcomes = join_all((0..1000).map(|n| store.write(node(n)))).await;

    let committed = |outcome| if let Ok(Outcome::Committed(index)) = outcome { Some(index) } else { None };
    let indexes: BTreeSet<_> = outcomes.into_iter().filter_map(committed).collect();
    assert_eq!(indexes, (2..=1001).collect());
    drop(store);
    writer.join().unwrap();
    assert_eq!(Embedded::open(directory.path()).unwrap().load().unwrap().rows.len(), 1000);
}

#[tokio::test]
async fn writers_that_wait_share_one_sync() {
    let (backend, keeper) = gate();
    let (store, _) = open(backend);
    let first = start(&store, node("first"));
    keeper.arrived.recv().unwrap();
    let mut waiting = Vec::new();
    for n in 0..100 {
        waiting.push(start(&store, node(n)));
    }

    keeper.verdicts.send(true).unwrap();
    assert_eq!(first.await.unwrap(), Outcome::Committed(2));
    let batch = keeper.arrived.recv().unwrap();
    keeper.verdicts.send(true).unwrap();

    assert_eq!((batch.index, batch.changes.len()), (102, 100));
    for (n, write) in (3..).zip(waiting) {
        assert_eq!(write.await.unwrap(), Outcome::Committed(n));
    }
}

#[tokio::test]
async fn nothing_is_visible_before_it_is_durable() {
    let (backend, keeper) = gate();
    let (store, _) = open(backend);

    let write = start(&store, node("a"));
    keeper.arrived.recv().unwrap();

    assert_eq!((store.view().index(), names(&store)), (0, vec![]));
    keeper.verdicts.send(true).unwrap();
    write.await.unwrap();
    assert_eq!((store.view().index(), names(&store)), (2, vec!["a".to_owned()]));
}

#[tokio::test]
async fn a_failed_sync_is_told_to_all_and_leaves_nothing() {
    let (backend, keeper) = gate();
    let (store, _) = open(backend);
    let first = start(&store, node("kept"));
    keeper.arrived.recv().unwrap();
    let changes = store.watch();
    let new = start(&store, node("lost"));
    // It changes nothing, because of a draft that never becomes true.
    let same = start(&store, node("lost"));
    // So does the refusal of this one.
    let refuser = store.clone();
    let mut refused = Box::pin(refuser.write_with(|view| {
        let is_there = view.nodes(&Node::default().place()).any(|row| row.value.node.as_str() == "lost");
        if is_there { Err(Problem::rule("Node", "exists").into()) } else { Ok(Write::default()) }
    }));
    assert!((&mut refused).now_or_never().is_none());

    keeper.verdicts.send(true).unwrap();
    first.await.unwrap();
    keeper.arrived.recv().unwrap();
    keeper.verdicts.send(false).unwrap();

    for result in [new.await, same.await, refused.await] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Backend(_)), "{error:?}");
    }
    assert_eq!((store.view().index(), names(&store)), (2, vec!["kept".to_owned()]));
    assert_eq!(changes.borrow().index(), 2);

    let after = start(&store, node("after"));
    assert_eq!(keeper.arrived.recv().unwrap().index, 3);
    keeper.verdicts.send(true).unwrap();
    assert_eq!(after.await.unwrap(), Outcome::Committed(3));
}

#[tokio::test]
async fn a_refused_write_changes_nothing_and_spoils_no_other() {
    let refuse_bad = |_: &meshgate::store::View, after: &meshgate::store::View, _: &[Op]| {
        let is_bad = after.nodes(&Node::default().place()).any(|row| row.value.node.as_str() == "bad");
        if is_bad { Err(Problem::rule("Node", "bad").into()) } else { Ok(()) }
    };
    let (store, _) = Store::open(Box::new(meshgate::store::Memory), Arc::new(refuse_bad)).unwrap();

    let (a, bad, b) =
        tokio::join!(store.write(node("a")), store.write(vec![node("c"), node("bad")]), store.write(node("b")));

    assert_eq!((a.unwrap(), b.unwrap()), (Outcome::Committed(2), Outcome::Committed(3)));
    assert_eq!(bad.unwrap_err().to_string(), "Node: bad");
    assert_eq!(names(&store), ["a", "b"]);
}

#[tokio::test]
async fn a_rule_that_panics_costs_one_write() {
    let store = in_memory();

    let broken = store.write_with(|view| panic!("a bug at index {}", view.index()));
    let (broken, fine) = tokio::join!(broken, store.write(node("a")));

    assert!(matches!(broken, Err(StoreError::Panicked)), "{broken:?}");
    assert_eq!(fine.unwrap(), Outcome::Committed(2));
    assert_eq!(names(&store), ["a"]);
}

#[tokio::test]
async fn a_view_that_somebody_holds_never_changes() {
    let store = in_memory();
    store.write(node("a")).await.unwrap();
    let held = store.view();

    store.write(node("b")).await.unwrap();

    assert_eq!((held.index(), held.nodes(&Node::default().place()).count()), (2, 1));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_backend() {
    struct Noisy(Arc<Mutex<bool>>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = true;
        }
    }
    impl Backend for Noisy {
        fn load(&mut self) -> Result<Loaded, StoreError> {
            Ok(Loaded::default())
        }
        fn persist(&mut self, _: &Batch) -> Result<(), StoreError> {
            Ok(())
        }
        fn replace(&mut self, _: &dyn Fn() -> Loaded) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let is_closed = Arc::new(Mutex::new(false));
    let (store, writer) = open(Noisy(is_closed.clone()));

    drop(store);
    writer.join().unwrap();

    assert!(*is_closed.lock().unwrap());
}
