//! Routes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{RetryPriority, retry_priority};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    QueryParameterMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
    WeightedCluster,
};
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::util::pack_any;

use super::snapshot::Resource;
use super::{canonical, matcher, names, wire};
use crate::ir;

/// A route configuration. It refers to every cluster that its routes name.
pub fn translate(configuration: &ir::RouteConfiguration) -> Resource {
    let name = names::upstream(&configuration.name);
    let message = RouteConfiguration {
        name: name.clone(),
        virtual_hosts: vec![virtual_host(&name, configuration.routes.iter().map(route).collect())],
        validate_clusters: configuration.validate_clusters.then(|| wire::boolean(true)),
        ..RouteConfiguration::default()
    };
    let clusters: BTreeSet<Arc<str>> = configuration
        .routes
        .iter()
        .flat_map(|route| route.action.destination.clusters())
        .map(|cluster| names::cluster(cluster).into())
        .collect();
    Resource::new(&name, canonical::encode(&message), clusters)
}

/// One virtual host for every domain.
pub(super) fn virtual_host(name: &str, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name: name.to_owned(), domains: vec!["*".to_owned()], routes, ..VirtualHost::default() }
}

/// One route.
pub(super) fn route(route: &ir::Route) -> Route {
    Route {
        r#match: Some(matching(&route.matching)),
        request_headers_to_add: added(&route.request_headers),
        request_headers_to_remove: removed(&route.request_headers),
        response_headers_to_add: added(&route.response_headers),
        response_headers_to_remove: removed(&route.response_headers),
        action: Some(Action::Route(action(&route.action))),
        ..Route::default()
    }
}

fn matching(matching: &ir::RouteMatch) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(match &matching.path {
            ir::PathMatch::Any => PathSpecifier::Prefix("/".to_owned()),
            ir::PathMatch::Exact(path) => PathSpecifier::Path(path.to_string()),
            ir::PathMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.to_string()),
            ir::PathMatch::Regex(regex) => PathSpecifier::SafeRegex(matcher::regex(regex)),
        }),
        case_sensitive: matching.ignore_case.then(|| wire::boolean(false)),
        headers: matching.headers.iter().map(matcher::header).collect(),
        query_parameters: matching.query_parameters.iter().map(query_parameter).collect(),
        ..RouteMatch::default()
    }
}

fn query_parameter(parameter: &ir::QueryMatch) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: parameter.name.to_string(),
        query_parameter_match_specifier: Some(match &parameter.value {
            Some(value) => QueryParameterMatchSpecifier::StringMatch(matcher::string(value)),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    }
}

fn action(action: &ir::RouteAction) -> RouteAction {
    let mut message = RouteAction {
        cluster_specifier: Some(match &action.destination {
            ir::RouteDestination::Cluster(cluster) => ClusterSpecifier::Cluster(names::cluster(cluster)),
            ir::RouteDestination::Weighted(clusters) => ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: clusters.iter().map(weighted).collect(),
                ..WeightedCluster::default()
            }),
        }),
        timeout: action.timeout.map(wire::duration),
        idle_timeout: action.idle_timeout.map(wire::duration),
        hash_policy: action.hash.iter().map(hash_policy).collect(),
        retry_policy: action.retry.as_ref().map(retry_policy),
        ..RouteAction::default()
    };
    match &action.rewrite {
        None => {}
        Some(ir::Rewrite::Prefix(prefix)) => message.prefix_rewrite = prefix.to_string(),
        Some(ir::Rewrite::WithoutPrefix { prefix, ignore_case }) => {
            let case = if *ignore_case { "(?i)" } else { "" };
            let pattern = format!("^{case}{}(/?)(.*)", matcher::quoted(prefix));
            message.regex_rewrite = Some(RegexMatchAndSubstitute {
                pattern: Some(matcher::regex(&pattern)),
                substitution: "/\\2".to_owned(),
            });
        }
    }
    message
}

fn weighted(cluster: &ir::WeightedCluster) -> ClusterWeight {
    ClusterWeight {
        name: names::cluster(&cluster.cluster),
        weight: Some(wire::uint32(cluster.weight)),
        request_headers_to_add: added(&cluster.request_headers),
        request_headers_to_remove: removed(&cluster.request_headers),
        response_headers_to_add: added(&cluster.response_headers),
        response_headers_to_remove: removed(&cluster.response_headers),
        ..ClusterWeight::default()
    }
}

fn added(changes: &ir::HeaderChanges) -> Vec<HeaderValueOption> {
    let option = |(name, value): &(Arc<str>, Arc<str>), action: HeaderAppendAction| HeaderValueOption {
        header: Some(HeaderValue { key: name.to_string(), value: value.to_string(), ..HeaderValue::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    };
    let added = changes.add.iter().map(|header| option(header, HeaderAppendAction::AppendIfExistsOrAdd));
    let set = changes.set.iter().map(|header| option(header, HeaderAppendAction::OverwriteIfExistsOrAdd));
    added.chain(set).collect()
}

fn removed(changes: &ir::HeaderChanges) -> Vec<String> {
    changes.remove.iter().map(ToString::to_string).collect()
}

fn retry_policy(retry: &ir::Retry) -> RetryPolicy {
    let previous_priorities = || RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack_any(PreviousPrioritiesConfig {
            update_frequency: 1,
        }))),
    };
    RetryPolicy {
        retry_on: retry.on.join(","),
        num_retries: retry.retries.map(wire::uint32),
        retriable_status_codes: retry.status_codes.clone(),
        retry_priority: retry.to_other_priorities.then(previous_priorities),
        ..RetryPolicy::default()
    }
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
