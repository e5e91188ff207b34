//! Sidecars: the inbound side (contract 3.1, 3.7), and one part for each upstream.

mod expose;
mod local;
mod public;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use super::chain::Protocol;
use super::state::Context;
use super::{Owner, Part, Parts, access_log, binds, hatch, merge, opaque, upstream};
use crate::ir::{Callers, Codec, Listener, ListenerName};
use crate::model::{InstanceId, MOST_REQUEST_HEADERS_KB, OpaqueConfig, Place, Service};

/// The parts of the sidecar that is this instance.
pub fn sidecar(context: Context<'_>, instance: &InstanceId, proxy: &Service) -> Parts {
    let place = &instance.place;
    let options = merge::options(context.state, proxy);
    let mut parts = Parts::from([(Owner::Inbound, Ok(Inbound::new(context, instance, proxy, &options).build()))]);
    for registered in &proxy.proxy.upstreams {
        let id = upstream::id(proxy, registered);
        parts.insert(Owner::Upstream(id), upstream::part(context, place, proxy, registered, &options));
    }
    if let Some(collector) = telemetry::collector(proxy, &options) {
        let owner = Owner::Upstream(upstream::id(proxy, &collector));
        // Whoever registers it as an upstream decides about it.
        let added = || upstream::added_part(context, place, proxy, &collector, &options);
        parts.entry(owner).or_insert_with(added);
    }
    binds::leave_out_binds(&mut parts);
    access_log::add(&mut parts, access_log::of(context.state, proxy));
    trace(&mut parts, proxy, &options);
    parts
}

/// Hands what the operator wants to be traced to every listener. Peers' services are not traced.
fn trace(parts: &mut Parts, proxy: &Service, options: &OpaqueConfig) {
    let given = hatch::of_proxy(proxy, options, "envoy_listener_tracing_json");
    let is_in_peer = |listener: &Listener| match &listener.name {
        ListenerName::Upstream(id) => !id.peer.is_empty(),
        ListenerName::Public | ListenerName::ExposedPath(_) | ListenerName::Gateway(_) => false,
    };
    let listeners = parts.values_mut().flatten().flat_map(|part| &mut part.resources.listeners);
    for listener in listeners.filter(|listener| !is_in_peer(listener)) {
        listener.tracing.clone_from(&given);
    }
}

/// The inbound side of a sidecar.
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
        let peers = self.context.state.peer_exports(self.place).callers_of(&merge::central_name(self.proxy));
        part.importers.insert(Callers::Inbound, peers);
        part.resources.clusters.push(self.local_app());
        self.expose(&mut part);
        part
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
