//! The routes of a chain: which requests go to which cluster (contract 3.10).

use std::sync::Arc;
use std::time::Duration;

use super::balance::hash_sources;
use super::chain::{Chain, Node, NodeKey, RouteNode, SplitterNode, TargetKey};
use crate::ir::{
    ClusterName, HeaderChanges, HeaderMatch, PathMatch, QueryMatch, Retry, Rewrite, Route, RouteAction,
    RouteDestination, RouteMatch, StringPattern, WeightedCluster,
};
use crate::model::GoDuration;
use crate::model::entry::{self, HeaderModifiers, HttpMatch, LoadBalancer};

/// Where the clusters of a chain's targets are, for one proxy.
#[derive(Clone, Copy)]
pub(super) struct Clusters<'a> {
    /// The cluster of a resolver's primary target, with whatever stands in for it; `None` where there is none.
    pub(super) name: &'a dyn Fn(&TargetKey) -> Option<ClusterName>,
    /// Clusters have legs to fail over to.
    pub(super) have_failover: bool,
}

/// The routes of a chain, in the order in which they are tried. Routes that lead to no cluster are left out.
pub(super) fn routes(chain: &Chain, clusters: Clusters<'_>) -> Vec<Route> {
    match chain.nodes.get(&chain.start) {
        Some(Node::Router(routes)) => routes.iter().filter_map(|route| of_router(chain, route, clusters)).collect(),
        Some(Node::Resolver(node)) => {
            let timeout = node.request_timeout.and_then(limit);
            let action = action(chain, &chain.start, clusters).map(|action| RouteAction { timeout, ..action });
            action.map(|action| Route::new(RouteMatch::path(PathMatch::Any), action)).into_iter().collect()
        }
        Some(Node::Splitter(_)) | None => {
            let action = action(chain, &chain.start, clusters);
            action.map(|action| Route::new(RouteMatch::path(PathMatch::Any), action)).into_iter().collect()
        }
    }
}

/// A time limit as routes write it: zero asks for nothing, a negative one takes the limit away.
fn limit(value: GoDuration) -> Option<Duration> {
    (value != GoDuration::default()).then(|| value.to_std())
}

/// What happens to requests for a splitter or resolver.
fn action(chain: &Chain, key: &NodeKey, clusters: Clusters<'_>) -> Option<RouteAction> {
    let (destination, load_balancer) = match chain.nodes.get(key)? {
        Node::Resolver(node) => {
            (RouteDestination::Cluster((clusters.name)(&node.target)?), node.load_balancer.as_ref())
        }
        Node::Splitter(node) => (weighted(chain, node, clusters)?, node.load_balancer.as_ref()),
        Node::Router(_) => return None,
    };
    let hash = |balancer: &LoadBalancer| hash_sources(balancer);
    Some(RouteAction {
        destination,
        timeout: None,
        idle_timeout: None,
        hash: load_balancer.map(hash).unwrap_or_default(),
        rewrite: None,
        retry: None,
    })
}

fn weighted(chain: &Chain, node: &SplitterNode, clusters: Clusters<'_>) -> Option<RouteDestination> {
    let parts = node.splits.iter().filter_map(|split| {
        let Some(Node::Resolver(resolver)) = chain.nodes.get(&split.next) else { return None };
        Some(WeightedCluster {
            cluster: (clusters.name)(&resolver.target)?,
            weight: split.hundredths,
            request_headers: changes(&split.request_headers),
            response_headers: changes(&split.response_headers),
        })
    });
    let parts: Vec<_> = parts.collect();
    // Envoy refuses weights that add up to nothing.
    parts.iter().any(|part| part.weight > 0).then_some(RouteDestination::Weighted(parts))
}

fn of_router(chain: &Chain, route: &RouteNode, clusters: Clusters<'_>) -> Option<Route> {
    let http = route.definition.r#match.as_ref().and_then(|matching| matching.http.as_ref());
    let mut action = action(chain, &route.next, clusters)?;
    let Some(destination) = &route.definition.destination else {
        return Some(Route::new(matching(http), action));
    };
    action.rewrite = rewrite(&destination.prefix_rewrite, http);
    action.timeout = limit(destination.request_timeout);
    action.idle_timeout = limit(destination.idle_timeout);
    let to_other_priorities = clusters.have_failover && splits_with_failover(chain, &route.next);
    action.retry = retry(destination).map(|retry| Retry { to_other_priorities, ..retry });
    let headers = |modifiers: &Option<HeaderModifiers>| modifiers.as_ref().map(changes).unwrap_or_default();
    Some(Route {
        matching: matching(http),
        action,
        request_headers: headers(&destination.request_headers),
        response_headers: headers(&destination.response_headers),
    })
}

fn splits_with_failover(chain: &Chain, key: &NodeKey) -> bool {
    let Some(Node::Splitter(splitter)) = chain.nodes.get(key) else { return false };
    splitter.splits.iter().any(
        |split| matches!(chain.nodes.get(&split.next), Some(Node::Resolver(resolver)) if !resolver.failover.is_empty()),
    )
}

fn matching(http: Option<&HttpMatch>) -> RouteMatch {
    let Some(http) = http else { return RouteMatch::path(PathMatch::Any) };
    let path = if !http.path_exact.is_empty() {
        PathMatch::Exact(http.path_exact.as_str().into())
    } else if !http.path_prefix.is_empty() {
        PathMatch::Prefix(http.path_prefix.as_str().into())
    } else if !http.path_regex.is_empty() {
        PathMatch::Regex(http.path_regex.as_str().into())
    } else {
        PathMatch::Any
    };
    RouteMatch {
        path,
        ignore_case: http.case_insensitive,
        headers: http.header.iter().map(header).chain(methods(&http.methods)).collect(),
        query_parameters: http.query_param.iter().map(query_parameter).collect(),
    }
}

fn header(header: &entry::HeaderMatch) -> HeaderMatch {
    let text =
        |pattern: fn(Arc<str>) -> StringPattern, text: &str| (!text.is_empty()).then(|| pattern(text.into()).into());
    HeaderMatch {
        name: header.name.as_str().into(),
        value: text(StringPattern::Exact, &header.exact)
            .or_else(|| text(StringPattern::Regex, &header.regex))
            .or_else(|| text(StringPattern::Prefix, &header.prefix))
            .or_else(|| text(StringPattern::Suffix, &header.suffix)),
        invert: header.invert,
    }
}

/// Any of these methods; no condition if there are none.
pub(super) fn methods(methods: &[String]) -> Option<HeaderMatch> {
    (!methods.is_empty()).then(|| HeaderMatch {
        name: ":method".into(),
        value: Some(StringPattern::Regex(methods.join("|").into()).into()),
        invert: false,
    })
}

fn query_parameter(parameter: &entry::QueryParamMatch) -> QueryMatch {
    let text =
        |pattern: fn(Arc<str>) -> StringPattern, text: &str| (!text.is_empty()).then(|| pattern(text.into()).into());
    QueryMatch {
        name: parameter.name.as_str().into(),
        value: text(StringPattern::Exact, &parameter.exact).or_else(|| text(StringPattern::Regex, &parameter.regex)),
    }
}

/// Another path. To take a whole prefix away, Envoy's own rewrite would leave two slashes behind where the path goes on
/// after one.
fn rewrite(prefix_rewrite: &str, http: Option<&HttpMatch>) -> Option<Rewrite> {
    let prefix = http.map(|http| http.path_prefix.as_str()).unwrap_or_default();
    match prefix_rewrite {
        "" => None,
        "/" if !prefix.is_empty() => Some(Rewrite::WithoutPrefix {
            prefix: prefix.into(),
            ignore_case: http.is_some_and(|http| http.case_insensitive),
        }),
        other => Some(Rewrite::Prefix(other.into())),
    }
}

fn retry(destination: &entry::RouteDestination) -> Option<Retry> {
    const CONNECT_FAILURE: &str = "connect-failure";
    let mut on: Vec<Arc<str>> = destination.retry_on.iter().map(|condition| condition.as_str().into()).collect();
    if destination.retry_on_connect_failure && !on.iter().any(|condition| **condition == *CONNECT_FAILURE) {
        on.push(CONNECT_FAILURE.into());
    }
    let status_codes = destination.retry_on_status_codes.clone();
    if !status_codes.is_empty() {
        on.push("retriable-status-codes".into());
    }
    let retries = (destination.num_retries > 0).then_some(destination.num_retries);
    let is_asked_for = retries.is_some() || !on.is_empty();
    is_asked_for.then_some(Retry { retries, on, status_codes, to_other_priorities: false })
}

fn changes(modifiers: &HeaderModifiers) -> HeaderChanges {
    let pairs = |headers: &std::collections::BTreeMap<String, String>| {
        headers.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    };
    HeaderChanges {
        add: pairs(&modifiers.add),
        set: pairs(&modifiers.set),
        remove: modifiers.remove.iter().map(|name| name.as_str().into()).collect(),
    }
}
