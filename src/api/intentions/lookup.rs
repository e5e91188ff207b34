//! Which intentions are about a service, and which one decides about a call.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde_json::json;

use super::pair::{Pair, Peers, name, required};
use super::{in_order, of_entry, refused};
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::model::{EntryKey, EntryKind, Intention, IntentionAction, Namespace, Partition, ServiceName};
use crate::store::Reader;

/// Which end of an intention is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// `GET /v1/connect/intentions/match`: the intentions about each of the named services, wildcards included.
pub(super) async fn matches(call: Call) -> Result<Response, ApiError> {
    let end = match required(&call, "by")? {
        "source" => End::Source,
        "destination" => End::Destination,
        other => return Err(refused("by", format!("{other:?}: expected source or destination"))),
    };
    let scope = call.scope.clone().in_namespace(None)?;
    required(&call, "name")?;
    let named = call.query.all("name").map(|text| Ok((text, name(&scope, "name", text)?)));
    let named = named.collect::<Result<BTreeMap<&str, ServiceName>, ApiError>>()?;
    let found = |reader: &Reader<'_>| {
        let about = |service: &ServiceName| match end {
            End::Source => calls_of(reader, service),
            End::Destination => calls_to(reader, service),
        };
        Ok(named.iter().map(|(text, service)| (*text, about(service))).collect::<BTreeMap<_, _>>())
    };
    call.read(Filtered::Nothing, found).await
}

/// `GET /v1/connect/intentions/check`: whether a call may pass.
pub(super) async fn check(call: Call) -> Result<Response, ApiError> {
    let pair = Pair::of(&call, Peers::Refused)?;
    if let Some(other) = call.query.value("source-type").filter(|kind| *kind != "consul") {
        return Err(refused("source-type", format!("{other:?}: the only type of sources is consul")));
    }
    let default = IntentionAction::from(call.api.options.default_intention_policy);
    let verdict = |reader: &Reader<'_>| {
        let allowed = match deciding(reader, &pair.source, &pair.destination) {
            Some(intention) => intention.action == IntentionAction::Allow.as_str(),
            None => default == IntentionAction::Allow,
        };
        Ok(json!({ "Allowed": allowed }))
    };
    call.read(Filtered::Nothing, verdict).await
}

/// The intention that decides about a call: of all that match, the one of the highest precedence.
pub(in crate::api) fn deciding(
    reader: &Reader<'_>,
    source: &ServiceName,
    destination: &ServiceName,
) -> Option<Intention> {
    calls_to(reader, destination).into_iter().find(|intention| is_about(intention, source))
}

/// The intentions about calls to a service.
pub(in crate::api) fn calls_to(reader: &Reader<'_>, service: &ServiceName) -> Vec<Intention> {
    let keys = wider(service).into_iter().map(|name| EntryKey { kind: EntryKind::ServiceIntentions, name });
    in_order(keys.filter_map(|key| reader.entry(&key)).flat_map(of_entry))
}

/// The intentions about calls of a service, to whichever destination.
fn calls_of(reader: &Reader<'_>, service: &ServiceName) -> Vec<Intention> {
    let all = reader.entries_of_kind(EntryKind::ServiceIntentions).flat_map(of_entry);
    in_order(all.filter(|intention| is_about(intention, service)))
}

/// The names under which entries about a service are kept: its own, and the two with wildcards.
fn wider(service: &ServiceName) -> BTreeSet<ServiceName> {
    let ServiceName { partition, namespace, .. } = service;
    let every = Namespace::from("*");
    BTreeSet::from([
        service.clone(),
        ServiceName::new(partition, namespace, "*"),
        ServiceName::new(partition, &every, "*"),
    ])
}

/// True if the source of an intention is this service or a wildcard that stands for it.
pub(super) fn is_about(intention: &Intention, service: &ServiceName) -> bool {
    let default = Partition::default();
    let partition = intention.source_partition.as_ref().unwrap_or(&default);
    let namespace = intention.source_ns.as_ref().map_or("", Namespace::as_str);
    intention.source_peer.is_default()
        && *partition == service.partition
        && (namespace == "*" || namespace == service.namespace.as_str())
        && (intention.source_name == "*" || intention.source_name == *service.name)
}
