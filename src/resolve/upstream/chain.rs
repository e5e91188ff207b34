//! An upstream whose name leads through a discovery chain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::peer::{Imported, PeerError};
use super::{Asked, fetch_timeout, id, spoken};
use crate::ir::{
    Aggregate, Cluster, ClusterName, Discovery, DnsKind, Endpoint, Filter, Roots, RouteConfiguration, RouteSource,
    Stat, TlsParameters, UpstreamId, UpstreamTls,
};
use crate::model::{AddressForm, SpiffeId, is_sni};
use crate::resolve::balance::load_balancing;
use crate::resolve::chain::{Chain, Custom, Overrides, Protocol, ResolverNode, Target, TargetKey};
use crate::resolve::dns::host_names;
use crate::resolve::endpoints::{EndpointSource, Via, endpoint, is_exported};
use crate::resolve::merge::{self, UpstreamSettings, target_of};
use crate::resolve::reach::{Reach, Route};
use crate::resolve::routes::{self, Clusters};
use crate::resolve::{LeftOut, Part, PartError, tls};

/// What the upstream leads to.
pub(super) fn part(asked: Asked<'_>) -> Result<Part, PartError> {
    let Asked { context, proxy, upstream, .. } = asked;
    let settings = merge::upstream(context.state, proxy, upstream, &target_of(proxy, upstream));
    let overrides = Overrides {
        ladder: settings.ladder,
        protocol: settings.protocol.clone(),
        connect_timeout: settings.connect_timeout,
    };
    build(asked, &settings, &overrides, |_| {})
}

/// What an upstream leads to that nobody registered. It says what it speaks, which does not customise its chain.
pub(super) fn added_part(asked: Asked<'_>) -> Result<Part, PartError> {
    let settings = merge::added_upstream(asked.proxy, asked.upstream);
    let overrides = Overrides { ladder: settings.ladder, protocol: None, connect_timeout: None };
    let protocol = Protocol::parse(settings.protocol.as_deref().unwrap_or_default());
    build(asked, &settings, &overrides, |custom| custom.protocol = protocol)
}

fn build(
    asked: Asked<'_>,
    settings: &UpstreamSettings,
    overrides: &Overrides,
    customise: impl FnOnce(&mut Custom),
) -> Result<Part, PartError> {
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
    Ok(builder.build())
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

    fn clusters(&self, part: &mut Part, node: &ResolverNode, outgoing: &TlsParameters) {
        let Some(name) = self.primary(&node.target) else { return };
        let primary = &self.chain.targets[&node.target];
        let fallbacks = node.failover.iter().filter(|key| self.can_be_dialled(key)).map(|key| &self.chain.targets[key]);
        let legs: Vec<&Target> = std::iter::once(primary).chain(fallbacks).collect();
        if node.failover.is_empty() {
            return self.leg(part, name, (node, primary), outgoing);
        }
        let leg_name = |position| ClusterName::FailoverLeg { position, parent: Box::new(name.clone()) };
        let aggregate = Discovery::Aggregate(Aggregate { legs: (0..legs.len()).map(leg_name).collect() });
        let timeout = self.custom.connect_timeout(node).to_std();
        part.resources
            .clusters
            .push(Cluster { alt_stat_name: true, ..Cluster::plain(name.clone(), aggregate, timeout) });
        for (position, target) in legs.into_iter().enumerate() {
            self.leg(part, leg_name(position), (node, target), outgoing);
        }
    }

    /// The cluster of one target, and where its endpoints come from.
    fn leg(
        &self,
        part: &mut Part,
        name: ClusterName,
        (node, target): (&ResolverNode, &Target),
        outgoing: &TlsParameters,
    ) {
        let (discovery, source, tls) = match self.imported.get(&target.key) {
            Some(Ok(imported)) => {
                // Whoever the chain leads to, it is the caller's own settings that say how it leaves its place.
                let (discovery, source) = imported.discovery(self.settings.ladder.mode(), self.fetch_timeout());
                (discovery, source, imported.tls(outgoing))
            }
            Some(Err(_)) => return,
            None => self.own(target, outgoing),
        };
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
        let names = self.gateway_host_names(&via).filter(|_| self.is_visible(target));
        let (discovery, source) = match names {
            Some(endpoints) => (Discovery::Dns(DnsKind::Logical, endpoints), None),
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

    /// The endpoint of a cluster that dials remote gateways by host name; `None` if all of them have IP addresses.
    fn gateway_host_names(&self, via: &Via) -> Option<Vec<Endpoint>> {
        let Via::Gateways(place, AddressForm::Wan) = via else { return None };
        let gateways = self.asked.context.state.gateways(place);
        host_names(gateways.iter().map(|gateway| endpoint(gateway, AddressForm::Wan, false)), DnsKind::Logical)
    }
}
