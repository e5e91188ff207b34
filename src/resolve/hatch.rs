//! Escape hatches: messages of Envoy's API that operators give in place of generated ones (contract 3.1, 3.3, 3.4, 3.7).
//!
//! Here it is decided which resource a hatch replaces. The generated resource stays what it is and carries the hatch in
//! `given`: `envoy` reads it, and puts into it what protects the application.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{LeftOut, Part, opaque};
use crate::ir::Given;
use crate::model::entry::UpstreamConfig;
use crate::model::{OpaqueConfig, Service, Upstream};

/// What an operator gives for one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct UpstreamHatches {
    /// Its listener, `envoy_listener_json`.
    listener: Option<Given>,
    /// Its cluster, `envoy_cluster_json`.
    cluster: Option<Given>,
}

impl UpstreamHatches {
    /// From the registration of `upstream`, else from service-defaults of `owner`, strongest first.
    pub(super) fn new(proxy: &Service, upstream: &Upstream, layers: &[&UpstreamConfig]) -> Self {
        let own = |key: &str| given(&upstream.config, key, format_args!("upstream {upstream}"));
        let central = |field: &str, text: fn(&UpstreamConfig) -> &String| {
            let document = layers.iter().map(|config| text(config)).find(|text| !text.trim().is_empty())?;
            let origin = format!("{field} in the service-defaults of {}", proxy.proxy.destination_service_name);
            Some(Given { document: document.as_str().into(), origin: origin.into() })
        };
        Self {
            listener: own("envoy_listener_json")
                .or_else(|| central("EnvoyListenerJSON", |config| &config.envoy_listener_json)),
            cluster: own("envoy_cluster_json")
                .or_else(|| central("EnvoyClusterJSON", |config| &config.envoy_cluster_json)),
        }
    }

    /// True if the upstream has a cluster of the operator's.
    pub(super) fn gives_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// Puts the hatches into the finished part of an upstream that has one listener, if it is bound, and one cluster: a
    /// default chain, an upstream in a peer, a prepared query.
    pub(super) fn replace(&self, part: &mut Part) {
        for listener in &mut part.resources.listeners {
            listener.given.clone_from(&self.listener);
        }
        for cluster in &mut part.resources.clusters {
            cluster.given.clone_from(&self.cluster);
        }
    }

    /// Reports the hatches of an upstream whose chain is not the default one: they would hide what the chain asks for.
    pub(super) fn refuse(&self, part: &mut Part) {
        let given = self.listener.iter().chain(&self.cluster);
        part.left_out.extend(given.map(|given| LeftOut::Hatch { origin: given.origin.clone() }));
    }
}

/// The hatch that `options`, merged for `proxy`, hold under `key`.
pub(super) fn of_proxy(proxy: &Service, options: &OpaqueConfig, key: &str) -> Option<Given> {
    match opaque::get(&proxy.proxy.config, key) {
        Some(_) => given(options, key, "the registration"),
        None => given(options, key, "proxy-defaults"),
    }
}

/// The hatch under `key`. What is no text is kept as the JSON that it is, and found wrong where it is read.
pub(super) fn given(options: &OpaqueConfig, key: &str, owner: impl fmt::Display) -> Option<Given> {
    let document: Arc<str> = match opaque::get(options, key)? {
        Value::Null => return None,
        Value::String(text) if text.trim().is_empty() => return None,
        Value::String(text) => text.as_str().into(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string().into(),
    };
    Some(Given { document, origin: format!("{key} of {owner}").into() })
}
