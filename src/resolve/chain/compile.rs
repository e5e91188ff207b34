//! From entries to the graph.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Step;
use super::{
    Chain, ChainError, Node, NodeKey, Protocol, ResolverNode, RouteNode, Scope, SplitNode, SplitterNode, Target,
    TargetKey, protocol_of,
};
use crate::model::entry::{
    HeaderModifiers, HttpMatch, Route, RouteDestination, RouteMatch, ServiceResolver, Split, Subset,
};
use crate::model::{Datacenter, GoDuration, PeerName, ServiceName};
use crate::resolve::precedence::TargetSources;
use crate::resolve::state::State;

/// Time to connect where nobody says another.
const CONNECT_TIMEOUT: GoDuration = GoDuration::from_secs(5);

/// All of the traffic, in hundredths of a percent.
const ALL: u64 = 10_000;

/// Compiles the chain of a scope.
///
/// # Errors
/// The entries contradict each other.
pub fn compile(state: &dyn State, scope: &Scope) -> Result<Chain, ChainError> {
    let mut compiler = Compiler {
        state,
        scope,
        nodes: BTreeMap::new(),
        targets: BTreeMap::new(),
        protocol: None,
        open: Vec::new(),
        skips_routing: false,
    };
    let start = compiler.start()?;
    let Compiler { mut nodes, mut targets, skips_routing, protocol, .. } = compiler;
    let protocol = protocol.map_or(Protocol::Tcp, |(_, protocol)| protocol);
    let (used_nodes, used_targets) = reachable(&nodes, &start);
    nodes.retain(|key, _| used_nodes.contains(key));
    targets.retain(|key, _| used_targets.contains(key));
    let advanced = nodes.keys().find_map(|key| match key {
        NodeKey::Router(service) | NodeKey::Splitter(service) => Some((key.kind(), service)),
        NodeKey::Resolver(_) => None,
    });
    if let Some((kind, service)) = advanced.filter(|_| !protocol.is_http_like()) {
        return Err(ChainError::NoRequests { service: service.to_string(), protocol: protocol.as_str(), kind });
    }
    let is_default = match nodes.get(&start) {
        Some(Node::Resolver(node)) => node.is_default && node.target.service == scope.service,
        Some(Node::Router(_) | Node::Splitter(_)) | None => false,
    };
    Ok(Chain { scope: scope.clone(), protocol, skips_routing, is_default, start, nodes, targets })
}

/// The nodes that `start` leads to, and their targets.
fn reachable(nodes: &BTreeMap<NodeKey, Node>, start: &NodeKey) -> (BTreeSet<NodeKey>, BTreeSet<TargetKey>) {
    let (mut seen, mut targets) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![start];
    while let Some(key) = open.pop() {
        if !seen.insert(key.clone()) {
            continue;
        }
        match nodes.get(key) {
            Some(Node::Router(routes)) => open.extend(routes.iter().map(|route| &route.next)),
            Some(Node::Splitter(splitter)) => open.extend(splitter.splits.iter().map(|split| &split.next)),
            Some(Node::Resolver(node)) => {
                targets.insert(node.target.clone());
                targets.extend(node.failover.iter().cloned());
            }
            None => {}
        }
    }
    (seen, targets)
}

struct Compiler<'a> {
    state: &'a dyn State,
    scope: &'a Scope,
    nodes: BTreeMap<NodeKey, Node>,
    targets: BTreeMap<TargetKey, Target>,
    /// The first service visited, with its protocol.
    protocol: Option<(ServiceName, Protocol)>,
    /// The splitters that are being compiled, the outermost first.
    open: Vec<ServiceName>,
    skips_routing: bool,
}

impl Compiler<'_> {
    /// A service in the chain's own datacenter.
    fn target(&self, service: &ServiceName) -> TargetKey {
        TargetKey {
            service: service.clone(),
            datacenter: self.scope.datacenter.clone(),
            subset: String::new(),
            peer: PeerName::default(),
        }
    }

    fn apply(&self, step: &Step, from: &TargetKey) -> TargetKey {
        step.apply(from, (&self.scope.service.partition, &self.scope.datacenter))
    }

    /// An entry that tells requests apart, unless the caller cannot.
    fn routing<T>(&mut self, entry: Option<T>) -> Option<T> {
        self.skips_routing |= entry.is_some() && self.scope.is_plain;
        entry.filter(|_| !self.scope.is_plain)
    }

    /// Takes note of a service's protocol.
    fn visit(&mut self, service: &ServiceName) -> Result<(), ChainError> {
        let protocol = protocol_of(self.state, service);
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

    fn start(&mut self) -> Result<NodeKey, ChainError> {
        let service = &self.scope.service;
        self.visit(service)?;
        let own = self.target(service);
        let entry = self.state.router(service);
        let Some(router) = self.routing(entry) else { return self.split_or_resolve(own) };
        let mut routes = Vec::with_capacity(router.routes.len() + 1);
        for route in &router.routes {
            let step = route.destination.as_ref().map(Step::from).unwrap_or_default();
            let target = self.apply(&step, &own);
            // A subset is meant as it stands: what its service's splitter says about the bare name does not count.
            let next = if target.subset.is_empty() { self.split_or_resolve(target)? } else { self.resolve(target)? };
            routes.push(RouteNode { definition: route.clone(), next });
        }
        let next = self.split_or_resolve(own)?;
        routes.push(RouteNode { definition: rest(&service.name), next });
        let key = NodeKey::Router(service.clone());
        self.nodes.insert(key.clone(), Node::Router(routes));
        Ok(key)
    }

    fn split_or_resolve(&mut self, target: TargetKey) -> Result<NodeKey, ChainError> {
        match self.splitter(&target.service)? {
            Some(key) => Ok(key),
            None => self.resolve(target),
        }
    }

    /// The splitter of a service, if it has one.
    fn splitter(&mut self, service: &ServiceName) -> Result<Option<NodeKey>, ChainError> {
        let entry = self.state.splitter(service);
        let Some(entry) = self.routing(entry) else { return Ok(None) };
        let key = NodeKey::Splitter(service.clone());
        if self.nodes.contains_key(&key) {
            return Ok(Some(key));
        }
        if self.open.contains(service) {
            let way = self.open.iter().chain([service]).map(ToString::to_string);
            return Err(ChainError::SplitLoop(way.collect()));
        }
        self.visit(service)?;
        self.open.push(service.clone());
        let own = self.target(service);
        let mut node = SplitterNode { splits: Vec::new(), load_balancer: None };
        for split in &entry.splits {
            let target = self.apply(&Step::from(split), &own);
            // A splitter's own service is meant as it stands, without the splitter.
            let is_bare = target.subset.is_empty() && target.service != *service;
            match if is_bare { self.splitter(&target.service)? } else { None } {
                Some(inner) => {
                    let Some(Node::Splitter(inner)) = self.nodes.get(&inner) else { continue };
                    node.splits.extend(inner.splits.iter().map(|inner| within(split, inner)));
                }
                None => {
                    let next = self.resolve(target)?;
                    if let Some(Node::Resolver(resolver)) = self.nodes.get(&next)
                        && node.load_balancer.is_none()
                    {
                        node.load_balancer = resolver.load_balancer.clone().filter(|balancer| balancer.is_hashing());
                    }
                    node.splits.push(SplitNode {
                        definition: split.clone(),
                        hundredths: split.hundredths(),
                        request_headers: split.request_headers.clone().unwrap_or_default(),
                        response_headers: split.response_headers.clone().unwrap_or_default(),
                        next,
                    });
                }
            }
        }
        self.open.pop();
        self.nodes.insert(key.clone(), Node::Splitter(node));
        Ok(Some(key))
    }

    /// The node that a target leads to.
    fn resolve(&mut self, asked: TargetKey) -> Result<NodeKey, ChainError> {
        let target = self.follow(asked)?;
        let key = NodeKey::Resolver(target.clone());
        if self.nodes.contains_key(&key) {
            return Ok(key);
        }
        // Also for a target in a peer, a resolver is found by the service's name alone.
        let resolver = self.state.resolver(&target.service);
        let positive = |value: Option<GoDuration>| value.filter(|value| *value > GoDuration::default());
        let mut failover = Vec::new();
        for leg in resolver.map(|resolver| self.legs(resolver, &target)).unwrap_or_default() {
            let leg = self.follow(leg)?;
            if leg != target && !failover.contains(&leg) {
                failover.push(leg);
            }
        }
        let node = ResolverNode {
            target,
            is_default: resolver.is_none_or(changes_nothing),
            connect_timeout: positive(resolver.and_then(|it| it.connect_timeout)).unwrap_or(CONNECT_TIMEOUT),
            request_timeout: positive(resolver.and_then(|it| it.request_timeout)),
            load_balancer: resolver.and_then(|it| it.load_balancer.clone()),
            failover,
        };
        self.nodes.insert(key.clone(), Node::Resolver(node));
        Ok(key)
    }

    /// Follows redirects and default subsets to the target that is meant, and keeps it.
    fn follow(&mut self, mut key: TargetKey) -> Result<TargetKey, ChainError> {
        let mut seen = vec![key.clone()];
        // What a peer exports is what the peer makes of it.
        while key.peer.is_default() {
            self.visit(&key.service)?;
            let Some(resolver) = self.state.resolver(&key.service) else { break };
            self.external_sni(&key, Some(resolver))?;
            let next = if let Some(redirect) = &resolver.redirect {
                self.apply(&Step::from(redirect), &key)
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
        let defaults = self.state.service_defaults(&key.service);
        let resolver = self.state.resolver(&key.service);
        let subset = match (key.subset.as_str(), resolver.and_then(|resolver| resolver.subsets.get(&key.subset))) {
            ("", _) => Subset::default(),
            (_, Some(subset)) => subset.clone(),
            (name, None) => {
                return Err(ChainError::UnknownSubset { service: key.service.to_string(), subset: name.to_owned() });
            }
        };
        let external_sni = self.external_sni(key, resolver)?;
        let sources = TargetSources {
            is_external: external_sni.is_some(),
            service_defaults: defaults.and_then(|entry| entry.mesh_gateway.mode),
            proxy_defaults: self.state.proxy_defaults(&key.service.partition).and_then(|entry| entry.mesh_gateway.mode),
        };
        self.targets.insert(key.clone(), Target { key: key.clone(), subset, sources, external_sni });
        Ok(())
    }

    /// The SNI of a service outside of the mesh, whose resolver can do less than others.
    fn external_sni(&self, key: &TargetKey, resolver: Option<&ServiceResolver>) -> Result<Option<String>, ChainError> {
        let defaults = self.state.service_defaults(&key.service);
        let external_sni = defaults.map(|entry| entry.external_sni.clone()).filter(|sni| !sni.is_empty());
        if external_sni.is_some()
            && let Some(field) = resolver.and_then(|resolver| forbidden_outside(resolver, key))
        {
            return Err(ChainError::External { service: key.service.to_string(), field });
        }
        Ok(external_sni)
    }

    /// The failover legs of a target, before their own redirects.
    fn legs(&self, resolver: &ServiceResolver, target: &TargetKey) -> Vec<TargetKey> {
        let Some(failover) = resolver.failover.get(&target.subset).or_else(|| resolver.failover.get("*")) else {
            return Vec::new();
        };
        if !failover.datacenters.is_empty() {
            let step = |datacenter: &Datacenter| Step { datacenter: datacenter.clone(), ..Step::from(failover) };
            return failover.datacenters.iter().map(|datacenter| self.apply(&step(datacenter), target)).collect();
        }
        if !failover.targets.is_empty() {
            return failover.targets.iter().map(|leg| self.apply(&Step::from(leg), target)).collect();
        }
        vec![self.apply(&Step::from(failover), target)]
    }
}

/// The last route of a router: what no other takes goes to its own service.
fn rest(service: &str) -> Route {
    let http = HttpMatch { path_prefix: "/".to_owned(), ..HttpMatch::default() };
    Route {
        r#match: Some(RouteMatch { http: Some(http) }),
        destination: Some(RouteDestination { service: service.to_owned(), ..RouteDestination::default() }),
    }
}

/// A split of a splitter that an outer split leads to, as a part of the outer splitter.
fn within(outer: &Split, inner: &SplitNode) -> SplitNode {
    let product = u64::from(outer.hundredths()) * u64::from(inner.hundredths);
    let (request, response) = (outer.request_headers.clone(), outer.response_headers.clone());
    SplitNode {
        definition: inner.definition.clone(),
        hundredths: u32::try_from((product + ALL / 2) / ALL).unwrap_or(u32::MAX),
        request_headers: in_turn(&request.unwrap_or_default(), &inner.request_headers),
        // A response comes from the target, so that it meets the inner split first.
        response_headers: in_turn(&inner.response_headers, &response.unwrap_or_default()),
        next: inner.next.clone(),
    }
}

/// One change after the other; where they set the same header, the later one wins.
pub(super) fn in_turn(first: &HeaderModifiers, later: &HeaderModifiers) -> HeaderModifiers {
    let mut both = first.clone();
    both.add.extend(later.add.clone());
    both.set.extend(later.set.clone());
    both.remove.extend(later.remove.iter().filter(|name| !first.remove.contains(name)).cloned());
    both
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
