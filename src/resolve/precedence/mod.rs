//! The ladder of gateway modes: which of several settings wins, and what the others said (contract 2.2 to 2.4).
//!
//! The four levels that operators know are upstream definition, service instance, service-defaults, proxy-defaults, the
//! first one strongest. The ladder has two more rungs in between (`UpstreamConfig` of the caller's service-defaults) and
//! one legacy rung below. Where the caller's side says nothing at all, the target's side decides.

use std::fmt;

use crate::model::GatewayMode;

/// A source of the mode on the caller's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// `Config.mesh_gateway` of proxy-defaults, a legacy key.
    OpaqueProxyDefaults,
    /// `MeshGateway` of proxy-defaults.
    ProxyDefaults,
    /// `MeshGateway` of the caller's service-defaults.
    ServiceDefaults,
    /// `UpstreamConfig.Defaults.MeshGateway` of the caller's service-defaults.
    UpstreamDefaults,
    /// `Proxy.MeshGateway` of the caller's registration.
    Instance,
    /// `UpstreamConfig.Overrides[upstream].MeshGateway` of the caller's service-defaults.
    UpstreamOverride,
    /// `Proxy.Upstreams[n].MeshGateway` of the caller's registration.
    Upstream,
}

/// Every rung, weakest first: the strongest one that is set wins.
pub const LADDER: [Rung; 7] = [
    Rung::OpaqueProxyDefaults,
    Rung::ProxyDefaults,
    Rung::ServiceDefaults,
    Rung::UpstreamDefaults,
    Rung::Instance,
    Rung::UpstreamOverride,
    Rung::Upstream,
];

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rung::OpaqueProxyDefaults => "proxy-defaults Config.mesh_gateway",
            Rung::ProxyDefaults => "proxy-defaults MeshGateway",
            Rung::ServiceDefaults => "service-defaults MeshGateway",
            Rung::UpstreamDefaults => "service-defaults UpstreamConfig.Defaults.MeshGateway",
            Rung::Instance => "registration Proxy.MeshGateway",
            Rung::UpstreamOverride => "service-defaults UpstreamConfig.Overrides[].MeshGateway",
            Rung::Upstream => "registration Proxy.Upstreams[].MeshGateway",
        })
    }
}

/// What each rung says about one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sources([Option<GatewayMode>; LADDER.len()]);

impl Sources {
    /// The same sources with one rung set.
    #[must_use]
    pub const fn with(mut self, rung: Rung, mode: Option<GatewayMode>) -> Self {
        self.0[rung as usize] = mode;
        self
    }

    /// What a rung says.
    pub const fn get(&self, rung: Rung) -> Option<GatewayMode> {
        self.0[rung as usize]
    }

    /// The ladder with its winner.
    pub fn climb(self) -> Ladder {
        Ladder { sources: self, winner: LADDER.into_iter().rev().find(|rung| self.get(*rung).is_some()) }
    }
}

/// The caller's side of the decision, for one upstream: every source and the one that wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Every source.
    pub sources: Sources,
    /// The strongest that is set.
    pub winner: Option<Rung>,
}

impl Ladder {
    /// The mode that wins; `None` if no source sets one.
    pub fn mode(&self) -> Option<GatewayMode> {
        self.winner.and_then(|rung| self.sources.get(rung))
    }
}

/// The target's side of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetSources {
    /// The target is outside of the mesh (`ExternalSNI`).
    pub is_external: bool,
    /// `MeshGateway` of the target's service-defaults.
    pub service_defaults: Option<GatewayMode>,
    /// `MeshGateway` of proxy-defaults of the target's partition.
    pub proxy_defaults: Option<GatewayMode>,
}

/// Where the mode of a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A rung of the caller's ladder.
    Caller(Rung),
    /// The target's service-defaults, because the caller's side says nothing.
    TargetServiceDefaults,
    /// The target's proxy-defaults, because nothing else says anything.
    TargetProxyDefaults,
    /// The target is outside of the mesh, so there is no mode whatever is set.
    External,
    /// Nobody says anything.
    Unset,
}

/// The mode of one target, with everything that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The mode; unset acts as `none`, for peers as `remote`.
    pub mode: Option<GatewayMode>,
    /// Where it comes from.
    pub origin: Origin,
    /// The caller's side changed what the target's side says, which marks the chain as customised.
    pub customises: bool,
    /// The caller's side.
    pub caller: Ladder,
    /// The target's side.
    pub target: TargetSources,
}

impl TargetSources {
    /// The mode of this target for a caller with this ladder.
    pub fn decide(self, caller: Ladder) -> Decision {
        let own = self.service_defaults.or(self.proxy_defaults);
        let (mode, origin) = match (self.is_external, caller.winner, self.service_defaults, self.proxy_defaults) {
            (true, ..) => (None, Origin::External),
            (false, Some(rung), ..) => (caller.mode(), Origin::Caller(rung)),
            (false, None, Some(mode), _) => (Some(mode), Origin::TargetServiceDefaults),
            (false, None, None, Some(mode)) => (Some(mode), Origin::TargetProxyDefaults),
            (false, None, None, None) => (None, Origin::Unset),
        };
        let customises = !self.is_external && caller.winner.is_some() && mode != own;
        Decision { mode, origin, customises, caller, target: self }
    }
}

#[cfg(test)]
mod tests;
