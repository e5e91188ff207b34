//! The clusters that a given listener sends traffic to by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::{Filter, Listener, filter};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, route_action};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};

use super::protect::unpack;

/// The clusters of its proxies and of the routes inside it. What other filters do is theirs.
pub(in crate::envoy) fn clusters(listener: &Listener) -> BTreeSet<Arc<str>> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let named: Vec<String> = chains.flat_map(|chain| &chain.filters).flat_map(of_filter).collect();
    named.into_iter().filter(|name| !name.is_empty()).map(Arc::from).collect()
}

fn of_filter(filter: &Filter) -> Vec<String> {
    let Some(filter::ConfigType::TypedConfig(config)) = &filter.config_type else { return Vec::new() };
    if let Some(proxy) = unpack::<TcpProxy>(config) {
        return match proxy.cluster_specifier {
            Some(tcp_proxy::ClusterSpecifier::Cluster(name)) => vec![name],
            Some(tcp_proxy::ClusterSpecifier::WeightedClusters(weighted)) => {
                weighted.clusters.into_iter().map(|cluster| cluster.name).collect()
            }
            None => Vec::new(),
        };
    }
    match unpack::<HttpConnectionManager>(config).and_then(|manager| manager.route_specifier) {
        Some(RouteSpecifier::RouteConfig(routes)) => of_routes(routes),
        Some(RouteSpecifier::Rds(_) | RouteSpecifier::ScopedRoutes(_)) | None => Vec::new(),
    }
}

fn of_routes(configuration: RouteConfiguration) -> Vec<String> {
    let routes = configuration.virtual_hosts.into_iter().flat_map(|host| host.routes);
    let specifiers = routes.filter_map(|route| match route.action {
        Some(Action::Route(action)) => action.cluster_specifier,
        Some(_) | None => None,
    });
    let named = specifiers.flat_map(|specifier| match specifier {
        route_action::ClusterSpecifier::Cluster(name) => vec![name],
        route_action::ClusterSpecifier::WeightedClusters(weighted) => {
            weighted.clusters.into_iter().map(|cluster| cluster.name).collect()
        }
        // Chosen by each request, or by a plugin.
        route_action::ClusterSpecifier::ClusterHeader(_)
        | route_action::ClusterSpecifier::ClusterSpecifierPlugin(_)
        | route_action::ClusterSpecifier::InlineClusterSpecifierPlugin(_) => Vec::new(),
    });
    named.collect()
}
