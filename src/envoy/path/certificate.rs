//! Certificates: who somebody is, and who vouches for that.
//!
//! There is no clock here: validity periods are not looked at.

use std::fmt::Write as _;

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY;
use x509_parser::prelude::{FromDer, GeneralName, Pem, X509Certificate};

use super::Unknown;

/// Longest chain that is followed.
const MAX_CHAIN: usize = 8;

/// How each certificate ends in PEM.
const END: &str = "-----END CERTIFICATE-----";

/// A certificate with those that lead to its root, the own one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificates {
    chain: Vec<Vec<u8>>,
    pem: String,
    /// Its URIs; SPIFFE IDs are among them.
    pub(super) uris: Vec<String>,
    /// The host names that it is for.
    pub(super) dns_names: Vec<String>,
    /// Its subject; `None` if it is not empty, which leaves open how Envoy writes it.
    pub(super) subject: Option<&'static str>,
    /// Its key lies on an elliptic curve.
    pub(super) has_elliptic_key: bool,
}

/// Certificates that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roots(Vec<Vec<u8>>);

/// The text of a data source.
pub(super) fn text(source: &DataSource) -> Result<String, Unknown> {
    match &source.specifier {
        Some(Specifier::InlineString(text)) => Ok(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.clone()).map_err(|_| Unknown::Certificate),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => {
            Err(Unknown::Value("content that is outside of the resources"))
        }
    }
}

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, Unknown> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let blocks = blocks.map_err(|_| Unknown::Certificate)?;
    Ok(blocks.into_iter().filter(|block| block.label == "CERTIFICATE").map(|block| block.contents).collect())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Unknown> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|_| Unknown::Certificate)
}

impl Certificates {
    /// A certificate and its intermediates from PEM.
    pub(super) fn read(pem: &str) -> Result<Self, Unknown> {
        let chain = certificates(pem)?;
        let own = parse(chain.first().ok_or(Unknown::Certificate)?)?;
        let names = own.subject_alternative_name().map_err(|_| Unknown::Certificate)?;
        let names = names.map(|extension| extension.value.general_names.clone()).unwrap_or_default();
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        for name in &names {
            if let GeneralName::URI(uri) = name {
                uris.push((*uri).to_owned());
            } else if let GeneralName::DNSName(name) = name {
                dns_names.push((*name).to_owned());
            }
        }
        let subject = own.subject().iter().next().is_none().then_some("");
        let has_elliptic_key = own.public_key().algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY;
        Ok(Self { uris, dns_names, subject, has_elliptic_key, pem: pem.to_owned(), chain })
    }

    /// How people call it.
    pub(super) fn name(&self) -> String {
        self.uris.iter().chain(&self.dns_names).next().cloned().unwrap_or_else(|| "a nameless certificate".to_owned())
    }

    /// SHA-256 of the certificate in hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        let mut text = String::new();
        for byte in Sha256::digest(&self.chain[0]) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The first `count` certificates of the chain, as Envoy writes PEM into headers.
    pub(super) fn url_encoded_pem(&self, count: usize) -> String {
        let mut text = String::new();
        for block in self.pem.split_inclusive(END).filter(|block| block.ends_with(END)).take(count) {
            for line in block.trim_start().lines() {
                text.push_str(line.trim_end());
                text.push_str("%0A");
            }
        }
        [(" ", "%20"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D")]
            .into_iter()
            .fold(text, |text, (plain, escaped)| text.replace(plain, escaped))
    }

    /// True if one of `roots` has signed it, directly or through its intermediates.
    pub(super) fn is_signed_by(&self, roots: &Roots) -> Result<bool, Unknown> {
        let roots = roots.0.iter().map(|root| parse(root)).collect::<Result<Vec<_>, _>>()?;
        let others = self.chain[1..].iter().map(|der| parse(der)).collect::<Result<Vec<_>, _>>()?;
        let mut current = parse(&self.chain[0])?;
        for _ in 0..MAX_CHAIN {
            if roots.iter().any(|root| is_issuer(root, &current)) {
                return Ok(true);
            }
            match others.iter().find(|other| other.is_ca() && is_issuer(other, &current)) {
                Some(next) if next.raw_serial() != current.raw_serial() => current = next.clone(),
                Some(_) | None => return Ok(false),
            }
        }
        Ok(false)
    }
}

fn is_issuer(issuer: &X509Certificate<'_>, of: &X509Certificate<'_>) -> bool {
    issuer.subject().as_raw() == of.issuer().as_raw() && of.verify_signature(Some(issuer.public_key())).is_ok()
}

impl Roots {
    /// Trusted certificates from PEM.
    pub(super) fn read(pem: &str) -> Result<Self, Unknown> {
        certificates(pem).map(Self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

    use super::*;

    /// An authority for tests.
    pub(in crate::envoy::path) struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        pub(in crate::envoy::path) fn new(name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::self_signed(Self::parameters(name), key).unwrap())
        }

        fn parameters(name: &str) -> CertificateParams {
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            parameters
        }

        pub(in crate::envoy::path) fn pem(&self) -> String {
            self.0.pem()
        }

        /// A certificate for this URI.
        pub(in crate::envoy::path) fn leaf(&self, uri: &str) -> String {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
            parameters.signed_by(&key, &self.0).unwrap().pem()
        }

        fn intermediate(&self, name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::signed_by(Self::parameters(name), key, &self.0).unwrap())
        }
    }

    #[test]
    fn whoever_signed_vouches() {
        let (root, other) = (Authority::new("root"), Authority::new("root"));
        let intermediate = root.intermediate("intermediate");
        let roots = |authority: &Authority| Roots::read(&authority.pem()).unwrap();
        let direct = Certificates::read(&root.leaf("spiffe://a/b")).unwrap();
        let leaf = intermediate.leaf("spiffe://a/c");
        let whole = Certificates::read(&format!("{leaf}{}", intermediate.pem())).unwrap();
        let partial = Certificates::read(&leaf).unwrap();

        assert_eq!(direct.uris, ["spiffe://a/b"]);
        assert_eq!(direct.subject, Some(""));
        assert_eq!(direct.digest().len(), 64);
        let encoded = direct.url_encoded_pem(1);
        assert!(encoded.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"), "{encoded}");
        assert!(encoded.ends_with("%0A-----END%20CERTIFICATE-----%0A"), "{encoded}");
        assert_eq!(direct.url_encoded_pem(9), encoded);
        assert_eq!(whole.url_encoded_pem(9).matches("BEGIN").count(), 2);
        assert_eq!(direct.is_signed_by(&roots(&root)), Ok(true));
        // The name of the issuer is the same, its key is not.
        assert_eq!(direct.is_signed_by(&roots(&other)), Ok(false));
        assert_eq!(whole.is_signed_by(&roots(&root)), Ok(true));
        assert_eq!(partial.is_signed_by(&roots(&root)), Ok(false));
        assert_eq!(partial.is_signed_by(&roots(&intermediate)), Ok(true));
    }

    #[test]
    fn what_is_no_certificate_is_not_known() {
        assert_eq!(Certificates::read("nonsense"), Err(Unknown::Certificate));
        assert_eq!(Certificates::read(""), Err(Unknown::Certificate));
    }
}
