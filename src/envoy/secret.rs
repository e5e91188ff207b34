//! Secrets: a proxy's own certificate, and the roots that it trusts.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};

use super::snapshot::Resource;
use super::{canonical, names};

fn inline(text: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..DataSource::default() }
}

fn resource(name: &str, content: Type) -> Resource {
    let secret = Secret { name: name.to_owned(), r#type: Some(content) };
    Resource::new(name, canonical::encode(&secret), [])
}

/// A proxy's own certificate chain and key, both PEM.
pub fn leaf(certificates: &str, key: &str) -> Resource {
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(certificates)),
        private_key: Some(inline(key)),
        ..TlsCertificate::default()
    };
    resource(names::LEAF_SECRET, Type::TlsCertificate(certificate))
}

/// The roots of the own trust domain, concatenated PEM.
pub fn roots(certificates: &str) -> Resource {
    let context = CertificateValidationContext {
        trusted_ca: Some(inline(certificates)),
        ..CertificateValidationContext::default()
    };
    resource(names::ROOTS_SECRET, Type::ValidationContext(context))
}
