//! Sidecars: the inbound side (contract 3.1, 3.7), and one part for each upstream.

use std::sync::Arc;
use std::time::Duration;

use super::chain::Protocol;
use super::state::Context;
use super::{Owner, Part, Parts, binds, merge, opaque, tls, upstream};
use crate::ir::{
    Bind, CircuitBreaker, Cluster, ClusterName, Codec, Direction, Discovery, DownstreamTls, Filter, FilterChain,
    ForwardClientCert, HttpConnectionManager, InboundHttp, Listener, ListenerName, PathMatch, Rbac, RbacAction,
    RequestNormalization, Resources, RouteAction, RouteSource, SocketAddress, Stat, UpstreamProtocol,
};
use crate::model::{ExposePath, IntentionPolicy, MOST_REQUEST_HEADERS_KB, OpaqueConfig, Place, Service};

/// Time to connect to the application where nobody says another.
const LOCAL_CONNECT_TIMEOUT_MS: i64 = 5_000;

/// The parts of a sidecar that runs in `place`.
pub fn sidecar(context: Context<'_>, place: &Place, proxy: &Service) -> Parts {
    let options = merge::options(context.state, proxy);
    let mut parts = Parts::from([(Owner::Inbound, Ok(inbound(context, proxy, &options)))]);
    for registered in &proxy.proxy.upstreams {
        let id = upstream::id(proxy, registered);
        parts.insert(Owner::Upstream(id), upstream::part(context, place, proxy, registered, &options));
    }
    binds::leave_out_binds(&mut parts);
    parts
}

fn inbound(context: Context<'_>, proxy: &Service, options: &OpaqueConfig) -> Part {
    let protocol = Protocol::parse(&opaque::text(options, "protocol").unwrap_or_default());
    let mut resources = Resources {
        listeners: vec![public_listener(context, proxy, options, protocol)],
        clusters: vec![local_app(proxy, options, protocol)],
        routes: Vec::new(),
    };
    let expose = match proxy.proxy.expose.paths.as_slice() {
        [] => merge::central_expose(context.state, proxy).map_or(&[][..], |expose| &expose.paths),
        own => own,
    };
    for path in expose {
        expose_path(&mut resources, proxy, options, path);
    }
    Part { resources, ..Part::default() }
}

/// Where a sidecar accepts mesh traffic.
fn bind(proxy: &Service, options: &OpaqueConfig) -> Bind {
    let address = opaque::text(options, "bind_address").unwrap_or_else(|| proxy.address.clone());
    if proxy.port == 0 && !proxy.socket_path.is_empty() {
        return Bind::Pipe(proxy.socket_path.as_str().into(), 0);
    }
    let port = opaque::integer(options, "bind_port").and_then(|port| u16::try_from(port).ok());
    Bind::Tcp(any_address_if_empty(&address), port.filter(|port| *port != 0).unwrap_or(proxy.port))
}

pub(super) fn any_address_if_empty(address: &str) -> Arc<str> {
    if address.is_empty() { "0.0.0.0".into() } else { address.into() }
}

fn public_listener(context: Context<'_>, proxy: &Service, options: &OpaqueConfig, protocol: Protocol) -> Listener {
    // Without any policy the opposite of the action holds for every caller.
    let rbac = Rbac {
        action: match context.default_intention {
            IntentionPolicy::Allow => RbacAction::Deny,
            IntentionPolicy::Deny => RbacAction::Allow,
        },
    };
    let limit = opaque::integer(options, "max_inbound_connections").and_then(|max| u64::try_from(max).ok());
    let limit = limit.filter(|max| *max > 0).map(|max| Filter::ConnectionLimit { max });
    let mut filters = Vec::new();
    if protocol.is_http_like() {
        filters.extend(limit);
        filters.push(Filter::Http(Box::new(inbound_http(context, proxy, options, protocol, rbac))));
    } else {
        filters.push(Filter::Rbac(rbac));
        filters.extend(limit);
        filters.push(Filter::TcpProxy { stat: Stat::Public, cluster: Some(ClusterName::LocalApp) });
    }
    let alpn = match protocol {
        Protocol::Tcp => vec![],
        Protocol::Http => vec!["http/1.1"],
        Protocol::Http2 | Protocol::Grpc => vec!["h2", "http/1.1"],
    };
    let tls = DownstreamTls { alpn, parameters: tls::incoming(context.state, &proxy.partition) };
    let chains = vec![FilterChain { tls: Some(tls), filters, ..FilterChain::default() }];
    Listener {
        exact_balance: opaque::text(options, "balance_inbound_connections").as_deref() == Some("exact_balance"),
        ..Listener::new(ListenerName::Public, bind(proxy, options), Direction::Inbound, chains)
    }
}

pub(super) const fn codec(protocol: Protocol) -> Codec {
    match protocol {
        Protocol::Tcp | Protocol::Http => Codec::Http,
        Protocol::Http2 => Codec::Http2,
        Protocol::Grpc => Codec::Grpc,
    }
}

/// The limit of the header size, cut to what Envoy takes.
pub(super) fn max_request_headers_kb(options: &OpaqueConfig) -> Option<u32> {
    let kb = opaque::integer(options, "max_request_headers_kb").and_then(|kb| u32::try_from(kb).ok());
    kb.filter(|kb| *kb > 0).map(|kb| kb.min(MOST_REQUEST_HEADERS_KB))
}

/// A time in milliseconds; zero is a value of its own.
pub(super) fn millis(options: &OpaqueConfig, key: &str) -> Option<Duration> {
    opaque::integer(options, key).and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis)
}

fn inbound_http(
    context: Context<'_>,
    proxy: &Service,
    options: &OpaqueConfig,
    protocol: Protocol,
    rbac: Rbac,
) -> HttpConnectionManager {
    let http = context.state.mesh(&proxy.partition).and_then(|mesh| mesh.http.as_ref());
    let keeps_paths = http
        .and_then(|http| http.incoming.as_ref())
        .and_then(|incoming| incoming.pointer("/RequestNormalization/InsecureDisablePathNormalization"))
        .is_some_and(|value| value == true);
    let sanitizes = http.is_some_and(|http| http.sanitize_x_forwarded_client_cert);
    HttpConnectionManager {
        stat: Stat::Public,
        codec: codec(protocol),
        routes: RouteSource::Inline {
            upstream: None,
            path: PathMatch::Any,
            action: Box::new(RouteAction {
                timeout: millis(options, "local_request_timeout_ms"),
                idle_timeout: millis(options, "local_idle_timeout_ms"),
                ..RouteAction::to(ClusterName::LocalApp)
            }),
        },
        inbound: Some(InboundHttp {
            rbac,
            forward_client_cert: if sanitizes { ForwardClientCert::Sanitize } else { ForwardClientCert::Append },
            normalization: RequestNormalization { path: !keeps_paths, ..RequestNormalization::default() },
        }),
        max_request_headers_kb: max_request_headers_kb(options),
    }
}

fn local_app(proxy: &Service, options: &OpaqueConfig, protocol: Protocol) -> Cluster {
    let local = &proxy.proxy;
    let address = if local.local_service_socket_path.is_empty() {
        SocketAddress::Tcp(loopback_if_empty(&local.local_service_address), local.local_service_port)
    } else {
        SocketAddress::Pipe(local.local_service_socket_path.as_str().into())
    };
    let limit = opaque::integer(options, "max_inbound_connections").and_then(|max| u32::try_from(max).ok());
    Cluster {
        circuit_breaker: limit
            .filter(|max| *max > 0)
            .map(|max| CircuitBreaker { max_connections: Some(max), ..CircuitBreaker::default() }),
        protocol: if protocol.is_http2() { UpstreamProtocol::AsDownstream } else { UpstreamProtocol::Plain },
        ..local_cluster(ClusterName::LocalApp, address, options)
    }
}

/// A cluster of the application behind the sidecar.
fn local_cluster(name: ClusterName, address: SocketAddress, options: &OpaqueConfig) -> Cluster {
    let timeout = opaque::integer(options, "local_connect_timeout_ms").filter(|millis| *millis > 0);
    let timeout = Duration::from_millis(timeout.unwrap_or(LOCAL_CONNECT_TIMEOUT_MS).unsigned_abs());
    Cluster::plain(name, Discovery::Static(address), timeout)
}

fn loopback_if_empty(address: &str) -> Arc<str> {
    if address.is_empty() { "127.0.0.1".into() } else { address.into() }
}

/// Serves one path of the application in plain text, for callers outside of the mesh.
fn expose_path(resources: &mut Resources, proxy: &Service, options: &OpaqueConfig, path: &ExposePath) {
    let cluster = if path.local_path_port == proxy.proxy.local_service_port {
        ClusterName::LocalApp
    } else {
        ClusterName::Exposed(path.local_path_port)
    };
    let protocol = Protocol::parse(&path.protocol);
    if !resources.clusters.iter().any(|known| known.name == cluster) {
        let address = SocketAddress::Tcp(loopback_if_empty(&proxy.proxy.local_service_address), path.local_path_port);
        resources.clusters.push(Cluster {
            protocol: if protocol.is_http2() { UpstreamProtocol::Http2 } else { UpstreamProtocol::Plain },
            ..local_cluster(cluster.clone(), address, options)
        });
    }
    let host = match bind(proxy, options) {
        Bind::Tcp(host, _) => host,
        Bind::Pipe(..) => any_address_if_empty(""),
    };
    let manager = HttpConnectionManager {
        stat: Stat::ExposedPath(path.path.as_str().into(), path.listener_port),
        codec: codec(protocol),
        routes: RouteSource::Inline {
            upstream: None,
            path: PathMatch::Exact(path.path.as_str().into()),
            action: Box::new(RouteAction::to(cluster)),
        },
        inbound: None,
        max_request_headers_kb: max_request_headers_kb(options),
    };
    let chains = vec![FilterChain { filters: vec![Filter::Http(Box::new(manager))], ..FilterChain::default() }];
    let name = ListenerName::ExposedPath(path.path.as_str().into());
    let bind = Bind::Tcp(host, path.listener_port);
    resources.listeners.push(Listener::new(name, bind, Direction::Inbound, chains));
}
