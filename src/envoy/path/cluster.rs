//! Clusters: which endpoints a connection or a request can go to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, RoutingPriority, address, socket_address};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use prost::Name;

use super::balance::{self, Priority, spread};
use super::known::{decode, is, only, unpack};
use super::{End, Stop, Unknown};
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::ir::SocketAddress;

/// Fields of `Cluster` that are interpreted, and those that cannot change where traffic ends.
const CLUSTER: [&str; 35] = [
    "alt_stat_name",
    "circuit_breakers",
    "cleanup_interval",
    "close_connections_on_host_health_failure",
    "cluster_type",
    "common_http_protocol_options",
    "common_lb_config",
    "connect_timeout",
    "connection_pool_per_downstream_connection",
    "dns_failure_refresh_rate",
    "dns_jitter",
    "dns_lookup_family",
    "dns_refresh_rate",
    "eds_cluster_config",
    "http2_protocol_options",
    "http_protocol_options",
    "ignore_health_on_host_removal",
    "lb_policy",
    "least_request_lb_config",
    "load_assignment",
    "maglev_lb_config",
    "max_requests_per_connection",
    "metadata",
    "name",
    "outlier_detection",
    "per_connection_buffer_limit_bytes",
    "preconnect_policy",
    "protocol_selection",
    "respect_dns_ttl",
    "ring_hash_lb_config",
    "track_cluster_stats",
    "transport_socket",
    "type",
    "typed_extension_protocol_options",
    "upstream_connection_options",
];

/// What goes through a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A connection.
    Tcp,
    /// A request.
    Http,
}

/// An endpoint that a cluster can choose.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// The cluster whose endpoint it is: the one that was asked, or a leg of it.
    pub(super) cluster: Cluster,
    /// The address that is dialled.
    pub(super) address: SocketAddress,
}

/// What a cluster can do: choose one of these, or stop for one of these reasons.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) endpoints: Vec<Choice>,
    /// With the name of the leg, if it is one that stops.
    pub(super) stops: Vec<(Option<String>, Stop)>,
}

/// The endpoints that the cluster with this name can choose.
pub(super) fn choices(name: &str, snapshot: &Snapshot, r#use: Use) -> Result<Choices, End> {
    let cluster = find(name, snapshot)?.ok_or_else(|| Stop::NoCluster(name.to_owned()))?;
    // Connections are counted where they are asked for, requests where they are sent.
    if r#use == Use::Tcp && is_zero(&cluster, |limits| limits.max_connections.map(|it| it.value)) {
        return Err(Stop::LimitOfZero(name.to_owned()).into());
    }
    if let Some(legs) = legs(&cluster)? {
        return of_aggregate(&cluster, &legs, snapshot, r#use);
    }
    let priorities = priorities(&cluster, snapshot)?.ok_or_else(|| Stop::NoAssignment(name.to_owned()))?;
    let spread = spread(&priorities, panic_threshold(&cluster)?);
    let mut choices = Choices::default();
    for position in &spread.chosen {
        of_priority(&cluster, &priorities[*position], spread.panics[*position], (None, r#use), &mut choices);
    }
    if priorities.is_empty() {
        choices.stops.push((None, Stop::NoEndpoint(name.to_owned())));
    }
    Ok(choices)
}

fn find(name: &str, snapshot: &Snapshot) -> Result<Option<Cluster>, Unknown> {
    let Some(resource) = snapshot.get(ResourceType::Cluster).get(name) else { return Ok(None) };
    let cluster: Cluster = decode(&resource.body)?;
    only(&cluster, &CLUSTER)?;
    for (key, options) in &cluster.typed_extension_protocol_options {
        if *key != HttpProtocolOptions::full_name() {
            return Err(Unknown::Extension(key.clone()));
        }
        let options: HttpProtocolOptions = unpack(options)?;
        only(&options, &["common_http_protocol_options", "explicit_http_config", "use_downstream_protocol_config"])?;
    }
    Ok(Some(cluster))
}

/// The names of the legs of an aggregate cluster.
fn legs(cluster: &Cluster) -> Result<Option<Vec<String>>, Unknown> {
    let Some(ClusterDiscoveryType::ClusterType(custom)) = &cluster.cluster_discovery_type else { return Ok(None) };
    let any = custom.typed_config.as_ref().ok_or_else(|| Unknown::Extension(custom.name.clone()))?;
    if !is(any, &ClusterConfig::full_name()) {
        return Ok(None);
    }
    unpack::<ClusterConfig>(any).map(|config| Some(config.clusters))
}

/// An aggregate cluster lines up the priorities of its legs. It spreads traffic over them by its own panic threshold;
/// what the chosen leg does with it is the business of the leg.
fn of_aggregate(cluster: &Cluster, legs: &[String], snapshot: &Snapshot, r#use: Use) -> Result<Choices, End> {
    let mut line = Vec::new();
    let mut of_leg = Vec::new();
    for name in legs {
        // A leg that is not there yet is passed over.
        let Some(leg) = find(name, snapshot)? else { continue };
        if self::legs(&leg)?.is_some() {
            return Err(Unknown::Value("an aggregate cluster inside another one").into());
        }
        let Some(priorities) = priorities(&leg, snapshot)? else { continue };
        let panics = spread(&priorities, panic_threshold(&leg)?).panics;
        for (priority, panics) in priorities.into_iter().zip(panics).filter(|(priority, _)| priority.size() > 0) {
            line.push(priority);
            of_leg.push((leg.clone(), panics));
        }
    }
    let mut choices = Choices::default();
    for position in spread(&line, panic_threshold(cluster)?).chosen {
        let (leg, panics) = &of_leg[position];
        of_priority(leg, &line[position], *panics, (Some(leg.name.clone()), r#use), &mut choices);
    }
    if line.is_empty() {
        choices.stops.push((None, Stop::NoEndpoint(cluster.name.clone())));
    }
    Ok(choices)
}

/// The endpoints of one priority that can be chosen.
fn of_priority(
    cluster: &Cluster,
    priority: &Priority<SocketAddress>,
    panics: bool,
    (leg, r#use): (Option<String>, Use),
    choices: &mut Choices,
) {
    let no_request = r#use == Use::Http && is_zero(cluster, |limits| limits.max_requests.map(|it| it.value));
    if no_request || is_zero(cluster, |limits| limits.max_pending_requests.map(|it| it.value)) {
        choices.stops.push((leg, Stop::LimitOfZero(cluster.name.clone())));
        return;
    }
    let others = if panics { &priority.unhealthy[..] } else { &[] };
    let mut usable = priority.healthy.iter().chain(others).peekable();
    if usable.peek().is_none() {
        let name = cluster.name.clone();
        let stop = if priority.size() == 0 { Stop::NoEndpoint(name) } else { Stop::NoHealthyEndpoint(name) };
        choices.stops.push((leg, stop));
    }
    choices.endpoints.extend(usable.map(|address| Choice { cluster: cluster.clone(), address: address.clone() }));
}

fn is_zero(
    cluster: &Cluster,
    limit: impl Fn(&envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds) -> Option<u32>,
) -> bool {
    let thresholds = cluster.circuit_breakers.iter().flat_map(|breakers| &breakers.thresholds);
    let mut default = thresholds.filter(|limits| limits.priority == i32::from(RoutingPriority::Default));
    default.any(|limits| limit(limits) == Some(0))
}

fn panic_threshold(cluster: &Cluster) -> Result<u32, Unknown> {
    let Some(config) = &cluster.common_lb_config else { return Ok(balance::PANIC_THRESHOLD) };
    only(
        config,
        &[
            "close_connections_on_host_set_change",
            "consistent_hashing_lb_config",
            "healthy_panic_threshold",
            "update_merge_window",
        ],
    )?;
    let percent = config.healthy_panic_threshold.as_ref().map(|percent| percent.value.round().clamp(0.0, 100.0));
    Ok(percent.map_or(balance::PANIC_THRESHOLD, |percent| percent as u32))
}

/// The endpoints of a cluster by priority; `None` while they are not there.
fn priorities(cluster: &Cluster, snapshot: &Snapshot) -> Result<Option<Vec<Priority<SocketAddress>>>, Unknown> {
    const UNKNOWN: Unknown = Unknown::Value("this kind of load balancing");
    match LbPolicy::try_from(cluster.lb_policy) {
        Ok(
            LbPolicy::RoundRobin | LbPolicy::LeastRequest | LbPolicy::RingHash | LbPolicy::Random | LbPolicy::Maglev,
        ) => {}
        Ok(LbPolicy::ClusterProvided | LbPolicy::LoadBalancingPolicyConfig) | Err(_) => return Err(UNKNOWN),
    }
    let assignment = match &cluster.cluster_discovery_type {
        None => cluster.load_assignment.clone(),
        Some(ClusterDiscoveryType::Type(kind)) => match DiscoveryType::try_from(*kind) {
            Ok(DiscoveryType::Static | DiscoveryType::StrictDns | DiscoveryType::LogicalDns) => {
                cluster.load_assignment.clone()
            }
            Ok(DiscoveryType::Eds) => match assigned(cluster, snapshot)? {
                Some(assignment) => Some(assignment),
                None => return Ok(None),
            },
            Ok(DiscoveryType::OriginalDst) | Err(_) => {
                return Err(Unknown::Value("a cluster that dials what the caller dialled"));
            }
        },
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            if !custom.typed_config.as_ref().is_some_and(|any| is(any, &DnsCluster::full_name())) {
                return Err(Unknown::Extension(custom.name.clone()));
            }
            cluster.load_assignment.clone()
        }
    };
    by_priority(&assignment.unwrap_or_default()).map(Some)
}

/// What came over EDS for a cluster.
fn assigned(cluster: &Cluster, snapshot: &Snapshot) -> Result<Option<ClusterLoadAssignment>, Unknown> {
    let config = cluster.eds_cluster_config.as_ref();
    let name = config.map(|config| config.service_name.as_str()).filter(|name| !name.is_empty());
    let found = snapshot.get(ResourceType::Endpoint).get(name.unwrap_or(&cluster.name));
    found.map(|resource| decode(&resource.body)).transpose()
}

fn by_priority(assignment: &ClusterLoadAssignment) -> Result<Vec<Priority<SocketAddress>>, Unknown> {
    only(assignment, &["cluster_name", "endpoints", "policy"])?;
    let policy = assignment.policy.clone().unwrap_or_default();
    only(&policy, &["endpoint_stale_after", "overprovisioning_factor"])?;
    let overprovisioning = policy.overprovisioning_factor.map_or(balance::OVERPROVISIONING, |factor| factor.value);
    let mut priorities: BTreeMap<u32, Priority<SocketAddress>> = BTreeMap::new();
    for locality in &assignment.endpoints {
        only(locality, &["lb_endpoints", "locality", "metadata", "priority"])?;
        let priority = priorities.entry(locality.priority).or_default();
        priority.overprovisioning = overprovisioning;
        for endpoint in &locality.lb_endpoints {
            let address = endpoint_address(endpoint)?;
            match HealthStatus::try_from(endpoint.health_status) {
                Ok(HealthStatus::Unknown | HealthStatus::Healthy) => priority.healthy.push(address),
                Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout) => {
                    priority.unhealthy.push(address);
                }
                Ok(HealthStatus::Degraded) | Err(_) => return Err(Unknown::Value("a degraded endpoint")),
            }
        }
    }
    Ok(priorities.into_values().collect())
}

fn endpoint_address(endpoint: &LbEndpoint) -> Result<SocketAddress, Unknown> {
    only(endpoint, &["endpoint", "health_status", "load_balancing_weight", "metadata"])?;
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        return Err(Unknown::Value("an endpoint without an address"));
    };
    only(endpoint, &["address", "hostname", "observability_name"])?;
    socket_address(endpoint.address.as_ref())
}

/// An address of Envoy's, in one spelling.
pub(super) fn socket_address(address: Option<&Address>) -> Result<SocketAddress, Unknown> {
    const UNKNOWN: Unknown = Unknown::Value("an address that is neither host and port nor path");
    match address.and_then(|address| address.address.as_ref()) {
        Some(address::Address::Pipe(pipe)) => Ok(SocketAddress::Pipe(pipe.path.as_str().into())),
        Some(address::Address::SocketAddress(socket)) => {
            only(socket, &["address", "ipv4_compat", "port_value"])?;
            let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
                return Err(UNKNOWN);
            };
            let port = u16::try_from(port).map_err(|_| UNKNOWN)?;
            Ok(canonical(&SocketAddress::Tcp(socket.address.as_str().into(), port)))
        }
        Some(address::Address::EnvoyInternalAddress(_)) | None => Err(UNKNOWN),
    }
}

/// The same address in the spelling by which the model compares.
pub(super) fn canonical(address: &SocketAddress) -> SocketAddress {
    match address {
        SocketAddress::Tcp(host, port) => {
            let host = match host.parse::<IpAddr>() {
                Ok(ip) => ip.to_string(),
                Err(_) => host.to_lowercase(),
            };
            SocketAddress::Tcp(host.into(), *port)
        }
        SocketAddress::Pipe(path) => SocketAddress::Pipe(path.clone()),
    }
}
