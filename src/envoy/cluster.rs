//! Clusters.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, CustomClusterType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
    LbConfig, LbPolicy, LeastRequestLbConfig, RingHashLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions,
};
use envoy_types::pb::envoy::config::core::v3::{Http1ProtocolOptions, Http2ProtocolOptions, TcpKeepalive};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::util::pack_any;
use prost::Name;

use super::given::{self, GivenError, GivenErrors};
use super::snapshot::Resource;
use super::{canonical, endpoint, names, tls, wire};
use crate::ir;

/// How often host names of gateways are looked up again.
const DNS_REFRESH: std::time::Duration = std::time::Duration::from_secs(10);

/// A cluster. It refers to its own name if its endpoints come over the stream.
///
/// # Errors
/// What an operator gave for it cannot be used.
pub fn translate(cluster: &ir::Cluster) -> Result<Resource, GivenErrors> {
    match &cluster.given {
        Some(given) => of_operator(given, cluster).map_err(|error| GivenErrors { whole: Some(error), tracing: None }),
        None => Ok(generated(cluster)),
    }
}

/// What the operator gives, with the TLS of the generated cluster if that one has some.
fn of_operator(given: &ir::Given, generated: &ir::Cluster) -> Result<Resource, GivenError> {
    let mut message = given::cluster(given)?;
    if let Some(tls) = &generated.tls {
        message.transport_socket = Some(tls::upstream(tls));
    }
    let is_eds = matches!(message.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind)) if kind == i32::from(DiscoveryType::Eds));
    let name = Arc::from(message.name.as_str());
    Ok(Resource::new(&message.name, canonical::encode(&message), is_eds.then_some(name)))
}

fn generated(cluster: &ir::Cluster) -> Resource {
    let name = names::cluster(&cluster.name);
    let mut message = Cluster {
        name: name.clone(),
        alt_stat_name: if cluster.alt_stat_name { name.clone() } else { String::new() },
        connect_timeout: Some(wire::duration(cluster.connect_timeout)),
        transport_socket: cluster.tls.as_ref().map(tls::upstream),
        common_lb_config: cluster.panic_disabled.then(|| CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..CommonLbConfig::default()
        }),
        circuit_breakers: cluster.circuit_breaker.as_ref().map(circuit_breakers),
        outlier_detection: cluster.outlier_detection.as_ref().map(outlier_detection),
        typed_extension_protocol_options: protocol_options(cluster.protocol)
            // Envoy registers these options under the full name of their message.
            .map(|options| (HttpProtocolOptions::full_name(), pack_any(options)))
            .into_iter()
            .collect(),
        upstream_connection_options: cluster.keepalive.as_ref().map(|keepalive| UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..UpstreamConnectionOptions::default()
        }),
        ..Cluster::default()
    };
    discover(&mut message, &cluster.discovery);
    balance(&mut message, &cluster.load_balancing);
    let is_eds = matches!(cluster.discovery, ir::Discovery::Eds { .. });
    Resource::new(&name, canonical::encode(&message), is_eds.then(|| Arc::from(name.as_str())))
}

#[allow(deprecated, reason = "parity: gateways of both control planes refresh names through this field")]
fn discover(message: &mut Cluster, discovery: &ir::Discovery) {
    let kind = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind.into()));
    match discovery {
        ir::Discovery::Eds { fetch_timeout } => {
            message.cluster_discovery_type = kind(DiscoveryType::Eds);
            message.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(wire::ads(*fetch_timeout)), ..EdsClusterConfig::default() });
        }
        ir::Discovery::Static(address) => {
            message.cluster_discovery_type = kind(DiscoveryType::Static);
            let locality = endpoint::locality(&[ir::Endpoint::bare(address.clone())]);
            message.load_assignment = Some(inline_assignment(&message.name, locality));
        }
        ir::Discovery::OriginalDestination => {
            message.cluster_discovery_type = kind(DiscoveryType::OriginalDst);
            message.lb_policy = LbPolicy::ClusterProvided.into();
        }
        ir::Discovery::Dns(dns, endpoints) => {
            message.cluster_discovery_type = kind(match dns {
                ir::DnsKind::Logical => DiscoveryType::LogicalDns,
                ir::DnsKind::Strict => DiscoveryType::StrictDns,
            });
            message.dns_refresh_rate = Some(wire::duration(DNS_REFRESH));
            message.dns_lookup_family = DnsLookupFamily::V4Only.into();
            message.load_assignment = Some(inline_assignment(&message.name, endpoint::locality(endpoints)));
        }
        ir::Discovery::Aggregate(aggregate) => {
            let legs = ClusterConfig { clusters: aggregate.legs.iter().map(names::cluster).collect() };
            message.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
                name: "envoy.clusters.aggregate".to_owned(),
                typed_config: Some(pack_any(legs)),
            }));
            message.lb_policy = LbPolicy::ClusterProvided.into();
        }
    }
}

fn inline_assignment(name: &str, locality: LocalityLbEndpoints) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    }
}

fn balance(message: &mut Cluster, load_balancing: &ir::LoadBalancing) {
    let (policy, config) = match load_balancing {
        ir::LoadBalancing::RoundRobin => return,
        ir::LoadBalancing::LeastRequest { choices } => (
            LbPolicy::LeastRequest,
            choices.map(|count| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    choice_count: Some(wire::uint32(count)),
                    ..LeastRequestLbConfig::default()
                })
            }),
        ),
        ir::LoadBalancing::Random => (LbPolicy::Random, None),
        ir::LoadBalancing::RingHash { minimum, maximum } => {
            let size =
                |value: &Option<u64>| value.map(|value| envoy_types::pb::google::protobuf::UInt64Value { value });
            let config = RingHashLbConfig {
                minimum_ring_size: size(minimum),
                maximum_ring_size: size(maximum),
                ..RingHashLbConfig::default()
            };
            (LbPolicy::RingHash, (minimum.is_some() || maximum.is_some()).then_some(LbConfig::RingHashLbConfig(config)))
        }
        ir::LoadBalancing::Maglev => (LbPolicy::Maglev, None),
    };
    message.lb_policy = policy.into();
    message.lb_config = config;
}

fn circuit_breakers(limits: &ir::CircuitBreaker) -> CircuitBreakers {
    let thresholds = Thresholds {
        max_connections: limits.max_connections.map(wire::uint32),
        max_pending_requests: limits.max_pending_requests.map(wire::uint32),
        max_requests: limits.max_requests.map(wire::uint32),
        ..Thresholds::default()
    };
    let is_limited = *limits != ir::CircuitBreaker::default();
    CircuitBreakers { thresholds: is_limited.then_some(thresholds).into_iter().collect(), ..CircuitBreakers::default() }
}

fn outlier_detection(detection: &ir::OutlierDetection) -> OutlierDetection {
    OutlierDetection {
        interval: detection.interval.map(wire::duration),
        consecutive_5xx: detection.consecutive_5xx.map(wire::uint32),
        enforcing_consecutive_5xx: detection.enforcing_consecutive_5xx.map(wire::uint32),
        consecutive_gateway_failure: detection.consecutive_gateway_failure.map(wire::uint32),
        enforcing_consecutive_gateway_failure: detection.enforcing_consecutive_gateway_failure.map(wire::uint32),
        max_ejection_percent: detection.max_ejection_percent.map(wire::uint32),
        base_ejection_time: detection.base_ejection_time.map(wire::duration),
        ..OutlierDetection::default()
    }
}

fn protocol_options(protocol: ir::UpstreamProtocol) -> Option<HttpProtocolOptions> {
    let options = match protocol {
        ir::UpstreamProtocol::Plain => return None,
        ir::UpstreamProtocol::Http2 => UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())),
        }),
        ir::UpstreamProtocol::AsDownstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions::default()),
                http2_protocol_options: Some(Http2ProtocolOptions::default()),
                ..UseDownstreamHttpConfig::default()
            })
        }
    };
    Some(HttpProtocolOptions { upstream_protocol_options: Some(options), ..HttpProtocolOptions::default() })
}

fn tcp_keepalive(keepalive: &ir::TcpKeepalive) -> TcpKeepalive {
    TcpKeepalive {
        keepalive_time: keepalive.time.map(wire::uint32),
        keepalive_interval: keepalive.interval.map(wire::uint32),
        keepalive_probes: keepalive.probes.map(wire::uint32),
    }
}
