//! Servers of control planes: the own ones are instances of a service like any other, those of peers are known by their
//! addresses (contract 4.6). Nobody checks them here, so their endpoints have neither health nor weight.

use super::{Omission, Servers, described, with_ip_addresses};
use crate::ir::{Endpoint, SocketAddress};
use crate::model::{AddressForm, Datacenter, PeerKey, ServiceKey, ServiceName, SocketEndpoint};
use crate::resolve::exports::SERVERS;
use crate::resolve::state::{Instance, State};

/// Meta key of the port at which a server speaks with peers.
pub(super) const PEERING_PORT: &str = "grpc_tls_port";

/// Meta key of servers that only read.
const REPLICA: &str = "read_replica";

/// The servers of a datacenter.
pub(crate) fn servers(state: &dyn State, datacenter: &Datacenter) -> Vec<Instance> {
    let service = ServiceName::in_default(SERVERS);
    state.instances(&ServiceKey { datacenter: datacenter.clone(), service })
}

/// True for a server that only reads.
pub(crate) fn is_replica(server: &Instance) -> bool {
    server.service.meta.get(REPLICA).is_some_and(|value| value == "true")
}

/// The endpoints of these servers.
pub(super) fn endpoints(
    state: &dyn State,
    datacenter: &Datacenter,
    which: &Servers,
    omissions: &mut Vec<Omission>,
) -> Vec<Endpoint> {
    let mut servers = servers(state, datacenter);
    match which {
        Servers::All => {}
        Servers::OnNode(node) => servers.retain(|server| server.node.node == *node),
        Servers::Peering => servers.retain(|server| !is_replica(server)),
    }
    let mut endpoints = Vec::with_capacity(servers.len());
    for server in &servers {
        let known = with_ip_addresses(std::slice::from_ref(server), AddressForm::Lan, false, omissions);
        let port = (*which == Servers::Peering).then(|| peering_port(server));
        match port {
            None => endpoints.extend(known.into_iter().map(|endpoint| Endpoint::bare(endpoint.address))),
            Some(Some(port)) => endpoints.extend(known.into_iter().map(|endpoint| at_port(endpoint, port))),
            Some(None) => omissions.push(Omission::NoPeeringPort { owner: described(server) }),
        }
    }
    endpoints
}

fn peering_port(server: &Instance) -> Option<u16> {
    server.service.meta.get(PEERING_PORT)?.parse().ok().filter(|port| *port > 0)
}

fn at_port(endpoint: Endpoint, port: u16) -> Endpoint {
    Endpoint::bare(match endpoint.address {
        SocketAddress::Tcp(host, _) => SocketAddress::Tcp(host, port),
        pipe @ SocketAddress::Pipe(_) => pipe,
    })
}

/// The servers of a peer that have IP addresses.
pub(super) fn of_peer(state: &dyn State, peer: &PeerKey) -> Vec<Endpoint> {
    let rows = state.peerings(&peer.place);
    let Some(row) = rows.iter().find(|row| row.peering.name == peer.name) else { return Vec::new() };
    let addresses = row.peering.addresses_to_dial().into_iter().filter_map(|text| text.parse::<SocketEndpoint>().ok());
    let addresses = addresses.filter(|address| !address.is_hostname());
    addresses.map(|SocketEndpoint { host, port }| Endpoint::bare(SocketAddress::Tcp(host.into(), port))).collect()
}
