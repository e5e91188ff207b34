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
