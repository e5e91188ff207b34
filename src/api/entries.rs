//! `PUT /v1/meshgate/config`: config entries that are written together or not at all, in one commit.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use super::body::{Body, LARGE};
use super::call::Call;
use super::config::format;
use super::error::ApiError;
use super::route::{Routes, put};
use crate::codec;
use crate::model::{ConfigEntry, EntryKey, Problem, Problems};
use crate::store::{Index, Op, Outcome, StoreError, Write};

/// The route of writes of several entries.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/config", put(apply_all).taking(Method::PUT, codec::entries_shape))
}

/// The commit that holds all of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    index: Index,
}

/// Why nothing was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    errors: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    /// Which of the entries, counted from 0; absent where it is about none of them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<usize>,
    /// Line of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Field of the entry; empty for all of it.
    path: String,
    what: String,
}

/// The body is what a file of config entries may be: one, a list, several YAML documents, Kubernetes resources.
async fn apply_all(call: Call, headers: HeaderMap, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let entries = match call.entries_of(&body, &headers) {
        Ok(entries) => entries,
        Err(errors) => return Ok(call.json_with_status(StatusCode::BAD_REQUEST, &Refused { errors })),
    };
    let write = Write::from(entries.into_iter().map(Op::PutEntry).collect::<Vec<_>>());
    match call.api.store.write(write).await {
        Ok(Outcome::Committed(index) | Outcome::Unchanged(index)) => Ok(call.json(&Written { index })),
        Ok(Outcome::ConditionFailed) => Ok(call.json(&Written { index: call.api.store.view().index() })),
        Err(StoreError::Rejected(problems)) => {
            let errors = problems.0.into_iter().map(|problem| Refusal::of(None, problem)).collect();
            Ok(call.json_with_status(StatusCode::CONFLICT, &Refused { errors }))
        }
        Err(error) => Err(error.into()),
    }
}

impl Call {
    /// The entries of a body as they are stored, or everything that is wrong with them.
    fn entries_of(&self, body: &[u8], headers: &HeaderMap) -> Result<Vec<ConfigEntry>, Vec<Refusal>> {
        let documents =
            codec::parse_documents(body, format(headers)).map_err(|problem| vec![Refusal::of(None, problem)])?;
        let items = codec::items(&documents);
        let mut refusals: Vec<_> = items.problems.0.into_iter().map(|problem| Refusal::of(None, problem)).collect();
        if !items.services.is_empty() {
            refusals.push(Refusal::about_all("the body holds services: register them with their agent"));
        } else if items.entries.is_empty() && refusals.is_empty() {
            refusals.push(Refusal::about_all("the body holds no config entry"));
        }
        let mut entries = Vec::with_capacity(items.entries.len());
        let mut seen: BTreeMap<EntryKey, usize> = BTreeMap::new();
        for (position, mut decoded) in items.entries.into_iter().enumerate() {
            decoded.judge(|entry| self.rules(entry));
            let stored = decoded.into_located().and_then(|(entry, origin)| {
                let located =
                    |problems: Problems| problems.0.into_iter().map(|problem| origin.locate(problem)).collect();
                let entry = self.as_stored(entry).map_err(|error| Problems(located(problems_of(error))))?;
                match seen.entry(entry.key()) {
                    Entry::Vacant(vacant) => drop(vacant.insert(position)),
                    Entry::Occupied(first) => {
                        let message = format!("{} is written twice: entry {} is the first", entry.key(), first.get());
                        return Err(Problems(located(Problem::rule("Name", message).into())));
                    }
                }
                Ok(entry)
            });
            match stored {
                Ok(entry) => entries.push(entry),
                Err(problems) => {
                    refusals.extend(problems.0.into_iter().map(|problem| Refusal::of(Some(position), problem)));
                }
            }
        }
        if refusals.is_empty() { Ok(entries) } else { Err(refusals) }
    }
}

/// What a refusal of one entry says about it.
fn problems_of(error: ApiError) -> Problems {
    if let ApiError::Refused(problems) = error { problems } else { Problem::rule("", error.to_string()).into() }
}

impl Refusal {
    fn of(entry: Option<usize>, problem: Problem) -> Self {
        // The position in a list is said already.
        let position = entry.map(|entry| format!("[{entry}]")).unwrap_or_default();
        let path = problem.path.strip_prefix(&position).unwrap_or(&problem.path).trim_start_matches('.').to_owned();
        Self { entry, line: problem.line, path, what: problem.message }
    }

    fn about_all(what: &str) -> Self {
        Self { entry: None, line: None, path: String::new(), what: what.to_owned() }
    }
}
