//! A process that is killed before every single call to the disk: the file that it leaves holds what was acknowledged, and
//! nothing by halves.

#![allow(clippy::print_stdout, reason = "the child tells its parent what it did")]

use std::collections::BTreeSet;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::tests::{golden_rows, open_store, pair, pairs, starting, undisturbed, unpacked};
use super::*;
use crate::store::View;

const DIRECTORY: &str = "MESHGATE_KILL_TEST_DIRECTORY";
const SCRIPT: &str = "MESHGATE_KILL_TEST_SCRIPT";
const CALLS: &str = "MESHGATE_KILL_TEST_CALLS";

/// Pairs of rows that are written before the snapshot is restored: the first alone, the others together.
const WRITTEN: std::ops::RangeInclusive<u64> = 1..=5;
/// Pairs of rows in the snapshot.
const RESTORED: std::ops::RangeInclusive<u64> = 6..=7;

/// A file whose process is killed before the call that none are left for.
#[derive(Debug)]
struct Killing {
    file: FileBackend,
    left: Arc<AtomicUsize>,
}

impl Killing {
    fn call(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            // SIGKILL: nothing is cleaned up.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            std::thread::park();
        }
    }
}

impl StorageBackend for Killing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call();
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call();
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.call();
        self.file.write(offset, data)
    }
}

/// The child. Says what was acknowledged, and at last that it was not killed.
#[tokio::test]
#[ignore = "kills itself, as the child of the other tests here"]
async fn child() {
    let variable = |name| std::env::var(name).expect("the parent sets it");
    let left = Arc::new(AtomicUsize::new(variable(CALLS).parse().unwrap()));
    let directory = variable(DIRECTORY);
    let embedded = Embedded::open_on(Path::new(&directory), FORMATS, move |file| {
        Ok(Killing { file: FileBackend::new(file)?, left: left.clone() })
    });
    let embedded = embedded.unwrap();
    println!("\nopened");
    if variable(SCRIPT) == "write" {
        let (store, writer) = open_store(embedded);
        store.write(pair(1)).await.unwrap();
        println!("1");
        let group = (2..=*WRITTEN.end()).map(|number| {
            let store = &store;
            async move {
                store.write(pair(number)).await.unwrap();
                println!("{number}");
            }
        });
        futures::future::join_all(group).await;
        let snapshot = View::default().after(&RESTORED.flat_map(pair).collect::<Vec<_>>());
        store.write_with(move |view| Ok(view.to_become(&snapshot))).await.unwrap();
        println!("restored");
        drop(store);
        writer.join().unwrap();
    }
    println!("done");
}

/// What the child said before it was killed.
fn run_child(directory: &Path, script: &str, calls: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "store::embedded::kill::child", "--ignored", "--nocapture"])
        .envs([(DIRECTORY, directory.as_os_str()), (SCRIPT, script.as_ref()), (CALLS, calls.to_string().as_ref())])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = {
        let _starting = starting();
        child.spawn().unwrap()
    };
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Kills the child before every call, each time with a directory of its own, and lets `judge` look at what it left. Returns
/// how often it was killed.
fn kill_at_every_call(script: &str, prepare: impl Fn(&Path), judge: impl Fn(&Path, &[String])) -> usize {
    for calls in 0.. {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let said = run_child(directory.path(), script, calls);
        let _undisturbed = undisturbed();
        judge(directory.path(), &said);
        if said.iter().any(|line| line == "done") {
            return calls;
        }
    }
    unreachable!("it ends by itself some time")
}

#[test]
fn writes_and_a_restore_survive_a_kill_before_every_call() {
    let judge = |directory: &Path, said: &[String]| {
        let (store, writer) = open_store(Embedded::open(directory).unwrap());
        let found = pairs(&store.view());
        let acknowledged: BTreeSet<u64> = said.iter().filter_map(|line| line.parse().ok()).collect();
        if found == RESTORED.collect() {
            assert_eq!(acknowledged, WRITTEN.collect(), "it was restored before it was asked for");
        } else {
            assert!(!said.iter().any(|line| line == "restored"), "{found:?}");
            assert!(acknowledged.is_subset(&found), "{acknowledged:?} were acknowledged, {found:?} are there");
            assert!(found.is_subset(&WRITTEN.collect()), "{found:?}");
            // Each pair is a commit, and the first is 2.
            assert_eq!(store.view().index(), if found.is_empty() { 0 } else { 1 + found.len() as u64 });
        }
        drop(store);
        writer.join().unwrap();
    };

    let kills = kill_at_every_call("write", |_| (), judge);

    assert!(kills > 20, "it was killed only {kills} times");
}

#[test]
fn a_migration_survives_a_kill_before_every_call() {
    let prepare = |directory: &Path| std::fs::write(directory.join(FILE), unpacked(1)).unwrap();
    let judge = |directory: &Path, said: &[String]| {
        let mut embedded = Embedded::open(directory).unwrap();
        assert_eq!(embedded.load().unwrap().rows, golden_rows(), "{said:?}");
        let kept = File::open(directory.join("meshgate.redb.format-1"));
        assert!(kept.is_ok(), "the old file is gone: {said:?}");
    };

    let kills = kill_at_every_call("migrate", prepare, judge);

    assert!(kills > 5, "it was killed only {kills} times");
}
