//! Where a finished listener listens, whoever wrote it.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use prost::Message;

use super::snapshot::Resource;

/// Every address of a listener, as `TCP 127.0.0.1:9191` or as the path of a socket. Nothing for a resource that is none.
///
/// Two listeners of an Envoy never have one in common.
pub fn listening_addresses(listener: &Resource) -> BTreeSet<String> {
    let Ok(listener) = Listener::decode(listener.body.clone()) else { return BTreeSet::new() };
    let more = listener.additional_addresses.into_iter().map(|it| it.address);
    [listener.address].into_iter().chain(more).flatten().filter_map(text).collect()
}

fn text(address: Address) -> Option<String> {
    match address.address? {
        Kind::SocketAddress(socket) => Some(of_socket(&socket)),
        Kind::Pipe(pipe) => Some(pipe.path),
        Kind::EnvoyInternalAddress(_) => None,
    }
}

fn of_socket(socket: &SocketAddress) -> String {
    let protocol = if socket.protocol == i32::from(Protocol::Udp) { "UDP" } else { "TCP" };
    let port = match &socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => port.to_string(),
        Some(PortSpecifier::NamedPort(name)) => name.clone(),
        None => String::new(),
    };
    format!("{protocol} {}:{port}", socket.address)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use envoy_types::pb::envoy::config::listener::v3::AdditionalAddress;

    use super::super::wire;
    use super::*;

    #[test]
    fn a_listener_listens_at_all_its_addresses() {
        let more = |address| AdditionalAddress { address: Some(address), ..Default::default() };
        let listener = Listener {
            address: Some(wire::socket("127.0.0.1", 9_191)),
            additional_addresses: vec![more(wire::socket("::1", 9_191)), more(wire::pipe("/run/any.sock", 0))],
            ..Default::default()
        };
        let resource = Resource::new("any", Bytes::from(listener.encode_to_vec()), []);

        let addresses: Vec<_> = listening_addresses(&resource).into_iter().collect();

        assert_eq!(addresses, ["/run/any.sock", "TCP 127.0.0.1:9191", "TCP ::1:9191"]);
        assert_eq!(listening_addresses(&Resource::new("none", Bytes::from_static(b"none"), [])), BTreeSet::new());
    }
}
