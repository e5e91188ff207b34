//! SNI: the names that travel in TLS handshakes and select the way through gateways (contract 1.3).
//!
//! Parts are joined by dots. A part with a dot in it could imitate another name, so partitions, namespaces and subsets are
//! labels, checked where they enter; the tests below hold the formats apart. A service may have dots in its name, as in
//! Consul: `v2.api` has the SNI of subset `v2` of its neighbour `api`, and only certificates tell the two apart.

use super::{PeerName, Place, ServiceKey, ServiceName, TrustDomain};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Datacenter, Namespace, Partition};

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
        assert_eq!(datacenter_sni(&key("team-a").place(), &td), "team-a.east.internal-v1.T1");
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
