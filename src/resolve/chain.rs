//! The discovery chain: which targets a service's name leads to (contract 2.7).
//!
//! Compiled from a closed set of entries: the resolvers and service-defaults of the services that it visits, and the
//! proxy-defaults of their partitions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::customization::Customization;
use super::precedence::{Decision, Ladder, TargetSources};
use super::state::{Context, State};
use crate::model::entry::{Failover, FailoverTarget, LoadBalancer, Redirect, ServiceResolver, Subset};
use crate::model::{
    Datacenter, GoDuration, Namespace, Partition, PeerName, Place, ServiceKey, ServiceName, service_sni,
};

use super::opaque;

/// Time to connect where nobody says another.
const CONNECT_TIMEOUT: GoDuration = GoDuration::from_secs(5);

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// Bytes.
    #[default]
    Tcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// The protocol with this name in any case; unknown ones count as `tcp`.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "http" => Protocol::Http,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            _ => Protocol::Tcp,
        }
    }

    /// The protocol as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Http => "http",
            Protocol::Http2 => "http2",
            Protocol::Grpc => "grpc",
        }
    }

    /// True if requests can be told apart.
    pub const fn is_http_like(self) -> bool {
        !matches!(self, Protocol::Tcp)
    }

    /// True if connections to the service are HTTP/2.
    pub const fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc)
    }
}

/// What an upstream's settings ask of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrides {
    /// The caller's side of the gateway mode.
    pub ladder: Ladder,
    /// Another protocol.
    pub protocol: Option<String>,
    /// Another time to connect.
    pub connect_timeout: Option<GoDuration>,
}

/// A target by its full name: `[<subset>.]<svc>.<ns>.<ap>.<dc>`, or `<svc>.<ns>.<ap>.external.<peer>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    /// The service.
    pub service: ServiceName,
    /// Its datacenter; empty in a peer.
    pub datacenter: Datacenter,
    /// Its subset; empty for all instances.
    pub subset: String,
    /// The peer that exports it; empty for none.
    pub peer: PeerName,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceName { partition, namespace, name } = &self.service;
        if !self.peer.is_default() {
            return write!(f, "{name}.{namespace}.{partition}.external.{}", self.peer);
        }
        if !self.subset.is_empty() {
            write!(f, "{}.", self.subset)?;
        }
        write!(f, "{name}.{namespace}.{partition}.{}", self.datacenter)
    }
}

/// Where traffic can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its full name.
    pub key: TargetKey,
    /// The filter of its subset; matches all if it has none.
    pub subset: Subset,
    /// Its gateway mode, and why.
    pub decision: Decision,
    /// The SNI by which gateways and the cluster know it.
    pub name: String,
    /// The SNI that is sent: `ExternalSNI` if there is one, else the name.
    pub sni: String,
}

impl Target {
    /// The service with its datacenter.
    pub fn service(&self) -> ServiceKey {
        ServiceKey { datacenter: self.key.datacenter.clone(), service: self.key.service.clone() }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.service().place()
    }
}

/// A target with what happens when it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverNode {
    /// The primary target.
    pub target: TargetKey,
    /// Time to connect, for every leg.
    pub connect_timeout: Duration,
    /// Time for a request.
    pub request_timeout: Option<GoDuration>,
    /// How requests are spread.
    pub load_balancer: Option<LoadBalancer>,
    /// Other targets, in order, without the primary.
    pub failover: Vec<TargetKey>,
}

/// Where a service's name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The service that was asked for.
    pub service: ServiceName,
    /// The datacenter that its name is understood in.
    pub datacenter: Datacenter,
    /// What it speaks.
    pub protocol: Protocol,
    /// Prefix of its clusters, if the caller changed something.
    pub prefix: Option<String>,
    /// Nothing but defaults contributed.
    pub is_default: bool,
    /// Where it starts.
    pub start: ResolverNode,
    /// Every target.
    pub targets: BTreeMap<TargetKey, Target>,
}

/// A chain that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Redirects lead back.
    #[error("circular redirect: {}", .0.join(" -> "))]
    RedirectLoop(Vec<String>),
    /// A subset that its resolver does not define.
    #[error("service {service} has no subset {subset:?}")]
    UnknownSubset {
        /// The service.
        service: String,
        /// The subset.
        subset: String,
    },
    /// Services with different protocols in one chain.
    #[error(
        "protocol mismatch: {first} speaks {first_protocol}, {second} speaks {second_protocol}; set the same Protocol \
         in their service-defaults"
    )]
    ProtocolMismatch {
        /// One service.
        first: String,
        /// Its protocol.
        first_protocol: &'static str,
        /// Another one.
        second: String,
        /// Its protocol.
        second_protocol: &'static str,
    },
    /// A service outside of the mesh that a resolver treats as one inside.
    #[error("service {service} has an ExternalSNI, so its resolver cannot have {field}")]
    External {
        /// The service.
        service: String,
        /// What it cannot have.
        field: &'static str,
    },
}

/// Compiles the chain of `service`, understood in `datacenter`.
///
/// # Errors
/// The entries contradict each other.
pub fn compile(
    context: Context<'_>,
    service: &ServiceName,
    datacenter: &Datacenter,
    overrides: &Overrides,
) -> Result<Chain, ChainError> {
    let mut compiler = Compiler {
        context,
        datacenter,
        partition: &service.partition,
        overrides,
        targets: BTreeMap::new(),
        protocol: None,
    };
    compiler.visit(service)?;
    let asked = TargetKey {
        service: service.clone(),
        datacenter: datacenter.clone(),
        subset: String::new(),
        peer: PeerName::default(),
    };
    let start = compiler.node(asked)?;
    let resolver = context.state.resolver(service);
    let is_default = resolver.is_none_or(changes_nothing) && start.0.target.service == *service;
    let (start, own_timeout) = start;
    let computed = compiler.protocol.map_or(Protocol::Tcp, |(_, protocol)| protocol);
    let wanted = overrides.protocol.as_deref().map_or(computed, Protocol::parse);
    let customization = Customization {
        mode: overrides.ladder.mode().filter(|_| compiler.targets.values().any(|target| target.decision.customises)),
        protocol: (wanted != computed).then_some(wanted.as_str()),
        connect_timeout: overrides.connect_timeout.filter(|timeout| *timeout != own_timeout),
    };
    Ok(Chain {
        service: service.clone(),
        datacenter: datacenter.clone(),
        protocol: wanted,
        prefix: customization.prefix(),
        is_default,
        start,
        targets: compiler.targets,
    })
}

fn changes_nothing(resolver: &ServiceResolver) -> bool {
    let named = ServiceResolver {
        name: resolver.name.clone(),
        partition: resolver.partition.clone(),
        namespace: resolver.namespace.clone(),
        meta: resolver.meta.clone(),
        ..ServiceResolver::default()
    };
    *resolver == named
}

struct Compiler<'a> {
    context: Context<'a>,
    datacenter: &'a Datacenter,
    partition: &'a Partition,
    overrides: &'a Overrides,
    targets: BTreeMap<TargetKey, Target>,
    /// The first service visited, with its protocol.
    protocol: Option<(ServiceName, Protocol)>,
}

impl Compiler<'_> {
    /// Takes note of a service's protocol.
    fn visit(&mut self, service: &ServiceName) -> Result<(), ChainError> {
        let protocol = protocol_of(self.context.state, service);
        match &self.protocol {
            None => self.protocol = Some((service.clone(), protocol)),
            Some((first, first_protocol)) if *first_protocol != protocol => {
                return Err(ChainError::ProtocolMismatch {
                    first: first.to_string(),
                    first_protocol: first_protocol.as_str(),
                    second: service.to_string(),
                    second_protocol: protocol.as_str(),
                });
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The node that a target leads to, with the time to connect that its resolver asks for.
    fn node(&mut self, asked: TargetKey) -> Result<(ResolverNode, GoDuration), ChainError> {
        let target = self.resolve(asked)?;
        let resolver = self.context.state.resolver(&target.service);
        let positive = |value: Option<GoDuration>| value.filter(|value| *value > GoDuration::default());
        let own_timeout = positive(resolver.and_then(|resolver| resolver.connect_timeout)).unwrap_or(CONNECT_TIMEOUT);
        let mut failover = Vec::new();
        for leg in resolver.map(|resolver| self.legs(resolver, &target)).unwrap_or_default() {
            let leg = self.resolve(leg)?;
            if leg != target && !failover.contains(&leg) {
                failover.push(leg);
            }
        }
        let node = ResolverNode {
            target,
            connect_timeout: positive(self.overrides.connect_timeout).unwrap_or(own_timeout).to_std(),
            request_timeout: positive(resolver.and_then(|resolver| resolver.request_timeout)),
            load_balancer: resolver.and_then(|resolver| resolver.load_balancer.clone()),
            failover,
        };
        Ok((node, own_timeout))
    }

    /// Follows redirects and default subsets to the target that is meant, and keeps it.
    fn resolve(&mut self, mut key: TargetKey) -> Result<TargetKey, ChainError> {
        let mut seen = vec![key.clone()];
        loop {
            if !key.peer.is_default() {
                break;
            }
            self.visit(&key.service)?;
            let Some(resolver) = self.context.state.resolver(&key.service) else { break };
            let next = if let Some(redirect) = &resolver.redirect {
                self.rewrite(&key, &Step::from(redirect))
            } else if key.subset.is_empty() && !resolver.default_subset.is_empty() {
                TargetKey { subset: resolver.default_subset.clone(), ..key.clone() }
            } else {
                break;
            };
            if next == key {
                break;
            }
            if seen.contains(&next) {
                seen.push(next);
                return Err(ChainError::RedirectLoop(seen.iter().map(ToString::to_string).collect()));
            }
            seen.push(next.clone());
            key = next;
        }
        self.keep(&key)?;
        Ok(key)
    }

    fn keep(&mut self, key: &TargetKey) -> Result<(), ChainError> {
        if self.targets.contains_key(key) {
            return Ok(());
        }
        let state = self.context.state;
        let defaults = state.service_defaults(&key.service);
        let resolver = state.resolver(&key.service);
        let subset = match (key.subset.as_str(), resolver.and_then(|resolver| resolver.subsets.get(&key.subset))) {
            ("", _) => Subset::default(),
            (_, Some(subset)) => subset.clone(),
            (name, None) => {
                return Err(ChainError::UnknownSubset { service: key.service.to_string(), subset: name.to_owned() });
            }
        };
        let external = defaults.map(|entry| entry.external_sni.clone()).filter(|sni| !sni.is_empty());
        if external.is_some()
            && let Some(field) = resolver.and_then(|resolver| forbidden_outside(resolver, key))
        {
            return Err(ChainError::External { service: key.service.to_string(), field });
        }
        let sources = TargetSources {
            is_external: external.is_some(),
            service_defaults: defaults.and_then(|entry| entry.mesh_gateway.mode),
            proxy_defaults: state.proxy_defaults(&key.service.partition).and_then(|entry| entry.mesh_gateway.mode),
        };
        let service = ServiceKey { datacenter: key.datacenter.clone(), service: key.service.clone() };
        let name = service_sni(&service, Some(&key.subset), self.context.trust_domain);
        let target = Target {
            key: key.clone(),
            subset,
            decision: sources.decide(self.overrides.ladder),
            sni: external.unwrap_or_else(|| name.clone()),
            name,
        };
        self.targets.insert(key.clone(), target);
        Ok(())
    }

    /// The failover legs of a target, before their own redirects.
    fn legs(&self, resolver: &ServiceResolver, target: &TargetKey) -> Vec<TargetKey> {
        let Some(failover) = resolver.failover.get(&target.subset).or_else(|| resolver.failover.get("*")) else {
            return Vec::new();
        };
        if !failover.datacenters.is_empty() {
            let step = |datacenter: &Datacenter| Step { datacenter: datacenter.clone(), ..Step::from(failover) };
            return failover.datacenters.iter().map(|datacenter| self.rewrite(target, &step(datacenter))).collect();
        }
        if !failover.targets.is_empty() {
            return failover.targets.iter().map(|leg| self.rewrite(target, &Step::from(leg))).collect();
        }
        vec![self.rewrite(target, &Step::from(failover))]
    }

    /// The target that a redirect or failover makes of another: what it does not name is inherited.
    fn rewrite(&self, from: &TargetKey, step: &Step) -> TargetKey {
        let name = if step.service.is_empty() { &from.service.name } else { &step.service.as_str().into() };
        let is_other = *name != from.service.name;
        let subset = if step.subset.is_empty() && !is_other { from.subset.clone() } else { step.subset.clone() };
        if !step.peer.is_default() {
            let namespace = step.namespace.clone().unwrap_or_default();
            return TargetKey {
                service: ServiceName::new(self.partition, &namespace, name),
                datacenter: Datacenter::default(),
                subset,
                peer: step.peer.clone(),
            };
        }
        let inherited = if from.peer.is_default() { &from.datacenter } else { self.datacenter };
        let datacenter = if step.datacenter.is_default() { inherited } else { &step.datacenter };
        let partition = step.partition.as_ref().unwrap_or(&from.service.partition);
        let namespace = step.namespace.as_ref().unwrap_or(&from.service.namespace);
        TargetKey {
            service: ServiceName::new(partition, namespace, name),
            datacenter: datacenter.clone(),
            subset,
            peer: PeerName::default(),
        }
    }
}

/// A resolver of a service outside of the mesh may only set times.
fn forbidden_outside(resolver: &ServiceResolver, key: &TargetKey) -> Option<&'static str> {
    [
        (resolver.redirect.is_some(), "a Redirect"),
        (!resolver.subsets.is_empty() || !key.subset.is_empty(), "Subsets"),
        (!resolver.failover.is_empty(), "a Failover"),
    ]
    .into_iter()
    .find_map(|(is_set, field)| is_set.then_some(field))
}

/// The protocol of a service: its service-defaults, even if they name none, else proxy-defaults, else `tcp`.
pub(super) fn protocol_of(state: &dyn State, service: &ServiceName) -> Protocol {
    if let Some(entry) = state.service_defaults(service) {
        return Protocol::parse(&entry.protocol);
    }
    let defaults = state.proxy_defaults(&service.partition);
    Protocol::parse(&defaults.and_then(|entry| opaque::text(&entry.config, "protocol")).unwrap_or_default())
}

/// What a redirect or a failover names.
#[derive(Default)]
struct Step {
    service: String,
    subset: String,
    namespace: Option<Namespace>,
    partition: Option<Partition>,
    datacenter: Datacenter,
    peer: PeerName,
}

impl From<&Redirect> for Step {
    fn from(redirect: &Redirect) -> Self {
        Self {
            service: redirect.service.clone(),
            subset: redirect.service_subset.clone(),
            namespace: redirect.namespace.clone(),
            partition: redirect.partition.clone(),
            datacenter: redirect.datacenter.clone(),
            peer: redirect.peer.clone(),
        }
    }
}

impl From<&Failover> for Step {
    fn from(failover: &Failover) -> Self {
        Self {
            service: failover.service.clone(),
            subset: failover.service_subset.clone(),
            namespace: failover.namespace.clone(),
            ..Self::default()
        }
    }
}

impl From<&FailoverTarget> for Step {
    fn from(target: &FailoverTarget) -> Self {
        Self {
            service: target.service.clone(),
            subset: target.service_subset.clone(),
            namespace: target.namespace.clone(),
            partition: target.partition.clone(),
            datacenter: target.datacenter.clone(),
            peer: target.peer.clone(),
        }
    }
}
