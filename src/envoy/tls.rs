//! TLS contexts. Certificates and roots travel by SDS, so that rotating them touches no listener and no cluster.

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::util::pack_any;
use prost::{Message, Name};

use super::{names, wire};
use crate::ir;

fn secret(name: &ir::SecretName) -> SdsSecretConfig {
    SdsSecretConfig { name: names::secret(name), sds_config: Some(wire::ads(None)) }
}

fn transport_socket<M: Message + Name>(context: M) -> TransportSocket {
    TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}

/// The caller's side: own leaf, the roots to trust, and the identities that the other side may have.
pub(super) fn upstream(tls: &ir::UpstreamTls) -> TransportSocket {
    let matcher = |identity: &std::sync::Arc<str>| SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(identity.to_string())),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: tls.identities.iter().map(matcher).collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret(&ir::SecretName::Roots(tls.roots.clone()))),
        ..CombinedCertificateValidationContext::default()
    };
    transport_socket(UpstreamTlsContext {
        sni: tls.sni.to_string(),
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
            ..common(&tls.parameters)
        }),
        ..UpstreamTlsContext::default()
    })
}

/// The accepting side: own leaf, and a secret that says whose certificates are accepted.
pub(super) fn downstream(tls: &ir::DownstreamTls) -> TransportSocket {
    transport_socket(DownstreamTlsContext {
        require_client_certificate: Some(wire::boolean(true)),
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(secret(
                &ir::SecretName::Callers(tls.callers.clone()),
            ))),
            alpn_protocols: tls.alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
            ..common(&tls.parameters)
        }),
        ..DownstreamTlsContext::default()
    })
}

fn common(parameters: &ir::TlsParameters) -> CommonTlsContext {
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version(parameters.minimum).into(),
            tls_maximum_protocol_version: version(parameters.maximum).into(),
            cipher_suites: parameters.ciphers.iter().map(|&suite| suite.to_owned()).collect(),
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: vec![secret(&ir::SecretName::Leaf)],
        ..CommonTlsContext::default()
    }
}

const fn version(version: Option<ir::TlsVersion>) -> TlsProtocol {
    match version {
        None | Some(ir::TlsVersion::Auto) => TlsProtocol::TlsAuto,
        Some(ir::TlsVersion::V1_0) => TlsProtocol::TlSv10,
        Some(ir::TlsVersion::V1_1) => TlsProtocol::TlSv11,
        Some(ir::TlsVersion::V1_2) => TlsProtocol::TlSv12,
        Some(ir::TlsVersion::V1_3) => TlsProtocol::TlSv13,
    }
}
