//! The upstream through which a sidecar tells its own metrics to a collector in the mesh (contract 3.9).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::model::{OpaqueConfig, Service, Upstream};
use crate::resolve::opaque;

/// The service that takes metrics.
const COLLECTOR: &str = "consul-telemetry-collector";

/// The collector as an upstream, if the options name a folder for its socket.
pub(super) fn collector(proxy: &Service, options: &OpaqueConfig) -> Option<Upstream> {
    let folder = opaque::text(options, "envoy_telemetry_collector_bind_socket_dir")?;
    let config = json!({"protocol": "grpc"});
    Some(Upstream {
        destination_namespace: Some(Default::default()),
        destination_name: COLLECTOR.to_owned(),
        local_bind_socket_path: format!("{}/{}.sock", folder.trim_end_matches('/'), socket_name(proxy)),
        config: config.as_object().cloned().unwrap_or_default(),
        ..Upstream::default()
    })
}

/// Envoy's bootstrap has the same name. A hash, because the path of a socket must be short.
fn socket_name(proxy: &Service) -> String {
    let id = format!("{}_{}", proxy.namespace, proxy.id);
    URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_named_after_the_proxy() {
        let proxy = Service { id: "web-sidecar-proxy".into(), ..Service::default() };
        let options = json!({"envoy_telemetry_collector_bind_socket_dir": "/run/mesh/"});

        let upstream = collector(&proxy, options.as_object().expect("an object")).expect("there is one");

        // Python: urlsafe_b64encode(sha1(b"default_web-sidecar-proxy").digest())
        assert_eq!(upstream.local_bind_socket_path, "/run/mesh/gqmuzdHCUPAEY5mbF8vgkZCNI14.sock");
        assert!(collector(&proxy, &OpaqueConfig::default()).is_none());
    }
}
