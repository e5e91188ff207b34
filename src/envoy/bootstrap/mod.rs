//! What an Envoy is started with: who it is, where its xDS server is, and what it serves besides the mesh
//! (contract 9.3; R53 of the protocol reference).
//!
//! The document is JSON, because it is read by people and by scripts that expect Consul's. Everything in it comes from
//! [`Bootstrap`]; nothing is looked up here.

mod admin;
mod config;
mod statics;
mod stats_tags;

use std::net::SocketAddr;

use serde_json::{Value, json};

pub use admin::{AdminLog, LogFormat, LogSink};
pub use config::{BootstrapConfig, BootstrapConfigError, Read, StatsSink};
pub use statics::{MergedMetrics, MetricsCa, MetricsTls};
pub use stats_tags::DeprecatedTags;

/// The static cluster that the xDS server is reached through.
const XDS_CLUSTER: &str = "local_agent";

/// The static cluster that the metrics collector is reached through.
const COLLECTOR_CLUSTER: &str = "telemetry_collector";

/// How often metrics are told to a collector, if nobody says otherwise and nobody else is told.
const COLLECTOR_FLUSH: &str = "60s";

/// Everything a bootstrap document says.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// Who this Envoy is.
    pub node: Node,
    /// Where it gets its configuration.
    pub xds: XdsServer,
    /// Where its admin interface listens.
    pub admin: SocketAddr,
    /// Where the requests to the admin interface are logged.
    pub admin_log: AdminLog,
    /// Where a listener answers `/ready` while Envoy is live, if it is wanted.
    pub ready: Option<SocketAddr>,
    /// Metrics of the application that are served together with Envoy's, if they are wanted.
    pub merged_metrics: Option<MergedMetrics>,
    /// Path under which the Prometheus listener serves.
    pub prometheus_path: String,
    /// What the proxy's opaque options ask for.
    pub config: BootstrapConfig,
    /// The Unix socket at which this Envoy's upstream listener for a metrics collector is, if metrics are told to one.
    pub collector: Option<String>,
    /// How many connections Envoy takes at a time, if there is a limit.
    pub most_connections: Option<u64>,
    /// Whether metrics carry the older tag names too.
    pub deprecated_tags: DeprecatedTags,
}

/// Who an Envoy is. The control plane finds the registration of a stream by these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// ID of the proxy's registration.
    pub id: String,
    /// The service that a sidecar stands before; a gateway's own service.
    pub cluster: String,
    /// Datacenter of the registration.
    pub datacenter: String,
    /// Partition of the registration.
    pub partition: String,
    /// Namespace of the registration.
    pub namespace: String,
    /// Catalog node that it is registered on.
    pub node_name: String,
}

/// Where the control plane serves xDS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsServer {
    /// Its address.
    pub address: XdsAddress,
    /// Certificates in PEM to verify it with; plain text when `None`.
    pub ca: Option<String>,
    /// ACL token that every stream carries; may be empty.
    pub token: String,
}

/// An address that Envoy can use without a resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XdsAddress {
    /// IP address and port.
    Socket(SocketAddr),
    /// Path of a Unix socket.
    Pipe(String),
}

/// The bootstrap document.
pub fn bootstrap(input: &Bootstrap) -> Value {
    let mut document = json!({
        "admin": {
            "access_log": [input.admin_log.to_json()],
            "address": socket_address(input.admin),
        },
        "node": {
            "id": input.node.id,
            "cluster": input.node.cluster,
            "metadata": {
                "datacenter": input.node.datacenter,
                "partition": input.node.partition,
                "namespace": input.node.namespace,
                "node_name": input.node.node_name,
            },
        },
        "layered_runtime": {"layers": [{
            "name": "base",
            // Patterns of config entries may be longer than Envoy's default limit allows.
            "static_layer": {"re2.max_program_size.error_level": 1_048_576},
        }]},
        "static_resources": {
            "clusters": clusters(input),
            "listeners": statics::listeners(input),
        },
        "stats_config": input.config.stats_config.clone().unwrap_or_else(|| stats_tags::stats_config(input)),
        "dynamic_resources": dynamic_resources(&input.xds),
    });
    let own = input.config.sinks.iter().map(StatsSink::to_json).chain(input.config.extra_sinks.iter().cloned());
    let own: Vec<Value> = own.collect();
    // Nobody but the collector waits for these metrics, which are many.
    let unhurried = (input.collector.is_some() && own.is_empty()).then_some(COLLECTOR_FLUSH);
    if let Some(interval) = input.config.stats_flush_interval.as_deref().or(unhurried) {
        document["stats_flush_interval"] = json!(interval);
    }
    let sinks: Vec<Value> = own.into_iter().chain(input.collector.as_ref().map(|_| collector_sink())).collect();
    if !sinks.is_empty() {
        document["stats_sinks"] = Value::Array(sinks);
    }
    if let Some(tracing) = &input.config.tracing {
        document["tracing"] = tracing.clone();
    }
    if let Some(most) = input.most_connections {
        document["overload_manager"] = json!({"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3\
                          .DownstreamConnectionsConfig",
                "max_active_downstream_connections": most,
            },
        }]});
        // Whoever looks after an Envoy that has as many as it can have must still be heard.
        document["admin"]["ignore_global_conn_limit"] = json!(true);
    }
    document
}

fn clusters(input: &Bootstrap) -> Value {
    let collector = input.collector.iter().map(|socket| collector_cluster(socket));
    let own = std::iter::once(xds_cluster(&input.xds)).chain(statics::clusters(input)).chain(collector);
    own.chain(input.config.extra_clusters.iter().cloned()).collect()
}

fn xds_cluster(xds: &XdsServer) -> Value {
    let address = match &xds.address {
        XdsAddress::Socket(address) => socket_address(*address),
        XdsAddress::Pipe(path) => json!({"pipe": {"path": path}}),
    };
    let mut cluster = json!({
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "ignore_health_on_host_removal": false,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            // Without pings Envoy does not notice a server that has stopped answering (R51).
            "explicit_http_config": {"http2_protocol_options": {
                "connection_keepalive": {"interval": "30s", "timeout": "5s"},
            }},
        }},
        "load_assignment": statics::load_assignment(XDS_CLUSTER, &address),
    });
    if let Some(ca) = &xds.ca {
        cluster["transport_socket"] = json!({
            "name": "tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    // By itself Envoy speaks no newer version than 1.2 as a client.
                    "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                    "validation_context": {"trusted_ca": {"inline_string": ca}},
                },
            },
        });
    }
    cluster
}

/// The way to the metrics collector: a listener of this very Envoy, behind which the mesh begins.
fn collector_cluster(socket: &str) -> Value {
    json!({
        "name": COLLECTOR_CLUSTER,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": statics::load_assignment(COLLECTOR_CLUSTER, &json!({"pipe": {"path": socket}})),
    })
}

fn collector_sink() -> Value {
    json!({
        "name": "envoy.stat_sinks.metrics_service",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": COLLECTOR_CLUSTER}},
            "emit_tags_as_labels": true,
        },
    })
}

fn dynamic_resources(xds: &XdsServer) -> Value {
    let over_ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "lds_config": over_ads,
        "cds_config": over_ads,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{
                "initial_metadata": [{"key": "x-consul-token", "value": xds.token}],
                "envoy_grpc": {"cluster_name": XDS_CLUSTER},
            }],
        },
    })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

#[cfg(test)]
mod tests;
