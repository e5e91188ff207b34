//! What protects an application, put into a listener that an operator gives for its inbound side (contract 3.1).

use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::ForwardClientCertDetails,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use prost::{Message, Name};

use super::GivenError;
use crate::envoy::{http, listener, tls, wire};
use crate::ir;

/// Puts the TLS of the generated listener, its rules about callers and its normalisation of requests into every filter
/// chain of the given one. A chain without a connection manager is judged by connections.
///
/// # Errors
/// The listener takes traffic in a way that nothing could be put into.
pub(in crate::envoy) fn protect(
    message: &mut Listener,
    given: &ir::Given,
    generated: &ir::Listener,
) -> Result<(), GivenError> {
    let Some(tls) = generated.chains.first().and_then(|chain| chain.tls.as_ref()) else { return Ok(()) };
    let unprotected = [
        ("fcdsConfig", message.fcds_config.is_some()),
        ("apiListener", message.api_listener.is_some()),
        ("udpListenerConfig", message.udp_listener_config.is_some()),
    ];
    if let Some((field, _)) = unprotected.into_iter().find(|(_, is_set)| *is_set) {
        let problem = format!("{field}: a public listener cannot have it, because what comes in would not be checked");
        return Err(GivenError::new(given, problem));
    }
    for chain in message.filter_chains.iter_mut().chain(&mut message.default_filter_chain) {
        chain.transport_socket = Some(tls::downstream(tls));
        judge(chain, generated);
    }
    Ok(())
}

fn judge(chain: &mut FilterChain, generated: &ir::Listener) {
    match generated.chains.iter().flat_map(|chain| &chain.filters).find_map(rules) {
        Some(Rules::Connections(rbac)) => chain.filters.insert(0, listener::network_rbac(rbac)),
        Some(Rules::Requests(inbound)) => {
            let managers = chain.filters.iter_mut().find_map(|filter| Some((connection_manager(filter)?, filter)));
            match managers {
                Some((mut manager, filter)) => {
                    manager.http_filters.insert(0, http::rbac(&inbound.rbac));
                    normalize(&mut manager, inbound.normalization);
                    if inbound.rbac.believes_gateways() {
                        keep_client_certs(&mut manager);
                    }
                    filter.config_type = Some(filter::ConfigType::TypedConfig(pack_any(manager)));
                }
                None => chain.filters.insert(0, listener::network_rbac(&inbound.connection_rbac)),
            }
        }
        None => {}
    }
}

/// Who judges callers.
enum Rules<'l> {
    Connections(&'l ir::Rbac),
    Requests(&'l ir::InboundHttp),
}

fn rules(filter: &ir::Filter) -> Option<Rules<'_>> {
    match filter {
        ir::Filter::Rbac(rbac) => Some(Rules::Connections(rbac)),
        ir::Filter::Http(manager) => manager.role.inbound().map(Rules::Requests),
        ir::Filter::ConnectionLimit { .. } | ir::Filter::SniCluster | ir::Filter::TcpProxy { .. } => None,
    }
}

/// The connection manager that a filter is, whatever it is called.
fn connection_manager(filter: &Filter) -> Option<HttpConnectionManager> {
    match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => unpack(config),
        Some(filter::ConfigType::ConfigDiscovery(_)) | None => None,
    }
}

pub(super) fn unpack<M: Message + Name + Default>(any: &Any) -> Option<M> {
    let is_that = any.type_url.rsplit('/').next() == Some(&M::full_name());
    is_that.then(|| M::decode(&*any.value).ok()).flatten()
}

/// Lets the rules see what gateways tell about callers: a rule that denies would not find whom it is about.
fn keep_client_certs(manager: &mut HttpConnectionManager) {
    match manager.forward_client_cert_details() {
        ForwardClientCertDetails::Sanitize | ForwardClientCertDetails::SanitizeSet => {
            manager.set_forward_client_cert_details(ForwardClientCertDetails::AppendForward);
        }
        ForwardClientCertDetails::ForwardOnly
        | ForwardClientCertDetails::AppendForward
        | ForwardClientCertDetails::AlwaysForwardOnly => {}
    }
}

/// Switches on what the mesh asks for, and nothing off.
fn normalize(manager: &mut HttpConnectionManager, normalization: ir::RequestNormalization) {
    if normalization.path {
        manager.normalize_path = Some(wire::boolean(true));
    }
    manager.merge_slashes |= normalization.merge_slashes;
    if normalization.escaped_slashes != ir::EscapedSlashes::Unset {
        manager.path_with_escaped_slashes_action = http::escaped_slashes(normalization.escaped_slashes).into();
    }
    if normalization.underscores != ir::HeaderUnderscores::Allow {
        let options = manager.common_http_protocol_options.get_or_insert_with(HttpProtocolOptions::default);
        options.headers_with_underscores_action = http::underscores(normalization.underscores).into();
    }
}
