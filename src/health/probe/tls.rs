//! Connections of probes, with TLS where the check asks for it.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::model::CheckDefinition;

/// Where systems keep the roots that they trust, most common first.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// TLS settings that all probes share; the system's roots are read when the first one needs them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls {
    roots: Arc<OnceLock<Arc<RootCertStore>>>,
}

impl Tls {
    /// Connects to `host:port`, with TLS if `alpn` is given.
    pub(super) async fn connect(
        &self,
        target: &str,
        check: &CheckDefinition,
        alpn: Option<&[&str]>,
    ) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(target).await?;
        let Some(alpn) = alpn else { return Ok(Box::new(stream)) };
        let name = if check.tls_server_name.is_empty() { host(target) } else { &check.tls_server_name };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(self.config(check.tls_skip_verify, alpn)));
        Ok(Box::new(connector.connect(name, stream).await?))
    }

    /// What a TLS client needs.
    pub(super) fn config(&self, skip_verify: bool, alpn: &[&str]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions");
        let mut config = if skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth()
        } else {
            let roots = self.roots.get_or_init(|| Arc::new(system_roots()));
            builder.with_root_certificates(roots.clone()).with_no_client_auth()
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

/// The host of `host:port`, without brackets.
fn host(target: &str) -> &str {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The roots that the system trusts; `SSL_CERT_FILE` names others, as for most programs.
fn system_roots() -> RootCertStore {
    let named = std::env::var_os("SSL_CERT_FILE");
    let file =
        named.as_deref().map(Path::new).or_else(|| SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()));
    let mut roots = RootCertStore::empty();
    let Some(file) = file else { return roots };
    match CertificateDer::pem_file_iter(file) {
        Ok(certificates) => {
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        Err(error) => tracing::warn!(file = %file.display(), %error, "checks trust no certificate"),
    }
    roots
}

/// Accepts every certificate, for checks that say `TLSSkipVerify`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
