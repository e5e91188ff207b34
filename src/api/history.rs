//! `/v1/meshgate/history` and `/v1/meshgate/rollback`: what happened, by whom, and back.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::Call;
use super::config::parse_kind;
use super::difference::differences;
use super::error::ApiError;
use super::happenings::{Propagation, Propagations};
use super::plan::Field;
use super::route::{Routes, Tail, get, get_put, prefix};
use crate::codec;
use crate::model::{ConfigEntry, EntryKey};
use crate::store::{Author, Class, Commit, Condition, Index, Op, Outcome, RowChange, Stored, View, Write};

/// Commits of an answer that asks for no number of them.
const USUAL: usize = 100;
/// Most commits of an answer.
const MOST: usize = 1000;
/// Most rows that are shown of each of several commits.
const ROWS: usize = 20;
/// Most rows that are shown of one commit.
const ALL_ROWS: usize = 10_000;

/// The routes of the history.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/meshgate/history", get(history))
        .merge(prefix("/v1/meshgate/history/", get(commit)))
        .merge(prefix("/v1/meshgate/rollback/", get_put(preview, rollback)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    /// The newest one first.
    commits: Vec<ShownCommit>,
    /// There are older ones.
    has_more: bool,
    kept: Vec<ShownKept>,
    max_commits: usize,
    max_bytes: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownKept {
    class: &'static str,
    commits: usize,
    bytes: usize,
    forgotten_until: Index,
}

/// One commit, as the history and the events show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShownCommit {
    index: Index,
    time: String,
    author: ShownAuthor,
    class: &'static str,
    rows: Vec<ShownRow>,
    /// Rows that are not shown.
    more_rows: usize,
    /// How far its outcome has come; absent if it touched no connected proxy, or that is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation: Option<Propagation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShownAuthor {
    pub(super) by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownRow {
    table: &'static str,
    name: String,
    action: &'static str,
    /// Nothing for rows that hold secrets.
    fields: Vec<Field>,
}

/// What going back does to an entry, or did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rollback {
    kind: String,
    name: String,
    partition: String,
    namespace: String,
    /// The commit whose state of the entry is the aim.
    to: Index,
    /// The commit that last changed it until now; 0 if there is none.
    modify_index: Index,
    action: &'static str,
    fields: Vec<Field>,
    /// The commit that did it; absent if nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Index>,
}

async fn history(call: Call) -> Result<Response, ApiError> {
    let class = call.query.value("class").map(parse_class).transpose()?;
    let limit = call.query.value("limit").map_or(Ok(USUAL), parse_limit)?;
    let before = call.query.value("before").map(|text| text.parse().map_err(|_| not_a_commit("before", text)));
    let before: Index = before.unwrap_or(Ok(Index::MAX))?;
    let entry = call.query.value("entry").map(|text| call.entry_key(text)).transpose()?;
    let meta = call.after_commit().await?;
    let history = call.api.store.history();
    let wanted =
        |commit: &Arc<Commit>| commit.index < before && entry.as_ref().is_none_or(|entry| commit.touches(entry));
    let mut commits: Vec<_> = history.commits(class).into_iter().filter(wanted).take(limit + 1).collect();
    let has_more = commits.len() > limit;
    commits.truncate(limit);
    let propagations = Propagations::now(&*call.api.happenings);
    let retention = history.retention();
    let kept = history.kept().into_iter().map(|kept| ShownKept {
        class: kept.class.as_str(),
        commits: kept.commits,
        bytes: kept.bytes,
        forgotten_until: kept.forgotten_until,
    });
    let shown = Shown {
        commits: commits.iter().map(|commit| shown(commit, ROWS, &propagations)).collect(),
        has_more,
        kept: kept.collect(),
        max_commits: retention.commits,
        max_bytes: retention.bytes,
    };
    Ok(meta.on(call.json(&shown)))
}

async fn commit(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let text = tail.required("index of a commit")?;
    let index = text.parse().map_err(|_| not_a_commit("commit", &text))?;
    let commit = call.api.store.history().commit(index).ok_or(ApiError::NoCommit(index))?;
    Ok(call.json(&shown(&commit, ALL_ROWS, &Propagations::now(&*call.api.happenings))))
}

/// What going back would do.
async fn preview(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.entry_key(&tail.required("kind and name of an entry")?)?;
    let view = call.api.store.view();
    let to = call.moment("commit", call.query.value("commit").ok_or(ApiError::Missing("commit"))?, &view)?;
    let past = call.api.store.history().entry_at(&key, to, &view)?;
    Ok(call.json(&Rollback::of(&key, to, view.entry(&key), past.as_ref())))
}

/// Goes back: the entry becomes what it was, as a new commit.
async fn rollback(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.entry_key(&tail.required("kind and name of an entry")?)?;
    call.is_writable_here(key.kind)?;
    let view = call.api.store.view();
    let to = call.moment("commit", call.query.value("commit").ok_or(ApiError::Missing("commit"))?, &view)?;
    let past = call.api.store.history().entry_at(&key, to, &view)?;
    let mut done = Rollback::of(&key, to, view.entry(&key), past.as_ref());
    // Without a condition of the caller's, the entry is what the answer says it was.
    let condition = call.condition(&key)?.unwrap_or(Condition::EntryAt(key.clone(), done.modify_index));
    let op = match past {
        Some(past) => Op::PutEntry((*past.value).clone()),
        None => Op::DeleteEntry(key.clone()),
    };
    match call.store().write(Write { conditions: vec![condition], ops: vec![op] }).await? {
        Outcome::Committed(index) => done.written = Some(index),
        Outcome::Unchanged(_) => {}
        Outcome::ConditionFailed => return Err(ApiError::ChangedMeanwhile(key)),
    }
    Ok(call.json(&done))
}

fn shown(commit: &Commit, rows: usize, propagations: &Propagations) -> ShownCommit {
    ShownCommit::of(commit, rows).with(propagations.of(commit.index))
}

impl Call {
    /// The commit that a parameter means, by its index or by a time.
    pub(super) fn moment(&self, name: &'static str, text: &str, current: &Arc<View>) -> Result<Index, ApiError> {
        if let Ok(index) = text.parse() {
            return Ok(index);
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| not_a_commit(name, text))?;
        Ok(self.api.store.history().index_at(time, current)?)
    }

    /// The entry that is named as `kind/name`.
    fn entry_key(&self, text: &str) -> Result<EntryKey, ApiError> {
        let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or(ApiError::UnnamedEntry)?;
        Ok(self.key(parse_kind(kind)?, name))
    }
}

fn not_a_commit(name: &'static str, text: &str) -> ApiError {
    let expected = "expected the index of a commit, or a time such as 2026-01-02T15:04:05Z where one is taken";
    ApiError::InvalidParameter { name, value: text.to_owned(), expected }
}

fn parse_class(text: &str) -> Result<Class, ApiError> {
    let expected = "expected config, catalog, health or certificates";
    Class::parse(text).ok_or_else(|| ApiError::InvalidParameter { name: "class", value: text.to_owned(), expected })
}

pub(super) fn parse_limit(text: &str) -> Result<usize, ApiError> {
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    let expected = "expected a number from 1 to 1000";
    limit.ok_or_else(|| ApiError::InvalidParameter { name: "limit", value: text.to_owned(), expected })
}

/// A moment as it is written everywhere.
pub(super) fn written_time(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

impl ShownCommit {
    /// A commit with its first rows.
    pub(super) fn of(commit: &Commit, rows: usize) -> Self {
        let shown: Vec<_> = commit.changes(rows).into_iter().map(ShownRow::from).collect();
        Self {
            index: commit.index,
            time: written_time(commit.time),
            author: commit.author.into(),
            class: commit.class.as_str(),
            more_rows: commit.size().saturating_sub(rows.max(shown.len())),
            rows: shown,
            propagation: None,
        }
    }

    /// The same with how far it has come.
    pub(super) fn with(self, propagation: Option<Propagation>) -> Self {
        Self { propagation, ..self }
    }
}

impl From<Author> for ShownAuthor {
    fn from(author: Author) -> Self {
        let (by, address) = match author {
            Author::Process => ("process", None),
            Author::Call(address) => ("call", address.map(|address| address.to_string())),
            Author::Files => ("files", None),
            Author::HealthChecks => ("health-checks", None),
            Author::Authority => ("certificate-authority", None),
        };
        Self { by, address }
    }
}

impl From<RowChange> for ShownRow {
    fn from(change: RowChange) -> Self {
        let shown = |value: Option<Value>| {
            value.map(|mut value| {
                codec::hide_private_keys_in(&mut value);
                value
            })
        };
        let action = action(change.was_there, change.is_there);
        let fields = differences(shown(change.old).as_ref(), shown(change.new).as_ref());
        Self { table: change.table, name: change.name, action, fields }
    }
}

const fn action(was_there: bool, is_there: bool) -> &'static str {
    match (was_there, is_there) {
        (false, true) => "created",
        (true, false) => "removed",
        (true, true) => "changed",
        // It came and went within the commit.
        (false, false) => "unchanged",
    }
}

impl Rollback {
    fn of(key: &EntryKey, to: Index, now: Option<&Stored<ConfigEntry>>, past: Option<&Stored<ConfigEntry>>) -> Self {
        let written = |row: Option<&Stored<ConfigEntry>>| {
            let mut value = serde_json::to_value(&*row?.value).ok()?;
            codec::hide_private_keys_in(&mut value);
            Some(value)
        };
        let is_same = now.map(|row| &row.value) == past.map(|row| &row.value);
        Self {
            kind: key.kind.to_string(),
            name: key.name.name.to_string(),
            partition: key.name.partition.to_string(),
            namespace: key.name.namespace.to_string(),
            to,
            modify_index: now.map_or(0, |row| row.modify_index),
            action: if is_same { "unchanged" } else { action(now.is_some(), past.is_some()) },
            fields: differences(written(now).as_ref(), written(past).as_ref()),
            written: None,
        }
    }
}
