//! Mesh gateways: they read the SNI of a connection and forward it, undecrypted (contract 4).
//!
//! Connections to another place match a filter chain by the place's SNI suffix. All others fall through to the last
//! chain, which takes the SNI itself for the name of a cluster: every local service has a cluster of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::balance::load_balancing;
use super::dns::host_names;
use super::endpoints::{EndpointSource, Subset, Via, endpoint};
use super::state::Context;
use super::upstream::fetch_timeout;
use super::{LeftOut, Owner, Part, Parts, access_log, binds, merge, opaque, sidecar};
use crate::ir::{
    Bind, CircuitBreaker, Cluster, ClusterName, Direction, Discovery, DnsKind, Filter, FilterChain, Listener,
    ListenerName, LoadBalancing, OutlierDetection, Stat, TcpKeepalive,
};
use crate::model::entry::ServiceResolver;
use crate::model::{
    AddressForm, GoDuration, OpaqueConfig, Place, Service, ServiceAddress, ServiceKey, datacenter_sni, service_sni,
};

/// Time to connect where nobody says another.
const CONNECT_TIMEOUT_MS: i64 = 5_000;

/// The one part of a mesh gateway that runs in `place`.
pub fn mesh_gateway(context: Context<'_>, place: &Place, proxy: &Service) -> Parts {
    let options = merge::options(context.state, proxy);
    let gateway = Gateway { context, place, options: &options, limits: limits(context, proxy) };
    let mut parts = Parts::from([(Owner::Gateway, Ok(gateway.build(proxy)))]);
    binds::leave_out_binds(&mut parts);
    access_log::add(&mut parts, access_log::of(context.state, proxy));
    parts
}

/// Limits for gateways stand in the service-defaults of the gateway's own service.
fn limits(context: Context<'_>, proxy: &Service) -> Option<CircuitBreaker> {
    let entry = context.state.service_defaults(&proxy.full_name())?;
    let limits = entry.upstream_config.as_ref()?.defaults.as_ref()?.limits.as_ref()?;
    Some(merge::circuit_breaker(Some(limits)))
}

struct Gateway<'a> {
    context: Context<'a>,
    place: &'a Place,
    options: &'a OpaqueConfig,
    limits: Option<CircuitBreaker>,
}

impl Gateway<'_> {
    fn build(&self, proxy: &Service) -> Part {
        let mut part = Part::default();
        let remote = self.distinct(self.remote_places(), &mut part.left_out);
        for (name, bind) in addresses(proxy, self.options) {
            part.resources.listeners.push(self.listener(name, bind, &remote));
        }
        for place in &remote {
            self.remote_cluster(&mut part, place);
        }
        for service in self.context.state.mesh_services(self.place) {
            if self.serves(&service) {
                self.service_clusters(&mut part, &service);
            }
        }
        part
    }

    /// The places whose traffic the gateway forwards to other gateways, by datacenter and partition: the other partitions
    /// of its datacenter, and from the default partition the default partitions of the other datacenters.
    fn remote_places(&self) -> BTreeSet<Place> {
        let state = self.context.state;
        let own = &self.place.datacenter;
        let neighbours = state.partitions(own).into_iter().map(|partition| Place::new(own, &partition));
        let others = state.datacenters().into_iter().filter(|_| self.place.partition.is_default());
        let others = others.map(|datacenter| Place::new(&datacenter, &self.place.partition));
        neighbours.chain(others).filter(|place| place != self.place).collect()
    }

    /// The places that differ in lower case too. The listener could not have two filter chains for one SNI.
    fn distinct(&self, places: BTreeSet<Place>, left_out: &mut Vec<LeftOut>) -> BTreeSet<Place> {
        let own = self.place_sni(self.place);
        let mut served: BTreeMap<Arc<str>, Place> = BTreeMap::new();
        // In reverse, because names in lower case sort last and are the ones that mean themselves.
        for place in places.into_iter().rev() {
            let sni = self.place_sni(&place);
            let other = if sni == own { Some(self.place) } else { served.get(&sni) };
            match other {
                Some(other) => left_out.push(LeftOut::Place { place, instead_of: other.clone() }),
                None => drop(served.insert(sni, place)),
            }
        }
        served.into_values().collect()
    }

    /// Outside of the default partition only what is exported has a way in.
    fn serves(&self, service: &ServiceKey) -> bool {
        let partition = &self.place.partition;
        partition.is_default()
            || self.context.state.exports(partition).is_some_and(|e| e.exports_to_other_partition(&service.service))
    }

    fn listener(&self, name: Arc<str>, bind: Bind, remote: &BTreeSet<Place>) -> Listener {
        let to_place = |place: &Place| {
            let sni = self.place_sni(place);
            let key = if place.partition.is_default() {
                place.datacenter.to_string()
            } else {
                format!("{}.{}", place.partition, place.datacenter)
            };
            let stat = Stat::GatewayRemote { listener: name.clone(), place: key.into() };
            FilterChain {
                server_names: vec![format!("*.{sni}").into()],
                filters: vec![Filter::TcpProxy { stat, cluster: Some(ClusterName::Sni(sni)) }],
                ..FilterChain::default()
            }
        };
        let local = Stat::GatewayLocal { listener: name.clone() };
        let catch_all = FilterChain {
            filters: vec![Filter::SniCluster, Filter::TcpProxy { stat: local, cluster: None }],
            ..FilterChain::default()
        };
        let chains = remote.iter().map(to_place).chain([catch_all]).collect();
        let name = ListenerName::Gateway(name);
        Listener { tls_inspector: true, ..Listener::new(name, bind, Direction::Unspecified, chains) }
    }

    /// Envoy reads SNIs in lower case, and matches nothing else.
    fn place_sni(&self, place: &Place) -> Arc<str> {
        datacenter_sni(place, self.context.trust_domain).to_lowercase().into()
    }

    /// The gateways of another place.
    fn remote_cluster(&self, part: &mut Part, place: &Place) {
        let name = ClusterName::Sni(self.place_sni(place));
        let kind = match opaque::text(self.options, "envoy_dns_discovery_type") {
            Some(kind) if kind.eq_ignore_ascii_case("strict_dns") => DnsKind::Strict,
            Some(_) | None => DnsKind::Logical,
        };
        let gateways = self.context.state.gateways(place);
        let addresses = gateways.iter().map(|gateway| endpoint(gateway, AddressForm::Wan, false));
        let discovery = match host_names(addresses, kind) {
            Some(endpoints) => Discovery::Dns(kind, endpoints),
            None => {
                part.endpoints.insert(name.clone(), EndpointSource::RemoteGateways(place.clone()));
                Discovery::Eds { fetch_timeout: fetch_timeout(self.options) }
            }
        };
        part.resources.clusters.push(Cluster {
            discovery,
            keepalive: keepalive(self.options),
            ..self.cluster(name, None)
        });
    }

    /// A local service, and each of its subsets.
    fn service_clusters(&self, part: &mut Part, service: &ServiceKey) {
        let resolver = self.context.state.resolver(&service.service);
        let named = resolver.into_iter().flat_map(|resolver| &resolver.subsets);
        // The default subset is also what the bare name means.
        let bare = resolver.and_then(|resolver| resolver.subsets.get(&resolver.default_subset));
        let subsets = std::iter::once((None, bare)).chain(named.map(|(name, subset)| (Some(name), Some(subset))));
        for (name, subset) in subsets {
            let sni = service_sni(service, name.map(String::as_str), self.context.trust_domain).to_lowercase();
            let cluster = ClusterName::Sni(sni.into());
            let source = EndpointSource::Service {
                service: service.clone(),
                subset: subset.map(Subset::from).unwrap_or_default(),
                via: Via::Instances(AddressForm::Lan),
                consumer: None,
            };
            part.endpoints.insert(cluster.clone(), source);
            part.resources.clusters.push(self.cluster(cluster, resolver));
        }
    }

    fn cluster(&self, name: ClusterName, resolver: Option<&ServiceResolver>) -> Cluster {
        let own = opaque::integer(self.options, "connect_timeout_ms").filter(|millis| *millis > 0);
        let of_resolver = resolver.and_then(|r| r.connect_timeout).filter(|timeout| *timeout > GoDuration::default());
        let timeout = Duration::from_millis(own.unwrap_or(CONNECT_TIMEOUT_MS).unsigned_abs());
        // Connections, not requests, are balanced here, so there is nothing to hash.
        let balancer = resolver.and_then(|r| r.load_balancer.as_ref()).filter(|balancer| !balancer.is_hashing());
        let endpoints = Discovery::Eds { fetch_timeout: fetch_timeout(self.options) };
        Cluster {
            circuit_breaker: self.limits.clone(),
            outlier_detection: Some(OutlierDetection::default()),
            load_balancing: balancer.map_or(LoadBalancing::RoundRobin, load_balancing),
            ..Cluster::plain(name, endpoints, of_resolver.map_or(timeout, GoDuration::to_std))
        }
    }
}

/// The addresses that a gateway listens on, sorted by name, no address twice.
fn addresses(proxy: &Service, options: &OpaqueConfig) -> Vec<(Arc<str>, Bind)> {
    // Each option has an older spelling.
    let flag = |key: &str| {
        opaque::flag(options, &format!("envoy_gateway_{key}"))
            || opaque::flag(options, &format!("envoy_mesh_gateway_{key}"))
    };
    let bind = |address: &str, port: u16| Bind::Tcp(sidecar::any_address_if_empty(address), port);
    let mut named: Vec<(Arc<str>, Bind)> = Vec::new();
    if !flag("no_default_bind") {
        named.push(("default".into(), bind(&proxy.address, proxy.port)));
    }
    if flag("bind_tagged_addresses") {
        let tagged = proxy.tagged_addresses.iter();
        named.extend(tagged.map(|(name, tagged)| {
            let port = if tagged.port == 0 { proxy.port } else { tagged.port };
            (name.as_str().into(), bind(&tagged.address, port))
        }));
    }
    let listed = opaque::object(options, "envoy_gateway_bind_addresses")
        .or_else(|| opaque::object(options, "envoy_mesh_gateway_bind_addresses"));
    for (name, value) in listed.into_iter().flatten() {
        if let Some(ServiceAddress { address, port }) = bind_address(value) {
            named.push((name.as_str().into(), bind(&address, port)));
        }
    }
    named.sort();
    let mut seen = BTreeSet::new();
    named.retain(|(_, bind)| seen.insert(bind.clone()));
    named
}

fn bind_address(value: &serde_json::Value) -> Option<ServiceAddress> {
    // HCL's blocks are lists of one object.
    let object = value.as_array().and_then(|items| items.first()).unwrap_or(value).as_object()?;
    Some(ServiceAddress {
        address: opaque::text(object, "address").unwrap_or_default(),
        port: u16::try_from(opaque::integer(object, "port")?).ok()?,
    })
}

fn keepalive(options: &OpaqueConfig) -> Option<TcpKeepalive> {
    let value = |key: &str| {
        let value = opaque::integer(options, &format!("envoy_gateway_remote_tcp_keepalive_{key}"))?;
        u32::try_from(value).ok().filter(|value| *value > 0)
    };
    opaque::flag(options, "envoy_gateway_remote_tcp_enable_keepalive").then(|| TcpKeepalive {
        time: value("time"),
        interval: value("interval"),
        probes: value("probes"),
    })
}
