//! Certificates as rows of the store. How they are made is the business of `ca`.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{SpiffeId, TrustDomain};

/// A private key in PEM form, which no log, history or bundle may show.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// The PEM text, for those who must hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for PrivateKey {
    fn from(pem: String) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<private key>")
    }
}

/// A root certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Colon-separated hexadecimal fingerprint of the certificate.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Serial number of the certificate.
    pub serial_number: u64,
    /// Colon-separated hexadecimal key identifier.
    pub signing_key_id: String,
    /// UUID of the cluster, the first part of the trust domain.
    pub cluster_id: String,
    /// Trust domain of every identity that it signs.
    pub trust_domain: TrustDomain,
    /// Start of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// End of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: PrivateKey,
    /// True for the one root that signs.
    pub active: bool,
    /// Certificates of its key that roots before it have signed, in PEM form: leaves carry them for those who do not trust it
    /// yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intermediates: Vec<String>,
    /// Until when a root that signs no more is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub trusted_until: Option<OffsetDateTime>,
}

/// A leaf certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// Whom it speaks for.
    pub identity: SpiffeId,
    /// The same as a URI.
    pub uri: String,
    /// Colon-separated hexadecimal serial number.
    pub serial: String,
    /// The root that signed it.
    pub root_id: String,
    /// Start of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// End of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The certificate, followed by intermediates where there are any.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: PrivateKey,
}
