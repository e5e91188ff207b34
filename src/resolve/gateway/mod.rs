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

use std::sync::Arc;

use self::draft::Draft;
use super::state::Context;
use super::{Part, access_log, binds, merge};
use crate::ir::{CircuitBreaker, ClusterName, Direction, Filter, FilterChain, Listener, ListenerName, Stat};
use crate::model::{OpaqueConfig, Place, Service};

/// A mesh gateway that runs in `place`.
pub fn mesh_gateway_part(context: Context<'_>, place: &Place, proxy: &Service) -> Part {
    let options = merge::options(context.state, proxy);
    let gateway = Gateway { context, place, proxy, options: &options, limits: clusters::limits(context, proxy) };
    let mut part = gateway.build();
    binds::leave_out_binds(&mut part);
    access_log::add(&mut part, access_log::of(context.state, proxy));
    part
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
        for (name, bind) in addresses::of(self.proxy, self.options) {
            let chains = ways.iter().map(|way| way.chain(&name)).chain([catch_all(&name)]).collect();
            draft.part.resources.listeners.push(Listener {
                tls_inspector: true,
                ..Listener::new(ListenerName::Gateway(name), bind, Direction::Unspecified, chains)
            });
        }
        draft.part
    }

    /// The place's own servers and peerings are the business of its default partition.
    fn has_control_plane_duties(&self) -> bool {
        self.place.partition.is_default()
    }
}

/// A filter chain, of which every listener has a copy of its own: statistics tell some of them apart.
#[derive(Clone)]
struct Way {
    /// What selects it.
    server_names: Vec<Arc<str>>,
    end: End,
}

/// What becomes of its connections.
#[derive(Clone)]
enum End {
    /// They are forwarded, counted by the listener that took them.
    Forward(ClusterName, Counted),
    /// Something else, in every listener alike.
    Same(Box<FilterChain>),
}

/// What a forwarded connection counts as.
#[derive(Clone)]
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
