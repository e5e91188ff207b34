//! Intentions: who may call whom.

use serde::{Deserialize, Serialize};

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
