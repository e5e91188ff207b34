//! Intentions by UUID, as they were written before they were config entries. `consul intention create` still does.

use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::pair::Pair;
use super::{entry_or_new, find_by_id, write};
use crate::api::body::{Body, LARGE};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::route::Tail;
use crate::api::scope::Scope;
use crate::codec;
use crate::model::entry::IntentionSource;
use crate::model::{EntryKind, Intention, Namespace, Problem, Problems, ServiceName};
use crate::store::{Reader, View};

pub(super) async fn read(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = uuid(tail)?;
    let found = |reader: &Reader<'_>| {
        let rows = reader.entries_of_kind(EntryKind::ServiceIntentions);
        Ok(find_by_id(rows, &id).map(|found| found.intention()))
    };
    let (intention, meta) = call.current(found).await?;
    Ok(meta.on(match intention {
        Some(intention) => call.json(&intention),
        None => ApiError::IntentionNotFound.into_response(),
    }))
}

pub(super) async fn create(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let said = decode(&body)?;
    if !said.id.is_empty() {
        return Err(ApiError::Refused(Problem::rule("ID", "is made here: leave it out").into()));
    }
    let pair = pair(&call.scope, &said)?;
    let now = OffsetDateTime::now_utc();
    let id = Uuid::new_v4().to_string();
    let source = IntentionSource { legacy_id: id.clone(), legacy_create_time: Some(now), ..source(&said, now)? };
    let add = move |view: &View| {
        let mut entry = entry_or_new(view, &pair.key());
        entry.sources.push(pair.named(&entry, source));
        write(entry)
    };
    call.store().write_with(add).await?;
    Ok(call.json(&json!({ "ID": id })))
}

/// Replaces it. Another source is taken, another destination is not: the entry about it would be another one.
pub(super) async fn update(call: Call, tail: Tail, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let id = uuid(tail)?;
    let said = decode(&body)?;
    let pair = pair(&call.scope, &said)?;
    let source = source(&said, OffsetDateTime::now_utc())?;
    let wanted = id.clone();
    let replace = move |view: &View| {
        let found = find(view, &wanted, "change")?;
        let mut entry = found.entry.clone();
        if pair.key() != found.row.value.key() {
            let message = "the destination of an intention cannot be changed: delete it, and make another one";
            return Err(Problem::rule("DestinationName", message).into());
        }
        let old = found.source();
        let source = IntentionSource {
            legacy_id: old.legacy_id.clone(),
            legacy_create_time: old.legacy_create_time,
            ..pair.named(&entry, source)
        };
        entry.sources[found.position] = source;
        write(entry)
    };
    call.store().write_with(replace).await?;
    Ok(call.json(&json!({ "ID": id })))
}

pub(super) async fn delete(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = uuid(tail)?;
    let remove = move |view: &View| {
        let found = find(view, &id, "delete")?;
        let mut entry = found.entry.clone();
        entry.sources.remove(found.position);
        write(entry)
    };
    call.store().write_with(remove).await?;
    Ok(Response::default())
}

fn uuid(Tail(tail): Tail) -> Result<String, ApiError> {
    let id = Uuid::try_parse(&tail).map_err(|_| ApiError::NotAUuid(tail))?;
    Ok(id.hyphenated().to_string())
}

fn find<'v>(view: &'v View, id: &str, verb: &str) -> Result<super::Found<'v>, Problems> {
    let rows = view.entries().map(|(_, row)| row);
    find_by_id(rows, id).ok_or_else(|| Problem::rule("", format!("Cannot {verb} non-existent intention {id:?}")).into())
}

fn decode(body: &[u8]) -> Result<Intention, ApiError> {
    codec::strict(body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })
}

/// What the body says of whoever calls, without its name.
fn source(said: &Intention, now: OffsetDateTime) -> Result<IntentionSource, ApiError> {
    let source = said.source().map_err(ApiError::Refused)?;
    let mut problems = Intention::validate_meta(&said.meta);
    if !said.permissions.is_empty() {
        problems
            .rule("Permissions", "cannot be set here: use /v1/connect/intentions/exact or a service-intentions entry");
    }
    problems.into_result().map_err(ApiError::Refused)?;
    Ok(IntentionSource { legacy_meta: said.meta.clone(), legacy_update_time: Some(now), ..source })
}

/// Who calls whom: the body says it, and the call where the body leaves it out.
fn pair(scope: &Scope, said: &Intention) -> Result<Pair, ApiError> {
    let mut problems = Problems::default();
    for (field, name) in [("SourceName", &said.source_name), ("DestinationName", &said.destination_name)] {
        if name.is_empty() {
            problems.rule(field, "must be the name of a service; * stands for every one");
        }
    }
    problems.into_result().map_err(ApiError::Refused)?;
    let destination_scope = scope.clone().in_partition(said.destination_partition.as_ref())?;
    let every = Namespace::from("*");
    let destination_scope = match &said.destination_ns {
        Some(namespace) if *namespace == every => destination_scope.in_every_namespace()?,
        namespace => destination_scope.in_namespace(namespace.as_ref())?,
    };
    let destination =
        ServiceName::new(&destination_scope.place.partition, &destination_scope.namespace, &said.destination_name);
    // A call may come from anywhere, so the source need not agree with the query.
    let source = ServiceName::new(
        said.source_partition.as_ref().unwrap_or(&scope.place.partition),
        said.source_ns.as_ref().unwrap_or(&scope.clone().in_namespace(None)?.namespace),
        &said.source_name,
    );
    Ok(Pair::new(source, destination))
}
