//! What one caller changes about a chain.

use super::customization::Customization;
use super::{Chain, Protocol, ResolverNode, Scope, Target};
use crate::model::{Datacenter, GoDuration, ServiceName};
use crate::resolve::precedence::{Decision, Ladder, Sources};

/// What a caller's settings ask of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrides {
    /// The caller's side of the gateway mode.
    pub ladder: Ladder,
    /// Another protocol.
    pub protocol: Option<String>,
    /// Another time to connect.
    pub connect_timeout: Option<GoDuration>,
}

impl Default for Overrides {
    /// Nothing is asked for.
    fn default() -> Self {
        Self { ladder: Sources::default().climb(), protocol: None, connect_timeout: None }
    }
}

impl Overrides {
    /// What has to be compiled for this caller of `service`, understood in `datacenter`.
    pub fn scope(&self, service: &ServiceName, datacenter: &Datacenter) -> Scope {
        let is_plain = self.protocol.as_deref().is_some_and(|protocol| !Protocol::parse(protocol).is_http_like());
        Scope { service: service.clone(), datacenter: datacenter.clone(), is_plain }
    }
}

/// A chain's values for one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    /// Prefix of the chain's clusters, if the caller changed something.
    pub prefix: Option<String>,
    /// What is spoken.
    pub protocol: Protocol,
    ladder: Ladder,
    connect_timeout: Option<GoDuration>,
}

impl Custom {
    /// What `overrides` make of `chain`, which was compiled for their scope. What changes nothing does not count.
    pub fn new(chain: &Chain, overrides: &Overrides) -> Self {
        let ladder = overrides.ladder;
        let changes_mode = chain.targets.values().any(|target| target.sources.decide(ladder).customises);
        let protocol = overrides.protocol.as_deref().map_or(chain.protocol, Protocol::parse);
        let connect_timeout = overrides.connect_timeout.filter(|timeout| *timeout > GoDuration::default());
        let changes_timeout = |timeout: &GoDuration| chain.resolvers().any(|node| node.connect_timeout != *timeout);
        let customization = Customization {
            mode: ladder.mode().filter(|_| changes_mode),
            protocol: (protocol != chain.protocol || chain.skips_routing).then_some(protocol.as_str()),
            connect_timeout: connect_timeout.filter(changes_timeout),
        };
        Self { prefix: customization.prefix(), protocol, ladder, connect_timeout }
    }

    /// The gateway mode of a target, and why.
    pub fn decision(&self, target: &Target) -> Decision {
        target.sources.decide(self.ladder)
    }

    /// Time to connect to the targets of a node.
    pub fn connect_timeout(&self, node: &ResolverNode) -> GoDuration {
        self.connect_timeout.unwrap_or(node.connect_timeout)
    }
}
