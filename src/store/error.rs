//! What can go wrong in the store.

use std::path::PathBuf;

use crate::model::Problems;

/// A failed write, or a store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write would make the state inconsistent.
    #[error("{0}")]
    Rejected(Problems),
    /// The data could not be made durable; nothing was changed.
    #[error("the data directory cannot be written; nothing was changed")]
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
        "the store has format {found}, and this version of meshgate reads format {known}: use the version that wrote it"
    )]
    Format {
        /// Format of the file.
        found: u64,
        /// Format that can be read.
        known: u64,
    },
    /// A row cannot be understood.
    #[error("the row {key:?} of the store cannot be read")]
    Row {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A rule that looked at the write panicked; nothing was changed.
    #[error("the write could not be judged because of a bug; nothing was changed")]
    Panicked,
    /// The writer has ended, because the process stops.
    #[error("the store is closed")]
    Closed,
}
