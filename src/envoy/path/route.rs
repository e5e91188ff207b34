//! Routes: which clusters a request goes to, and what becomes of it on the way.

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::route::v3::redirect_action::RedirectResponseCode;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};

use super::answer::RouteUse;
use super::known::only;
use super::matcher::{full_match, header, query_parameter, split_path, substitute};
use super::request::{Found, Headers, Value};
use super::{End, Stop, Unknown};

/// Where a request goes next.
#[derive(Debug, PartialEq)]
pub(super) struct Way {
    /// The cluster.
    pub(super) cluster: String,
    /// The request as it goes on.
    pub(super) headers: Headers,
}

/// The route of a request, and the ways that it can take from there.
pub(super) fn ways(configuration: &RouteConfiguration, headers: &Headers) -> (Option<RouteUse>, Result<Vec<Way>, End>) {
    match find(configuration, headers) {
        Ok((used, virtual_host, route)) => (Some(used), follow(configuration, virtual_host, route, headers)),
        Err(end) => (None, Err(end)),
    }
}

fn find<'c>(
    configuration: &'c RouteConfiguration,
    headers: &Headers,
) -> Result<(RouteUse, &'c VirtualHost, &'c Route), End> {
    only(
        configuration,
        &[
            "max_direct_response_body_size_bytes",
            "metadata",
            "most_specific_header_mutations_wins",
            "name",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "validate_clusters",
            "virtual_hosts",
        ],
    )?;
    let authority = match headers.find(":authority") {
        Found::Value(authority) => authority.to_lowercase(),
        Found::Missing | Found::Unknown => return Err(Unknown::Value("an authority that is not known").into()),
    };
    let virtual_host =
        virtual_host(configuration, &authority).ok_or_else(|| match configuration.virtual_hosts.len() {
            0 => Stop::NoRoute(configuration.name.clone()),
            _ => Stop::NoVirtualHost(authority.clone()),
        })?;
    only(
        virtual_host,
        &[
            "domains",
            "hedge_policy",
            "include_attempt_count_in_response",
            "include_request_attempt_count",
            "metadata",
            "name",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "retry_policy",
            "routes",
            "virtual_clusters",
        ],
    )?;
    for (position, route) in virtual_host.routes.iter().enumerate() {
        if matches(route.r#match.as_ref(), headers)? {
            let used = RouteUse {
                configuration: configuration.name.clone(),
                virtual_host: virtual_host.name.clone(),
                position,
            };
            return Ok((used, virtual_host, route));
        }
    }
    Err(Stop::NoRoute(configuration.name.clone()).into())
}

/// The virtual host of an authority: the exact name, then the longest `*suffix`, then the longest `prefix*`, then `*`.
fn virtual_host<'c>(configuration: &'c RouteConfiguration, authority: &str) -> Option<&'c VirtualHost> {
    let rank = |domain: &str| {
        let domain = domain.to_lowercase();
        match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(""), _) => Some((0, 0)),
            (Some(suffix), _) => {
                (authority.len() > suffix.len() && authority.ends_with(suffix)).then_some((2, suffix.len()))
            }
            (None, Some(prefix)) => {
                (authority.len() > prefix.len() && authority.starts_with(prefix)).then_some((1, prefix.len()))
            }
            (None, None) => (domain == authority).then_some((3, 0)),
        }
    };
    let best = |host: &&VirtualHost| host.domains.iter().filter_map(|domain| rank(domain)).max();
    configuration.virtual_hosts.iter().filter(|host| best(host).is_some()).max_by_key(best)
}

fn matches(wanted: Option<&RouteMatch>, headers: &Headers) -> Result<bool, Unknown> {
    let wanted = wanted.ok_or(Unknown::Value("a route without a match"))?;
    only(
        wanted,
        &["case_sensitive", "headers", "path", "path_separated_prefix", "prefix", "query_parameters", "safe_regex"],
    )?;
    let whole = headers.path().ok_or(Unknown::Value("a path that is not known"))?;
    let (path, query) = split_path(&whole);
    if !has_path(wanted, path)? {
        return Ok(false);
    }
    for matcher in &wanted.headers {
        if !header(matcher, headers)? {
            return Ok(false);
        }
    }
    for matcher in &wanted.query_parameters {
        if !query_parameter(matcher, query)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_path(wanted: &RouteMatch, path: &str) -> Result<bool, Unknown> {
    let is_exact = wanted.case_sensitive.is_none_or(|it| it.value);
    let fold = |text: &str| if is_exact { text.to_owned() } else { text.to_ascii_lowercase() };
    let found = fold(path);
    match &wanted.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Ok(found.starts_with(&fold(prefix))),
        Some(PathSpecifier::Path(path)) => Ok(found == fold(path)),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            Ok(found.strip_prefix(&fold(prefix)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        }
        // Case is the business of the expression.
        Some(PathSpecifier::SafeRegex(regex)) => full_match(regex, path),
        Some(PathSpecifier::ConnectMatcher(_) | PathSpecifier::PathMatchPolicy(_)) | None => {
            Err(Unknown::Value("a route match without a path"))
        }
    }
}

fn follow(
    configuration: &RouteConfiguration,
    virtual_host: &VirtualHost,
    route: &Route,
    headers: &Headers,
) -> Result<Vec<Way>, End> {
    only(
        route,
        &[
            "decorator",
            "direct_response",
            "match",
            "metadata",
            "name",
            "redirect",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "route",
            "stat_prefix",
            "tracing",
        ],
    )?;
    let action = match &route.action {
        Some(Action::Route(action)) => action,
        Some(Action::Redirect(redirect)) => {
            let code = RedirectResponseCode::try_from(redirect.response_code);
            let status = match code.map_err(|_| Unknown::Value("a redirect"))? {
                RedirectResponseCode::MovedPermanently => 301,
                RedirectResponseCode::Found => 302,
                RedirectResponseCode::SeeOther => 303,
                RedirectResponseCode::TemporaryRedirect => 307,
                RedirectResponseCode::PermanentRedirect => 308,
            };
            return Err(Stop::Answered { status }.into());
        }
        Some(Action::DirectResponse(response)) => return Err(Stop::Answered { status: response.status }.into()),
        Some(Action::FilterAction(_) | Action::NonForwardingAction(_)) | None => {
            return Err(Unknown::Value("a route that leads to no cluster").into());
        }
    };
    only(
        action,
        &[
            "append_x_forwarded_host",
            "cluster",
            "cluster_not_found_response_code",
            "hash_policy",
            "hedge_policy",
            "host_rewrite_literal",
            "idle_timeout",
            "max_stream_duration",
            "prefix_rewrite",
            "regex_rewrite",
            "request_mirror_policies",
            "retry_policy",
            "timeout",
            "upgrade_configs",
            "weighted_clusters",
        ],
    )?;
    let levels = [
        Mutation::new(&route.request_headers_to_add, &route.request_headers_to_remove),
        Mutation::new(&virtual_host.request_headers_to_add, &virtual_host.request_headers_to_remove),
        Mutation::new(&configuration.request_headers_to_add, &configuration.request_headers_to_remove),
    ];
    let mut ways = Vec::new();
    for (cluster, own) in clusters(action)? {
        let mut levels: Vec<_> = own.into_iter().chain(levels).collect();
        if configuration.most_specific_header_mutations_wins {
            levels.reverse();
        }
        let mut headers = headers.clone();
        levels.iter().try_for_each(|level| level.apply(&mut headers))?;
        rewrite(route.r#match.as_ref(), action, &mut headers)?;
        ways.push(Way { cluster, headers });
    }
    Ok(ways)
}

/// The clusters of a route that get requests, each with its own changes of headers.
fn clusters(action: &RouteAction) -> Result<Vec<(String, Option<Mutation<'_>>)>, Unknown> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(vec![(name.clone(), None)]),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            only(weighted, &["clusters", "runtime_key_prefix", "total_weight"])?;
            let mut clusters = Vec::new();
            for cluster in &weighted.clusters {
                only::<ClusterWeight>(
                    cluster,
                    &[
                        "name",
                        "request_headers_to_add",
                        "request_headers_to_remove",
                        "response_headers_to_add",
                        "response_headers_to_remove",
                        "weight",
                    ],
                )?;
                if cluster.weight.is_some_and(|weight| weight.value > 0) {
                    let own = Mutation::new(&cluster.request_headers_to_add, &cluster.request_headers_to_remove);
                    clusters.push((cluster.name.clone(), Some(own)));
                }
            }
            Ok(clusters)
        }
        _ => Err(Unknown::Value("a route whose cluster is computed")),
    }
}

/// Changes of request headers at one level.
#[derive(Debug, Clone, Copy)]
struct Mutation<'a> {
    add: &'a [HeaderValueOption],
    remove: &'a [String],
}

impl<'a> Mutation<'a> {
    fn new(add: &'a [HeaderValueOption], remove: &'a [String]) -> Self {
        Self { add, remove }
    }

    #[allow(deprecated, reason = "an older spelling comes from escape hatches")]
    fn apply(&self, headers: &mut Headers) -> Result<(), Unknown> {
        self.remove.iter().for_each(|name| headers.remove(name));
        for option in self.add {
            only(option, &["append_action", "header", "keep_empty_value"])?;
            let header = option.header.clone().unwrap_or_default();
            only(&header, &["key", "value"])?;
            if header.value.is_empty() && !option.keep_empty_value {
                continue;
            }
            let value = literal(&header.value);
            let exists = headers.has(&header.key.to_lowercase());
            match (HeaderAppendAction::try_from(option.append_action), exists) {
                (Ok(HeaderAppendAction::AppendIfExistsOrAdd), _) | (Ok(HeaderAppendAction::AddIfAbsent), false) => {
                    headers.add(&header.key, value);
                }
                (Ok(HeaderAppendAction::OverwriteIfExistsOrAdd), _)
                | (Ok(HeaderAppendAction::OverwriteIfExists), true) => headers.set(&header.key, value),
                (Ok(HeaderAppendAction::AddIfAbsent), true) | (Ok(HeaderAppendAction::OverwriteIfExists), false) => {}
                (Err(_), _) => return Err(Unknown::Value("how a header is added")),
            }
        }
        Ok(())
    }
}

/// What a header's format becomes: `%%` is a percent sign, anything else between them is computed.
fn literal(format: &str) -> Value {
    let pieces: Vec<&str> = format.split("%%").collect();
    if pieces.iter().any(|piece| piece.contains('%')) { Value::Computed } else { Value::Known(pieces.join("%")) }
}

/// Rewrites path and authority as the action says.
fn rewrite(wanted: Option<&RouteMatch>, action: &RouteAction, headers: &mut Headers) -> Result<(), Unknown> {
    if let Some(HostRewriteSpecifier::HostRewriteLiteral(host)) = &action.host_rewrite_specifier {
        headers.set(":authority", Value::Known(host.clone()));
    }
    let whole = headers.path().ok_or(Unknown::Value("a path that is not known"))?;
    let (path, rest) = whole.split_at(split_path(&whole).0.len());
    let new = if let Some(regex) = &action.regex_rewrite {
        let pattern = regex.pattern.as_ref().ok_or(Unknown::Value("a rewrite without a pattern"))?;
        substitute(pattern, &regex.substitution, path)?
    } else if action.prefix_rewrite.is_empty() {
        return Ok(());
    } else {
        let matched = match wanted.and_then(|wanted| wanted.path_specifier.as_ref()) {
            Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => prefix.len(),
            _ => path.len(),
        };
        format!("{}{}", action.prefix_rewrite, &path[matched..])
    };
    headers.set(":path", Value::Known(format!("{new}{rest}")));
    Ok(())
}
