//! SNI: the names that travel in TLS handshakes and select the way through gateways (contract 1.3).
//!
//! Parts are joined by dots. A part with a dot in it could imitate another name, so partitions, namespaces and subsets are
//! labels, checked where they enter; the tests below hold the formats apart. A service may have dots in its name, as in
//! Consul: `v2.api` has the SNI of subset `v2` of its neighbour `api`, and only certificates tell the two apart.

use super::limits::is_sni;
use super::{Datacenter, DnsDomain, NodeName, PeerName, Place, QueryKey, ServiceKey, ServiceName, TrustDomain};

/// The SNI of a service, or of one subset of it: `[<subset>.]<svc>.<ns>[.<ap>].<dc>.internal[-v1].<trust domain>`.
pub fn service_sni(service: &ServiceKey, subset: Option<&str>, trust_domain: &TrustDomain) -> String {
    let subset = subset.filter(|name| !name.is_empty()).map_or(String::new(), |name| format!("{name}."));
    let (name, datacenter) = (&service.service, &service.datacenter);
    if name.partition.is_default() {
        return format!("{subset}{}.{}.{datacenter}.internal.{trust_domain}", name.name, name.namespace);
    }
    format!("{subset}{}.{}.{}.{datacenter}.internal-v1.{trust_domain}", name.name, name.namespace, name.partition)
}

/// The suffix of all SNIs of a place: `<dc>.internal.<trust domain>`, or `<ap>.<dc>.internal-v1.<trust domain>`.
pub fn datacenter_sni(place: &Place, trust_domain: &TrustDomain) -> String {
    if place.partition.is_default() {
        return format!("{}.internal.{trust_domain}", place.datacenter);
    }
    format!("{}.{}.internal-v1.{trust_domain}", place.partition, place.datacenter)
}

/// The SNI of a service for the peer that imports it: `<svc>.<ns>.<ap>.<peer>.external.<trust domain>`. The exporter makes
/// it, from its own name of the peering, its own partition and trust domain; the importer is told.
pub fn exported_sni(service: &ServiceName, peer: &PeerName, trust_domain: &TrustDomain) -> String {
    let ServiceName { partition, namespace, name } = service;
    format!("{name}.{namespace}.{partition}.{peer}.external.{trust_domain}")
}

/// What a sidecar calls the cluster of a peer's service: `<svc>.<ns>.<peer>.external.<the peer's trust domain>`, with its
/// own name of the peering. It is never sent.
pub fn peer_cluster_name(service: &ServiceName, peer: &PeerName, trust_domain: &str) -> String {
    format!("{}.{}.{peer}.external.{trust_domain}", service.name, service.namespace)
}

/// The TLS name of the servers of a datacenter towards peers: `server.<dc>.peering.<trust domain>`.
pub fn peering_server_name(datacenter: &Datacenter, trust_domain: &TrustDomain) -> String {
    format!("server.{datacenter}.peering.{trust_domain}")
}

/// The TLS name of the servers of a WAN-federated datacenter: `server.<dc>.<DNS domain>`.
pub fn server_name(datacenter: &Datacenter, domain: &DnsDomain) -> String {
    format!("server.{datacenter}.{domain}")
}

/// The TLS name of one server of a WAN-federated datacenter: `<node>.server.<dc>.<DNS domain>`.
pub fn server_name_of_node(node: &NodeName, datacenter: &Datacenter, domain: &DnsDomain) -> String {
    format!("{node}.{}", server_name(datacenter, domain))
}

/// True if a text can select a filter chain by SNI: labels with dots between them, and no wildcard.
pub fn is_server_name(text: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
    is_sni(text) && text.split('.').all(is_label)
}

/// The SNI of a prepared query: `<query>.default.<dc>.query.<trust domain>`, with `default` whatever its namespace is.
pub fn query_sni(query: &QueryKey, trust_domain: &TrustDomain) -> String {
    format!("{}.default.{}.query.{trust_domain}", query.name, query.place.datacenter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Namespace, Partition};

    fn key(partition: &str) -> ServiceKey {
        ServiceKey {
            datacenter: Datacenter::from("east"),
            service: ServiceName::new(&Partition::from(partition), &Namespace::default(), "web"),
        }
    }

    #[test]
    fn formats_of_the_contract() {
        let td = TrustDomain::from("T1");

        assert_eq!(service_sni(&key(""), Some("v2"), &td), "v2.web.default.east.internal.T1");
        assert_eq!(service_sni(&key("team-a"), None, &td), "web.default.team-a.east.internal-v1.T1");
        assert_eq!(exported_sni(&key("").service, &PeerName::from("t2"), &td), "web.default.default.t2.external.T1");
        assert_eq!(peer_cluster_name(&key("").service, &PeerName::from("t2"), "T2"), "web.default.t2.external.T2");
        assert_eq!(datacenter_sni(&key("").place(), &td), "east.internal.T1");
        let query = QueryKey { place: key("team-a").place(), name: "geo".to_owned() };
        assert_eq!(query_sni(&query, &td), "geo.default.east.query.T1");
        assert_eq!(datacenter_sni(&key("team-a").place(), &td), "team-a.east.internal-v1.T1");
        let (east, node) = (Datacenter::from("east"), NodeName::from("s1"));
        assert_eq!(peering_server_name(&east, &td), "server.east.peering.T1");
        assert_eq!(server_name(&east, &DnsDomain::default()), "server.east.consul");
        assert_eq!(server_name_of_node(&node, &east, &DnsDomain::default()), "s1.server.east.consul");
    }

    #[test]
    fn only_whole_names_select_a_filter_chain() {
        for name in ["server.west.peering.t2", "s1.server.east.consul", "web"] {
            assert!(is_server_name(name), "{name}");
        }
        for text in ["", "*.west.internal.t1", "a*b", "a..b", "a b", ".a", &"a".repeat(256)] {
            assert!(!is_server_name(text), "{text}");
        }
    }

    #[test]
    fn a_services_sni_ends_with_that_of_its_place() {
        let td = TrustDomain::from("T1");
        for partition in ["", "team-a"] {
            let service = service_sni(&key(partition), None, &td);
            assert!(service.ends_with(&format!(".{}", datacenter_sni(&key(partition).place(), &td))), "{service}");
        }
    }
}
