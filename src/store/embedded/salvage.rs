//! What can still be read of a damaged file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, StorageError};

use super::examine::examine;
use super::format::{FORMATS, INDEX, META, ROWS};
use super::overlay::Overlay;
use super::seal::opened;
use super::{FILE, Failure, held, refused, unless_damaged};
use crate::store::{Index, StoreError};

/// Where pages begin.
const PAGE: usize = 4096;
/// The first byte of a page with rows.
const LEAF: u8 = 1;

/// What is left of a file.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The index after the last commit, if that can be read.
    pub(crate) index: Option<Index>,
    /// Rows that are as they were written.
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys of rows that are there, and are not as they were written.
    pub(crate) damaged: BTreeSet<String>,
    /// How far the rest can be trusted.
    pub(crate) state: Remaining,
}

/// How far what is left of a file can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Remaining {
    /// Everything is there.
    Whole,
    /// All rows are of the last commit; others may be missing.
    #[default]
    Part,
    /// Rows were gathered from single pages: some may be missing, and some may be back that were removed.
    Pages,
}

/// Reads what can be read of the store of a data directory, without changing it.
///
/// # Errors
/// There is no such file, it has an unknown format, or a process has it open.
pub(crate) fn salvage(directory: &Path) -> Result<Remains, StoreError> {
    let path = directory.join(FILE);
    let refuse = |source: Failure| refused(path.clone(), source);
    let held = Held::open(&path).map_err(refuse)?;
    let file = || Ok::<_, Failure>(Overlay::new(held.0.clone())?);
    match unless_damaged(|| examine(file()?, FORMATS)) {
        Ok(Ok(contents)) => {
            let (index, rows) = (Some(contents.loaded.index), contents.loaded.rows.into_iter().collect());
            return Ok(Remains { index, rows, damaged: BTreeSet::new(), state: Remaining::Whole });
        }
        Ok(Err(found)) => return Err(FORMATS.refuse(path, found)),
        Err(source) => {
            if let error @ (StoreError::Open { .. } | StoreError::InUse { .. }) = refuse(source) {
                return Err(error);
            }
        }
    }
    match unless_damaged(|| Ok(Builder::new().create_with_backend(file()?)?)) {
        // It is not closed, as in `examine`.
        Ok(database) => Ok(walk(&ManuallyDrop::new(database))),
        Err(_) => std::fs::read(&path).map(|bytes| scan(&bytes)).map_err(|error| refuse(error.into())),
    }
}

/// A file that nobody writes to for as long as this lives.
struct Held(Arc<FileBackend>);

impl Held {
    /// # Errors
    /// There is no such file, or another process has it open.
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = FileBackend::new(File::open(path)?)?;
        held(file.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded))?;
        Ok(Self(Arc::new(file)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What is left open of a damaged file must not hold it any longer. The process that reads it ends soon in any case.
        self.0.close().ok();
    }
}

/// Looks for rows from both ends of each table, so that only what is behind damaged pages on both sides is missed.
fn walk(database: &Database) -> Remains {
    let mut remains = Remains::default();
    let number = |name| {
        let meta = database.begin_read()?.open_table(META)?;
        Ok(meta.get(name)?.map(|number| number.value()))
    };
    remains.index = unless_damaged(|| number(INDEX)).ok().flatten();
    for tag in 0..u8::MAX {
        for way in [Way::Up, Way::Down] {
            if unless_damaged(|| remains.take_table(database, tag, way)).is_ok() {
                break;
            }
        }
    }
    remains
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Remains {
    /// Takes the rows whose keys begin with a byte, until something is in the way.
    fn take_table(&mut self, database: &Database, tag: u8, way: Way) -> Result<(), Failure> {
        let table = database.begin_read()?.open_table(ROWS)?;
        let mut rows = table.range::<&[u8]>(&[tag][..]..&[tag + 1][..])?;
        let mut seen = BTreeSet::new();
        loop {
            let row = match way {
                Way::Up => rows.next(),
                Way::Down => rows.next_back(),
            };
            let Some(row) = row else { return Ok(()) };
            let (key, stored) = row?;
            // Damaged pages could lead around in a circle.
            if !seen.insert(key.value().to_vec()) {
                return Err(StorageError::Corrupted("a row comes twice".to_owned()).into());
            }
            self.take(key.value(), stored.value());
        }
    }

    fn take(&mut self, key: &[u8], stored: &[u8]) {
        match opened(key, stored) {
            Some(value) => drop(self.rows.insert(key.to_vec(), value.to_vec())),
            None => drop(self.damaged.insert(String::from_utf8_lossy(key).into_owned())),
        }
    }
}

/// Gathers rows from whatever page has some, when nothing says any more which pages count. Of several versions of a row the
/// one counts that a later commit wrote.
fn scan(bytes: &[u8]) -> Remains {
    let mut remains = Remains { state: Remaining::Pages, ..Remains::default() };
    for from in (0..bytes.len()).step_by(PAGE) {
        for (key, value) in rows_at(&bytes[from..]) {
            let newest = remains.rows.get(key).and_then(|known| modified_at(known));
            if newest.is_none_or(|newest| modified_at(value).is_some_and(|at| at > newest)) {
                remains.rows.insert(key.to_vec(), value.to_vec());
            }
        }
    }
    remains.index = remains.rows.values().filter_map(|value| modified_at(value)).max();
    remains
}

/// The rows of a page whose sums are right. A page has its type, the number of its rows, where each key and then each value
/// ends, then keys and values.
fn rows_at(page: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let count = match page {
        [LEAF, _, low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
        _ => 0,
    };
    // Where the end with this number says that it is; the first key begins behind all of them.
    let end = move |number: usize| {
        let at = 4 + 4 * number;
        let bytes = page.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    let part = move |number: usize| {
        let from = if number == 0 { 4 + 8 * count } else { end(number - 1)? };
        page.get(from..end(number)?)
    };
    (0..count).filter_map(move |number| {
        let (key, stored) = (part(number)?, part(count + number)?);
        Some((key, opened(key, stored)?))
    })
}

/// The commit that wrote a value.
fn modified_at(value: &[u8]) -> Option<Index> {
    serde_json::from_slice::<serde_json::Value>(value).ok()?.get("modify")?.as_u64()
}
