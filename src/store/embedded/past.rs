//! The history in the file: what each commit found and left, written in the transaction of the commit.
//!
//! **Invariant.** The history is that of the rows beside it, or it is none. A process that knows nothing of it raises the index
//! and leaves the history where it is; so the history says until which commit it goes, and one that ends earlier is not
//! taken. No row depends on it: one with a wrong sum in it is given up, and the rows stay.

use std::collections::BTreeMap;

use prost::Message;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, TableError,
    WriteTransaction,
};
use time::OffsetDateTime;

use super::Failure;
use super::seal::{opened, sealed};
use crate::store::{
    Author, Batch, Class, Damage, HistoryBatch, Index, Note, Remembered, RememberedCommit, RememberedRow,
};

/// A [`Commit`] with its sum, by its index.
const COMMITS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
/// How far the history goes: what follows, and for each class the last commit that is forgotten.
const BOUNDS: TableDefinition<'_, &str, u64> = TableDefinition::new("history_bounds");
/// The last commit that is in it.
const UNTIL: &str = "until";
/// When it began, in nanoseconds since 1970.
const BEGAN: &str = "began";
/// The last commit before it.
const AFTER: &str = "after";

/// A commit that takes more bytes is not kept, nor what was before it: each start would read it, and a restored snapshot can be
/// larger than any value may be.
const LARGEST: usize = 64 << 20;

/// A commit as it is stored. Numbers of fields are never used twice.
#[derive(Clone, PartialEq, Message)]
struct Commit {
    #[prost(uint64, tag = "1")]
    since: Index,
    /// In nanoseconds since 1970.
    #[prost(uint64, tag = "2")]
    time: u64,
    /// A word of those of [`Author::kind`].
    #[prost(string, tag = "3")]
    author: String,
    /// Of who called; empty if it is not known.
    #[prost(string, tag = "4")]
    address: String,
    #[prost(message, repeated, tag = "5")]
    rows: Vec<Row>,
}

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    old: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    new: Option<Vec<u8>>,
}

/// Writes what a batch says about the history. `olds` are the values that its changes have replaced, in their order.
pub(super) fn write(
    transaction: &WriteTransaction,
    batch: &Batch,
    olds: Vec<Option<Vec<u8>>>,
) -> Result<(), redb::Error> {
    let HistoryBatch { begins, commits, forgotten } = &batch.history;
    if begins.is_none() && commits.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(COMMITS)?;
    let mut bounds = transaction.open_table(BOUNDS)?;
    if let Some((time, index)) = begins {
        begin(&mut table, &mut bounds, *time, *index)?;
    }
    let mut changes = batch.changes.iter().zip(olds);
    for note in commits {
        let rows = net(changes.by_ref().take(note.changes));
        let address = note.author.address().map(|address| address.to_string()).unwrap_or_default();
        let author = note.author.kind().to_owned();
        let commit = Commit { since: note.since, time: nanoseconds(note.time), author, address, rows };
        if commit.encoded_len() > LARGEST {
            begin(&mut table, &mut bounds, note.time, note.index)?;
            continue;
        }
        table.insert(note.index, &*sealed(&note.index.to_be_bytes(), &commit.encode_to_vec()))?;
    }
    for (class, index) in forgotten {
        table.remove(index)?;
        // It may have been forgotten in the file for longer than in memory.
        let until = bounds.get(class.as_str())?.map_or(0, |until| until.value());
        bounds.insert(class.as_str(), until.max(*index))?;
    }
    bounds.insert(UNTIL, batch.index)?;
    Ok(())
}

/// Lets the history begin after a commit.
fn begin(
    commits: &mut Table<'_, u64, &[u8]>,
    bounds: &mut Table<'_, &str, u64>,
    time: OffsetDateTime,
    index: Index,
) -> Result<(), redb::Error> {
    commits.retain(|_, _| false)?;
    bounds.insert(BEGAN, nanoseconds(time))?;
    bounds.insert(AFTER, index)?;
    for class in Class::ALL {
        bounds.insert(class.as_str(), index)?;
    }
    Ok(())
}

/// A change of a batch, and the value that it replaced.
type Replaced<'b> = (&'b (Vec<u8>, Option<Vec<u8>>), Option<Vec<u8>>);

/// What became of each row: of one that was changed twice, what the first change found and the last one left.
fn net<'b>(changes: impl Iterator<Item = Replaced<'b>>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places = BTreeMap::new();
    for ((key, new), old) in changes {
        let place = *places.entry(key.as_slice()).or_insert(rows.len());
        match rows.get_mut(place) {
            Some(row) => row.new.clone_from(new),
            None => rows.push(Row { key: key.clone(), old, new: new.clone() }),
        }
    }
    rows
}

/// The history that leads to the state with this index, if there is one that is whole.
pub(super) fn read(database: &Database, index: Index) -> Option<Remembered> {
    match super::unless_damaged(|| read_all(database, index)) {
        Ok(history) => history,
        Err(error) => {
            tracing::warn!(error = &*error as &dyn std::error::Error, "the history is damaged and begins anew");
            None
        }
    }
}

fn read_all(database: &Database, index: Index) -> Result<Option<Remembered>, Failure> {
    let transaction = database.begin_read()?;
    let bounds = match transaction.open_table(BOUNDS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        bounds => bounds?,
    };
    let number = |name| -> Result<u64, Failure> {
        Ok(bounds.get(name)?.map(|number| number.value()).ok_or(Damage::Incomplete)?)
    };
    let until = number(UNTIL)?;
    if until != index {
        tracing::warn!(until, index, "the history lacks the last commits, so it begins anew");
        return Ok(None);
    }
    let mut commits = Vec::new();
    let table = transaction.open_table(COMMITS)?;
    // Damaged pages could lead around in a circle.
    let most = table.len()?;
    for row in table.iter()? {
        let (index, stored) = row?;
        if commits.len() as u64 >= most {
            return Err(Damage::Incomplete.into());
        }
        commits.push(commit(index.value(), stored.value())?);
    }
    let forgotten = Class::ALL.into_iter().map(|class| Ok((class, number(class.as_str())?)));
    Ok(Some(Remembered {
        began: (moment(number(BEGAN)?), number(AFTER)?),
        forgotten_until: forgotten.collect::<Result<_, Failure>>()?,
        commits,
    }))
}

fn commit(index: Index, stored: &[u8]) -> Result<RememberedCommit, Failure> {
    let bytes = opened(&index.to_be_bytes(), stored).ok_or(Damage::Incomplete)?;
    let Commit { since, time, author, address, rows } = Commit::decode(bytes)?;
    let author = Author::read(&author, &address).ok_or(Damage::Incomplete)?;
    let note = Note { index, since, time: moment(time), author, changes: rows.len() };
    let rows = rows.into_iter().map(|Row { key, old, new }| RememberedRow { key, old, new });
    Ok(RememberedCommit { note, rows: rows.collect() })
}

/// Times before 1970 and after 2554 are those of a clock that is wrong.
fn nanoseconds(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos()).unwrap_or_default()
}

fn moment(nanoseconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
