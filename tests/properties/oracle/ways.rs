//! From a caller to every instance that its traffic may reach, or to where it stops.

use std::collections::BTreeSet;

use meshgate::envoy::path::Request;
use meshgate::model::{ServiceKind, Upstream};

use super::chain::{Target, legs, speaks_http, targets};
use super::endpoints::{Endpoint, of_gateway, of_sidecar};
use super::intentions::Caller;
use super::view::Instance;
use super::{Fate, Hop, Oracle, Sent, Way, modes};

/// The ways of one caller.
pub(super) struct Ways<'o, 'w> {
    oracle: &'o Oracle<'w>,
    caller: &'o Instance<'w>,
    /// It is no Envoy, and speaks every version of TLS.
    is_by_hand: bool,
    found: BTreeSet<Way>,
}

impl<'o, 'w> Ways<'o, 'w> {
    pub(super) fn new(oracle: &'o Oracle<'w>, caller: &'o Instance<'w>) -> Self {
        Self { oracle, caller, is_by_hand: false, found: BTreeSet::new() }
    }

    pub(super) fn of_upstream(mut self, upstream: &Upstream, sent: &Sent) -> BTreeSet<Way> {
        let view = self.oracle.view();
        let own = &self.caller.at;
        let partition = upstream.destination_partition.as_ref().map_or(own.partition.as_str(), |it| it.as_str());
        let named = upstream.datacenter.as_str();
        let datacenter = if named.is_empty() { own.datacenter.as_str() } else { named };
        let service = upstream.destination_name.as_str();
        let is_http = upstream.config.contains_key("protocol") || speaks_http(view, service, partition);
        if is_http && matches!(sent, Sent::Bytes) {
            self.end(Vec::new(), &self.caller.name, Fate::NotHttp);
            return self.found;
        }
        let of_caller = modes::of_caller(view, self.caller, upstream);
        for (primary, sent) in targets(view, service, partition, datacenter, sent) {
            let mut line = Vec::new();
            for leg in legs(view, &primary) {
                let mode = modes::of_target(view, of_caller, (&leg.service, &leg.partition));
                let endpoints = of_sidecar(view, own, mode, &leg);
                line.push((leg, endpoints));
            }
            self.fail_over(&line, &sent);
        }
        self.found
    }

    pub(super) fn of_door(mut self, door: &Instance<'w>, callee: &Instance<'w>) -> BTreeSet<Way> {
        self.is_by_hand = true;
        let sent = Sent::Request(Request::get("/x"));
        if door.service.kind == ServiceKind::MeshGateway {
            let target = Target {
                service: callee.service.proxy.destination_service_name.clone(),
                partition: callee.at.partition.clone(),
                datacenter: callee.at.datacenter.clone(),
                subset: String::new(),
            };
            self.gateway_dials(Vec::new(), door, &target, &sent);
        } else {
            self.arrive(Vec::new(), door, &sent);
        }
        self.found
    }

    fn end(&mut self, mut hops: Vec<Hop>, last: &str, fate: Fate) {
        hops.push(Hop { proxy: last.to_owned(), dialled: None });
        self.found.insert(Way { hops, fate });
    }

    /// Sends to the first leg as much as it can take, to the next one what is left, and so on (Envoy's aggregate clusters).
    fn fail_over(&mut self, line: &[(Target, Vec<Endpoint<'_, 'w>>)], sent: &Sent) {
        let legs: Vec<_> = line.iter().filter(|(_, endpoints)| !endpoints.is_empty()).collect();
        let healthy = |endpoints: &[Endpoint<'_, '_>]| endpoints.iter().filter(|it| it.is_healthy).count();
        let takes = |endpoints: &[Endpoint<'_, '_>]| (140 * healthy(endpoints) / endpoints.len()).min(100);
        let total: usize = legs.iter().map(|(_, endpoints)| takes(endpoints)).sum();
        let sizes: usize = legs.iter().map(|(_, endpoints)| endpoints.len()).sum();
        // Where less than half of each leg is healthy, and all together are not enough, traffic is spread by size.
        let is_panic = line.len() > 1 && total < 100 && legs.iter().all(|(_, it)| 2 * healthy(it) < it.len());
        let mut left = 100_usize;
        for (position, (target, endpoints)) in legs.iter().enumerate() {
            let share = if is_panic {
                if position == 0 { 1 } else { 100 * endpoints.len() / sizes }
            } else if total == 0 {
                usize::from(position == 0)
            } else {
                takes(endpoints) * 100 / total.min(100)
            };
            if !is_panic && left == 0 || share == 0 {
                continue;
            }
            left = left.saturating_sub(share);
            self.sidecar_dials(target, endpoints, sent);
        }
        if legs.is_empty() {
            self.end(Vec::new(), &self.caller.name, Fate::Nobody);
        }
    }

    /// A sidecar dials whoever is healthy, and nobody else.
    fn sidecar_dials(&mut self, target: &Target, endpoints: &[Endpoint<'_, 'w>], sent: &Sent) {
        let name = self.caller.name.clone();
        let healthy: Vec<_> = endpoints.iter().filter(|it| it.is_healthy).cloned().collect();
        if healthy.is_empty() {
            return self.end(Vec::new(), &name, Fate::NobodyHealthy);
        }
        self.dial(Vec::new(), &name, target, &healthy, sent);
    }

    /// A gateway dials whoever is healthy, and if that are less than half, all of them.
    fn gateway_dials(&mut self, hops: Vec<Hop>, gateway: &Instance<'w>, target: &Target, sent: &Sent) {
        let Some(endpoints) = of_gateway(self.oracle.view(), gateway, target) else {
            return self.end(hops, &gateway.name, Fate::NotKnown);
        };
        if endpoints.is_empty() {
            return self.end(hops, &gateway.name, Fate::Nobody);
        }
        let healthy: Vec<_> = endpoints.iter().filter(|it| it.is_healthy).cloned().collect();
        let chosen = if 2 * healthy.len() < endpoints.len() { endpoints } else { healthy };
        self.dial(hops, &gateway.name, target, &chosen, sent);
    }

    fn dial(&mut self, hops: Vec<Hop>, from: &str, target: &Target, to: &[Endpoint<'_, 'w>], sent: &Sent) {
        for endpoint in to {
            let mut hops = hops.clone();
            hops.push(Hop { proxy: from.to_owned(), dialled: Some(endpoint.address.clone()) });
            for next in &endpoint.behind {
                if endpoint.is_gateway {
                    self.gateway_dials(hops.clone(), next, target, sent);
                } else {
                    self.arrive(hops.clone(), next, sent);
                }
            }
        }
    }

    fn arrive(&mut self, mut hops: Vec<Hop>, callee: &Instance<'w>, sent: &Sent) {
        let oracle = self.oracle;
        let own = self.caller;
        let caller = Caller { service: &own.service.proxy.destination_service_name, partition: &own.at.partition };
        if !self.is_by_hand && !oracle.have_common_tls(&own.at.partition, &callee.at.partition) {
            return self.end(hops, &callee.name, Fate::NoCommonTls);
        }
        if !oracle.allows(callee, caller, sent) {
            return self.end(hops, &callee.name, Fate::Refused);
        }
        let application = format!("127.0.0.1:{}", callee.service.proxy.local_service_port);
        hops.push(Hop { proxy: callee.name.clone(), dialled: Some(application) });
        self.found.insert(Way { hops, fate: Fate::Arrives });
    }
}

impl Oracle<'_> {
    /// Callers use TLS 1.2 unless their partition allows them more (contract 6.5; Envoy's defaults).
    fn have_common_tls(&self, caller: &str, callee: &str) -> bool {
        let of = |partition: &str| self.view().mesh(partition).and_then(|mesh| mesh.tls.as_ref());
        let highest = of(caller).and_then(|tls| tls.outgoing.as_ref()).map_or("", |it| it.max_version.as_str());
        let lowest = of(callee).and_then(|tls| tls.incoming.as_ref()).map_or("", |it| it.min_version.as_str());
        lowest != "TLSv1_3" || highest == "TLSv1_3"
    }
}
