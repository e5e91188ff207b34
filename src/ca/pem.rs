//! Keys and certificates in PEM form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::model::PrivateKey;

/// Columns of a line (RFC 7468, 2).
const WIDTH: usize = 64;

/// The one private key of a text, in any of the three forms that are not encrypted; whatever stands beside it, such as the
/// parameters of its curve, says nothing that the key does not say.
pub(super) fn key(text: &PrivateKey) -> Option<KeyPair> {
    let mut keys = PrivateKeyDer::pem_slice_iter(text.expose().as_bytes());
    match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => KeyPair::try_from(&key).ok(),
        _ => None,
    }
}

/// A key in the form that it was given in, under the label of that form.
pub(super) fn of_key(key: &KeyPair) -> PrivateKey {
    let der = key.serialized_der();
    let label = match PrivateKeyDer::try_from(der) {
        Ok(PrivateKeyDer::Sec1(_)) => "EC PRIVATE KEY",
        Ok(PrivateKeyDer::Pkcs1(_)) => "RSA PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    PrivateKey::from(written(label, der))
}

/// The bytes of the one certificate of a text; whatever a text says around it is left out.
///
/// # Errors
/// There is none, there are several, or the certificate has bytes after its end.
pub(super) fn certificate(text: &str) -> Result<Vec<u8>, String> {
    let mut files = Pem::iter_from_buffer(text.as_bytes());
    let first = files.next().and_then(Result::ok).filter(|file| file.label == "CERTIFICATE");
    let file = match (first, files.next()) {
        (Some(first), None) => first,
        (Some(_), Some(_)) => return Err("must be one certificate, without others after it".to_owned()),
        (None, _) => return Err("is no certificate in PEM form".to_owned()),
    };
    match X509Certificate::from_der(&file.contents) {
        Ok(([], _)) => Ok(file.contents),
        Ok((rest, _)) => Err(format!("has {} bytes after the end of the certificate: leave them out", rest.len())),
        Err(_) => Err("is no certificate in PEM form".to_owned()),
    }
}

/// What a certificate says.
pub(super) fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, cert)| cert)
}

/// A certificate and nothing else.
pub(super) fn of_certificate(der: &[u8]) -> String {
    written("CERTIFICATE", der)
}

fn written(label: &str, der: &[u8]) -> String {
    let (text, mut lines) = (STANDARD.encode(der), String::new());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WIDTH));
        lines += line;
        lines.push('\n');
        rest = after;
    }
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
