//! The rules of the mesh, written down once more: from rows to where traffic may go.
//!
//! Nothing here calls what generates resources. Each rule says where it is written: in the contract of what Envoy must
//! receive, or on the page about what differs on purpose.

mod chain;
mod endpoints;
mod intentions;
mod modes;
mod view;
mod ways;

use std::collections::BTreeSet;

use meshgate::envoy::path::Request;
use meshgate::model::{IntentionPolicy, Upstream};

use crate::world::World;

pub(crate) use view::{Instance, View};

/// One way that traffic may take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// The proxies that it passes, each with the address that it dials next.
    pub(crate) hops: Vec<Hop>,
    /// What becomes of it at the last one.
    pub(crate) fate: Fate,
}

/// A proxy on a way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop {
    /// The proxy.
    pub(crate) proxy: String,
    /// `host:port` that it dials; `None` where the way ends.
    pub(crate) dialled: Option<String>,
}

/// What becomes of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It reaches the application.
    Arrives,
    /// It is no HTTP, and the upstream speaks HTTP.
    NotHttp,
    /// There is no instance or gateway at all, or none that the caller may see.
    Nobody,
    /// There are some, and none takes traffic.
    NobodyHealthy,
    /// A gateway does not know the service.
    NotKnown,
    /// Caller and callee have no TLS version in common.
    NoCommonTls,
    /// The callee refuses the caller.
    Refused,
}

/// What an application sends.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    /// Bytes that are no HTTP.
    Bytes,
    /// A request.
    Request(Request),
}

/// The rules for one mesh.
pub(crate) struct Oracle<'w> {
    view: View<'w>,
    default_intention: IntentionPolicy,
}

impl<'w> Oracle<'w> {
    pub(crate) fn new(world: &'w World, default_intention: IntentionPolicy) -> Self {
        Self { view: View::new(world), default_intention }
    }

    pub(crate) fn view(&self) -> &View<'w> {
        &self.view
    }

    /// Every way that traffic may take which an application sends to an upstream of its sidecar.
    pub(crate) fn ways_of_upstream(&self, caller: &Instance<'w>, upstream: &Upstream, sent: &Sent) -> BTreeSet<Way> {
        ways::Ways::new(self, caller).of_upstream(upstream, sent)
    }

    /// Every way that bytes may take which somebody with the certificate of `caller` sends to `door` itself, a gateway or
    /// a sidecar, with the SNI of the service of `callee`.
    pub(crate) fn ways_past_door(
        &self,
        caller: &Instance<'w>,
        door: &Instance<'w>,
        callee: &Instance<'w>,
    ) -> BTreeSet<Way> {
        ways::Ways::new(self, caller).of_door(door, callee)
    }
}
