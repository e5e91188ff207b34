//! Certificates for servers and clients of a test, and TLS with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Who signs certificates. Everything is written to files, as operators have it.
pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    /// The file of its own certificate.
    pub(crate) root: PathBuf,
}

/// The files of a certificate and of its key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Signer {
    /// A new one, with its certificate in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let root = write(folder, &format!("{name}.pem"), &certificate.pem());
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A certificate for `localhost` and 127.0.0.1, in files of this name.
    pub(crate) fn sign(&self, folder: &Path, name: &str) -> Pair {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("good names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            certificate: write(folder, &format!("{name}-cert.pem"), &certificate.pem()),
            key: write(folder, &format!("{name}-key.pem"), &key.serialize_pem()),
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file in a folder of the test");
    path
}

/// Why TLS cannot be made of files.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A client of gRPC that trusts what the roots in a file signed, and shows a certificate if it is given one.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn client(roots: &Path, own: Option<&Pair>) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(trusted(roots)?);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_auth_cert(certificates(&pair.certificate)?, key(pair)?)?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A server of gRPC for clients that show what the roots in a file signed. Like that of the project, it resumes no sessions.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn server(roots: &Path, own: &Pair) -> Result<ServerConfig, Failure> {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted(roots)?), provider()).build()?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_client_cert_verifier(clients);
    let mut config = builder.with_single_cert(certificates(&own.certificate)?, key(own)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    Ok(CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?)
}

fn trusted(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    certificates(path)?.into_iter().try_for_each(|root| roots.add(root))?;
    Ok(roots)
}

fn key(pair: &Pair) -> Result<PrivateKeyDer<'static>, Failure> {
    Ok(PrivateKeyDer::from_pem_file(&pair.key)?)
}
