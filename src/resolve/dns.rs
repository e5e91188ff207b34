//! Endpoints with host names, which only clusters that ask DNS can have (contract 2.5, 4.6).

use super::opaque;
use crate::ir::{Discovery, DnsKind, Endpoint, Health, SocketAddress};
use crate::model::OpaqueConfig;

/// How a proxy with these options finds `endpoints`, if any of them has a host name: one of those unless the options ask for
/// all.
pub(super) fn discovery(endpoints: impl Iterator<Item = Endpoint>, options: &OpaqueConfig) -> Option<Discovery> {
    let kind = match opaque::text(options, "envoy_dns_discovery_type") {
        Some(kind) if kind.eq_ignore_ascii_case("strict_dns") => DnsKind::Strict,
        Some(_) | None => DnsKind::Logical,
    };
    host_names(endpoints, kind).map(|endpoints| Discovery::Dns(kind, endpoints))
}

/// The endpoints of a DNS cluster, if any of `endpoints` has a host name: those alone that have one, as many as the kind
/// of cluster can take, healthy ones first.
fn host_names(endpoints: impl Iterator<Item = Endpoint>, kind: DnsKind) -> Option<Vec<Endpoint>> {
    let named: Vec<_> = endpoints.filter(is_host_name).collect();
    let last = named.last()?.clone();
    let mut usable: Vec<_> = named.into_iter().filter(|endpoint| endpoint.health != Some(Health::Unhealthy)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logical_dns_cluster_has_one_endpoint() {
        let endpoint = |host: &str, health| Endpoint {
            address: SocketAddress::Tcp(host.into(), 443),
            health: Some(health),
            weight: Some(1),
        };
        let hosts = |endpoints: Vec<Endpoint>, kind| host_names(endpoints.into_iter(), kind);
        let (a, b) = (endpoint("a.example", Health::Unhealthy), endpoint("b.example", Health::Healthy));
        let ip = endpoint("192.0.2.1", Health::Healthy);

        assert_eq!(hosts(vec![ip.clone()], DnsKind::Logical), None);
        assert_eq!(hosts(vec![a.clone(), ip, b.clone()], DnsKind::Logical), Some(vec![b.clone()]));
        assert_eq!(hosts(vec![a.clone(), a.clone()], DnsKind::Strict), Some(vec![a]));
    }
}
