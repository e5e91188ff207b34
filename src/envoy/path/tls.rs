//! TLS: what both sides of a connection offer and demand, and whether they come together.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret,
    SpiffeCertValidatorConfig, SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::google::protobuf::Any;
use prost::Name;

use super::certificate::{self, Certificates, Roots};
use super::known::{decode, is, only, unpack};
use super::matcher;
use super::{End, Stop, Unknown};
use crate::envoy::snapshot::{ResourceType, Snapshot};

/// The cipher suites of TLS 1.2 that Envoy offers and takes where nothing is set.
const DEFAULT_CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

/// Fields of `CommonTlsContext` that are interpreted.
const COMMON: [&str; 8] = [
    "alpn_protocols",
    "combined_validation_context",
    "key_log",
    "tls_certificate_sds_secret_configs",
    "tls_certificates",
    "tls_params",
    "validation_context",
    "validation_context_sds_secret_config",
];

/// What a caller brings to a handshake.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hello {
    /// The SNI as it is sent.
    pub(super) sni: String,
    side: Side,
}

/// What a listener brings to a handshake.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Server {
    requires_certificate: bool,
    side: Side,
}

/// What either side brings.
#[derive(Debug, Clone, PartialEq)]
struct Side {
    certificates: Option<Certificates>,
    validation: Validation,
    versions: (i32, i32),
    ciphers: BTreeSet<String>,
}

/// Whom a side accepts.
#[derive(Debug, Clone, PartialEq, Default)]
struct Validation {
    trust: Trust,
    names: Vec<SubjectAltNameMatcher>,
}

/// Whose signatures count.
#[derive(Debug, Clone, PartialEq, Default)]
enum Trust {
    /// Anybody's: nothing is verified.
    #[default]
    Anybody,
    /// Those of these roots.
    Roots(Roots),
    /// Those of the roots of the trust domain that a certificate names.
    Domains(BTreeMap<String, Roots>),
}

/// Who came together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    /// The caller, if it showed a certificate.
    pub(super) peer: Option<Certificates>,
    /// The listener.
    pub(super) local: Certificates,
}

/// Why a certificate is not accepted.
enum Refusal {
    Untrusted,
    OtherName,
}

impl Hello {
    /// A caller who trusts everybody and who has this chain of PEM certificates, if any.
    pub(super) fn by_hand(sni: &str, certificates: Option<&str>) -> Result<Self, Unknown> {
        let side = Side {
            certificates: certificates.map(Certificates::read).transpose()?,
            validation: Validation::default(),
            versions: (TlsProtocol::TlSv12.into(), TlsProtocol::TlSv13.into()),
            ciphers: DEFAULT_CIPHERS.map(str::to_owned).into(),
        };
        Ok(Self { sni: sni.to_owned(), side })
    }

    /// What the cluster with this transport socket sends; `None` if it sends plain bytes.
    pub(super) fn of_cluster(socket: &TransportSocket, secrets: &Snapshot) -> Result<Option<Self>, End> {
        let Some(any) = context(socket)? else { return Ok(None) };
        let tls: UpstreamTlsContext = unpack(any)?;
        only(&tls, &["allow_renegotiation", "common_tls_context", "enforce_rsa_key_usage", "max_session_keys", "sni"])?;
        let common = tls.common_tls_context.unwrap_or_default();
        // Callers go no higher unless they are told to.
        let side = Side::read(&common, secrets, TlsProtocol::TlSv12)?;
        Ok(Some(Self { sni: tls.sni, side }))
    }
}

impl Server {
    /// What a filter chain with this transport socket expects; `None` if it takes bytes as they are.
    pub(super) fn of_chain(socket: &TransportSocket, secrets: &Snapshot) -> Result<Option<Self>, End> {
        let Some(any) = context(socket)? else { return Ok(None) };
        let tls: DownstreamTlsContext = unpack(any)?;
        only(
            &tls,
            &[
                "common_tls_context",
                "disable_stateful_session_resumption",
                "disable_stateless_session_resumption",
                "ocsp_staple_policy",
                "prefer_client_ciphers",
                "require_client_certificate",
                "session_timeout",
            ],
        )?;
        let common = tls.common_tls_context.unwrap_or_default();
        let side = Side::read(&common, secrets, TlsProtocol::TlSv13)?;
        Ok(Some(Self { requires_certificate: tls.require_client_certificate.is_some_and(|it| it.value), side }))
    }

    /// What comes of a handshake with this caller.
    pub(super) fn accept(&self, hello: &Hello) -> Result<Session, End> {
        let Some(local) = &self.side.certificates else {
            return Err(Unknown::Value("a listener without a certificate").into());
        };
        if !have_common_tls(&hello.side, &self.side, local) {
            return Err(Stop::NoCommonTls.into());
        }
        match hello.side.validation.refuses(local)? {
            Some(Refusal::Untrusted) => return Err(Stop::UntrustedServer(local.name()).into()),
            Some(Refusal::OtherName) => {
                let wanted = hello.side.validation.names.iter().map(wanted).collect();
                return Err(Stop::WrongServer { is: local.name(), wanted }.into());
            }
            None => {}
        }
        let peer = hello.side.certificates.clone();
        match &peer {
            None if self.requires_certificate => return Err(Stop::NoClientCertificate.into()),
            None => {}
            Some(peer) => match self.side.validation.refuses(peer)? {
                Some(Refusal::Untrusted) => return Err(Stop::UntrustedClient(peer.name()).into()),
                Some(Refusal::OtherName) => return Err(Stop::WrongClient(peer.name()).into()),
                None => {}
            },
        }
        Ok(Session { peer, local: local.clone() })
    }
}

/// The TLS context of a transport socket; `None` for one that adds nothing.
fn context(socket: &TransportSocket) -> Result<Option<&Any>, Unknown> {
    match &socket.config_type {
        Some(transport_socket::ConfigType::TypedConfig(any)) if is(any, &RawBuffer::full_name()) => Ok(None),
        Some(transport_socket::ConfigType::TypedConfig(any)) => Ok(Some(any)),
        None => Err(Unknown::Extension(socket.name.clone())),
    }
}

impl Side {
    fn read(common: &CommonTlsContext, secrets: &Snapshot, highest: TlsProtocol) -> Result<Self, End> {
        only(common, &COMMON)?;
        let parameters = common.tls_params.clone().unwrap_or_default();
        only(&parameters, &["cipher_suites", "tls_maximum_protocol_version", "tls_minimum_protocol_version"])?;
        Ok(Self {
            certificates: certificates(common, secrets)?,
            validation: Validation::read(common, secrets)?,
            versions: versions(&parameters, highest),
            ciphers: ciphers(&parameters),
        })
    }
}

fn versions(parameters: &TlsParameters, highest: TlsProtocol) -> (i32, i32) {
    let or = |version: i32, default: TlsProtocol| if version == 0 { default.into() } else { version };
    (
        or(parameters.tls_minimum_protocol_version, TlsProtocol::TlSv12),
        or(parameters.tls_maximum_protocol_version, highest),
    )
}

/// The cipher suites; those of equal preference are written as `[A|B]`.
fn ciphers(parameters: &TlsParameters) -> BTreeSet<String> {
    if parameters.cipher_suites.is_empty() {
        return DEFAULT_CIPHERS.map(str::to_owned).into();
    }
    let names = parameters.cipher_suites.iter().flat_map(|names| names.split(['[', '|', ']']));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn have_common_tls(caller: &Side, listener: &Side, certificate: &Certificates) -> bool {
    let newest = caller.versions.1.min(listener.versions.1);
    if newest < caller.versions.0.max(listener.versions.0) {
        return false;
    }
    // The cipher suites of TLS 1.3 cannot be chosen.
    newest == i32::from(TlsProtocol::TlSv13)
        || caller
            .ciphers
            .intersection(&listener.ciphers)
            .any(|suite| suite.contains("ECDSA") == certificate.has_elliptic_key)
}

fn certificates(common: &CommonTlsContext, secrets: &Snapshot) -> Result<Option<Certificates>, End> {
    let named = match (common.tls_certificates.as_slice(), common.tls_certificate_sds_secret_configs.as_slice()) {
        ([], []) => return Ok(None),
        ([inline], []) => inline.clone(),
        ([], [sds]) => match secret(sds, secrets)? {
            Type::TlsCertificate(certificate) => certificate,
            Type::ValidationContext(_) | Type::SessionTicketKeys(_) | Type::GenericSecret(_) => {
                return Err(Unknown::Value("a secret of another type than it is used as").into());
            }
        },
        _ => return Err(Unknown::Value("several certificates for one listener or cluster").into()),
    };
    only::<TlsCertificate>(&named, &["certificate_chain", "private_key"])?;
    let chain = named.certificate_chain.ok_or(Unknown::Certificate)?;
    Ok(Some(Certificates::read(&certificate::text(&chain)?)?))
}

fn secret(config: &SdsSecretConfig, secrets: &Snapshot) -> Result<Type, End> {
    let found = secrets.get(ResourceType::Secret).get(config.name.as_str());
    let secret: Secret = decode(&found.ok_or_else(|| Stop::NoSecret(config.name.clone()))?.body)?;
    secret.r#type.ok_or(End::Unknown(Unknown::Value("a secret without content")))
}

impl Validation {
    fn read(common: &CommonTlsContext, secrets: &Snapshot) -> Result<Self, End> {
        match &common.validation_context_type {
            None => Ok(Self::default()),
            Some(ValidationContextType::ValidationContext(context)) => Ok(Self::of(context)?),
            Some(ValidationContextType::ValidationContextSdsSecretConfig(sds)) => {
                Ok(Self::of(&validation_secret(sds, secrets)?)?)
            }
            Some(ValidationContextType::CombinedValidationContext(combined)) => {
                only(combined, &["default_validation_context", "validation_context_sds_secret_config"])?;
                let mut context = combined.default_validation_context.clone().unwrap_or_default();
                if let Some(sds) = &combined.validation_context_sds_secret_config {
                    merge(&mut context, validation_secret(sds, secrets)?);
                }
                Ok(Self::of(&context)?)
            }
            Some(_) => Err(Unknown::Value("a certificate provider").into()),
        }
    }

    fn of(context: &CertificateValidationContext) -> Result<Self, Unknown> {
        only(
            context,
            &["custom_validator_config", "match_typed_subject_alt_names", "suppress_client_ca_list", "trusted_ca"],
        )?;
        let trust = match (&context.custom_validator_config, &context.trusted_ca) {
            (Some(validator), _) => {
                let any = validator.typed_config.as_ref();
                let spiffe: SpiffeCertValidatorConfig =
                    unpack(any.ok_or_else(|| Unknown::Extension(validator.name.clone()))?)?;
                Trust::Domains(trust_domains(&spiffe)?)
            }
            (None, Some(roots)) => Trust::Roots(Roots::read(&certificate::text(roots)?)?),
            (None, None) => Trust::Anybody,
        };
        Ok(Self { trust, names: context.match_typed_subject_alt_names.clone() })
    }

    fn refuses(&self, certificates: &Certificates) -> Result<Option<Refusal>, Unknown> {
        let is_trusted = match &self.trust {
            Trust::Anybody => true,
            Trust::Roots(roots) => certificates.is_signed_by(roots)?,
            Trust::Domains(domains) => {
                let domain = certificates.uris.first().and_then(|uri| uri.strip_prefix("spiffe://"));
                let domain = domain.and_then(|rest| rest.split('/').next());
                match domain.and_then(|domain| domains.get(domain)) {
                    Some(roots) => certificates.is_signed_by(roots)?,
                    None => false,
                }
            }
        };
        if !is_trusted {
            return Ok(Some(Refusal::Untrusted));
        }
        for matcher in &self.names {
            if has_name(matcher, certificates)? {
                return Ok(None);
            }
        }
        Ok((!self.names.is_empty()).then_some(Refusal::OtherName))
    }
}

fn validation_secret(sds: &SdsSecretConfig, secrets: &Snapshot) -> Result<CertificateValidationContext, End> {
    match secret(sds, secrets)? {
        Type::ValidationContext(context) => Ok(context),
        Type::TlsCertificate(_) | Type::SessionTicketKeys(_) | Type::GenericSecret(_) => {
            Err(Unknown::Value("a secret of another type than it is used as").into())
        }
    }
}

/// Lays a context that came as a secret over the one that the resource itself holds.
fn merge(context: &mut CertificateValidationContext, over: CertificateValidationContext) {
    context.match_typed_subject_alt_names.extend(over.match_typed_subject_alt_names.iter().cloned());
    let own = std::mem::take(context);
    *context = CertificateValidationContext {
        trusted_ca: over.trusted_ca.clone().or(own.trusted_ca),
        custom_validator_config: over.custom_validator_config.clone().or(own.custom_validator_config),
        match_typed_subject_alt_names: own.match_typed_subject_alt_names,
        ..over
    };
}

fn trust_domains(config: &SpiffeCertValidatorConfig) -> Result<BTreeMap<String, Roots>, Unknown> {
    only(config, &["trust_domains"])?;
    let mut domains = BTreeMap::new();
    for domain in &config.trust_domains {
        only(domain, &["name", "trust_bundle"])?;
        let bundle = domain.trust_bundle.as_ref().ok_or(Unknown::Certificate)?;
        domains.insert(domain.name.clone(), Roots::read(&certificate::text(bundle)?)?);
    }
    Ok(domains)
}

fn has_name(matcher: &SubjectAltNameMatcher, certificates: &Certificates) -> Result<bool, Unknown> {
    if SanType::try_from(matcher.san_type) != Ok(SanType::Uri) {
        return Err(Unknown::Value("a matcher of other names than URIs"));
    }
    let wanted = matcher.matcher.as_ref().ok_or(Unknown::Value("a name matcher without a pattern"))?;
    for uri in &certificates.uris {
        if matcher::text(wanted, uri)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a matcher of names asks for, as people read it.
fn wanted(matcher: &SubjectAltNameMatcher) -> String {
    use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
    match matcher.matcher.as_ref().and_then(|matcher| matcher.match_pattern.as_ref()) {
        Some(MatchPattern::Exact(text)) => text.clone(),
        Some(MatchPattern::Prefix(text)) => format!("{text}..."),
        Some(MatchPattern::Suffix(text)) => format!("...{text}"),
        Some(MatchPattern::Contains(text)) => format!("...{text}..."),
        Some(MatchPattern::SafeRegex(regex)) => regex.regex.clone(),
        Some(MatchPattern::Custom(_)) | None => "somebody else".to_owned(),
    }
}
