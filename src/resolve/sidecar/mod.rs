//! Sidecars: the inbound side (contract 3.1, 3.7), and one part for each upstream.

mod expose;
mod local;
mod outbound;
mod public;
mod telemetry;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::chain::Protocol;
use super::explain::Leading;
use super::state::{Context, State};
use super::{LeftOut, Part, PartError, access_log, binds, hatch, merge, opaque, upstream};
use crate::ir::{Callers, Codec, Listener, ListenerName, UpstreamId};
use crate::model::{InstanceId, MOST_REQUEST_HEADERS_KB, OpaqueConfig, Place, Proxy, Service, Upstream};

/// What of a sidecar's registration counts for its upstreams. Sidecars that agree in it and dial the same get the same for
/// it, so that it is made once for all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Caller(Service);

impl Caller {
    /// What counts of a registration. Upstreams are made from this alone, so nothing that is left out here can matter.
    pub fn of(state: &dyn State, proxy: &Service) -> Self {
        // Which service it is matters only where somebody says something about that service.
        let defaults = state.service_defaults(&merge::central_name(proxy));
        let Service { kind, namespace, partition, proxy, .. } = proxy;
        let name = defaults.map(|_| proxy.destination_service_name.clone());
        let proxy = Proxy {
            destination_service_name: name.unwrap_or_default(),
            mode: proxy.mode,
            config: proxy.config.clone(),
            mesh_gateway: proxy.mesh_gateway,
            access_logs: proxy.access_logs.clone(),
            ..Proxy::default()
        };
        let (namespace, partition) = (namespace.clone(), partition.clone());
        Self(Service { kind: *kind, namespace, partition, proxy, ..Service::default() })
    }
}

/// An upstream of a sidecar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dialled {
    upstream: Upstream,
    /// Nobody registered it: it is there to tell metrics.
    is_added: bool,
}

/// The upstreams of a sidecar's registration, with what counts for them. Sidecars that agree in both get the same outbound
/// side.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstreams {
    caller: Arc<Caller>,
    registered: Vec<Upstream>,
}

impl Upstreams {
    /// The upstreams of a registration.
    pub fn of(state: &dyn State, proxy: &Service) -> Self {
        Self { caller: Arc::new(Caller::of(state, proxy)), registered: proxy.proxy.upstreams.clone() }
    }

    /// True if these are the upstreams of this registration too.
    pub fn are_of(&self, state: &dyn State, proxy: &Service) -> bool {
        self.registered == proxy.proxy.upstreams && *self.caller == Caller::of(state, proxy)
    }

    /// A number for those of a registration. Upstreams with different numbers differ.
    pub fn fingerprint(proxy: &Service) -> u64 {
        let mut hasher = DefaultHasher::new();
        for upstream in &proxy.proxy.upstreams {
            (&upstream.destination_name, upstream.local_bind_port).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Who dials.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// What is dialled. Of two upstreams with one name, the last one counts.
    pub fn dialled(&self) -> BTreeMap<UpstreamId, Dialled> {
        let Caller(proxy) = &*self.caller;
        let dialled = |upstream: &Upstream| Dialled { upstream: upstream.clone(), is_added: false };
        self.registered.iter().map(|upstream| (upstream::id(proxy, upstream), dialled(upstream))).collect()
    }
}

/// The metrics collector that a sidecar dials if its options ask for one. Whoever registers it as an upstream decides about
/// it. Its socket is the sidecar's own.
pub fn collector(state: &dyn State, proxy: &Service) -> Option<(UpstreamId, Dialled)> {
    let upstream = telemetry::collector(proxy, &merge::options(state, proxy))?;
    let id = upstream::id(proxy, &upstream);
    let is_registered = proxy.proxy.upstreams.iter().any(|registered| upstream::id(proxy, registered) == id);
    (!is_registered).then_some((id, Dialled { upstream, is_added: true }))
}

/// What an upstream of sidecars in `place` leads to.
///
/// # Errors
/// It cannot be told.
pub fn upstream_part(
    context: Context<'_>,
    place: &Place,
    Caller(proxy): &Caller,
    dialled: &Dialled,
) -> Result<Part, PartError> {
    let options = merge::options(context.state, proxy);
    let make = if dialled.is_added { upstream::added_part } else { upstream::part };
    let part = make(context, place, proxy, &dialled.upstream, &options)?;
    Ok(finished(part, context.state, proxy, &options))
}

/// Where an upstream of sidecars in `place` leads, and why, as [`upstream_part`] makes it.
///
/// # Errors
/// It cannot be told.
pub fn upstream_leading(
    context: Context<'_>,
    place: &Place,
    Caller(proxy): &Caller,
    upstream: &Upstream,
) -> Result<Leading, PartError> {
    upstream::leading(context, place, proxy, upstream, &merge::options(context.state, proxy))
}

/// The inbound side of the sidecar that is this instance, and where its outbound connections are redirected to.
pub fn inbound_part(context: Context<'_>, instance: &InstanceId, proxy: &Service) -> Part {
    let options = merge::options(context.state, proxy);
    let part = Inbound::new(context, instance, proxy, &options).build();
    finished(part, context.state, proxy, &options)
}

/// The part with what all listeners of a sidecar have in common. Peers' services are not traced.
fn finished(mut part: Part, state: &dyn State, proxy: &Service, options: &OpaqueConfig) -> Part {
    binds::leave_out_binds(&mut part);
    access_log::add(&mut part, access_log::of(state, proxy));
    let given = hatch::of_proxy(proxy, options, "envoy_listener_tracing_json");
    let is_in_peer = |listener: &Listener| match &listener.name {
        ListenerName::Upstream(id) => !id.peer.is_empty(),
        ListenerName::Public | ListenerName::Outbound | ListenerName::ExposedPath(_) | ListenerName::Gateway(_) => {
            false
        }
    };
    for listener in part.resources.listeners.iter_mut().filter(|listener| !is_in_peer(listener)) {
        listener.tracing.clone_from(&given);
    }
    part
}

/// The inbound side of a sidecar, and what is left over of the outbound side.
struct Inbound<'a> {
    context: Context<'a>,
    instance: &'a InstanceId,
    place: &'a Place,
    proxy: &'a Service,
    options: &'a OpaqueConfig,
    /// What the application speaks.
    protocol: Protocol,
}

impl<'a> Inbound<'a> {
    fn new(context: Context<'a>, instance: &'a InstanceId, proxy: &'a Service, options: &'a OpaqueConfig) -> Self {
        let protocol = Protocol::parse(&opaque::text(options, "protocol").unwrap_or_default());
        Self { context, instance, place: &instance.place, proxy, options, protocol }
    }

    fn build(&self) -> Part {
        let mut part = Part::default();
        let listener = self.public_listener(&mut part.left_out);
        part.resources.listeners.push(listener);
        part.left_out.extend(self.extensions());
        let peers = self.context.state.peer_exports(self.place).callers_of(&merge::central_name(self.proxy));
        part.importers.insert(Callers::Inbound, peers);
        part.resources.clusters.push(self.local_app());
        self.outbound(&mut part);
        self.expose(&mut part);
        part
    }

    /// The extensions that somebody may count on.
    fn extensions(&self) -> Vec<LeftOut> {
        let (state, service) = (self.context.state, merge::central_name(self.proxy));
        let global = state.proxy_defaults(&self.proxy.partition).map(|entry| &entry.envoy_extensions);
        let central = state.service_defaults(&service).map(|entry| &entry.envoy_extensions);
        let mut left_out = Vec::new();
        for (origin, extensions) in [
            ("proxy-defaults".to_owned(), global),
            (format!("the service-defaults of {service}"), central),
            (self.proxy.id.to_string(), Some(&self.proxy.proxy.envoy_extensions)),
        ] {
            left_out.extend(extensions.into_iter().flatten().map(|extension| LeftOut::Extension {
                origin: origin.clone(),
                name: extension["Name"].as_str().unwrap_or_default().to_owned(),
            }));
        }
        left_out
    }
}

/// The address of the inbound listeners.
pub(super) fn bind_host(options: &OpaqueConfig, proxy: &Service) -> Arc<str> {
    any_address_if_empty(&opaque::text(options, "bind_address").unwrap_or_else(|| proxy.address.clone()))
}

pub(super) fn any_address_if_empty(address: &str) -> Arc<str> {
    if address.is_empty() { "0.0.0.0".into() } else { address.into() }
}

pub(super) const fn codec(protocol: Protocol) -> Codec {
    match protocol {
        Protocol::Tcp | Protocol::Http => Codec::Http,
        Protocol::Http2 => Codec::Http2,
        Protocol::Grpc => Codec::Grpc,
    }
}

/// What the accepting side of TLS offers to speak.
pub(super) fn alpn(protocol: Protocol) -> Vec<&'static str> {
    match protocol {
        Protocol::Tcp => vec![],
        Protocol::Http => vec!["http/1.1"],
        Protocol::Http2 | Protocol::Grpc => vec!["h2", "http/1.1"],
    }
}

/// The limit of the header size, cut to what Envoy takes.
pub(super) fn max_request_headers_kb(options: &OpaqueConfig) -> Option<u32> {
    let kb = opaque::integer(options, "max_request_headers_kb").and_then(|kb| u32::try_from(kb).ok());
    kb.filter(|kb| *kb > 0).map(|kb| kb.min(MOST_REQUEST_HEADERS_KB))
}

/// A time in milliseconds; zero is a value of its own.
pub(super) fn millis(options: &OpaqueConfig, key: &str) -> Option<Duration> {
    opaque::integer(options, key).and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis)
}
