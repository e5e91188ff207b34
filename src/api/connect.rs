//! Certificates: the roots of the CA and the leaf of a service.

use std::time::Duration;

use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::route::{Routes, Tail, get, prefix};
use crate::model::{Leaf, Root, SpiffeId};
use crate::store::{Index, Reader, Stored};

/// Time that a call waits for a certificate to be issued.
const ISSUE_TIME: Duration = Duration::from_secs(30);

/// The routes of certificates.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/connect/ca/roots", get(roots))
        .route("/v1/agent/connect/ca/roots", get(agent_roots))
        .merge(prefix("/v1/agent/connect/ca/leaf/", get(leaf)))
}

#[derive(Serialize)]
struct RootList {
    #[serde(rename = "ActiveRootID")]
    active_root_id: String,
    #[serde(rename = "TrustDomain")]
    trust_domain: String,
    #[serde(rename = "Roots")]
    roots: Vec<RootRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootRow {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    serial_number: u64,
    #[serde(rename = "SigningKeyID")]
    signing_key_id: String,
    /// Only the cluster's UUID, not the whole domain.
    external_trust_domain: String,
    not_before: String,
    not_after: String,
    root_cert: String,
    intermediate_certs: Option<Vec<String>>,
    active: bool,
    private_key_type: &'static str,
    private_key_bits: usize,
    create_index: Index,
    modify_index: Index,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LeafRow {
    serial_number: String,
    #[serde(rename = "CertPEM")]
    cert_pem: String,
    #[serde(rename = "PrivateKeyPEM")]
    private_key_pem: String,
    service: String,
    #[serde(rename = "ServiceURI")]
    service_uri: String,
    valid_after: String,
    valid_before: String,
    create_index: Index,
    modify_index: Index,
}

async fn roots(call: Call) -> Result<Response, ApiError> {
    if call.query.has("pem") && call.query.required_bool("pem")? {
        return call.pem_bundle().await;
    }
    call.read(Filtered::Nothing, |reader| Ok(root_list(&reader.roots()))).await
}

async fn agent_roots(call: Call) -> Result<Response, ApiError> {
    let response = call.read(Filtered::Nothing, |reader| Ok(root_list(&reader.roots()))).await?;
    Ok(uncached(response))
}

/// The leaf of any name; the service need not exist.
async fn leaf(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let scope = call.scope.clone().in_namespace(None)?;
    let key = scope.service(&tail.required("service name")?);
    let service = key.service.name.to_string();
    let identity = SpiffeId::Service(key);
    let issued = tokio::time::timeout(ISSUE_TIME, call.api.certificates.leaf(identity.clone())).await;
    let issued = issued.map_err(|_| ApiError::CertificateTimeout)??;
    let current = |reader: &Reader<'_>| {
        // What was issued holds if the row has been removed since.
        let row = reader.leaf(&identity).unwrap_or(&issued);
        Ok(leaf_row(&service, row))
    };
    Ok(uncached(call.read(Filtered::Nothing, current).await?))
}

impl Call {
    async fn pem_bundle(&self) -> Result<Response, ApiError> {
        let pem = |reader: &Reader<'_>| Ok(reader.roots().iter().map(|row| row.value.cert_pem.as_str()).collect());
        let (bundle, meta): (String, _) = self.current(pem).await?;
        let mut response = Response::new(bundle.into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/pem-certificate-chain"));
        Ok(meta.on(response))
    }
}

/// Consul's agent serves these from a cache; here they always come from the state.
pub(super) fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(HeaderName::from_static("x-cache"), HeaderValue::from_static("MISS"));
    response
}

fn root_list(roots: &[&Stored<Root>]) -> RootList {
    let active = roots.iter().find(|row| row.value.active).map(|row| &*row.value);
    RootList {
        active_root_id: active.map_or_else(String::new, |root| root.id.clone()),
        trust_domain: active.map_or_else(String::new, |root| root.trust_domain.to_string()),
        roots: roots.iter().map(|row| root_row(row)).collect(),
    }
}

fn root_row(row: &Stored<Root>) -> RootRow {
    let root = &*row.value;
    let (private_key_type, private_key_bits) = key_kind(&root.cert_pem);
    RootRow {
        id: root.id.clone(),
        name: root.name.clone(),
        serial_number: root.serial_number,
        signing_key_id: root.signing_key_id.clone(),
        external_trust_domain: root.cluster_id.clone(),
        not_before: rfc3339(root.not_before),
        not_after: rfc3339(root.not_after),
        root_cert: root.cert_pem.clone(),
        intermediate_certs: Some(root.intermediates.clone()).filter(|certificates| !certificates.is_empty()),
        active: root.active,
        private_key_type,
        private_key_bits,
        create_index: row.create_index,
        modify_index: row.modify_index,
    }
}

/// The kind of the certificate's key, in Consul's words, and its size in bits; empty and 0 for a kind without a word.
fn key_kind(pem: &str) -> (&'static str, usize) {
    use x509_parser::public_key::PublicKey;
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem.as_bytes()) else { return ("", 0) };
    let Ok(certificate) = pem.parse_x509() else { return ("", 0) };
    match certificate.public_key().parsed() {
        Ok(PublicKey::EC(point)) => ("ec", point.key_size()),
        Ok(PublicKey::RSA(key)) => ("rsa", key.key_size()),
        _ => ("", 0),
    }
}

fn leaf_row(service: &str, row: &Stored<Leaf>) -> LeafRow {
    let leaf = &*row.value;
    LeafRow {
        serial_number: leaf.serial.clone(),
        cert_pem: leaf.cert_pem.clone(),
        private_key_pem: leaf.key_pem.expose().to_owned(),
        service: service.to_owned(),
        service_uri: leaf.uri.clone(),
        valid_after: rfc3339(leaf.not_before),
        valid_before: rfc3339(leaf.not_after),
        create_index: row.create_index,
        modify_index: row.modify_index,
    }
}

/// Empty for a year that RFC 3339 cannot write; certificates end before.
fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
