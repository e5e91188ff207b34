//! What a file holds, once it is certain that nothing is missing.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend};

use super::Failure;
use super::format::{FORMAT, Formats, INDEX, META, ROWS, SEALED_SINCE, SUM};
use super::named::named;
use super::past;
use super::seal::{Total, opened};
use crate::store::{Damage, Index, Loaded};

/// What is in a file of a format that is known.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) format: u64,
    pub(super) loaded: Loaded,
}

/// Reads a file, which may be changed by that, and checks all sums that are in it.
///
/// # Errors
/// [`Damage`] if it is not what was written; the format if it is another one; others if it cannot be read at all.
pub(super) fn examine(file: impl StorageBackend, formats: Formats) -> Result<Result<Contents, u64>, Failure> {
    // Only a file that is whole is closed: on another one that may panic, and a panic within a panic ends the process.
    let mut database = ManuallyDrop::new(Builder::new().create_with_backend(file)?);
    let format = format(&database)?;
    if !formats.knows(format) {
        return Ok(Err(format));
    }
    let loaded = read(&database, format)?;
    // Pages that no row is on, such as those that say which pages are free: a wrong one would cost rows later. What the
    // check mends after a crash is no damage, as long as nothing else comes of it.
    let was_clean = database.check_integrity()?;
    if !was_clean && !holds(&database, format, &loaded)? {
        return Err(Damage::Incomplete.into());
    }
    drop(ManuallyDrop::into_inner(database));
    Ok(Ok(Contents { format, loaded }))
}

/// The format that a file says it has.
fn format(database: &Database) -> Result<u64, Failure> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get(FORMAT)?.map(|format| format.value()).ok_or(Damage::Incomplete)?)
}

/// All rows, whose sums are right.
///
/// # Errors
/// As [`examine`].
pub(super) fn read(database: &Database, format: u64) -> Result<Loaded, Failure> {
    let mut rows = Vec::new();
    let index = visit(database, format, |key, value| rows.push((key.to_vec(), value.to_vec())))?;
    Ok(Loaded { index, rows, history: past::read(database, index) })
}

/// True if a file holds exactly this, in whatever order.
///
/// # Errors
/// As [`examine`].
pub(super) fn holds(database: &Database, format: u64, all: &Loaded) -> Result<bool, Failure> {
    let mut wanted: BTreeMap<&[u8], &[u8]> = all.rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let mut is_equal = true;
    let index = visit(database, format, |key, value| is_equal &= wanted.remove(key) == Some(value))?;
    Ok(is_equal && wanted.is_empty() && index == all.index)
}

/// Shows `take` each row with its value, in the order of keys, and returns the index.
fn visit(database: &Database, format: u64, mut take: impl FnMut(&[u8], &[u8])) -> Result<Index, Failure> {
    let transaction = database.begin_read()?;
    let (table, meta) = (transaction.open_table(ROWS)?, transaction.open_table(META)?);
    let number = |name| Ok::<_, Failure>(meta.get(name)?.map(|number| number.value()));
    let index = number(INDEX)?.unwrap_or(0);
    let (mut count, mut damaged, mut total) = (0, Vec::new(), Total::of_index(index));
    // Damaged pages could lead around in a circle.
    let most = table.len()?;
    for row in table.iter()? {
        let (key, stored) = row?;
        let (key, stored) = (key.value(), stored.value());
        if count >= most {
            return Err(Damage::Incomplete.into());
        }
        let value = if format >= SEALED_SINCE { opened(key, stored) } else { Some(stored) };
        total = total.with(stored);
        match value {
            Some(value) => {
                count += 1;
                take(key, value);
            }
            None => damaged.push(named(key)),
        }
    }
    if !damaged.is_empty() {
        return Err(Damage::Rows(damaged).into());
    }
    if count != most || (format >= SEALED_SINCE && number(SUM)? != Some(total.0)) {
        return Err(Damage::Incomplete.into());
    }
    Ok(index)
}
