//! Trust bundles: what others need to verify our certificates.

use crate::store::View;

/// The certificates of all roots in PEM form, the active one first; without keys.
pub fn trust_bundle(view: &View) -> String {
    view.roots().iter().map(|root| root.value.cert_pem.as_str()).collect()
}
