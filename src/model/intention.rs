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

impl From<IntentionPolicy> for IntentionAction {
    fn from(policy: IntentionPolicy) -> Self {
        match policy {
            IntentionPolicy::Allow => Self::Allow,
            IntentionPolicy::Deny => Self::Deny,
        }
    }
}
