//! What would become of traffic if something were gone, told by the code that configures Envoy and the path model.
//!
//! **Invariant.** What is down gets the check that a real failure gets, so what proxies would be sent is what they would be
//! sent then. Where traffic ends is read off these configurations; no rule of the mesh is repeated here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::explain::{add_doors, what_decides};
use super::plan::{Planned, Streams};
use crate::api::{Destination, Detail, Failure, Plan, SimulatedCounts, SimulatedUpstream, Simulation};
use crate::engine::{Configuration, Offline};
use crate::envoy::names;
use crate::envoy::path::{Answer, End, Network, Outcome, Request, Stop, Traffic};
use crate::ir::SocketAddress;
use crate::model::{
    AddressForm, Check, CheckId, CheckStatus, InstanceId, Place, Service, ServiceKind, instance_address,
};
use crate::resolve::explain;
use crate::store::{NodeKey, Op, View};

/// Most upstreams that are followed; those of sidecars that are registered alike are followed once.
const MOST_FOLLOWED: usize = 5_000;

/// Most reasons to stop that are told of one upstream.
const MOST_STOPS: usize = 5;

/// What a failure does.
pub(super) fn simulated(offline: Offline, streams: &Streams, failure: &Failure) -> Simulation {
    let before = &failure.before;
    let failed: Vec<_> = failure.down.iter().filter_map(|id| critical(before, id)).collect();
    let after = Arc::new(before.after(&failed));
    let planned = Planned::new(offline, before, &after, &failure.down);
    let world = |configurations, view, down: &BTreeSet<InstanceId>| World::new(configurations, view, down);
    let worlds = (world(&planned.before, before, &BTreeSet::new()), world(&planned.after, &after, &failure.down));
    let (mut followed, counts, is_cut) = follow(before, failure, &worlds);
    drop(worlds);
    let Plan { proxies, impacts, findings, more_findings, .. } =
        planned.told(streams, Detail { proxies: 0, has_messages: false });
    followed.sort_by_cached_key(|it| (rank(&it.effect), it.from.clone(), it.upstream.clone()));
    let more_affected = followed.len().saturating_sub(failure.limit);
    followed.truncate(failure.limit);
    Simulation {
        index: before.index(),
        down: Vec::new(),
        more_down: 0,
        upstreams: counts,
        affected: followed,
        more_affected,
        cut: is_cut,
        proxies,
        impacts,
        findings,
        more_findings,
    }
}

/// The check that fails where an instance is gone.
fn critical(view: &View, id: &InstanceId) -> Option<Op> {
    let service = &view.service(id)?.value;
    Some(Op::PutCheck(Check {
        node: id.node.clone(),
        check_id: CheckId::from(format!("meshgate-simulate:{}", id.id).as_str()),
        name: "Simulated failure".to_owned(),
        status: CheckStatus::Critical,
        service_id: id.id.clone(),
        service_name: service.name.to_string(),
        datacenter: id.place.datacenter.clone(),
        partition: id.place.partition.clone(),
        ..Check::default()
    }))
}

/// The proxies of a state with what they are sent, and the addresses at which nobody is any more.
struct World {
    network: Network,
    /// With the places from which they were dialled; `None` for everywhere.
    dead: BTreeMap<String, Vec<Option<Place>>>,
    /// The service that each sidecar stands for.
    services: BTreeMap<String, String>,
}

impl World {
    fn new(configurations: &BTreeMap<InstanceId, Configuration>, view: &View, down: &BTreeSet<InstanceId>) -> Self {
        let (mut network, mut dead, mut services) = (Network::default(), BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
        for (id, configuration) in configurations {
            let node = view.node(&NodeKey::new(&id.place, &id.node));
            let (Some(service), Some(node)) = (view.service(id), node) else { continue };
            let (service, node) = (&service.value, &node.value);
            if down.contains(id) {
                for (form, within) in [(AddressForm::Lan, Some(id.place.clone())), (AddressForm::Wan, None)] {
                    let at = instance_address(service, node, form);
                    dead.entry(dialled(&at.host, at.port)).or_default().push(within);
                }
                continue;
            }
            let Some(snapshot) = &configuration.snapshot else { continue };
            let name = id.to_string();
            // What cannot be decoded is no listener of ours.
            let _ = network.add_proxy(&name, snapshot.clone());
            network.locate(&name, &id.place.to_string());
            add_doors(&mut network, id, service, node);
            if service.kind == ServiceKind::ConnectProxy {
                services.insert(name, full(&id.place, service));
            }
        }
        Self { network, dead, services }
    }

    /// Where an upstream leads. A request also asks what passes bytes on.
    fn fate(&self, proxy: &str, upstream: &str) -> Fate {
        let Answer { outcomes } = self.network.from_upstream(proxy, upstream, &Traffic::Http(Request::get("/")));
        let mut fate = Fate::default();
        for outcome in &outcomes {
            fate.is_http |= outcome.links.first().is_some_and(|link| link.route.is_some());
            self.add(&mut fate, outcome);
        }
        fate
    }

    /// True if nobody is any more where a proxy dials.
    fn is_dead(&self, from: &str, address: &str) -> bool {
        let is_there = |place: &Place| from.strip_prefix(&place.to_string()).is_some_and(|rest| rest.starts_with('/'));
        let places = self.dead.get(address).into_iter().flatten();
        places.into_iter().any(|within| within.as_ref().is_none_or(is_there))
    }

    fn add(&self, fate: &mut Fate, Outcome { links, end }: &Outcome) {
        let from = links.last().map(|link| &*link.proxy).unwrap_or_default();
        match end {
            End::Instance { address, .. } if self.is_dead(from, &address.to_string()) => {
                fate.stops.insert(format!("nobody answers at {address}"));
            }
            End::Instance { address, .. } => {
                let last = links.last().filter(|_| links.len() > 1).map(|link| &*link.proxy);
                let service = last.and_then(|proxy| self.services.get(proxy));
                let reached = last.unwrap_or_default().to_owned();
                match service {
                    Some(service) => fate.arrives.entry(service.clone()).or_default().insert(reached),
                    None => fate.arrives.entry(address.to_string()).or_default().insert(address.to_string()),
                };
            }
            End::Stopped(stop @ Stop::NoSecret(_)) => {
                fate.unknown.insert(stop.to_string());
            }
            End::Stopped(stop) => {
                let at = links.last().filter(|_| links.len() > 1).map(|link| format!("{}: ", link.proxy));
                fate.stops.insert(format!("{}{stop}", at.unwrap_or_default()));
            }
            End::Unknown(unknown) => {
                fate.unknown.insert(unknown.to_string());
            }
        }
    }
}

fn dialled(host: &str, port: u16) -> String {
    SocketAddress::Tcp(host.into(), port).to_string()
}

/// Where the traffic of an upstream ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Fate {
    /// The services that it arrives at, with the proxies in front of their instances.
    arrives: BTreeMap<String, BTreeSet<String>>,
    /// Why some of it stops.
    stops: BTreeSet<String>,
    /// Why nobody can tell of some of it.
    unknown: BTreeSet<String>,
    is_http: bool,
}

impl Fate {
    /// What it means for traffic that goes this way now if it goes the other one then.
    fn effect_of(&self, then: &Self) -> Effect {
        // A share that arrives now, and of which nobody can tell then, is one that does not arrive.
        let loses_a_share = !then.stops.is_subset(&self.stops) || !then.unknown.is_subset(&self.unknown);
        let nobody_knows = !self.unknown.is_empty() || !then.unknown.is_empty();
        match (self.arrives.is_empty(), then.arrives.is_empty()) {
            // What is known to arrive now counts, whatever else nobody can tell of.
            (false, true) => Effect::Lost,
            (false, false) if loses_a_share => Effect::Partly,
            _ if nobody_knows => Effect::Unknown,
            (true, true) => Effect::Broken,
            _ if self.arrives == then.arrives => Effect::Same,
            _ if self.arrives.keys().eq(then.arrives.keys()) => Effect::Fewer,
            _ => Effect::Moved,
        }
    }

    fn destinations(&self) -> Vec<Destination> {
        let destination =
            |(service, at): (&String, &BTreeSet<_>)| Destination { service: service.clone(), instances: at.len() };
        self.arrives.iter().map(destination).collect()
    }
}

/// How an upstream fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Same,
    Fewer,
    Moved,
    Partly,
    Lost,
    Broken,
    Unknown,
}

impl Effect {
    fn name(self) -> &'static str {
        match self {
            Effect::Same => "same",
            Effect::Fewer => "fewer",
            Effect::Moved => "moved",
            Effect::Partly => "partly",
            Effect::Lost => "lost",
            Effect::Broken => "broken",
            Effect::Unknown => "unknown",
        }
    }

    fn count(self, counts: &mut SimulatedCounts) {
        counts.total += 1;
        *match self {
            Effect::Same => &mut counts.same,
            Effect::Fewer => &mut counts.fewer,
            Effect::Moved => &mut counts.moved,
            Effect::Partly => &mut counts.partly,
            Effect::Lost => &mut counts.lost,
            Effect::Broken => &mut counts.broken,
            Effect::Unknown => &mut counts.unknown,
        } += 1;
    }
}

/// The worst first.
fn rank(effect: &str) -> usize {
    ["lost", "partly", "unknown", "moved", "fewer"].iter().position(|it| *it == effect).unwrap_or(usize::MAX)
}

/// Follows the upstreams of every sidecar that stays, in both states.
fn follow(view: &View, failure: &Failure, worlds: &(World, World)) -> (Vec<SimulatedUpstream>, SimulatedCounts, bool) {
    let (mut told, mut counts) = (Vec::<SimulatedUpstream>::new(), SimulatedCounts::default());
    let (mut is_cut, mut left) = (false, MOST_FOLLOWED);
    // Of the same registration, the same comes out.
    let mut known: BTreeMap<(Place, String, String), (Effect, Option<usize>)> = BTreeMap::new();
    let sidecars = view.proxies().filter(|(_, row)| row.value.kind == ServiceKind::ConnectProxy);
    for (id, row) in sidecars.filter(|(id, _)| !failure.down.contains(id)) {
        let (service, alike) = (&*row.value, what_decides(&row.value));
        for (upstream, asked) in explain::upstreams(service) {
            let target = explain::named_by(service, asked);
            if failure.upstream.as_ref().is_some_and(|wanted| *target.name != **wanted) {
                continue;
            }
            let upstream = names::upstream(&upstream);
            let key = (id.place.clone(), alike.clone(), upstream.clone());
            if let Some((effect, position)) = known.get(&key) {
                effect.count(&mut counts);
                position.iter().for_each(|position| told[*position].sidecars += 1);
                continue;
            }
            if left == 0 {
                is_cut = true;
                continue;
            }
            left -= 1;
            let proxy = id.to_string();
            let (now, then) = (worlds.0.fate(&proxy, &upstream), worlds.1.fate(&proxy, &upstream));
            let effect = now.effect_of(&then);
            effect.count(&mut counts);
            let position = match effect {
                Effect::Same | Effect::Broken => None,
                Effect::Fewer | Effect::Moved | Effect::Partly | Effect::Lost | Effect::Unknown => {
                    told.push(shown((&id.place, service), proxy, upstream, effect, (&now, &then)));
                    Some(told.len() - 1)
                }
            };
            known.insert(key, (effect, position));
        }
    }
    (told, counts, is_cut)
}

fn shown(
    (place, service): (&Place, &Service),
    proxy: String,
    upstream: String,
    effect: Effect,
    (now, then): (&Fate, &Fate),
) -> SimulatedUpstream {
    let stops: Vec<_> = then.stops.iter().chain(&then.unknown).take(MOST_STOPS).cloned().collect();
    let callers = match (then.stops.is_empty(), now.is_http) {
        (true, _) => "",
        (false, true) => "status 503",
        (false, false) => "connection closed",
    };
    SimulatedUpstream {
        from: full(place, service),
        upstream,
        sidecars: 1,
        proxy,
        effect: effect.name().to_owned(),
        now: now.destinations(),
        then: then.destinations(),
        stops,
        callers: callers.to_owned(),
    }
}

/// The service that a sidecar stands for, as `datacenter/partition/namespace/name`.
fn full(place: &Place, sidecar: &Service) -> String {
    let service = explain::central_name(sidecar);
    format!("{}/{}/{}/{}", place.datacenter, service.partition, service.namespace, service.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(arrives: &[(&str, &str)], stops: &[&str], unknown: &[&str]) -> Fate {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let mut fate = Fate { stops: set(stops), unknown: set(unknown), ..Fate::default() };
        for (service, proxy) in arrives {
            fate.arrives.entry((*service).to_owned()).or_default().insert((*proxy).to_owned());
        }
        fate
    }

    #[test]
    fn a_share_that_arrives_now_and_of_which_nobody_can_tell_then_is_lost() {
        let both = fate(&[("api", "1"), ("next", "2")], &[], &[]);
        let one = fate(&[("api", "1")], &[], &[]);
        let no_secret = &["a secret is missing"][..];
        for (now, then, effect) in [
            (&both, &fate(&[("api", "1")], &[], no_secret), Effect::Partly),
            (&one, &fate(&[], &[], no_secret), Effect::Lost),
            // What nobody could tell of before is no loss.
            (&fate(&[("api", "1")], &[], no_secret), &fate(&[("api", "1")], &[], no_secret), Effect::Unknown),
            (&fate(&[], &[], no_secret), &one, Effect::Unknown),
            (&both, &fate(&[("api", "1")], &["nobody answers"], &[]), Effect::Partly),
            (&both, &one, Effect::Moved),
            (&fate(&[("api", "1"), ("api", "2")], &[], &[]), &one, Effect::Fewer),
            (&fate(&[], &["nobody answers"], &[]), &fate(&[], &[], &[]), Effect::Broken),
            (&both, &both, Effect::Same),
        ] {
            assert_eq!(now.effect_of(then), effect, "{now:?} -> {then:?}");
        }
    }
}
