//! `proxy-defaults`: what every proxy of a partition starts from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{
    AccessLogs, Expose, MeshGateway, OpaqueConfig, Partition, Problems, ProxyMode, TransparentProxy, is_default,
};

/// Defaults of every proxy of a partition.
///
/// ```hcl
/// Kind = "proxy-defaults"
/// Name = "global"
/// MeshGateway { Mode = "local" }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProxyDefaults {
    /// Always `global`.
    pub name: String,
    /// The partition it is for.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Opaque options that every proxy starts from.
    #[serde(skip_serializing_if = "is_default")]
    pub config: OpaqueConfig,
    /// Direct or transparent.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: ProxyMode,
    /// Options of the transparent mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_proxy: Option<TransparentProxy>,
    /// `strict` or `permissive`.
    #[serde(rename = "MutualTLSMode", skip_serializing_if = "is_default")]
    pub mutual_tls_mode: String,
    /// Gateway mode, rung 1 of the ladder.
    pub mesh_gateway: MeshGateway,
    /// Paths served in plain text.
    pub expose: Expose,
    /// Access logging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_logs: Option<AccessLogs>,
    /// Extensions; kept and shown, without effect.
    #[serde(skip_serializing_if = "is_default")]
    pub envoy_extensions: Vec<serde_json::Value>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// An older key for a folder of sockets, and how long it may be (contract 6.2).
const LEGACY_COLLECTOR_FOLDER: &str = "envoy_hcp_metrics_bind_socket_dir";
const MOST_FOLDER_BYTES: usize = 70;

impl ProxyDefaults {
    /// The only name an entry of this kind can have.
    pub const NAME: &'static str = "global";

    pub(super) fn normalize(&mut self) {
        if self.name.is_empty() {
            Self::NAME.clone_into(&mut self.name);
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.name != Self::NAME {
            problems.rule("Name", format!("invalid name {:?}: a proxy-defaults entry is named \"global\"", self.name));
        }
        problems.extend_under("Expose", self.expose.validate());
        let folder = self.config.get(LEGACY_COLLECTOR_FOLDER).and_then(|folder| folder.as_str()).unwrap_or_default();
        if folder.len() > MOST_FOLDER_BYTES {
            let message =
                format!("a folder for sockets has at most {MOST_FOLDER_BYTES} bytes, so that their paths fit");
            problems.rule(format!("Config.{LEGACY_COLLECTOR_FOLDER}"), message);
        }
        validate_mutual_tls_mode(&self.mutual_tls_mode, problems);
        if let Some(logs) = &self.access_logs {
            problems.extend_under("AccessLogs", logs.validate());
        }
    }
}

/// The `MutualTLSMode` in which a transparent proxy takes connections without TLS too.
pub const PERMISSIVE: &str = "permissive";

pub(super) fn validate_mutual_tls_mode(mode: &str, problems: &mut Problems) {
    if !matches!(mode, "" | "strict" | PERMISSIVE) {
        problems.rule("MutualTLSMode", format!("unknown mode {mode:?}: expected \"strict\" or \"permissive\""));
    }
}
