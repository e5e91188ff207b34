//! `mesh`: settings of the whole mesh of a partition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Partition, Problems, is_default};

/// Settings of the whole mesh of a partition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mesh {
    /// Accepted and ignored: the name is fixed.
    #[serde(skip_serializing)]
    pub name: String,
    /// The partition it is for.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Transparent proxies.
    pub transparent_proxy: MeshTransparentProxy,
    /// Permissive mTLS may be switched on elsewhere.
    #[serde(rename = "AllowEnablingPermissiveMutualTLS", skip_serializing_if = "is_default")]
    pub allow_enabling_permissive_mutual_tls: bool,
    /// Envoy refuses routes to clusters that it does not have.
    #[serde(skip_serializing_if = "is_default")]
    pub validate_clusters: bool,
    /// TLS parameters.
    #[serde(rename = "TLS", skip_serializing_if = "Option::is_none")]
    pub tls: Option<MeshTls>,
    /// HTTP settings.
    #[serde(rename = "HTTP", skip_serializing_if = "Option::is_none")]
    pub http: Option<MeshHttp>,
    /// Peering settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peering: Option<MeshPeering>,
    /// What makes a mesh gateway of the partition unhealthy for callers of a service behind it.
    #[serde(skip_serializing_if = "is_default")]
    pub gateway_health: GatewayHealth,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// Whose checks say whether a mesh gateway takes connections to a service behind it. Consul knows only `backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayHealth {
    /// Its own and those of the service: it is healthy itself, and so is some instance.
    #[default]
    Combined,
    /// Those of the service alone: a gateway that fails its checks or is in maintenance goes on.
    Backend,
}

/// Settings of transparent proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshTransparentProxy {
    /// Only destinations inside the mesh are reachable.
    #[serde(skip_serializing_if = "is_default")]
    pub mesh_destinations_only: bool,
}

/// TLS parameters by direction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshTls {
    /// Of connections that sidecars accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming: Option<TlsDirection>,
    /// Of connections that sidecars open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<TlsDirection>,
}

/// TLS parameters of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsDirection {
    /// `TLS_AUTO` or `TLSv1_0` to `TLSv1_3`.
    #[serde(rename = "TLSMinVersion", skip_serializing_if = "is_default")]
    pub min_version: String,
    /// `TLS_AUTO` or `TLSv1_0` to `TLSv1_3`.
    #[serde(rename = "TLSMaxVersion", skip_serializing_if = "is_default")]
    pub max_version: String,
    /// IANA names; only for TLS up to 1.2.
    #[serde(skip_serializing_if = "is_default")]
    pub cipher_suites: Vec<String>,
}

/// HTTP settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshHttp {
    /// Do not forward the client certificate header.
    #[serde(rename = "SanitizeXForwardedClientCert", skip_serializing_if = "is_default")]
    pub sanitize_x_forwarded_client_cert: bool,
    /// What sidecars do with requests that they accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming: Option<MeshHttpIncoming>,
}

/// What sidecars do with requests that they accept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshHttpIncoming {
    /// What happens to them before intentions judge them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_normalization: Option<RequestNormalization>,
}

/// What happens to spellings of requests that an intention and an application could read in two ways.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestNormalization {
    /// Leave paths as they are written, which makes intentions about paths easy to get around.
    #[serde(skip_serializing_if = "is_default")]
    pub insecure_disable_path_normalization: bool,
    /// Make one slash of several.
    #[serde(skip_serializing_if = "is_default")]
    pub merge_slashes: bool,
    /// What happens to paths with escaped slashes.
    #[serde(skip_serializing_if = "is_default")]
    pub path_with_escaped_slashes_action: EscapedSlashesAction,
    /// What happens to headers with underscores in their name.
    #[serde(skip_serializing_if = "is_default")]
    pub headers_with_underscores_action: UnderscoresAction,
}

/// What happens to requests whose path holds an escaped slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EscapedSlashesAction {
    /// Not said.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// What Envoy does by itself.
    ImplementationSpecificDefault,
    /// It stays.
    KeepUnchanged,
    /// The request is refused.
    RejectRequest,
    /// It is unescaped, and the caller is told to ask again.
    UnescapeAndRedirect,
    /// It is unescaped.
    UnescapeAndForward,
}

/// What happens to headers with underscores in their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnderscoresAction {
    /// Not said.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// They pass.
    Allow,
    /// The request is refused.
    RejectRequest,
    /// They are taken out.
    DropHeader,
}

/// Peering settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshPeering {
    /// Control-plane traffic of peers goes through mesh gateways.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_through_mesh_gateways: bool,
}

const VERSIONS: [&str; 5] = ["TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"];

/// IANA cipher suite names and what Envoy calls them (contract 6.5).
const CIPHERS: [(&str, &str); 14] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
];

impl TlsDirection {
    /// The cipher suites by the names that Envoy knows.
    pub fn envoy_ciphers(&self) -> Vec<&'static str> {
        let named = |suite: &String| CIPHERS.iter().find(|(iana, _)| iana == suite).map(|(_, envoy)| *envoy);
        self.cipher_suites.iter().filter_map(named).collect()
    }

    pub(super) fn validate(&self, path: &str, problems: &mut Problems) {
        let rank = |version: &str| VERSIONS.iter().position(|known| *known == version);
        for (field, version) in [("TLSMinVersion", &self.min_version), ("TLSMaxVersion", &self.max_version)] {
            if !version.is_empty() && rank(version).is_none() {
                problems.rule(
                    format!("{path}.{field}"),
                    format!("unknown version {version:?}: expected one of {}", VERSIONS.join(", ")),
                );
            }
        }
        if let (Some(min @ 1..), Some(max @ 1..)) = (rank(&self.min_version), rank(&self.max_version))
            && max < min
        {
            problems.rule(format!("{path}.TLSMaxVersion"), "must not be older than TLSMinVersion");
        }
        if !self.cipher_suites.is_empty() && self.min_version == "TLSv1_3" {
            problems.rule(format!("{path}.CipherSuites"), "cipher suites cannot be chosen for TLS 1.3");
        }
        for (position, suite) in self.cipher_suites.iter().enumerate() {
            if !CIPHERS.iter().any(|(iana, _)| iana == suite) {
                problems.rule(format!("{path}.CipherSuites[{position}]"), format!("unknown cipher suite {suite:?}"));
            }
        }
    }
}

impl Mesh {
    /// The name under which the only entry of this kind is stored; it is not part of the entry.
    pub const NAME: &'static str = "mesh";

    pub(super) fn validate(&self, problems: &mut Problems) {
        let Some(tls) = &self.tls else { return };
        for (path, direction) in [("TLS.Incoming", &tls.incoming), ("TLS.Outgoing", &tls.outgoing)] {
            if let Some(direction) = direction {
                direction.validate(path, problems);
            }
        }
    }
}
