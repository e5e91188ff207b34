//! A disk that fails while the process runs: for a moment, for a while, or where it is read.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use futures::executor::block_on;
use redb::backends::FileBackend;

use super::salvage::{Remaining, rows_at, salvage_on};
use super::tests::{open_store, pair, pairs, undisturbed};
use super::*;
use crate::model::entry::ServiceDefaults;
use crate::model::{ConfigEntry, EntryKey, EntryKind, Namespace, Partition, ServiceName};
use crate::store::{Op, PastError, Retention, Store};

/// What a disk cannot do; shared with the test.
#[derive(Debug, Clone)]
struct Faults(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Calls that change the file, so far.
    calls: usize,
    /// Those of them that fail.
    fail: Range<usize>,
    /// Bytes that cannot be read.
    unreadable: Range<u64>,
}

impl Faults {
    fn none() -> Self {
        Self(Arc::new(Mutex::new(State { calls: 0, fail: 0..0, unreadable: 0..0 })))
    }

    /// From now on, these of the coming calls fail.
    fn set(&self, fail: Range<usize>) {
        let mut state = self.0.lock().unwrap();
        (state.calls, state.fail) = (0, fail);
    }

    fn call(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        let fails = state.fail.contains(&(state.calls - 1));
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// How a file is opened on this disk.
    fn disk(&self) -> impl Fn(File) -> Result<Failing, DatabaseError> + Send + 'static {
        let faults = self.clone();
        move |file| Ok(Failing { file: FileBackend::new(file)?, faults: faults.clone() })
    }

    fn open(&self, directory: &Path) -> (Store, std::thread::JoinHandle<()>) {
        open_store(Embedded::open_on(directory, FORMATS, self.disk()).unwrap())
    }
}

#[derive(Debug)]
struct Failing {
    file: FileBackend,
    faults: Faults,
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let unreadable = self.faults.0.lock().unwrap().unreadable.clone();
        if offset < unreadable.end && unreadable.start < offset + out.len() as u64 {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.faults.call()?;
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.call()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.call()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }
}

/// The pairs that the next process finds.
fn found(directory: &Path) -> BTreeSet<u64> {
    let (store, writer) = open_store(Embedded::open(directory).unwrap());
    let found = pairs(&store.view());
    drop(store);
    writer.join().unwrap();
    found
}

/// The last commit of the history, which is that of the rows.
fn remembered(directory: &Path) -> Option<u64> {
    let loaded = Embedded::open(directory).unwrap().load().unwrap();
    let last = loaded.history?.commits.last()?.note.index;
    assert_eq!(last, loaded.index);
    Some(last)
}

#[test]
fn a_history_that_began_anew_does_not_reach_further_back_after_a_restart() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let few = || Retention { commits: 3, ..Retention::default() };
    let open = |embedded| Store::open_with(Box::new(embedded), Arc::new(|_, _, _| Ok(())), few()).unwrap();
    let protocol = |protocol: &str| {
        let (name, protocol) = ("web".to_owned(), protocol.to_owned());
        Op::PutEntry(ConfigEntry::ServiceDefaults(ServiceDefaults { name, protocol, ..ServiceDefaults::default() }))
    };
    let (store, writer) = open(Embedded::open_on(directory.path(), FORMATS, faults.disk()).unwrap());
    for name in ["tcp", "http", "http2"] {
        block_on(store.write(protocol(name))).unwrap();
    }
    faults.set(0..1);
    // All of it is written anew for the first of them, and the second one tells what was forgotten meanwhile.
    for name in ["grpc", "tcp"] {
        block_on(store.write(protocol(name))).unwrap();
    }
    faults.set(0..0);
    let entry = |store: &Store, at| {
        let key = EntryKey {
            kind: EntryKind::ServiceDefaults,
            name: ServiceName::new(&Partition::default(), &Namespace::default(), "web"),
        };
        store.history().entry_at(&key, at, &store.view()).map(|row| row.map(|row| row.modify_index))
    };
    assert_eq!(entry(&store, 3), Ok(Some(3)));
    drop(store);
    writer.join().unwrap();

    let (store, _) = open(Embedded::open(directory.path()).unwrap());

    assert_eq!(entry(&store, 3), Err(PastError::Forgotten { asked: 3, until: 4 }));
    assert_eq!([entry(&store, 4), entry(&store, 5), entry(&store, 6)], [Ok(Some(4)), Ok(Some(5)), Ok(Some(6))]);
}

#[test]
fn a_disk_that_fails_once_costs_no_write() {
    let _undisturbed = undisturbed();
    for call in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let (store, writer) = faults.open(directory.path());
        faults.set(call..call + 1);

        let written = (1..=4).all(|number| block_on(store.write(pair(number))).is_ok());

        let calls = faults.0.lock().unwrap().calls;
        faults.set(0..0);
        assert!(written, "call {call}");
        drop(store);
        writer.join().unwrap();
        assert_eq!(found(directory.path()), (1..=4).collect(), "call {call}");
        assert_eq!(remembered(directory.path()), Some(5), "call {call}");
        if calls <= call {
            assert!(call > 10, "only {call} calls");
            return;
        }
    }
}

#[test]
fn writes_are_taken_again_once_there_is_room_and_what_was_refused_is_not_there() {
    let _undisturbed = undisturbed();
    for call in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let (store, writer) = faults.open(directory.path());
        block_on(store.write(pair(1))).unwrap();
        faults.set(call..usize::MAX);

        let acknowledged: BTreeSet<_> =
            (2..=4).filter(|number| block_on(store.write(pair(*number))).is_ok()).chain([1]).collect();
        let failed = acknowledged.len() < 4;
        let seen = pairs(&store.view());
        let beside = directory.path().join(UNFINISHED).exists();
        faults.set(0..0);
        while block_on(store.write(pair(5))).is_err() {
            // Not at once: it rests after a try that failed.
            std::thread::yield_now();
        }

        assert_eq!(seen, acknowledged, "call {call}");
        assert!(!beside, "what could not be finished takes room");
        drop(store);
        writer.join().unwrap();
        assert_eq!(found(directory.path()), &acknowledged | &[5].into(), "call {call}");
        assert_eq!(remembered(directory.path()), Some(1 + acknowledged.len() as u64 + 1), "call {call}");
        if !failed {
            assert!(call > 5, "only {call} calls");
            return;
        }
    }
}

#[test]
fn the_new_file_belongs_to_the_process_that_made_it() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let (store, writer) = faults.open(directory.path());
    let old = File::open(directory.path().join(FILE)).unwrap().metadata().unwrap();
    faults.set(0..1);
    block_on(store.write(pair(1))).unwrap();

    assert!(!is_at(&directory.path().join(FILE), &old).unwrap(), "it is the old file still");
    let second = Embedded::open(directory.path()).unwrap_err();

    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
    drop(store);
    writer.join().unwrap();
}

#[test]
fn pages_that_the_disk_cannot_read_are_told_and_the_rows_of_the_others_are_saved() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = open_store(Embedded::open(directory.path()).unwrap());
    for number in 1..=200 {
        block_on(store.write(pair(number))).unwrap();
    }
    drop(store);
    writer.join().unwrap();
    let path = directory.path().join(FILE);
    let before = std::fs::read(&path).unwrap();
    let faults = Faults::none();
    let open_without = |page: usize| {
        let start = page as u64 * 4096;
        faults.0.lock().unwrap().unreadable = start..start + 1;
        Embedded::open_on(directory.path(), FORMATS, faults.disk())
    };
    // Pages of rows may be of commits that count no more.
    let of_rows = before.chunks(4096).enumerate().filter(|(_, page)| rows_at(page).next().is_some());
    let refused = of_rows.filter_map(|(page, _)| open_without(page).err()).next();

    let error = refused.unwrap().to_string();
    let remains = salvage_on(directory.path(), faults.disk()).unwrap();

    assert!(
        error.contains("is damaged: the disk cannot read all of it (") && error.contains("save what can be"),
        "{error}"
    );
    assert_eq!((remains.unreadable, remains.state), (1, Remaining::Pages));
    assert!((300..400).contains(&remains.rows.len()), "{} of 400 rows", remains.rows.len());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(found(directory.path()), (1..=200).collect());
}
