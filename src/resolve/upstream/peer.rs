//! What a peer exports, as a sidecar dials it (contract 2.6, 3.5, 5.3).
//!
//! The peer has said how: which SNI to send, who may answer, what is spoken. Nothing of that can be made up here, so without
//! the peer's word, or without its roots, there is no way.

use std::sync::Arc;

use super::{Asked, connect_timeout, fetch_timeout, id, spoken};
use crate::ir::{Cluster, ClusterName, Discovery, Endpoint, OutlierDetection, Roots, Stat, TlsParameters, UpstreamTls};
use crate::model::{
    AddressForm, Datacenter, GatewayMode, OpaqueConfig, PeerKey, PeerName, Place, ServiceName, is_sni,
    peer_cluster_name,
};
use crate::resolve::chain::{Protocol, TargetKey};
use crate::resolve::endpoints::{EndpointSource, endpoint};
use crate::resolve::explain::{Found, Leading, Led, LedTo};
use crate::resolve::merge::{self, target_of};
use crate::resolve::reach::{Reach, Route};
use crate::resolve::state::Context;
use crate::resolve::{Part, PartError, dns, tls};

/// Why a service of a peer cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nothing is known of its trust domain.
    #[error("the roots of peer {0:?} are not known: there is no such peering, or it has not been established yet")]
    NoRoots(String),
    /// Nothing is known of the service.
    #[error(
        "peer {peer:?} exports no service {service:?} that takes mesh traffic here: it must list this cluster as a \
         consumer in its exported-services, and have a mesh gateway"
    )]
    NotExported {
        /// The peer.
        peer: String,
        /// The service.
        service: String,
    },
    /// What the peer says cannot be used.
    #[error("what peer {peer:?} says about service {service:?} cannot be used: {what}")]
    Unusable {
        /// The peer.
        peer: String,
        /// The service.
        service: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A service of a peer.
pub(super) struct Imported {
    peer: PeerKey,
    service: ServiceName,
    /// The name of its cluster.
    pub(super) name: Arc<str>,
    /// What it speaks.
    pub(super) protocol: Protocol,
    sni: Arc<str>,
    identities: Vec<Arc<str>>,
    /// The endpoints to dial it at, with host names where it has some.
    endpoints: Vec<Endpoint>,
}

impl Imported {
    /// What the peer said about `service`, which proxies of `place` import.
    pub(super) fn find(
        context: Context<'_>,
        place: &Place,
        service: &ServiceName,
        peer: &PeerName,
    ) -> Result<Self, PeerError> {
        let key = PeerKey::new(place, peer);
        let Some(bundle) = context.state.trust_bundle(&key) else { return Err(PeerError::NoRoots(peer.to_string())) };
        // Whatever else an upstream names, what is imported belongs to the partition that imports it.
        let service = ServiceName { partition: place.partition.clone(), ..service.clone() };
        let (named, exported) = (service.name.to_string(), context.state.imported(&key, &service));
        let Some(meta) = exported.iter().find_map(|instance| instance.service.connect.peer_meta.as_deref()) else {
            return Err(PeerError::NotExported { peer: peer.to_string(), service: named });
        };
        let unusable = |what| PeerError::Unusable { peer: peer.to_string(), service: named.clone(), what };
        let Some(sni) = meta.sni.first().filter(|sni| !sni.is_empty() && is_sni(sni)) else {
            return Err(unusable("it names no SNI of 1 to 255 bytes"));
        };
        if meta.spiffe_id.is_empty() {
            // Without one, whoever has a certificate of the peer could answer.
            return Err(unusable("it names no identity that may answer"));
        }
        Ok(Self {
            name: peer_cluster_name(&service, peer, &bundle.trust_domain).into(),
            protocol: Protocol::parse(&meta.protocol),
            sni: sni.as_str().into(),
            identities: meta.spiffe_id.iter().map(|identity| identity.as_str().into()).collect(),
            endpoints: exported.iter().map(|instance| endpoint(instance, AddressForm::Wan, false)).collect(),
            peer: key,
            service,
        })
    }

    /// The caller's side of TLS with it.
    pub(super) fn tls(&self, parameters: &TlsParameters) -> UpstreamTls {
        UpstreamTls {
            sni: self.sni.clone(),
            identities: self.identities.clone(),
            roots: Roots::Peer(self.peer.name.as_str().into()),
            parameters: parameters.clone(),
        }
    }

    /// How the cluster finds endpoints in this mode, and where they come from if that is the stream.
    pub(super) fn discovery(
        &self,
        mode: Option<GatewayMode>,
        options: &OpaqueConfig,
    ) -> (Discovery, Option<EndpointSource>) {
        let eds = Discovery::Eds { fetch_timeout: fetch_timeout(options) };
        if Reach::Peer.route(mode) == Route::LocalGateways {
            return (eds, Some(EndpointSource::OwnGateways(self.peer.place.clone())));
        }
        match dns::discovery(self.endpoints.iter().cloned(), options) {
            Some(by_name) => (by_name, None),
            None => {
                let (peer, service) = (self.peer.clone(), self.service.clone());
                (eds, Some(EndpointSource::Imported { peer, service }))
            }
        }
    }
}

/// Where the upstream leads, and why.
pub(super) fn leading(asked: Asked<'_>) -> Result<Leading, PartError> {
    let Asked { context, place, proxy, upstream, options } = asked;
    let target = target_of(proxy, upstream);
    let settings = merge::upstream(context.state, proxy, upstream, &target);
    let imported = Imported::find(context, place, &target, &upstream.destination_peer)
        .map_err(|source| PartError::Peer { upstream: upstream.to_string(), source })?;
    let mode = settings.ladder.mode();
    let (discovery, source) = imported.discovery(mode, options);
    let tls = imported.tls(&tls::outgoing(context.state, &proxy.partition));
    let key = TargetKey {
        service: imported.service.clone(),
        datacenter: Datacenter::default(),
        subset: String::new(),
        peer: upstream.destination_peer.clone(),
    };
    let led = LedTo {
        cluster: ClusterName::Sni(imported.name.clone()),
        target: Led::Target(key),
        leg: None,
        decision: None,
        mode,
        reach: Reach::Peer,
        route: Reach::Peer.route(mode),
        sni: tls.sni,
        identities: tls.identities,
        found: Found::of(discovery, source),
    };
    Ok(Leading {
        id: id(proxy, upstream),
        ladder: settings.ladder,
        scope: None,
        is_http: imported.protocol.is_http_like(),
        targets: vec![led],
        gone: Vec::new(),
    })
}

/// What an upstream that names a peer leads to. It has no discovery chain: what a peer exports is what the peer makes of it.
pub(super) fn part(asked: Asked<'_>) -> Result<Part, PartError> {
    let Asked { context, place, proxy, upstream, options } = asked;
    let target = target_of(proxy, upstream);
    let settings = merge::upstream(context.state, proxy, upstream, &target);
    let imported = Imported::find(context, place, &target, &upstream.destination_peer)
        .map_err(|source| PartError::Peer { upstream: upstream.to_string(), source })?;
    let name = ClusterName::Sni(imported.name.clone());
    let (discovery, source) = imported.discovery(settings.ladder.mode(), options);
    let timeout = connect_timeout(&settings);
    let mut part = Part::default();
    part.endpoints.extend(source.map(|source| (name.clone(), source)));
    part.resources.clusters.push(Cluster {
        tls: Some(imported.tls(&tls::outgoing(context.state, &proxy.partition))),
        panic_disabled: true,
        circuit_breaker: Some(settings.circuit_breaker.clone()),
        // All of a peer's gateways may fail at once, and then there is no other way.
        outlier_detection: Some(OutlierDetection {
            max_ejection_percent: Some(100),
            ..settings.outlier_detection.clone()
        }),
        protocol: spoken(imported.protocol),
        ..Cluster::plain(name.clone(), discovery, timeout)
    });
    let stat = Stat::Peered {
        service: target.name.clone(),
        namespace: target.namespace.as_str().into(),
        peer: upstream.destination_peer.as_str().into(),
    };
    let filter = asked.to_cluster(stat, imported.protocol, name);
    part.resources.listeners.extend(asked.listener(filter, settings.exact_balance));
    settings.hatches.replace(&mut part);
    Ok(part)
}
