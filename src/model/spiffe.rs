//! SPIFFE identities (contract 1.2).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Datacenter, Namespace, Partition, Place, ServiceKey, ServiceName};

/// The trust domain of a deployment: `<cluster UUID>.consul`, lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The trust domain of the cluster with this UUID. The suffix is fixed; it does not follow a DNS domain.
    pub fn of_cluster(uuid: &str) -> Self {
        Self(format!("{uuid}.consul").to_lowercase())
    }

    /// The trust domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TrustDomain {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpiffeId {
    /// A service in one datacenter.
    Service(ServiceKey),
    /// The mesh gateways of a place.
    MeshGateway(Place),
}

impl SpiffeId {
    /// The partition that it belongs to.
    pub fn partition(&self) -> &Partition {
        match self {
            SpiffeId::Service(key) => &key.service.partition,
            SpiffeId::MeshGateway(place) => &place.partition,
        }
    }

    /// The URI inside `trust_domain`. A partition other than `default` is written, in lower case.
    pub fn uri(&self, trust_domain: &TrustDomain) -> String {
        match self {
            SpiffeId::Service(key) => format!(
                "spiffe://{trust_domain}{}/ns/{}/dc/{}/svc/{}",
                partition_segment(&key.service.partition),
                key.service.namespace,
                key.datacenter,
                key.service.name
            ),
            SpiffeId::MeshGateway(place) => format!(
                "spiffe://{trust_domain}{}/gateway/mesh/dc/{}",
                partition_segment(&place.partition),
                place.datacenter
            ),
        }
    }

    /// The trust domain and identity that a URI names; `None` if it is not a service's or mesh gateway's.
    pub fn parse(uri: &str) -> Option<(TrustDomain, Self)> {
        let (domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let segments: Vec<&str> = path.split('/').collect();
        let (partition, rest) = match segments.as_slice() {
            ["ap", partition, rest @ ..] if !partition.is_empty() => (Partition::from(*partition), rest),
            rest => (Partition::default(), rest),
        };
        let id = match rest {
            ["ns", namespace, "dc", datacenter, "svc", service] if rest.iter().all(|segment| !segment.is_empty()) => {
                SpiffeId::Service(ServiceKey {
                    datacenter: Datacenter::from(*datacenter),
                    service: ServiceName::new(&partition, &Namespace::from(*namespace), service),
                })
            }
            ["gateway", "mesh", "dc", datacenter] if !datacenter.is_empty() => {
                SpiffeId::MeshGateway(Place { datacenter: Datacenter::from(*datacenter), partition })
            }
            _ => return None,
        };
        Some((TrustDomain::from(domain), id))
    }
}

/// An expression for the URIs of services in any datacenter; a name or namespace `*` stands for all (contract 3.2).
///
/// As in Consul, a dot in a name stands for any character. What else means something in an expression is escaped.
pub fn service_identities(trust_domain: &str, service: &ServiceName) -> String {
    format!(
        "{}/ns/{}/dc/{ANY}/svc/{}",
        partition_identities(trust_domain, &service.partition),
        segment(service.namespace.as_str()),
        segment(&service.name)
    )
}

/// An expression for the URIs of the mesh gateways of a partition, in any datacenter.
pub fn gateway_identities(trust_domain: &str, partition: &Partition) -> String {
    format!("{}/gateway/mesh/dc/{ANY}", partition_identities(trust_domain, partition))
}

/// An expression for what the URIs of a partition start with. For the default one, others start so too.
pub fn partition_identities(trust_domain: &str, partition: &Partition) -> String {
    format!("spiffe://{}{}", segment(trust_domain), partition_segment(partition))
}

/// Any one segment of a URI.
const ANY: &str = "[^/]+";

fn segment(text: &str) -> String {
    if text == "*" {
        return ANY.to_owned();
    }
    let escaped = |c: char| [r"\+*?()|[]{}^$".contains(c).then_some('\\'), Some(c)];
    text.chars().flat_map(escaped).flatten().collect()
}

fn partition_segment(partition: &Partition) -> String {
    if partition.is_default() { String::new() } else { format!("/ap/{}", partition.as_str().to_lowercase()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_the_contract_and_back() {
        let td = TrustDomain::of_cluster("11111111-2222-3333-4444-555555555555");
        for (partition, service_uri, gateway_uri) in [
            ("", "/ns/default/dc/east/svc/billing", "/gateway/mesh/dc/east"),
            ("team-a", "/ap/team-a/ns/default/dc/east/svc/billing", "/ap/team-a/gateway/mesh/dc/east"),
        ] {
            let place = Place { datacenter: Datacenter::from("east"), partition: Partition::from(partition) };
            let service = ServiceName::new(&place.partition, &Namespace::default(), "billing");
            let service = SpiffeId::Service(ServiceKey { datacenter: place.datacenter.clone(), service });
            for (id, path) in [(service, service_uri), (SpiffeId::MeshGateway(place), gateway_uri)] {
                let uri = id.uri(&td);
                assert_eq!(uri, format!("spiffe://11111111-2222-3333-4444-555555555555.consul{path}"));
                assert_eq!(SpiffeId::parse(&uri), Some((td.clone(), id)));
            }
        }
    }

    #[test]
    fn expressions_fit_the_uris_of_any_datacenter_and_no_others() {
        let service = |partition: &str, namespace: &str, name: &str| {
            ServiceName::new(&Partition::from(partition), &Namespace::from(namespace), name)
        };
        let fits =
            |expression: &str, uri: &str| regex::Regex::new(&format!("^{expression}$")).expect("valid").is_match(uri);

        let exact = service_identities("td.consul", &service("", "", "a.b+c"));
        assert_eq!(exact, r"spiffe://td.consul/ns/default/dc/[^/]+/svc/a.b\+c");
        assert!(fits(&exact, "spiffe://td.consul/ns/default/dc/east/svc/a.b+c"));
        assert!(!fits(&exact, "spiffe://td.consul/ns/default/dc/east/svc/a.bbc"));

        let every = service_identities("td.consul", &service("Team-A", "*", "*"));
        assert_eq!(every, "spiffe://td.consul/ap/team-a/ns/[^/]+/dc/[^/]+/svc/[^/]+");
        assert!(fits(&every, "spiffe://td.consul/ap/team-a/ns/shop/dc/west/svc/web"));
        assert!(!fits(&every, "spiffe://td.consul/ns/shop/dc/west/svc/web"));

        let gateways = gateway_identities("td.consul", &Partition::default());
        assert!(fits(&gateways, "spiffe://td.consul/gateway/mesh/dc/west"));
        assert!(!fits(&gateways, "spiffe://td.consul/ap/team-a/gateway/mesh/dc/west"));
    }

    #[test]
    fn other_uris_are_no_identity() {
        for uri in
            ["https://a/ns/b/dc/c/svc/d", "spiffe://a", "spiffe://a/ns//dc/c/svc/d", "spiffe://a/ns/b/dc/c/svc/d/e"]
        {
            assert_eq!(SpiffeId::parse(uri), None, "{uri}");
        }
    }
}
