//! The service that Envoys tell their own metrics (contract 3.9, 9.4).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Namespace, ServiceId};

/// The service that takes metrics.
pub const COLLECTOR: &str = "consul-telemetry-collector";

/// The socket in `folder` at which a proxy listens for its own metrics: the upstream that it gets and the bootstrap that it
/// starts with have to name the same one. Its name is a hash, because the path of a socket must be short.
pub fn collector_socket(folder: &str, namespace: &Namespace, proxy: &ServiceId) -> String {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{namespace}_{proxy}").as_bytes());
    format!("{}/{}.sock", folder.trim_end_matches('/'), URL_SAFE_NO_PAD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_named_after_the_proxy() {
        let id = ServiceId::from("web-sidecar-proxy");
        for namespace in [Namespace::default(), Namespace::from("default")] {
            // Python: urlsafe_b64encode(sha1(b"default_web-sidecar-proxy").digest())
            assert_eq!(collector_socket("/run/mesh/", &namespace, &id), "/run/mesh/gqmuzdHCUPAEY5mbF8vgkZCNI14.sock");
        }
    }
}
