//! Loopback addresses as networks: one for each place, and one between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::DemoError;

/// Port that is held as long as a network is in use, so that two demos never share one.
const LOCK_PORT: u16 = 65_000;

/// Port of every gateway, on its LAN and on its WAN address.
pub(super) const GATEWAY_PORT: u16 = 8_443;

/// Port of the control plane's HTTP API.
pub(super) const HTTP_PORT: u16 = 8_500;

/// Port of the control plane's ADS server.
pub(super) const GRPC_PORT: u16 = 8_502;

/// Port of the first Envoy's admin interface; those of the others follow.
const ADMIN_PORT: u16 = 19_000;

/// The addresses of one demo: `127.<n>.0.0/16`.
#[derive(Debug)]
pub(super) struct Network {
    number: u8,
    _lock: TcpListener,
}

impl Network {
    /// A network that nobody uses.
    pub(super) fn take() -> Result<Self, DemoError> {
        let lock = |number: u8| {
            let address = SocketAddr::from((Ipv4Addr::new(127, number, 0, 1), LOCK_PORT));
            TcpListener::bind(address).ok().map(|lock| Self { number, _lock: lock })
        };
        (42..250).filter_map(lock).find(Self::is_free).ok_or(DemoError::NoNetwork)
    }

    /// True if nobody listens where a demo would. The processes of a demo that has just ended can be there still.
    fn is_free(&self) -> bool {
        let gateways = (1..=3).flat_map(|place| [self.lan(place, 1), self.wan(place)]).map(|host| (host, GATEWAY_PORT));
        let admin = (0..6).map(|envoy| (self.operator(), ADMIN_PORT + envoy));
        let control_plane = [HTTP_PORT, GRPC_PORT].map(|port| (self.operator(), port));
        gateways.chain(admin).chain(control_plane).all(|address| TcpListener::bind(address).is_ok())
    }

    /// The address of the control plane and of the admin interfaces. No other demo has it, so nobody takes its ports while
    /// the control plane is restarted.
    pub(super) fn operator(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, 0, 1)
    }

    /// The admin interface of an Envoy, counted from zero.
    pub(super) fn admin(&self, envoy: u16) -> SocketAddr {
        SocketAddr::from((self.operator(), ADMIN_PORT + envoy))
    }

    /// The address of a host inside a place. Hosts of different places could not reach each other if these were real
    /// networks.
    pub(super) fn lan(&self, place: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, place, host)
    }

    /// The address of a place's gateway between the places.
    pub(super) fn wan(&self, place: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, 100, place)
    }
}
