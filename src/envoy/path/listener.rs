//! Listeners: where they are bound, and which filter chain takes a connection.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener, listener_filter};
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use prost::Name;

use super::answer::ChainUse;
use super::cluster::socket_address;
use super::known::{is, only};
use super::{End, Stop, Unknown};
use crate::ir::SocketAddress;

/// Fields of `Listener` that are interpreted, and those that cannot change where a connection ends.
const LISTENER: [&str; 21] = [
    "access_log",
    "address",
    "connection_balance_config",
    "continue_on_listener_filters_timeout",
    "default_filter_chain",
    "drain_type",
    "enable_reuse_port",
    "filter_chains",
    "ignore_global_conn_limit",
    "listener_filters",
    "listener_filters_timeout",
    "max_connections_to_accept_per_socket_event",
    "metadata",
    "name",
    "per_connection_buffer_limit_bytes",
    "socket_options",
    "stat_prefix",
    "tcp_backlog_size",
    "tcp_fast_open_queue_length",
    "tcp_keepalive",
    "traffic_direction",
];

/// What a listener can see of a connection before it chooses a filter chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    /// The address that was dialled, as the proxy sees it.
    pub(super) local: &'a SocketAddress,
    /// The SNI as it was sent, if TLS comes.
    pub(super) sni: Option<&'a str>,
}

/// A filter chain that takes a connection, and the SNI that was read.
pub(super) struct Taken<'l> {
    pub(super) chain: &'l FilterChain,
    pub(super) used: ChainUse,
    pub(super) sni: Option<String>,
}

/// True if `listener` accepts what is dialled at `local`; one that is bound to every address accepts all of them.
pub(super) fn is_bound_to(listener: &Listener, local: &SocketAddress, exactly: bool) -> Result<bool, Unknown> {
    let bound = socket_address(listener.address.as_ref())?;
    if exactly {
        return Ok(bound == *local);
    }
    let (SocketAddress::Tcp(bound, port), SocketAddress::Tcp(host, dialled)) = (&bound, local) else {
        return Ok(false);
    };
    let (Ok(bound), Ok(host)) = (bound.parse::<IpAddr>(), host.parse::<IpAddr>()) else { return Ok(false) };
    Ok(bound.is_unspecified() && bound.is_ipv4() == host.is_ipv4() && port == dialled)
}

/// The filter chain that takes a connection: first by port, then by SNI, then by what is spoken. Each step keeps the most
/// specific ones; there is no way back.
pub(super) fn choose<'l>(listener: &'l Listener, sight: Sight<'_>) -> Result<Taken<'l>, End> {
    only(listener, &LISTENER)?;
    let mut reads_sni = false;
    for filter in &listener.listener_filters {
        only(filter, &["name", "typed_config"])?;
        let Some(listener_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            return Err(Unknown::Extension(filter.name.clone()).into());
        };
        if is(any, &TlsInspector::full_name()) {
            reads_sni = true;
        } else if !is(any, &OriginalDst::full_name()) {
            // Connections come where they were sent to: nothing is redirected underneath.
            return Err(Unknown::Extension(any.type_url.clone()).into());
        }
    }
    let sni = sight.sni.filter(|_| reads_sni).map(str::to_lowercase);
    let sni = sni.filter(|sni| !sni.is_empty());
    let transport = if sight.sni.is_some() && reads_sni { "tls" } else { "raw_buffer" };
    let mut left = Vec::new();
    for (position, chain) in listener.filter_chains.iter().enumerate() {
        only(chain, &["filter_chain_match", "filters", "metadata", "name", "transport_socket"])?;
        let wanted = chain.filter_chain_match.clone().unwrap_or_default();
        only(&wanted, &["destination_port", "server_names", "transport_protocol"])?;
        left.push(Candidate { position, chain, wanted });
    }
    let port = match sight.local {
        SocketAddress::Tcp(_, port) => Some(u32::from(*port)),
        SocketAddress::Pipe(_) => None,
    };
    keep_best(&mut left, |it| match it.wanted.destination_port.map(|port| port.value) {
        None => Some(0),
        wanted => (wanted == port).then_some(1),
    });
    keep_best(&mut left, |it| match it.wanted.server_names.as_slice() {
        [] => Some(0),
        names => names.iter().filter_map(|name| rank(name, sni.as_deref()?)).max(),
    });
    keep_best(&mut left, |it| match it.wanted.transport_protocol.as_str() {
        "" => Some(0),
        wanted => (wanted == transport).then_some(1),
    });
    let terminates_tls = |chain: &FilterChain| chain.transport_socket.is_some();
    if let Some(Candidate { position, chain, wanted }) = left.into_iter().next() {
        let matched = wanted.server_names.into_iter().filter_map(|name| Some((rank(&name, sni.as_deref()?)?, name)));
        let server_name = matched.max().map(|(_, name)| name);
        let used = ChainUse { position: Some(position), server_name, terminates_tls: terminates_tls(chain) };
        return Ok(Taken { chain, used, sni });
    }
    match &listener.default_filter_chain {
        Some(chain) => {
            only(chain, &["filters", "metadata", "name", "transport_socket"])?;
            let used = ChainUse { position: None, server_name: None, terminates_tls: terminates_tls(chain) };
            Ok(Taken { chain, used, sni })
        }
        None => Err(Stop::NoFilterChain { sni }.into()),
    }
}

struct Candidate<'l> {
    position: usize,
    chain: &'l FilterChain,
    wanted: envoy_types::pb::envoy::config::listener::v3::FilterChainMatch,
}

/// Keeps the candidates of the highest rank; those without one are out.
fn keep_best(candidates: &mut Vec<Candidate<'_>>, rank: impl Fn(&Candidate<'_>) -> Option<usize>) {
    let best = candidates.iter().filter_map(&rank).max();
    candidates.retain(|candidate| best.is_some() && rank(candidate) == best);
}

/// How well a server name of a match fits: an exact one best, then the longest suffix.
fn rank(name: &str, sni: &str) -> Option<usize> {
    match name.strip_prefix('*') {
        None => (name == sni).then_some(usize::MAX),
        Some(suffix) => (sni.len() > suffix.len() && sni.ends_with(suffix)).then_some(suffix.len()),
    }
}
