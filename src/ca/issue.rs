//! Makes leaves and their keys (contract 1.2). Knows neither the store nor the clock.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::root::generate_key;
use super::{CaError, pem};
use crate::model::{KeyKind, Leaf, Root, SpiffeId, TrustDomain};

/// Certificates are valid from a little before they are made, for verifiers whose clock is behind.
pub(super) const SKEW: Duration = Duration::from_secs(60);

/// Signs leaves with one root.
pub(super) struct Signer<'r> {
    root: &'r Root,
    issuer: Issuer<'static, KeyPair>,
}

impl<'r> Signer<'r> {
    /// Reads the key of a root.
    pub(super) fn new(root: &'r Root) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(root.key_pem.expose())?;
        Ok(Self { root, issuer: Issuer::from_ca_cert_pem(&root.cert_pem, key)? })
    }

    /// A leaf with a new key, followed by what leads from its root to the one before. It never outlives the root: verifiers
    /// would refuse the chain.
    pub(super) fn leaf(&self, identity: &SpiffeId, Terms { now, ttl, key }: Terms) -> Result<Leaf, CaError> {
        if now >= self.root.not_after {
            return Err(CaError::RootExpired(self.root.not_after));
        }
        let uri = identity.uri(&self.root.trust_domain);
        let serial = random_serial();
        let key = generate_key(key)?;
        let mut params = certificate(Validity {
            not_before: (now - SKEW).max(self.root.not_before),
            not_after: (now + ttl).min(self.root.not_after),
        });
        params.subject_alt_names = vec![uri_san(uri.clone())?];
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        let (not_before, not_after) = (params.not_before, params.not_after);
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            identity: identity.clone(),
            uri,
            serial: colon_hex(&serial),
            root_id: self.root.id.clone(),
            not_before,
            not_after,
            cert_pem: std::iter::once(cert.pem()).chain(self.root.intermediates.iter().cloned()).collect(),
            key_pem: pem::of_key(&key),
        })
    }
}

/// What leaves are made like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The time.
    pub(super) now: OffsetDateTime,
    /// How long they are valid.
    pub(super) ttl: Duration,
    /// The kind of their keys.
    pub(super) key: KeyKind,
}

/// From when until when.
pub(super) struct Validity {
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

/// What roots and leaves have in common. The subject is empty, which makes the SAN of a leaf critical.
pub(super) fn certificate(validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = whole_second(validity.not_before);
    params.not_after = whole_second(validity.not_after);
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params
}

/// Certificates know no fractions, and the row must say what the certificate says.
fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

/// The URI as a subject alternative name.
pub(super) fn uri_san(uri: String) -> Result<SanType, CaError> {
    match uri.as_str().try_into() {
        Ok(text) => Ok(SanType::URI(text)),
        Err(_) => Err(CaError::Identity { uri }),
    }
}

/// Refuses an identity whose URI could be taken for another one: with a slash in a name, or with characters that a URI
/// must escape (RFC 3986, 3.3).
pub(super) fn check_identity(identity: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), CaError> {
    let uri = identity.uri(trust_domain);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c);
    let is_same = |(domain, parsed): (TrustDomain, SpiffeId)| domain == *trust_domain && parsed.uri(&domain) == uri;
    if uri.chars().all(is_plain) && SpiffeId::parse(&uri).is_some_and(is_same) {
        return Ok(());
    }
    Err(CaError::Identity { uri })
}

/// 16 bytes of which 120 bits are random; positive and without leading zeros, so that every tool prints the same.
pub(super) fn random_serial() -> [u8; 16] {
    let mut bytes = Uuid::new_v4().into_bytes();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    bytes
}

/// Bytes as `aa:bb:..`.
pub(super) fn colon_hex(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}
