//! What can still be read of a damaged file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, StorageBackend, StorageError};

use super::examine::examine;
use super::format::{FORMAT, FORMATS, INDEX, META, ROWS, SEALED_SINCE};
use super::named::is_key;
use super::overlay::Overlay;
use super::seal::opened;
use super::{FILE, Failure, held, refused, unless_damaged};
use crate::store::{Index, StoreError};

/// Where pages begin.
const PAGE: usize = 4096;
/// The first byte of a page with rows.
pub(super) const LEAF: u8 = 1;

/// What is left of a file.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The index after the last commit, if that can be read.
    pub(crate) index: Option<Index>,
    /// Rows that are as they were written at some time.
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys of those among them that have no sum, as in the first format: they look like rows, and no more is known.
    pub(crate) unsealed: BTreeSet<Vec<u8>>,
    /// Keys of rows that are there, and are not as they were written.
    pub(crate) damaged: BTreeSet<Vec<u8>>,
    /// How far the rest can be trusted.
    pub(crate) state: Remaining,
    /// Pages that the disk does not give back.
    pub(crate) unreadable: usize,
}

/// How far what is left of a file can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Remaining {
    /// Everything is there.
    Whole,
    /// All rows are there that the file lists. It may list too few, and older ones, if a page was never written or was
    /// written to another place.
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
    salvage_on(directory, FileBackend::new)
}

/// Like `salvage`, with `backend` between redb and the file.
pub(super) fn salvage_on<B: StorageBackend>(
    directory: &Path,
    backend: impl Fn(File) -> Result<B, DatabaseError>,
) -> Result<Remains, StoreError> {
    let path = directory.join(FILE);
    let refuse = |source: Failure| refused(path.clone(), source);
    let held = Held::open(&path, backend).map_err(refuse)?;
    let file = || Ok::<_, Failure>(Overlay::new(held.0.clone())?);
    match unless_damaged(|| examine(file()?, FORMATS)) {
        Ok(Ok(contents)) => {
            let (index, rows) = (Some(contents.loaded.index), contents.loaded.rows.into_iter().collect());
            return Ok(Remains { index, rows, state: Remaining::Whole, ..Remains::default() });
        }
        Ok(Err(found)) => return Err(FORMATS.refuse(path, found)),
        // Whatever is wrong with it, a part may be readable.
        Err(_) => {}
    }
    let mut unreadable = 0;
    let mut bytes = || {
        let (bytes, missing) = readable(&*held.0)?;
        unreadable = missing;
        Ok(bytes)
    };
    let mut remains = match unless_damaged(|| Ok(Builder::new().create_with_backend(file()?)?)) {
        // It is not closed, as in `examine`.
        Ok(database) => gather(&ManuallyDrop::new(database), &mut bytes),
        Err(_) => bytes().map(|bytes| scan(&bytes)).map_err(|error: io::Error| refuse(error.into()))?,
    };
    remains.unreadable = unreadable;
    Ok(remains)
}

/// The bytes of a file, with zeros in place of the pages that cannot be read, and how many these are.
fn readable(file: &impl StorageBackend) -> io::Result<(Vec<u8>, usize)> {
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let mut unreadable = 0;
    for (number, page) in bytes.chunks_mut(PAGE).enumerate() {
        if file.read((number * PAGE) as u64, page).is_err() {
            page.fill(0);
            unreadable += 1;
        }
    }
    Ok((bytes, unreadable))
}

/// What the file lists, and, unless that is everything that it says it has, what else is on its pages if they can be read.
pub(super) fn gather(database: &Database, bytes: impl FnOnce() -> io::Result<Vec<u8>>) -> Remains {
    let (mut remains, is_all) = walk(database);
    if !is_all && let Ok(bytes) = bytes() {
        remains.add(scan(&bytes));
    }
    remains
}

/// A file that nobody writes to for as long as this lives.
struct Held<B: StorageBackend>(Arc<B>);

impl<B: StorageBackend> Held<B> {
    /// # Errors
    /// There is no such file, or another process has it open.
    fn open(path: &Path, backend: impl Fn(File) -> Result<B, DatabaseError>) -> Result<Self, Failure> {
        let file = backend(File::open(path)?)?;
        held(file.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded))?;
        Ok(Self(Arc::new(file)))
    }
}

impl<B: StorageBackend> Drop for Held<B> {
    fn drop(&mut self) {
        // What is left open of a damaged file must not hold it any longer. The process that reads it ends soon in any case.
        self.0.close().ok();
    }
}

/// Looks for rows from both ends of each table, so that only what is behind damaged pages on both sides is missed. True if
/// nothing is: as many rows as there should be.
fn walk(database: &Database) -> (Remains, bool) {
    let mut remains = Remains::default();
    let number = |name| {
        let meta = database.begin_read()?.open_table(META)?;
        Ok(meta.get(name)?.map(|number| number.value()))
    };
    let number = |name| unless_damaged(|| number(name)).ok().flatten();
    remains.index = number(INDEX);
    let format = number(FORMAT);
    let mut listed = Some(0);
    for tag in 0..u8::MAX {
        let mut take = |way| unless_damaged(|| remains.take_table(database, format, tag, way)).ok();
        let count = take(Way::Up).or_else(|| take(Way::Down));
        listed = listed.zip(count).map(|(listed, count)| listed + count);
    }
    let should = unless_damaged(|| Ok(database.begin_read()?.open_table(ROWS)?.len()?)).ok();
    (remains, listed.is_some() && listed == should)
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Remains {
    /// Takes the rows whose keys begin with a byte, until something is in the way. Returns how many there are.
    fn take_table(&mut self, database: &Database, format: Option<u64>, tag: u8, way: Way) -> Result<u64, Failure> {
        let table = database.begin_read()?.open_table(ROWS)?;
        let mut rows = table.range::<&[u8]>(&[tag][..]..&[tag + 1][..])?;
        let mut seen = BTreeSet::new();
        loop {
            let row = match way {
                Way::Up => rows.next(),
                Way::Down => rows.next_back(),
            };
            let Some(row) = row else { return Ok(seen.len() as u64) };
            let (key, stored) = row?;
            // Damaged pages could lead around in a circle.
            if !seen.insert(key.value().to_vec()) {
                return Err(StorageError::Corrupted("a row comes twice".to_owned()).into());
            }
            self.take(key.value(), read(key.value(), stored.value(), format));
        }
    }

    fn take(&mut self, key: &[u8], row: Option<Row<'_>>) {
        let Some(row) = row else {
            self.damaged.insert(key.to_vec());
            return;
        };
        self.rows.insert(key.to_vec(), row.value.to_vec());
        if !row.is_sealed {
            self.unsealed.insert(key.to_vec());
        }
    }

    /// Adds rows that this knows nothing of.
    fn add(&mut self, mut others: Self) {
        others.rows.retain(|key, _| !self.rows.contains_key(key) && !self.damaged.contains(key));
        others.unsealed.retain(|key| others.rows.contains_key(key));
        self.rows.append(&mut others.rows);
        self.unsealed.append(&mut others.unsealed);
        self.index = self.index.max(others.index);
        self.state = others.state;
    }
}

/// The value of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'f> {
    value: &'f [u8],
    /// Whether it has a sum, which is right.
    is_sealed: bool,
}

impl Row<'_> {
    /// Of several versions of a row the one counts that a later commit wrote, among those that are certain if there are any.
    fn worth(self) -> (bool, Option<Index>) {
        (self.is_sealed, modified_at(self.value))
    }
}

/// A row, if it is as it was written, as far as that can be told in a format; in none if it is not known.
fn read<'f>(key: &[u8], stored: &'f [u8], format: Option<u64>) -> Option<Row<'f>> {
    if let Some(value) = opened(key, stored) {
        return Some(Row { value, is_sealed: true });
    }
    let may_lack_sums = format.is_none_or(|format| format < SEALED_SINCE);
    let is_row = may_lack_sums && is_key(key) && modified_at(stored).is_some();
    is_row.then_some(Row { value: stored, is_sealed: false })
}

/// Gathers rows from whatever page has some, when nothing says any more which pages count.
fn scan(bytes: &[u8]) -> Remains {
    let mut found: BTreeMap<&[u8], Row<'_>> = BTreeMap::new();
    for from in (0..bytes.len()).step_by(PAGE) {
        for (key, row) in rows_at(&bytes[from..]) {
            if found.get(key).is_none_or(|known| row.worth() > known.worth()) {
                found.insert(key, row);
            }
        }
    }
    let mut remains = Remains { state: Remaining::Pages, ..Remains::default() };
    found.iter().for_each(|(key, row)| remains.take(key, Some(*row)));
    remains.index = remains.rows.values().filter_map(|value| modified_at(value)).max();
    remains
}

/// The rows of a page that are as they were written. A page has its type, the number of its rows, where each key and then each value
/// ends, then keys and values.
pub(super) fn rows_at(page: &[u8]) -> impl Iterator<Item = (&[u8], Row<'_>)> {
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
        Some((key, read(key, stored, None)?))
    })
}

/// The commit that wrote a value.
fn modified_at(value: &[u8]) -> Option<Index> {
    serde_json::from_slice::<serde_json::Value>(value).ok()?.get("modify")?.as_u64()
}
