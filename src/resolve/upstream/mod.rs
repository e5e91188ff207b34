//! One upstream of a sidecar: its listener, clusters, routes, and where the endpoints come from (contract 3.3, 3.4).

mod chain;
mod peer;
mod query;

use std::time::Duration;

pub use peer::PeerError;

use super::chain::Protocol;
use super::explain::Leading;
use super::merge::{UpstreamSettings, target_of};
use super::state::Context;
use super::{Part, PartError, sidecar};
use crate::ir::{
    Bind, ClusterName, Direction, Filter, FilterChain, HttpConnectionManager, HttpRole, Listener, ListenerName,
    PathMatch, RouteAction, RouteSource, Stat, UpstreamId, UpstreamProtocol,
};
use crate::model::{DestinationType, GoDuration, OpaqueConfig, Place, Service, ServiceName, Upstream};

/// Time to connect where nobody says another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What an upstream is called.
pub(super) fn id(proxy: &Service, upstream: &Upstream) -> UpstreamId {
    UpstreamId {
        is_query: upstream.destination_type == DestinationType::PreparedQuery,
        peer: upstream.destination_peer.as_str().into(),
        datacenter: upstream.datacenter.as_str().into(),
        ..service_id(&target_of(proxy, upstream))
    }
}

/// What a service is called whose name alone is said.
pub(super) fn service_id(service: &ServiceName) -> UpstreamId {
    let unless_default = |is_default: bool, name: &str| if is_default { "".into() } else { name.into() };
    UpstreamId {
        is_query: false,
        partition: unless_default(service.partition.is_default(), service.partition.as_str()),
        namespace: unless_default(service.namespace.is_default(), service.namespace.as_str()),
        name: service.name.clone(),
        peer: "".into(),
        datacenter: "".into(),
    }
}

/// An upstream with the sidecar that has it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    context: Context<'a>,
    /// Where the sidecar runs.
    place: &'a Place,
    proxy: &'a Service,
    upstream: &'a Upstream,
    /// The sidecar's opaque options.
    options: &'a OpaqueConfig,
}

/// What one upstream of a sidecar in `place` leads to.
pub(super) fn part(
    context: Context<'_>,
    place: &Place,
    proxy: &Service,
    upstream: &Upstream,
    options: &OpaqueConfig,
) -> Result<Part, PartError> {
    let asked = Asked { context, place, proxy, upstream, options };
    if upstream.destination_type == DestinationType::PreparedQuery {
        return query::part(asked);
    }
    if upstream.destination_peer.is_default() { chain::part(asked) } else { peer::part(asked) }
}

/// Where one upstream of a sidecar in `place` leads, and why.
pub(super) fn leading(
    context: Context<'_>,
    place: &Place,
    proxy: &Service,
    upstream: &Upstream,
    options: &OpaqueConfig,
) -> Result<Leading, PartError> {
    let asked = Asked { context, place, proxy, upstream, options };
    if upstream.destination_type == DestinationType::PreparedQuery {
        return query::leading(asked);
    }
    if upstream.destination_peer.is_default() { chain::leading(asked) } else { peer::leading(asked) }
}

/// What an upstream leads to that nobody registered.
pub(super) fn added_part(
    context: Context<'_>,
    place: &Place,
    proxy: &Service,
    upstream: &Upstream,
    options: &OpaqueConfig,
) -> Result<Part, PartError> {
    chain::added_part(Asked { context, place, proxy, upstream, options })
}

impl Asked<'_> {
    /// The listener that takes the application's connections; none if the registration says no place for it.
    fn listener(&self, filter: Filter, exact_balance: bool) -> Option<Listener> {
        let name = ListenerName::Upstream(id(self.proxy, self.upstream));
        let chains = vec![FilterChain { filters: vec![filter], ..FilterChain::default() }];
        let listener = Listener::new(name, bind(self.upstream)?, Direction::Outbound, chains);
        Some(Listener { exact_balance, ..listener })
    }

    /// What the listener does with connections that all go to one cluster.
    fn to_cluster(self, stat: Stat, protocol: Protocol, cluster: ClusterName) -> Filter {
        if !protocol.is_http_like() {
            return Filter::TcpProxy { stat, cluster: Some(cluster) };
        }
        let (upstream, action) = (Some(id(self.proxy, self.upstream)), Box::new(RouteAction::to(cluster)));
        self.http(stat, protocol, RouteSource::Inline { upstream, path: PathMatch::Any, action })
    }

    /// What the listener does with requests.
    fn http(&self, stat: Stat, protocol: Protocol, routes: RouteSource) -> Filter {
        Filter::Http(Box::new(HttpConnectionManager {
            stat,
            codec: sidecar::codec(protocol),
            routes,
            role: HttpRole::Outside,
            max_request_headers_kb: sidecar::max_request_headers_kb(self.options),
        }))
    }
}

/// What is spoken on the connections to an upstream.
const fn spoken(protocol: Protocol) -> UpstreamProtocol {
    if protocol.is_http2() { UpstreamProtocol::Http2 } else { UpstreamProtocol::Plain }
}

/// Time to connect to an upstream without a discovery chain.
fn connect_timeout(settings: &UpstreamSettings) -> Duration {
    settings.connect_timeout.map_or(CONNECT_TIMEOUT, GoDuration::to_std)
}

/// Time that Envoy waits for endpoints and routes; negative values count as unset.
pub(super) fn fetch_timeout(options: &OpaqueConfig) -> Option<Duration> {
    sidecar::millis(options, "xds_fetch_timeout_ms")
}

fn bind(upstream: &Upstream) -> Option<Bind> {
    let address = &upstream.local_bind_address;
    if upstream.local_bind_port != 0 {
        let host = if address.is_empty() { "127.0.0.1" } else { address };
        return Some(Bind::Tcp(host.into(), upstream.local_bind_port));
    }
    let path = &upstream.local_bind_socket_path;
    (!path.is_empty()).then(|| Bind::Pipe(path.as_str().into(), upstream.socket_mode()))
}
