//! What happened: every commit with its author, within bounds.
//!
//! **Invariant.** A commit that was acknowledged is here until the bounds of its class push it out, and nothing else pushes
//! it out: a check that flaps all day takes away other checks' changes, never an operator's.
//!
//! A commit keeps its rows as they were and as they are since then, and no more: a state of the past is made from the last
//! one by taking its commits back. Who kept the states would keep all that tables share with what is changed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::any::Row;
use super::apply::{self, RowChanges};
use super::{BadRow, Batch, HistoryBatch, Index, Note, Remembered, RememberedCommit, Stored, View};
use crate::model::{ConfigEntry, EntryKey};

/// What a commit, and each row of it, costs beyond its text.
const OVERHEAD: usize = 1 << 10;

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Author {
    /// The process itself.
    #[default]
    Process,
    /// Somebody who called the HTTP API, from this address if it is known.
    Call(Option<SocketAddr>),
    /// The configuration files of the process.
    Files,
    /// What runs the checks.
    HealthChecks,
    /// What issues certificates.
    Authority,
}

impl Author {
    /// What kind of author it is, as traces have it: a word of a closed set.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Call(_) => "call",
            Self::Files => "files",
            Self::HealthChecks => "health-checks",
            Self::Authority => "authority",
        }
    }

    /// Where a call came from, if it is known.
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Call(address) => address,
            Self::Process | Self::Files | Self::HealthChecks | Self::Authority => None,
        }
    }

    /// The author of this kind; `address` counts for a call, and may be empty.
    pub(super) fn read(kind: &str, address: &str) -> Option<Self> {
        let called_from = || match address {
            "" => Some(Self::Call(None)),
            address => address.parse().ok().map(|address| Self::Call(Some(address))),
        };
        let others = [Self::Process, Self::Files, Self::HealthChecks, Self::Authority];
        if kind == Self::Call(None).kind() { called_from() } else { others.into_iter().find(|it| it.kind() == kind) }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("meshgate"),
            Self::Call(Some(address)) => write!(f, "{address}"),
            Self::Call(None) => f.write_str("a local caller"),
            Self::Files => f.write_str("files"),
            Self::HealthChecks => f.write_str("health checks"),
            Self::Authority => f.write_str("certificate authority"),
        }
    }
}

/// What a commit is about, as its rows say. Each class has bounds of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Config entries, intentions, peerings, roots: whatever is none of the others.
    Config,
    /// Nodes and services, with their checks.
    Catalog,
    /// Checks alone.
    Health,
    /// Leaf certificates alone.
    Certificates,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 4] = [Class::Config, Class::Catalog, Class::Health, Class::Certificates];

    /// The class as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Config => "config",
            Class::Catalog => "catalog",
            Class::Health => "health",
            Class::Certificates => "certificates",
        }
    }

    /// The class with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// The class of a commit of rows with these keys: the first of the classes that one of them belongs to.
    fn of<'k>(keys: impl Iterator<Item = &'k Vec<u8>>) -> Self {
        keys.map(|key| apply::class(key)).min().unwrap_or(Class::Config)
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Most commits of each class.
    pub commits: usize,
    /// Most bytes of each class, estimated from what the commits changed. The last commit is kept however large it is.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { commits: 1024, bytes: 16 << 20 }
    }
}

/// One commit.
#[derive(Debug)]
pub struct Commit {
    /// Its index.
    pub index: Index,
    /// When it was made.
    pub time: OffsetDateTime,
    /// Who wrote it.
    pub author: Author,
    /// What it is about.
    pub class: Class,
    /// The commit before it.
    since: Index,
    /// The rows that it changed, in the order of the changes.
    rows: Vec<Changed>,
    cost: usize,
}

/// What became of one row.
#[derive(Debug)]
struct Changed {
    key: Vec<u8>,
    old: Option<Row>,
    new: Option<Row>,
}

/// What a commit did to one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// The table, such as `ConfigEntries`.
    pub table: &'static str,
    /// The row's name for people, such as `service-defaults/web`.
    pub name: String,
    /// What it held; absent if there was none, or if the table has secrets.
    pub old: Option<Value>,
    /// What it holds.
    pub new: Option<Value>,
    /// There was a row.
    pub was_there: bool,
    /// There is one.
    pub is_there: bool,
}

impl Commit {
    /// How many rows it changed.
    pub fn size(&self) -> usize {
        self.rows.len()
    }

    /// True if it changed this entry.
    pub fn touches(&self, entry: &EntryKey) -> bool {
        self.changed(entry).is_some()
    }

    fn changed(&self, entry: &EntryKey) -> Option<&Changed> {
        let key = apply::entry_row_key(entry);
        self.rows.iter().find(|row| row.key == key)
    }

    /// What it did to its first `most` rows. Keys, certificates and what checks send are left out.
    pub fn changes(&self, most: usize) -> Vec<RowChange> {
        let change = |row: &Changed| RowChange {
            table: apply::table_name(&row.key),
            name: apply::row_name(&row.key),
            was_there: row.old.is_some(),
            is_there: row.new.is_some(),
            old: row.old.as_ref().and_then(Row::told),
            new: row.new.as_ref().and_then(Row::told),
        };
        self.rows.iter().take(most).map(change).collect()
    }

    /// A commit as a backend kept it.
    ///
    /// # Errors
    /// A row of it cannot be understood.
    fn remembered(commit: RememberedCommit) -> Result<Self, BadRow> {
        let RememberedCommit { note, rows } = commit;
        let class = Class::of(rows.iter().map(|row| &row.key));
        let mut cost = OVERHEAD;
        let read = |key: &[u8], value: Option<&Vec<u8>>| {
            let bad = |source| BadRow { key: apply::row_name(key), source };
            value.map(|value| Row::read(key, value)).transpose().map_err(bad)
        };
        let changed = rows.into_iter().map(|row| {
            let (old, new) = (read(&row.key, row.old.as_ref())?, read(&row.key, row.new.as_ref())?);
            let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
            cost += OVERHEAD + row.key.len() + bytes(&row.old) + bytes(&row.new);
            Ok(Changed { key: row.key, old, new })
        });
        let rows = changed.collect::<Result<_, _>>()?;
        let Note { index, since, time, author, changes: _ } = note;
        Ok(Self { index, time, author, class, since, rows, cost })
    }

    /// Takes it back in a draft of the state that it made.
    fn take_back(&self, draft: &mut apply::Draft) {
        for row in self.rows.iter().rev() {
            match (&row.old, &row.new) {
                (Some(old), _) => draft.place(old.clone()),
                (None, Some(new)) => draft.take_away(new),
                (None, None) => {}
            }
        }
    }
}

/// A commit that has become durable, as the writer has it at hand: what it is made of is looked up when there is time.
#[derive(Debug)]
pub(super) struct Draft {
    /// When it was made.
    pub(super) time: OffsetDateTime,
    /// Who wrote.
    pub(super) author: Author,
    /// The rows that it changed.
    pub(super) rows: RowChanges,
    /// The state that it found.
    pub(super) before: View,
    /// Its index.
    pub(super) index: Index,
}

impl Draft {
    fn commit(self) -> Commit {
        let Self { time, author, rows, before, index } = self;
        let class = Class::of(rows.iter().map(|(key, _)| key));
        // A row that one write changed twice is one change, and what is kept of it is what it holds at the end.
        let mut last: BTreeMap<_, _> = rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        let in_order = rows.into_iter().filter_map(|(key, _)| {
            let new = last.remove(&key)?;
            Some(Changed { old: Row::of(&before, &key), new, key })
        });
        let rows: Vec<_> = in_order.collect();
        let size = |row: &Option<Row>| row.as_ref().map_or(0, Row::size);
        let costs = rows.iter().map(|row| OVERHEAD + row.key.len() + size(&row.old) + size(&row.new));
        let cost = OVERHEAD + costs.sum::<usize>();
        Commit { index, time, author, class, since: before.index(), rows, cost }
    }
}

/// What is to be made durable of commits, in their order. Whoever knows what is forgotten adds that.
pub(super) fn batch(commits: &[Draft]) -> Batch {
    let index = commits.last().map_or(0, |commit| commit.index);
    let rows = commits.iter().flat_map(|commit| &commit.rows);
    let changes = rows.map(|(key, row)| (key.clone(), row.as_ref().map(Row::written)));
    let note = |commit: &Draft| Note {
        index: commit.index,
        since: commit.before.index(),
        time: commit.time,
        author: commit.author,
        changes: commit.rows.len(),
    };
    let history = HistoryBatch { commits: commits.iter().map(note).collect(), ..HistoryBatch::default() };
    Batch { index, changes: changes.collect(), history }
}

/// How far back one class goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The class.
    pub class: Class,
    /// Commits that are kept.
    pub commits: usize,
    /// What they are estimated to cost.
    pub bytes: usize,
    /// Later commits are all kept.
    pub forgotten_until: Index,
}

/// What happened. Clones share it.
#[derive(Debug, Clone)]
pub struct History {
    retention: Retention,
    /// When it began, and the last commit before that.
    started: (OffsetDateTime, Index),
    shared: Arc<Mutex<Shared>>,
    /// The last commit that was noted.
    noted: watch::Sender<Index>,
}

#[derive(Debug)]
struct Shared {
    pasts: BTreeMap<Class, Past>,
    /// The state after the last commit of them all.
    last: Arc<View>,
    /// Commits that were noted and not looked at yet.
    noted: Vec<Draft>,
    /// Commits that are forgotten, and that the backend does not know of yet.
    forgotten: Vec<(Class, Index)>,
}

impl Shared {
    /// Looks at what was noted. Returns what that pushes out.
    fn settle(&mut self, retention: Retention) -> Vec<Arc<Commit>> {
        let mut forgotten = Vec::new();
        for draft in std::mem::take(&mut self.noted) {
            forgotten.extend(self.add(draft.commit(), retention));
        }
        forgotten
    }

    /// Takes in a commit. Returns what that pushes out.
    fn add(&mut self, commit: Commit, retention: Retention) -> Vec<Arc<Commit>> {
        let past = self.pasts.entry(commit.class).or_default();
        past.bytes += commit.cost;
        past.commits.push_back(Arc::new(commit));
        let mut forgotten = Vec::new();
        while past.commits.len() > 1 && (past.commits.len() > retention.commits || past.bytes > retention.bytes) {
            let Some(oldest) = past.commits.pop_front() else { break };
            past.bytes -= oldest.cost;
            past.forgotten_until = oldest.index;
            self.forgotten.push((oldest.class, oldest.index));
            forgotten.push(oldest);
        }
        forgotten
    }

    /// The commits after one, the newest first.
    fn after(&self, index: Index) -> Vec<Arc<Commit>> {
        let newer = |past: &Past| -> Vec<_> {
            past.commits.iter().rev().take_while(|commit| commit.index > index).cloned().collect()
        };
        let mut commits: Vec<_> = self.pasts.values().flat_map(newer).collect();
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.index));
        commits
    }
}

#[derive(Debug, Default)]
struct Past {
    /// The oldest one first.
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    forgotten_until: Index,
}

/// The state is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    /// Something that happened around then is forgotten.
    #[error(
        "the history does not reach back to commit {asked}: commits until {until} are forgotten (a larger -history-commits \
         or -history-bytes keeps more)"
    )]
    Forgotten {
        /// What was asked for.
        asked: Index,
        /// The last commit that is forgotten.
        until: Index,
    },
    /// It was before the history began.
    #[error("the history begins at {started}: what was before is not known")]
    Earlier {
        /// When it began.
        started: OffsetDateTime,
    },
    /// It has not happened yet.
    #[error("there is no commit {asked} yet: the last one is {last}")]
    Future {
        /// What was asked for.
        asked: Index,
        /// The last commit.
        last: Index,
    },
}

impl History {
    /// A history that begins with a state.
    pub(super) fn after(state: Arc<View>, retention: Retention) -> Self {
        let index = state.index();
        let past = |class| (class, Past { forgotten_until: index, ..Past::default() });
        let pasts = Class::ALL.into_iter().map(past).collect();
        Self::with(state, retention, (OffsetDateTime::now_utc(), index), pasts)
    }

    /// A history that goes on where a backend has left it: with the state that its last commit has made.
    ///
    /// # Errors
    /// A row of it cannot be understood.
    pub(super) fn resumed(state: Arc<View>, retention: Retention, remembered: Remembered) -> Result<Self, BadRow> {
        let Remembered { began, forgotten_until, commits } = remembered;
        let past = |(class, forgotten_until)| (class, Past { forgotten_until, ..Past::default() });
        // A clock that was ahead then shall not hide what has happened since.
        let first = commits.iter().map(|commit| commit.note.time).min().unwrap_or(began.0);
        let began = (began.0.min(first).min(OffsetDateTime::now_utc()), began.1);
        let history = Self::with(state, retention, began, forgotten_until.into_iter().map(past).collect());
        let mut shared = history.lock();
        for commit in commits {
            shared.add(Commit::remembered(commit)?, retention);
        }
        drop(shared);
        Ok(history)
    }

    fn with(
        state: Arc<View>,
        retention: Retention,
        started: (OffsetDateTime, Index),
        pasts: BTreeMap<Class, Past>,
    ) -> Self {
        let noted = watch::channel(state.index()).0;
        let shared = Shared { pasts, last: state, noted: Vec::new(), forgotten: Vec::new() };
        Self { retention, started, shared: Arc::new(Mutex::new(shared)), noted }
    }

    /// When it began, and the last commit before that.
    pub(super) fn began(&self) -> (OffsetDateTime, Index) {
        self.started
    }

    /// The commits that were forgotten since this was asked last.
    pub(super) fn take_forgotten(&self) -> Vec<(Class, Index)> {
        std::mem::take(&mut self.lock().forgotten)
    }

    /// The last commit that is part of it, and each later one.
    pub fn watch(&self) -> watch::Receiver<Index> {
        self.noted.subscribe()
    }

    /// How much is kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that holds the lock can leave it half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was noted, looked at.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        let mut shared = self.lock();
        shared.settle(self.retention);
        shared
    }

    /// Takes over commits that have become durable, and the state after them. They are part of the history from now on.
    /// Returns the state before, which takes time to drop.
    pub(super) fn note(&self, commits: Vec<Draft>, state: Arc<View>) -> Arc<View> {
        let mut shared = self.lock();
        shared.noted.extend(commits);
        std::mem::replace(&mut shared.last, state)
    }

    /// Does what `note` left for later, and tells those who follow.
    pub(super) fn settle(&self) {
        let mut shared = self.lock();
        let forgotten = shared.settle(self.retention);
        let last = shared.last.index();
        drop(shared);
        drop(forgotten);
        self.noted.send_replace(last);
    }

    /// How far back each class goes.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |(class, past): (&Class, &Past)| Kept {
            class: *class,
            commits: past.commits.len(),
            bytes: past.bytes,
            forgotten_until: past.forgotten_until,
        };
        self.shared().pasts.iter().map(kept).collect()
    }

    /// The commits of a class, or of all, the newest one first.
    pub fn commits(&self, class: Option<Class>) -> Vec<Arc<Commit>> {
        let mut commits: Vec<_> = {
            let shared = self.shared();
            let wanted = shared.pasts.iter().filter(|(of, _)| class.is_none_or(|class| class == **of));
            wanted.flat_map(|(_, past)| past.commits.iter().cloned()).collect()
        };
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.index));
        commits
    }

    /// The commits after one, the newest first. Costs what is new.
    pub fn commits_after(&self, index: Index) -> Vec<Arc<Commit>> {
        self.shared().after(index)
    }

    /// A commit, if it is kept.
    pub fn commit(&self, index: Index) -> Option<Arc<Commit>> {
        let found = |past: &Past| {
            let at = past.commits.binary_search_by_key(&index, |commit| commit.index).ok()?;
            past.commits.get(at).cloned()
        };
        self.shared().pasts.values().find_map(found)
    }

    /// The state after a commit; `current` is the latest one. Of an older one no key is known to be older than it.
    ///
    /// # Errors
    /// Commits around it are forgotten, or it has not happened.
    pub fn state_at(&self, asked: Index, current: &Arc<View>) -> Result<Arc<View>, PastError> {
        let last = current.index();
        if asked > last {
            return Err(PastError::Future { asked, last });
        }
        if asked == last {
            return Ok(current.clone());
        }
        let (state, later) = {
            let shared = self.shared();
            let until = shared.pasts.values().map(|past| past.forgotten_until).max().unwrap_or_default();
            if asked < until {
                return Err(PastError::Forgotten { asked, until });
            }
            // A state can be seen a moment before its commits are noted.
            let last = shared.last.index();
            if asked > last {
                return Err(PastError::Future { asked, last });
            }
            (shared.last.clone(), shared.after(asked))
        };
        let mut draft = apply::Draft::of_rows((*state).clone(), asked);
        later.iter().for_each(|commit| commit.take_back(&mut draft));
        Ok(Arc::new(draft.into_state()))
    }

    /// The index of the last commit that was there at a moment; `current` is the latest state.
    ///
    /// # Errors
    /// Commits around it are forgotten.
    pub fn index_at(&self, time: OffsetDateTime, current: &Arc<View>) -> Result<Index, PastError> {
        let (started, first) = self.started;
        if time < started {
            return Err(PastError::Earlier { started });
        }
        let commits = self.commits(None);
        let Some(next) = commits.iter().rev().find(|commit| commit.time > time) else { return Ok(current.index()) };
        let asked = next.since;
        let last = commits.iter().find(|commit| commit.time <= time);
        let until = self.kept().iter().map(|kept| kept.forgotten_until).max().unwrap_or_default();
        // Before the first commit of the process there was what it found.
        if last.map_or(asked == first, |last| last.index == asked) {
            return Ok(asked);
        }
        Err(PastError::Forgotten { asked, until })
    }

    /// An entry as it was after a commit; `current` is the latest state. Reaches as far back as the class of entries does.
    ///
    /// # Errors
    /// Commits that may have changed it are forgotten, or it has not happened.
    pub fn entry_at(
        &self,
        entry: &EntryKey,
        asked: Index,
        current: &Arc<View>,
    ) -> Result<Option<Stored<ConfigEntry>>, PastError> {
        let shared = self.shared();
        // A state can be seen a moment before its commits are noted.
        let last = shared.last.index().min(current.index());
        if asked > last {
            return Err(PastError::Future { asked, last });
        }
        let past = shared.pasts.get(&Class::Config);
        let until = past.map_or(0, |past| past.forgotten_until);
        if asked < until {
            return Err(PastError::Forgotten { asked, until });
        }
        let later = past.into_iter().flat_map(|past| &past.commits).filter(|commit| commit.index > asked);
        Ok(match later.filter_map(|commit| commit.changed(entry)).next().map(|next| &next.old) {
            Some(Some(Row::Entry(row))) => Some(row.clone()),
            Some(_) => None,
            None => shared.last.entry(entry).cloned(),
        })
    }
}
