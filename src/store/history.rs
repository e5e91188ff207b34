//! What happened: every commit with its author, within bounds.
//!
//! **Invariant.** A commit that was acknowledged is here until the bounds of its class push it out, and nothing else pushes
//! it out: a check that flaps all day takes away other checks' changes, never an operator's.
//!
//! A commit keeps the states before and after it. They share all that did not change, so it costs what it changed, and who
//! looks back reads the same tables as who looks at the present.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::apply::{self, RowChanges};
use super::{Index, Stored, View};
use crate::model::{ConfigEntry, EntryKey};

/// What a commit costs beyond its rows: the nodes of the tables on the way to them.
const OVERHEAD: usize = 8 << 10;

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

    /// The class of a commit of these rows: the first of the classes that one of them belongs to.
    fn of(rows: &RowChanges) -> Self {
        rows.iter().map(|(key, _)| apply::class(key)).min().unwrap_or(Class::Config)
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
    /// When it became durable.
    pub time: OffsetDateTime,
    /// Who wrote it.
    pub author: Author,
    /// What it is about.
    pub class: Class,
    /// The keys of the rows that it changed, in the order of the changes.
    rows: Vec<Vec<u8>>,
    before: Arc<View>,
    after: Arc<View>,
    /// The states are there with all of their tables, and not only with those of the class.
    is_whole: bool,
    cost: usize,
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
        let key = apply::entry_row_key(entry);
        self.rows.contains(&key)
    }

    /// What it did to its first `most` rows. Keys, certificates and what checks send are left out. Of a commit that is older
    /// than what other classes reach back to, only rows of its own class are told.
    pub fn changes(&self, most: usize) -> Vec<RowChange> {
        let change = |key: &Vec<u8>| {
            let (old, new) = (apply::told(&self.before, key), apply::told(&self.after, key));
            RowChange {
                table: apply::table_name(key),
                name: apply::row_name(key),
                was_there: old.is_some(),
                is_there: new.is_some(),
                old: old.flatten(),
                new: new.flatten(),
            }
        };
        // A row that one write changed twice is one change.
        let mut seen = BTreeSet::new();
        let is_there = |key: &&Vec<u8>| self.is_whole || apply::class(key) == self.class;
        self.rows.iter().filter(is_there).filter(|key| seen.insert(key.as_slice())).take(most).map(change).collect()
    }

    /// The same with no more of the states than its class needs.
    fn trimmed(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            before: Arc::new(self.before.part_of(self.class)),
            after: Arc::new(self.after.part_of(self.class)),
            is_whole: false,
            ..*self
        }
    }
}

/// A commit that is not durable yet.
pub(super) struct Draft {
    author: Author,
    class: Class,
    rows: Vec<Vec<u8>>,
    before: Arc<View>,
    after: Arc<View>,
    cost: usize,
}

impl Draft {
    /// The commit by which `after` was made of `before`.
    pub(super) fn new(author: Author, rows: &RowChanges, before: Arc<View>, after: Arc<View>) -> Self {
        let bytes = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| 2 * (key.len() + value.as_ref().map_or(0, Vec::len));
        Self {
            author,
            class: Class::of(rows),
            cost: OVERHEAD + rows.iter().map(bytes).sum::<usize>(),
            rows: rows.iter().map(|(key, _)| key.clone()).collect(),
            before,
            after,
        }
    }
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
    shared: Arc<Mutex<BTreeMap<Class, Past>>>,
    /// The last commit that was noted.
    noted: watch::Sender<Index>,
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
    #[error("the history begins when the process does, at {started}: what was before is not known")]
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
    /// A history that begins after a commit.
    pub(super) fn after(index: Index, retention: Retention) -> Self {
        let past = |class| (class, Past { forgotten_until: index, ..Past::default() });
        let shared = Arc::new(Mutex::new(Class::ALL.into_iter().map(past).collect()));
        Self { retention, started: (OffsetDateTime::now_utc(), index), shared, noted: watch::channel(index).0 }
    }

    /// The last commit that is part of it, and each later one.
    pub fn watch(&self) -> watch::Receiver<Index> {
        self.noted.subscribe()
    }

    /// How much is kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    fn shared(&self) -> MutexGuard<'_, BTreeMap<Class, Past>> {
        // Nothing that holds the lock can leave it half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over commits that have become durable. Returns what they push out, which takes time to drop.
    pub(super) fn note(&self, commits: Vec<Draft>) -> Vec<Arc<Commit>> {
        let time = OffsetDateTime::now_utc();
        let mut forgotten = Vec::new();
        let last = commits.last().map(|commit| commit.after.index());
        let mut shared = self.shared();
        for Draft { author, class, rows, before, after, cost } in commits {
            let past = shared.entry(class).or_default();
            past.bytes += cost;
            let index = after.index();
            past.commits.push_back(Arc::new(Commit {
                index,
                time,
                author,
                class,
                rows,
                before,
                after,
                is_whole: true,
                cost,
            }));
            while past.commits.len() > 1
                && (past.commits.len() > self.retention.commits || past.bytes > self.retention.bytes)
            {
                let Some(oldest) = past.commits.pop_front() else { break };
                past.bytes -= oldest.cost;
                past.forgotten_until = oldest.index;
                forgotten.push(oldest);
            }
        }
        if !forgotten.is_empty() {
            forgotten.extend(trim(&mut shared));
        }
        drop(shared);
        if let Some(last) = last {
            self.noted.send_replace(last);
        }
        forgotten
    }

    /// How far back each class goes.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |(class, past): (&Class, &Past)| Kept {
            class: *class,
            commits: past.commits.len(),
            bytes: past.bytes,
            forgotten_until: past.forgotten_until,
        };
        self.shared().iter().map(kept).collect()
    }

    /// The commits of a class, or of all, the newest one first.
    pub fn commits(&self, class: Option<Class>) -> Vec<Arc<Commit>> {
        let mut commits: Vec<_> = {
            let shared = self.shared();
            let wanted = shared.iter().filter(|(of, _)| class.is_none_or(|class| class == **of));
            wanted.flat_map(|(_, past)| past.commits.iter().cloned()).collect()
        };
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.index));
        commits
    }

    /// The commits after one, the newest first. Costs what is new.
    pub fn commits_after(&self, index: Index) -> Vec<Arc<Commit>> {
        let mut commits: Vec<_> = {
            let shared = self.shared();
            let newer =
                |past: &Past| past.commits.iter().rev().take_while(|commit| commit.index > index).cloned().collect();
            shared.values().flat_map(|past| -> Vec<_> { newer(past) }).collect()
        };
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.index));
        commits
    }

    /// A commit, if it is kept.
    pub fn commit(&self, index: Index) -> Option<Arc<Commit>> {
        let found = |past: &Past| {
            let at = past.commits.binary_search_by_key(&index, |commit| commit.index).ok()?;
            past.commits.get(at).cloned()
        };
        self.shared().values().find_map(found)
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
        // Indexes are not without gaps: the state after a number that no commit has is that before the next commit.
        let commits = self.commits(None);
        let next = commits.iter().rev().find(|commit| commit.index > asked).filter(|next| next.is_whole);
        let asked_for = commits.iter().find(|commit| commit.index == asked).filter(|commit| commit.is_whole);
        let earlier = asked_for.map(|commit| commit.after.clone());
        let before = next.filter(|next| next.before.index() <= asked).map(|next| next.before.clone());
        let until = self.kept().iter().map(|kept| kept.forgotten_until).max().unwrap_or_default();
        earlier.or(before).ok_or(PastError::Forgotten { asked, until })
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
        let asked = next.before.index();
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
        let state = match self.state_at(asked, current) {
            Ok(state) => state,
            Err(error @ (PastError::Future { .. } | PastError::Earlier { .. })) => return Err(error),
            Err(PastError::Forgotten { .. }) => {
                let until = self.shared().get(&Class::Config).map_or(0, |past| past.forgotten_until);
                if asked < until {
                    return Err(PastError::Forgotten { asked, until });
                }
                let later = self.commits(Some(Class::Config));
                let next = later.iter().rev().find(|commit| commit.index > asked);
                next.map_or(current, |next| &next.before).clone()
            }
        };
        Ok(state.entry(entry).cloned())
    }
}

/// Takes from commits that some other class does not reach back to what only whole states need: nobody can ask for a state
/// there. Otherwise a config entry of last week would keep every health check of last week.
fn trim(shared: &mut BTreeMap<Class, Past>) -> Vec<Arc<Commit>> {
    let until = shared.values().map(|past| past.forgotten_until).max().unwrap_or_default();
    let mut trimmed = Vec::new();
    for past in shared.values_mut() {
        let from = past.commits.partition_point(|commit| !commit.is_whole);
        for commit in past.commits.iter_mut().skip(from).take_while(|commit| commit.index <= until) {
            let smaller = Arc::new(commit.trimmed());
            trimmed.push(std::mem::replace(commit, smaller));
        }
    }
    trimmed
}
