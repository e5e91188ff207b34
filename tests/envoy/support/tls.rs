//! Connections that are made by hand, past every sidecar.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Waiting;

/// What is sent once there is a connection.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n";

/// Who a caller says it is.
pub(crate) struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// The leaf that `/v1/agent/connect/ca/leaf/` answers with.
    pub(crate) fn of_leaf(leaf: &Value) -> Self {
        let pem = |field: &str| leaf[field].as_str().unwrap().as_bytes().to_vec();
        let chain = CertificateDer::pem_slice_iter(&pem("CertPEM")).collect::<Result<_, _>>().unwrap();
        Self { chain, key: PrivateKeyDer::from_pem_slice(&pem("PrivateKeyPEM")).unwrap() }
    }

    /// One that nobody in the mesh has signed, for this SPIFFE ID.
    pub(crate) fn foreign(identity: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.subject_alt_names = vec![rcgen::SanType::URI(identity.try_into().unwrap())];
        let certificate = parameters.self_signed(&key).unwrap();
        Self { chain: vec![certificate.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }
}

/// What a caller saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The SPIFFE ID of whoever answered the handshake; empty if nobody did.
    pub(crate) server: String,
    /// The serial number of its certificate.
    pub(crate) serial: String,
    /// What came back, until the connection was closed.
    pub(crate) answer: String,
}

/// Sends a request over TLS, and reads until the connection ends.
pub(crate) async fn visit(address: SocketAddr, sni: &str, own: Option<&Certificate>) -> Visit {
    tokio::time::timeout(Waiting::LIMIT, speak(address, sni, own)).await.expect("the connection is closed in time")
}

/// Sends a request in plain text; returns what came back until the connection was closed.
pub(crate) async fn visit_in_plain_text(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let all = tokio::time::timeout(Waiting::LIMIT, read(stream)).await;
    all.expect("the connection is closed in time")
}

async fn speak(address: SocketAddr, sni: &str, own: Option<&Certificate>) -> Visit {
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody::new()));
    let config = match own {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
        return Visit::default();
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap();
    let (_, certificate) = X509Certificate::from_der(&certificates[0]).unwrap();
    let (server, serial) = (spiffe_id(&certificate), certificate.raw_serial_as_string());
    // With TLS 1.3 the server looks at the caller's certificate only now, and may close before it reads.
    let _ = stream.write_all(REQUEST).await;
    Visit { server, serial, answer: read(stream).await }
}

/// Reads until the connection ends, in whatever way.
async fn read(mut stream: impl AsyncReadExt + Unpin) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn spiffe_id(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => (*uri).to_owned(),
        others => panic!("{others:?}"),
    }
}

/// Trusts everybody: what is tested is whom the others trust.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl Anybody {
    fn new() -> Self {
        Self(aws_lc_rs::default_provider())
    }
}

impl ServerCertVerifier for Anybody {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
