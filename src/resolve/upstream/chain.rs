//! An upstream whose name leads through a discovery chain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::peer::{Imported, PeerError};
use super::{Asked, fetch_timeout, id, spoken};
use crate::ir::{
    Aggregate, Cluster, ClusterName, Discovery, Filter, Roots, RouteConfiguration, RouteSource, Stat, TlsParameters,
    UpstreamId, UpstreamTls,
};
use crate::model::{AddressForm, SpiffeId, is_sni};
use crate::resolve::balance::load_balancing;
use crate::resolve::chain::{Chain, Custom, Overrides, Protocol, ResolverNode, Target, TargetKey};
use crate::resolve::endpoints::{EndpointSource, Via, endpoint, is_exported};
use crate::resolve::explain::{Found, Leading, Led, LedTo};
use crate::resolve::merge::{self, UpstreamSettings, target_of};
use crate::resolve::reach::{Reach, Route};
use crate::resolve::routes::{self, Clusters};
use crate::resolve::{LeftOut, Part, PartError, dns, tls};

/// What the upstream leads to.
pub(super) fn part(asked: Asked<'_>) -> Result<Part, PartError> {
    let settings = settings(asked);
    with_builder(asked, &settings, &overrides(&settings), |_| {}, |builder| builder.build())
}

/// What an upstream leads to that nobody registered. It says what it speaks, which does not customise its chain.
pub(super) fn added_part(asked: Asked<'_>) -> Result<Part, PartError> {
    let settings = merge::added_upstream(asked.proxy, asked.upstream);
    let overrides = Overrides { ladder: settings.ladder, protocol: None, connect_timeout: None };
    let protocol = Protocol::parse(settings.protocol.as_deref().unwrap_or_default());
    with_builder(asked, &settings, &overrides, |custom| custom.protocol = protocol, |builder| builder.build())
}

/// Where the upstream leads, and why.
pub(super) fn leading(asked: Asked<'_>) -> Result<Leading, PartError> {
    let settings = settings(asked);
    with_builder(asked, &settings, &overrides(&settings), |_| {}, |builder| builder.leading())
}

fn settings(asked: Asked<'_>) -> UpstreamSettings {
    let Asked { context, proxy, upstream, .. } = asked;
    merge::upstream(context.state, proxy, upstream, &target_of(proxy, upstream))
}

fn overrides(settings: &UpstreamSettings) -> Overrides {
    Overrides {
        ladder: settings.ladder,
        protocol: settings.protocol.clone(),
        connect_timeout: settings.connect_timeout,
    }
}

fn with_builder<T>(
    asked: Asked<'_>,
    settings: &UpstreamSettings,
    overrides: &Overrides,
    customise: impl FnOnce(&mut Custom),
    make: impl FnOnce(&Builder<'_>) -> T,
) -> Result<T, PartError> {
    let Asked { context, place, proxy, upstream, options: _ } = asked;
    let target = target_of(proxy, upstream);
    let datacenter = if upstream.datacenter.is_default() { &place.datacenter } else { &upstream.datacenter };
    let chain = context.state.chain(&overrides.scope(&target, datacenter));
    let chain = match &*chain {
        Ok(chain) => chain,
        Err(source) => return Err(PartError::Chain { upstream: upstream.to_string(), source: source.clone() }),
    };
    let mut custom = Custom::new(chain, overrides);
    customise(&mut custom);
    let imported = chain.targets.keys().filter(|key| !key.peer.is_default()).map(|key| {
        let found = Imported::find(context, place, &key.service, &key.peer);
        (key.clone(), found)
    });
    let imported = imported.collect();
    let builder = Builder { asked, settings, chain, custom: &custom, id: id(proxy, upstream), imported };
    if let Some(long) = builder.own_targets().map(|target| builder.sni(target)).find(|sni| !is_sni(sni)) {
        return Err(PartError::Sni { upstream: upstream.to_string(), sni: long });
    }
    if let Some(node) = chain.only_resolver()
        && let Some(Err(source)) = builder.imported.get(&node.target)
    {
        return Err(PartError::Peer { upstream: upstream.to_string(), source: source.clone() });
    }
    Ok(make(&builder))
}

struct Builder<'a> {
    asked: Asked<'a>,
    settings: &'a UpstreamSettings,
    chain: &'a Chain,
    custom: &'a Custom,
    id: UpstreamId,
    /// The targets in peers.
    imported: BTreeMap<TargetKey, Result<Imported, PeerError>>,
}

impl Builder<'_> {
    fn build(&self) -> Part {
        let Asked { context, proxy, .. } = self.asked;
        let mut part = Part::default();
        let outgoing = tls::outgoing(context.state, &proxy.partition);
        for node in self.chain.resolvers() {
            self.clusters(&mut part, node, &outgoing);
        }
        if self.uses_rds() {
            let name = |target: &TargetKey| self.primary(target);
            part.resources.routes.push(RouteConfiguration {
                name: self.id.clone(),
                validate_clusters: context.state.mesh(&proxy.partition).is_some_and(|mesh| mesh.validate_clusters),
                routes: routes::routes(self.chain, Clusters { name: &name, have_failover: true }),
            });
        }
        let listener = self.filter().and_then(|filter| self.asked.listener(filter, self.settings.exact_balance));
        part.resources.listeners.extend(listener);
        part.left_out.extend(
            self.imported.values().filter_map(|found| found.as_ref().err()).map(|source| LeftOut::PeerTarget {
                upstream: self.asked.upstream.to_string(),
                source: source.clone(),
            }),
        );
        if self.chain.is_default {
            self.settings.hatches.replace(&mut part);
        } else {
            self.settings.hatches.refuse(&mut part);
        }
        part
    }

    fn fetch_timeout(&self) -> Option<Duration> {
        fetch_timeout(self.asked.options)
    }

    /// The targets that are in no peer.
    fn own_targets(&self) -> impl Iterator<Item = &Target> {
        self.chain.targets.values().filter(|target| target.key.peer.is_default())
    }

    /// A default chain has one way, which stands in the listener itself.
    fn uses_rds(&self) -> bool {
        self.custom.protocol.is_http_like() && !self.chain.is_default
    }

    /// What the listener does with a connection; nothing where it would have to tell requests apart and cannot, which
    /// compiling refuses.
    fn filter(&self) -> Option<Filter> {
        let (service, datacenter) = (&self.chain.scope.service, &self.chain.scope.datacenter);
        let stat = Stat::Upstream {
            service: service.name.clone(),
            namespace: service.namespace.as_str().into(),
            partition: service.partition.as_str().into(),
            datacenter: datacenter.as_str().into(),
        };
        if self.uses_rds() {
            let routes = RouteSource::Rds { name: self.id.clone(), fetch_timeout: self.fetch_timeout() };
            return Some(self.asked.http(stat, self.custom.protocol, routes));
        }
        let cluster = self.primary(&self.chain.only_resolver()?.target)?;
        Some(self.asked.to_cluster(stat, self.custom.protocol, cluster))
    }

    /// The SNI that is sent to a target that is in no peer.
    fn sni(&self, target: &Target) -> String {
        target.external_sni.clone().unwrap_or_else(|| target.key.sni(self.asked.context.trust_domain))
    }

    /// True unless the target is in a peer and cannot be dialled.
    fn can_be_dialled(&self, target: &TargetKey) -> bool {
        self.imported.get(target).is_none_or(Result::is_ok)
    }

    /// The cluster of a resolver's primary target, or the failover cluster around it.
    fn primary(&self, target: &TargetKey) -> Option<ClusterName> {
        let sni: Arc<str> = match self.imported.get(target) {
            None => target.sni(self.asked.context.trust_domain).into(),
            Some(Ok(imported)) => imported.name.clone(),
            Some(Err(_)) => return None,
        };
        Some(match &self.custom.prefix {
            Some(hash) => ClusterName::Customised { hash: hash.as_str().into(), sni },
            None => ClusterName::Sni(sni),
        })
    }

    /// The targets of a node with their clusters, the primary one first; none if that cannot be dialled.
    fn legs(&self, node: &ResolverNode) -> Vec<(ClusterName, &Target)> {
        let Some(name) = self.primary(&node.target) else { return Vec::new() };
        let primary = &self.chain.targets[&node.target];
        if node.failover.is_empty() {
            return vec![(name, primary)];
        }
        let fallbacks = node.failover.iter().filter(|key| self.can_be_dialled(key)).map(|key| &self.chain.targets[key]);
        let leg_name = |position| ClusterName::FailoverLeg { position, parent: Box::new(name.clone()) };
        let legs = std::iter::once(primary).chain(fallbacks).enumerate();
        legs.map(|(position, target)| (leg_name(position), target)).collect()
    }

    fn clusters(&self, part: &mut Part, node: &ResolverNode, outgoing: &TlsParameters) {
        let legs = self.legs(node);
        if !node.failover.is_empty()
            && let Some(name) = self.primary(&node.target)
        {
            let names = legs.iter().map(|(name, _)| name.clone()).collect();
            let aggregate = Discovery::Aggregate(Aggregate { legs: names });
            let timeout = self.custom.connect_timeout(node).to_std();
            part.resources.clusters.push(Cluster { alt_stat_name: true, ..Cluster::plain(name, aggregate, timeout) });
        }
        for (name, target) in legs {
            self.leg(part, name, (node, target), outgoing);
        }
    }

    /// How a target is dialled: where its endpoints come from, and the caller's side of TLS; `None` if it cannot be.
    fn dialled(
        &self,
        target: &Target,
        outgoing: &TlsParameters,
    ) -> Option<(Discovery, Option<EndpointSource>, UpstreamTls)> {
        match self.imported.get(&target.key) {
            Some(Ok(imported)) => {
                // Whoever the chain leads to, it is the caller's own settings that say how it leaves its place.
                let (discovery, source) = imported.discovery(self.settings.ladder.mode(), self.asked.options);
                Some((discovery, source, imported.tls(outgoing)))
            }
            Some(Err(_)) => None,
            None => Some(self.own(target, outgoing)),
        }
    }

    /// Where the upstream leads, and why.
    fn leading(&self) -> Leading {
        let Asked { context, proxy, .. } = self.asked;
        let outgoing = tls::outgoing(context.state, &proxy.partition);
        let mut targets = Vec::new();
        for node in self.chain.resolvers() {
            for (position, (cluster, target)) in self.legs(node).into_iter().enumerate() {
                let Some((discovery, source, tls)) = self.dialled(target, &outgoing) else { continue };
                let is_in_peer = self.imported.contains_key(&target.key);
                let decision = (!is_in_peer).then(|| self.custom.decision(target));
                let mode = decision.map_or(self.settings.ladder.mode(), |decision| decision.mode);
                let reach = if is_in_peer { Reach::Peer } else { self.reach(target) };
                targets.push(LedTo {
                    cluster,
                    target: Led::Target(target.key.clone()),
                    leg: (!node.failover.is_empty()).then_some(position),
                    decision,
                    mode,
                    reach,
                    route: reach.route(mode),
                    sni: tls.sni,
                    identities: tls.identities,
                    found: Found::of(discovery, source),
                });
            }
        }
        let gone = self.imported.values().filter_map(|found| found.as_ref().err()).map(ToString::to_string).collect();
        let (ladder, scope) = (self.settings.ladder, Some(self.chain.scope.clone()));
        Leading { id: self.id.clone(), ladder, scope, is_http: self.custom.protocol.is_http_like(), targets, gone }
    }

    /// The cluster of one target, and where its endpoints come from.
    fn leg(
        &self,
        part: &mut Part,
        name: ClusterName,
        (node, target): (&ResolverNode, &Target),
        outgoing: &TlsParameters,
    ) {
        let Some((discovery, source, tls)) = self.dialled(target, outgoing) else { return };
        part.endpoints.extend(source.map(|source| (name.clone(), source)));
        part.resources.clusters.push(Cluster {
            alt_stat_name: true,
            tls: Some(tls),
            panic_disabled: true,
            circuit_breaker: Some(self.settings.circuit_breaker.clone()),
            outlier_detection: Some(self.settings.outlier_detection.clone()),
            protocol: spoken(self.custom.protocol),
            load_balancing: node.load_balancer.as_ref().map(load_balancing).unwrap_or_default(),
            ..Cluster::plain(name, discovery, self.custom.connect_timeout(node).to_std())
        });
    }

    /// How endpoints of a target that is in no peer are found, where they come from, and the caller's side of TLS.
    fn own(&self, target: &Target, outgoing: &TlsParameters) -> (Discovery, Option<EndpointSource>, UpstreamTls) {
        let via = self.via(target);
        // Names stand in the cluster itself, so that an export that is missing cannot empty it.
        let by_name = self.gateway_host_names(&via).filter(|_| self.is_visible(target));
        let (discovery, source) = match by_name {
            Some(by_name) => (by_name, None),
            None => (Discovery::Eds { fetch_timeout: self.fetch_timeout() }, Some(self.source(target, via))),
        };
        let identity = SpiffeId::Service(target.key.service()).uri(self.asked.context.trust_domain);
        let tls = UpstreamTls {
            sni: self.sni(target).into(),
            identities: vec![identity.into()],
            roots: Roots::Own,
            parameters: outgoing.clone(),
        };
        (discovery, source, tls)
    }

    fn reach(&self, target: &Target) -> Reach {
        if target.sources.is_external {
            return Reach::External;
        }
        Reach::between(self.asked.place, &target.key.place())
    }

    fn via(&self, target: &Target) -> Via {
        let place = self.asked.place;
        match self.reach(target).route(self.custom.decision(target).mode) {
            Route::Direct if *place == target.key.place() => Via::Instances(AddressForm::Lan),
            Route::Direct => Via::Instances(AddressForm::Wan),
            Route::LocalGateways => Via::Gateways(place.clone(), AddressForm::Lan),
            Route::RemoteGateways => Via::Gateways(target.key.place(), AddressForm::Wan),
        }
    }

    fn source(&self, target: &Target, via: Via) -> EndpointSource {
        let own = &self.asked.place.partition;
        let consumer = (target.key.service.partition != *own).then(|| own.clone());
        EndpointSource::Service { service: target.key.service(), subset: (&target.subset).into(), via, consumer }
    }

    /// True unless the target is in another partition that does not export it to this one.
    fn is_visible(&self, target: &Target) -> bool {
        let own = &self.asked.place.partition;
        let service = &target.key.service;
        service.partition == *own || is_exported(self.asked.context.state, service, own)
    }

    /// How a cluster that dials remote gateways by host name finds them; `None` if all of them have IP addresses.
    fn gateway_host_names(&self, via: &Via) -> Option<Discovery> {
        let Via::Gateways(place, AddressForm::Wan) = via else { return None };
        let gateways = self.asked.context.state.gateways(place);
        let endpoints = gateways.iter().map(|gateway| endpoint(gateway, AddressForm::Wan, false));
        dns::discovery(endpoints, self.asked.options)
    }
}
