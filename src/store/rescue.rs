//! What can be saved of a store that cannot be opened.

use std::fmt;
use std::path::Path;

use super::apply::load_most;
use super::embedded::{Remaining, named, salvage};
use super::{Index, Snapshot, StoreError};

/// What was saved of a data directory.
#[derive(Debug)]
pub struct Rescued {
    /// All that is left, as a snapshot.
    pub snapshot: Snapshot,
    /// All that is known to be missing or doubtful; none if the store is whole.
    pub losses: Vec<Loss>,
}

/// Something that could not be saved, or may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// A row that is there and is not as it was written, by its key.
    Damaged(String),
    /// A row that this version does not understand, by its key, and why.
    Unknown(String, String),
    /// So many rows have no sum that would tell whether they are as they were written.
    Unverified(usize),
    /// So many pages of the file cannot be read.
    Unreadable(usize),
    /// The file does not say which rows there were.
    PerhapsMissing,
    /// Rows that had been removed may be back, and older versions may stand for newer ones.
    PerhapsOld,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(key) => write!(f, "the row {key} is damaged and is left out"),
            Self::Unknown(key, why) => write!(f, "the row {key} cannot be understood and is left out: {why}"),
            Self::Unverified(count) => write!(
                f,
                "{count} of the rows cannot be verified, because the format that they were written in has no checksums: \
                 look at them before they are used"
            ),
            Self::Unreadable(count) => {
                write!(f, "{count} pages of the file cannot be read from the disk, and what is on them is left out")
            }
            Self::PerhapsMissing => f.write_str("other rows may be missing, because pages of the file are damaged"),
            Self::PerhapsOld => f.write_str(
                "some rows may be back that were removed, and some may be older than they should, because nothing says \
                 which pages of the file count",
            ),
        }
    }
}

impl Snapshot {
    /// What can be read of the store of a data directory, which is not changed. `id` names the snapshot by its index.
    ///
    /// # Errors
    /// There is no store, its format is unknown, or a process has it open.
    pub fn rescue(directory: &Path, id: impl FnOnce(Index) -> String) -> Result<Rescued, StoreError> {
        let remains = salvage(directory)?;
        let rows: Vec<_> = remains.rows.into_iter().collect();
        let (view, bad) = load_most(remains.index.unwrap_or_default(), &rows);
        let damaged = remains.damaged.iter().map(|key| Loss::Damaged(named(key)));
        let unverified = Some(remains.unsealed.len()).filter(|count| *count > 0).map(Loss::Unverified);
        let unreadable = Some(remains.unreadable).filter(|count| *count > 0).map(Loss::Unreadable);
        let unknown = bad.into_iter().map(|row| Loss::Unknown(row.key, row.source.to_string()));
        let doubts: &[Loss] = match remains.state {
            Remaining::Whole => &[],
            Remaining::Part | Remaining::Pages => &[Loss::PerhapsMissing, Loss::PerhapsOld],
        };
        let losses = damaged.chain(unknown).chain(unverified).chain(unreadable).chain(doubts.iter().cloned()).collect();
        Ok(Rescued { snapshot: Self::of(&view, id(view.index())), losses })
    }
}
