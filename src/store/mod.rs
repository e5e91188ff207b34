//! The truth: registrations, config entries and certificates, one immutable [`View`] per commit.
//!
//! **Problem.** Writers must not lose what they were told is stored, readers must never wait, and whoever depends on the
//! state must learn exactly which part of it changed.
//!
//! **Invariant.** A write is acknowledged after it is durable; what a reader sees is the state after some commit, whole.
//! Every commit that changes something raises the [`Index`] by one and stamps the [`Key`]s that it touched.
//!
//! ```text
//! Write ─► writer thread: condition · apply to a draft View · guard ─► Backend (one sync for all that wait)
//!                                                                          │
//!                         readers ◄─ View (index N, keys with the commit that last changed them) ◄┘
//! ```

mod any;
mod apply;
mod backend;
mod bundle;
mod embedded;
mod error;
mod history;
mod key;
mod reader;
mod readers;
mod rescue;
mod row;
mod snapshot;
mod traced;
mod view;
mod waiters;
mod writer;

pub use backend::{Backend, Batch, HistoryBatch, Loaded, Memory, Note, Remembered, RememberedCommit, RememberedRow};
pub use embedded::Embedded;
pub use error::{BadRow, Damage, StoreError};
pub use history::{Author, Class, Commit, History, Kept, PastError, Retention, RowChange};
pub use key::Key;
pub use reader::Reader;
pub(crate) use readers::Readers;
pub use rescue::{Loss, Rescued};
pub use row::{CheckKey, NodeKey, Op, Stored};
pub use snapshot::{Snapshot, SnapshotError, SnapshotMeta, TableSize};
pub use view::{Counts, Instance, View};
pub use writer::{Condition, Guard, Outcome, Store, Write};

/// The store's commit counter.
pub type Index = u64;
