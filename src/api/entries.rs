//! `PUT /v1/meshgate/config`: config entries that are written together or not at all, in one commit.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use super::agent::Registration;
use super::body::{Body, LARGE};
use super::call::Call;
use super::config::format;
use super::error::ApiError;
use super::route::{Routes, put};
use crate::codec::{self, Decoded};
use crate::model::{ConfigEntry, EntryKey, Problem, Problems, ServiceDefinition};
use crate::store::{Index, Op, Outcome, StoreError, Write};

/// Most entries of one body: all of them are one commit.
const MOST_ENTRIES: usize = 8192;

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
pub(super) struct Refused {
    errors: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Refusal {
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
    if let Some(value) = call.query.get("cas") {
        let expected = "a condition is about one entry: write that one alone, with PUT /v1/config";
        return Err(ApiError::InvalidParameter { name: "cas", value: value.to_owned(), expected });
    }
    let entries = match call.definitions_in(&body, &headers, false) {
        Ok((entries, _)) => entries,
        Err(errors) => return Ok(call.unreadable(errors)),
    };
    let write = Write::from(entries.into_iter().map(Op::PutEntry).collect::<Vec<_>>());
    match call.store().write(write).await {
        Ok(Outcome::Committed(index) | Outcome::Unchanged(index)) => Ok(call.json(&Written { index })),
        Ok(Outcome::ConditionFailed) => {
            Err(StoreError::Rejected(Problem::rule("", "nothing was written").into()).into())
        }
        Err(StoreError::Rejected(problems)) => Ok(call.refused(problems)),
        Err(error) => Err(error.into()),
    }
}

impl Call {
    /// The answer about what is wrong in a body.
    pub(super) fn unreadable(&self, errors: Vec<Refusal>) -> Response {
        self.json_with_status(StatusCode::BAD_REQUEST, &Refused::of(errors))
    }

    /// The answer about rules that the state would break.
    pub(super) fn refused(&self, problems: Problems) -> Response {
        let errors = problems.0.into_iter().map(Refusal::around).collect();
        self.json_with_status(StatusCode::CONFLICT, &Refused::of(errors))
    }

    /// The entries of a body as they are stored, and the registrations where they are taken, or everything that is wrong with
    /// them.
    pub(super) fn definitions_in(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        takes_services: bool,
    ) -> Result<(Vec<ConfigEntry>, Vec<Registration>), Vec<Refusal>> {
        let documents =
            codec::parse_documents(body, format(headers)).map_err(|problem| vec![Refusal::around(problem)])?;
        let items = codec::items_at_most(&documents, MOST_ENTRIES).map_err(|count| {
            let what =
                format!("the body holds {count} config entries, more than the {MOST_ENTRIES} of one commit: divide it");
            vec![Refusal::about_all(what)]
        })?;
        let mut refusals: Vec<_> = items.problems.0.into_iter().map(Refusal::around).collect();
        let is_empty = items.entries.is_empty() && items.services.is_empty();
        if !items.services.is_empty() && !takes_services {
            refusals.push(Refusal::about_all("the body holds services: register them with their agent"));
        } else if is_empty && refusals.is_empty() {
            let more = if takes_services { " and no service" } else { "" };
            refusals.push(Refusal::about_all(format!("the body holds no config entry{more}")));
        }
        let services = self.registrations(items.services, &mut refusals);
        let mut entries = Vec::with_capacity(items.entries.len());
        let mut seen: BTreeMap<EntryKey, usize> = BTreeMap::new();
        for (position, mut decoded) in items.entries.into_iter().enumerate() {
            decoded.judge(|entry| self.rules(entry));
            let place = decoded.place().to_owned();
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
                    refusals.extend(problems.0.into_iter().map(|problem| Refusal::of(position, &place, problem)));
                }
            }
        }
        if refusals.is_empty() { Ok((entries, services)) } else { Err(refusals) }
    }

    fn registrations(
        &self,
        services: Vec<Decoded<'_, ServiceDefinition>>,
        refusals: &mut Vec<Refusal>,
    ) -> Vec<Registration> {
        let mut registrations = Vec::with_capacity(services.len());
        for mut service in services {
            let rules = |rest: &ServiceDefinition| {
                rest.validate(rest.partition.as_ref().unwrap_or(&self.scope.place.partition))
            };
            service.judge(rules);
            let registered = service.into_located().and_then(|(definition, origin)| {
                self.registration(definition).map_err(|error| {
                    let problems = problems_of(error).0.into_iter();
                    Problems(problems.map(|problem| origin.locate(problem)).collect())
                })
            });
            match registered {
                Ok(registration) => registrations.push(registration),
                Err(problems) => refusals.extend(problems.0.into_iter().map(Refusal::around)),
            }
        }
        registrations
    }
}

/// What a refusal of one entry says about it.
fn problems_of(error: ApiError) -> Problems {
    if let ApiError::Refused(problems) | ApiError::InvalidRegistration(problems) = error {
        return problems;
    }
    Problem::rule("", error.to_string()).into()
}

impl Refused {
    /// As many as somebody can use.
    fn of(mut errors: Vec<Refusal>) -> Self {
        let more = errors.len().saturating_sub(codec::MAX_PROBLEMS);
        errors.truncate(codec::MAX_PROBLEMS);
        if more > 0 {
            errors.push(Refusal::about_all(format!("and {more} more")));
        }
        Self { errors }
    }
}

impl Refusal {
    /// About the entry at `place` of its document, which its position says already.
    fn of(entry: usize, place: &str, problem: Problem) -> Self {
        let path = problem.path.strip_prefix(place).unwrap_or(&problem.path).trim_start_matches('.').to_owned();
        Self { entry: Some(entry), path, ..Self::around(problem) }
    }

    fn around(problem: Problem) -> Self {
        Self { entry: None, line: problem.line, path: problem.path, what: problem.message }
    }

    pub(super) fn about_all(what: impl Into<String>) -> Self {
        Self { entry: None, line: None, path: String::new(), what: what.into() }
    }
}
