//! Mesh gateways: they read the SNI of a connection and forward it (contract 4).
//!
//! ```text
//! SNI ─► 1 exported to a peer ─────────► exported~<target>   (HTTP: mTLS ends here and starts anew)
//!        2 *.<another place> ──────────► gateways of that place
//!        3 servers of other datacenters, and each server of this one, where servers federate through gateways
//!        4 own servers, for peers          5 servers of peers
//!        6 all else ─────────────────────► the cluster that is called like the SNI
//! ```
//!
//! Except for HTTP that is exported to a peer, bytes pass undecrypted. Every local service, subset and imported service has
//! a cluster that is called like its SNI, which is all that the last chain needs.

mod addresses;
mod clusters;
mod draft;
mod exported;
mod imported;
mod local;
mod peering;
mod remote;
mod wan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use self::draft::Draft;
use super::state::Context;
use super::{Part, access_log, binds, merge};
use crate::ir::{Callers, CircuitBreaker, ClusterName, Direction, Filter, FilterChain, Listener, ListenerName, Stat};
use crate::model::{OpaqueConfig, PeerName, Place, Service};

/// What of a mesh gateway's registration counts for what it forwards. Gateways of a place that agree in it have the same
/// clusters, so that those are made once for all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forwarder(Service);

impl Forwarder {
    /// What counts of a registration. What is forwarded is made from this alone, so nothing that is left out here can
    /// matter; above all not where the gateway listens.
    pub fn of(proxy: &Service) -> Self {
        let Service { kind, name, namespace, partition, meta, proxy, .. } = proxy.clone();
        Self(Service { kind, name, namespace, partition, meta, proxy, ..Service::default() })
    }
}

/// The ways through a gateway: what its listeners choose from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways(Arc<[Way]>);

/// All that mesh gateways like this forward to from `place`: clusters, routes, and the ways to them. Listeners are each
/// gateway's own.
pub fn forwarding_part(context: Context<'_>, place: &Place, Forwarder(proxy): &Forwarder) -> Part {
    let options = merge::options(context.state, proxy);
    let gateway = Gateway { context, place, proxy, options: &options, limits: clusters::limits(context, proxy) };
    gateway.build()
}

/// The listeners of a mesh gateway, which lead to what is forwarded.
pub fn gateway_part(context: Context<'_>, proxy: &Service, forwarded: &Forwarded) -> Part {
    let options = merge::options(context.state, proxy);
    let mut part = Part { importers: forwarded.importers.clone(), ..Part::default() };
    for (name, bind) in addresses::of(proxy, &options) {
        let chains = forwarded.ways.0.iter().map(|way| way.chain(&name)).chain([catch_all(&name)]).collect();
        part.resources.listeners.push(Listener {
            tls_inspector: true,
            ..Listener::new(ListenerName::Gateway(name), bind, Direction::Unspecified, chains)
        });
    }
    binds::leave_out_binds(&mut part);
    access_log::add(&mut part, access_log::of(context.state, proxy));
    part
}

/// What the listeners of a gateway have to know of what it forwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// What they choose from.
    pub ways: Ways,
    /// Peers whose callers are accepted, by the role that they call.
    pub importers: BTreeMap<Callers, BTreeSet<PeerName>>,
}

impl Forwarded {
    /// True if there is nothing that they have to know.
    pub fn is_empty(&self) -> bool {
        self.ways.0.is_empty() && self.importers.values().all(BTreeSet::is_empty)
    }
}

struct Gateway<'a> {
    context: Context<'a>,
    place: &'a Place,
    proxy: &'a Service,
    options: &'a OpaqueConfig,
    limits: Option<CircuitBreaker>,
}

impl Gateway<'_> {
    fn build(&self) -> Part {
        let mut draft = Draft::default();
        // Who comes first keeps an SNI that two would have: what is ours before what peers say.
        let remote = self.remote(&mut draft);
        self.local_services(&mut draft);
        let mut servers = self.wan_servers(&mut draft, &remote);
        servers.extend(self.own_peering_servers(&mut draft));
        let exported = self.exported(&mut draft);
        self.imported(&mut draft);
        servers.extend(self.peers_servers(&mut draft));

        let ways = [exported, remote.iter().map(remote::Remote::way).collect(), servers].concat();
        draft.part.ways = Ways(ways.into());
        draft.part
    }

    /// The place's own servers and peerings are the business of its default partition.
    fn has_control_plane_duties(&self) -> bool {
        self.place.partition.is_default()
    }
}

/// A filter chain, of which every listener has a copy of its own: statistics tell some of them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    /// What selects it.
    server_names: Vec<Arc<str>>,
    end: End,
}

/// What becomes of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// They are forwarded, counted by the listener that took them.
    Forward(ClusterName, Counted),
    /// Something else, in every listener alike.
    Same(Box<FilterChain>),
}

/// What a forwarded connection counts as.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Counted {
    /// One to another place, by the place's key.
    Remote(Arc<str>),
    /// One to a server of this datacenter.
    Server(Arc<str>),
    /// One to the servers of this datacenter, from a peer.
    PeeringServers(Arc<str>),
}

impl Way {
    /// The chain of a listener.
    fn chain(&self, listener: &Arc<str>) -> FilterChain {
        let chain = match &self.end {
            End::Same(chain) => (**chain).clone(),
            End::Forward(cluster, counted) => {
                let listener = listener.clone();
                let stat = match counted.clone() {
                    Counted::Remote(place) => Stat::GatewayRemote { listener, place },
                    Counted::Server(datacenter) => Stat::GatewayServer { listener, datacenter },
                    Counted::PeeringServers(datacenter) => Stat::GatewayPeeringServers { listener, datacenter },
                };
                forwarding(stat, Some(cluster.clone()))
            }
        };
        FilterChain { server_names: self.server_names.clone(), ..chain }
    }
}

/// A chain that passes bytes on.
fn forwarding(stat: Stat, cluster: Option<ClusterName>) -> FilterChain {
    FilterChain { filters: vec![Filter::TcpProxy { stat, cluster }], ..FilterChain::default() }
}

/// Takes whatever no other chain takes, and the SNI for the name of a cluster. Where there is none, or no SNI, the
/// connection is closed.
fn catch_all(listener: &Arc<str>) -> FilterChain {
    let local = Stat::GatewayLocal { listener: listener.clone() };
    FilterChain {
        filters: vec![Filter::SniCluster, Filter::TcpProxy { stat: local, cluster: None }],
        ..FilterChain::default()
    }
}
