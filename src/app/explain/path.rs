//! Traffic, followed by the path model through the configurations that proxies are sent.

use std::sync::Arc;

use super::Explainer;
use crate::api::{Hop, Paths, Trace, TraceQuestion, Way};
use crate::engine::{Preview, Previewed};
use crate::envoy::path::{Door, End, Network, Outcome, Request, Stop, Traffic};
use crate::envoy::snapshot::ResourceType;
use crate::ir::SocketAddress;
use crate::model::{AddressForm, InstanceId, Node, Service, ServiceKind, instance_address};
use crate::store::{NodeKey, Reader};

impl Paths for Explainer {
    fn trace(&self, reader: &Reader<'_>, question: &TraceQuestion) -> Trace {
        let followed = std::iter::once(&question.proxy).chain(&question.others);
        let ids: Vec<_> = followed.clone().cloned().collect();
        let view = Arc::new(reader.view().clone());
        let preview = Preview::new(&self.options, &self.trust_domain, &view, ids);
        reader.note_all(preview.keys_read());
        let mut network = Network::default();
        for (id, previewed) in preview.iter() {
            // What cannot be decoded is no listener of ours.
            let _ = network.add_proxy(&id.to_string(), previewed.snapshot.clone());
            network.locate(&id.to_string(), &id.place.to_string());
        }
        question.left_out.iter().for_each(|id| network.leave_out(&id.to_string()));
        // The caller too: a service can call itself.
        for id in followed.clone().chain(&question.left_out) {
            let node = reader.node(&NodeKey::new(&id.place, &id.node));
            if let (Some(service), Some(node)) = (reader.service(id), node) {
                add_doors(&mut network, id, &service.value, &node.value);
            }
        }
        let traffic = match &question.request {
            None => Traffic::Tcp,
            Some(request) => Traffic::Http(Request { method: request.method.clone(), ..Request::get(&request.path) }),
        };
        let answer = network.from_upstream(&question.proxy.to_string(), &question.upstream, &traffic);
        let is_sidecar =
            |id: &&InstanceId| reader.service(id).is_some_and(|row| row.value.kind == ServiceKind::ConnectProxy);
        let sidecars: Vec<String> = followed.filter(is_sidecar).map(ToString::to_string).collect();
        let ways = answer.outcomes.iter().map(|outcome| way(outcome, &sidecars)).collect();
        let is_asked = |id: &InstanceId| question.places.contains(&id.place) && !sidecars.contains(&id.to_string());
        let gateways = preview.iter().filter(|(id, _)| is_asked(id));
        Trace { ways, gateways: gateways.map(|(id, it)| (id.clone(), lacks(it, &question.sni))).collect() }
    }
}

/// Says at which addresses a proxy is reached: at that of the LAN from its own place, at that of the WAN from everywhere. One
/// that it does not listen on is translated to its own on the way.
pub(in crate::app) fn add_doors(network: &mut Network, id: &InstanceId, service: &Service, node: &Node) {
    let name: Arc<str> = id.to_string().into();
    let address = |host: &str, port| SocketAddress::Tcp(host.into(), port);
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    let own = address(host, service.port);
    for (form, within) in [(AddressForm::Lan, Some(id.place.to_string().into())), (AddressForm::Wan, None)] {
        let dialled = instance_address(service, node, form);
        let dialled = address(&dialled.host, dialled.port);
        let listens = network.listens(&name, &dialled);
        let local = if listens { dialled.clone() } else { own.clone() };
        network.add_door(&dialled, Door { proxy: name.clone(), local, within });
    }
}

/// What keeps a gateway from knowing an SNI; `None` if it knows it.
fn lacks(gateway: &Previewed, sni: &str) -> Option<String> {
    // Gateways know SNIs in lower case, as Envoy reads them.
    let sni = sni.to_lowercase();
    if gateway.snapshot.get(ResourceType::Cluster).contains_key(sni.as_str()) {
        return None;
    }
    let about = gateway.problems.iter().find(|problem| problem.contains(&sni));
    Some(about.cloned().unwrap_or_else(|| "no service that it forwards to has this name".to_owned()))
}

fn way(outcome: &Outcome, sidecars: &[String]) -> Way {
    let hops: Vec<_> = outcome
        .links
        .iter()
        .map(|link| Hop {
            proxy: link.proxy.to_string(),
            cluster: link.clusters.last().cloned().unwrap_or_default(),
            sni: link.sni.clone().unwrap_or_default(),
            dials: link.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
        })
        .collect();
    let is_at_callee = hops.len() > 1 && hops.last().is_some_and(|hop| sidecars.contains(&hop.proxy));
    let hop = hops.len();
    let chosen = outcome.links.first().and_then(|link| link.clusters.first()).cloned().unwrap_or_default();
    let (outcome, end, link) = match &outcome.end {
        End::Instance { address, .. } if is_at_callee => ("arrives", address.to_string(), 0),
        End::Instance { address, .. } => ("leaves", address.to_string(), 0),
        // Who is not connected has no certificate yet, and is told elsewhere.
        End::Stopped(stop @ Stop::NoSecret(_)) => ("unknown", stop.to_string(), 7),
        End::Stopped(stop) => ("stops", stop.to_string(), link(stop, hop)),
        End::Unknown(unknown) => ("unknown", unknown.to_string(), 0),
    };
    Way { chosen, hops, outcome: outcome.to_owned(), end, link }
}

/// Which link of a path a stop is about, at the hop with this number.
fn link(stop: &Stop, hop: usize) -> usize {
    match stop {
        Stop::NoListener(_) if hop > 1 => 4,
        Stop::NoCluster(_) | Stop::NoFilterChain { .. } if hop > 1 => 8,
        Stop::NoUpstream(_)
        | Stop::NoListener(_)
        | Stop::NoCluster(_)
        | Stop::NoFilterChain { .. }
        | Stop::NotHttp
        | Stop::RefusedRequest(_)
        | Stop::NoRouteConfiguration(_)
        | Stop::NoVirtualHost(_)
        | Stop::NoRoute(_)
        | Stop::Answered { .. }
        | Stop::LimitOfZero(_) => 2,
        Stop::Denied { .. } => 6,
        Stop::PlainText
        | Stop::NoCommonTls
        | Stop::NoSecret(_)
        | Stop::NoClientCertificate
        | Stop::UntrustedClient(_)
        | Stop::UntrustedServer(_)
        | Stop::WrongServer { .. }
        | Stop::WrongClient(_) => 7,
        Stop::Loop => 8,
        Stop::NoAssignment(_) | Stop::NoEndpoint(_) | Stop::NoHealthyEndpoint(_) => 9,
    }
}
