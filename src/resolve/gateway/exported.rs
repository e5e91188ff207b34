//! Services that are exported to peers (contract 4.3 item 1, 4.4).
//!
//! Bytes of a TCP service pass as they are: the service's own sidecar ends the caller's mTLS. To tell requests apart the
//! gateway has to end it, so it then calls the targets in its own name and tells them who the caller is.

use std::collections::BTreeSet;

use super::clusters::registered_limits;
use super::draft::Draft;
use super::{End, Gateway, Way, forwarding};
use crate::ir::{
    Callers, Cluster, ClusterName, DownstreamTls, Filter, FilterChain, HttpConnectionManager, HttpRole,
    OutlierDetection, Roots, RouteConfiguration, RouteSource, Stat, UpstreamProtocol, UpstreamTls,
};
use crate::model::{AddressForm, PeerName, ServiceKey, ServiceName, SpiffeId, exported_sni};
use crate::resolve::balance::load_balancing;
use crate::resolve::chain::{Chain, Protocol, ResolverNode, Scope, Target, TargetKey};
use crate::resolve::endpoints::{EndpointSource, Via};
use crate::resolve::routes::{self, Clusters};
use crate::resolve::upstream::{self, fetch_timeout};
use crate::resolve::{LeftOut, merge, opaque, sidecar, tls};

impl Gateway<'_> {
    /// The ways of peers to what is exported to them, by service. What has no instances of its own has none, even if its
    /// name leads to another service.
    pub(super) fn exported(&self, draft: &mut Draft) -> Vec<Way> {
        let state = self.context.state;
        let exports = state.peer_exports(self.place);
        if exports.exported.is_empty() {
            return Vec::new();
        }
        let known: BTreeSet<PeerName> =
            state.peerings(self.place).into_iter().map(|row| row.peering.name.clone()).collect();
        let exported = state.mesh_services(self.place).into_iter().filter_map(|key| {
            let peers: BTreeSet<PeerName> = exports.exported.get(&key.service)?.intersection(&known).cloned().collect();
            (!peers.is_empty()).then_some((key, peers))
        });
        exported.filter_map(|(key, peers)| self.exported_service(draft, &key, peers)).collect()
    }

    fn exported_service(&self, draft: &mut Draft, key: &ServiceKey, peers: BTreeSet<PeerName>) -> Option<Way> {
        let service = &key.service;
        let scope = Scope { service: service.clone(), datacenter: key.datacenter.clone(), is_plain: false };
        let chain = self.context.state.chain(&scope);
        let chain = match &*chain {
            Ok(chain) => chain,
            Err(source) => {
                draft.part.left_out.push(LeftOut::Export { service: service.clone(), why: source.to_string() });
                return None;
            }
        };
        let mut server_names = Vec::new();
        for peer in &peers {
            let sni = exported_sni(service, peer, self.context.trust_domain);
            server_names.extend(draft.take_for_chain(&sni, format!("service {service} for peer {peer}")));
        }
        if server_names.is_empty() {
            return None;
        }
        let stat = Stat::GatewayExported {
            service: service.name.clone(),
            namespace: service.namespace.as_str().into(),
            partition: service.partition.as_str().into(),
            datacenter: key.datacenter.as_str().into(),
        };
        let filters = if chain.protocol.is_http_like() {
            self.http_chain(draft, key, chain, (peers, stat))
        } else {
            forwarding(stat, Some(self.exported_name(&chain.only_resolver()?.target)))
        };
        for node in chain.resolvers() {
            self.exported_cluster(draft, service, chain, node);
        }
        Some(Way { server_names, end: End::Same(Box::new(filters)) })
    }

    fn exported_name(&self, target: &TargetKey) -> ClusterName {
        ClusterName::Exported(target.sni(self.context.trust_domain).into())
    }

    /// Ends the caller's mTLS and routes its requests.
    fn http_chain(
        &self,
        draft: &mut Draft,
        key: &ServiceKey,
        chain: &Chain,
        (peers, stat): (BTreeSet<PeerName>, Stat),
    ) -> FilterChain {
        let state = self.context.state;
        let id = upstream::service_id(&key.service);
        let name = |target: &TargetKey| Some(self.exported_name(target));
        draft.part.resources.routes.push(RouteConfiguration {
            name: id.clone(),
            validate_clusters: state.mesh(&self.place.partition).is_some_and(|mesh| mesh.validate_clusters),
            // There are no legs to fail over to.
            routes: routes::routes(chain, Clusters { name: &name, have_failover: false }),
        });
        let callers = Callers::Exported(id.clone());
        draft.part.importers.insert(callers.clone(), peers);
        let manager = HttpConnectionManager {
            stat,
            codec: sidecar::codec(chain.protocol),
            routes: RouteSource::Rds { name: id, fetch_timeout: fetch_timeout(self.options) },
            role: HttpRole::Between,
            max_request_headers_kb: self.max_request_headers_kb(key),
        };
        // As in Consul, the gateway's own protocol decides about ALPN, whatever the service speaks.
        let own_protocol = Protocol::parse(&opaque::text(self.options, "protocol").unwrap_or_default());
        let parameters = tls::incoming(state, &self.place.partition);
        FilterChain {
            tls: Some(DownstreamTls { callers, alpn: sidecar::alpn(own_protocol), parameters }),
            filters: vec![Filter::Http(Box::new(manager))],
            ..FilterChain::default()
        }
    }

    /// The limit of the service's first instance, else the gateway's own.
    fn max_request_headers_kb(&self, key: &ServiceKey) -> Option<u32> {
        let state = self.context.state;
        let first = state.endpoints(key).into_iter().next();
        let of_service = first.and_then(|first| {
            let options = merge::options(state, &first.service);
            sidecar::max_request_headers_kb(&options)
        });
        of_service.or_else(|| sidecar::max_request_headers_kb(self.options))
    }

    /// The cluster of a resolver's primary target, unless another exported service has made it. Fallbacks do not count
    /// here, nor does what is elsewhere: a peer's call is not passed on to a third place.
    fn exported_cluster(&self, draft: &mut Draft, exported: &ServiceName, chain: &Chain, node: &ResolverNode) {
        let name = self.exported_name(&node.target);
        if draft.part.endpoints.contains_key(&name) {
            return;
        }
        if !node.target.peer.is_default() || node.target.place() != *self.place {
            let why = format!("its target {} is in another place", node.target);
            draft.part.left_out.push(LeftOut::Export { service: exported.clone(), why });
            return;
        }
        let target = &chain.targets[&node.target];
        let discovery = self.eds();
        let source = EndpointSource::Service {
            service: target.key.service(),
            subset: (&target.subset).into(),
            via: Via::Instances(AddressForm::Lan),
            consumer: None,
        };
        draft.part.endpoints.insert(name.clone(), source);
        draft.part.resources.clusters.push(Cluster {
            alt_stat_name: true,
            tls: chain.protocol.is_http_like().then(|| self.exported_tls(target)),
            panic_disabled: true,
            circuit_breaker: Some(registered_limits(self.proxy).unwrap_or_default()),
            outlier_detection: Some(OutlierDetection::default()),
            protocol: match chain.protocol.is_http2() {
                true => UpstreamProtocol::Http2,
                false => UpstreamProtocol::Plain,
            },
            load_balancing: node.load_balancer.as_ref().map(load_balancing).unwrap_or_default(),
            ..Cluster::plain(name, discovery, node.connect_timeout.to_std())
        });
    }

    fn exported_tls(&self, target: &Target) -> UpstreamTls {
        let trust_domain = self.context.trust_domain;
        let sni = target.external_sni.clone().unwrap_or_else(|| target.key.sni(trust_domain));
        UpstreamTls {
            sni: sni.into(),
            identities: vec![SpiffeId::Service(target.key.service()).uri(trust_domain).into()],
            roots: Roots::Own,
            parameters: tls::outgoing(self.context.state, &self.place.partition),
        }
    }
}
