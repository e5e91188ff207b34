//! Which gateway mode applies (contract 2.3 and 2.4).

use meshgate::model::{GatewayMode, Upstream};

use super::view::{Instance, View};

/// The mode that the caller's side sets for an upstream, strongest first.
pub(super) fn of_caller(view: &View<'_>, caller: &Instance<'_>, upstream: &Upstream) -> Option<GatewayMode> {
    let own_partition = caller.at.partition.as_str();
    let own_service = caller.service.proxy.destination_service_name.as_str();
    let central = view.service_defaults(own_service, own_partition);
    let for_upstreams = central.and_then(|entry| entry.upstream_config.as_ref());
    let target_partition = upstream.destination_partition.as_ref().map_or(own_partition, |it| it.as_str());
    let of_overrides = for_upstreams.and_then(|config| {
        let is_meant = |it: &&meshgate::model::entry::UpstreamConfig| {
            let partition = it.partition.as_ref().map_or(own_partition, |partition| partition.as_str());
            it.name == upstream.destination_name && partition == target_partition
        };
        config.overrides.iter().find(is_meant).and_then(|it| it.mesh_gateway.mode)
    });
    let proxy_defaults = view.proxy_defaults(own_partition);
    let legacy = proxy_defaults.and_then(|entry| entry.config.get("mesh_gateway")?.get("mode")?.as_str());
    [
        upstream.mesh_gateway.mode,
        of_overrides,
        caller.service.proxy.mesh_gateway.mode,
        for_upstreams.and_then(|config| config.defaults.as_ref()).and_then(|it| it.mesh_gateway.mode),
        central.and_then(|entry| entry.mesh_gateway.mode),
        proxy_defaults.and_then(|entry| entry.mesh_gateway.mode),
        legacy.and_then(GatewayMode::parse),
    ]
    .into_iter()
    .flatten()
    .next()
}

/// The mode for a target: what the caller's side says, else the target's service-defaults, else the proxy-defaults of its
/// partition.
pub(super) fn of_target(
    view: &View<'_>,
    of_caller: Option<GatewayMode>,
    (service, partition): (&str, &str),
) -> Option<GatewayMode> {
    let of_service = || view.service_defaults(service, partition).and_then(|entry| entry.mesh_gateway.mode);
    let of_all = || view.proxy_defaults(partition).and_then(|entry| entry.mesh_gateway.mode);
    of_caller.or_else(of_service).or_else(of_all)
}
