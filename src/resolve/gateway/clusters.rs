//! What the clusters of a gateway have in common (contract 4.2, 4.6).

use std::time::Duration;

use super::Gateway;
use super::draft::Draft;
use crate::ir::{
    CircuitBreaker, Cluster, ClusterName, Discovery, Endpoint, LoadBalancing, OutlierDetection, TcpKeepalive,
};
use crate::model::entry::ServiceResolver;
use crate::model::{GoDuration, OpaqueConfig, Service};
use crate::resolve::balance::load_balancing;
use crate::resolve::endpoints::EndpointSource;
use crate::resolve::state::Context;
use crate::resolve::upstream::fetch_timeout;
use crate::resolve::{dns, merge, opaque};

/// Time to connect where nobody says another.
const CONNECT_TIMEOUT_MS: i64 = 5_000;

/// Limits for gateways stand in the service-defaults of the gateway's own service, else in its registration.
pub(super) fn limits(context: Context<'_>, proxy: &Service) -> Option<CircuitBreaker> {
    let entry = context.state.service_defaults(&proxy.full_name());
    let defaults = entry.as_ref().and_then(|entry| entry.upstream_config.as_ref()?.defaults.as_ref());
    let limits = defaults.and_then(|defaults| defaults.limits.as_ref());
    limits.map(|limits| merge::circuit_breaker(Some(limits))).or_else(|| registered_limits(proxy))
}

/// What the registration of a gateway says about limits, under the keys that upstreams have for them. Where nothing is said,
/// Envoy opens 1,024 connections to a service and no more, so `connect envoy -register` says something.
pub(super) fn registered_limits(proxy: &Service) -> Option<CircuitBreaker> {
    let limits = opaque::object(&proxy.proxy.config, "limits").map(merge::opaque_limits)?;
    Some(merge::circuit_breaker(Some(&limits)))
}

impl Gateway<'_> {
    /// A cluster with the gateway's own settings.
    pub(super) fn cluster(&self, name: ClusterName, discovery: Discovery) -> Cluster {
        let own = opaque::integer(self.options, "connect_timeout_ms").filter(|millis| *millis > 0);
        let timeout = Duration::from_millis(own.unwrap_or(CONNECT_TIMEOUT_MS).unsigned_abs());
        Cluster {
            circuit_breaker: self.limits.clone(),
            outlier_detection: Some(OutlierDetection::default()),
            ..Cluster::plain(name, discovery, timeout)
        }
    }

    /// A cluster of a local service or subset: its resolver may say more.
    pub(super) fn resolved_cluster(&self, name: ClusterName, resolver: Option<&ServiceResolver>) -> Cluster {
        let cluster = self.cluster(name, self.eds());
        let timeout = resolver.and_then(|r| r.connect_timeout).filter(|timeout| *timeout > GoDuration::default());
        // Connections, not requests, are balanced here, so there is nothing to hash.
        let balancer = resolver.and_then(|r| r.load_balancer.as_ref()).filter(|balancer| !balancer.is_hashing());
        Cluster {
            connect_timeout: timeout.map_or(cluster.connect_timeout, GoDuration::to_std),
            load_balancing: balancer.map_or(LoadBalancing::RoundRobin, load_balancing),
            ..cluster
        }
    }

    /// A cluster of endpoints outside of the own network. Where any has a host name, those that have one are all.
    pub(super) fn add_remote_cluster(
        &self,
        draft: &mut Draft,
        name: ClusterName,
        endpoints: impl Iterator<Item = Endpoint>,
        source: EndpointSource,
    ) {
        let discovery = dns::discovery(endpoints, self.options).unwrap_or_else(|| {
            draft.part.endpoints.insert(name.clone(), source);
            self.eds()
        });
        let cluster = Cluster { keepalive: keepalive(self.options), ..self.cluster(name, discovery) };
        draft.part.resources.clusters.push(cluster);
    }

    /// A cluster of endpoints in the own network.
    pub(super) fn add_cluster(&self, draft: &mut Draft, name: ClusterName, source: EndpointSource) {
        draft.part.endpoints.insert(name.clone(), source);
        draft.part.resources.clusters.push(self.cluster(name, self.eds()));
    }

    pub(super) fn eds(&self) -> Discovery {
        Discovery::Eds { fetch_timeout: fetch_timeout(self.options) }
    }
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
