//! Roots: made here, or made by an operator, and signed by the one before them. Knows neither the store nor the clock.

use std::time::Duration;

use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use super::CaError;
use super::issue::{SKEW, Validity, certificate, colon_hex, random_serial, uri_san};
use crate::model::{PrivateKey, Problem, Problems, Root, TrustDomain};

/// Shortest RSA key that signs: Envoy takes no shorter one.
const MIN_RSA_BITS: usize = 2048;

/// The cluster that a root is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// UUID, the first part of the trust domain.
    pub(super) id: String,
    /// Trust domain of every identity.
    pub(super) trust_domain: TrustDomain,
}

impl Cluster {
    pub(super) fn new(id: String) -> Self {
        let trust_domain = TrustDomain::of_cluster(&id);
        Self { id, trust_domain }
    }

    pub(super) fn of(root: &Root) -> Self {
        Self { id: root.cluster_id.clone(), trust_domain: root.trust_domain.clone() }
    }

    /// The name of its first root.
    pub(super) fn root_name(&self) -> String {
        format!("meshgate CA {}", self.id.split('-').next().unwrap_or(&self.id))
    }

    /// The name of a later root. Verifiers look for the issuer of a certificate by name, so each root has its own.
    pub(super) fn next_root_name(&self) -> String {
        let (_, unique) = Uuid::new_v4().as_u64_pair();
        format!("{} {unique:016x}", self.root_name())
    }
}

/// A key of the kind that is made here.
pub(super) fn generate_key() -> Result<KeyPair, CaError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// A new root that is signed by its own key.
pub(super) fn make_root(
    cluster: &Cluster,
    name: String,
    key: &KeyPair,
    now: OffsetDateTime,
    ttl: Duration,
) -> Result<Root, CaError> {
    let serial_number = random_root_serial();
    let mut params = certificate(Validity { not_before: now - SKEW, not_after: now + ttl });
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.serial_number = Some(SerialNumber::from(serial_number));
    as_authority(&mut params, cluster, BasicConstraints::Unconstrained)?;
    let signing_key_id = colon_hex(&params.key_identifier(key));
    let (not_before, not_after) = (params.not_before, params.not_after);
    let cert = params.self_signed(key)?;
    Ok(Root {
        id: colon_hex(&Sha256::digest(cert.der())),
        name,
        serial_number,
        signing_key_id,
        cluster_id: cluster.id.clone(),
        trust_domain: cluster.trust_domain.clone(),
        not_before,
        not_after,
        cert_pem: cert.pem(),
        key_pem: PrivateKey::from(key.serialize_pem()),
        active: true,
        intermediates: Vec::new(),
        trusted_until: None,
    })
}

fn as_authority(
    params: &mut CertificateParams,
    cluster: &Cluster,
    constraints: BasicConstraints,
) -> Result<(), CaError> {
    params.subject_alt_names = vec![uri_san(format!("spiffe://{}", cluster.trust_domain))?];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.is_ca = IsCa::Ca(constraints);
    Ok(())
}

/// The API shows a root's serial as a JSON number, which is exact in every reader up to 53 bits.
fn random_root_serial() -> u64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    high >> 11 | 1
}

/// A key that an operator gives, if certificates can be signed with it.
pub(super) fn read_key(key: &PrivateKey) -> Result<KeyPair, CaError> {
    let refused = |message: &str| CaError::Refused(Problem::rule("Config.PrivateKey", message).into());
    let pair = KeyPair::from_pem(key.expose()).map_err(|_| {
        refused("is no private key in PEM form: expected PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted")
    })?;
    let bytes = pair.subject_public_key_info();
    let is_taken = match x509_parser::prelude::FromDer::from_der(&bytes) {
        Ok((_, info)) => {
            let info: x509_parser::x509::SubjectPublicKeyInfo<'_> = info;
            match info.parsed() {
                Ok(PublicKey::EC(point)) => matches!(point.key_size(), 256 | 384),
                Ok(PublicKey::RSA(key)) => key.key_size() >= MIN_RSA_BITS,
                _ => false,
            }
        }
        Err(_) => false,
    };
    if is_taken {
        Ok(pair)
    } else {
        Err(refused("must be an ec key of 256 or 384 bits, or an rsa key of at least 2048"))
    }
}

/// The root that an operator gives.
///
/// # Errors
/// Every reason why leaves that it signs would not be taken.
pub(super) fn read_root(cluster: &Cluster, pem: &str, key: &KeyPair, now: OffsetDateTime) -> Result<Root, CaError> {
    let refused = |message: String| CaError::Refused(Problem::rule("Config.RootCert", message).into());
    let file = one_pem(pem).map_err(refused)?;
    let cert = parse(&file).ok_or_else(|| refused("is no certificate in PEM form".to_owned()))?;
    let problems = faults(&cert, key, now);
    if !problems.0.is_empty() {
        return Err(CaError::Refused(problems));
    }
    let (not_before, not_after) = (cert.validity().not_before.to_datetime(), cert.validity().not_after.to_datetime());
    let name = cert.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let root = Root {
        id: colon_hex(&Sha256::digest(&file.contents)),
        name: name.map_or_else(|| cert.subject().to_string(), str::to_owned),
        serial_number: low_bits(cert.raw_serial()),
        signing_key_id: colon_hex(&key_identifier(&cert, key)),
        cluster_id: cluster.id.clone(),
        trust_domain: cluster.trust_domain.clone(),
        not_before,
        not_after,
        cert_pem: alone(pem),
        key_pem: PrivateKey::from(key.serialize_pem()),
        active: true,
        intermediates: Vec::new(),
        trusted_until: None,
    };
    Ok(root)
}

/// The certificate of `root` as signed by the one before it, for those who trust only that one yet.
///
/// # Errors
/// The one before it may not sign another authority, or is no longer valid.
pub(super) fn cross_sign(before: &Root, root: &Root, now: OffsetDateTime) -> Result<String, CaError> {
    let refused = |reason: &str| {
        let message = format!(
            "the root that signs now cannot sign the new one: {reason}. ForceWithoutCrossSigning goes without; until every \
             proxy has both roots, connections may fail then"
        );
        CaError::Refused(Problem::rule("ForceWithoutCrossSigning", message).into())
    };
    let (old_file, new_file) = (one_pem(&before.cert_pem), one_pem(&root.cert_pem));
    let (Ok(old_file), Ok(new_file)) = (old_file, new_file) else { return Err(refused("it cannot be read")) };
    let (Some(old), Some(new)) = (parse(&old_file), parse(&new_file)) else { return Err(refused("it cannot be read")) };
    if now >= before.not_after {
        return Err(refused("it has expired"));
    }
    if old.basic_constraints().ok().flatten().is_some_and(|it| it.value.path_len_constraint == Some(0)) {
        return Err(refused("its path length is 0"));
    }
    let key = KeyPair::from_pem(root.key_pem.expose())?;
    let mut params = certificate(Validity {
        not_before: before.not_before.max(root.not_before),
        not_after: before.not_after.min(root.not_after),
    });
    params.distinguished_name =
        subject(new.subject()).ok_or_else(|| refused("the name of the new one is too unusual"))?;
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(&new, &key));
    as_authority(&mut params, &Cluster::of(root), BasicConstraints::Constrained(0))?;
    let issuer = Issuer::from_ca_cert_pem(&before.cert_pem, KeyPair::from_pem(before.key_pem.expose())?)?;
    Ok(params.signed_by(&key, &issuer)?.pem())
}

/// True if a key is that of a root.
pub(super) fn is_key_of(key: &KeyPair, root: &Root) -> bool {
    let file = one_pem(&root.cert_pem).ok();
    let cert = file.as_ref().and_then(parse);
    cert.is_some_and(|cert| cert.public_key().raw == key.subject_public_key_info())
}

/// The fingerprint of a certificate in PEM form.
pub(super) fn fingerprint(pem: &str) -> Option<String> {
    one_pem(pem).ok().map(|file| colon_hex(&Sha256::digest(&file.contents)))
}

/// The one certificate of a text.
fn one_pem(text: &str) -> Result<Pem, String> {
    let mut files = Pem::iter_from_buffer(text.as_bytes());
    let first = files.next().and_then(Result::ok).filter(|file| file.label == "CERTIFICATE");
    match (first, files.next()) {
        (Some(first), None) => Ok(first),
        (Some(_), Some(_)) => Err("must be one certificate, without others after it".to_owned()),
        (None, _) => Err("is no certificate in PEM form".to_owned()),
    }
}

fn parse(file: &Pem) -> Option<X509Certificate<'_>> {
    file.parse_x509().ok()
}

/// The certificate alone, without what a text says around it.
fn alone(text: &str) -> String {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let from = text.find(begin).unwrap_or_default();
    let until = text.find(end).map_or(text.len(), |at| at + end.len());
    text[from..until].lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// Why leaves of this root would not be taken.
fn faults(cert: &X509Certificate<'_>, key: &KeyPair, now: OffsetDateTime) -> Problems {
    let mut problems = Problems::default();
    let mut fault = |message: String| problems.rule("Config.RootCert", message);
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
    if now < validity.not_before.to_datetime() || now >= validity.not_after.to_datetime() {
        fault(format!("is valid from {} to {}, which is not now", validity.not_before, validity.not_after));
    }
    if subject(cert.subject()).is_none() {
        fault(
            "has a name that the leaves cannot repeat: it must have at least one attribute, each kind once, in plain text"
                .to_owned(),
        );
    }
    if cert.public_key().raw != key.subject_public_key_info() {
        problems.rule("Config.PrivateKey", "is not the key of RootCert");
    }
    problems
}

/// A name as it can be written again, byte for byte; `None` if it cannot.
fn subject(name: &X509Name<'_>) -> Option<DistinguishedName> {
    use x509_parser::der_parser::asn1_rs::Tag;
    let mut written = DistinguishedName::new();
    let mut count = 0;
    for attributes in name.iter() {
        let mut attributes = attributes.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else { return None };
        let kind = DnType::from_oid(&attribute.attr_type().iter()?.collect::<Vec<_>>());
        let value = attribute.attr_value();
        let text = std::str::from_utf8(value.data).ok()?;
        let text = match value.header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(PrintableString::try_from(text).ok()?),
            Tag::Ia5String => DnValue::Ia5String(Ia5String::try_from(text).ok()?),
            _ => return None,
        };
        written.push(kind, text);
        count += 1;
    }
    // Of two attributes of one kind only the last would be left.
    (count > 0 && written.iter().count() == count).then_some(written)
}

/// How leaves name the key of their root.
fn key_identifier(cert: &X509Certificate<'_>, key: &KeyPair) -> Vec<u8> {
    let told = cert.iter_extensions().find_map(|extension| {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            Some(id.0.to_vec())
        } else {
            None
        }
    });
    told.unwrap_or_else(|| CertificateParams::default().key_identifier(key))
}

/// The last eight bytes of a serial number, which is how Consul shows one that has more.
fn low_bits(serial: &[u8]) -> u64 {
    let last = serial.iter().rev().take(8).rev();
    last.fold(0, |number, byte| number << 8 | u64::from(*byte))
}
