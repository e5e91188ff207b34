//! Files that are damaged anywhere: everything that was acknowledged is there, or there is an error and the file stays as it is.

use std::collections::BTreeMap;

use super::salvage::{Remaining, salvage};
use super::tests::undisturbed;
use super::*;

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

/// A file of several commits, and what it holds after the last one.
fn file(end: End) -> (Vec<u8>, Loaded) {
    let directory = tempfile::tempdir().unwrap();
    let mut embedded = Embedded::open(directory.path()).unwrap();
    let mut rows = BTreeMap::new();
    for index in 2..7_u64 {
        let mut batch = Batch { index, changes: Vec::new() };
        for number in (0..400).filter(|number| u64::from(*number) % index < 3) {
            batch.changes.push((key(number), Some(value(number, index))));
            rows.insert(key(number), value(number, index));
        }
        let gone = key(index as u32 * 10);
        rows.remove(&gone);
        batch.changes.push((gone, None));
        embedded.persist(&batch).unwrap();
    }
    let path = directory.path().join(FILE);
    let killed = std::fs::read(&path).unwrap();
    drop(embedded);
    let bytes = if end == End::Killed { killed } else { std::fs::read(&path).unwrap() };
    (bytes, Loaded { index: 6, rows: rows.into_iter().collect() })
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
        if remains.state != Remaining::Pages {
            let truth: BTreeMap<_, _> = self.truth.rows.iter().cloned().collect();
            let wrong = remains.rows.iter().find(|(key, value)| truth.get(*key) != Some(value));
            assert!(wrong.is_none(), "{context}: {wrong:?} was never there, or is gone");
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
fn a_page_of_another_file_is_found() {
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
fn all_damaged_rows_are_named_at_once_and_the_others_are_saved() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let mut embedded = Embedded::open(directory.path()).unwrap();
    let row = |n: u8| (format!("n{n}").into_bytes(), Some(format!("the value of row {n}").into_bytes()));
    embedded.persist(&Batch { index: 2, changes: (1..=5).map(row).collect() }).unwrap();
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
    assert_eq!(remains.damaged.into_iter().collect::<Vec<_>>(), ["n2", "n4"]);
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
