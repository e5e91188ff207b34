//! Roots: made here, and signed by the one before them. Knows neither the store nor the clock.

use std::time::Duration;

use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
    SerialNumber,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use super::issue::{SKEW, Validity, certificate, colon_hex, random_serial, uri_san};
use super::{CaError, pem};
use crate::model::{KeyKind, Problem, Root, TrustDomain};

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

    /// The name of a later root, to tell it from others. Certificates name the key of who signed them by its identifier, which
    /// is what verifiers go by where names are the same.
    pub(super) fn next_root_name(&self) -> String {
        let (_, unique) = Uuid::new_v4().as_u64_pair();
        format!("{} {unique:016x}", self.root_name())
    }
}

/// A new key.
pub(super) fn generate_key(kind: KeyKind) -> Result<KeyPair, CaError> {
    Ok(match kind {
        KeyKind::Ec256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        KeyKind::Ec384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?,
    })
}

/// The kind of a root's key, if it is one of those that are made.
pub(super) fn key_kind(root: &Root) -> Option<KeyKind> {
    let der = pem::certificate(&root.cert_pem).ok()?;
    let cert = pem::parsed(&der)?;
    match cert.public_key().parsed().ok()? {
        PublicKey::EC(point) => KeyKind::of("ec", point.key_size()),
        PublicKey::RSA(key) => KeyKind::of("rsa", key.key_size()),
        PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) | PublicKey::Unknown(_) => None,
    }
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
        key_pem: pem::of_key(key),
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
    let (old, new) = (pem::certificate(&before.cert_pem), pem::certificate(&root.cert_pem));
    let (Ok(old), Ok(new)) = (&old, &new) else { return Err(refused("it cannot be read")) };
    let (Some(old), Some(new)) = (pem::parsed(old), pem::parsed(new)) else { return Err(refused("it cannot be read")) };
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
    let der = pem::certificate(&root.cert_pem).ok();
    let cert = der.as_deref().and_then(pem::parsed);
    cert.is_some_and(|cert| cert.public_key().raw == key.subject_public_key_info())
}

/// The fingerprint of a certificate in PEM form.
pub(super) fn fingerprint(text: &str) -> Option<String> {
    pem::certificate(text).ok().map(|der| colon_hex(&Sha256::digest(&der)))
}

/// A name as it can be written again, byte for byte; `None` if it cannot.
pub(super) fn subject(name: &X509Name<'_>) -> Option<DistinguishedName> {
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
pub(super) fn key_identifier(cert: &X509Certificate<'_>, key: &KeyPair) -> Vec<u8> {
    told_key_identifier(cert).unwrap_or_else(|| CertificateParams::default().key_identifier(key))
}

/// What a certificate says its key is called.
pub(super) fn told_key_identifier(cert: &X509Certificate<'_>) -> Option<Vec<u8>> {
    cert.iter_extensions().find_map(|extension| {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            Some(id.0.to_vec())
        } else {
            None
        }
    })
}
