//! HTTP connection managers.

use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::config::core::v3::{Http2ProtocolOptions, HttpProtocolOptions};
use envoy_types::pb::envoy::config::listener::v3::{Filter, filter};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config as GrpcHttp1Bridge;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::{
    FilterConfig as GrpcStats, filter_config::PerMethodStatSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::header_to_metadata::v3::{
    Config as HeaderToMetadata,
    config::{KeyValuePair, Rule},
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails, Tracing,
    UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::util::pack_any;
use prost::{Message, Name};

use super::{access_log, names, rbac, route, wire};
use crate::ir;

/// The parts of a caller's SPIFFE ID, in the order of [`IDENTITY_KEYS`].
const IDENTITY_PATTERN: &str = ".*URI=spiffe://([^/]+.[^/]+)(?:/ap/([^/]+))?/ns/([^/]+)/dc/([^/]+)/svc/([^/;,]+).*";

/// What the parts are called in Envoy's dynamic metadata.
const IDENTITY_KEYS: [&str; 5] = ["trust-domain", "partition", "namespace", "datacenter", "service"];

/// A connection manager as a network filter, with the log and the tracing of its listener.
pub(super) fn translate(
    manager: &ir::HttpConnectionManager,
    log: Option<&ir::AccessLog>,
    tracing: Option<&Tracing>,
) -> Filter {
    let traces_nothing = || Tracing { random_sampling: Some(Percent { value: 0.0 }), ..Tracing::default() };
    let mut message = HttpConnectionManager {
        stat_prefix: names::stat_prefix(&manager.stat),
        http_filters: filters(manager),
        route_specifier: Some(routes(manager)),
        tracing: Some(tracing.cloned().unwrap_or_else(traces_nothing)),
        access_log: log.map(access_log::of_filter).into_iter().collect(),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() }],
        http2_protocol_options: (manager.codec != ir::Codec::Http).then(Http2ProtocolOptions::default),
        max_request_headers_kb: manager.max_request_headers_kb.map(wire::uint32),
        ..HttpConnectionManager::default()
    };
    if let Some(inbound) = manager.role.inbound() {
        let normalization = inbound.normalization;
        message.normalize_path = normalization.path.then(|| wire::boolean(true));
        message.merge_slashes = normalization.merge_slashes;
        message.path_with_escaped_slashes_action = escaped_slashes(normalization.escaped_slashes).into();
        message.common_http_protocol_options =
            (normalization.underscores != ir::HeaderUnderscores::Allow).then(|| HttpProtocolOptions {
                headers_with_underscores_action: underscores(normalization.underscores).into(),
                ..HttpProtocolOptions::default()
            });
    }
    if let Some(details) = client_cert_details(&manager.role) {
        message.forward_client_cert_details = details.into();
        message.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
            subject: Some(wire::boolean(true)),
            cert: true,
            chain: true,
            dns: true,
            uri: true,
            ..SetCurrentClientCertDetails::default()
        });
    }
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(message))),
    }
}

/// What is told about the caller's certificate: the header's own content comes from a hop that may be trusted or not.
fn client_cert_details(role: &ir::HttpRole) -> Option<ForwardClientCertDetails> {
    match role {
        ir::HttpRole::Between => Some(ForwardClientCertDetails::SanitizeSet),
        ir::HttpRole::Inbound(inbound) if inbound.forward_client_cert == ir::ForwardClientCert::Append => {
            Some(ForwardClientCertDetails::AppendForward)
        }
        ir::HttpRole::Inbound(_) | ir::HttpRole::Outside => None,
    }
}

/// What happens to paths with escaped slashes.
pub(super) const fn escaped_slashes(action: ir::EscapedSlashes) -> PathWithEscapedSlashesAction {
    match action {
        ir::EscapedSlashes::Unset => PathWithEscapedSlashesAction::ImplementationSpecificDefault,
        ir::EscapedSlashes::Keep => PathWithEscapedSlashesAction::KeepUnchanged,
        ir::EscapedSlashes::Reject => PathWithEscapedSlashesAction::RejectRequest,
        ir::EscapedSlashes::UnescapeAndRedirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
        ir::EscapedSlashes::UnescapeAndForward => PathWithEscapedSlashesAction::UnescapeAndForward,
    }
}

/// What happens to headers with underscores.
pub(super) const fn underscores(action: ir::HeaderUnderscores) -> HeadersWithUnderscoresAction {
    match action {
        ir::HeaderUnderscores::Allow => HeadersWithUnderscoresAction::Allow,
        ir::HeaderUnderscores::RejectRequest => HeadersWithUnderscoresAction::RejectRequest,
        ir::HeaderUnderscores::DropHeader => HeadersWithUnderscoresAction::DropHeader,
    }
}

/// The filter that judges requests by their caller.
pub(super) fn rbac(rules: &ir::Rbac) -> HttpFilter {
    http_filter("rbac", Rbac { rules: Some(rbac::rules(rules)), ..Rbac::default() })
}

fn http_filter<M: Message + Name>(name: &str, config: M) -> HttpFilter {
    HttpFilter {
        name: format!("envoy.filters.http.{name}"),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(config))),
        ..HttpFilter::default()
    }
}

fn filters(manager: &ir::HttpConnectionManager) -> Vec<HttpFilter> {
    let mut filters = Vec::new();
    if manager.codec == ir::Codec::Grpc {
        let stats = GrpcStats {
            per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(wire::boolean(true))),
            ..GrpcStats::default()
        };
        filters.push(http_filter("grpc_stats", stats));
        filters.push(http_filter("grpc_http1_bridge", GrpcHttp1Bridge::default()));
    }
    if let Some(inbound) = manager.role.inbound() {
        filters.push(rbac(&inbound.rbac));
        if inbound.forward_client_cert == ir::ForwardClientCert::Append {
            filters.push(http_filter("header_to_metadata", identity_to_metadata()));
        }
    }
    filters.push(http_filter("router", Router::default()));
    filters
}

/// Makes the parts of the caller's identity available to later filters and to access logs.
fn identity_to_metadata() -> HeaderToMetadata {
    let rule = |(key, group): (&&str, usize)| Rule {
        header: names::CLIENT_CERT_HEADER.to_owned(),
        on_header_present: Some(KeyValuePair {
            metadata_namespace: "consul".to_owned(),
            key: (*key).to_owned(),
            regex_value_rewrite: Some(RegexMatchAndSubstitute {
                pattern: Some(RegexMatcher { regex: IDENTITY_PATTERN.to_owned(), ..RegexMatcher::default() }),
                substitution: format!("\\{group}"),
            }),
            ..KeyValuePair::default()
        }),
        ..Rule::default()
    };
    HeaderToMetadata { request_rules: IDENTITY_KEYS.iter().zip(1..).map(rule).collect(), ..HeaderToMetadata::default() }
}

fn routes(manager: &ir::HttpConnectionManager) -> RouteSpecifier {
    match &manager.routes {
        ir::RouteSource::Rds { name, fetch_timeout } => RouteSpecifier::Rds(Rds {
            route_config_name: names::upstream(name),
            config_source: Some(wire::ads(*fetch_timeout)),
        }),
        ir::RouteSource::Inline { upstream, path, action } => {
            let mut only = ir::Route::new(ir::RouteMatch::path(path.clone()), (**action).clone());
            let tells_caller = |inbound: &ir::InboundHttp| inbound.forward_client_cert == ir::ForwardClientCert::Append;
            if manager.role.inbound().is_some_and(tells_caller) {
                // The application must not believe what the caller says about its own certificate.
                only.request_headers.remove.push(names::CLIENT_CERT_HEADER.into());
            }
            let filter = names::filter(&manager.stat);
            RouteSpecifier::RouteConfig(RouteConfiguration {
                name: upstream.as_ref().map_or_else(|| filter.clone(), names::upstream),
                virtual_hosts: vec![route::virtual_host(&filter, vec![route::route(&only)])],
                ..RouteConfiguration::default()
            })
        }
    }
}
