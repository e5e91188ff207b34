//! `/v1/meshgate/explain/intention`: which intention decides about a call, which others are about it, and what would be without
//! the one that decides.

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::lookup::{calls_to, is_about};
use super::pair::{Pair, Peers};
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::explain::{Setting, Written};
use crate::api::filter::Filtered;
use crate::model::entry::IntentionPermission;
use crate::model::{Intention, IntentionAction, Namespace, Partition, is_default};
use crate::store::Reader;

/// Which intention decides about a call, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionExplanation {
    /// Who calls.
    pub source: String,
    /// What is called.
    pub destination: String,
    /// `allow`, `deny`, or `permissions` where each request is judged by itself.
    pub action: String,
    /// What decides so.
    pub because: String,
    /// What would become of the call without what decides, and because of what; absent if that is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<WithoutIntention>,
    /// The intentions about calls to the destination, the one that goes before all others first.
    pub intentions: Vec<RankedIntention>,
}

/// What would be without the intention that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WithoutIntention {
    /// As in [`IntentionExplanation`].
    pub action: String,
    /// As in [`IntentionExplanation`].
    pub because: String,
}

/// An intention about calls to a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RankedIntention {
    /// The entry and what it says about its source.
    #[serde(flatten)]
    pub setting: Setting,
    /// Its rank: of those about a call, the one with the highest precedence decides.
    pub precedence: u32,
    /// `wins`, `overridden`, or `other` if it is about other callers.
    pub status: String,
    /// How requests are judged one by one, in this order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub permissions: Vec<IntentionPermission>,
}

/// `GET /v1/meshgate/explain/intention`.
pub(in crate::api) async fn explain(call: Call) -> Result<Response, ApiError> {
    let pair = Pair::of(&call, Peers::Refused)?;
    let default = IntentionAction::from(call.api.options.default_intention_policy);
    let told = |reader: &Reader<'_>| {
        let mut told = explained(reader, &pair, default);
        Written::add(&call, told.intentions.iter_mut().map(|intention| &mut intention.setting));
        Ok(told)
    };
    call.read(Filtered::Nothing, told).await
}

fn explained(reader: &Reader<'_>, pair: &Pair, default: IntentionAction) -> IntentionExplanation {
    let all = calls_to(reader, &pair.destination);
    let about: Vec<_> = all.iter().filter(|intention| is_about(intention, &pair.source)).collect();
    let decided = |by: Option<&&Intention>| match by {
        Some(intention) => (action(intention), told(intention)),
        None => (default.as_str().to_owned(), "default_intention_policy: no intention is about the call".to_owned()),
    };
    let winner = about.first().copied();
    let ranked = |intention: &Intention| {
        let status = match winner {
            Some(first) if first == intention => "wins",
            _ if is_about(intention, &pair.source) => "overridden",
            _ => "other",
        };
        RankedIntention {
            setting: setting(intention),
            precedence: intention.precedence,
            status: status.to_owned(),
            permissions: intention.permissions.clone(),
        }
    };
    let (action, because) = decided(about.first());
    let without = winner.map(|_| decided(about.get(1)));
    IntentionExplanation {
        source: pair.source.to_string(),
        destination: pair.destination.to_string(),
        action,
        because,
        without: without.map(|(action, because)| WithoutIntention { action, because }),
        intentions: all.iter().map(ranked).collect(),
    }
}

fn action(intention: &Intention) -> String {
    if intention.permissions.is_empty() { intention.action.clone() } else { "permissions".to_owned() }
}

fn told(intention: &Intention) -> String {
    let Setting { source, field, value, .. } = setting(intention);
    format!("{source}  {field} = {value}")
}

/// Where the intention stands, and what it says.
fn setting(intention: &Intention) -> Setting {
    let namespace = intention.destination_ns.clone().unwrap_or_default();
    let within = if namespace.is_default() { String::new() } else { format!("{namespace}/") };
    Setting {
        source: format!("service-intentions/{within}{}", intention.destination_name),
        partition: intention.destination_partition.clone().unwrap_or_default(),
        field: format!(
            "Sources[{}].{}",
            caller(intention),
            if intention.permissions.is_empty() { "Action" } else { "Permissions" }
        ),
        value: match intention.permissions.len() {
            0 => intention.action.clone(),
            count => format!("{count} {}", if count == 1 { "rule" } else { "rules" }),
        },
        modify_index: intention.modify_index,
        written: None,
    }
}

/// Whom the intention is about, with what of its name is not usual.
fn caller(intention: &Intention) -> String {
    let peer = Some(&intention.source_peer).filter(|peer| !peer.is_default()).map(|peer| format!("peer:{peer}"));
    let partition = intention.source_partition.as_ref().filter(|it| **it != Partition::default());
    let namespace = intention.source_ns.as_ref().filter(|it| **it != Namespace::default());
    let parts = peer.into_iter().chain(partition.map(ToString::to_string)).chain(namespace.map(ToString::to_string));
    parts.chain([intention.source_name.clone()]).collect::<Vec<_>>().join("/")
}
