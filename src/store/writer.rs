//! The one writer: conditions, drafts, the guard, and one sync for all who wait.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Span, field};

use super::apply::{Draft, RowChanges, load, rows};
use super::history::{self, Author, History, Retention};
use super::traced::Traced;
use super::view::Recent;
use super::waiters::Waiters;
use super::{Backend, BadRow, Index, Key, Loaded, Op, StoreError, View};
use crate::model::{EntryKey, Problems};
use crate::telemetry::caused_by;

/// Most writes that share one sync.
const GROUP: usize = 256;
/// Most keys of one waiter that commits look it up by. Whoever waits for more looks at what commits change, as the writer
/// would have to wait while so many are noted.
const INDEXED: usize = 512;

/// Operations that happen together, under conditions.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// What must hold; otherwise nothing happens.
    pub conditions: Vec<Condition>,
    /// What happens.
    pub ops: Vec<Op>,
}

impl Write {
    /// What would become of it in this state, and the state that it would make; nothing is stored.
    ///
    /// # Errors
    /// What `guard` would refuse.
    pub fn tried(&self, view: &View, guard: &Guard) -> Result<(Outcome, View), Problems> {
        let (outcome, next) = drafted(view, self, guard)?;
        Ok((outcome, next.map_or_else(|| view.clone(), |(next, _)| next)))
    }
}

impl From<Vec<Op>> for Write {
    fn from(ops: Vec<Op>) -> Self {
        Self { conditions: Vec::new(), ops }
    }
}

impl From<Op> for Write {
    fn from(op: Op) -> Self {
        vec![op].into()
    }
}

/// Something that must hold for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The entry was last changed by this commit; 0 means that there is none.
    EntryAt(EntryKey, Index),
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changed the state, in this commit.
    Committed(Index),
    /// The state already was as it says.
    Unchanged(Index),
    /// A condition did not hold.
    ConditionFailed,
}

/// Rules across rows: sees the state before, the state that the write would make, and what the write does.
pub type Guard = Arc<dyn Fn(&View, &View, &[Op]) -> Result<(), Problems> + Send + Sync>;

/// Operations that depend on the state: called with the latest view, inside the critical section.
type Decide = Box<dyn FnOnce(&View) -> Result<Write, Problems> + Send>;

type Reply = oneshot::Sender<Result<Outcome, StoreError>>;

struct Request {
    decide: Decide,
    author: Author,
    /// What the writer does for it belongs to this.
    span: Span,
    reply: Reply,
}

/// The handle that everybody shares.
#[derive(Clone)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    current: Arc<ArcSwap<View>>,
    changes: watch::Receiver<Arc<View>>,
    late_changes: watch::Receiver<Arc<View>>,
    waiters: Arc<Waiters>,
    history: History,
    traced: Traced,
    /// Who writes through this handle.
    author: Author,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("index", &self.view().index()).finish_non_exhaustive()
    }
}

impl Store {
    /// Loads a backend and starts the writer. The writer ends when the last handle is dropped; the join handle tells
    /// when the backend is closed.
    ///
    /// # Errors
    /// The backend cannot be read, or holds a row that cannot be understood.
    pub fn open(backend: Box<dyn Backend>, guard: Guard) -> Result<(Self, JoinHandle<()>), StoreError> {
        Self::open_with(backend, guard, Retention::default())
    }

    /// The same, and says how much is remembered of what happened.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_with(
        mut backend: Box<dyn Backend>,
        guard: Guard,
        retention: Retention,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let loaded = backend.load()?;
        let view = Arc::new(load(loaded.index, &loaded.rows)?);
        let current = Arc::new(ArcSwap::new(view.clone()));
        let (announce, changes) = watch::channel(view.clone());
        let (announce_late, late_changes) = watch::channel(view.clone());
        let (requests, mut inbox) = mpsc::channel(GROUP);
        let waiters = Arc::new(Waiters::default());
        let history = match loaded.history.map(|it| History::resumed(view.clone(), retention, it)) {
            Some(Ok(history)) => Some(history),
            Some(Err(BadRow { key, source })) => {
                let error = &source as &dyn std::error::Error;
                tracing::warn!(row = key, error, "the history cannot be understood and begins anew");
                None
            }
            None => None,
        };
        let is_remembered = history.is_some();
        let history = history.unwrap_or_else(|| History::after(view, retention));
        let mut writer = Writer {
            backend,
            has_failed: false,
            is_remembered,
            guard,
            current: current.clone(),
            announce,
            announce_late,
            waiters: waiters.clone(),
            history: history.clone(),
            traced: Traced::default(),
        };
        let traced = writer.traced.clone();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&mut inbox))
            .map_err(|error| StoreError::Backend(Box::new(error)))?;
        let author = Author::default();
        Ok((Self { requests, current, changes, late_changes, waiters, history, traced, author }, thread))
    }

    /// The same store, for somebody whose writes shall be known by this name.
    #[must_use]
    pub fn by(&self, author: Author) -> Self {
        Self { author, ..self.clone() }
    }

    /// What happened.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The spans of commits up to this one that are not published yet. Whoever publishes them takes them, and they end with
    /// what it does. None while nobody traces.
    pub fn take_traced(&self, until: Index) -> Vec<Span> {
        self.traced.take(until)
    }

    /// The latest state.
    pub fn view(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// The latest state, and each newer one; a slow receiver misses states in between, never the last.
    ///
    /// For those that want to hear of every commit; [`Store::changed`] is for those that wait for some keys. They hear of
    /// it before the writers do, and share the processor with what tells the proxies: [`Store::watch_late`] is for those
    /// that have time.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.changes.clone()
    }

    /// Like [`Store::watch`], but a state comes only when those who made it were answered.
    pub fn watch_late(&self) -> watch::Receiver<Arc<View>> {
        self.late_changes.clone()
    }

    /// Returns once a commit after `since` has changed one of these keys, which may have happened already. Commits that
    /// change none of them cost nothing, however many wait; of those with more than some hundred keys, each looks at what a
    /// commit changed.
    ///
    /// # Errors
    /// The store is closed: no commit will follow.
    pub async fn changed(&self, keys: BTreeSet<Key>, since: Index) -> Result<(), StoreError> {
        if keys.len() > INDEXED {
            return self.changed_among(&keys, since).await;
        }
        let has_changed = |keys: &BTreeSet<Key>| {
            let view = self.current.load();
            keys.iter().any(|key| view.changed_at(key) > since)
        };
        let Some(waiter) = self.waiters.wait(keys, since, has_changed) else { return Ok(()) };
        if waiter.woken().await { Ok(()) } else { Err(StoreError::Closed) }
    }

    /// [`Store::changed`] for many keys.
    async fn changed_among(&self, keys: &BTreeSet<Key>, since: Index) -> Result<(), StoreError> {
        let mut views = self.watch_late();
        let mut seen = views.borrow_and_update().clone();
        if keys.iter().any(|key| seen.changed_at(key) > since) {
            return Ok(());
        }
        loop {
            views.changed().await.map_err(|_| StoreError::Closed)?;
            let view = views.borrow_and_update().clone();
            // A state that comes late can be older than what the caller has seen.
            if view.changed_since(&seen).any(|key| keys.contains(key) && view.changed_at(key) > since) {
                return Ok(());
            }
            seen = view;
        }
    }

    /// Writes, and returns when it is durable and visible.
    ///
    /// # Errors
    /// The guard refuses, the backend fails, or the store is closed. Nothing was changed then.
    pub async fn write(&self, write: impl Into<Write>) -> Result<Outcome, StoreError> {
        let write = write.into();
        self.write_with(move |_| Ok(write)).await
    }

    /// Like `write`, for operations that depend on the latest state: `decide` is called while nobody else writes.
    ///
    /// # Errors
    /// As for `write`, and what `decide` refuses.
    pub async fn write_with(
        &self,
        decide: impl FnOnce(&View) -> Result<Write, Problems> + Send + 'static,
    ) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        let (decide, author, span) = (Box::new(decide), self.author, Span::current());
        let request = Request { decide, author, span, reply };
        self.requests.send(request).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

struct Writer {
    backend: Box<dyn Backend>,
    /// Whether the backend holds what nobody knows, since a batch failed.
    has_failed: bool,
    /// Whether the history that the backend holds leads to the last commit.
    is_remembered: bool,
    guard: Guard,
    current: Arc<ArcSwap<View>>,
    announce: watch::Sender<Arc<View>>,
    announce_late: watch::Sender<Arc<View>>,
    waiters: Arc<Waiters>,
    history: History,
    traced: Traced,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.waiters.close();
    }
}

impl Writer {
    fn run(&mut self, inbox: &mut mpsc::Receiver<Request>) {
        while let Some(first) = inbox.blocking_recv() {
            let group = std::iter::once(first).chain(std::iter::from_fn(|| inbox.try_recv().ok())).take(GROUP);
            self.commit(group.collect());
        }
    }

    /// Applies a group in order, each on what the one before made, and makes all of it durable at once.
    fn commit(&mut self, group: Vec<Request>) {
        let before = self.current.load_full();
        let mut view = (*before).clone();
        // Whoever watches sees the state after the whole group.
        let mut recent: Option<Recent> = None;
        let mut answers = Vec::with_capacity(group.len());
        let mut commits = Vec::new();
        let time = OffsetDateTime::now_utc();
        // They end when those who wrote are answered.
        let mut spans = Vec::new();
        for request in group {
            let span = span_of(&request);
            // The draft dies with the panic, and what it was made from never changes.
            let drafted = catch_unwind(AssertUnwindSafe(|| self.draft(&view, request.decide)));
            let result = drafted.unwrap_or(Err(StoreError::Panicked)).map(|(outcome, next)| {
                if let Some((next, rows)) = next {
                    match (&mut recent, next.recent.as_deref()) {
                        (Some(recent), Some(later)) => recent.extend(later),
                        (recent, first) => *recent = first.cloned(),
                    }
                    span.record("index", next.index());
                    span.record("rows", rows.len());
                    let before = std::mem::replace(&mut view, next);
                    commits.push(history::Draft { time, author: request.author, rows, before, index: view.index() });
                }
                outcome
            });
            if !span.is_disabled() {
                spans.push((Told::of(&result), span));
            }
            answers.push((request.reply, result));
        }
        if commits.is_empty() {
            for (told, span) in &spans {
                span.record("outcome", told.outcome);
            }
            return answer(answers);
        }
        if let Err(error) = self.persist(&before, &commits) {
            let shared = Arc::new(error);
            // Also to those that changed nothing or were refused: they may have seen drafts of a state that never was.
            for (_, span) in &spans {
                span.record("outcome", "failed");
            }
            let lost = || StoreError::Backend(Box::new(SharedError(shared.clone())));
            return answer(answers.into_iter().map(|(reply, _)| (reply, Err(lost()))).collect());
        }
        view.recent = recent.map(Arc::new);
        let view = Arc::new(view);
        self.current.store(view.clone());
        for (told, span) in &spans {
            span.record("outcome", told.outcome);
            if let Some(index) = told.index {
                self.traced.add(index, span);
            }
        }
        self.announce.send_replace(view.clone());
        // Before the answers: whoever wrote finds the commit in the history.
        let last = self.history.note(commits, view.clone());
        answer(answers);
        // After the answers: those who wrote need not wait for what is remembered, nor for all who are woken.
        drop(last);
        self.history.settle();
        self.announce_late.send_replace(view.clone());
        self.waiters.wake(view.changed_since(&before).map(|key| (key, view.changed_at(key))));
    }

    /// Makes commits durable. Where that fails, nobody knows what of them the backend has, nor what the backend still takes: so
    /// all that counts is written anew, and they are tried again.
    fn persist(&mut self, before: &View, commits: &[history::Draft]) -> Result<(), StoreError> {
        let forgotten = self.history.take_forgotten();
        if !self.backend.is_durable() {
            return Ok(());
        }
        let Ok(mut batch) = catch_unwind(|| history::batch(commits)) else { return Err(StoreError::Panicked) };
        batch.history.forgotten = forgotten;
        if !self.is_remembered {
            batch.history.begins = Some(self.history.began());
        }
        if !self.has_failed {
            let Err(error) = self.backend.persist(&batch) else {
                self.is_remembered = true;
                return Ok(());
            };
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a write failed; all of the state is written anew"
            );
            self.has_failed = true;
        }
        self.backend.replace(&|| Loaded { index: before.index(), rows: rows(before), history: None })?;
        // What was forgotten is not there any more, as nothing is.
        batch.history.begins = Some((OffsetDateTime::now_utc(), before.index()));
        batch.history.forgotten.clear();
        self.backend.persist(&batch)?;
        self.has_failed = false;
        self.is_remembered = true;
        tracing::info!(index = batch.index, "the state was written anew, and writes are taken again");
        Ok(())
    }

    fn draft(&self, view: &View, decide: Decide) -> Result<Drafted, StoreError> {
        let write = decide(view).map_err(StoreError::Rejected)?;
        drafted(view, &write, &self.guard).map_err(StoreError::Rejected)
    }
}

/// A trace's part that says what becomes of a write.
fn span_of(request: &Request) -> Span {
    let span = tracing::debug_span!(
        parent: None,
        "write",
        author = request.author.kind(),
        outcome = field::Empty,
        index = field::Empty,
        rows = field::Empty
    );
    caused_by(span, &request.span)
}

/// What a trace says of a write, once it is durable.
struct Told {
    /// What became of it, in a word of a closed set.
    outcome: &'static str,
    /// The commit that it made.
    index: Option<Index>,
}

impl Told {
    fn of(result: &Result<Outcome, StoreError>) -> Self {
        let (outcome, index) = match result {
            Ok(Outcome::Committed(index)) => ("committed", Some(*index)),
            Ok(Outcome::Unchanged(_)) => ("unchanged", None),
            Ok(Outcome::ConditionFailed) => ("condition-failed", None),
            Err(StoreError::Rejected(_)) => ("refused", None),
            Err(_) => ("failed", None),
        };
        Self { outcome, index }
    }
}

/// What becomes of a write, and what it changes, if it changes something.
type Drafted = (Outcome, Option<(View, RowChanges)>);

fn drafted(view: &View, write: &Write, guard: &Guard) -> Result<Drafted, Problems> {
    if !write.conditions.iter().all(|condition| holds(view, condition)) {
        return Ok((Outcome::ConditionFailed, None));
    }
    let mut draft = Draft::after(view.clone(), &write.ops);
    for op in write.ops.iter().cloned() {
        draft.apply(op);
    }
    if !draft.is_changed() {
        return Ok((Outcome::Unchanged(view.index()), None));
    }
    guard(view, &draft.view, &write.ops)?;
    let (next, rows) = draft.finish();
    Ok((Outcome::Committed(next.index()), Some((next, rows))))
}

/// One backend failure, told to several writers.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct SharedError(Arc<StoreError>);

fn holds(view: &View, condition: &Condition) -> bool {
    match condition {
        Condition::EntryAt(key, index) => view.entry(key).map_or(0, |row| row.modify_index) == *index,
    }
}

/// A writer that stopped waiting is none of our business.
fn answer(answers: Vec<(Reply, Result<Outcome, StoreError>)>) {
    for (reply, result) in answers {
        let _ = reply.send(result);
    }
}
