//! The listener that a transparent proxy's outbound connections are redirected to (contract 3.12).
//!
//! There are no virtual addresses yet, so that whatever comes here was on its way to something that is no upstream, and goes
//! on to where it was going.

use std::time::Duration;

use super::Inbound;
use crate::ir::{Bind, Cluster, ClusterName, Direction, Discovery, Filter, FilterChain, Listener, ListenerName, Stat};
use crate::model::ProxyMode;
use crate::resolve::{Part, merge};

/// Time to connect to a destination outside of the mesh.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Inbound<'_> {
    /// Adds what a transparent proxy does with connections that no upstream takes; nothing where the mesh keeps to itself.
    pub(super) fn outbound(&self, part: &mut Part) {
        let (state, proxy) = (self.context.state, self.proxy);
        let keeps_to_itself =
            state.mesh(&proxy.partition).is_some_and(|mesh| mesh.transparent_proxy.mesh_destinations_only);
        if merge::mode(state, proxy) != ProxyMode::Transparent || keeps_to_itself {
            return;
        }
        let name = ClusterName::OriginalDestination;
        let proxied = Filter::TcpProxy { stat: Stat::OriginalDestination, cluster: Some(name.clone()) };
        let bind = Bind::Tcp("127.0.0.1".into(), merge::outbound_listener_port(state, proxy));
        part.resources.listeners.push(Listener {
            original_destination: true,
            default_chain: Some(FilterChain { filters: vec![proxied], ..FilterChain::default() }),
            ..Listener::new(ListenerName::Outbound, bind, Direction::Outbound, Vec::new())
        });
        part.resources.clusters.push(Cluster::plain(name, Discovery::OriginalDestination, CONNECT_TIMEOUT));
    }
}
