//! The `Proxy` block of a registration: what a sidecar or gateway does for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    AccessLogs, Datacenter, LONGEST_SOCKET_PATH, MeshGateway, Namespace, Partition, PeerName, Problems, ServiceId,
    is_default, is_socket_path,
};

/// Options that travel to the proxy as they were written; keys keep their spelling.
pub type OpaqueConfig = serde_json::Map<String, serde_json::Value>;

/// What a proxy registration says about its work.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Proxy {
    /// The service a sidecar stands before. Empty for gateways.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_service_name: String,
    /// The instance it stands before.
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "is_default")]
    pub destination_service_id: ServiceId,
    /// Address of the application, `127.0.0.1` when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub local_service_address: String,
    /// Port of the application.
    #[serde(skip_serializing_if = "is_default")]
    pub local_service_port: u16,
    /// Unix socket of the application, instead of address and port.
    #[serde(skip_serializing_if = "is_default")]
    pub local_service_socket_path: String,
    /// Direct or transparent.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: ProxyMode,
    /// Options of the transparent mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_proxy: Option<TransparentProxy>,
    /// Opaque options, see `xds-contract.md` 3.9 and 4.2.
    #[serde(skip_serializing_if = "is_default")]
    pub config: OpaqueConfig,
    /// What the application calls.
    #[serde(skip_serializing_if = "is_default")]
    pub upstreams: Vec<Upstream>,
    /// Gateway mode of this instance, rung 4 of the ladder.
    pub mesh_gateway: MeshGateway,
    /// Paths served in plain text, beside the mesh.
    pub expose: Expose,
    /// Access logging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_logs: Option<AccessLogs>,
    /// Extensions of the generated configuration; kept and shown, without effect.
    #[serde(skip_serializing_if = "is_default")]
    pub envoy_extensions: Vec<serde_json::Value>,
}

/// Whether applications address the sidecar or are redirected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// Not said.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// Applications dial the upstream listeners.
    Direct,
    /// Traffic is redirected to the sidecar.
    Transparent,
}

/// Options of the transparent mode.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TransparentProxy {
    /// Port that outbound traffic is redirected to; 15001 when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub outbound_listener_port: u16,
    /// Others may dial this instance directly.
    #[serde(skip_serializing_if = "is_default")]
    pub dialed_directly: bool,
}

/// Paths that are served in plain text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Expose {
    /// Expose the HTTP and gRPC checks of the destination.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: bool,
    /// Further paths.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: Vec<ExposePath>,
}

/// One exposed path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExposePath {
    /// Port of the plain-text listener.
    #[serde(skip_serializing_if = "is_default")]
    pub listener_port: u16,
    /// Exact path.
    #[serde(skip_serializing_if = "is_default")]
    pub path: String,
    /// Port of the application that serves it.
    #[serde(skip_serializing_if = "is_default")]
    pub local_path_port: u16,
    /// `http` (when empty) or `http2`.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: String,
    /// Set on paths that were made from checks.
    #[serde(skip_serializing_if = "is_default")]
    pub parsed_from_check: bool,
}

/// What an upstream names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum DestinationType {
    /// A service.
    #[default]
    #[serde(rename = "service", alias = "")]
    Service,
    /// A prepared query.
    #[serde(rename = "prepared_query")]
    PreparedQuery,
}

/// What upstreams that name prepared queries begin with, in names of listeners (contract 1.6) and in what operators write.
pub const QUERY_PREFIX: &str = "prepared_query:";

/// A service that the application calls through a local listener.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Upstream {
    /// What the name means.
    pub destination_type: DestinationType,
    /// Namespace of the service; that of the proxy when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_namespace: Option<Namespace>,
    /// Partition of the service; that of the proxy when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_partition: Option<Partition>,
    /// Peer that exports the service.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_peer: PeerName,
    /// Name of the service.
    pub destination_name: String,
    /// Datacenter of the service; that of the proxy when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// Address of the local listener, `127.0.0.1` when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_address: String,
    /// Port of the local listener.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_port: u16,
    /// Unix socket of the local listener, instead of a port.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_socket_path: String,
    /// Its file mode, such as `0640`.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_socket_mode: String,
    /// Opaque options, see `xds-contract.md` 3.9.
    #[serde(skip_serializing_if = "is_default")]
    pub config: OpaqueConfig,
    /// Gateway mode of this upstream, the strongest rung of the ladder.
    pub mesh_gateway: MeshGateway,
    /// Shown by reads for upstreams that come from central configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub centrally_configured: bool,
}

impl Upstream {
    /// Where the application connects to.
    pub fn bind_key(&self) -> String {
        if self.local_bind_port == 0 {
            return self.local_bind_socket_path.clone();
        }
        let address = if self.local_bind_address.is_empty() { "127.0.0.1" } else { &self.local_bind_address };
        format!("{address}:{}", self.local_bind_port)
    }

    /// The file mode of the socket: octal with a leading 0, decimal without, 0 if it is neither (contract 3.3).
    pub fn socket_mode(&self) -> u32 {
        let text = &self.local_bind_socket_mode;
        match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
            Some(octal) => u32::from_str_radix(octal, 8).unwrap_or(0),
            None => text.parse().unwrap_or(0),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.destination_name)?;
        if !self.destination_peer.as_str().is_empty() {
            write!(f, "?peer={}", self.destination_peer)
        } else if !self.datacenter.as_str().is_empty() {
            write!(f, "?dc={}", self.datacenter)
        } else {
            Ok(())
        }
    }
}

impl Proxy {
    /// Rules for a sidecar registered in `partition` (`http-api.md` 3.7, contract 3.13).
    pub(super) fn validate_sidecar(&self, partition: &Partition) -> Problems {
        let mut problems = Problems::default();
        if self.destination_service_name.is_empty() {
            problems.rule("Proxy.DestinationServiceName", "Proxy.DestinationServiceName must be non-empty");
        } else if self.destination_service_name == "*" {
            problems.rule("Proxy.DestinationServiceName", "a wildcard is not allowed as the destination of a proxy");
        }
        let mut targets = BTreeSet::new();
        let mut binds = BTreeMap::new();
        for (position, upstream) in self.upstreams.iter().enumerate() {
            let path = format!("Proxy.Upstreams[{position}]");
            problems.extend_under(&path, self.validate_upstream(upstream, partition));
            let target = (
                upstream.destination_type,
                upstream.destination_partition.clone().unwrap_or_else(|| partition.clone()),
                upstream.destination_namespace.clone().unwrap_or_default(),
                upstream.destination_name.clone(),
                upstream.datacenter.clone(),
                upstream.destination_peer.clone(),
            );
            if !upstream.destination_name.is_empty() && !targets.insert(target) {
                problems.rule(&path, format!("upstreams cannot contain duplicates of {upstream}"));
            }
            if upstream.local_bind_port == 0 && upstream.local_bind_socket_path.is_empty() {
                continue;
            }
            if let Some(first) = binds.insert(upstream.bind_key(), upstream.destination_name.clone()) {
                problems.rule(
                    &path,
                    format!(
                        "upstreams cannot contain duplicates by local bind address and port or unix path; {first} and \
                         {} are both bound to {}",
                        upstream.destination_name,
                        upstream.bind_key()
                    ),
                );
            }
        }
        if !self.local_service_address.is_empty() && self.local_service_address.parse::<IpAddr>().is_err() {
            problems.rule("Proxy.LocalServiceAddress", format!("{:?} is no IP address", self.local_service_address));
        }
        validate_socket_path(&self.local_service_socket_path, "Proxy.LocalServiceSocketPath", &mut problems);
        problems.extend_under("Proxy.Expose", self.expose.validate());
        problems
    }

    /// Rules for every kind of proxy.
    pub(super) fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        if let Some(logs) = &self.access_logs {
            problems.extend_under("Proxy.AccessLogs", logs.validate());
        }
        problems
    }

    fn validate_upstream(&self, upstream: &Upstream, partition: &Partition) -> Problems {
        let mut problems = Problems::default();
        let has_peer = !upstream.destination_peer.as_str().is_empty();
        let has_datacenter = !upstream.datacenter.as_str().is_empty();
        let target = upstream.destination_partition.as_ref().unwrap_or(partition);
        if upstream.destination_name.is_empty() {
            problems.rule("DestinationName", "upstream destination name cannot be empty");
        } else if upstream.destination_name == "*" {
            problems.rule("DestinationName", "upstream destination name cannot be a wildcard");
        }
        if has_peer && has_datacenter {
            problems.rule("DestinationPeer", "cannot specify both a peer and a datacenter for an upstream");
        }
        if has_peer && target != partition {
            problems.rule("DestinationPartition", "an upstream of a peer must be in the partition of its proxy");
        }
        if has_datacenter && !(target.is_default() && partition.is_default()) {
            problems.rule(
                "Datacenter",
                "an upstream crosses datacenters or partitions, never both: with a datacenter, proxy and upstream must \
                 be in the default partition",
            );
        }
        if !upstream.local_bind_address.is_empty() && upstream.local_bind_address.parse::<IpAddr>().is_err() {
            let message =
                format!("{:?} is no IP address; an IPv6 address has no brackets", upstream.local_bind_address);
            problems.rule("LocalBindAddress", message);
        }
        if upstream.socket_mode() > 0o777 {
            problems.rule(
                "LocalBindSocketMode",
                format!(
                    "{:?} is not a file mode from 0 to 0777; without a leading 0 it is a decimal number",
                    upstream.local_bind_socket_mode
                ),
            );
        }
        validate_socket_path(&upstream.local_bind_socket_path, "LocalBindSocketPath", &mut problems);
        let has_socket = !upstream.local_bind_socket_path.is_empty();
        if upstream.local_bind_port == 0 && !has_socket {
            if self.mode != ProxyMode::Transparent && !upstream.centrally_configured {
                problems
                    .rule("LocalBindPort", "upstream local bind port or local socket path must be defined and nonzero");
            }
        } else if upstream.local_bind_port != 0 && has_socket {
            problems.rule("LocalBindSocketPath", "only one of local bind port and local socket path may be defined");
        }
        problems
    }

    /// The `Proxy` fields that only sidecars have, among those that are set.
    pub(super) fn sidecar_fields(&self) -> Vec<&'static str> {
        let set = [
            ("DestinationServiceName", !self.destination_service_name.is_empty()),
            ("DestinationServiceID", !self.destination_service_id.as_str().is_empty()),
            ("LocalServiceAddress", !self.local_service_address.is_empty()),
            ("LocalServicePort", self.local_service_port != 0),
            ("LocalServiceSocketPath", !self.local_service_socket_path.is_empty()),
            ("Upstreams", !self.upstreams.is_empty()),
        ];
        set.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect()
    }
}

/// What the system and Envoy take for the path of a Unix socket.
fn validate_socket_path(socket: &str, path: &str, problems: &mut Problems) {
    if !is_socket_path(socket) {
        problems
            .rule(path, format!("the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes and no zero byte"));
    }
}

impl Expose {
    /// Every broken rule of the exposed paths.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        let mut ports = BTreeSet::new();
        for (position, path) in self.paths.iter().enumerate() {
            let at = |field: &str| format!("Paths[{position}].{field}");
            if path.path.is_empty() {
                problems.rule(at("Path"), "an exposed path must not be empty");
            }
            if path.listener_port == 0 {
                problems.rule(at("ListenerPort"), "the listener port of an exposed path must be from 1 to 65535");
            } else if !ports.insert(path.listener_port) {
                problems.rule(at("ListenerPort"), format!("listener port {} is used twice", path.listener_port));
            }
            if !matches!(path.protocol.as_str(), "" | "http" | "http2") {
                problems.rule(
                    at("Protocol"),
                    format!("unknown protocol {:?}: expected \"http\" or \"http2\"", path.protocol),
                );
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_mode_is_octal_only_with_a_leading_zero() {
        let mode =
            |text: &str| Upstream { local_bind_socket_mode: text.to_owned(), ..Upstream::default() }.socket_mode();
        assert_eq!(["0640", "640", "0o640", "rw", ""].map(mode), [0o640, 640, 0o640, 0, 0]);
    }

    #[test]
    fn listeners_and_applications_that_envoy_cannot_reach_are_refused() {
        let proxy = Proxy {
            destination_service_name: "web".to_owned(),
            local_service_address: "localhost".to_owned(),
            local_service_socket_path: "/".repeat(108),
            upstreams: vec![
                Upstream {
                    destination_name: "api".to_owned(),
                    local_bind_address: "[::1]".to_owned(),
                    local_bind_port: 1,
                    ..Upstream::default()
                },
                Upstream {
                    destination_name: "db".to_owned(),
                    local_bind_socket_path: "/run/db\0.sock".to_owned(),
                    local_bind_socket_mode: "640".to_owned(),
                    ..Upstream::default()
                },
            ],
            ..Proxy::default()
        };

        assert_eq!(
            proxy.validate_sidecar(&Partition::default()).to_string(),
            "5 errors occurred:\n\t* Proxy.Upstreams[0].LocalBindAddress: \"[::1]\" is no IP address; an IPv6 address has \
             no brackets\n\t* Proxy.Upstreams[1].LocalBindSocketMode: \"640\" is not a file mode from 0 to 0777; without \
             a leading 0 it is a decimal number\n\t* Proxy.Upstreams[1].LocalBindSocketPath: the path of a Unix socket \
             has at most 107 bytes and no zero byte\n\t* Proxy.LocalServiceAddress: \"localhost\" is no IP \
             address\n\t* Proxy.LocalServiceSocketPath: the path of a Unix socket has at most 107 bytes and no zero byte"
        );
    }
}
