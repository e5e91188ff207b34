//! Follows traffic from proxy to proxy, every way that it can take.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier};
use prost::Name;

use super::answer::{Link, Outcome};
use super::cluster::{self, Choice, Use};
use super::known::{is, only, unpack};
use super::listener::{self, Sight, Taken};
use super::network::{Network, Proxy};
use super::rbac::Subject;
use super::request::{Headers, Traffic};
use super::tls::{Hello, Server, Session};
use super::{Answer, End, Stop, Unknown, http, route};
use crate::ir::SocketAddress;

/// Most outcomes of one question, and most steps towards them.
const MOST_OUTCOMES: usize = 10_000;
const MOST_STEPS: usize = 100_000;
/// Most proxies on one way: twice what the longest way through gateways has.
const MOST_LINKS: usize = 8;

/// What is on a connection: TLS around TLS around something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wire {
    /// TLS sessions that are offered, the outermost one last.
    layers: Vec<Arc<Hello>>,
    payload: Payload,
}

#[derive(Debug, Clone, PartialEq)]
enum Payload {
    Bytes,
    Request(Headers),
}

impl Wire {
    pub(super) fn new(hello: Option<Hello>, traffic: &Traffic) -> Self {
        let payload = match traffic {
            Traffic::Tcp => Payload::Bytes,
            Traffic::Http(request) => Payload::Request(Headers::of(request)),
        };
        Self { layers: hello.into_iter().map(Arc::new).collect(), payload }
    }

    /// The SNI of the outermost TLS session; `None` for bytes that are no TLS.
    fn sni(&self) -> Option<&str> {
        self.layers.last().map(|hello| hello.sni.as_str())
    }
}

/// A connection that reaches a listener.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arrival {
    pub(super) proxy: Arc<str>,
    /// Where it was dialled, as the proxy sees it.
    pub(super) local: SocketAddress,
    pub(super) wire: Wire,
}

/// The way so far.
#[derive(Debug, Clone, Default)]
struct Trail {
    arrivals: Vec<Arrival>,
    links: Vec<Link>,
}

impl Trail {
    /// The link that is being made.
    fn link(&mut self) -> &mut Link {
        if self.links.is_empty() {
            self.links.push(Link::default());
        }
        let last = self.links.len() - 1;
        &mut self.links[last]
    }
}

/// A question that is being answered.
pub(super) struct Walk<'n> {
    network: &'n Network,
    steps: usize,
    outcomes: BTreeSet<Outcome>,
}

impl<'n> Walk<'n> {
    pub(super) fn new(network: &'n Network) -> Self {
        Self { network, steps: 0, outcomes: BTreeSet::new() }
    }

    pub(super) fn finish(self) -> Answer {
        Answer { outcomes: self.outcomes }
    }

    /// What `first` dials at `address`, with nothing before it.
    pub(super) fn dialled_by_hand(&mut self, address: &SocketAddress, wire: Wire) {
        self.dial(address, wire, Trail::default());
    }

    /// A connection that somebody opens to a listener, with nothing before it.
    pub(super) fn start(&mut self, arrival: Arrival, listener: Option<&Listener>) {
        self.arrive(arrival, listener, Trail::default());
    }

    fn end(&mut self, trail: Trail, end: impl Into<End>) {
        self.outcomes.insert(Outcome { links: trail.links, end: end.into() });
    }

    /// Follows a connection into a listener; that which is bound to the address if none is given.
    fn arrive(&mut self, arrival: Arrival, listener: Option<&Listener>, mut trail: Trail) {
        self.steps += 1;
        if self.steps > MOST_STEPS || self.outcomes.len() > MOST_OUTCOMES {
            // One is enough to say so.
            self.outcomes.insert(Outcome { links: Vec::new(), end: Unknown::TooMany.into() });
            return;
        }
        let is_loop = trail.links.len() >= MOST_LINKS || trail.arrivals.contains(&arrival);
        trail.links.push(Link { proxy: arrival.proxy.clone(), ..Link::default() });
        if is_loop {
            return self.end(trail, Stop::Loop);
        }
        trail.arrivals.push(arrival.clone());
        let network = self.network;
        let Some(proxy) = network.proxy(&arrival.proxy) else {
            return self.end(trail, Unknown::Proxy(arrival.proxy.to_string()));
        };
        let found = match listener {
            Some(listener) => Ok(Some(listener)),
            None => proxy.listener_at(&arrival.local),
        };
        match found {
            Ok(Some(listener)) => {
                trail.link().listener = Some(listener.name.clone());
                if let Err(end) = self.accept(proxy, listener, arrival, &mut trail) {
                    self.end(trail, end);
                }
            }
            Ok(None) => self.end(trail, Stop::NoListener(arrival.local)),
            Err(unknown) => self.end(trail, unknown),
        }
    }

    fn accept(&mut self, proxy: &Proxy, listener: &Listener, arrival: Arrival, trail: &mut Trail) -> Result<(), End> {
        let Arrival { local, mut wire, .. } = arrival;
        let Taken { chain, used, sni } = listener::choose(listener, Sight { local: &local, sni: wire.sni() })?;
        trail.link().chain = Some(used);
        let session = terminate(proxy, chain, &mut wire)?;
        let (last, others) = chain.filters.split_last().ok_or(Unknown::Value("a filter chain without filters"))?;
        let subject = Subject { session: session.as_ref(), sni: sni.as_deref(), headers: None };
        let mut chosen = None;
        for filter in others {
            chosen = pass(filter, subject)?.or(chosen);
        }
        match terminal(last, chosen)? {
            Terminal::Tcp(clusters) => {
                clusters.iter().for_each(|cluster| self.forward(proxy, cluster, Use::Tcp, &wire, trail));
                Ok(())
            }
            Terminal::Http(manager) => self.request(proxy, &manager, subject, wire, trail),
        }
    }

    fn request(
        &mut self,
        proxy: &Proxy,
        manager: &HttpConnectionManager,
        caller: Subject<'_>,
        wire: Wire,
        trail: &mut Trail,
    ) -> Result<(), End> {
        // TLS that nobody has ended is no HTTP either.
        let Wire { layers, payload: Payload::Request(mut headers) } = wire else { return Err(Stop::NotHttp.into()) };
        if !layers.is_empty() {
            return Err(Stop::NotHttp.into());
        }
        let routes = http::admit(manager, &mut headers, caller, &proxy.snapshot)?;
        let (used, ways) = route::ways(&routes, &headers);
        trail.link().route = used;
        for way in ways? {
            let wire = Wire { layers: Vec::new(), payload: Payload::Request(way.headers) };
            self.forward(proxy, &way.cluster, Use::Http, &wire, trail);
        }
        Ok(())
    }

    /// Sends what is on the wire to every endpoint that a cluster can choose.
    fn forward(&mut self, proxy: &Proxy, cluster: &str, r#use: Use, wire: &Wire, trail: &Trail) {
        let mut trail = trail.clone();
        trail.link().clusters.push(cluster.to_owned());
        let choices = match cluster::choices(cluster, &proxy.snapshot, r#use) {
            Ok(choices) => choices,
            Err(end) => return self.end(trail, end),
        };
        for (leg, stop) in choices.stops {
            let mut trail = trail.clone();
            trail.link().clusters.extend(leg);
            self.end(trail, stop);
        }
        for Choice { cluster: chosen, address } in choices.endpoints {
            let mut trail = trail.clone();
            let mut wire = wire.clone();
            if chosen.name != cluster {
                trail.link().clusters.push(chosen.name.clone());
            }
            trail.link().endpoint = Some(address.clone());
            let socket = chosen.transport_socket.as_ref();
            match socket.map(|socket| Hello::of_cluster(socket, &proxy.snapshot)).transpose() {
                Ok(hello) => {
                    if let Some(hello) = hello.flatten() {
                        trail.link().sni = Some(hello.sni.clone());
                        wire.layers.push(Arc::new(hello));
                    }
                    self.dial(&address, wire, trail);
                }
                Err(end) => self.end(trail, end),
            }
        }
    }

    /// Follows a connection to whoever is at `address`.
    fn dial(&mut self, address: &SocketAddress, wire: Wire, trail: Trail) {
        let caller = trail.links.last().map(|link| link.proxy.clone());
        let own = caller.clone().filter(|_| is_own(address)).filter(|name| {
            let listener = self.network.proxy(name).map(|proxy| proxy.listener_at(address));
            matches!(listener, Some(Ok(Some(_))))
        });
        let doors: Vec<(Arc<str>, SocketAddress)> = match own {
            Some(proxy) => vec![(proxy, address.clone())],
            None => {
                let doors = self.network.doors(address, caller.as_deref());
                doors.map(|door| (door.proxy.clone(), door.local.clone())).collect()
            }
        };
        if doors.is_empty() {
            let sni = wire.sni().map(str::to_owned);
            return self.end(trail, End::Instance { address: address.clone(), sni });
        }
        for (proxy, local) in doors.into_iter().filter(|(proxy, _)| !self.network.is_left_out(proxy)) {
            self.arrive(Arrival { proxy, local, wire: wire.clone() }, None, trail.clone());
        }
    }
}

/// True for an address that means another host for each host.
fn is_own(address: &SocketAddress) -> bool {
    match address {
        SocketAddress::Tcp(host, _) => host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        SocketAddress::Pipe(_) => true,
    }
}

/// Ends the outermost TLS session if the filter chain does so.
fn terminate(proxy: &Proxy, chain: &FilterChain, wire: &mut Wire) -> Result<Option<Session>, End> {
    let Some(socket) = &chain.transport_socket else { return Ok(None) };
    let Some(server) = Server::of_chain(socket, &proxy.snapshot)? else { return Ok(None) };
    let hello = wire.layers.pop().ok_or(Stop::PlainText)?;
    server.accept(&hello).map(Some)
}

/// A filter before the last one. Returns the cluster that it chooses for later ones, if it does.
fn pass(filter: &Filter, subject: Subject<'_>) -> Result<Option<String>, End> {
    let any = config(filter)?;
    if is(any, &SniCluster::full_name()) {
        return Ok(subject.sni.map(str::to_owned));
    }
    if is(any, &ConnectionLimit::full_name()) {
        return Ok(None);
    }
    let rbac: Rbac = unpack(any)?;
    only(
        &rbac,
        &["delay_deny", "enforcement_type", "rules", "shadow_rules", "shadow_rules_stat_prefix", "stat_prefix"],
    )?;
    match rbac.rules.map(|rules| subject.refused_by(&rules)).transpose()?.flatten() {
        Some(stop) => Err(stop.into()),
        None => Ok(None),
    }
}

/// What the last filter does.
enum Terminal {
    /// Passes bytes on to one of these clusters.
    Tcp(Vec<String>),
    /// Speaks HTTP.
    Http(Box<HttpConnectionManager>),
}

fn terminal(filter: &Filter, chosen: Option<String>) -> Result<Terminal, End> {
    let any = config(filter)?;
    if is(any, &HttpConnectionManager::full_name()) {
        return Ok(Terminal::Http(Box::new(unpack(any)?)));
    }
    let proxy: TcpProxy = unpack(any)?;
    only(
        &proxy,
        &[
            "access_log",
            "access_log_flush_interval",
            "access_log_options",
            "backoff_options",
            "cluster",
            "downstream_idle_timeout",
            "flush_access_log_on_connected",
            "hash_policy",
            "idle_timeout",
            "max_connect_attempts",
            "max_downstream_connection_duration",
            "stat_prefix",
            "upstream_idle_timeout",
            "weighted_clusters",
        ],
    )?;
    Ok(Terminal::Tcp(match (chosen, proxy.cluster_specifier) {
        (Some(chosen), _) => vec![chosen],
        (None, Some(ClusterSpecifier::Cluster(name))) => vec![name],
        (None, Some(ClusterSpecifier::WeightedClusters(weighted))) => {
            let mut names = Vec::new();
            for cluster in weighted.clusters.iter().filter(|cluster| cluster.weight > 0) {
                only(cluster, &["name", "weight"])?;
                names.push(cluster.name.clone());
            }
            names
        }
        (None, None) => return Err(Unknown::Value("a TCP proxy without a cluster").into()),
    }))
}

fn config(filter: &Filter) -> Result<&envoy_types::pb::google::protobuf::Any, Unknown> {
    match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(any)) => Ok(any),
        Some(filter::ConfigType::ConfigDiscovery(_)) | None => Err(Unknown::Extension(filter.name.clone())),
    }
}
