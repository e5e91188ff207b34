//! Who dials whom: the upstreams of every sidecar, counted by the way that they go.

use std::collections::{BTreeMap, HashMap};

use super::upstream::{full, is_healthy};
use super::{Explainer, Sidecar};
use crate::api::{Dialled, Edge, EdgeExample, EdgeWay};
use crate::engine;
use crate::model::{Place, Service, ServiceId, ServiceKind, ServiceName};
use crate::resolve::explain::{self, Found, Led, LedTo};
use crate::resolve::{EndpointSource, Reach, Route};
use crate::store::{NodeKey, Reader};

/// A target of an upstream: the way it goes, whether somebody is there, and which service it is.
#[derive(Debug, Clone)]
struct Target {
    way: EdgeWay,
    is_healthy: bool,
    service: String,
}

/// The upstreams of every sidecar by the way that they go.
pub(super) fn dialled(explainer: &Explainer, reader: &Reader<'_>, most: usize) -> Dialled {
    let mut dialling = Dialling { explainer, reader, left: most, health: HashMap::new(), known: HashMap::new() };
    let mut edges = BTreeMap::<EdgeWay, Edge>::new();
    for datacenter in reader.datacenters() {
        for partition in reader.partitions(&datacenter) {
            dialling.place(&Place::new(&datacenter, &partition), &mut edges);
        }
    }
    Dialled { edges: edges.into_values().collect(), is_cut: dialling.left == 0 }
}

struct Dialling<'a> {
    explainer: &'a Explainer,
    reader: &'a Reader<'a>,
    /// Upstreams that may still be resolved.
    left: usize,
    /// Whether anybody takes traffic there.
    health: HashMap<EndpointSource, bool>,
    /// The targets of sidecars by what their registration says about them.
    known: HashMap<(Place, String), Vec<Target>>,
}

impl Dialling<'_> {
    fn place(&mut self, place: &Place, edges: &mut BTreeMap<EdgeWay, Edge>) {
        let reader = self.reader;
        for node in reader.nodes(place) {
            let key = NodeKey::new(place, &node.value.node);
            for row in reader.services_on(&key).filter(|row| row.value.kind == ServiceKind::ConnectProxy) {
                let service = &row.value;
                let sidecar = Sidecar {
                    explainer: self.explainer,
                    reader,
                    instance: key.instance(&service.id),
                    service: service.clone(),
                    modify_index: row.modify_index,
                };
                let from = explain::central_name(service);
                for target in self.targets(&sidecar) {
                    count(edges, target, &service.id, &from);
                }
            }
        }
    }

    /// Where a sidecar's upstreams lead. Of the same registration, the same comes out.
    fn targets(&mut self, sidecar: &Sidecar<'_>) -> &[Target] {
        let alike = (sidecar.instance.place.clone(), what_decides(&sidecar.service));
        if !self.known.contains_key(&alike) {
            let targets = self.resolved(sidecar);
            self.known.insert(alike.clone(), targets);
        }
        &self.known[&alike]
    }

    fn resolved(&mut self, sidecar: &Sidecar<'_>) -> Vec<Target> {
        let upstreams = explain::upstreams(&sidecar.service);
        let mut targets = Vec::new();
        for (_, upstream) in upstreams.iter().take(self.left) {
            // An upstream that leads nowhere is a problem of its sidecar, and told there.
            let Ok(leading) = sidecar.leading(upstream) else { continue };
            targets.extend(leading.targets.iter().filter_map(|led| self.target(&sidecar.instance.place, led)));
        }
        self.left = self.left.saturating_sub(upstreams.len());
        targets
    }

    /// `None` for what is outside of the mesh, or is found anew for each query.
    fn target(&mut self, from: &Place, led: &LedTo) -> Option<Target> {
        let Led::Target(target) = &led.target else { return None };
        if led.reach == Reach::External {
            return None;
        }
        let mode = match led.route {
            Route::Direct => "none",
            Route::LocalGateways => "local",
            Route::RemoteGateways => "remote",
        };
        let way = EdgeWay {
            from_datacenter: from.datacenter.clone(),
            from_partition: from.partition.clone(),
            to_datacenter: target.datacenter.clone(),
            to_partition: target.service.partition.clone(),
            to_peer: target.peer.clone(),
            mode,
        };
        let at = if target.peer.is_default() { target.datacenter.as_str() } else { target.peer.as_str() };
        Some(Target { is_healthy: self.is_healthy(led), service: format!("{}@{at}", full(&target.service)), way })
    }

    /// True if some endpoint takes traffic.
    fn is_healthy(&mut self, led: &LedTo) -> bool {
        let (reader, hosted) = (self.reader, &self.explainer.options.hosted);
        let found = || led.endpoints(&engine::state(reader, hosted)).0.iter().any(is_healthy);
        match &led.found {
            Found::Named(_) => found(),
            Found::Sent(source) => *self.health.entry(source.clone()).or_insert_with(found),
        }
    }
}

/// Everything of a registration that its upstreams depend on: sidecars of one service differ in their addresses alone.
pub(in crate::app) fn what_decides(service: &Service) -> String {
    let mut proxy = service.proxy.clone();
    proxy.destination_service_id = ServiceId::default();
    proxy.local_service_address.clear();
    proxy.local_service_port = 0;
    let alike = (&service.namespace, &service.partition, &service.name, proxy);
    serde_json::to_string(&alike).expect("registrations have string keys")
}

fn count(edges: &mut BTreeMap<EdgeWay, Edge>, target: &Target, proxy: &ServiceId, from: &ServiceName) {
    let example = || EdgeExample { proxy: proxy.clone(), from: full(from), to: target.service.clone() };
    let edge = edges.entry(target.way.clone()).or_insert_with(|| Edge {
        way: target.way.clone(),
        upstreams: 0,
        healthy: 0,
        example: example(),
    });
    if !target.is_healthy && edge.healthy == edge.upstreams {
        edge.example = example();
    }
    edge.upstreams += 1;
    edge.healthy += usize::from(target.is_healthy);
}
