//! Where rows are kept when the process is not running.

use time::OffsetDateTime;

use super::{Author, Class, Index, StoreError};

/// The rows of one or several commits, to be made durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The index after the last of these commits.
    pub index: Index,
    /// Rows by key, in the order of the changes; `None` removes the row. The last change of a key counts.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What is to be remembered.
    pub history: HistoryBatch,
}

/// What a batch adds to the history and takes out of it. A backend may keep none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryBatch {
    /// The history that is kept, if there is one, is not that of this state: another one begins now, after this commit.
    pub begins: Option<(OffsetDateTime, Index)>,
    /// The commits that the changes are of, in their order.
    pub commits: Vec<Note>,
    /// Commits that are forgotten.
    pub forgotten: Vec<(Class, Index)>,
}

/// What is remembered of a commit beside its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its index.
    pub index: Index,
    /// The commit before it.
    pub since: Index,
    /// When it was made.
    pub time: OffsetDateTime,
    /// Who wrote it.
    pub author: Author,
    /// How many of the changes are its own.
    pub changes: usize,
}

/// Everything a backend holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The index after the last commit.
    pub index: Index,
    /// Rows by key.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it remembers of the commits until that one.
    pub history: Option<Remembered>,
}

/// A history as a backend keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// When it began, and the last commit before that.
    pub began: (OffsetDateTime, Index),
    /// The last commit of each class that is forgotten.
    pub forgotten_until: Vec<(Class, Index)>,
    /// The others, the oldest one first.
    pub commits: Vec<RememberedCommit>,
}

/// A commit as a backend keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedCommit {
    /// What there is beside its rows.
    pub note: Note,
    /// Its rows, each once.
    pub rows: Vec<RememberedRow>,
}

/// What a commit did to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedRow {
    /// The key.
    pub key: Vec<u8>,
    /// The value before it.
    pub old: Option<Vec<u8>>,
    /// The value after it.
    pub new: Option<Vec<u8>>,
}

/// A place to keep rows in. Keys and values are opaque to it.
pub trait Backend: Send {
    /// Everything that was made durable.
    ///
    /// # Errors
    /// The backend cannot be read.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// False if nothing is kept: then there is no batch to make durable.
    fn is_durable(&self) -> bool {
        true
    }

    /// Makes a batch durable, whole or not at all, before it returns. What it keeps of the history is so in the same moment.
    ///
    /// # Errors
    /// Nobody knows whether the batch was kept, whole or not at all; the backend may take nothing more until
    /// [`Backend::replace`].
    fn persist(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Keeps exactly this from now on, whatever a batch that failed has left, and no history; durable before it returns.
    /// Called after a failure, before each try of a batch until one succeeds.
    ///
    /// # Errors
    /// It still fails; what is kept is what was before.
    fn replace(&mut self, all: &dyn Fn() -> Loaded) -> Result<(), StoreError>;
}

/// Keeps nothing: for `-dev` and tests.
#[derive(Debug, Default)]
pub struct Memory;

impl Backend for Memory {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn persist(&mut self, _: &Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn replace(&mut self, _: &dyn Fn() -> Loaded) -> Result<(), StoreError> {
        Ok(())
    }
}
