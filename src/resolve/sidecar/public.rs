//! The public listener: where a sidecar accepts mesh traffic (contract 3.1).

use std::sync::Arc;

use super::{Inbound, alpn, bind_host, codec, max_request_headers_kb, millis};
use crate::ir::{
    Bind, Callers, ClusterName, Direction, DownstreamTls, EscapedSlashes, Filter, FilterChain, ForwardClientCert,
    HeaderUnderscores, HttpConnectionManager, HttpRole, InboundHttp, Listener, ListenerName, PathMatch, Rbac,
    RequestNormalization, RouteAction, RouteSource, Stat,
};
use crate::model::ProxyMode;
use crate::model::entry::{self, EscapedSlashesAction, UnderscoresAction};
use crate::resolve::intentions::{Intentions, Traffic};
use crate::resolve::{LeftOut, hatch, merge, opaque, tls};

impl Inbound<'_> {
    /// Where mesh traffic is accepted. A proxy that is registered with the path of a socket has no port, and Envoy takes a
    /// free one, as with Consul.
    pub(super) fn bind_host_and_port(&self) -> (Arc<str>, u16) {
        let port = opaque::integer(self.options, "bind_port").and_then(|port| u16::try_from(port).ok());
        (bind_host(self.options, self.proxy), port.filter(|port| *port != 0).unwrap_or(self.proxy.port))
    }

    pub(super) fn public_listener(&self, left_out: &mut Vec<LeftOut>) -> Listener {
        let tls = DownstreamTls {
            callers: Callers::Inbound,
            alpn: alpn(self.protocol),
            parameters: tls::incoming(self.context.state, &self.proxy.partition),
        };
        let strict = FilterChain { tls: Some(tls), filters: self.public_filters(left_out), ..FilterChain::default() };
        let permissive = self.permissive_chain();
        let (host, port) = self.bind_host_and_port();
        let balance = opaque::text(self.options, "balance_inbound_connections");
        Listener {
            exact_balance: balance.as_deref() == Some("exact_balance"),
            original_destination: permissive.is_some(),
            given: hatch::of_proxy(self.proxy, self.options, "envoy_public_listener_json"),
            ..Listener::new(
                ListenerName::Public,
                Bind::Tcp(host, port),
                Direction::Inbound,
                std::iter::once(strict).chain(permissive).collect(),
            )
        }
    }

    fn public_filters(&self, left_out: &mut Vec<LeftOut>) -> Vec<Filter> {
        let service = &merge::central_name(self.proxy);
        let intentions = Intentions::of(self.context, self.place, service);
        let limit = opaque::integer(self.options, "max_inbound_connections").and_then(|max| u64::try_from(max).ok());
        let limit = limit.filter(|max| *max > 0).map(|max| Filter::ConnectionLimit { max });
        let (filters, refused): (Vec<_>, _) = if self.protocol.is_http_like() {
            let requests = intentions.rbac(Traffic::Requests(self.forward_client_cert()));
            let unread = intentions.rbac(Traffic::Unread);
            let http = Filter::Http(Box::new(self.public_http(requests.rbac, unread.rbac)));
            (limit.into_iter().chain([http]).collect(), requests.refused)
        } else {
            let connections = intentions.rbac(Traffic::Connections);
            let proxy = Filter::TcpProxy { stat: Stat::Public, cluster: Some(ClusterName::LocalApp) };
            let filters = std::iter::once(Filter::Rbac(connections.rbac)).chain(limit).chain([proxy]).collect();
            (filters, connections.refused)
        };
        left_out.extend(refused.into_iter().map(|why| LeftOut::Calls { service: service.clone(), why }));
        filters
    }

    fn forward_client_cert(&self) -> ForwardClientCert {
        let http = self.context.state.mesh(&self.proxy.partition).and_then(|mesh| mesh.http.as_ref());
        match http.is_some_and(|http| http.sanitize_x_forwarded_client_cert) {
            true => ForwardClientCert::Sanitize,
            false => ForwardClientCert::Append,
        }
    }

    fn public_http(&self, rbac: Rbac, connection_rbac: Rbac) -> HttpConnectionManager {
        let mesh = self.context.state.mesh(&self.proxy.partition);
        let http = mesh.and_then(|mesh| mesh.http.as_ref());
        let incoming = http.and_then(|http| http.incoming.as_ref());
        HttpConnectionManager {
            stat: Stat::Public,
            codec: codec(self.protocol),
            routes: RouteSource::Inline {
                upstream: None,
                path: PathMatch::Any,
                action: Box::new(RouteAction {
                    timeout: millis(self.options, "local_request_timeout_ms"),
                    idle_timeout: millis(self.options, "local_idle_timeout_ms"),
                    ..RouteAction::to(ClusterName::LocalApp)
                }),
            },
            role: HttpRole::Inbound(InboundHttp {
                rbac,
                connection_rbac,
                forward_client_cert: self.forward_client_cert(),
                normalization: normalization(incoming.and_then(|incoming| incoming.request_normalization.as_ref())),
            }),
            max_request_headers_kb: max_request_headers_kb(self.options),
        }
    }

    /// Takes what is redirected here without TLS, on its way to the application's own port.
    fn permissive_chain(&self) -> Option<FilterChain> {
        let state = self.context.state;
        let is_permissive =
            merge::mode(state, self.proxy) == ProxyMode::Transparent && merge::is_permissive(state, self.proxy);
        let port = self.proxy.proxy.local_service_port;
        (is_permissive && port > 0).then(|| FilterChain {
            destination_port: Some(port),
            filters: vec![Filter::TcpProxy { stat: Stat::PublicPermissive, cluster: Some(ClusterName::LocalApp) }],
            ..FilterChain::default()
        })
    }
}

/// What the mesh asks for; paths are brought into their canonical form unless it says otherwise.
fn normalization(asked: Option<&entry::RequestNormalization>) -> RequestNormalization {
    let Some(asked) = asked else { return RequestNormalization { path: true, ..RequestNormalization::default() } };
    RequestNormalization {
        path: !asked.insecure_disable_path_normalization,
        merge_slashes: asked.merge_slashes,
        escaped_slashes: match asked.path_with_escaped_slashes_action {
            EscapedSlashesAction::Unset | EscapedSlashesAction::ImplementationSpecificDefault => EscapedSlashes::Unset,
            EscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
            EscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
            EscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
            EscapedSlashesAction::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
        },
        underscores: match asked.headers_with_underscores_action {
            UnderscoresAction::Unset | UnderscoresAction::Allow => HeaderUnderscores::Allow,
            UnderscoresAction::RejectRequest => HeaderUnderscores::RejectRequest,
            UnderscoresAction::DropHeader => HeaderUnderscores::DropHeader,
        },
    }
}
