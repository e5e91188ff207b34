//! The upstream through which a sidecar tells its own metrics to a collector in the mesh (contract 3.9).

use serde_json::json;

use crate::model::{COLLECTOR, OpaqueConfig, Service, Upstream, collector_socket};
use crate::resolve::opaque;

/// The collector as an upstream, if the options name a folder for its socket.
pub(super) fn collector(proxy: &Service, options: &OpaqueConfig) -> Option<Upstream> {
    let folder = opaque::text(options, "envoy_telemetry_collector_bind_socket_dir")?;
    let config = json!({"protocol": "grpc"});
    Some(Upstream {
        destination_namespace: Some(Default::default()),
        destination_name: COLLECTOR.to_owned(),
        local_bind_socket_path: collector_socket(&folder, &proxy.namespace, &proxy.id),
        config: config.as_object().cloned().unwrap_or_default(),
        ..Upstream::default()
    })
}
