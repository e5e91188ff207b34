//! A prepared query, as a sidecar dials what it finds (contract 3.6).
//!
//! Executing queries is not done here: what one answers is part of the state. It names instances, in whatever datacenter,
//! and each of them may be of another service, so that several identities may answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Asked, connect_timeout, fetch_timeout, id, spoken};
use crate::ir::{Cluster, ClusterName, Discovery, Roots, Stat, UpstreamTls};
use crate::model::{Namespace, Place, QueryKey, ServiceKey, ServiceName, SpiffeId, is_sni, query_sni};
use crate::resolve::chain::Protocol;
use crate::resolve::endpoints::EndpointSource;
use crate::resolve::explain::{Found, Leading, Led, LedTo};
use crate::resolve::merge::{self, target_of};
use crate::resolve::reach::{Reach, Route};
use crate::resolve::state::Instance;
use crate::resolve::{LeftOut, Part, PartError, tls};

/// What an upstream that names a prepared query leads to. It has no discovery chain and no central settings.
pub(super) fn part(asked: Asked<'_>) -> Result<Part, PartError> {
    let Asked { context, place, proxy, upstream, options } = asked;
    let settings = merge::upstream(context.state, proxy, upstream, &target_of(proxy, upstream));
    let query = named(asked);
    let found = context.state.query(&query);
    if found.is_none() && !settings.hatches.gives_cluster() {
        return Err(PartError::UnknownQuery { upstream: upstream.to_string() });
    }
    let sni: Arc<str> = query_sni(&query, context.trust_domain).into();
    if !is_sni(&sni) {
        return Err(PartError::Sni { upstream: upstream.to_string(), sni: sni.to_string() });
    }
    let name = ClusterName::Sni(sni.clone());
    let protocol = Protocol::parse(&settings.protocol.clone().unwrap_or_default());
    let eds = Discovery::Eds { fetch_timeout: fetch_timeout(options) };
    let timeout = connect_timeout(&settings);
    let uri = |identity: SpiffeId| identity.uri(context.trust_domain).into();
    let mut part = Part::default();
    part.resources.clusters.push(Cluster {
        tls: Some(UpstreamTls {
            sni,
            // A cluster of the operator's has endpoints of its own, and nothing says who they are while there is no answer.
            identities: found.iter().flat_map(|found| identities(found, &query)).map(uri).collect(),
            roots: Roots::Own,
            parameters: tls::outgoing(context.state, &proxy.partition),
        }),
        circuit_breaker: Some(settings.circuit_breaker.clone()),
        outlier_detection: Some(settings.outlier_detection.clone()),
        protocol: spoken(protocol),
        ..Cluster::plain(name.clone(), eds, timeout)
    });
    match found {
        Some(_) => {
            part.endpoints.insert(name.clone(), EndpointSource::Query { query, caller: place.clone() });
        }
        None => part.left_out.push(LeftOut::Answer { upstream: upstream.to_string() }),
    }
    let stat = Stat::Query(id(proxy, upstream));
    let filter = asked.to_cluster(stat, protocol, name);
    part.resources.listeners.extend(asked.listener(filter, settings.exact_balance));
    settings.hatches.replace(&mut part);
    Ok(part)
}

/// Where the upstream leads, and why.
pub(super) fn leading(asked: Asked<'_>) -> Result<Leading, PartError> {
    let Asked { context, place, proxy, upstream, options } = asked;
    let settings = merge::upstream(context.state, proxy, upstream, &target_of(proxy, upstream));
    let query = named(asked);
    let part = part(asked)?;
    let name = ClusterName::Sni(query_sni(&query, context.trust_domain).into());
    let source = EndpointSource::Query { query: query.clone(), caller: place.clone() };
    let reach = Reach::between(place, &query.place);
    let tls = part.resources.clusters.into_iter().find_map(|cluster| cluster.tls);
    let led = LedTo {
        target: Led::Query(query),
        leg: None,
        decision: None,
        mode: None,
        reach,
        route: Route::Direct,
        sni: tls.as_ref().map(|tls| tls.sni.clone()).unwrap_or_default(),
        identities: tls.map(|tls| tls.identities).unwrap_or_default(),
        found: Found::of(Discovery::Eds { fetch_timeout: fetch_timeout(options) }, Some(source)),
        cluster: name,
    };
    let is_http = Protocol::parse(&settings.protocol.unwrap_or_default()).is_http_like();
    let (id, ladder) = (id(proxy, upstream), settings.ladder);
    Ok(Leading { id, ladder, scope: None, is_http, targets: vec![led], gone: Vec::new() })
}

/// The query that an upstream names.
fn named(asked: Asked<'_>) -> QueryKey {
    let Asked { place, upstream, .. } = asked;
    let datacenter = if upstream.datacenter.is_default() { &place.datacenter } else { &upstream.datacenter };
    QueryKey { place: Place::new(datacenter, &place.partition), name: upstream.destination_name.clone() }
}

/// Who may answer: the services that were found, each in each datacenter, in the order of the answer.
///
/// Where nothing was found, a service of the query's own name, which usually nobody has: without any name, everybody with a
/// certificate could answer as long as Envoy has endpoints of an earlier answer.
fn identities(found: &[Instance], query: &QueryKey) -> impl Iterator<Item = SpiffeId> {
    let services = found.iter().filter_map(|instance| {
        let service = instance.service.mesh_destination()?;
        Some(ServiceKey { datacenter: instance.node.datacenter.clone(), service })
    });
    let mut seen = BTreeSet::new();
    let mut distinct: Vec<_> = services.filter(|service| seen.insert(service.clone())).collect();
    if distinct.is_empty() {
        let service = ServiceName::new(&query.place.partition, &Namespace::default(), &query.name);
        distinct.push(ServiceKey { datacenter: query.place.datacenter.clone(), service });
    }
    distinct.into_iter().map(SpiffeId::Service)
}
