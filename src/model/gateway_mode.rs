//! The mesh gateway mode: how a connection leaves its own place.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a sidecar reaches an upstream in another datacenter, partition or peer (contract, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayMode {
    /// Dial the upstream's instances directly.
    None,
    /// Dial a mesh gateway in the caller's own place.
    Local,
    /// Dial a mesh gateway in the upstream's place.
    Remote,
}

impl GatewayMode {
    /// Every mode, in the order the documentation lists them.
    pub const ALL: [GatewayMode; 3] = [GatewayMode::None, GatewayMode::Local, GatewayMode::Remote];

    /// The mode as it is written in registrations and entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            GatewayMode::None => "none",
            GatewayMode::Local => "local",
            GatewayMode::Remote => "remote",
        }
    }

    /// The mode with exactly this spelling; `Local` is not `local`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl fmt::Display for GatewayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The `MeshGateway` object: one optional mode. Unset defers to the next weaker source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MeshGateway {
    /// The mode, if this source sets one. The empty string means unset.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_mode")]
    pub mode: Option<GatewayMode>,
}

mod optional_mode {
    use super::*;

    pub(super) fn serialize<S: Serializer>(mode: &Option<GatewayMode>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.map_or("", GatewayMode::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GatewayMode>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        GatewayMode::parse(&text).map(Some).ok_or_else(|| {
            D::Error::custom(format_args!(
                "unknown mesh gateway mode {text:?}: expected \"none\", \"local\" or \"remote\" (lower case)"
            ))
        })
    }
}
