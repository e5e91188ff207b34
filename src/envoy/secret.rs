//! Secrets: a proxy's own certificate, and whom it trusts.

use envoy_types::pb::envoy::config::core::v3::{DataSource, TypedExtensionConfig, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
};
use envoy_types::util::pack_any;

use super::snapshot::Resource;
use super::{canonical, names};
use crate::ir;

fn inline(text: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..DataSource::default() }
}

fn resource(name: &ir::SecretName, content: Type) -> Resource {
    let name = names::secret(name);
    let secret = Secret { name: name.clone(), r#type: Some(content) };
    Resource::new(&name, canonical::encode(&secret), [])
}

/// A proxy's own certificate chain and key, both PEM.
pub fn leaf(certificates: &str, key: &str) -> Resource {
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(certificates)),
        private_key: Some(inline(key)),
        ..TlsCertificate::default()
    };
    resource(&ir::SecretName::Leaf, Type::TlsCertificate(certificate))
}

/// Whom a proxy trusts. Envoy takes a change between roots and trust domains like any other: open connections stay.
pub fn trust(name: &ir::SecretName, trust: &ir::Trust) -> Resource {
    let mut context = CertificateValidationContext::default();
    match trust {
        ir::Trust::Roots(roots) => context.trusted_ca = Some(inline(roots)),
        ir::Trust::Domains(domains) => {
            let domain = |(name, roots): (&String, &String)| TrustDomain {
                name: name.clone(),
                trust_bundle: Some(inline(roots)),
                ..TrustDomain::default()
            };
            let validator =
                SpiffeCertValidatorConfig { trust_domains: domains.iter().map(domain).collect(), ..Default::default() };
            context.custom_validator_config = Some(TypedExtensionConfig {
                name: "envoy.tls.cert_validator.spiffe".to_owned(),
                typed_config: Some(pack_any(validator)),
            });
        }
    }
    resource(name, Type::ValidationContext(context))
}
