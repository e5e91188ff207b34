//! Routes.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};

use super::snapshot::Resource;
use super::{canonical, names, wire};
use crate::ir;

/// A route configuration.
pub fn translate(configuration: &ir::RouteConfiguration) -> Resource {
    let name = names::upstream(&configuration.name);
    let message = RouteConfiguration {
        name: name.clone(),
        virtual_hosts: vec![virtual_host(&name, &ir::PathMatch::Any, &configuration.action, None)],
        validate_clusters: configuration.validate_clusters.then(|| wire::boolean(true)),
        ..RouteConfiguration::default()
    };
    Resource::new(&name, canonical::encode(&message), [Arc::from(names::cluster(&configuration.action.cluster))])
}

/// One virtual host for every domain, with one way for what it lets through.
pub(super) fn virtual_host(
    name: &str,
    path: &ir::PathMatch,
    action: &ir::RouteAction,
    removed_header: Option<String>,
) -> VirtualHost {
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(match path {
                ir::PathMatch::Any => PathSpecifier::Prefix("/".to_owned()),
                ir::PathMatch::Exact(path) => PathSpecifier::Path(path.to_string()),
            }),
            ..RouteMatch::default()
        }),
        request_headers_to_remove: removed_header.into_iter().collect(),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(names::cluster(&action.cluster))),
            timeout: action.timeout.map(wire::duration),
            idle_timeout: action.idle_timeout.map(wire::duration),
            hash_policy: action.hash.iter().map(hash_policy).collect(),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    VirtualHost { name: name.to_owned(), domains: vec!["*".to_owned()], routes: vec![route], ..VirtualHost::default() }
}

fn hash_policy(source: &ir::HashSource) -> HashPolicy {
    let specifier = match &source.field {
        ir::HashField::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.to_string(), ..Header::default() })
        }
        ir::HashField::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() })
        }
        ir::HashField::Cookie { name, ttl, path } => PolicySpecifier::Cookie(Cookie {
            name: name.to_string(),
            ttl: ttl.map(|ttl: Duration| wire::duration(ttl)),
            path: path.to_string(),
            ..Cookie::default()
        }),
        ir::HashField::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
    };
    HashPolicy { terminal: source.terminal, policy_specifier: Some(specifier) }
}
