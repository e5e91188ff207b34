//! The power fails at every single call to the disk, and the disk keeps what it likes of what was not synced.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use futures::future::join_all;
use redb::StorageBackend;
use time::OffsetDateTime;

use super::tests::{golden_rows, open_store, pair, pairs, unpacked};
use super::*;
use crate::store::apply::load;
use crate::store::{Author, Class, HistoryBatch, Note, Remembered, RememberedCommit, RememberedRow, View};

/// Something that was asked of the disk since the last sync.
#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    /// What the process sees.
    current: Vec<u8>,
    /// What was there at the last sync.
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Calls until the power fails.
    left: usize,
}

/// A disk without power from a given call on.
#[derive(Debug, Clone)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn with(image: Vec<u8>, calls: usize) -> Self {
        let state = State { current: image.clone(), durable: image, pending: Vec::new(), left: calls };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What may be found after the power fails: nothing that was not synced, all of it, or some, torn in the middle.
    fn images(&self) -> Vec<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let keeps: [fn(usize) -> Keep; 5] = [
            |_| Keep::Nothing,
            |_| Keep::Whole,
            |n| if n % 2 == 0 { Keep::Whole } else { Keep::Nothing },
            |n| if n % 2 == 1 { Keep::Whole } else { Keep::Nothing },
            |n| if n % 3 == 0 { Keep::Half } else { Keep::Whole },
        ];
        keeps.iter().map(|keep| state.image(*keep)).collect()
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        apply(&mut state.current, &change);
        state.pending.push(change);
        Ok(())
    }
}

enum Keep {
    Nothing,
    Half,
    Whole,
}

impl State {
    fn call(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(())
    }

    fn image(&self, keep: fn(usize) -> Keep) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (n, change) in self.pending.iter().enumerate() {
            match (keep(n), change) {
                (Keep::Nothing, _) => {}
                (Keep::Half, Change::Write(offset, data)) => {
                    apply(&mut image, &Change::Write(*offset, data[..data.len() / 2].to_vec()));
                }
                (Keep::Half | Keep::Whole, change) => apply(&mut image, change),
            }
        }
        image
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => image.resize(*length, 0),
        Change::Write(offset, data) => {
            let end = offset + data.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*offset..end].copy_from_slice(data);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (state, offset) = (self.0.lock().unwrap(), offset as usize);
        let found = state.current.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        state.durable = state.current.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.to_vec()))
    }
}

/// What the store would find, and the store itself.
fn open(disk: &Disk) -> Result<Embedded, Failure> {
    // The file was made before, under another name: what is found is examined, as everywhere.
    let contents = contents(disk)?;
    let database = Database::builder().create_with_backend(disk.clone())?;
    let path = PathBuf::from("/there/is/no/other/disk");
    let (database, loaded) = taken_over(database, &path, contents, FORMATS)?;
    let make: Make = Box::new(|_| Err("the disk has no file system".into()));
    Ok(Embedded { database, path, loaded: Some(loaded), make, rests_until: None })
}

fn contents(disk: &Disk) -> Result<Contents, Failure> {
    let image = disk.0.lock().unwrap().current.clone();
    let contents = examine(Disk::with(image, usize::MAX), FORMATS)?;
    contents.map_err(|format| format!("format {format}").into())
}

/// A disk with an empty store.
fn empty() -> Vec<u8> {
    let disk = Disk::with(Vec::new(), usize::MAX);
    initialise(&Database::builder().create_with_backend(disk.clone()).unwrap(), FORMATS).unwrap();
    let state = disk.0.lock().unwrap();
    state.current.clone()
}

/// Lets the power fail at each call to the disk that `work` makes, and shows `judge` what was acknowledged and what the
/// store finds on each disk that may be left. Returns how often the power failed.
fn at_every_call<A>(image: &[u8], work: impl Fn(&Disk) -> A, judge: impl Fn(&A, Contents, &str)) -> usize {
    for calls in 0.. {
        let disk = Disk::with(image.to_vec(), calls);
        let acknowledged = work(&disk);
        for (n, image) in disk.images().into_iter().enumerate() {
            let context = format!("after {calls} calls, image {n}");
            let found = contents(&Disk::with(image, usize::MAX)).unwrap_or_else(|error| panic!("{context}: {error}"));
            judge(&acknowledged, found, &context);
        }
        if disk.0.lock().unwrap().left > 0 {
            return calls;
        }
    }
    unreachable!("the work ends some time")
}

/// How many commits are remembered.
const REMEMBERED: u64 = 2;

/// Each batch replaces a row, adds one and removes one, and lets one more commit be forgotten.
fn batch(n: u64) -> Batch {
    let key = |name: &str, n: u64| format!("{name}{n}").into_bytes();
    Batch {
        index: n,
        changes: vec![
            (b"same".to_vec(), Some(n.to_string().repeat(500).into_bytes())),
            (key("new", n), Some(key("value", n))),
            (key("new", n - 1), None),
        ],
        history: HistoryBatch {
            begins: (n == 1).then_some((OffsetDateTime::UNIX_EPOCH, 0)),
            commits: vec![note(n)],
            forgotten: n
                .checked_sub(REMEMBERED)
                .filter(|old| *old > 0)
                .map(|old| (Class::Config, old))
                .into_iter()
                .collect(),
        },
    }
}

fn note(n: u64) -> Note {
    Note { index: n, since: n - 1, time: OffsetDateTime::UNIX_EPOCH, author: Author::Files, changes: 3 }
}

/// What is remembered after the first `n` batches.
fn remembered(n: u64) -> Option<Remembered> {
    let forgotten = n.saturating_sub(REMEMBERED);
    let commit = |n: u64| {
        let value = |key: &[u8], n: u64| rows(n).into_iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let row = |(key, new): (Vec<u8>, Option<Vec<u8>>)| RememberedRow { old: value(&key, n - 1), key, new };
        RememberedCommit { note: note(n), rows: batch(n).changes.into_iter().map(row).collect() }
    };
    (n > 0).then(|| Remembered {
        began: (OffsetDateTime::UNIX_EPOCH, 0),
        forgotten_until: Class::ALL
            .into_iter()
            .map(|it| (it, if it == Class::Config { forgotten } else { 0 }))
            .collect(),
        commits: (forgotten + 1..=n).map(commit).collect(),
    })
}

/// What is loaded after the first `n` batches.
fn after(n: u64) -> Loaded {
    Loaded { index: n, rows: rows(n), history: remembered(n) }
}

fn rows(n: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    match n {
        0 => Vec::new(),
        n => vec![
            (format!("new{n}").into_bytes(), format!("value{n}").into_bytes()),
            (b"same".to_vec(), n.to_string().repeat(500).into_bytes()),
        ],
    }
}

/// Persists batches until the power fails; returns how many were acknowledged.
fn persist_all(disk: &Disk, last: u64) -> u64 {
    let Ok(mut embedded) = open(disk) else { return 0 };
    (1..=last).take_while(|n| embedded.persist(&batch(*n)).is_ok()).count() as u64
}

#[test]
fn whatever_was_acknowledged_is_there_after_the_power_fails() {
    const LAST: u64 = 5;
    let judge = |acknowledged: &u64, found: Contents, context: &str| {
        let is_next = *acknowledged < LAST && found.loaded == after(acknowledged + 1);
        assert!(
            found.loaded == after(*acknowledged) || is_next,
            "{context}: {acknowledged} batches were acknowledged, and the index is {}",
            found.loaded.index
        );
    };

    let failures = at_every_call(&empty(), |disk| persist_all(disk, LAST), judge);

    assert!(failures > 20, "the power failed only {failures} times");
}

/// Writes pairs of rows at the same time, so that some share a commit; returns the numbers of those that were acknowledged.
fn write_together(disk: &Disk) -> BTreeSet<u64> {
    let Ok(embedded) = open(disk) else { return BTreeSet::new() };
    let (store, writer) = open_store(embedded);
    let writes = (1..=8).map(|number| {
        let written = store.write(pair(number));
        async move { written.await.is_ok().then_some(number) }
    });
    let acknowledged = block_on(join_all(writes)).into_iter().flatten().collect();
    drop(store);
    writer.join().unwrap();
    acknowledged
}

#[test]
fn commits_that_share_a_sync_are_there_or_not_each_as_a_whole() {
    let judge = |acknowledged: &BTreeSet<u64>, found: Contents, context: &str| {
        let view = load(found.loaded.index, &found.loaded.rows).unwrap();
        let found = pairs(&view);
        assert!(acknowledged.is_subset(&found), "{context}: {acknowledged:?} were acknowledged, {found:?} are there");
        assert_eq!(view.index(), if found.is_empty() { 0 } else { 1 + found.len() as u64 }, "{context}");
    };

    let failures = at_every_call(&empty(), write_together, judge);

    assert!(failures > 5, "the power failed only {failures} times");
}

#[test]
fn a_snapshot_is_restored_or_not_as_a_whole() {
    let disk = Disk::with(empty(), usize::MAX);
    write_together(&disk);
    let image = disk.0.lock().unwrap().current.clone();
    let restore = |disk: &Disk| {
        let Ok(embedded) = open(disk) else { return false };
        let (store, writer) = open_store(embedded);
        let wanted = View::default().after(&(20..40).flat_map(pair).collect::<Vec<_>>());
        let restored = block_on(store.write_with(move |view| Ok(view.to_become(&wanted)))).is_ok();
        drop(store);
        writer.join().unwrap();
        restored
    };
    let judge = |is_restored: &bool, found: Contents, context: &str| {
        let found = pairs(&load(found.loaded.index, &found.loaded.rows).unwrap());
        let is_old = found == (1..=8).collect();
        assert!(found == (20..40).collect() || (is_old && !is_restored), "{context}: {found:?}");
    };

    let failures = at_every_call(&image, restore, judge);

    assert!(failures > 3, "the power failed only {failures} times");
}

#[test]
fn a_migration_is_done_or_not_as_a_whole() {
    let image = unpacked(1);
    let judge = |is_done: &bool, found: Contents, context: &str| {
        assert_eq!((found.loaded.index, &found.loaded.rows), (7, &golden_rows()), "{context}");
        assert!(found.format == FORMATS.newest() || (found.format == 1 && !is_done), "{context}: {}", found.format);
    };

    let failures = at_every_call(&image, |disk| open(disk).is_ok(), judge);

    assert!(failures > 3, "the power failed only {failures} times");
}
