//! Whom a proxy trusts: the own trust domain, and what peers tell of theirs (contract 3.1, 4.4, 5.3).
//!
//! What a peer tells is foreign input. Envoy refuses a secret as a whole if it cannot read one certificate in it, or if a
//! trust domain is there twice, and a proxy that starts with such a secret lets nobody in. So a certificate that cannot be
//! read is left out, and so is a trust domain without any other; what is left out is reported. The roots of a peer alone,
//! none of which can be read, go to Envoy as they came: it refuses that one secret and keeps what it had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use x509_parser::pem::Pem;

use super::Part;
use super::state::State;
use crate::ir::{Callers, Roots, SecretName, Trust};
use crate::model::{PeerKey, PeerName, PeerTrustBundle, Place, TrustDomain};

/// Where it is written whom a proxy trusts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustSource {
    /// The roots of the own trust domain.
    Own,
    /// The bundle of one peer, and nothing else.
    Peer(PeerKey),
    /// The roots of the own trust domain, and the bundles of these peers.
    OwnAndPeers(BTreeSet<PeerKey>),
}

/// What of a peer's trust bundle is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distrust {
    /// One root is no certificate.
    Root {
        /// The peer.
        peer: PeerName,
        /// Its number in the bundle, from 1.
        number: usize,
    },
    /// None of the roots is a certificate.
    Bundle(PeerName),
    /// The bundle names no trust domain.
    NoDomain(PeerName),
    /// The bundle is for our own trust domain.
    OwnDomain(PeerName),
    /// The bundle has other roots than another peer's for the same trust domain.
    SameDomain {
        /// The peer.
        peer: PeerName,
        /// The one whose bundle counts.
        other: PeerName,
        /// The trust domain of both.
        domain: String,
    },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Root { peer, number } => write!(
                f,
                "root {number} in the trust bundle of peer {peer} is no certificate in PEM form: it is left out; the peer \
                 has to send it again"
            ),
            Distrust::Bundle(peer) => write!(
                f,
                "the trust bundle of peer {peer} has no certificate in PEM form: new connections to and from the peer \
                 fail until it sends another one"
            ),
            Distrust::NoDomain(peer) => {
                write!(f, "the trust bundle of peer {peer} names no trust domain: its callers are refused")
            }
            Distrust::OwnDomain(peer) => write!(
                f,
                "the trust bundle of peer {peer} is for our own trust domain: its callers are refused, and our own roots \
                 stay; a cluster cannot be its own peer"
            ),
            Distrust::SameDomain { peer, other, domain } => write!(
                f,
                "the trust bundles of the peers {other} and {peer} have different roots for the trust domain {domain}: \
                 those of {other} count; if this stays, one of the two is not what it says"
            ),
        }
    }
}

impl Part {
    /// Every secret that the part refers to and that says whom to trust, for a proxy in `place`.
    pub fn trust_sources(&self, place: &Place) -> impl Iterator<Item = (SecretName, TrustSource)> {
        let peer = |name: &PeerName| PeerKey::new(place, name);
        self.resources.secrets().into_iter().filter_map(move |name| {
            let source = match &name {
                SecretName::Leaf => return None,
                SecretName::Roots(Roots::Own) => TrustSource::Own,
                SecretName::Roots(Roots::Peer(name)) => TrustSource::Peer(peer(&PeerName::from(&**name))),
                SecretName::Callers(callers) => self.accepted(callers, peer),
            };
            Some((name, source))
        })
    }

    fn accepted(&self, callers: &Callers, peer: impl Fn(&PeerName) -> PeerKey) -> TrustSource {
        match self.importers.get(callers) {
            Some(peers) if !peers.is_empty() => TrustSource::OwnAndPeers(peers.iter().map(peer).collect()),
            Some(_) | None => TrustSource::Own,
        }
    }
}

/// Whom to trust according to `source`, with what is not trusted. `None` while a peer has not told its roots.
pub fn trust(state: &dyn State, own: &TrustDomain, source: &TrustSource) -> (Option<Trust>, Vec<Distrust>) {
    let mut distrust = Vec::new();
    let trust = match source {
        TrustSource::Own => Some(Trust::Roots(state.roots())),
        TrustSource::Peer(peer) => state.trust_bundle(peer).map(|bundle| {
            let roots = usable(&bundle, &mut distrust).unwrap_or_else(|| joined(&bundle.root_pems));
            Trust::Roots(roots)
        }),
        TrustSource::OwnAndPeers(peers) => {
            let bundles = peers.iter().filter_map(|peer| state.trust_bundle(peer));
            let peers = domains(bundles, own, &mut distrust);
            Some(if peers.is_empty() {
                Trust::Roots(state.roots())
            } else {
                Trust::Domains(peers.into_iter().chain([(own.to_string(), state.roots())]).collect())
            })
        }
    };
    (trust, distrust)
}

/// The trust domains of peers. Nobody speaks for ours, and of two who speak for one the first counts: roots of both would
/// let either speak for the other.
fn domains(
    bundles: impl Iterator<Item = Arc<PeerTrustBundle>>,
    own: &TrustDomain,
    distrust: &mut Vec<Distrust>,
) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, (PeerName, String)> = BTreeMap::new();
    for bundle in bundles {
        let (peer, domain) = (bundle.peer.clone(), bundle.trust_domain.clone());
        if domain.is_empty() {
            distrust.push(Distrust::NoDomain(peer));
        } else if domain.eq_ignore_ascii_case(own.as_str()) {
            distrust.push(Distrust::OwnDomain(peer));
        } else if let Some(roots) = usable(&bundle, distrust) {
            match found.get(&domain) {
                None => drop(found.insert(domain, (peer, roots))),
                Some((_, known)) if *known == roots => {}
                Some((other, _)) => distrust.push(Distrust::SameDomain { peer, other: other.clone(), domain }),
            }
        }
    }
    found.into_iter().map(|(domain, (_, roots))| (domain, roots)).collect()
}

/// The roots of a bundle that Envoy can read; `None` if there are none.
fn usable(bundle: &PeerTrustBundle, distrust: &mut Vec<Distrust>) -> Option<String> {
    let (usable, broken): (Vec<_>, Vec<_>) =
        bundle.root_pems.iter().enumerate().partition(|(_, pem)| is_certificate(pem));
    if usable.is_empty() {
        distrust.push(Distrust::Bundle(bundle.peer.clone()));
        return None;
    }
    let root = |(position, _)| Distrust::Root { peer: bundle.peer.clone(), number: position + 1 };
    distrust.extend(broken.into_iter().map(root));
    Some(joined(usable.into_iter().map(|(_, pem)| pem)))
}

/// Certificates one after the other, each with a line end of its own.
fn joined<'p>(pems: impl IntoIterator<Item = &'p String>) -> String {
    let line_end = |pem: &String| if pem.ends_with('\n') { "" } else { "\n" };
    pems.into_iter().flat_map(|pem| [pem.as_str(), line_end(pem)]).collect()
}

/// True if the text is one certificate or more and nothing else that is encoded.
fn is_certificate(text: &str) -> bool {
    let mut blocks = Pem::iter_from_buffer(text.as_bytes()).peekable();
    blocks.peek().is_some()
        && blocks.all(|block| block.is_ok_and(|block| block.label == "CERTIFICATE" && block.parse_x509().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> String {
        rcgen::generate_simple_self_signed(vec!["root".to_owned()]).unwrap().cert.pem()
    }

    fn bundle(peer: &str, domain: &str, pems: &[&str]) -> Arc<PeerTrustBundle> {
        Arc::new(PeerTrustBundle {
            peer: PeerName::from(peer),
            trust_domain: domain.to_owned(),
            root_pems: pems.iter().map(ToString::to_string).collect(),
            ..PeerTrustBundle::default()
        })
    }

    fn told(bundles: Vec<Arc<PeerTrustBundle>>) -> (Vec<String>, Vec<String>) {
        let mut distrust = Vec::new();
        let domains = domains(bundles.into_iter(), &TrustDomain::from("t1.consul"), &mut distrust);
        (domains.into_keys().collect(), distrust.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_its_neighbours_stay() {
        let root = root();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

        let (domains, distrust) = told(vec![
            bundle("east", "t2.consul", &[&root, broken, "no PEM"]),
            bundle("north", "t3.consul", &["no PEM"]),
            bundle("south", "", &[&root]),
            bundle("west", "t4.consul", &[&root]),
        ]);

        assert_eq!(domains, ["t2.consul", "t4.consul"]);
        assert!(distrust[0].starts_with("root 2 in the trust bundle of peer east is no certificate"), "{distrust:?}");
        assert!(distrust[1].starts_with("root 3 in the trust bundle of peer east"), "{distrust:?}");
        assert!(distrust[2].starts_with("the trust bundle of peer north has no certificate"), "{distrust:?}");
        assert!(distrust[3].starts_with("the trust bundle of peer south names no trust domain"), "{distrust:?}");
        assert_eq!(distrust.len(), 4);
    }

    #[test]
    fn no_peer_speaks_for_us_or_for_another() {
        let root = root();
        let twice = format!("{root}{root}");

        let (domains, distrust) = told(vec![
            bundle("a", "T1.consul", &[&root]),
            bundle("b", "t2.consul", &[&root]),
            bundle("c", "t2.consul", &[&twice]),
            bundle("d", "t2.consul", &[root.trim_end()]),
        ]);

        assert_eq!(domains, ["t2.consul"]);
        assert!(distrust[0].starts_with("the trust bundle of peer a is for our own trust domain"), "{distrust:?}");
        assert!(distrust[1].starts_with("the trust bundles of the peers b and c have different roots"), "{distrust:?}");
        assert_eq!(distrust.len(), 2);
    }
}
