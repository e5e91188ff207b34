//! Which address of an instance a caller dials (contract 3.11).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::{Node, Service};

/// An IP address or host name, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketEndpoint {
    /// IP address or host name, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl SocketEndpoint {
    /// A host and a port.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// True if the host must be looked up.
    pub fn is_hostname(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }
}

impl fmt::Display for SocketEndpoint {
    /// `host:port`, with brackets around an IPv6 address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// From which side of the network an instance is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressForm {
    /// From its own place.
    Lan,
    /// From another datacenter, partition or peer.
    Wan,
}

/// The address of `service` on `node` in this form.
///
/// LAN: service address, then node address. WAN: the service's `wan` address, its address, the node's `wan` address,
/// the node's address. A tagged address without a port keeps the service's.
pub fn instance_address(service: &Service, node: &Node, form: AddressForm) -> SocketEndpoint {
    if form == AddressForm::Wan
        && let Some(wan) = service.tagged_addresses.get("wan").filter(|wan| !wan.address.is_empty())
    {
        return SocketEndpoint::new(&wan.address, if wan.port == 0 { service.port } else { wan.port });
    }
    if !service.address.is_empty() {
        return SocketEndpoint::new(&service.address, service.port);
    }
    let node_address = match (form, node.tagged_addresses.get("wan")) {
        (AddressForm::Wan, Some(wan)) if !wan.is_empty() => wan,
        _ => &node.address,
    };
    SocketEndpoint::new(node_address, service.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceAddress;

    #[test]
    fn each_form_has_its_order() {
        let node = Node {
            address: "10.0.0.1".to_owned(),
            tagged_addresses: [("wan".to_owned(), "198.18.0.1".to_owned())].into(),
            ..Node::default()
        };
        let bare = Service { port: 80, ..Service::default() };
        let own = Service { address: "10.0.0.2".to_owned(), ..bare.clone() };
        let wan = ServiceAddress { address: "198.18.0.2".to_owned(), port: 0 };
        let tagged = Service { tagged_addresses: [("wan".to_owned(), wan)].into(), ..own.clone() };

        let both = |service| {
            [AddressForm::Lan, AddressForm::Wan].map(|form| instance_address(service, &node, form).to_string())
        };

        assert_eq!(both(&bare), ["10.0.0.1:80", "198.18.0.1:80"]);
        assert_eq!(both(&own), ["10.0.0.2:80", "10.0.0.2:80"]);
        assert_eq!(both(&tagged), ["10.0.0.2:80", "198.18.0.2:80"]);
    }

    #[test]
    fn ipv6_is_bracketed() {
        assert_eq!(SocketEndpoint::new("2001:db8::ff", 9999).to_string(), "[2001:db8::ff]:9999");
    }
}
