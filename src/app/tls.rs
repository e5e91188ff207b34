//! TLS from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::settings::{TlsFiles, TlsVersion};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is not what it should be.
    #[error("{key} {path}: {why}")]
    File {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("tls.grpc.cert_file {certificate} and key_file {key} cannot be used: {why}")]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        why: rustls::Error,
    },
}

/// What the files say now.
///
/// # Errors
/// A file cannot be used.
pub(super) fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let certificates = certificates("tls.grpc.cert_file", &files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|error| unreadable("tls.grpc.key_file", &files.key_file, error, "private key"))?;
    let unusable = |why| TlsError::Pair { certificate: files.cert_file.clone(), key: files.key_file.clone(), why };
    let versions = match files.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13][..],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).map_err(unusable)?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path)?),
    };
    builder.with_single_cert(certificates, key).map_err(unusable)
}

/// Who accepts the certificates that the roots in a file signed, and nobody without one.
fn verifier(path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let key = "tls.grpc.ca_file";
    let wrong = |why: String| TlsError::File { key, path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for root in certificates(key, path)? {
        roots.add(root).map_err(|error| wrong(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .map_err(|error: VerifierBuilderError| wrong(error.to_string()))
}

/// The certificates of a file, which are one or more.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(key, path, pem::Error::NoItemsFound, "certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(key, path, error, "certificate")),
    }
}

fn unreadable(key: &'static str, path: &Path, error: pem::Error, what: &str) -> TlsError {
    let why = if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        format!("holds no {what} in PEM")
    } else {
        format!("is no PEM: {error}")
    };
    TlsError::File { key, path: path.to_owned(), why }
}
