//! Formats of the file, and the way from one to the next.
//!
//! | format | rows | `meta` |
//! |---|---|---|
//! | 1 | key → value | `format`, `index` |
//! | 2 | key → sum and value, see `seal` | `format`, `index`, `sum` |
//!
//! Whoever knows nothing of the history, see `past`, reads and writes the same format.

use std::ops::Bound;
use std::path::PathBuf;

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::Failure;
use super::seal::{Total, sealed};
use crate::store::{Loaded, StoreError};

/// Rows by key.
pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// What is known of the whole file.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The format.
pub(super) const FORMAT: &str = "format";
/// The index after the last commit.
pub(super) const INDEX: &str = "index";
/// The [`Total`] of rows and index.
pub(super) const SUM: &str = "sum";

/// The first format whose rows have sums.
pub(super) const SEALED_SINCE: u64 = 2;

/// Most rows that a step holds in memory.
pub(super) const AT_ONCE: usize = 1024;

/// Makes of what a file of one format holds what the next format holds.
pub(super) type Step = fn(&WriteTransaction) -> Result<(), Failure>;

/// The formats that can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Formats {
    /// The oldest one.
    pub(super) oldest: u64,
    /// From each to the next.
    pub(super) steps: &'static [Step],
}

/// Those of this version. A step is never changed once a release has it; `testdata/store` has a file of each format.
pub(super) const FORMATS: Formats = Formats { oldest: 1, steps: &[seal_rows] };

impl Formats {
    /// The format that is written.
    pub(super) const fn newest(self) -> u64 {
        self.oldest + self.steps.len() as u64
    }

    /// True for one that can be read, if need be after the steps.
    pub(super) fn knows(self, format: u64) -> bool {
        (self.oldest..=self.newest()).contains(&format)
    }

    /// What whoever opens a file of another format is told.
    pub(super) fn refuse(self, path: PathBuf, found: u64) -> StoreError {
        StoreError::Format { path, found, oldest: self.oldest, newest: self.newest() }
    }

    /// Takes all steps from `format` on in one transaction: whatever fails or is cut short, the file is as it was.
    ///
    /// # Errors
    /// A step fails, or the file cannot be written.
    pub(super) fn migrate(self, database: &Database, format: u64) -> Result<(), Failure> {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        for step in self.steps.iter().skip((format - self.oldest) as usize) {
            step(&transaction)?;
        }
        transaction.open_table(META)?.insert(FORMAT, self.newest())?;
        transaction.commit()?;
        Ok(())
    }
}

/// Writes what an empty file of the newest format holds.
pub(super) fn initialise(database: &Database, formats: Formats) -> Result<(), Failure> {
    fill(database, formats.newest(), &Loaded::default())
}

/// Writes into an empty file all that it holds.
pub(super) fn fill(database: &Database, format: u64, all: &Loaded) -> Result<(), Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut rows = transaction.open_table(ROWS)?;
        let mut total = Total::of_index(all.index);
        for (key, value) in &all.rows {
            let stored = sealed(key, value);
            rows.insert(key.as_slice(), stored.as_slice())?;
            total = total.with(&stored);
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, format)?;
        meta.insert(INDEX, all.index)?;
        meta.insert(SUM, total.0)?;
    }
    transaction.commit()?;
    Ok(())
}

/// From 1 to 2: sums.
fn seal_rows(transaction: &WriteTransaction) -> Result<(), Failure> {
    let mut rows = transaction.open_table(ROWS)?;
    let mut meta = transaction.open_table(META)?;
    let index = meta.get(INDEX)?.map_or(0, |index| index.value());
    let mut total = Total::of_index(index);
    let mut last: Option<Vec<u8>> = None;
    loop {
        let after = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut some = Vec::new();
        for row in rows.range::<&[u8]>((after, Bound::Unbounded))?.take(AT_ONCE) {
            let (key, value) = row?;
            some.push((key.value().to_vec(), sealed(key.value(), value.value())));
        }
        let Some((key, _)) = some.last() else { break };
        last = Some(key.clone());
        for (key, stored) in some {
            total = total.with(&stored);
            rows.insert(key.as_slice(), stored.as_slice())?;
        }
    }
    meta.insert(INDEX, index)?;
    meta.insert(SUM, total.0)?;
    Ok(())
}
