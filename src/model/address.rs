//! Which address of an instance a caller dials (contract 3.11).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

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

/// A text that is no host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected host:port, with brackets around an IPv6 address")]
pub struct SocketEndpointError;

impl FromStr for SocketEndpoint {
    type Err = SocketEndpointError;

    /// Reads `host:port`.
    fn from_str(text: &str) -> Result<Self, SocketEndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(SocketEndpointError)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)),
        };
        let port = port.parse().ok().filter(|_| is_host && port.bytes().all(|b| b.is_ascii_digit()));
        Ok(Self::new(bracketed.unwrap_or(host), port.ok_or(SocketEndpointError)?))
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

/// True if [`instance_address`] has another address for other places than for its own. The one of the node counts as one
/// only where the instance has no address itself, and where it is not the one that its own place uses as well.
pub fn says_wan(service: &Service, node: &Node) -> bool {
    let own = service.tagged_addresses.get("wan").is_some_and(|wan| !wan.address.is_empty());
    let of_node = node.tagged_addresses.get("wan").is_some_and(|wan| !wan.is_empty() && *wan != node.address);
    own || service.address.is_empty() && of_node
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
        let says = [&bare, &own, &tagged].map(|service| says_wan(service, &node));
        assert_eq!(says, [true, false, true]);
        // What agents say of nodes that have one address for all.
        let alike = Node { address: "198.18.0.1".to_owned(), ..node.clone() };
        assert!(!says_wan(&bare, &alike));
    }

    #[test]
    fn ipv6_is_bracketed() {
        assert_eq!(SocketEndpoint::new("2001:db8::ff", 9999).to_string(), "[2001:db8::ff]:9999");
    }

    #[test]
    fn an_address_reads_back_as_it_is_written() {
        for text in ["10.0.0.1:8503", "[2001:db8::ff]:9999", "lb-1.example.com:443"] {
            assert_eq!(text.parse().map(|read: SocketEndpoint| read.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "10.0.0.1", ":80", "a:", "a:+1", "a:65536", "2001:db8::ff:80", "[a]:80", "a b:80", "a/b:80"] {
            assert_eq!(text.parse::<SocketEndpoint>(), Err(SocketEndpointError), "{text}");
        }
    }
}
