//! TLS from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::net::{Protocols, Tls};
use crate::settings::{Settings, TlsFiles, TlsListener, TlsSection, TlsVersion};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is not what it should be.
    #[error("{key} {path}: {why}")]
    File {
        /// The key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("{}.cert_file {certificate} and key_file {key} cannot be used: {why}", section.path())]
    Pair {
        /// The section of the keys that name the files.
        section: TlsSection,
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        why: rustls::Error,
    },
}

/// The TLS of the listeners that have one.
#[derive(Debug, Clone, Default)]
pub(super) struct Secured {
    /// Of the HTTP API.
    pub(super) https: Option<Tls>,
    /// Of xDS.
    pub(super) grpc: Option<Tls>,
}

/// What the files of the listeners say.
pub(super) struct Configs {
    https: Option<ServerConfig>,
    grpc: Option<ServerConfig>,
}

impl Configs {
    /// What they say now.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn read(settings: &Settings) -> Result<Self, TlsError> {
        let of = |listener: &Option<TlsListener>| listener.as_ref().map(|listener| read(&listener.files)).transpose();
        Ok(Self { https: of(&settings.https)?, grpc: of(&settings.grpc_tls)? })
    }
}

impl Secured {
    pub(super) fn new(Configs { https, grpc }: Configs) -> Self {
        Self {
            https: https.map(|config| Tls::new(config, Protocols::Http)),
            grpc: grpc.map(|config| Tls::new(config, Protocols::Http2)),
        }
    }

    /// Makes this what new connections get.
    pub(super) fn replace(&self, Configs { https, grpc }: Configs) {
        for (served, config) in [(&self.https, https), (&self.grpc, grpc)] {
            if let (Some(served), Some(config)) = (served, config) {
                served.replace(config);
            }
        }
    }
}

/// What the files say now.
///
/// # Errors
/// A file cannot be used.
fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let section = files.section;
    let path = section.path();
    let certificates = certificates(&format!("{path}.cert_file"), &files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|error| unreadable(&format!("{path}.key_file"), &files.key_file, error, "private key"))?;
    let (certificate, key_file) = (files.cert_file.clone(), files.key_file.clone());
    let unusable = |why| TlsError::Pair { section, certificate: certificate.clone(), key: key_file.clone(), why };
    let versions = match files.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13][..],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).map_err(unusable)?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(verifier(&format!("{path}.ca_file"), file)?),
    };
    builder.with_single_cert(certificates, key).map_err(unusable)
}

/// Who accepts the certificates that the roots in a file signed, and nobody without one.
fn verifier(key: &str, path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let wrong = |why: String| TlsError::File { key: key.to_owned(), path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for root in certificates(key, path)? {
        roots.add(root).map_err(|error| wrong(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .map_err(|error: VerifierBuilderError| wrong(error.to_string()))
}

/// The certificates of a file, which are one or more.
fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(key, path, pem::Error::NoItemsFound, "certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(key, path, error, "certificate")),
    }
}

fn unreadable(key: &str, path: &Path, error: pem::Error, what: &str) -> TlsError {
    let why = if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        format!("holds no {what} in PEM")
    } else {
        format!("is no PEM: {error}")
    };
    TlsError::File { key: key.to_owned(), path: path.to_owned(), why }
}
