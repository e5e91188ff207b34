//! Listeners and clusters that need no control plane: metrics, readiness, and the admin interface behind them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use super::{Bootstrap, socket_address};

const ADMIN_CLUSTER: &str = "self_admin";
const METRICS_CLUSTER: &str = "prometheus_backend";

/// A local endpoint that serves the application's metrics together with Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedMetrics {
    /// Its port on the loopback interface.
    pub port: u16,
    /// Files for TLS on the Prometheus listener, if it speaks TLS.
    pub tls: Option<MetricsTls>,
}

/// Files that the Prometheus listener speaks TLS with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsTls {
    /// The certificates that clients are verified with: a file, or a directory of files.
    pub ca: MetricsCa,
    /// The certificate chain.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Where the certificates are that clients of the Prometheus listener are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsCa {
    /// One file.
    File(String),
    /// Several files, already listed, that are concatenated.
    Inline(String),
}

/// The listeners that the input asks for.
pub(super) fn listeners(input: &Bootstrap) -> Value {
    let mut listeners = Vec::new();
    if let Some(address) = input.config.prometheus_bind {
        listeners.push(prometheus(input, address));
    }
    if let Some(address) = input.config.stats_bind {
        let route =
            json!({"match": {"prefix": "/stats"}, "route": {"cluster": ADMIN_CLUSTER, "prefix_rewrite": "/stats"}});
        listeners.push(http_listener("envoy_metrics_listener", "envoy_metrics", address, &route));
    }
    if let Some(address) = input.ready {
        let route =
            json!({"match": {"path": "/ready"}, "route": {"cluster": ADMIN_CLUSTER, "prefix_rewrite": "/ready"}});
        listeners.push(http_listener("envoy_ready_listener", "envoy_ready", address, &route));
    }
    if input.most_connections.is_some() {
        // Checks and metrics are asked for most when connections are many.
        listeners.iter_mut().for_each(|listener| listener["ignore_global_conn_limit"] = json!(true));
    }
    listeners.extend(input.config.extra_listeners.iter().cloned());
    Value::Array(listeners)
}

/// The clusters that these listeners route to.
pub(super) fn clusters(input: &Bootstrap) -> Vec<Value> {
    let mut clusters = Vec::new();
    let config = &input.config;
    if config.prometheus_bind.is_some() || config.stats_bind.is_some() || input.ready.is_some() {
        clusters.push(local_cluster(ADMIN_CLUSTER, input.admin));
    }
    if let (Some(metrics), Some(_)) = (&input.merged_metrics, config.prometheus_bind) {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), metrics.port);
        clusters.push(local_cluster(METRICS_CLUSTER, address));
    }
    clusters
}

/// A load assignment with one endpoint.
pub(super) fn load_assignment(cluster: &str, address: &Value) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    })
}

fn local_cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "ignore_health_on_host_removal": false,
        "load_assignment": load_assignment(name, &socket_address(address)),
    })
}

fn prometheus(input: &Bootstrap, address: SocketAddr) -> Value {
    let (cluster, rewrite) = match input.merged_metrics {
        Some(_) => (METRICS_CLUSTER, input.prometheus_path.as_str()),
        None => (ADMIN_CLUSTER, "/stats/prometheus"),
    };
    let route =
        json!({"match": {"path": input.prometheus_path}, "route": {"cluster": cluster, "prefix_rewrite": rewrite}});
    let mut listener = http_listener("envoy_prometheus_metrics_listener", "envoy_prometheus_metrics", address, &route);
    if let Some(tls) = input.merged_metrics.as_ref().and_then(|metrics| metrics.tls.as_ref()) {
        listener["filter_chains"][0]["transport_socket"] = downstream_tls(tls);
    }
    listener
}

fn downstream_tls(tls: &MetricsTls) -> Value {
    let ca = match &tls.ca {
        MetricsCa::File(path) => json!({"filename": path}),
        MetricsCa::Inline(pem) => json!({"inline_string": pem}),
    };
    json!({
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": {"filename": tls.certificate},
                    "private_key": {"filename": tls.key},
                }],
                "validation_context": {"trusted_ca": ca},
            },
        },
    })
}

/// A listener with one route; whatever that does not match is not found.
fn http_listener(name: &str, stat_prefix: &str, address: SocketAddr, route: &Value) -> Value {
    let manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "name": name,
        "address": socket_address(address),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("type.googleapis.com/{manager}"),
                "stat_prefix": stat_prefix,
                "codec_type": "HTTP1",
                "route_config": {
                    "name": "self_admin_route",
                    "virtual_hosts": [{
                        "name": "self_admin",
                        "domains": ["*"],
                        "routes": [route, {"match": {"prefix": "/"}, "direct_response": {"status": 404}}],
                    }],
                },
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
            },
        }]}],
    })
}
