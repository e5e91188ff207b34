//! `/v1/connect/intentions`: who may call whom, one row for each source of a `service-intentions` entry
//! (`http-api.md` 2.8).
//!
//! The entries are the truth. What is written here changes them, and what entries say shows here.

mod by_id;
mod exact;
mod explain;
mod lookup;
mod pair;

use axum::response::Response;
use http::Method;

use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::route::{Routes, get, get_post, get_put_delete, prefix};
use crate::codec::shape_of;
use crate::model::entry::{IntentionSource, ServiceIntentions};
use crate::model::{ConfigEntry, EntryKey, EntryKind, Intention, Problem, Problems};
use crate::store::{Op, Reader, Stored, View, Write};

pub(super) use explain::explain;
pub use explain::{IntentionExplanation, RankedIntention, WithoutIntention};
pub(super) use lookup::{calls_to, deciding};

/// The routes of intentions.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/connect/intentions", get_post(list, by_id::create).taking(Method::POST, shape_of::<Intention>))
        .route(
            "/v1/connect/intentions/exact",
            get_put_delete(exact::read, exact::apply, exact::delete).taking(Method::PUT, shape_of::<Intention>),
        )
        .route("/v1/connect/intentions/match", get(lookup::matches))
        .route("/v1/connect/intentions/check", get(lookup::check))
        .merge(prefix(
            "/v1/connect/intentions/",
            get_put_delete(by_id::read, by_id::update, by_id::delete).taking(Method::PUT, shape_of::<Intention>),
        ))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let rows = |reader: &Reader<'_>| {
        let entries = reader.entries(EntryKind::ServiceIntentions, &call.scope.place.partition);
        let is_shown = |intention: &Intention| {
            intention.destination_ns.as_ref().is_some_and(|namespace| call.scope.shows(namespace))
        };
        Ok(in_order(entries.into_iter().flat_map(of_entry).filter(is_shown)))
    };
    call.read(Filtered::Rows, rows).await
}

/// The intentions of an entry, whatever they are about.
fn of_entry(row: &Stored<ConfigEntry>) -> impl Iterator<Item = Intention> {
    let sources = written(row).into_iter().flat_map(|entry| entry.sources.iter().map(move |source| (entry, source)));
    sources.map(|(entry, source)| Intention {
        create_index: row.create_index,
        modify_index: row.modify_index,
        ..Intention::new(entry, source)
    })
}

fn written(row: &Stored<ConfigEntry>) -> Option<&ServiceIntentions> {
    if let ConfigEntry::ServiceIntentions(entry) = &*row.value { Some(entry) } else { None }
}

fn in_order(intentions: impl Iterator<Item = Intention>) -> Vec<Intention> {
    let mut intentions: Vec<_> = intentions.collect();
    intentions.sort_by(Intention::compare);
    intentions
}

/// The stored entry with this key, or an empty one for the same destination.
fn entry_or_new(view: &View, key: &EntryKey) -> ServiceIntentions {
    view.entry(key).and_then(written).cloned().unwrap_or_else(|| ServiceIntentions {
        name: key.name.name.to_string(),
        partition: key.name.partition.clone(),
        namespace: key.name.namespace.clone(),
        ..ServiceIntentions::default()
    })
}

/// Writes a changed entry as if it had come whole; one without sources is none.
fn write(entry: ServiceIntentions) -> Result<Write, Problems> {
    let mut entry = ConfigEntry::ServiceIntentions(entry);
    let key = entry.key();
    if matches!(&entry, ConfigEntry::ServiceIntentions(entry) if entry.sources.is_empty()) {
        return Ok(Op::DeleteEntry(key).into());
    }
    entry.normalize(&key.name.partition, &key.name.namespace);
    entry.validate().into_result()?;
    Ok(Op::PutEntry(entry).into())
}

/// The intention with this ID, by its entry and its position there.
fn find_by_id<'r>(mut rows: impl Iterator<Item = &'r Stored<ConfigEntry>>, id: &str) -> Option<Found<'r>> {
    rows.find_map(|row| {
        let entry = written(row)?;
        let position = entry.sources.iter().position(|source| source.legacy_id.eq_ignore_ascii_case(id))?;
        Some(Found { row, entry, position })
    })
}

/// A source in its entry.
struct Found<'r> {
    row: &'r Stored<ConfigEntry>,
    entry: &'r ServiceIntentions,
    position: usize,
}

impl Found<'_> {
    fn source(&self) -> &IntentionSource {
        &self.entry.sources[self.position]
    }

    fn intention(&self) -> Intention {
        Intention {
            create_index: self.row.create_index,
            modify_index: self.row.modify_index,
            ..Intention::new(self.entry, self.source())
        }
    }
}

/// A parameter that breaks a rule; Consul's server side judges them, so that the status is 500.
fn refused(parameter: &str, message: impl Into<String>) -> ApiError {
    ApiError::Refused(Problem::rule(parameter, message).into())
}
