//! The control plane of peering: the servers of both sides reach each other through gateways (contract 4.3, items 4 and 5;
//! 4.6 d and i).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::{Counted, End, Gateway, Way, forwarding};
use crate::ir::{Cluster, ClusterName, Discovery, DnsKind, Endpoint, SocketAddress, Stat};
use crate::model::{Peering, Place, SocketEndpoint, peering_server_name};
use crate::resolve::LeftOut;
use crate::resolve::endpoints::{EndpointSource, Servers, is_replica, servers};
use crate::resolve::state::PeeringRow;

impl Gateway<'_> {
    fn carries_peering(&self) -> bool {
        let peering = self.context.state.mesh(&self.place.partition).and_then(|mesh| mesh.peering.as_ref());
        self.has_control_plane_duties() && peering.is_some_and(|peering| peering.peer_through_mesh_gateways)
    }

    /// The way of peers to our servers. Replicas for reading do not speak with peers.
    pub(super) fn own_peering_servers(&self, draft: &mut Draft) -> Option<Way> {
        let own = &self.place.datacenter;
        if !self.carries_peering() || servers(self.context.state, own).iter().all(is_replica) {
            return None;
        }
        let sni = peering_server_name(own, self.context.trust_domain);
        let sni = draft.take_for_chain(&sni, "our servers, for peers")?;
        let name = ClusterName::Sni(sni.clone());
        self.add_cluster(draft, name.clone(), EndpointSource::Servers(own.clone(), Servers::Peering));
        let end = End::Forward(name, Counted::PeeringServers(own.as_str().into()));
        Some(Way { server_names: vec![sni], end })
    }

    /// The ways of our servers to those of peers, by their name.
    pub(super) fn peers_servers(&self, draft: &mut Draft) -> Vec<Way> {
        if !self.carries_peering() {
            return Vec::new();
        }
        let peerings = self.peerings_by_server_name();
        peerings.values().filter_map(|row| self.peer_servers(draft, &row.peering)).collect()
    }

    /// The peerings that our side dials. Several partitions of a peer have the same servers, and the peering that changed
    /// last knows where they are.
    fn peerings_by_server_name(&self) -> BTreeMap<String, PeeringRow> {
        let state = self.context.state;
        let own = &self.place.datacenter;
        let places = state.partitions(own).into_iter().map(|partition| Place::new(own, &partition));
        let mut newest: BTreeMap<String, PeeringRow> = BTreeMap::new();
        for row in places.flat_map(|place| state.peerings(&place)) {
            let is_older = |known: &PeeringRow| known.modify_index >= row.modify_index;
            if !row.peering.addresses_to_dial().is_empty()
                && !newest.get(&row.peering.server_name).is_some_and(is_older)
            {
                newest.insert(row.peering.server_name.clone(), row);
            }
        }
        newest
    }

    fn peer_servers(&self, draft: &mut Draft, peering: &Peering) -> Option<Way> {
        let mut addresses = Vec::new();
        for text in peering.addresses_to_dial() {
            match text.parse::<SocketEndpoint>() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let (peer, address) = (peering.name.clone(), text.to_owned());
                    draft.part.left_out.push(LeftOut::PeerAddress { peer, address });
                }
            }
        }
        if addresses.is_empty() {
            return None;
        }
        let what = format!("the servers of peer {}", peering.name);
        let sni = draft.take_from_peer(&peering.server_name, self.context.trust_domain, what)?;
        self.peer_cluster(draft, &sni, peering, addresses);
        let chain = forwarding(Stat::GatewayPeer { server_name: sni.clone() }, Some(ClusterName::Sni(sni.clone())));
        Some(Way { server_names: vec![sni], end: End::Same(Box::new(chain)) })
    }

    /// The cluster of a peer's servers. Those with host names, if there are any, are all; and all of them are dialled.
    fn peer_cluster(&self, draft: &mut Draft, sni: &Arc<str>, peering: &Peering, addresses: Vec<SocketEndpoint>) {
        let name = ClusterName::Sni(sni.clone());
        let named = addresses.into_iter().filter(SocketEndpoint::is_hostname);
        let named: Vec<_> =
            named.map(|SocketEndpoint { host, port }| Endpoint::bare(SocketAddress::Tcp(host.into(), port))).collect();
        let discovery = if named.is_empty() {
            draft.part.endpoints.insert(name.clone(), EndpointSource::PeerServers(peering.key()));
            self.eds()
        } else {
            Discovery::Dns(DnsKind::Strict, named)
        };
        let cluster = Cluster { circuit_breaker: None, ..self.cluster(name, discovery) };
        draft.part.resources.clusters.push(cluster);
    }
}
