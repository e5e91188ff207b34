//! Central configuration: what a proxy's registration means together with proxy-defaults and service-defaults
//! (contract 2.3, 3.9, 6.3).

use std::time::Duration;

use serde_json::Value;

use super::hatch::UpstreamHatches;
use super::opaque;
use super::precedence::{Ladder, Rung, Sources};
use super::state::State;
use crate::ir;
use crate::model::entry::{
    PERMISSIVE, PassiveHealthCheck, ProxyDefaults, ServiceDefaults, UpstreamConfig, UpstreamLimits,
};
use crate::model::{
    AccessLogs, DestinationType, Expose, GatewayMode, GoDuration, OpaqueConfig, Partition, ProxyMode, Service,
    ServiceName, TransparentProxy, Upstream,
};

/// Where the outbound connections of a transparent proxy are redirected to if nobody says another port.
const OUTBOUND_LISTENER_PORT: u16 = 15_001;

/// The service whose service-defaults apply to a proxy: a sidecar's destination, a gateway's own name.
pub(super) fn central_name(proxy: &Service) -> ServiceName {
    proxy.mesh_destination().unwrap_or_else(|| proxy.full_name())
}

/// A proxy's opaque options: proxy-defaults, then its service's defaults, then its own registration, key by key.
pub(super) fn options(state: &dyn State, proxy: &Service) -> OpaqueConfig {
    let mut merged = state.proxy_defaults(&proxy.partition).map(|entry| entry.config.clone()).unwrap_or_default();
    let mut set = |key: &str, value: Value| {
        remove(&mut merged, key);
        merged.insert(key.to_owned(), value);
    };
    if let Some(entry) = state.service_defaults(&central_name(proxy)) {
        for (key, text) in
            [("protocol", &entry.protocol), ("balance_inbound_connections", &entry.balance_inbound_connections)]
        {
            if !text.is_empty() {
                set(key, Value::from(text.as_str()));
            }
        }
        for (key, number) in [
            ("max_inbound_connections", entry.max_inbound_connections),
            ("local_connect_timeout_ms", entry.local_connect_timeout_ms),
            ("local_request_timeout_ms", entry.local_request_timeout_ms),
            ("max_request_headers_kb", entry.max_request_headers_kb.map_or(0, i64::from)),
        ] {
            if number > 0 {
                set(key, Value::from(number));
            }
        }
    }
    for (key, value) in &proxy.proxy.config {
        set(key, value.clone());
    }
    merged
}

/// Removes a key in whatever spelling it was written.
fn remove(config: &mut OpaqueConfig, key: &str) {
    let Some(written) = config.keys().find(|written| opaque::same(written, key)).cloned() else { return };
    config.remove(&written);
}

/// What applies to one upstream of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UpstreamSettings {
    /// The caller's side of the gateway mode.
    pub(super) ladder: Ladder,
    /// Protocol that some source asks for, lower case.
    pub(super) protocol: Option<String>,
    /// Time to connect that some source asks for.
    pub(super) connect_timeout: Option<GoDuration>,
    /// Limits.
    pub(super) circuit_breaker: ir::CircuitBreaker,
    /// Ejection of failing endpoints.
    pub(super) outlier_detection: ir::OutlierDetection,
    /// Connections of the application are spread evenly over worker threads.
    pub(super) exact_balance: bool,
    /// A listener and a cluster that the operator gives.
    pub(super) hatches: UpstreamHatches,
}

/// What config entries say about an upstream of a sidecar.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Central<'s> {
    /// The defaults of all proxies.
    pub(super) proxy_defaults: Option<&'s ProxyDefaults>,
    /// The defaults of the service that the sidecar stands before.
    pub(super) service_defaults: Option<&'s ServiceDefaults>,
    /// What these say about every upstream.
    pub(super) defaults: Option<&'s UpstreamConfig>,
    /// What they say about this one.
    pub(super) override_: Option<&'s UpstreamConfig>,
}

impl<'s> Central<'s> {
    /// What is said to `proxy`, with the override that the defaults of its service have for the upstream.
    pub(super) fn new(
        state: &'s dyn State,
        proxy: &Service,
        override_of: impl Fn(&'s ServiceDefaults) -> Option<&'s UpstreamConfig>,
    ) -> Self {
        let service_defaults = state.service_defaults(&central_name(proxy));
        let for_upstreams = service_defaults.and_then(|entry| entry.upstream_config.as_ref());
        Self {
            proxy_defaults: state.proxy_defaults(&proxy.partition),
            service_defaults,
            defaults: for_upstreams.and_then(|config| config.defaults.as_ref()),
            override_: service_defaults.and_then(override_of),
        }
    }

    /// What the defaults of the service say, the strongest first.
    fn layers(self) -> impl Iterator<Item = &'s UpstreamConfig> {
        self.override_.into_iter().chain(self.defaults)
    }

    /// The caller's side of the gateway mode, where the registration of the upstream says `own`.
    pub(super) fn ladder(&self, proxy: &Service, own: Option<GatewayMode>) -> Ladder {
        let mode_of = |config: Option<&UpstreamConfig>| config.and_then(|config| config.mesh_gateway.mode);
        let sources = Sources::default()
            .with(Rung::OpaqueProxyDefaults, self.proxy_defaults.and_then(|entry| opaque_mode(&entry.config)))
            .with(Rung::ProxyDefaults, self.proxy_defaults.and_then(|entry| entry.mesh_gateway.mode))
            .with(Rung::ServiceDefaults, self.service_defaults.and_then(|entry| entry.mesh_gateway.mode))
            .with(Rung::UpstreamDefaults, mode_of(self.defaults))
            .with(Rung::Instance, proxy.proxy.mesh_gateway.mode)
            .with(Rung::UpstreamOverride, mode_of(self.override_))
            .with(Rung::Upstream, own);
        sources.climb()
    }
}

/// The settings of `upstream`, which `proxy` registered, to reach `target`.
pub(super) fn upstream(
    state: &dyn State,
    proxy: &Service,
    upstream: &Upstream,
    target: &ServiceName,
) -> UpstreamSettings {
    let is_service = upstream.destination_type == DestinationType::Service;
    let override_of = |entry| find_override(entry, upstream, target, &proxy.partition);
    let central = if is_service { Central::new(state, proxy, override_of) } else { Central::default() };
    let layers: Vec<&UpstreamConfig> = central.layers().collect();
    let central_protocol = || {
        let of_layers = layers.iter().map(|config| config.protocol.clone()).find(|protocol| !protocol.is_empty());
        let of_target = || state.service_defaults(target).map(|entry| entry.protocol.clone()).filter(|p| !p.is_empty());
        let of_all = || central.proxy_defaults.and_then(|entry| opaque::text(&entry.config, "protocol"));
        of_layers.or_else(of_target).or_else(of_all).filter(|_| is_service && upstream.destination_peer.is_default())
    };
    let own = settings(proxy, upstream, &layers);
    UpstreamSettings {
        ladder: central.ladder(proxy, upstream.mesh_gateway.mode),
        protocol: own.protocol.or_else(|| central_protocol().map(|protocol| protocol.to_lowercase())),
        ..own
    }
}

/// The settings of an upstream that nobody registered: those in itself.
pub(super) fn added_upstream(proxy: &Service, upstream: &Upstream) -> UpstreamSettings {
    settings(proxy, upstream, &[])
}

/// What the upstream says itself, else one of `layers`, which are the strongest first. Whole objects replace each other;
/// their fields are not mixed.
fn settings(proxy: &Service, upstream: &Upstream, layers: &[&UpstreamConfig]) -> UpstreamSettings {
    let own = &upstream.config;
    let limits = opaque::object(own, "limits").map(opaque_limits);
    let check = opaque::object(own, "passive_health_check").map(opaque_check);
    let timeout = opaque::integer(own, "connect_timeout_ms")
        .into_iter()
        .chain(layers.iter().map(|config| config.connect_timeout_ms))
        .find(|millis| *millis > 0);
    let balance = opaque::text(own, "balance_outbound_connections")
        .or_else(|| layers.iter().map(|config| &config.balance_outbound_connections).find(|s| !s.is_empty()).cloned());
    UpstreamSettings {
        ladder: Sources::default().climb(),
        protocol: opaque::text(own, "protocol").map(|protocol| protocol.to_lowercase()),
        connect_timeout: timeout.map(GoDuration::from_millis),
        circuit_breaker: circuit_breaker(
            limits.as_ref().or_else(|| layers.iter().find_map(|config| config.limits.as_ref())),
        ),
        outlier_detection: outlier_detection(
            check.as_ref().or_else(|| layers.iter().find_map(|config| config.passive_health_check.as_ref())),
        ),
        exact_balance: balance.as_deref() == Some("exact_balance"),
        hatches: UpstreamHatches::new(proxy, upstream, layers),
    }
}

fn find_override<'e>(
    entry: &'e ServiceDefaults,
    upstream: &Upstream,
    target: &ServiceName,
    own_partition: &Partition,
) -> Option<&'e UpstreamConfig> {
    override_at(entry, override_position(entry, upstream, target, own_partition)?)
}

/// One of the overrides of an entry.
pub(super) fn override_at(entry: &ServiceDefaults, position: usize) -> Option<&UpstreamConfig> {
    entry.upstream_config.as_ref()?.overrides.get(position)
}

/// Which of the overrides of an entry applies to an upstream.
pub(super) fn override_position(
    entry: &ServiceDefaults,
    upstream: &Upstream,
    target: &ServiceName,
    own_partition: &Partition,
) -> Option<usize> {
    entry.upstream_config.as_ref()?.overrides.iter().position(|config| {
        let namespace = config.namespace.as_ref().unwrap_or(&entry.namespace);
        // What a peer exports is addressed in the caller's own partition.
        let partition = match config.peer.is_default() {
            true => config.partition.as_ref().unwrap_or(&entry.partition),
            false => own_partition,
        };
        *config.name == *target.name
            && *namespace == target.namespace
            && *partition == target.partition
            && config.peer == upstream.destination_peer
    })
}

fn opaque_mode(config: &OpaqueConfig) -> Option<GatewayMode> {
    GatewayMode::parse(&opaque::text(opaque::object(config, "mesh_gateway")?, "mode")?)
}

/// Circuit breakers of a cluster.
pub(super) fn circuit_breaker(limits: Option<&UpstreamLimits>) -> ir::CircuitBreaker {
    let Some(limits) = limits else { return ir::CircuitBreaker::default() };
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    ir::CircuitBreaker {
        max_connections: number(limits.max_connections),
        max_pending_requests: number(limits.max_pending_requests),
        max_requests: number(limits.max_concurrent_requests),
    }
}

/// Limits as they stand in opaque options.
pub(super) fn opaque_limits(config: &OpaqueConfig) -> UpstreamLimits {
    UpstreamLimits {
        max_connections: opaque::integer(config, "max_connections"),
        max_pending_requests: opaque::integer(config, "max_pending_requests"),
        max_concurrent_requests: opaque::integer(config, "max_concurrent_requests"),
    }
}

fn outlier_detection(check: Option<&PassiveHealthCheck>) -> ir::OutlierDetection {
    let Some(check) = check else { return ir::OutlierDetection::default() };
    let positive = |value: Option<GoDuration>| value.map(GoDuration::to_std).filter(|value| *value > Duration::ZERO);
    ir::OutlierDetection {
        interval: positive(check.interval),
        consecutive_5xx: check.consecutive5xx.or(Some(check.max_failures)).filter(|count| *count > 0),
        enforcing_consecutive_5xx: check.enforcing_consecutive5xx,
        consecutive_gateway_failure: check.consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure: check.enforcing_consecutive_gateway_failure,
        max_ejection_percent: check.max_ejection_percent,
        base_ejection_time: positive(check.base_ejection_time),
    }
}

fn opaque_check(config: &OpaqueConfig) -> PassiveHealthCheck {
    let number = |key| opaque::integer(config, key).and_then(|value| u32::try_from(value).ok());
    // Nobody looked at these when they were written, and Envoy refuses more than everything.
    let percent = |key| number(key).map(|percent| percent.min(100));
    let duration = |key| match opaque::get(config, key)? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64().map(GoDuration::from_nanos),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    PassiveHealthCheck {
        interval: duration("interval"),
        max_failures: number("max_failures").unwrap_or_default(),
        enforcing_consecutive5xx: percent("enforcing_consecutive_5xx"),
        enforcing_consecutive_gateway_failure: percent("enforcing_consecutive_gateway_failure"),
        consecutive5xx: number("consecutive_5xx"),
        consecutive_gateway_failure: number("consecutive_gateway_failure"),
        max_ejection_percent: percent("max_ejection_percent"),
        base_ejection_time: duration("base_ejection_time"),
    }
}

/// Whether applications address the proxy or are redirected to it: what its registration says, else its service's defaults,
/// else proxy-defaults.
pub(super) fn mode(state: &dyn State, proxy: &Service) -> ProxyMode {
    let service = state.service_defaults(&central_name(proxy)).map(|entry| entry.mode);
    let all = state.proxy_defaults(&proxy.partition).map(|entry| entry.mode);
    let said = [Some(proxy.proxy.mode), service, all].into_iter().flatten();
    said.into_iter().find(|mode| *mode != ProxyMode::Unset).unwrap_or_default()
}

/// The port that the outbound connections of a transparent proxy are redirected to.
pub(super) fn outbound_listener_port(state: &dyn State, proxy: &Service) -> u16 {
    match transparent_proxy(state, proxy).outbound_listener_port {
        0 => OUTBOUND_LISTENER_PORT,
        port => port,
    }
}

/// The options of the transparent mode, one by one: what the proxy's registration says, else its service's defaults, else
/// proxy-defaults.
pub(super) fn transparent_proxy(state: &dyn State, proxy: &Service) -> TransparentProxy {
    let service = state.service_defaults(&central_name(proxy)).and_then(|entry| entry.transparent_proxy.as_ref());
    let all = state.proxy_defaults(&proxy.partition).and_then(|entry| entry.transparent_proxy.as_ref());
    let said = || [proxy.proxy.transparent_proxy.as_ref(), service, all].into_iter().flatten();
    TransparentProxy {
        outbound_listener_port: said()
            .map(|options| options.outbound_listener_port)
            .find(|port| *port != 0)
            .unwrap_or(0),
        dialed_directly: said().any(|options| options.dialed_directly),
    }
}

/// True if a transparent proxy takes connections without TLS too: what its service's defaults say, else proxy-defaults.
pub(super) fn is_permissive(state: &dyn State, proxy: &Service) -> bool {
    let service = state.service_defaults(&central_name(proxy)).map(|entry| &entry.mutual_tls_mode);
    let all = state.proxy_defaults(&proxy.partition).map(|entry| &entry.mutual_tls_mode);
    let said = [service, all].into_iter().flatten().find(|mode| !mode.is_empty());
    said.is_some_and(|mode| mode == PERMISSIVE)
}

/// What is exposed in plain text. Paths of a registration replace those of its service's defaults, and those replace the
/// ones of proxy-defaults; checks are exposed if any of them says so.
pub(super) fn expose(state: &dyn State, proxy: &Service) -> Expose {
    let service = state.service_defaults(&central_name(proxy)).map(|entry| &entry.expose);
    let all = state.proxy_defaults(&proxy.partition).map(|entry| &entry.expose);
    let layers: Vec<&Expose> = [Some(&proxy.proxy.expose), service, all].into_iter().flatten().collect();
    Expose {
        checks: layers.iter().any(|expose| expose.checks),
        paths: layers.iter().map(|expose| &expose.paths).find(|paths| !paths.is_empty()).cloned().unwrap_or_default(),
    }
}

/// How a proxy logs: what its registration says, else proxy-defaults.
pub(super) fn access_logs<'s>(state: &'s dyn State, proxy: &'s Service) -> Option<&'s AccessLogs> {
    let own = proxy.proxy.access_logs.as_ref().filter(|logs| **logs != AccessLogs::default());
    own.or_else(|| state.proxy_defaults(&proxy.partition)?.access_logs.as_ref())
}

/// The service that an upstream names; what it leaves out is the proxy's own.
pub(super) fn target_of(proxy: &Service, upstream: &Upstream) -> ServiceName {
    ServiceName::new(
        upstream.destination_partition.as_ref().unwrap_or(&proxy.partition),
        upstream.destination_namespace.as_ref().unwrap_or(&proxy.namespace),
        &upstream.destination_name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_percentages_end_at_a_hundred() {
        let Value::Object(config) = serde_json::json!({
            "enforcing_consecutive_5xx": 101, "enforcing_consecutive_gateway_failure": 1000, "max_ejection_percent": 50,
        }) else {
            unreachable!("an object literal")
        };

        let check = opaque_check(&config);

        assert_eq!(check.enforcing_consecutive5xx, Some(100));
        assert_eq!(check.enforcing_consecutive_gateway_failure, Some(100));
        assert_eq!(check.max_ejection_percent, Some(50));
    }
}
