//! The places of the demo, and what `web` calls in them.

use crate::model::GatewayMode;

/// The host numbers of a place: its gateway, its application.
pub(super) const GATEWAY_HOST: u8 = 1;
pub(super) const APPLICATION_HOST: u8 = 10;

/// A place of the demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub(super) number: u8,
    pub(super) datacenter: &'static str,
    pub(super) partition: &'static str,
    pub(super) gateway: &'static str,
    pub(super) service: &'static str,
    pub(super) sidecar: &'static str,
}

/// Every place.
pub(super) const SITES: [Site; 3] = [
    Site {
        number: 1,
        datacenter: "dc1",
        partition: "default",
        gateway: "gateway dc1",
        service: "web",
        sidecar: "sidecar web",
    },
    Site {
        number: 2,
        datacenter: "dc2",
        partition: "default",
        gateway: "gateway dc2",
        service: "api",
        sidecar: "sidecar api",
    },
    Site {
        number: 3,
        datacenter: "dc1",
        partition: "team-a",
        gateway: "gateway team-a",
        service: "billing",
        sidecar: "sidecar billing",
    },
];

/// A service that `web` calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// `api` in the other datacenter, over HTTP.
    OtherDatacenter,
    /// `billing` in the other partition, over TCP.
    OtherPartition,
}

impl Callee {
    /// Both.
    pub const ALL: [Callee; 2] = [Callee::OtherDatacenter, Callee::OtherPartition];

    pub(super) const fn site(self) -> Site {
        match self {
            Callee::OtherDatacenter => SITES[1],
            Callee::OtherPartition => SITES[2],
        }
    }

    pub(super) const fn port(self) -> u16 {
        match self {
            Callee::OtherDatacenter => 9_191,
            Callee::OtherPartition => 9_192,
        }
    }

    /// What it is called, with its place.
    pub const fn title(self) -> &'static str {
        match self {
            Callee::OtherDatacenter => "other datacenter: web -> api in dc2 (http)",
            Callee::OtherPartition => "other partition: web -> billing in team-a (tcp)",
        }
    }

    /// What its answers contain.
    pub const fn greeting(self) -> &'static str {
        match self {
            Callee::OtherDatacenter => "hello from api",
            Callee::OtherPartition => "hello from billing",
        }
    }

    /// The Envoys that carry a request in this mode, in order (contract 2.5).
    pub fn hops(self, mode: GatewayMode) -> Vec<&'static str> {
        let site = self.site();
        match mode {
            GatewayMode::None => vec!["sidecar web", site.sidecar],
            GatewayMode::Local => vec!["sidecar web", "gateway dc1", site.gateway, site.sidecar],
            GatewayMode::Remote => vec!["sidecar web", site.gateway, site.sidecar],
        }
    }
}
