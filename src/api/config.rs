//! `/v1/config`: config entries. They are global, so the datacenter of a call does not matter, with one exception.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use serde::Serialize;

use super::body::{Body, LARGE};
use super::call::Call;
use super::error::{ApiError, Decoder};
use super::filter::Filtered;
use super::route::{Routes, Tail, get_delete, prefix, put};
use crate::codec::{self, Format};
use crate::model::{ConfigEntry, EntryKey, EntryKind, Namespace, Problems, ServiceName};
use crate::store::{Condition, Index, Op, Outcome, Reader, Stored, Write};

/// The routes of `/v1/config`.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/config", put(apply).taking(Method::PUT, codec::entry_shape))
        .merge(prefix("/v1/config/", get_delete(read, delete)))
}

/// An entry with the commits that made and changed it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EntryRow<'a> {
    #[serde(flatten)]
    entry: &'a ConfigEntry,
    create_index: Index,
    modify_index: Index,
}

/// Keeps rows as they are until they are written.
struct Entry(Stored<ConfigEntry>);

impl Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Stored { value, create_index, modify_index } = &self.0;
        EntryRow { entry: value, create_index: *create_index, modify_index: *modify_index }.serialize(serializer)
    }
}

async fn apply(call: Call, headers: HeaderMap, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let entry = Decoder::Entry.accept(codec::config_entry(&body, format(&headers)), |rest| call.rules(rest))?;
    let entry = call.as_stored(entry)?;
    let conditions = call.condition(&entry.key())?.into_iter().collect();
    let outcome = call.store().write(Write { conditions, ops: vec![Op::PutEntry(entry)] }).await?;
    Ok(call.json(&(outcome != Outcome::ConditionFailed)))
}

async fn read(call: Call, Tail(tail): Tail) -> Result<Response, ApiError> {
    match tail.split_once('/').unwrap_or((&tail, "")) {
        ("", _) => call.every_entry().await,
        (kind, "") => call.entries(parse_kind(kind)?).await,
        (kind, name) => call.entry(call.key(parse_kind(kind)?, name)).await,
    }
}

/// Removing what is not there is no error.
async fn delete(call: Call, Tail(tail): Tail) -> Result<Response, ApiError> {
    let (kind, name) = tail
        .split_once('/')
        .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
        .ok_or(ApiError::UnnamedEntry)?;
    let key = call.key(parse_kind(kind)?, name);
    call.is_writable_here(key.kind)?;
    let condition = call.condition(&key)?;
    let is_conditional = condition.is_some();
    let write = Write { conditions: condition.into_iter().collect(), ops: vec![Op::DeleteEntry(key)] };
    let outcome = call.store().write(write).await?;
    if is_conditional {
        return Ok(call.json(&(outcome != Outcome::ConditionFailed)));
    }
    Ok(call.json(&serde_json::json!({})))
}

/// JSON unless the content type names one of the other formats. Form types, which `curl -d` sends, mean nothing.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match said.split(';').next().unwrap_or_default().trim() {
        "application/hcl" | "text/hcl" => Format::Hcl,
        "application/yaml" | "application/x-yaml" | "text/yaml" => Format::Yaml,
        _ => Format::Json,
    }
}

pub(super) fn parse_kind(text: &str) -> Result<EntryKind, ApiError> {
    EntryKind::parse(text).ok_or_else(|| ApiError::UnknownKind(text.to_owned()))
}

impl Call {
    /// The rules that an entry breaks, in the place of the call where it names none itself.
    pub(super) fn rules(&self, entry: &ConfigEntry) -> Problems {
        let mut canonical = entry.clone();
        canonical.normalize(&self.scope.place.partition, &self.scope.namespace);
        canonical.validate()
    }

    /// The entry in its canonical form, in the place that it or the call names.
    pub(super) fn as_stored(&self, mut entry: ConfigEntry) -> Result<ConfigEntry, ApiError> {
        entry.take_what_is_not_the_callers().map_err(ApiError::Refused)?;
        self.is_writable_here(entry.kind())?;
        let said = entry.key().name;
        let scope =
            self.scope.clone().in_partition(Some(&said.partition).filter(|partition| !partition.is_default()))?;
        // Intentions alone can be about the services of every namespace.
        let scope = if entry.kind() == EntryKind::ServiceIntentions && said.namespace.as_str() == "*" {
            scope.in_every_namespace()?
        } else {
            scope.in_namespace(Some(&said.namespace).filter(|namespace| !namespace.is_default()))?
        };
        entry.normalize(&scope.place.partition, &scope.namespace);
        entry.validate().into_result().map_err(ApiError::Refused)?;
        Ok(entry)
    }

    /// The key of an entry in the partition of the call, and in its namespace where the kind has one.
    pub(super) fn key(&self, kind: EntryKind, name: &str) -> EntryKey {
        let namespace = if kind.is_namespaced() { self.scope.namespace.clone() } else { Namespace::default() };
        EntryKey { kind, name: ServiceName::new(&self.scope.place.partition, &namespace, name) }
    }

    /// The condition that `cas` asks for.
    pub(super) fn condition(&self, key: &EntryKey) -> Result<Option<Condition>, ApiError> {
        let Some(text) = self.query.get("cas") else { return Ok(None) };
        let index = text.parse().map_err(|_| ApiError::InvalidCas(text.to_owned()))?;
        Ok(Some(Condition::EntryAt(key.clone(), index)))
    }

    /// What is exported is not forwarded silently: who writes it in another datacenter must name the primary.
    pub(super) fn is_writable_here(&self, kind: EntryKind) -> Result<(), ApiError> {
        let primary = &self.api.options.datacenter;
        if kind == EntryKind::ExportedServices && self.scope.place.datacenter != *primary {
            return Err(ApiError::NotPrimary(primary.clone()));
        }
        Ok(())
    }

    /// Waits for an absent entry too; that it is absent is the answer once the time is up.
    async fn entry(&self, key: EntryKey) -> Result<Response, ApiError> {
        let (entry, meta) = self.current(|reader| Ok(reader.entry(&key).cloned().map(Entry))).await?;
        Ok(meta.on(match entry {
            Some(entry) => self.json(&entry),
            None => ApiError::EntryNotFound { kind: key.kind, name: key.name.name.to_string() }.into_response(),
        }))
    }

    async fn entries(&self, kind: EntryKind) -> Result<Response, ApiError> {
        let filtered = if kind == EntryKind::ServiceDefaults { Filtered::Rows } else { Filtered::Nothing };
        if filtered == Filtered::Nothing && self.query.value("filter").is_some() {
            return Err(ApiError::FilterNotSupported(kind));
        }
        self.read(filtered, |reader| Ok(self.shown_entries(reader, kind))).await
    }

    async fn every_entry(&self) -> Result<Response, ApiError> {
        let entries = |reader: &Reader<'_>| {
            Ok(EntryKind::ALL.into_iter().flat_map(|kind| self.shown_entries(reader, kind)).collect::<Vec<_>>())
        };
        self.read(Filtered::Nothing, entries).await
    }

    fn shown_entries(&self, reader: &Reader<'_>, kind: EntryKind) -> Vec<Entry> {
        let rows = reader.entries(kind, &self.scope.place.partition).into_iter();
        let is_shown =
            |row: &&Stored<ConfigEntry>| !kind.is_namespaced() || self.scope.shows(&row.value.key().name.namespace);
        rows.filter(is_shown).cloned().map(Entry).collect()
    }
}
