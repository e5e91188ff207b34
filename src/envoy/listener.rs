//! Listeners.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::listener::ConnectionBalanceConfig;
use envoy_types::pb::envoy::config::listener::v3::listener::connection_balance_config::{BalanceType, ExactBalance};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, filter, listener_filter,
};
use envoy_types::pb::envoy::config::rbac::v3::{Rbac as Rules, rbac};
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier};
use envoy_types::pb::google::protobuf::UInt64Value;
use envoy_types::util::pack_any;
use prost::{Message, Name};

use super::snapshot::Resource;
use super::{canonical, http, names, tls, wire};
use crate::ir;

/// A listener. It refers to every cluster that its filters name.
pub fn translate(listener: &ir::Listener) -> Resource {
    let name = names::listener(&listener.name, &listener.bind);
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
        listener_filters: listener.tls_inspector.then(tls_inspector).into_iter().collect(),
        connection_balance_config: listener
            .exact_balance
            .then_some(ConnectionBalanceConfig { balance_type: Some(BalanceType::ExactBalance(ExactBalance {})) }),
        filter_chains: listener.chains.iter().map(filter_chain).collect(),
        ..Listener::default()
    };
    Resource::new(&name, canonical::encode(&message), clusters(listener))
}

/// The clusters that the listener sends traffic to by name.
fn clusters(listener: &ir::Listener) -> BTreeSet<Arc<str>> {
    let filters = listener.chains.iter().flat_map(|chain| &chain.filters);
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

fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack_any(TlsInspector::default()))),
        ..ListenerFilter::default()
    }
}

fn filter_chain(chain: &ir::FilterChain) -> FilterChain {
    FilterChain {
        filter_chain_match: (!chain.server_names.is_empty()).then(|| FilterChainMatch {
            server_names: chain.server_names.iter().map(ToString::to_string).collect(),
            ..FilterChainMatch::default()
        }),
        filters: chain.filters.iter().map(network_filter).collect(),
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

fn network_filter(filter: &ir::Filter) -> Filter {
    match filter {
        ir::Filter::Rbac(rbac) => packed(
            "rbac",
            Rbac { rules: Some(rbac_rules(rbac)), stat_prefix: "connect_authz".to_owned(), ..Rbac::default() },
        ),
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
                ..TcpProxy::default()
            },
        ),
        ir::Filter::Http(manager) => http::translate(manager),
    }
}

/// The rules of an RBAC filter, always present: a filter without rules would let everybody in silently.
pub(super) fn rbac_rules(rbac: &ir::Rbac) -> Rules {
    Rules {
        action: match rbac.action {
            ir::RbacAction::Allow => rbac::Action::Allow,
            ir::RbacAction::Deny => rbac::Action::Deny,
        }
        .into(),
        ..Rules::default()
    }
}
