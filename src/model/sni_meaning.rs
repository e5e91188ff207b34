//! What an SNI says, read back from its text.
//!
//! **Problem.** A service may have dots in its name, so that one SNI can mean several things: `v2.api.…` is the service
//! `v2.api`, and the subset `v2` of `api`.
//!
//! **Invariant.** Reading gives every meaning, and each of them is written as the text that was read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::is_sni;
use super::{
    Datacenter, Namespace, Partition, PeerName, Place, QueryKey, ServiceKey, ServiceName, TrustDomain, datacenter_sni,
    exported_sni, is_default, peering_server_name, query_sni, service_sni,
};

/// What kind of thing an SNI is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SniKind {
    /// A service, or a subset of it.
    Service,
    /// A service for the peer that imports it.
    Exported,
    /// Whatever is in a place: the suffix of the SNIs of its services.
    Gateways,
    /// A prepared query.
    Query,
    /// The servers of a datacenter towards peers.
    PeeringServers,
}

impl fmt::Display for SniKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SniKind::Service => "service",
            SniKind::Exported => "exported",
            SniKind::Gateways => "gateways",
            SniKind::Query => "query",
            SniKind::PeeringServers => "peering-servers",
        })
    }
}

/// One meaning of an SNI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SniMeaning {
    /// What kind of thing it is about.
    pub kind: SniKind,
    /// The service or query; empty for gateways and servers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// Its partition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its datacenter; empty for what is exported.
    #[serde(default, skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// Its subset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subset: String,
    /// The peer that imports it, as the exporter calls it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub peer: PeerName,
    /// The trust domain.
    pub trust_domain: TrustDomain,
}

impl SniMeaning {
    /// A meaning of this kind about nothing yet.
    pub fn new(kind: SniKind, trust_domain: &TrustDomain) -> Self {
        Self {
            kind,
            name: String::new(),
            namespace: Namespace::default(),
            partition: Partition::default(),
            datacenter: Datacenter::default(),
            subset: String::new(),
            peer: PeerName::default(),
            trust_domain: trust_domain.clone(),
        }
    }

    /// The SNI of a service, or of one subset of it.
    pub fn of_service(service: &ServiceKey, subset: &str, trust_domain: &TrustDomain) -> Self {
        let ServiceName { partition, namespace, name } = service.service.clone();
        let (name, datacenter, subset) = (name.to_string(), service.datacenter.clone(), subset.to_owned());
        Self { name, namespace, partition, datacenter, subset, ..Self::new(SniKind::Service, trust_domain) }
    }

    /// The service that it is about.
    pub fn service(&self) -> ServiceName {
        ServiceName::new(&self.partition, &self.namespace, &self.name)
    }

    /// The place that it is in.
    pub fn place(&self) -> Place {
        Place::new(&self.datacenter, &self.partition)
    }

    /// The SNI.
    pub fn encode(&self) -> String {
        let domain = &self.trust_domain;
        match self.kind {
            SniKind::Service => {
                let service = ServiceKey { datacenter: self.datacenter.clone(), service: self.service() };
                service_sni(&service, Some(&self.subset), domain)
            }
            SniKind::Exported => exported_sni(&self.service(), &self.peer, domain),
            SniKind::Gateways => datacenter_sni(&self.place(), domain),
            SniKind::Query => query_sni(&QueryKey { place: self.place(), name: self.name.clone() }, domain),
            SniKind::PeeringServers => peering_server_name(&self.datacenter, domain),
        }
    }

    /// Every meaning of an SNI, none for a text that is no SNI of a mesh. Where a trust domain ends is only known of the
    /// own one; of others it is what comes after the word that says what kind it is.
    pub fn decode(sni: &str) -> Vec<Self> {
        // Each label of a longer text could begin a meaning, and each meaning holds the text.
        if !is_sni(sni) {
            return Vec::new();
        }
        let labels: Vec<&str> = sni.split('.').collect();
        let mut found = Vec::new();
        for (position, word) in labels.iter().enumerate() {
            let (before, after) = (&labels[..position], &labels[position + 1..]);
            if before.is_empty() || after.is_empty() || labels.contains(&"") {
                continue;
            }
            let domain = TrustDomain::from(after.join(".").as_str());
            match *word {
                "internal" => found.extend(in_default_partition(before, &domain)),
                "internal-v1" => found.extend(in_partition(before, &domain)),
                "external" => found.extend(exported(before, &domain)),
                "query" => found.extend(query(before, &domain)),
                "peering" => found.extend(servers(before, &domain)),
                _ => {}
            }
        }
        found.retain(|meaning| meaning.encode() == sni);
        found.sort();
        found.dedup();
        found
    }
}

/// `[<subset>.]<svc>.<ns>.<dc>`, or `<dc>`.
fn in_default_partition(labels: &[&str], domain: &TrustDomain) -> Vec<SniMeaning> {
    match labels {
        [datacenter] => {
            vec![SniMeaning { datacenter: Datacenter::from(*datacenter), ..SniMeaning::new(SniKind::Gateways, domain) }]
        }
        [name @ .., namespace, datacenter] if !name.is_empty() => {
            let place = (Namespace::from(*namespace), Partition::default(), Datacenter::from(*datacenter));
            services(name, &place, domain)
        }
        _ => Vec::new(),
    }
}

/// `[<subset>.]<svc>.<ns>.<ap>.<dc>`, or `<ap>.<dc>`.
fn in_partition(labels: &[&str], domain: &TrustDomain) -> Vec<SniMeaning> {
    match labels {
        [partition, datacenter] => vec![SniMeaning {
            partition: Partition::from(*partition),
            datacenter: Datacenter::from(*datacenter),
            ..SniMeaning::new(SniKind::Gateways, domain)
        }],
        [name @ .., namespace, partition, datacenter] if !name.is_empty() => {
            let place = (Namespace::from(*namespace), Partition::from(*partition), Datacenter::from(*datacenter));
            services(name, &place, domain)
        }
        _ => Vec::new(),
    }
}

/// A service, or the subset of another one: subsets are labels, services may have dots in their names.
fn services(
    labels: &[&str],
    (namespace, partition, datacenter): &(Namespace, Partition, Datacenter),
    domain: &TrustDomain,
) -> Vec<SniMeaning> {
    let service = |subset: &str, name: &[&str]| SniMeaning {
        name: name.join("."),
        namespace: namespace.clone(),
        partition: partition.clone(),
        datacenter: datacenter.clone(),
        subset: subset.to_owned(),
        ..SniMeaning::new(SniKind::Service, domain)
    };
    let whole = std::iter::once(service("", labels));
    let subset = labels.split_first().filter(|(_, name)| !name.is_empty()).map(|(subset, name)| service(subset, name));
    whole.chain(subset).collect()
}

/// `<svc>.<ns>.<ap>.<peer>`.
fn exported(labels: &[&str], domain: &TrustDomain) -> Option<SniMeaning> {
    let [name @ .., namespace, partition, peer] = labels else { return None };
    (!name.is_empty()).then(|| SniMeaning {
        name: name.join("."),
        namespace: Namespace::from(*namespace),
        partition: Partition::from(*partition),
        peer: PeerName::from(*peer),
        ..SniMeaning::new(SniKind::Exported, domain)
    })
}

/// `<query>.default.<dc>`.
fn query(labels: &[&str], domain: &TrustDomain) -> Option<SniMeaning> {
    let [name @ .., "default", datacenter] = labels else { return None };
    (!name.is_empty()).then(|| SniMeaning {
        name: name.join("."),
        datacenter: Datacenter::from(*datacenter),
        ..SniMeaning::new(SniKind::Query, domain)
    })
}

/// `server.<dc>`.
fn servers(labels: &[&str], domain: &TrustDomain) -> Option<SniMeaning> {
    let ["server", datacenter] = labels else { return None };
    let datacenter = Datacenter::from(*datacenter);
    Some(SniMeaning { datacenter, ..SniMeaning::new(SniKind::PeeringServers, domain) })
}

impl fmt::Display for SniMeaning {
    /// Such as `subset v2 of service api in dc2/default/default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, namespace, partition, datacenter, subset, peer, .. } = self;
        match self.kind {
            SniKind::Service => {
                if !subset.is_empty() {
                    write!(f, "subset {subset} of ")?;
                }
                write!(f, "service {name} in {datacenter}/{partition}/{namespace}")
            }
            SniKind::Exported => write!(f, "service {name} of {partition}/{namespace}, exported to peer {peer}"),
            SniKind::Gateways => write!(f, "whatever is in {datacenter}/{partition}"),
            SniKind::Query if partition.is_default() => write!(f, "prepared query {name} of {datacenter}"),
            SniKind::Query => write!(f, "prepared query {name} of {datacenter}/{partition}"),
            SniKind::PeeringServers => write!(f, "the servers of {datacenter}, for peers"),
        }
    }
}
