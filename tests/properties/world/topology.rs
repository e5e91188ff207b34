//! The network between the proxies of a mesh: which address leads to which of them.

use meshgate::ir::SocketAddress;
use meshgate::model::{Node, Service, ServiceKind};
use meshgate::store::{NodeKey, Op};

use super::World;

/// A proxy that can be dialled at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Contact {
    /// The address, as others dial it.
    pub(crate) dialled: SocketAddress,
    /// The proxy.
    pub(crate) proxy: String,
    /// The address at which the proxy sees connections come in.
    pub(crate) local: SocketAddress,
}

/// What a proxy is called here.
pub(crate) fn proxy_name(node: &NodeKey, service: &Service) -> String {
    let place = &node.place;
    format!("{}/{}/{}", place.datacenter, place.partition, service.id)
}

impl World {
    /// Every address that leads to a proxy. It says who is where, and nothing about who may dial whom.
    pub(crate) fn contacts(&self) -> Vec<Contact> {
        let nodes: Vec<&Node> =
            self.iter().filter_map(|op| if let Op::PutNode(node) = op { Some(node) } else { None }).collect();
        let node_of = |key: &NodeKey| nodes.iter().find(|node| NodeKey::new(&node.place(), &node.node) == *key);
        let mut contacts = Vec::new();
        for op in self.iter() {
            let Op::PutService(key, service) = op else { continue };
            let node = node_of(key).expect("every instance is on a node");
            contacts.extend(contacts_of(&proxy_name(key, service), service, node));
        }
        contacts
    }
}

fn contacts_of(proxy: &str, service: &Service, node: &Node) -> Vec<Contact> {
    let tcp = |host: &str, port: u16| SocketAddress::Tcp(host.into(), port);
    let own = if service.address.is_empty() { &node.address } else { &service.address };
    let inside = tcp(own, service.port);
    let contact = |dialled, local| Contact { dialled, proxy: proxy.to_owned(), local };
    let mut contacts = vec![contact(inside.clone(), inside.clone())];
    if service.address.is_empty() {
        let outside = node.tagged_addresses.get("wan");
        contacts.extend(outside.map(|host| contact(tcp(host, service.port), inside.clone())));
    }
    if let Some(wan) = service.tagged_addresses.get("wan") {
        let dialled = tcp(&wan.address, wan.port);
        // Whoever binds to its outer address sees it; for others it is translated on the way.
        let is_bound = service.kind == ServiceKind::MeshGateway
            && service.proxy.config.contains_key("envoy_gateway_bind_tagged_addresses");
        contacts.push(contact(dialled.clone(), if is_bound { dialled } else { inside }));
    }
    contacts
}
