//! HTTP connection managers: what they do with a request before it is routed.

use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config as GrpcHttp1Bridge;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use envoy_types::pb::envoy::extensions::filters::http::header_to_metadata::v3::Config as HeaderToMetadata;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use prost::Name;

use super::known::{decode, is, only, unpack};
use super::rbac::Subject;
use super::request::{Found, Headers, Value};
use super::tls::Session;
use super::{End, Stop, Unknown, uri};
use crate::envoy::snapshot::{ResourceType, Snapshot};

/// The header that tells the next hop about the caller's certificate.
const CLIENT_CERT_HEADER: &str = "x-forwarded-client-cert";

/// Fields of `HttpConnectionManager` that are interpreted, and those that cannot change where a request ends.
const MANAGER: [&str; 38] = [
    "access_log",
    "access_log_flush_interval",
    "access_log_options",
    "add_user_agent",
    "always_set_request_id_in_response",
    "codec_type",
    "common_http_protocol_options",
    "delayed_close_timeout",
    "drain_timeout",
    "flush_access_log_on_new_request",
    "forward_client_cert_details",
    "generate_request_id",
    "http2_protocol_options",
    "http_filters",
    "http_protocol_options",
    "local_reply_config",
    "max_request_headers_kb",
    "merge_slashes",
    "normalize_path",
    "path_with_escaped_slashes_action",
    "preserve_external_request_id",
    "proxy_100_continue",
    "rds",
    "request_headers_timeout",
    "request_id_extension",
    "request_timeout",
    "route_config",
    "server_header_transformation",
    "server_name",
    "set_current_client_cert_details",
    "skip_xff_append",
    "stat_prefix",
    "stream_error_on_invalid_http_message",
    "stream_idle_timeout",
    "tracing",
    "upgrade_configs",
    "use_remote_address",
    "xff_num_trusted_hops",
];

/// Lets a request through the filters of a connection manager; returns the routes that it is judged by next.
pub(super) fn admit(
    manager: &HttpConnectionManager,
    headers: &mut Headers,
    caller: Subject<'_>,
    snapshot: &Snapshot,
) -> Result<RouteConfiguration, End> {
    only(manager, &MANAGER)?;
    screen(manager, headers)?;
    forward_client_cert(manager, headers, caller.session)?;
    let mut is_routed = false;
    for filter in &manager.http_filters {
        is_routed |= pass(filter, Subject { headers: Some(headers), ..caller })?;
    }
    if !is_routed {
        return Err(Unknown::Value("a connection manager without a router").into());
    }
    match &manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(inline)) => Ok(inline.clone()),
        Some(RouteSpecifier::Rds(rds)) => {
            let found = snapshot.get(ResourceType::Route).get(rds.route_config_name.as_str());
            let found = found.ok_or_else(|| Stop::NoRouteConfiguration(rds.route_config_name.clone()))?;
            Ok(decode(&found.body)?)
        }
        Some(RouteSpecifier::ScopedRoutes(_)) | None => Err(Unknown::Value("routes that depend on a scope").into()),
    }
}

/// One filter. True for the router, which is the last one.
fn pass(filter: &HttpFilter, subject: Subject<'_>) -> Result<bool, End> {
    only(filter, &["disabled", "is_optional", "name", "typed_config"])?;
    if filter.disabled {
        return Ok(false);
    }
    let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(Unknown::Extension(filter.name.clone()).into());
    };
    if is(any, &Router::full_name()) {
        return Ok(true);
    }
    let only_watches = [GrpcStats::full_name(), GrpcHttp1Bridge::full_name()].iter().any(|name| is(any, name));
    if only_watches {
        return Ok(false);
    }
    if is(any, &HeaderToMetadata::full_name()) {
        let config: HeaderToMetadata = unpack(any)?;
        if config.request_rules.iter().any(|rule| rule.remove) {
            return Err(Unknown::Value("a header that becomes metadata and is removed").into());
        }
        return Ok(false);
    }
    let config: Rbac = unpack(any)?;
    only(&config, &["rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix", "track_per_rule_stats"])?;
    let refused = config.rules.map(|rules| subject.refused_by(&rules)).transpose()?.flatten();
    refused.map_or(Ok(false), |stop| Err(stop.into()))
}

/// Normalises the path and the headers, or refuses them.
fn screen(manager: &HttpConnectionManager, headers: &mut Headers) -> Result<(), End> {
    let path = headers.path().ok_or(Unknown::Value("a path that is not known"))?;
    let escaped = PathWithEscapedSlashesAction::try_from(manager.path_with_escaped_slashes_action);
    let escaped = match escaped {
        Ok(
            PathWithEscapedSlashesAction::ImplementationSpecificDefault | PathWithEscapedSlashesAction::KeepUnchanged,
        ) => uri::EscapedSlashes::Keep,
        Ok(PathWithEscapedSlashesAction::RejectRequest) => uri::EscapedSlashes::Reject,
        Ok(PathWithEscapedSlashesAction::UnescapeAndRedirect) => uri::EscapedSlashes::Redirect,
        Ok(PathWithEscapedSlashesAction::UnescapeAndForward) => uri::EscapedSlashes::Unescape,
        Err(_) => return Err(Unknown::Value("what is done with escaped slashes").into()),
    };
    let normal = uri::Normal {
        dots: manager.normalize_path.is_some_and(|it| it.value),
        merge_slashes: manager.merge_slashes,
        escaped,
    };
    headers.set(":path", Value::Known(normal.of(&path)?));
    underscores(&manager.common_http_protocol_options.unwrap_or_default(), headers)
}

fn underscores(options: &HttpProtocolOptions, headers: &mut Headers) -> Result<(), End> {
    only(
        options,
        &[
            "headers_with_underscores_action",
            "idle_timeout",
            "max_connection_duration",
            "max_headers_count",
            "max_requests_per_connection",
            "max_response_headers_kb",
            "max_stream_duration",
        ],
    )?;
    let with: Vec<String> = headers.names().into_iter().filter(|name| name.contains('_')).collect();
    match HeadersWithUnderscoresAction::try_from(options.headers_with_underscores_action) {
        Ok(HeadersWithUnderscoresAction::Allow) => {}
        Ok(HeadersWithUnderscoresAction::RejectRequest) if with.is_empty() => {}
        Ok(HeadersWithUnderscoresAction::RejectRequest) => {
            return Err(Stop::RefusedRequest("an underscore in the name of a header").into());
        }
        Ok(HeadersWithUnderscoresAction::DropHeader) => with.iter().for_each(|name| headers.remove(name)),
        Err(_) => return Err(Unknown::Value("what is done with underscores in headers").into()),
    }
    Ok(())
}

/// Tells the next hop, and the filters of this one, about the caller's certificate.
fn forward_client_cert(
    manager: &HttpConnectionManager,
    headers: &mut Headers,
    session: Option<&Session>,
) -> Result<(), Unknown> {
    use ForwardClientCertDetails as How;
    let how = How::try_from(manager.forward_client_cert_details)
        .map_err(|_| Unknown::Value("how certificates of callers are forwarded"))?;
    let known = session.and_then(|session| session.peer.as_ref().map(|peer| (session, peer)));
    let own = match (how, known) {
        (How::AlwaysForwardOnly, _) | (How::ForwardOnly, Some(_)) => return Ok(()),
        (How::Sanitize, _) | (How::ForwardOnly | How::AppendForward | How::SanitizeSet, None) => {
            headers.remove(CLIENT_CERT_HEADER);
            return Ok(());
        }
        (How::AppendForward | How::SanitizeSet, Some((session, peer))) => {
            element(&manager.set_current_client_cert_details.unwrap_or_default(), session, peer)?
        }
    };
    if how == How::SanitizeSet || !headers.has(CLIENT_CERT_HEADER) {
        headers.set(CLIENT_CERT_HEADER, own);
        return Ok(());
    }
    let before = headers.find(CLIENT_CERT_HEADER);
    let joined = match (before, own) {
        (Found::Value(before), Value::Known(own)) => Value::Known(format!("{before},{own}")),
        (Found::Value(_) | Found::Missing | Found::Unknown, Value::Computed | Value::Known(_)) => Value::Computed,
    };
    headers.set(CLIENT_CERT_HEADER, joined);
    Ok(())
}

/// What one hop says about its caller, in the order in which Envoy writes it.
fn element(
    details: &SetCurrentClientCertDetails,
    session: &Session,
    peer: &super::certificate::Certificates,
) -> Result<Value, Unknown> {
    only(details, &["cert", "chain", "dns", "subject", "uri"])?;
    let mut parts: Vec<String> = session.local.uris.iter().map(|uri| format!("By={uri}")).collect();
    parts.push(format!("Hash={}", peer.digest()));
    if details.cert {
        parts.push(format!("Cert=\"{}\"", peer.url_encoded_pem(1)));
    }
    if details.chain {
        parts.push(format!("Chain=\"{}\"", peer.url_encoded_pem(usize::MAX)));
    }
    if details.subject.is_some_and(|it| it.value) {
        let Some(subject) = peer.subject else { return Ok(Value::Computed) };
        parts.push(format!("Subject=\"{subject}\""));
    }
    if details.uri {
        parts.extend(peer.uris.iter().map(|uri| format!("URI={uri}")));
        parts.extend(peer.uris.is_empty().then(|| "URI=".to_owned()));
    }
    if details.dns {
        parts.extend(peer.dns_names.iter().map(|name| format!("DNS={name}")));
    }
    Ok(Value::Known(parts.join(";")))
}
