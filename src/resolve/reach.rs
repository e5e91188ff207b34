//! How far a target is away, and what its mode makes of that (contract 2.5).

use crate::model::{GatewayMode, Place};

/// How far a target is away from the proxy that calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// In the same partition of the same datacenter.
    SamePlace,
    /// In another datacenter.
    OtherDatacenter,
    /// In another partition of the same datacenter.
    OtherPartition,
    /// In a peer.
    Peer,
    /// Outside of the mesh.
    External,
}

/// What a sidecar dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// The target's instances.
    Direct,
    /// The mesh gateways of its own place.
    LocalGateways,
    /// The mesh gateways of the target's place.
    RemoteGateways,
}

impl Reach {
    /// The reach of a target in `to` for a proxy in `from`.
    pub fn between(from: &Place, to: &Place) -> Self {
        if from.datacenter != to.datacenter {
            Reach::OtherDatacenter
        } else if from.partition != to.partition {
            Reach::OtherPartition
        } else {
            Reach::SamePlace
        }
    }

    /// What a sidecar dials in this mode. Peers have no direct way: unset and `none` act as `remote` there.
    pub const fn route(self, mode: Option<GatewayMode>) -> Route {
        match (self, mode) {
            (Reach::SamePlace | Reach::External, _)
            | (Reach::OtherDatacenter | Reach::OtherPartition, None | Some(GatewayMode::None)) => Route::Direct,
            (Reach::OtherDatacenter | Reach::OtherPartition | Reach::Peer, Some(GatewayMode::Local)) => {
                Route::LocalGateways
            }
            (Reach::OtherDatacenter | Reach::OtherPartition, Some(GatewayMode::Remote))
            | (Reach::Peer, None | Some(GatewayMode::None | GatewayMode::Remote)) => Route::RemoteGateways,
        }
    }
}
