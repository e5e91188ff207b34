//! The discovery chain: which targets a service's name leads to (contract 2.7).
//!
//! A graph of a router, splitters and resolvers that ends in targets. It is compiled from a closed set of entries (those of
//! the services that it visits, and the proxy-defaults of their partitions) for a [`Scope`] that knows no caller, so that
//! all callers share it. What one caller changes about it (its gateway mode, protocol, time to connect) is a [`Custom`]
//! on top.

mod compile;
mod custom;
mod customization;
mod error;
mod protocol;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use compile::compile;
pub use custom::{Custom, Overrides};
pub use error::ChainError;
pub use protocol::{Protocol, protocol_of};

use super::precedence::TargetSources;
use crate::model::entry::{HeaderModifiers, LoadBalancer, Route, Split, Subset};
use crate::model::{Datacenter, GoDuration, PeerName, Place, ServiceKey, ServiceName, TrustDomain, service_sni};

/// What a chain is compiled for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The service that is asked for.
    pub service: ServiceName,
    /// The datacenter that its name is understood in.
    pub datacenter: Datacenter,
    /// Routers and splitters do not count, because the caller speaks a protocol without requests.
    pub is_plain: bool,
}

/// A target by its full name: `[<subset>.]<svc>.<ns>.<ap>.<dc>`, or `<svc>.<ns>.<ap>.external.<peer>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    /// The service.
    pub service: ServiceName,
    /// Its datacenter; empty in a peer.
    pub datacenter: Datacenter,
    /// Its subset; empty for all instances.
    pub subset: String,
    /// The peer that exports it; empty for none.
    pub peer: PeerName,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceName { partition, namespace, name } = &self.service;
        if !self.peer.is_default() {
            return write!(f, "{name}.{namespace}.{partition}.external.{}", self.peer);
        }
        if !self.subset.is_empty() {
            write!(f, "{}.", self.subset)?;
        }
        write!(f, "{name}.{namespace}.{partition}.{}", self.datacenter)
    }
}

impl TargetKey {
    /// The service with its datacenter.
    pub fn service(&self) -> ServiceKey {
        ServiceKey { datacenter: self.datacenter.clone(), service: self.service.clone() }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.service().place()
    }

    /// The SNI by which gateways and clusters know a target that is in no peer.
    pub fn sni(&self, trust_domain: &TrustDomain) -> String {
        service_sni(&self.service(), Some(&self.subset), trust_domain)
    }
}

/// Where traffic can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its full name.
    pub key: TargetKey,
    /// The filter of its subset; matches all if it has none.
    pub subset: Subset,
    /// The target's side of its gateway mode.
    pub sources: TargetSources,
    /// The SNI that is sent to a service outside of the mesh.
    pub external_sni: Option<String>,
}

/// What identifies a node: `router:<svc>.<ns>.<ap>`, `splitter:<svc>.<ns>.<ap>` or `resolver:<target>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKey {
    /// The router of a service.
    Router(ServiceName),
    /// The splitter of a service.
    Splitter(ServiceName),
    /// A target with what happens when it is not there.
    Resolver(TargetKey),
}

impl NodeKey {
    /// What it is: `router`, `splitter` or `resolver`.
    pub const fn kind(&self) -> &'static str {
        match self {
            NodeKey::Router(_) => "router",
            NodeKey::Splitter(_) => "splitter",
            NodeKey::Resolver(_) => "resolver",
        }
    }

    /// Its name, without what it is.
    pub fn name(&self) -> String {
        match self {
            NodeKey::Router(ServiceName { partition, namespace, name })
            | NodeKey::Splitter(ServiceName { partition, namespace, name }) => {
                format!("{name}.{namespace}.{partition}")
            }
            NodeKey::Resolver(target) => target.to_string(),
        }
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Tells requests apart.
    Router(Vec<RouteNode>),
    /// Spreads requests by weight.
    Splitter(SplitterNode),
    /// Ends in a target.
    Resolver(ResolverNode),
}

/// One route of a router.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteNode {
    /// The route as its entry says it. The last route of a router is none of the entry's: it takes what no other takes.
    pub definition: Route,
    /// Where it leads: a splitter or a resolver.
    pub next: NodeKey,
}

/// A splitter, with those that it leads to already multiplied into it.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitterNode {
    /// The parts, in order.
    pub splits: Vec<SplitNode>,
    /// The first load balancer among its resolvers that hashes requests.
    pub load_balancer: Option<LoadBalancer>,
}

/// One part of the traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitNode {
    /// The split as its entry says it; the innermost one where splitters lead to splitters.
    pub definition: Split,
    /// Its share in hundredths of a percent.
    pub hundredths: u32,
    /// Changes of request headers by every splitter on the way.
    pub request_headers: HeaderModifiers,
    /// Changes of response headers by every splitter on the way.
    pub response_headers: HeaderModifiers,
    /// Where it leads: a resolver.
    pub next: NodeKey,
}

/// A target with what happens when it is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolverNode {
    /// The primary target.
    pub target: TargetKey,
    /// Nothing but defaults made it.
    pub is_default: bool,
    /// Time to connect, for every leg.
    pub connect_timeout: GoDuration,
    /// Time for a request.
    pub request_timeout: Option<GoDuration>,
    /// How requests are spread.
    pub load_balancer: Option<LoadBalancer>,
    /// Other targets, in order, without the primary.
    pub failover: Vec<TargetKey>,
}

/// Where a service's name leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// What it was compiled for.
    pub scope: Scope,
    /// What its services speak.
    pub protocol: Protocol,
    /// The service has a router or splitter that does not count in this scope.
    pub skips_routing: bool,
    /// Nothing but defaults contributed.
    pub is_default: bool,
    /// Where it starts.
    pub start: NodeKey,
    /// Every node that the start leads to.
    pub nodes: BTreeMap<NodeKey, Node>,
    /// Every target of these nodes.
    pub targets: BTreeMap<TargetKey, Target>,
}

impl Chain {
    /// The resolvers, sorted by target.
    pub fn resolvers(&self) -> impl Iterator<Item = &ResolverNode> {
        self.nodes.values().filter_map(|node| if let Node::Resolver(node) = node { Some(node) } else { None })
    }

    /// The resolver that everything goes to, if the chain starts with one.
    pub fn only_resolver(&self) -> Option<&ResolverNode> {
        match self.nodes.get(&self.start)? {
            Node::Resolver(node) => Some(node),
            Node::Router(_) | Node::Splitter(_) => None,
        }
    }
}
