//! One upstream of a sidecar: its listener, clusters, route, and where the endpoints come from (contract 3.3, 3.4).

use std::sync::Arc;
use std::time::Duration;

use super::chain::{self, Chain, Overrides, Protocol, ResolverNode, Target};
use super::endpoints::{EndpointSource, Via, endpoint};
use super::merge::{self, UpstreamSettings, target_of};
use super::reach::{Reach, Route};
use super::state::Context;
use super::{Part, PartError, sidecar, tls};
use crate::ir::{
    Aggregate, Bind, Cluster, ClusterName, Direction, Discovery, DnsKind, Endpoint, Filter, FilterChain, HashField,
    HashSource, Health, HttpConnectionManager, Listener, ListenerName, LoadBalancing, PathMatch, Route as Rule,
    RouteAction, RouteConfiguration, RouteMatch, RouteSource, SocketAddress, Stat, TlsParameters, UpstreamId,
    UpstreamProtocol, UpstreamTls,
};
use crate::model::entry::{HashPolicy, LoadBalancer};
use crate::model::{
    AddressForm, DestinationType, GoDuration, OpaqueConfig, Place, Service, SpiffeId, Upstream, is_sni,
};

/// What an upstream is called.
pub(super) fn id(proxy: &Service, upstream: &Upstream) -> UpstreamId {
    let target = target_of(proxy, upstream);
    let unless_default = |is_default: bool, name: &str| if is_default { "".into() } else { name.into() };
    UpstreamId {
        is_query: upstream.destination_type == DestinationType::PreparedQuery,
        partition: unless_default(target.partition.is_default(), target.partition.as_str()),
        namespace: unless_default(target.namespace.is_default(), target.namespace.as_str()),
        name: target.name,
        peer: upstream.destination_peer.as_str().into(),
        datacenter: upstream.datacenter.as_str().into(),
    }
}

/// What one upstream of a sidecar in `place` leads to.
pub(super) fn part(
    context: Context<'_>,
    place: &Place,
    proxy: &Service,
    upstream: &Upstream,
    options: &OpaqueConfig,
) -> Result<Part, PartError> {
    if upstream.destination_type == DestinationType::PreparedQuery {
        return Err(PartError::PreparedQuery { upstream: upstream.to_string() });
    }
    if !upstream.destination_peer.is_default() {
        let peer = upstream.destination_peer.to_string();
        return Err(PartError::UnknownPeer { upstream: upstream.to_string(), peer });
    }
    let target = target_of(proxy, upstream);
    let settings = merge::upstream(context.state, proxy, upstream, &target);
    let datacenter = if upstream.datacenter.is_default() { &place.datacenter } else { &upstream.datacenter };
    let overrides = Overrides {
        ladder: settings.ladder,
        protocol: settings.protocol.clone(),
        connect_timeout: settings.connect_timeout,
    };
    let chain = chain::compile(context, &target, datacenter, &overrides)
        .map_err(|source| PartError::Chain { upstream: upstream.to_string(), source })?;
    if !chain.start.target.peer.is_default() {
        let peer = chain.start.target.peer.to_string();
        return Err(PartError::UnknownPeer { upstream: upstream.to_string(), peer });
    }
    if let Some(long) = chain.targets.values().find(|target| !is_sni(&target.sni)) {
        return Err(PartError::Sni { upstream: upstream.to_string(), sni: long.sni.clone() });
    }
    let builder = Builder { context, place, settings: &settings, chain: &chain, options, id: id(proxy, upstream) };
    Ok(builder.build(proxy, upstream))
}

struct Builder<'a> {
    context: Context<'a>,
    place: &'a Place,
    settings: &'a UpstreamSettings,
    chain: &'a Chain,
    options: &'a OpaqueConfig,
    id: UpstreamId,
}

impl Builder<'_> {
    fn build(&self, proxy: &Service, upstream: &Upstream) -> Part {
        let mut part = Part::default();
        let outgoing = tls::outgoing(self.context.state, &proxy.partition);
        self.clusters(&mut part, &outgoing);
        let action = self.action();
        if self.uses_rds() {
            let validate_clusters =
                self.context.state.mesh(&proxy.partition).is_some_and(|mesh| mesh.validate_clusters);
            part.resources.routes.push(RouteConfiguration {
                name: self.id.clone(),
                validate_clusters,
                routes: vec![Rule::new(RouteMatch::path(PathMatch::Any), action.clone())],
            });
        }
        if let Some(bind) = bind(upstream) {
            part.resources.listeners.push(self.listener(bind, action));
        }
        if self.chain.is_default {
            self.settings.hatches.replace(&mut part);
        } else {
            self.settings.hatches.refuse(&mut part);
        }
        part
    }

    fn fetch_timeout(&self) -> Option<Duration> {
        fetch_timeout(self.options)
    }

    /// A default chain has one way, which stands in the listener itself.
    fn uses_rds(&self) -> bool {
        self.chain.protocol.is_http_like() && !self.chain.is_default
    }

    fn listener(&self, bind: Bind, action: RouteAction) -> Listener {
        let chain = self.chain;
        let stat = Stat::Upstream {
            service: chain.service.name.clone(),
            namespace: chain.service.namespace.as_str().into(),
            partition: chain.service.partition.as_str().into(),
            datacenter: chain.datacenter.as_str().into(),
        };
        let filter = match chain.protocol {
            Protocol::Tcp => Filter::TcpProxy { stat, cluster: Some(self.cluster_name(self.target(&chain.start))) },
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => {
                let routes = if self.uses_rds() {
                    RouteSource::Rds { name: self.id.clone(), fetch_timeout: self.fetch_timeout() }
                } else {
                    RouteSource::Inline {
                        upstream: Some(self.id.clone()),
                        path: PathMatch::Any,
                        action: Box::new(action),
                    }
                };
                Filter::Http(Box::new(HttpConnectionManager {
                    stat,
                    codec: sidecar::codec(chain.protocol),
                    routes,
                    inbound: None,
                    max_request_headers_kb: sidecar::max_request_headers_kb(self.options),
                }))
            }
        };
        let chains = vec![FilterChain { filters: vec![filter], ..FilterChain::default() }];
        let name = ListenerName::Upstream(self.id.clone());
        Listener {
            exact_balance: self.settings.exact_balance,
            ..Listener::new(name, bind, Direction::Outbound, chains)
        }
    }

    /// Where every connection or request goes: the primary target, or the failover cluster around it.
    fn action(&self) -> RouteAction {
        let node = &self.chain.start;
        RouteAction {
            timeout: node.request_timeout.map(GoDuration::to_std).filter(|_| self.uses_rds()),
            hash: node.load_balancer.as_ref().map(hash_sources).unwrap_or_default(),
            ..RouteAction::to(self.cluster_name(self.target(node)))
        }
    }

    fn target(&self, node: &ResolverNode) -> &Target {
        &self.chain.targets[&node.target]
    }

    fn cluster_name(&self, target: &Target) -> ClusterName {
        let sni: Arc<str> = target.name.as_str().into();
        match &self.chain.prefix {
            Some(hash) => ClusterName::Customised { hash: hash.as_str().into(), sni },
            None => ClusterName::Sni(sni),
        }
    }

    fn clusters(&self, part: &mut Part, outgoing: &TlsParameters) {
        let node = &self.chain.start;
        let primary = self.target(node);
        let name = self.cluster_name(primary);
        // Legs in a peer that is not known have no cluster.
        let fallbacks = node.failover.iter().filter(|key| key.peer.is_default()).map(|key| &self.chain.targets[key]);
        let legs: Vec<&Target> = std::iter::once(primary).chain(fallbacks).collect();
        if node.failover.is_empty() {
            return self.leg(part, name, primary, outgoing);
        }
        let leg_name = |position| ClusterName::FailoverLeg { position, parent: Box::new(name.clone()) };
        let aggregate = Discovery::Aggregate(Aggregate { legs: (0..legs.len()).map(leg_name).collect() });
        part.resources
            .clusters
            .push(Cluster { alt_stat_name: true, ..Cluster::plain(name.clone(), aggregate, node.connect_timeout) });
        for (position, target) in legs.into_iter().enumerate() {
            self.leg(part, leg_name(position), target, outgoing);
        }
    }

    /// The cluster of one target, and where its endpoints come from.
    fn leg(&self, part: &mut Part, name: ClusterName, target: &Target, outgoing: &TlsParameters) {
        let node = &self.chain.start;
        let via = self.via(target);
        let discovery = match self.gateway_host_names(&via) {
            Some(endpoints) => Discovery::Dns(DnsKind::Logical, endpoints),
            None => Discovery::Eds { fetch_timeout: self.fetch_timeout() },
        };
        let protocol = self.chain.protocol;
        let identity = SpiffeId::Service(target.service()).uri(self.context.trust_domain);
        if matches!(discovery, Discovery::Eds { .. }) {
            part.endpoints.insert(name.clone(), self.source(target, via));
        }
        part.resources.clusters.push(Cluster {
            alt_stat_name: true,
            tls: Some(UpstreamTls {
                sni: target.sni.as_str().into(),
                identities: vec![identity.into()],
                parameters: outgoing.clone(),
            }),
            panic_disabled: true,
            circuit_breaker: Some(self.settings.circuit_breaker.clone()),
            outlier_detection: Some(self.settings.outlier_detection.clone()),
            protocol: if protocol.is_http2() { UpstreamProtocol::Http2 } else { UpstreamProtocol::Plain },
            load_balancing: node.load_balancer.as_ref().map(load_balancing).unwrap_or_default(),
            ..Cluster::plain(name, discovery, node.connect_timeout)
        });
    }

    fn reach(&self, target: &Target) -> Reach {
        if target.decision.target.is_external {
            return Reach::External;
        }
        Reach::between(self.place, &target.place())
    }

    fn via(&self, target: &Target) -> Via {
        match self.reach(target).route(target.decision.mode) {
            Route::Direct if *self.place == target.place() => Via::Instances(AddressForm::Lan),
            Route::Direct => Via::Instances(AddressForm::Wan),
            Route::LocalGateways => Via::Gateways(self.place.clone(), AddressForm::Lan),
            Route::RemoteGateways => Via::Gateways(target.place(), AddressForm::Wan),
        }
    }

    fn source(&self, target: &Target, via: Via) -> EndpointSource {
        let consumer = (target.key.service.partition != self.place.partition).then(|| self.place.partition.clone());
        EndpointSource::Service { service: target.service(), subset: (&target.subset).into(), via, consumer }
    }

    /// The endpoint of a cluster that dials remote gateways by host name; `None` if all of them have IP addresses.
    fn gateway_host_names(&self, via: &Via) -> Option<Vec<Endpoint>> {
        let Via::Gateways(place, AddressForm::Wan) = via else { return None };
        let gateways = self.context.state.gateways(place);
        host_names(gateways.iter().map(|gateway| endpoint(gateway, AddressForm::Wan, false)), DnsKind::Logical)
    }
}

/// The endpoints of a DNS cluster, if any of `endpoints` has a host name: those alone that have one, as many as the kind
/// of cluster can take, healthy ones first.
pub(super) fn host_names(endpoints: impl Iterator<Item = Endpoint>, kind: DnsKind) -> Option<Vec<Endpoint>> {
    let named: Vec<_> = endpoints.filter(is_host_name).collect();
    let last = named.last()?.clone();
    let mut usable: Vec<_> = named.into_iter().filter(|endpoint| endpoint.health == Health::Healthy).collect();
    if usable.is_empty() {
        usable.push(last);
    }
    if kind == DnsKind::Logical {
        usable.truncate(1);
    }
    Some(usable)
}

fn is_host_name(endpoint: &Endpoint) -> bool {
    match &endpoint.address {
        SocketAddress::Tcp(host, _) => host.parse::<std::net::IpAddr>().is_err(),
        SocketAddress::Pipe(_) => false,
    }
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

/// How a resolver asks for requests to be spread.
pub(super) fn load_balancing(load_balancer: &LoadBalancer) -> LoadBalancing {
    match load_balancer.policy.as_str() {
        "least_request" => LoadBalancing::LeastRequest {
            choices: load_balancer.least_request_config.as_ref().map(|c| c.choice_count).filter(|count| *count > 0),
        },
        "random" => LoadBalancing::Random,
        "ring_hash" => {
            let size = |pick: fn(&crate::model::entry::RingHashConfig) -> u64| {
                load_balancer.ring_hash_config.as_ref().map(pick).filter(|size| *size > 0)
            };
            LoadBalancing::RingHash {
                minimum: size(|config| config.minimum_ring_size),
                maximum: size(|config| config.maximum_ring_size),
            }
        }
        "maglev" => LoadBalancing::Maglev,
        _ => LoadBalancing::RoundRobin,
    }
}

fn hash_sources(load_balancer: &LoadBalancer) -> Vec<HashSource> {
    if !load_balancer.is_hashing() {
        return Vec::new();
    }
    load_balancer.hash_policies.iter().filter_map(hash_source).collect()
}

fn hash_source(policy: &HashPolicy) -> Option<HashSource> {
    let name: Arc<str> = policy.field_value.as_str().into();
    let field = match policy.field.as_str() {
        _ if policy.source_ip => HashField::SourceIp,
        "header" => HashField::Header(name),
        "query_parameter" => HashField::QueryParameter(name),
        "cookie" => {
            let cookie = policy.cookie_config.clone().unwrap_or_default();
            let ttl = cookie.ttl.map(GoDuration::to_std).filter(|ttl| *ttl > Duration::ZERO);
            HashField::Cookie {
                name,
                ttl: if cookie.session { Some(Duration::ZERO) } else { ttl },
                path: cookie.path.as_str().into(),
            }
        }
        _ => return None,
    };
    Some(HashSource { field, terminal: policy.terminal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logical_dns_cluster_has_one_endpoint() {
        let endpoint =
            |host: &str, health| Endpoint { address: SocketAddress::Tcp(host.into(), 443), health, weight: 1 };
        let hosts = |endpoints: Vec<Endpoint>, kind| host_names(endpoints.into_iter(), kind);
        let (a, b) = (endpoint("a.example", Health::Unhealthy), endpoint("b.example", Health::Healthy));
        let ip = endpoint("192.0.2.1", Health::Healthy);

        assert_eq!(hosts(vec![ip.clone()], DnsKind::Logical), None);
        assert_eq!(hosts(vec![a.clone(), ip, b.clone()], DnsKind::Logical), Some(vec![b.clone()]));
        assert_eq!(hosts(vec![a.clone(), a.clone()], DnsKind::Strict), Some(vec![a]));
    }
}
