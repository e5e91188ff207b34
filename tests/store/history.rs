//! What is remembered of what happened, and what is forgotten.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use meshgate::model::entry::ServiceDefaults;
use meshgate::model::{
    Check, CheckId, CheckStatus, ConfigEntry, EntryKey, EntryKind, Namespace, Node, NodeName, Partition, ServiceName,
};
use meshgate::store::{
    Author, Backend as _, Batch, Class, Commit, Embedded, History, Memory, NodeKey, Op, PastError, Retention,
    RowChange, Store, View,
};

use super::commit::{gate, node, start};
use super::{in_memory, open};

fn entry(protocol: &str) -> Op {
    Op::PutEntry(ConfigEntry::ServiceDefaults(ServiceDefaults {
        name: "web".to_owned(),
        protocol: protocol.to_owned(),
        ..ServiceDefaults::default()
    }))
}

fn web() -> EntryKey {
    EntryKey {
        kind: EntryKind::ServiceDefaults,
        name: ServiceName::new(&Partition::default(), &Namespace::default(), "web"),
    }
}

fn check(status: CheckStatus) -> Op {
    Op::PutCheck(Check { node: NodeName::from("n"), check_id: CheckId::from("up"), status, ..Check::default() })
}

fn small(commits: usize) -> Store {
    let retention = Retention { commits, ..Retention::default() };
    Store::open_with(Box::new(Memory), Arc::new(|_, _, _| Ok(())), retention).unwrap().0
}

fn indexes(history: &History, class: Option<Class>) -> Vec<u64> {
    history.commits(class).iter().map(|commit| commit.index).collect()
}

fn protocol(store: &Store, at: u64) -> Result<Option<String>, PastError> {
    let row = store.history().entry_at(&web(), at, &store.view())?;
    Ok(row.map(|row| {
        let ConfigEntry::ServiceDefaults(defaults) = &*row.value else { panic!("{:?}", row.value) };
        defaults.protocol.clone()
    }))
}

#[tokio::test]
async fn a_commit_is_remembered_with_its_author_and_what_it_did() {
    let store = in_memory();
    let caller = Author::Call(Some("10.0.3.4:5".parse().unwrap()));
    store.by(Author::Files).write(vec![node("n"), entry("tcp")]).await.unwrap();
    store.by(caller).write(entry("http")).await.unwrap();
    store.write(entry("http")).await.unwrap();
    store.by(Author::HealthChecks).write(check(CheckStatus::Critical)).await.unwrap();
    store.write(Op::DeleteEntry(web())).await.unwrap();

    let commits = store.history().commits(None);

    // The write that changed nothing is no commit.
    let told: Vec<_> = commits.iter().map(|commit| (commit.index, commit.author, commit.class)).collect();
    assert_eq!(
        told,
        [
            (5, Author::Process, Class::Config),
            (4, Author::HealthChecks, Class::Health),
            (3, caller, Class::Config),
            (2, Author::Files, Class::Config),
        ]
    );
    let change = &commits[2].changes(10)[0];
    assert_eq!((change.table, change.name.as_str()), ("ConfigEntries", "service-defaults/web"));
    let protocols = [&change.old, &change.new].map(|value| value.as_ref().unwrap()["Protocol"].clone());
    assert_eq!(protocols, ["tcp", "http"]);
    let removed = &commits[0].changes(10)[0];
    assert_eq!((removed.was_there, removed.is_there, removed.new.is_none()), (true, false, true));
    assert!(commits[0].touches(&web()) && !commits[1].touches(&web()));
    assert_eq!(commits[3].changes(1).len(), 1);
    assert_eq!(commits[3].size(), 2);
}

#[tokio::test]
async fn checks_that_flap_push_out_no_change_of_an_operator() {
    let store = small(3);
    store.write(vec![node("n"), entry("tcp")]).await.unwrap();
    store.write(entry("http")).await.unwrap();
    for round in 0..20 {
        let status = if round % 2 == 0 { CheckStatus::Critical } else { CheckStatus::Passing };
        store.write(check(status)).await.unwrap();
    }
    store.write(entry("grpc")).await.unwrap();

    let history = store.history();

    assert_eq!(indexes(history, Some(Class::Config)), [24, 3, 2]);
    assert_eq!(indexes(history, Some(Class::Health)), [23, 22, 21]);
    let health = history.kept().into_iter().find(|kept| kept.class == Class::Health).unwrap();
    assert_eq!((health.commits, health.forgotten_until), (3, 20));
    // The entries of a time are known as long as their commits are; the whole state only where nothing is missing.
    assert_eq!(protocol(&store, 2).unwrap().as_deref(), Some("tcp"));
    assert_eq!(protocol(&store, 10).unwrap().as_deref(), Some("http"));
    assert_eq!(history.state_at(3, &store.view()).unwrap_err(), PastError::Forgotten { asked: 3, until: 20 });
    assert_eq!(history.state_at(21, &store.view()).unwrap().index(), 21);
    assert_eq!(history.state_at(20, &store.view()).unwrap().index(), 20);
    assert_eq!(history.state_at(10, &store.view()).unwrap_err(), PastError::Forgotten { asked: 10, until: 20 });
    // What a commit did is told as long as it is kept.
    let names = |index| history.commit(index).unwrap().changes(9).into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(
        (names(2), names(3)),
        (vec!["/default/n".to_owned(), "service-defaults/web".to_owned()], vec!["service-defaults/web".to_owned()])
    );
    let fields = history.commit(3).unwrap().changes(9).swap_remove(0);
    assert_eq!((&fields.old.unwrap()["Protocol"], &fields.new.unwrap()["Protocol"]), (&"tcp".into(), &"http".into()));

    store.write(Op::DeleteEntry(web())).await.unwrap();

    assert_eq!(protocol(&store, 25).unwrap(), None);
    assert_eq!(protocol(&store, 2).unwrap().as_deref(), Some("tcp"));
    assert_eq!(protocol(&store, 1).unwrap_err(), PastError::Forgotten { asked: 1, until: 2 });
    assert_eq!(protocol(&store, 26).unwrap_err(), PastError::Future { asked: 26, last: 25 });
}

#[tokio::test]
async fn large_commits_are_forgotten_earlier_and_the_last_one_never() {
    let retention = Retention { commits: 100, bytes: 30_000 };
    let (store, _) = Store::open_with(Box::new(Memory), Arc::new(|_, _, _| Ok(())), retention).unwrap();
    for commit in 0..30 {
        store.write(node(commit)).await.unwrap();
    }
    let few = indexes(store.history(), Some(Class::Catalog)).len();
    store.write((100..1000).map(node).collect::<Vec<_>>()).await.unwrap();

    let kept = store.history().kept().into_iter().find(|kept| kept.class == Class::Catalog).unwrap();

    assert!((5..20).contains(&few), "{few}");
    assert_eq!((kept.commits, kept.forgotten_until), (1, 31));
    assert_eq!(store.history().commit(32).unwrap().size(), 900);
}

#[tokio::test]
async fn what_was_deleted_counts_as_long_as_it_is_remembered() {
    let retention = Retention { commits: 100, bytes: 100_000 };
    let (store, _) = Store::open_with(Box::new(Memory), Arc::new(|_, _, _| Ok(())), retention).unwrap();
    let large = |number: usize| {
        Op::PutNode(Node {
            node: NodeName::from(number.to_string()),
            meta: [("note".to_owned(), "x".repeat(20_000))].into(),
            ..Node::default()
        })
    };
    store.write((0..20).map(large).collect::<Vec<_>>()).await.unwrap();

    for number in 0..20 {
        let key = NodeKey::new(&Node::default().place(), &NodeName::from(number.to_string()));
        store.write(Op::DeleteNode(key)).await.unwrap();
    }

    assert_eq!(indexes(store.history(), Some(Class::Catalog)).len(), 4);
}

#[tokio::test]
async fn what_did_not_become_durable_is_not_remembered_and_a_group_is_several_commits() {
    let (backend, keeper) = gate();
    let (store, _) = open(backend);
    let first = start(&store, node("a"));
    keeper.arrived.recv().unwrap();
    let others = [start(&store.by(Author::Files), node("b")), start(&store, node("c"))];
    keeper.verdicts.send(false).unwrap();
    first.await.unwrap_err();
    keeper.arrived.recv().unwrap();
    assert_eq!(indexes(store.history(), None), [0_u64; 0]);
    keeper.verdicts.send(true).unwrap();
    futures::future::join_all(others).await;

    let commits = store.history().commits(None);

    assert_eq!(indexes(store.history(), None), [3, 2]);
    assert_eq!(commits[1].author, Author::Files);
    assert_eq!(commits[0].changes(9).iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["/default/c"]);
}

#[tokio::test]
async fn a_moment_is_the_last_commit_until_then() {
    let store = small(2);
    store.write(entry("tcp")).await.unwrap();
    store.write(entry("http")).await.unwrap();
    let between = store.history().commit(2).unwrap().time;
    let history = store.history();
    let earlier = between - time::Duration::hours(1);

    assert_eq!(history.index_at(between, &store.view()), Ok(2));
    assert_eq!(history.index_at(time::OffsetDateTime::now_utc(), &store.view()), Ok(3));
    store.write(entry("grpc")).await.unwrap();
    assert_eq!(history.index_at(between, &store.view()), Err(PastError::Forgotten { asked: 2, until: 2 }));
    // What was before the process is not known, not even where nothing has changed since.
    let before_it = |store: &Store| store.history().index_at(earlier, &store.view());
    assert!(matches!(before_it(&store), Err(PastError::Earlier { .. })));
    let fresh = small(2);
    assert!(matches!(before_it(&fresh), Err(PastError::Earlier { .. })));
    let now = time::OffsetDateTime::now_utc();
    fresh.write(entry("tcp")).await.unwrap();
    assert_eq!(fresh.history().index_at(now, &fresh.view()), Ok(0));
}

/// A store in a directory, as each process opens it.
fn in_directory(directory: &Path, commits: usize) -> (Store, JoinHandle<()>) {
    let retention = Retention { commits, ..Retention::default() };
    let backend = Box::new(Embedded::open(directory).unwrap());
    Store::open_with(backend, Arc::new(|_, _, _| Ok(())), retention).unwrap()
}

fn end((store, writer): (Store, JoinHandle<()>)) {
    drop(store);
    writer.join().unwrap();
}

type Told = (u64, time::OffsetDateTime, Author, Class, Vec<RowChange>);

/// All that is told about the commits that are kept, and how far back they go.
fn told(store: &Store) -> (Vec<Told>, Vec<(Class, usize, u64)>) {
    let of =
        |commit: &Arc<Commit>| (commit.index, commit.time, commit.author, commit.class, commit.changes(usize::MAX));
    let kept = store.history().kept().into_iter().map(|kept| (kept.class, kept.commits, kept.forgotten_until));
    (store.history().commits(None).iter().map(of).collect(), kept.collect())
}

/// The states of the past that are known, each as the rows of its snapshot.
fn states(store: &Store, last: u64) -> Vec<Option<Vec<String>>> {
    let node = NodeKey::new(&Node::default().place(), &NodeName::from("n"));
    let rows = |state: Arc<View>| {
        let rows = state.nodes(&node.place).map(|row| format!("{row:?}"));
        let checks = state.checks_on(&node).map(|row| format!("{row:?}"));
        rows.chain(checks).chain(state.entry(&web()).map(|row| format!("{row:?}"))).collect()
    };
    (0..=last).map(|at| store.history().state_at(at, &store.view()).ok().map(rows)).collect()
}

#[tokio::test]
async fn a_process_that_starts_again_knows_what_happened() {
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = in_directory(directory.path(), 3);
    let caller = Author::Call(Some("[fd00::7]:5".parse().unwrap()));
    store.by(Author::Files).write(vec![node("n"), entry("tcp")]).await.unwrap();
    store.by(caller).write(entry("http")).await.unwrap();
    store.by(Author::Call(None)).write(vec![entry("grpc"), Op::DeleteEntry(web()), entry("http2")]).await.unwrap();
    for status in [CheckStatus::Critical, CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical] {
        store.by(Author::HealthChecks).write(check(status)).await.unwrap();
    }
    store.by(Author::Authority).write(Op::DeleteEntry(web())).await.unwrap();
    let (before, past, last) = (told(&store), states(&store, 9), store.view().index());
    let between = store.history().commit(3).unwrap().time;
    end((store, writer));

    let (store, writer) = in_directory(directory.path(), 3);

    assert_eq!(told(&store), before);
    // The oldest one of both classes was pushed out, and the states before it are not known.
    assert_eq!(indexes(store.history(), None), [9, 8, 7, 6, 4, 3]);
    assert_eq!(states(&store, last), past);
    assert_eq!(past.iter().map(Option::is_some).collect::<Vec<_>>(), [[false; 5], [true; 5]].concat());
    assert_eq!(protocol(&store, 3).unwrap().as_deref(), Some("http"));
    assert_eq!(protocol(&store, 4).unwrap().as_deref(), Some("http2"));
    let at = |time| store.history().index_at(time, &store.view());
    assert_eq!(at(between), Ok(3));
    assert!(matches!(at(between - time::Duration::hours(1)), Err(PastError::Earlier { .. })));

    // It goes on, and what is kept by fewer processes to come is less.
    store.write(entry("tcp")).await.unwrap();
    end((store, writer));
    let store = in_directory(directory.path(), 1).0;
    assert_eq!(indexes(store.history(), None), [10, 8]);
    assert_eq!(protocol(&store, 9).unwrap(), None);
    assert_eq!(protocol(&store, 8).unwrap_err(), PastError::Forgotten { asked: 8, until: 9 });
}

#[tokio::test]
async fn a_history_that_lacks_commits_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = in_directory(directory.path(), 9);
    store.write(entry("tcp")).await.unwrap();
    let last = store.view().index();
    end((store, writer));
    // As a version does that keeps no history.
    let unknown = Batch { index: last + 1, ..Batch::default() };
    Embedded::open(directory.path()).unwrap().persist(&unknown).unwrap();

    let (store, writer) = in_directory(directory.path(), 9);
    assert_eq!(indexes(store.history(), None), [0_u64; 0]);
    assert_eq!(protocol(&store, last).unwrap_err(), PastError::Forgotten { asked: last, until: last + 1 });
    store.write(entry("http")).await.unwrap();
    end((store, writer));

    let store = in_directory(directory.path(), 9).0;
    assert_eq!(indexes(store.history(), None), [last + 2]);
    assert_eq!(protocol(&store, last + 1).unwrap().as_deref(), Some("tcp"));
}
