//! Where rows are kept when the process is not running.

use super::{Index, StoreError};

/// The rows of one or several commits, to be made durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The index after the last of these commits.
    pub index: Index,
    /// Rows by key, in the order of the changes; `None` removes the row. The last change of a key counts.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Everything a backend holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The index after the last commit.
    pub index: Index,
    /// Rows by key.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A place to keep rows in. Keys and values are opaque to it.
pub trait Backend: Send {
    /// Everything that was made durable.
    ///
    /// # Errors
    /// The backend cannot be read.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Makes a batch durable, whole or not at all, before it returns.
    ///
    /// # Errors
    /// Nobody knows whether the batch was kept, whole or not at all; the backend may take nothing more until
    /// [`Backend::replace`].
    fn persist(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Keeps exactly this from now on, whatever a batch that failed has left; durable before it returns. Called after a
    /// failure, before each try of a batch until one succeeds.
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

    fn persist(&mut self, _: &Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn replace(&mut self, _: &dyn Fn() -> Loaded) -> Result<(), StoreError> {
        Ok(())
    }
}
