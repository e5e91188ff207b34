//! Trust bundles: what others need to verify our certificates.

use crate::store::Reader;

/// The certificates of all roots in PEM form, the active one first; without keys.
pub fn trust_bundle(reader: &Reader<'_>) -> String {
    reader.roots().iter().map(|root| root.value.cert_pem.as_str()).collect()
}
