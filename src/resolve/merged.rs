//! A proxy's registration with everything that central configuration adds to it, as reads show it (`http-api.md` 3.9).
//!
//! What Envoy gets follows from the same config entries by [`merge`]; here it is put where clients of Consul look for it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::merge::{self, Central, override_at, override_position, target_of};
use super::opaque;
use super::state::State;
use crate::model::entry::ServiceDefaults;
use crate::model::{
    DestinationType, MeshGateway, OpaqueConfig, PeerName, Proxy, ProxyMode, Service, ServiceName, TransparentProxy,
    Upstream,
};

/// The name of what stands for every upstream that nobody names.
const EVERY: &str = "*";

/// What a gateway mode is called among opaque options.
const MESH_GATEWAY: &str = "mesh_gateway";

/// The registration of `proxy` with what proxy-defaults and service-defaults add to it.
pub fn merged_proxy(state: &dyn State, proxy: &Service) -> Proxy {
    let central = Central::new(state, proxy, |_| None);
    let (defaults, service) = (central.proxy_defaults, central.service_defaults);
    let mut merged = proxy.proxy.clone();
    merged.config = merge::options(state, proxy);
    if merged.mesh_gateway.mode.is_none() {
        let mode = service.and_then(|entry| entry.mesh_gateway.mode);
        merged.mesh_gateway.mode = mode.or_else(|| defaults.and_then(|entry| entry.mesh_gateway.mode));
    }
    merged.mode = merge::mode(state, proxy);
    let transparent = merge::transparent_proxy(state, proxy);
    if transparent != TransparentProxy::default() {
        merged.transparent_proxy = Some(transparent);
    }
    merged.expose = merge::expose(state, proxy);
    merged.access_logs = merge::access_logs(state, proxy).cloned();
    let extensions = [defaults.map(|entry| &entry.envoy_extensions), service.map(|entry| &entry.envoy_extensions)];
    merged.envoy_extensions = extensions.into_iter().flatten().flatten().cloned().collect();
    // An override belongs to one upstream: those that are left over belong to upstreams that nobody registered.
    let mut overridden = BTreeSet::new();
    let registered =
        merged.upstreams.iter_mut().filter(|upstream| upstream.destination_type == DestinationType::Service);
    for upstream in registered {
        let target = target_of(proxy, upstream);
        let position_in = |entry: &ServiceDefaults| override_position(entry, upstream, &target, &proxy.partition);
        let position = service.and_then(position_in);
        let central = Central { override_: position.and_then(|position| override_at(service?, position)), ..central };
        overridden.extend(position);
        add(state, proxy, central, &target, upstream);
    }
    if merged.mode == ProxyMode::Transparent {
        merged.upstreams.extend(implicit(state, proxy, central, &overridden));
    }
    merged
}

/// Adds to a registered upstream what it does not say itself.
fn add(state: &dyn State, proxy: &Service, central: Central<'_>, target: &ServiceName, upstream: &mut Upstream) {
    upstream.mesh_gateway.mode = central.ladder(proxy, upstream.mesh_gateway.mode).mode();
    let found = options(state, central, Some(target), &upstream.destination_peer);
    if !found.is_empty() {
        // The mode has a field of its own.
        upstream.config.remove(MESH_GATEWAY);
    }
    for (key, value) in found {
        if opaque::get(&upstream.config, &key).is_none() {
            upstream.config.insert(key, value);
        }
    }
}

/// The upstreams of a transparent proxy that only config entries know: every one that nobody names, and those of the
/// overrides that are not among `overridden`.
fn implicit(state: &dyn State, proxy: &Service, central: Central<'_>, overridden: &BTreeSet<usize>) -> Vec<Upstream> {
    let made = |central: Central<'_>, name: ServiceName, peer: PeerName| {
        let target = Some(&name).filter(|name| *name.name != *EVERY);
        let mut config = options(state, central, target, &peer);
        let mode = central.ladder(proxy, None).mode();
        config.extend(mode.map(|mode| (MESH_GATEWAY.to_owned(), json!(MeshGateway { mode: Some(mode) }))));
        Upstream {
            destination_namespace: Some(name.namespace),
            destination_partition: Some(name.partition),
            destination_peer: peer,
            destination_name: name.name.to_string(),
            config,
            mesh_gateway: MeshGateway { mode },
            centrally_configured: true,
            ..Upstream::default()
        }
    };
    let every = made(central, ServiceName::new(&proxy.partition, &proxy.namespace, EVERY), PeerName::default());
    let mut upstreams = Vec::from_iter(Some(every).filter(|every| !every.config.is_empty()));
    let entry = central.service_defaults.into_iter();
    let overrides = entry.flat_map(|entry| {
        let config = entry.upstream_config.iter().flat_map(|config| &config.overrides);
        config.map(move |config| (entry, config))
    });
    let left = overrides.enumerate().filter(|(position, _)| !overridden.contains(position));
    upstreams.extend(left.map(|(_, (entry, config))| {
        let partition = config.partition.as_ref().unwrap_or(&entry.partition);
        let namespace = config.namespace.as_ref().unwrap_or(&entry.namespace);
        let name = ServiceName::new(partition, namespace, &config.name);
        made(Central { override_: Some(config), ..central }, name, config.peer.clone())
    }));
    upstreams
}

/// What config entries say about an upstream, as opaque options. A peer says itself which protocol its services speak.
fn options(state: &dyn State, central: Central<'_>, target: Option<&ServiceName>, peer: &PeerName) -> OpaqueConfig {
    let mut options = OpaqueConfig::new();
    let of_all = central.proxy_defaults.and_then(|entry| opaque::text(&entry.config, "protocol"));
    let of_target = target.and_then(|target| state.service_defaults(target)).map(|entry| entry.protocol.clone());
    let mut set = |key: &str, value: Option<Value>| options.extend(value.map(|value| (key.to_owned(), value)));
    let text = |text: &String| Some(Value::from(text.as_str())).filter(|_| !text.is_empty());
    set("protocol", of_all.as_ref().and_then(text));
    set("protocol", of_target.as_ref().and_then(text));
    for config in central.defaults.into_iter().chain(central.override_) {
        set("envoy_listener_json", text(&config.envoy_listener_json));
        set("envoy_cluster_json", text(&config.envoy_cluster_json));
        set("protocol", text(&config.protocol));
        set("connect_timeout_ms", Some(config.connect_timeout_ms).filter(|millis| *millis > 0).map(Value::from));
        set("limits", config.limits.as_ref().map(|limits| json!(limits)));
        set("passive_health_check", config.passive_health_check.as_ref().map(|check| json!(check)));
        set("balance_outbound_connections", text(&config.balance_outbound_connections));
    }
    if !peer.is_default() {
        options.remove("protocol");
    }
    options
}
