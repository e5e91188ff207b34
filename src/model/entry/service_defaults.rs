//! `service-defaults`: the settings of one service, and of what it calls.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{proxy_defaults::validate_mutual_tls_mode, validate_service_name};
use crate::model::{
    Expose, GoDuration, MOST_REQUEST_HEADERS_KB, MeshGateway, Namespace, Partition, PeerName, Problems, ProxyMode,
    TransparentProxy, is_default, is_sni,
};

/// Settings of one service.
///
/// ```hcl
/// Kind     = "service-defaults"
/// Name     = "web"
/// Protocol = "http"
/// UpstreamConfig { Overrides = [{ Name = "api", MeshGateway { Mode = "remote" } }] }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceDefaults {
    /// The service.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// `tcp` (when empty), `http`, `http2` or `grpc`.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: String,
    /// Direct or transparent.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: ProxyMode,
    /// Options of the transparent mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_proxy: Option<TransparentProxy>,
    /// `strict` or `permissive`.
    #[serde(rename = "MutualTLSMode", skip_serializing_if = "is_default")]
    pub mutual_tls_mode: String,
    /// Gateway mode of the service as a caller (rung 2), and of the service as a target when no caller sets one.
    pub mesh_gateway: MeshGateway,
    /// Paths served in plain text.
    pub expose: Expose,
    /// SNI of a service outside the mesh.
    #[serde(rename = "ExternalSNI", skip_serializing_if = "is_default")]
    pub external_sni: String,
    /// Settings for what the service calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_config: Option<UpstreamConfiguration>,
    /// Addresses outside the mesh that the name stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Most connections to one instance; unlimited when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub max_inbound_connections: i64,
    /// Time to connect to the application, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub local_connect_timeout_ms: i64,
    /// Time for one request to the application, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub local_request_timeout_ms: i64,
    /// `exact_balance` or empty.
    #[serde(skip_serializing_if = "is_default")]
    pub balance_inbound_connections: String,
    /// Most KiB of request headers.
    #[serde(rename = "MaxRequestHeadersKB", skip_serializing_if = "Option::is_none")]
    pub max_request_headers_kb: Option<u32>,
    /// Extensions; kept and shown, without effect.
    #[serde(skip_serializing_if = "is_default")]
    pub envoy_extensions: Vec<serde_json::Value>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// Settings for upstreams.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpstreamConfiguration {
    /// For every upstream, weaker than the registration of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<UpstreamConfig>,
    /// For single upstreams, stronger than `Proxy.MeshGateway` of the registration.
    #[serde(skip_serializing_if = "is_default")]
    pub overrides: Vec<UpstreamConfig>,
}

/// Settings for one upstream, or for all of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpstreamConfig {
    /// The upstream, in overrides.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// The peer that exports it.
    #[serde(skip_serializing_if = "is_default")]
    pub peer: PeerName,
    /// Listener to use instead of the generated one.
    #[serde(rename = "EnvoyListenerJSON", skip_serializing_if = "is_default")]
    pub envoy_listener_json: String,
    /// Cluster to use instead of the generated one.
    #[serde(rename = "EnvoyClusterJSON", skip_serializing_if = "is_default")]
    pub envoy_cluster_json: String,
    /// Protocol spoken to it.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: String,
    /// Time to connect, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub connect_timeout_ms: i64,
    /// Circuit breakers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<UpstreamLimits>,
    /// Outlier detection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<PassiveHealthCheck>,
    /// Gateway mode: rung 3 in defaults, rung 5 in overrides.
    pub mesh_gateway: MeshGateway,
    /// `exact_balance` or empty.
    #[serde(skip_serializing_if = "is_default")]
    pub balance_outbound_connections: String,
}

/// Circuit breakers; unset limits are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpstreamLimits {
    /// Most connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Most requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<i64>,
    /// Most requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_requests: Option<i64>,
}

/// Outlier detection; unset values are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PassiveHealthCheck {
    /// Time between sweeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Errors in a row until ejection.
    #[serde(skip_serializing_if = "is_default")]
    pub max_failures: u32,
    /// Percentage of such ejections that happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcing_consecutive5xx: Option<u32>,
    /// Percentage of ejections for gateway failures that happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcing_consecutive_gateway_failure: Option<u32>,
    /// 5xx answers in a row until ejection; wins over `MaxFailures`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive5xx: Option<u32>,
    /// Gateway failures in a row until ejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_failure: Option<u32>,
    /// Most hosts that may be ejected, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
    /// Time of the first ejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ejection_time: Option<GoDuration>,
}

/// Addresses outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Destination {
    /// IP addresses or host names.
    pub addresses: Vec<String>,
    /// Port.
    pub port: u16,
}

impl ServiceDefaults {
    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
        self.protocol.make_ascii_lowercase();
        let Some(upstreams) = &mut self.upstream_config else { return };
        for config in upstreams.defaults.iter_mut().chain(&mut upstreams.overrides) {
            config.protocol.make_ascii_lowercase();
            config.connect_timeout_ms = config.connect_timeout_ms.max(0);
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_service_name(&self.name, "Name", problems);
        if !matches!(self.protocol.as_str(), "" | "tcp" | "http" | "http2" | "grpc") {
            problems.rule(
                "Protocol",
                format!("unknown protocol {:?}: expected \"tcp\", \"http\", \"http2\" or \"grpc\"", self.protocol),
            );
        }
        validate_mutual_tls_mode(&self.mutual_tls_mode, problems);
        validate_balance(&self.balance_inbound_connections, "BalanceInboundConnections", problems);
        problems.extend_under("Expose", self.expose.validate());
        for (field, value) in [
            ("MaxInboundConnections", self.max_inbound_connections),
            ("LocalConnectTimeoutMs", self.local_connect_timeout_ms),
            ("LocalRequestTimeoutMs", self.local_request_timeout_ms),
        ] {
            if value < 0 {
                problems.rule(field, "must not be negative");
            }
        }
        if self.max_request_headers_kb.is_some_and(|kb| kb > MOST_REQUEST_HEADERS_KB) {
            let message = format!("must be from 0 to {MOST_REQUEST_HEADERS_KB}, which is the most that Envoy accepts");
            problems.rule("MaxRequestHeadersKB", message);
        }
        if !is_sni(&self.external_sni) {
            problems.rule("ExternalSNI", "must be a host name of at most 255 bytes");
        }
        if let Some(upstreams) = &self.upstream_config {
            upstreams.validate(problems);
        }
        if let Some(destination) = &self.destination {
            if self.upstream_config.is_some() {
                problems.rule("Destination", "UpstreamConfig and Destination exclude each other");
            }
            destination.validate(problems);
        }
    }
}

impl UpstreamConfiguration {
    fn validate(&self, problems: &mut Problems) {
        if let Some(defaults) = &self.defaults {
            if !defaults.name.is_empty() || defaults.partition.is_some() || defaults.namespace.is_some() {
                problems.rule("UpstreamConfig.Defaults.Name", "defaults are for every upstream and cannot name one");
            }
            defaults.validate("UpstreamConfig.Defaults", problems);
        }
        for (position, config) in self.overrides.iter().enumerate() {
            let path = format!("UpstreamConfig.Overrides[{position}]");
            validate_service_name(&config.name, &format!("{path}.Name"), problems);
            config.validate(&path, problems);
        }
    }
}

impl UpstreamConfig {
    fn validate(&self, path: &str, problems: &mut Problems) {
        validate_balance(&self.balance_outbound_connections, &format!("{path}.BalanceOutboundConnections"), problems);
        if let Some(limits) = &self.limits {
            for (field, value) in [
                ("MaxConnections", limits.max_connections),
                ("MaxPendingRequests", limits.max_pending_requests),
                ("MaxConcurrentRequests", limits.max_concurrent_requests),
            ] {
                if value.is_some_and(|value| !(0..=i64::from(u32::MAX)).contains(&value)) {
                    problems.rule(format!("{path}.Limits.{field}"), "must be from 0 to 4294967295");
                }
            }
        }
        if let Some(check) = &self.passive_health_check {
            check.validate(&format!("{path}.PassiveHealthCheck"), problems);
        }
    }
}

impl PassiveHealthCheck {
    pub(super) fn validate(&self, path: &str, problems: &mut Problems) {
        for (field, duration) in [("Interval", self.interval), ("BaseEjectionTime", self.base_ejection_time)] {
            if duration.is_some_and(|duration| duration < GoDuration::default()) {
                problems.rule(format!("{path}.{field}"), "must not be negative");
            }
        }
        for (field, percent) in [
            ("EnforcingConsecutive5xx", self.enforcing_consecutive5xx),
            ("EnforcingConsecutiveGatewayFailure", self.enforcing_consecutive_gateway_failure),
            ("MaxEjectionPercent", self.max_ejection_percent),
        ] {
            if percent.is_some_and(|percent| percent > 100) {
                problems.rule(format!("{path}.{field}"), "must be from 0 to 100");
            }
        }
        for (field, count) in
            [("Consecutive5xx", self.consecutive5xx), ("ConsecutiveGatewayFailure", self.consecutive_gateway_failure)]
        {
            if count == Some(0) {
                problems.rule(format!("{path}.{field}"), "must be at least 1");
            }
        }
    }
}

impl Destination {
    fn validate(&self, problems: &mut Problems) {
        if self.addresses.is_empty() {
            problems.rule("Destination.Addresses", "at least one address is required");
        }
        let mut seen = BTreeSet::new();
        for (position, address) in self.addresses.iter().enumerate() {
            let path = format!("Destination.Addresses[{position}]");
            if address.is_empty() || address.contains(['*', '/', ' ']) {
                problems.rule(&path, format!("{address:?} is neither an IP address nor a host name without wildcard"));
            }
            if !seen.insert(address) {
                problems.rule(path, format!("{address:?} is listed twice"));
            }
        }
        if self.port == 0 {
            problems.rule("Destination.Port", "must be from 1 to 65535");
        }
    }
}

fn validate_balance(value: &str, path: &str, problems: &mut Problems) {
    if !matches!(value, "" | "exact_balance") {
        problems.rule(path, format!("unknown value {value:?}: expected \"exact_balance\" or nothing"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_never_accepts_is_refused() {
        let entry = ServiceDefaults {
            name: "api".to_owned(),
            external_sni: "x".repeat(256),
            max_request_headers_kb: Some(8193),
            ..ServiceDefaults::default()
        };
        let mut problems = Problems::default();

        entry.validate(&mut problems);

        assert_eq!(
            problems.to_string(),
            "2 errors occurred:\n\t* MaxRequestHeadersKB: must be from 0 to 8192, which is the most that Envoy accepts\n\t* \
             ExternalSNI: must be a host name of at most 255 bytes"
        );
    }
}
