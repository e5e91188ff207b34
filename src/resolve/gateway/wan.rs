//! WAN federation: servers reach those of other datacenters through gateways (contract 4.3, item 3; 4.6 b and c).

use std::collections::BTreeSet;

use super::draft::Draft;
use super::remote::Remote;
use super::{Counted, End, Gateway, Way};
use crate::ir::ClusterName;
use crate::model::{NodeName, server_name, server_name_of_node};
use crate::resolve::endpoints::{EndpointSource, Servers, servers};

/// Meta key of gateways that take part in WAN federation.
const FEDERATION: &str = "consul-wan-federation";

impl Gateway<'_> {
    /// True if servers federate through this gateway.
    pub(super) fn federates(&self) -> bool {
        self.has_control_plane_duties() && self.proxy.meta.get(FEDERATION).is_some_and(|value| value == "1")
    }

    /// The ways to the servers of other datacenters, and to each server of this one.
    pub(super) fn wan_servers(&self, draft: &mut Draft, remote: &[Remote]) -> Vec<Way> {
        if !self.federates() {
            return Vec::new();
        }
        let mut ways = Vec::new();
        let own = &self.place.datacenter;
        for remote in remote.iter().filter(|remote| remote.place.datacenter != *own) {
            ways.extend(self.remote_servers(draft, remote));
        }
        self.own_servers(draft);
        let servers = servers(self.context.state, own);
        let nodes: BTreeSet<&NodeName> = servers.iter().map(|server| &server.node.node).collect();
        // A name in lower case is the one that means itself.
        let (plain, others): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| node.as_str() == node.as_str().to_lowercase());
        let mut own: Vec<Way> =
            plain.into_iter().chain(others).filter_map(|node| self.own_server(draft, node)).collect();
        own.sort_by(|a, b| a.server_names.cmp(&b.server_names));
        ways.extend(own);
        ways
    }

    fn remote_servers(&self, draft: &mut Draft, remote: &Remote) -> Option<Way> {
        let datacenter = &remote.place.datacenter;
        let sni = draft.take(&server_name(datacenter, self.context.dns_domain), format!("servers of {datacenter}"))?;
        let name = ClusterName::Sni(sni.clone());
        self.add_remote_cluster(draft, name.clone(), remote.endpoints.iter().cloned(), remote.source.clone());
        let end = End::Forward(name, Counted::Remote(remote.key()));
        Some(Way { server_names: vec![format!("*.{sni}").into()], end })
    }

    /// All servers of the own datacenter, which the last chain leads to. Their endpoints are always there; the cluster only
    /// while the datacenter has a federation state, as in Consul.
    fn own_servers(&self, draft: &mut Draft) {
        let own = &self.place.datacenter;
        let Some(sni) = draft.take(&server_name(own, self.context.dns_domain), format!("servers of {own}")) else {
            return;
        };
        let (name, source) = (ClusterName::Sni(sni), EndpointSource::Servers(own.clone(), Servers::All));
        if self.federated().contains(own) {
            self.add_cluster(draft, name, source);
        } else {
            draft.part.endpoints.insert(name, source);
        }
    }

    fn own_server(&self, draft: &mut Draft, node: &NodeName) -> Option<Way> {
        let own = &self.place.datacenter;
        let sni = server_name_of_node(node, own, self.context.dns_domain);
        let sni = draft.take_for_chain(&sni, format!("the server on node {node}"))?;
        let name = ClusterName::Sni(sni.clone());
        self.add_cluster(draft, name.clone(), EndpointSource::Servers(own.clone(), Servers::OnNode(node.clone())));
        let end = End::Forward(name, Counted::Server(own.as_str().into()));
        Some(Way { server_names: vec![sni], end })
    }
}
