//! Files that are damaged anywhere: everything that was acknowledged is there, or there is an error and the file stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;

use time::OffsetDateTime;

use super::salvage::{LEAF, Remaining, gather, salvage};
use super::tests::{golden_rows, undisturbed, unpacked};
use super::*;
use crate::store::{Author, Note};

/// The first byte of a page of a table that leads to other pages.
const BRANCH: u8 = 2;

/// Whether the process that wrote a file closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
}

fn key(number: u32) -> Vec<u8> {
    format!("{}{number}", if number.is_multiple_of(3) { 'n' } else { 's' }).into_bytes()
}

fn value(number: u32, modify: u64) -> Vec<u8> {
    format!("{{\"modify\":{modify},\"value\":\"{}\"}}", "x".repeat(number as usize % 97)).into_bytes()
}

/// True for a row that [`file`] has at some time.
fn was_written(row: &[u8], was: &[u8]) -> bool {
    (0..400).any(|number| row == key(number) && (2..7).any(|index| was == value(number, index)))
}

/// A file of several commits, and what it holds after the last one.
fn file(end: End) -> (Vec<u8>, Loaded) {
    let directory = tempfile::tempdir().unwrap();
    let mut embedded = Embedded::open(directory.path()).unwrap();
    let mut rows = BTreeMap::new();
    for index in 2..7_u64 {
        let mut batch = Batch { index, ..Batch::default() };
        for number in (0..400).filter(|number| u64::from(*number) % index < 3) {
            batch.changes.push((key(number), Some(value(number, index))));
            rows.insert(key(number), value(number, index));
        }
        let gone = key(index as u32 * 10);
        rows.remove(&gone);
        batch.changes.push((gone, None));
        let (since, time, changes) = (index - 1, OffsetDateTime::UNIX_EPOCH, batch.changes.len());
        batch.history.commits.push(Note { index, since, time, author: Author::Files, changes });
        batch.history.begins = (index == 2).then_some((time, since));
        embedded.persist(&batch).unwrap();
    }
    let path = directory.path().join(FILE);
    let killed = std::fs::read(&path).unwrap();
    drop(embedded);
    let bytes = if end == End::Killed { killed } else { std::fs::read(&path).unwrap() };
    let history = Embedded::open(directory.path()).unwrap().load().unwrap().history;
    assert_eq!(history.as_ref().unwrap().commits.len(), 5);
    (bytes, Loaded { index: 6, rows: rows.into_iter().collect(), history })
}

/// What became of damaged files.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    refused: usize,
    /// Rows that were saved of those that were refused.
    saved: usize,
}

/// A place to put damaged files into.
struct Bench {
    directory: tempfile::TempDir,
    truth: Loaded,
    tally: Tally,
}

impl Bench {
    fn new(truth: Loaded) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), truth, tally: Tally::default() }
    }

    fn judge(&mut self, damaged: &[u8], context: &str) {
        let _undisturbed = undisturbed();
        let path = self.directory.path().join(FILE);
        std::fs::write(&path, damaged).unwrap();
        match Embedded::open(self.directory.path()).and_then(|mut embedded| embedded.load()) {
            Ok(loaded) => {
                assert!(loaded == self.truth, "{context}: rows are lost, or others than they were");
                self.tally.whole += 1;
            }
            Err(StoreError::Damaged { .. } | StoreError::Format { .. }) => {
                assert!(std::fs::read(&path).unwrap() == damaged, "{context}: the file was changed");
                self.tally.refused += 1;
                self.salvage(context);
            }
            Err(error) => panic!("{context}: {error}"),
        }
    }

    fn salvage(&mut self, context: &str) {
        // A format that is unknown is none to save rows of.
        let Ok(remains) = salvage(self.directory.path()) else { return };
        self.tally.saved += remains.rows.len();
        let truth: BTreeMap<_, _> = self.truth.rows.iter().cloned().collect();
        for (key, value) in &remains.rows {
            let is_right = truth.get(key) == Some(value) || was_written(key, value);
            assert!(is_right, "{context}: {key:?} never was {value:?}");
        }
    }
}

#[test]
fn a_changed_byte_is_harmless_or_found() {
    // The head decides on everything, so more of its bytes are tried. The ninth is among them.
    for (end, of_head, of_rest) in [(End::Closed, 3, 60), (End::Killed, 9, 20)] {
        let (bytes, truth) = file(end);
        let rows = truth.rows.len();
        let mut bench = Bench::new(truth);
        let rest = (320..bytes.len()).step_by(bytes.len() / of_rest);
        for at in (0..320).step_by(of_head).chain(rest) {
            // The bit of the head that says which of the last two commits counts: a process that is killed while it is
            // about to be changed leaves the same file as one that had just changed it.
            let flip = if at == 9 && end == End::Killed { 0xfe } else { 0xff };
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            bench.judge(&damaged, &format!("{end:?}, byte {at}"));
        }
        let Tally { whole, refused, saved } = bench.tally;
        assert!(whole > 5 && refused > 5, "{end:?}: {whole} were whole, {refused} refused");
        assert!(saved > refused * rows / 2, "{end:?}: {saved} of {refused} times {rows} rows were saved");
    }
}

#[test]
fn a_file_that_is_cut_short_is_found() {
    for end in [End::Closed, End::Killed] {
        let (bytes, truth) = file(end);
        let mut bench = Bench::new(truth);
        for length in (0..bytes.len()).step_by(4096).flat_map(|at| [at, at + 1, at + 2048]) {
            bench.judge(&bytes[..length.min(bytes.len() - 1)], &format!("{end:?}, length {length}"));
        }
        assert!(bench.tally.saved > 0, "{end:?}: {:?}", bench.tally);
    }
}

#[test]
fn a_page_that_was_never_written_is_found() {
    let (bytes, truth) = file(End::Closed);
    let mut bench = Bench::new(truth);
    for at in (4096..bytes.len()).step_by(4096) {
        for fill in [0x00, 0x01, 0xa5] {
            let mut damaged = bytes.clone();
            damaged[at..(at + 4096).min(bytes.len())].fill(fill);
            bench.judge(&damaged, &format!("page at {at} is {fill}"));
        }
    }
    assert!(bench.tally.refused > 10, "{:?}", bench.tally);
}

#[test]
fn a_page_in_the_place_of_another_is_found() {
    let (bytes, truth) = file(End::Closed);
    let mut bench = Bench::new(truth);
    let pages: Vec<_> = bytes.chunks_exact(4096).collect();
    let used: Vec<_> = (1..pages.len()).filter(|at| matches!(pages[*at][0], LEAF | BRANCH)).collect();
    for (number, to) in used.iter().enumerate() {
        for further in [1, 2, 3, used.len() / 2] {
            let from = used[(number + further) % used.len()];
            let mut damaged = bytes.clone();
            damaged[to * 4096..][..4096].copy_from_slice(pages[from]);
            bench.judge(&damaged, &format!("page {from} is over page {to}"));
        }
    }
    assert!(bench.tally.refused > 10 && bench.tally.saved > 1000, "{:?}", bench.tally);
}

#[test]
fn all_damaged_rows_are_named_at_once_and_the_others_are_saved() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let mut embedded = Embedded::open(directory.path()).unwrap();
    let row = |n: u8| (format!("n{n}").into_bytes(), Some(format!("the value of row {n}").into_bytes()));
    embedded.persist(&Batch { index: 2, changes: (1..=5).map(row).collect(), ..Batch::default() }).unwrap();
    drop(embedded);
    let path = directory.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    for damaged in ["the value of row 2", "the value of row 4"] {
        let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(damaged.as_bytes())).collect();
        places.into_iter().for_each(|at| bytes[at] = b'T');
    }
    std::fs::write(&path, &bytes).unwrap();

    let error = Embedded::open(directory.path()).unwrap_err().to_string();

    let folder = directory.path().display();
    assert_eq!(
        error,
        format!(
            "the store {folder}/meshgate.redb is damaged: 2 of the rows are not as they were written: n2, n4. Restore a \
             snapshot into an empty data directory, or save what can be read: meshgate snapshot save -from-data-dir \
             {folder} FILE"
        )
    );
    let remains = salvage(directory.path()).unwrap();
    assert_eq!(remains.rows.into_keys().collect::<Vec<_>>(), [b"n1", b"n3", b"n5"]);
    assert_eq!(remains.damaged.into_iter().collect::<Vec<_>>(), [b"n2", b"n4"]);
    assert_eq!(remains.unsealed, BTreeSet::new());
    assert_eq!((remains.index, remains.state), (Some(2), Remaining::Part));
}

#[test]
fn rows_are_gathered_from_pages_when_nothing_else_is_left() {
    let _undisturbed = undisturbed();
    let (mut bytes, truth) = file(End::Closed);
    bytes[..4096].fill(0);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), &bytes).unwrap();

    let remains = salvage(directory.path()).unwrap();

    assert_eq!((remains.state, remains.index), (Remaining::Pages, Some(6)));
    let lost = truth.rows.iter().filter(|(key, value)| remains.rows.get(key) != Some(value)).count();
    assert_eq!(lost, 0);
}

#[test]
fn rows_behind_a_page_that_leads_nowhere_are_gathered_from_pages() {
    let _undisturbed = undisturbed();
    let (mut bytes, truth) = file(End::Closed);
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    // Without checks that only a test has, redb opens a file with such pages; so they go bad here once it is open.
    let overlay = Overlay::new(Arc::new(FileBackend::new(File::open(&path).unwrap()).unwrap())).unwrap();
    let database = ManuallyDrop::new(Builder::new().set_cache_size(0).create_with_backend(overlay).unwrap());
    for page in bytes[4096..].chunks_mut(4096).filter(|page| page[0] == BRANCH) {
        page.fill(0xa5);
    }
    std::fs::write(&path, &bytes).unwrap();

    let unreadable = gather(&database, || Err(std::io::ErrorKind::Other.into()));
    let remains = gather(&database, || Ok(bytes));

    assert_eq!((unreadable.state, unreadable.index), (Remaining::Part, Some(6)));
    assert_eq!((remains.state, remains.index), (Remaining::Pages, Some(6)));
    let lost = truth.rows.iter().filter(|(key, value)| remains.rows.get(key) != Some(value)).count();
    assert_eq!(lost, 0);
}

#[test]
fn rows_without_sums_are_saved_and_counted() {
    let _undisturbed = undisturbed();
    let golden: BTreeMap<_, _> = golden_rows().into_iter().collect();
    let keys: BTreeSet<_> = golden.keys().cloned().collect();
    let saved = |bytes: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), bytes).unwrap();
        salvage(directory.path()).unwrap()
    };
    let replaced = |old: &str, new: &str| {
        let mut bytes = unpacked(1);
        let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old.as_bytes())).collect();
        places.into_iter().for_each(|at| bytes[at..][..new.len()].copy_from_slice(new.as_bytes()));
        saved(&bytes)
    };
    let mut headless = unpacked(1);
    headless[..4096].fill(0);

    let pages = saved(&headless);
    let other = replaced("gateway-1", "gateway-2");
    let broken = replaced("{\"create\":3,\"modify\":7,", "{\"create\":3,\"modify\"!7,");

    assert_eq!((pages.state, pages.index), (Remaining::Pages, Some(7)));
    assert_eq!((&pages.rows, &pages.unsealed), (&golden, &keys));
    assert_eq!((other.state, other.index, &other.unsealed), (Remaining::Part, Some(7), &keys));
    assert_ne!(other.rows, golden);
    let [laptop] = broken.damaged.iter().collect::<Vec<_>>()[..] else { panic!("{broken:?}") };
    assert!(laptop.starts_with(b"n{"));
    assert_eq!((broken.rows.len(), broken.unsealed.len()), (golden.len() - 1, golden.len() - 1));
}
