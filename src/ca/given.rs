//! The key and the root that an operator gives. Knows neither the store nor the clock.

use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::issue::{Signer, Terms, colon_hex};
use super::pem;
use super::root::{Cluster, key_identifier, subject, told_key_identifier};
use crate::model::{Datacenter, KeyKind, Partition, Place, PrivateKey, Problem, Problems, Root, SpiffeId};

/// Shortest RSA key that signs: Envoy takes no shorter one.
const MIN_RSA_BITS: usize = 2048;

const ROOT_CERT: &str = "Config.RootCert";
const PRIVATE_KEY: &str = "Config.PrivateKey";

/// What a root is judged by.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    /// The cluster that it is for.
    pub(super) cluster: Cluster,
    /// The roots that are trusted already.
    pub(super) trusted: Vec<Root>,
    /// The time.
    pub(super) now: OffsetDateTime,
    /// How long a leaf is valid.
    pub(super) leaf_ttl: Duration,
}

/// A key that certificates can be signed with.
///
/// # Errors
/// Why they cannot be.
pub(super) fn read_key(key: &PrivateKey) -> Result<KeyPair, Problems> {
    let refused = |message: &str| Problems::from(Problem::rule(PRIVATE_KEY, message));
    let pair = pem::key(key).ok_or_else(|| {
        refused(
            "is not one private key in PEM form: expected PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted",
        )
    })?;
    let bytes = pair.subject_public_key_info();
    let info = SubjectPublicKeyInfo::from_der(&bytes).ok().map(|(_, info)| info);
    let is_taken = match info.as_ref().and_then(|info| info.parsed().ok()) {
        Some(PublicKey::EC(point)) => matches!(point.key_size(), 256 | 384),
        Some(PublicKey::RSA(key)) => key.key_size() >= MIN_RSA_BITS,
        _ => false,
    };
    let message = "must be an ec key of 256 or 384 bits, or an rsa key of at least 2048";
    if is_taken { Ok(pair) } else { Err(refused(message)) }
}

/// The root of a certificate and the key that was read for it. What is stored of the certificate is written anew, so that
/// nothing else of the text comes along.
///
/// # Errors
/// Every reason why leaves that it signs would not be taken, after those why the key cannot sign.
pub(super) fn read_root(measure: &Measure, text: &str, key: Result<KeyPair, Problems>) -> Result<Root, Problems> {
    let (key, mut problems) = match key {
        Ok(key) => (Some(key), Problems::default()),
        Err(problems) => (None, problems),
    };
    let der = match pem::certificate(text) {
        Ok(der) => der,
        Err(message) => {
            problems.rule(ROOT_CERT, message);
            return Err(problems);
        }
    };
    let (cert, id) = (pem::parsed(&der), colon_hex(&Sha256::digest(&der)));
    if let Some(cert) = &cert {
        let signs_already = measure.trusted.iter().any(|root| root.active && root.id == id);
        faults(cert, key.as_ref(), measure, signs_already, &mut problems);
    }
    let (Some(cert), Some(key), true) = (cert, key, problems.0.is_empty()) else { return Err(problems) };
    let name = cert.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(Root {
        id,
        name: name.map_or_else(|| cert.subject().to_string(), str::to_owned),
        serial_number: low_bits(cert.raw_serial()),
        signing_key_id: colon_hex(&key_identifier(&cert, &key)),
        cluster_id: measure.cluster.id.clone(),
        trust_domain: measure.cluster.trust_domain.clone(),
        not_before: cert.validity().not_before.to_datetime(),
        not_after: cert.validity().not_after.to_datetime(),
        cert_pem: pem::of_certificate(&der),
        key_pem: pem::of_key(&key),
        active: true,
        intermediates: Vec::new(),
        trusted_until: None,
    })
}

/// Signs a leaf that nobody gets: a root that cannot sign leaves every proxy without a certificate.
///
/// # Errors
/// The root cannot sign.
pub(super) fn try_out(root: &Root, now: OffsetDateTime, leaf_ttl: Duration) -> Result<(), Problems> {
    let refused = |reason: &str| Problems::from(Problem::rule(ROOT_CERT, format!("cannot sign leaves: {reason}")));
    let signer = Signer::new(root).map_err(|_| refused("its certificate or key cannot be read"))?;
    let identity = SpiffeId::MeshGateway(Place::new(&Datacenter::from("dc1"), &Partition::default()));
    // Whatever key a leaf has, the root signs it in the same way.
    let terms = Terms { now, ttl: leaf_ttl, key: KeyKind::default() };
    let leaf = signer.leaf(&identity, terms).map_err(|error| refused(&error.to_string()))?;
    let [root, leaf] = [&root.cert_pem, &leaf.cert_pem].map(|text| pem::certificate(text).unwrap_or_default());
    let is_signed = match (pem::parsed(&root), pem::parsed(&leaf)) {
        (Some(root), Some(leaf)) => {
            leaf.verify_signature(Some(root.public_key())).is_ok() && leaf.issuer().as_raw() == root.subject().as_raw()
        }
        _ => false,
    };
    if is_signed { Ok(()) } else { Err(refused("nobody who trusts it would take them")) }
}

/// Why leaves of this root would not be taken.
fn faults(
    cert: &X509Certificate<'_>,
    key: Option<&KeyPair>,
    measure: &Measure,
    signs_already: bool,
    problems: &mut Problems,
) {
    let mut fault = |message: String| problems.rule(ROOT_CERT, message);
    if !cert.is_ca() {
        fault("is no certificate authority: its basic constraints must say CA:TRUE".to_owned());
    }
    if cert.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
        fault("may not sign certificates: its key usage must include keyCertSign".to_owned());
    }
    if cert.verify_signature(None).is_err() || cert.issuer().as_raw() != cert.subject().as_raw() {
        fault("is no root: it must be signed by its own key".to_owned());
    }
    let validity = cert.validity();
    let (from, until) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if measure.now < from || measure.now >= until {
        fault(format!("is valid from {} to {}, which is not now", validity.not_before, validity.not_after));
    } else if until - measure.now < measure.leaf_ttl && !signs_already {
        // Its end is near whether it is given again or not, and other settings that come with it are of use.
        fault(format!("is valid until {}, which is before a leaf of now would end (LeafCertTTL)", validity.not_after));
    }
    if subject(cert.subject()).is_none() {
        fault(
            "has a name that the leaves cannot repeat: it must have at least one attribute, each kind once, in plain text"
                .to_owned(),
        );
    }
    if let Some(other) = measure.trusted.iter().find(|other| is_mistaken(cert, other)) {
        fault(format!(
            "has the same name as the trusted root {} and another key, and not both say which key is theirs: give it another \
             name, or a SubjectKeyIdentifier",
            other.id
        ));
    }
    if key.is_some_and(|key| cert.public_key().raw != key.subject_public_key_info()) {
        problems.rule(PRIVATE_KEY, "is not the key of RootCert");
    }
}

/// True if verifiers could take one of two roots for the other: they look for the issuer of a certificate by its name, and
/// where names are the same by the identifier of its key.
fn is_mistaken(cert: &X509Certificate<'_>, other: &Root) -> bool {
    let der = pem::certificate(&other.cert_pem).unwrap_or_default();
    pem::parsed(&der).is_some_and(|other| {
        other.subject().as_raw() == cert.subject().as_raw()
            && other.public_key().raw != cert.public_key().raw
            && [&other, cert].into_iter().any(|cert| told_key_identifier(cert).is_none())
    })
}

/// The last eight bytes of a serial number, which is how Consul shows one that has more.
fn low_bits(serial: &[u8]) -> u64 {
    let last = serial.iter().rev().take(8).rev();
    last.fold(0, |number, byte| number << 8 | u64::from(*byte))
}
