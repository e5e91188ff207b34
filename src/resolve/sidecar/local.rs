//! Clusters of the application behind a sidecar (contract 3.7).

use std::sync::Arc;
use std::time::Duration;

use super::Inbound;
use crate::ir::{CircuitBreaker, Cluster, ClusterName, Discovery, SocketAddress, UpstreamProtocol};
use crate::resolve::{hatch, opaque};

/// Time to connect to the application where nobody says another.
const CONNECT_TIMEOUT_MS: i64 = 5_000;

impl Inbound<'_> {
    /// The application itself.
    pub(super) fn local_app(&self) -> Cluster {
        let local = &self.proxy.proxy;
        let address = if local.local_service_socket_path.is_empty() {
            self.local_address(local.local_service_port)
        } else {
            SocketAddress::Pipe(local.local_service_socket_path.as_str().into())
        };
        let limit = opaque::integer(self.options, "max_inbound_connections").and_then(|max| u32::try_from(max).ok());
        Cluster {
            circuit_breaker: limit
                .filter(|max| *max > 0)
                .map(|max| CircuitBreaker { max_connections: Some(max), ..CircuitBreaker::default() }),
            protocol: if self.protocol.is_http2() { UpstreamProtocol::AsDownstream } else { UpstreamProtocol::Plain },
            given: hatch::of_proxy(self.proxy, self.options, "envoy_local_cluster_json"),
            ..self.local_cluster(ClusterName::LocalApp, address)
        }
    }

    /// A port of the application.
    pub(super) fn local_address(&self, port: u16) -> SocketAddress {
        SocketAddress::Tcp(loopback_if_empty(&self.proxy.proxy.local_service_address), port)
    }

    pub(super) fn local_cluster(&self, name: ClusterName, address: SocketAddress) -> Cluster {
        let timeout = opaque::integer(self.options, "local_connect_timeout_ms").filter(|millis| *millis > 0);
        let timeout = Duration::from_millis(timeout.unwrap_or(CONNECT_TIMEOUT_MS).unsigned_abs());
        Cluster::plain(name, Discovery::Static(address), timeout)
    }
}

fn loopback_if_empty(address: &str) -> Arc<str> {
    if address.is_empty() { "127.0.0.1".into() } else { address.into() }
}
