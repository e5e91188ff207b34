//! What can go wrong in the store.

use std::fmt;
use std::path::PathBuf;

use crate::model::Problems;

/// A failed write, or a store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write would make the state inconsistent.
    #[error("{0}")]
    Rejected(Problems),
    /// The data could not be made durable, and counts for nothing in this process. With later writes the embedded store tries
    /// to write all of its state anew, and goes on when it can; a process that starts before that may find the write.
    #[error(
        "the data directory cannot be written; nothing was changed. Make room on the disk, or mend it: the agent takes \
         writes again as soon as it can write all of its state anew"
    )]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file exists and cannot be opened.
    #[error("the store {path} cannot be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has the file open.
    #[error("the store {path} is in use: another agent has this data directory; stop it, or choose another directory")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a version with another format.
    #[error(
        "the store {path} has format {found}, and meshgate {version} reads formats {oldest} to {newest}: start the version \
         that wrote it, save a snapshot there, and restore it here into an empty data directory",
        version = env!("CARGO_PKG_VERSION")
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The oldest format that can be read.
        oldest: u64,
        /// The one that is written.
        newest: u64,
    },
    /// The file does not hold what was written into it. It was not changed.
    #[error(
        "the store {path} is damaged: {damage}. Restore a snapshot into an empty data directory, or save what can be \
         read: meshgate snapshot save -from-data-dir {directory} FILE",
        directory = path.parent().unwrap_or(path).display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// Rows cannot be understood.
    #[error(
        "{count} of the rows cannot be understood by meshgate {version}: {rows}. A version that knows them can read them; \
         meshgate snapshot save -from-data-dir saves the others",
        count = .0.len(),
        version = env!("CARGO_PKG_VERSION"),
        rows = listed(.0)
    )]
    Rows(Vec<BadRow>),
    /// A rule that looked at the write panicked; nothing was changed.
    #[error("the write could not be judged because of a bug; nothing was changed")]
    Panicked,
    /// The writer has ended, because the process stops.
    #[error("the store is closed")]
    Closed,
}

/// What is wrong with the file of a store.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its pages make no sense.
    #[error("its pages make no sense ({0})")]
    Structure(Box<dyn std::error::Error + Send + Sync>),
    /// The disk does not give them back.
    #[error("the disk cannot read all of it ({0})")]
    Unreadable(Box<dyn std::error::Error + Send + Sync>),
    /// Rows are not as they were written. Each is named by its key.
    #[error("{count} of the rows are not as they were written: {rows}", count = .0.len(), rows = listed(.0))]
    Rows(Vec<String>),
    /// All rows that are there are as they were written, but others are missing.
    #[error("rows are missing")]
    Incomplete,
}

/// A row that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{key} ({source})")]
pub struct BadRow {
    /// Its key.
    pub key: String,
    /// Why.
    pub source: serde_json::Error,
}

/// Most rows that one message names.
const NAMED: usize = 50;

fn listed<T: fmt::Display>(rows: &[T]) -> String {
    let mut text = rows.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = rows.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!(", and {more} more"));
    }
    text
}
