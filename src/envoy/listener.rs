//! Listeners.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::listener::ConnectionBalanceConfig;
use envoy_types::pb::envoy::config::listener::v3::listener::connection_balance_config::{BalanceType, ExactBalance};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, filter, listener_filter,
};
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier};
use envoy_types::pb::google::protobuf::UInt64Value;
use envoy_types::util::pack_any;
use prost::{Message, Name};

use super::given::{self, GivenError, GivenErrors};
use super::snapshot::Resource;
use super::{access_log, canonical, http, names, rbac, tls, wire};
use crate::ir;

/// A listener. It refers to every cluster that its filters name.
///
/// # Errors
/// What an operator gave for it, or for a part of it, cannot be used.
pub fn translate(listener: &ir::Listener) -> Result<Resource, GivenErrors> {
    match &listener.given {
        Some(given) => of_operator(given, listener).map_err(|error| GivenErrors { whole: Some(error), tracing: None }),
        None => generated(listener).map_err(|error| GivenErrors { whole: None, tracing: Some(error) }),
    }
}

fn of_operator(given: &ir::Given, generated: &ir::Listener) -> Result<Resource, GivenError> {
    let mut message = given::listener(given)?;
    given::protect(&mut message, given, generated)?;
    Ok(Resource::new(&message.name, canonical::encode(&message), given::clusters(&message)))
}

fn generated(listener: &ir::Listener) -> Result<Resource, GivenError> {
    let name = names::listener(&listener.name, &listener.bind);
    let log = listener.access_log.as_ref();
    let tracing = listener.tracing.as_ref().map(given::tracing).transpose()?;
    let around = Around { log, tracing: tracing.as_ref() };
    let message = Listener {
        name: name.clone(),
        address: Some(match &listener.bind {
            ir::Bind::Tcp(host, port) => wire::socket(host, *port),
            ir::Bind::Pipe(path, mode) => wire::pipe(path, *mode),
        }),
        traffic_direction: match listener.direction {
            ir::Direction::Inbound => TrafficDirection::Inbound,
            ir::Direction::Outbound => TrafficDirection::Outbound,
            ir::Direction::Unspecified => TrafficDirection::Unspecified,
        }
        .into(),
        listener_filters: listener_filters(listener),
        access_log: log.filter(|log| log.of_listeners).map(access_log::of_listener).into_iter().collect(),
        connection_balance_config: listener
            .exact_balance
            .then_some(ConnectionBalanceConfig { balance_type: Some(BalanceType::ExactBalance(ExactBalance {})) }),
        filter_chains: listener.chains.iter().map(|chain| filter_chain(chain, around)).collect(),
        default_filter_chain: listener.default_chain.as_ref().map(|chain| filter_chain(chain, around)),
        ..Listener::default()
    };
    Ok(Resource::new(&name, canonical::encode(&message), clusters(listener)))
}

/// What all filters of a listener do.
#[derive(Clone, Copy)]
struct Around<'l> {
    log: Option<&'l ir::AccessLog>,
    tracing: Option<&'l Tracing>,
}

/// The clusters that the listener sends traffic to by name.
fn clusters(listener: &ir::Listener) -> BTreeSet<Arc<str>> {
    let filters = listener.chains.iter().chain(&listener.default_chain).flat_map(|chain| &chain.filters);
    let named = filters.flat_map(|filter| match filter {
        ir::Filter::TcpProxy { cluster, .. } => Box::new(cluster.iter()),
        ir::Filter::Http(manager) => match &manager.routes {
            ir::RouteSource::Inline { action, .. } => action.destination.clusters(),
            ir::RouteSource::Rds { .. } => Box::new(std::iter::empty()),
        },
        ir::Filter::Rbac(_) | ir::Filter::ConnectionLimit { .. } | ir::Filter::SniCluster => {
            Box::new(std::iter::empty())
        }
    });
    named.map(|cluster| Arc::from(names::cluster(cluster))).collect()
}

fn listener_filters(listener: &ir::Listener) -> Vec<ListenerFilter> {
    let filter = |name: &str, config| ListenerFilter {
        name: format!("envoy.filters.listener.{name}"),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    };
    let original_dst = listener.original_destination.then(|| filter("original_dst", pack_any(OriginalDst::default())));
    let tls_inspector = listener.tls_inspector.then(|| filter("tls_inspector", pack_any(TlsInspector::default())));
    original_dst.into_iter().chain(tls_inspector).collect()
}

fn filter_chain(chain: &ir::FilterChain, around: Around<'_>) -> FilterChain {
    let matching = FilterChainMatch {
        server_names: chain.server_names.iter().map(ToString::to_string).collect(),
        destination_port: chain.destination_port.map(|port| wire::uint32(port.into())),
        source_prefix_ranges: chain.sources.iter().map(wire::range).collect(),
        ..FilterChainMatch::default()
    };
    FilterChain {
        filter_chain_match: (matching != FilterChainMatch::default()).then_some(matching),
        filters: chain.filters.iter().map(|filter| network_filter(filter, around)).collect(),
        transport_socket: chain.tls.as_ref().map(tls::downstream),
        ..FilterChain::default()
    }
}

fn packed<M: Message + Name>(name: &str, config: M) -> Filter {
    Filter {
        name: format!("envoy.filters.network.{name}"),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(config))),
    }
}

/// The filter that judges connections by their caller.
pub(super) fn network_rbac(rules: &ir::Rbac) -> Filter {
    packed("rbac", Rbac { rules: Some(rbac::rules(rules)), stat_prefix: "connect_authz".to_owned(), ..Rbac::default() })
}

fn network_filter(filter: &ir::Filter, around: Around<'_>) -> Filter {
    match filter {
        ir::Filter::Rbac(rbac) => network_rbac(rbac),
        ir::Filter::ConnectionLimit { max } => packed(
            "connection_limit",
            ConnectionLimit {
                stat_prefix: "inbound_connection_limit".to_owned(),
                max_connections: Some(UInt64Value { value: *max }),
                ..ConnectionLimit::default()
            },
        ),
        ir::Filter::SniCluster => packed("sni_cluster", SniCluster {}),
        ir::Filter::TcpProxy { stat, cluster } => packed(
            "tcp_proxy",
            TcpProxy {
                stat_prefix: names::stat_prefix(stat),
                // Empty where the SNI has chosen; Envoy wants the field all the same.
                cluster_specifier: Some(ClusterSpecifier::Cluster(
                    cluster.as_ref().map(names::cluster).unwrap_or_default(),
                )),
                access_log: around.log.map(access_log::of_filter).into_iter().collect(),
                ..TcpProxy::default()
            },
        ),
        ir::Filter::Http(manager) => http::translate(manager, around.log, around.tracing),
    }
}
