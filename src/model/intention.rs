//! Intentions: who may call whom.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::entry::{IntentionPermission, IntentionSource, ServiceIntentions};
use super::{Ignored, Namespace, Partition, PeerName, Problem, Problems, is_default};

/// What happens to calls that no intention speaks about (`default_intention_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentionPolicy {
    /// They pass.
    #[default]
    Allow,
    /// They do not.
    Deny,
}

/// What becomes of the calls that an intention is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentionAction {
    /// They pass.
    Allow,
    /// They do not.
    Deny,
}

/// One source of a `service-intentions` entry together with its destination, as the endpoints of intentions show and take
/// it (`http-api.md` 2.8).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Intention {
    /// Its UUID, if it was written by an endpoint that names intentions so.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: String,
    /// Free text.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// Namespace of whoever calls; shown always.
    #[serde(rename = "SourceNS")]
    pub source_ns: Option<Namespace>,
    /// The service that calls; `*` means every one.
    pub source_name: String,
    /// Namespace of what is called; shown always.
    #[serde(rename = "DestinationNS")]
    pub destination_ns: Option<Namespace>,
    /// The service that is called; `*` means every one.
    pub destination_name: String,
    /// Partition of whoever calls, unless it is the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_partition: Option<Partition>,
    /// Partition of what is called, unless it is the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_partition: Option<Partition>,
    /// The peer of whoever calls.
    #[serde(skip_serializing_if = "is_default")]
    pub source_peer: PeerName,
    /// The group of whoever calls.
    #[serde(skip_serializing_if = "is_default")]
    pub source_sameness_group: String,
    /// Always `consul`.
    pub source_type: String,
    /// `allow` or `deny`; empty where permissions say so for each request. A text, because a wrong one breaks a rule and
    /// can be decoded.
    #[serde(skip_serializing_if = "is_default")]
    pub action: String,
    /// What becomes of HTTP requests.
    #[serde(skip_serializing_if = "is_default")]
    pub permissions: Vec<IntentionPermission>,
    /// Requirements on JSON web tokens; refused.
    #[serde(rename = "JWT", skip_serializing_if = "Option::is_none")]
    pub jwt: Option<serde_json::Value>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
    /// Rank among the intentions that match a call.
    pub precedence: u32,
    /// When it was made, if that is known.
    #[serde(skip_serializing_if = "is_default")]
    pub created_at: String,
    /// When it was last written, if that is known.
    #[serde(skip_serializing_if = "is_default")]
    pub updated_at: String,
    /// Base64 of a hash of what it says; what clients send is ignored.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "ignored")]
    pub hash: String,
    /// The commit that made the entry.
    pub create_index: u64,
    /// The commit that last changed it.
    pub modify_index: u64,
}

impl Intention {
    /// What an entry says about one of its sources. The commits are left to whoever has the row.
    pub fn new(entry: &ServiceIntentions, source: &IntentionSource) -> Self {
        let partition = |partition: &Partition| Some(partition.clone()).filter(|partition| !partition.is_default());
        // What was written by itself has its own facts; all others share those of their entry.
        let meta = if source.legacy_id.is_empty() { &entry.meta } else { &source.legacy_meta };
        Self {
            id: source.legacy_id.clone(),
            description: source.description.clone(),
            source_ns: Some(entry.namespace_of(source)),
            source_name: source.name.clone(),
            destination_ns: Some(entry.namespace.clone()),
            destination_name: entry.name.clone(),
            source_partition: partition(entry.partition_of(source)).filter(|_| source.peer.is_default()),
            destination_partition: partition(&entry.partition),
            source_peer: source.peer.clone(),
            source_sameness_group: source.sameness_group.clone(),
            source_type: source.r#type.clone(),
            action: source.action.map_or("", IntentionAction::as_str).to_owned(),
            permissions: source.permissions.clone(),
            jwt: None,
            meta: meta.clone(),
            precedence: entry.precedence_of(source),
            created_at: shown(source.legacy_create_time),
            updated_at: shown(source.legacy_update_time),
            hash: String::new(),
            create_index: 0,
            modify_index: 0,
        }
        .hashed()
    }

    /// The same with the hash of what it says, which its times and commits are no part of.
    fn hashed(mut self) -> Self {
        let times = (std::mem::take(&mut self.created_at), std::mem::take(&mut self.updated_at));
        let text = serde_json::to_vec(&self).expect("intentions have string keys");
        (self.created_at, self.updated_at) = times;
        self.hash = STANDARD.encode(Sha256::digest(&text));
        self
    }

    /// The order in which intentions are shown and looked at: by descending precedence, equal ones by name.
    pub fn compare(&self, other: &Self) -> Ordering {
        let key = |row: &Self| {
            (
                Reverse(row.precedence),
                (row.source_peer.clone(), row.source_partition.clone(), row.source_ns.clone()),
                row.source_name.clone(),
                (row.destination_partition.clone(), row.destination_ns.clone()),
                row.destination_name.clone(),
            )
        };
        key(self).cmp(&key(other))
    }

    /// Every broken rule about the facts of an intention.
    pub fn validate_meta(meta: &BTreeMap<String, String>) -> Problems {
        let mut problems = Problems::default();
        super::entry::validate_meta(meta, &mut problems);
        problems
    }

    /// What it says of whoever calls, without the name, which is not always its own to say.
    ///
    /// # Errors
    /// An action that is none, and what only a config entry can say.
    pub fn source(&self) -> Result<IntentionSource, Problems> {
        let mut problems = Problems::default();
        let action = match self.action.as_str() {
            "" => None,
            "allow" => Some(IntentionAction::Allow),
            "deny" => Some(IntentionAction::Deny),
            other => {
                problems.rule("Action", format!("must be \"allow\" or \"deny\", not {other:?}"));
                None
            }
        };
        for (field, is_set) in [
            ("SourcePeer", !self.source_peer.is_default()),
            ("SourceSamenessGroup", !self.source_sameness_group.is_empty()),
            ("JWT", self.jwt.is_some()),
        ] {
            if is_set {
                problems.0.push(Problem::rule(field, "cannot be set here: write a service-intentions entry"));
            }
        }
        problems.into_result()?;
        Ok(IntentionSource {
            action,
            permissions: self.permissions.clone(),
            r#type: self.source_type.clone(),
            description: self.description.clone(),
            ..IntentionSource::default()
        })
    }
}

/// Takes any value for none.
fn ignored<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ignored::deserialize(deserializer).map(|Ignored| String::new())
}

/// Empty for a time that RFC 3339 cannot write.
fn shown(time: Option<OffsetDateTime>) -> String {
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

impl IntentionAction {
    /// The action as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            IntentionAction::Allow => "allow",
            IntentionAction::Deny => "deny",
        }
    }
}

/// An action that may be missing, which an empty text means too.
pub(super) mod optional_action {
    use serde::de::{Error, IntoDeserializer};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::IntentionAction;

    pub(in crate::model) fn serialize<S: Serializer>(
        action: &Option<IntentionAction>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        action.serialize(serializer)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<IntentionAction>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let action =
            IntentionAction::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(text.as_str()));
        action
            .map(Some)
            .map_err(|_| Error::custom(format_args!("unknown action {text:?}: expected \"allow\" or \"deny\"")))
    }
}

impl From<IntentionPolicy> for IntentionAction {
    fn from(policy: IntentionPolicy) -> Self {
        match policy {
            IntentionPolicy::Allow => Self::Allow,
            IntentionPolicy::Deny => Self::Deny,
        }
    }
}
