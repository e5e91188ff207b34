//! The meaning of registrations and config entries: what each proxy must do, as `ir`, and why.
//!
//! **Problem.** The same facts (a mode, an export, a redirect) decide what sidecars and gateways on both sides do, and an
//! operator wants to know the reason.
//!
//! **Invariant.** Everything here is a function of what [`State`] answers. Nothing else is asked: no clock, no order of
//! arrival, no address of the process.
//!
//! ```text
//! registration ─► merge ─► ladder (precedence) ─► chain ─► parts of ir + where each cluster's endpoints come from
//! ```

mod access_log;
mod balance;
mod binds;
mod chain;
mod dns;
mod endpoints;
pub mod explain;
mod exports;
mod exposed;
mod gateway;
mod hatch;
mod health;
mod intentions;
mod merge;
mod merged;
mod opaque;
mod precedence;
mod reach;
mod routes;
mod sidecar;
mod state;
mod tls;
mod trust;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

pub use binds::{Claims, LeftOut};
pub use chain::{
    Chain, ChainError, Custom, Node, NodeKey, Overrides, Protocol, ResolverNode, RouteNode, Scope, SplitNode,
    SplitterNode, Target, TargetKey, compile, protocol_of,
};
pub use endpoints::{EndpointSource, Omission, Servers, Subset, Via, assignment};
pub use exports::{Exported, PeerExports, exported_services};
pub use exposed::{ExposedCheck, exposed_checks, exposes_checks};
pub use gateway::{Forwarded, Forwarder, Ways, forwarding_part, gateway_part};
pub use intentions::Refused;
pub use merged::merged_proxy;
pub use precedence::{Decision, LADDER, Ladder, Origin, Rung, Sources, TargetSources};
pub use reach::{Reach, Route};
pub use sidecar::{Caller, Dialled, Upstreams, collector, inbound_part, upstream_leading, upstream_part};
pub use state::{Context, FederationState, Instance, PeeringRow, State};
pub use trust::{Distrust, TrustSource, trust};
pub use upstream::PeerError;

use crate::ir;
use crate::model::PeerName;

/// One part of a proxy, and where the endpoints of its clusters come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Listeners, clusters and routes.
    pub resources: ir::Resources,
    /// For each cluster that takes its endpoints from the stream: whose they are.
    pub endpoints: BTreeMap<ir::ClusterName, EndpointSource>,
    /// Peers whose callers are accepted besides those of the own trust domain, by the role that they call.
    pub importers: BTreeMap<ir::Callers, BTreeSet<PeerName>>,
    /// The ways through a mesh gateway, which its listeners are made of.
    pub ways: Ways,
    /// What it goes without.
    pub left_out: Vec<LeftOut>,
}

/// Why a part cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The discovery chain of the upstream makes no sense.
    #[error("the discovery chain of upstream {upstream} cannot be compiled: {source}")]
    Chain {
        /// The upstream as its registration names it.
        upstream: String,
        /// What is wrong.
        #[source]
        source: ChainError,
    },
    /// The upstream is reached by a name that does not fit into TLS.
    #[error("upstream {upstream} leads to the SNI {sni:?}, which must have at most 255 bytes and no zero byte")]
    Sni {
        /// The upstream as its registration names it.
        upstream: String,
        /// The SNI.
        sni: String,
    },
    /// The upstream is in a peer, and cannot be dialled.
    #[error("upstream {upstream} leads to a peer: {source}")]
    Peer {
        /// The upstream as its registration names it.
        upstream: String,
        /// Why not.
        #[source]
        source: PeerError,
    },
    /// The upstream is a prepared query that nobody has answered.
    #[error("upstream {upstream} is a prepared query, and nothing is known of what it answers")]
    UnknownQuery {
        /// The query.
        upstream: String,
    },
}
