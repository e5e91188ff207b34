//! The links, each judged by itself, so that of several faults all are told, and of one only that one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use time::OffsetDateTime;

use super::sample::Sample;
use super::verdict::settle;
use super::{PathAnswer, PathLink, Trace, TraceQuestion, TracedRequest};
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::explain::{GatewayExplanation, TargetExplanation, TargetService, UpstreamExplanation};
use crate::api::intentions::deciding;
use crate::api::named::{self, At, Named};
use crate::api::seam::{Nack, ProxyState};
use crate::model::{
    ConfigEntry, Datacenter, EntryKey, EntryKind, InstanceId, IntentionAction, Namespace, NodeName, Partition, PeerKey,
    PeerName, Place, QUERY_PREFIX, QueryKey, ServiceId, ServiceKey, ServiceName, SpiffeId,
};
use crate::store::{NodeKey, Reader};

/// What the links are called.
const NAMES: [&str; 9] = [
    "registration",
    "upstream",
    "local gateway",
    "wan address",
    "export",
    "intention",
    "certificates",
    "remote gateway",
    "endpoints",
];

/// A question about a path.
pub(super) struct Asked<'a> {
    pub(super) call: &'a Call,
    pub(super) reader: &'a Reader<'a>,
    pub(super) from: &'a Named,
    pub(super) to: &'a Named,
}

/// What is found about a link.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Ok(String),
    Warning(String, String),
    Broken(String, String),
    Blocked(usize),
    Unused(String),
    Unknown(String),
}

/// The caller.
pub(super) struct Caller {
    pub(super) place: Place,
    service: ServiceName,
    pub(super) sidecar: Option<InstanceId>,
    state: Option<ProxyState>,
}

/// What all links are about.
pub(super) struct Subject {
    pub(super) caller: Caller,
    /// The service that is meant: that of the upstream's target where there is one.
    to: TargetService,
    upstream: Result<Option<UpstreamExplanation>, String>,
    pub(super) target: Option<TargetExplanation>,
    /// The prepared query that the upstream names. The links are about a service that it finds.
    pub(super) query: Option<QueryKey>,
}

impl Subject {
    pub(super) fn is_in_peer(&self) -> bool {
        !self.to.peer.is_default()
    }

    /// The place of the service that is called; `None` in a peer.
    fn target_place(&self) -> Option<Place> {
        (!self.is_in_peer()).then(|| Place::new(&self.to.datacenter, &self.to.partition))
    }

    fn callee(&self) -> ServiceName {
        ServiceName::new(&self.to.partition, &self.to.namespace, &self.to.name)
    }

    /// Traffic goes through gateways: the caller's own, and those of the target.
    fn gateways(&self) -> (bool, bool) {
        match self.target.as_ref().map(|target| target.dials.as_str()) {
            Some("local gateways") => (true, true),
            Some("remote gateways") => (false, true),
            _ => (false, false),
        }
    }
}

impl Asked<'_> {
    pub(super) fn answer(&self, request: Option<TracedRequest>) -> Result<PathAnswer, ApiError> {
        let subject = self.subject()?;
        let is_http = subject.upstream.as_ref().is_ok_and(|up| up.as_ref().is_some_and(|up| up.http));
        let request =
            request.or_else(|| is_http.then(|| TracedRequest { method: "GET".to_owned(), path: "/".to_owned() }));
        let (trace, left_out) = self.trace(&subject, request);
        let mut found = [
            self.registration(&subject),
            self.upstream(&subject),
            self.local_gateway(&subject),
            self.wan_address(&subject),
            self.export(&subject),
            self.intention(&subject),
            self.certificates(&subject),
            self.remote_gateway(&subject, &trace),
            self.endpoints(&subject),
        ];
        let is_known = settle(&mut found, &subject, &trace);
        self.tell_refusals(&subject, &mut found);
        let links: Vec<_> = found.into_iter().enumerate().map(|(position, found)| link(position + 1, found)).collect();
        let first = links.iter().find(|link| link.status == "broken");
        let shown = |datacenter: &str, service: &ServiceName| {
            format!("{datacenter}/{}/{}/{}", service.partition, service.namespace, service.name)
        };
        let Subject { caller, to, upstream, .. } = &subject;
        let upstream = upstream.as_ref().ok().and_then(Option::as_ref);
        let to_where = if subject.is_in_peer() { format!("peer:{}", to.peer) } else { to.datacenter.to_string() };
        Ok(PathAnswer {
            from: shown(caller.place.datacenter.as_str(), &caller.service),
            to: shown(&to_where, &subject.callee()),
            proxy: upstream.map(|upstream| upstream.proxy.clone()),
            upstream: upstream.map(|upstream| upstream.upstream.clone()).unwrap_or_default(),
            listens: upstream.map(|upstream| upstream.listens.clone()).unwrap_or_default(),
            protocol: if is_http { "http" } else { "tcp" }.to_owned(),
            ok: first.is_none() && is_known,
            first_broken: first.map_or(0, |link| link.number),
            fix: first.map(|link| link.fix.clone()).unwrap_or_default(),
            ways: trace.ways,
            left_out,
            links,
        })
    }

    fn subject(&self) -> Result<Subject, ApiError> {
        let scope = &self.call.scope.place;
        let datacenter = match &self.from.at {
            None => scope.datacenter.clone(),
            Some(At::Either(name) | At::Datacenter(name)) => Datacenter::from(name.as_str()),
            Some(At::Peer(name)) => {
                return Err(ApiError::Unclear(format!(
                    "a path starts at a service of this control plane, and {name} is a peer: ask there"
                )));
            }
        };
        let service = self.from.service(&scope.partition, &Namespace::default());
        let place = Place::new(&datacenter, &service.partition);
        let caller = self.caller(place, service)?;
        let upstream = self.find_upstream(&caller);
        let to = match &upstream {
            Ok(Some(upstream)) => upstream.names.clone(),
            Ok(None) | Err(_) => self.named(&caller),
        };
        let target = upstream.as_ref().ok().and_then(Option::as_ref).and_then(|upstream| {
            let is_it = |target: &&TargetExplanation| target.service == self.named_near(&caller, &target.service);
            upstream.targets.iter().find(is_it).or_else(|| upstream.targets.first()).cloned()
        });
        let to = target.as_ref().map_or(to, |target| target.service.clone());
        let is_query =
            upstream.as_ref().is_ok_and(|found| found.as_ref().is_some_and(|it| it.upstream.starts_with(QUERY_PREFIX)));
        let query =
            is_query.then(|| QueryKey { place: Place::new(&to.datacenter, &to.partition), name: to.name.clone() });
        let to = query.as_ref().and_then(|query| self.found_service(query)).unwrap_or(to);
        Ok(Subject { caller, to, upstream, target, query })
    }

    /// The service that a prepared query finds. Of several, which failover leads to, that of the first instance.
    fn found_service(&self, query: &QueryKey) -> Option<TargetService> {
        let nodes = &self.reader.query(query)?.value.nodes;
        nodes.iter().find_map(|entry| {
            let ServiceName { partition, namespace, name } = entry.service.mesh_destination()?;
            let (name, datacenter) = (name.to_string(), entry.node.datacenter.clone());
            Some(TargetService { name, namespace, partition, datacenter, peer: PeerName::default() })
        })
    }

    /// The caller with its sidecar: of several, the first that is connected.
    fn caller(&self, place: Place, service: ServiceName) -> Result<Caller, ApiError> {
        let key = ServiceKey { datacenter: place.datacenter.clone(), service: service.clone() };
        let mut sidecars = named::sidecars(self.reader, &key);
        let mut service = service;
        if sidecars.is_empty()
            && let Ok(proxy) = named::proxy(self.reader, &place, None, &self.from.name)
            && let Some(row) = self.reader.service(&proxy)
            && let Some(of) = row.value.mesh_destination()
        {
            // The sidecar itself was named.
            (sidecars, service) = (vec![proxy], of);
        }
        let connected = self.call.api.proxies.proxies();
        let connected: BTreeMap<_, _> = connected.into_iter().map(|state| (id_of(&state), state)).collect();
        let state = |id: &InstanceId| connected.get(id).cloned();
        let sidecar = sidecars.iter().find(|id| state(id).is_some()).or_else(|| sidecars.first()).cloned();
        let state = sidecar.as_ref().and_then(state);
        Ok(Caller { place, service, sidecar, state })
    }

    /// The service that is called, as far as its name tells.
    fn named(&self, caller: &Caller) -> TargetService {
        let service = self.to.service(&caller.place.partition, &Namespace::default());
        let is_peer = |name: &str| self.reader.peerings(&caller.place).any(|row| row.value.name.as_str() == name);
        let peer = match &self.to.at {
            Some(At::Peer(name)) => PeerName::from(name.as_str()),
            Some(At::Either(name)) if is_peer(name) => PeerName::from(name.as_str()),
            Some(At::Either(_) | At::Datacenter(_)) | None => PeerName::default(),
        };
        let datacenter = match &self.to.at {
            _ if !peer.is_default() => Datacenter::default(),
            Some(At::Either(name) | At::Datacenter(name)) => Datacenter::from(name.as_str()),
            Some(At::Peer(_)) | None => caller.place.datacenter.clone(),
        };
        let partition = if peer.is_default() { service.partition } else { caller.place.partition.clone() };
        TargetService { name: service.name.to_string(), namespace: service.namespace, partition, datacenter, peer }
    }

    /// The service that is called, if it may be the one that is near: what was not said is as there.
    fn named_near(&self, caller: &Caller, near: &TargetService) -> TargetService {
        let named = self.named(caller);
        if self.to.at.is_none() {
            return TargetService { datacenter: near.datacenter.clone(), peer: near.peer.clone(), ..named };
        }
        named
    }

    /// The upstream that names the service, or else one that leads to it.
    fn find_upstream(&self, caller: &Caller) -> Result<Option<UpstreamExplanation>, String> {
        let Some(sidecar) = &caller.sidecar else { return Ok(None) };
        let explanations = &self.call.api.explanations;
        match explanations.upstream(self.reader, sidecar, self.to) {
            Ok(found) => return Ok(Some(found)),
            Err(crate::api::Unexplained::Unclear(why)) => return Err(why),
            Err(crate::api::Unexplained::NotThere(_)) => {}
        }
        let modes = explanations.modes(self.reader, sidecar).unwrap_or_default();
        let names = modes.iter().filter_map(|mode| Named::parse(&mode.upstream).ok());
        let mut all = names.filter_map(|named| explanations.upstream(self.reader, sidecar, &named).ok());
        let leads_there = |upstream: &UpstreamExplanation| {
            upstream.targets.iter().any(|target| target.service == self.named_near(caller, &target.service))
        };
        Ok(all.find(leads_there))
    }

    /// Follows the traffic, and says what it was not followed through.
    fn trace(&self, subject: &Subject, request: Option<TracedRequest>) -> (Trace, Vec<String>) {
        let (Some(proxy), Ok(Some(upstream))) = (&subject.caller.sidecar, &subject.upstream) else {
            return (Trace::default(), Vec::new());
        };
        let Sample { followed, left_out, told } = self.sample(subject, upstream);
        let question = TraceQuestion {
            proxy: proxy.clone(),
            upstream: upstream.upstream.clone(),
            request,
            others: followed.into_iter().collect(),
            left_out: left_out.into_iter().collect(),
            sni: subject.target.as_ref().map(|target| target.sni.clone()).unwrap_or_default(),
            places: subject.target_place().into_iter().collect(),
        };
        (self.call.api.paths.trace(self.reader, &question), told)
    }

    fn registration(&self, subject: &Subject) -> Found {
        let Caller { place, service, sidecar, state } = &subject.caller;
        let at = options(place);
        let Some(sidecar) = sidecar else {
            return Found::Broken(
                format!("{} has no sidecar in {}/{}", service.name, place.datacenter, place.partition),
                format!(
                    "meshgate services register{at} {}.hcl   # with connect {{ sidecar_service {{}} }}",
                    service.name
                ),
            );
        };
        let Some(state) = state else {
            let fix = format!("meshgate connect envoy -proxy-id {}{at}", sidecar.id);
            return Found::Broken(format!("{} is registered, and no Envoy is connected for it", sidecar.id), fix);
        };
        let refused = state.types.iter().find(|kind| !kind.acked && kind.last_nack.is_some());
        if let Some(refused) = refused {
            let reason = refused.last_nack.as_ref().map(|nack| nack.message.clone()).unwrap_or_default();
            let fix = format!("meshgate explain mode {}{at}", sidecar.id);
            return Found::Broken(format!("{} refused its last {}: {reason}", sidecar.id, refused.kind), fix);
        }
        let synced = if state.sync() == "synced" { "synced" } else { "not everything answered yet" };
        Found::Ok(format!("{} connected, {synced}", sidecar.id))
    }

    fn upstream(&self, subject: &Subject) -> Found {
        if subject.caller.sidecar.is_none() {
            return Found::Blocked(1);
        }
        let upstream = match &subject.upstream {
            Ok(Some(upstream)) => upstream,
            Ok(None) => {
                let TargetService { name, datacenter, peer, partition, .. } = &subject.to;
                let mut fields = vec![format!("destination_name = {name:?}")];
                if !peer.is_default() {
                    fields.push(format!("destination_peer = \"{peer}\""));
                } else if *datacenter != subject.caller.place.datacenter {
                    fields.push(format!("datacenter = \"{datacenter}\""));
                } else if *partition != subject.caller.place.partition {
                    fields.push(format!("destination_partition = \"{partition}\""));
                }
                fields.push("local_bind_port = 9191".to_owned());
                let (service, at) = (&subject.caller.service.name, options(&subject.caller.place));
                return Found::Broken(
                    format!("no upstream of {service} leads there"),
                    format!(
                        "meshgate services register{at} {service}.hcl   # with the upstream {{ {} }}",
                        fields.join(", ")
                    ),
                );
            }
            Err(why) => return Found::Broken(why.clone(), "meshgate explain mode PROXY lists them".to_owned()),
        };
        let (name, proxy) = (&upstream.upstream, &upstream.proxy.id);
        let explain = format!("meshgate explain upstream {proxy} '{name}'{}", options(&subject.caller.place));
        if upstream.listens.is_empty() {
            let fix = format!(
                "meshgate services register {}.hcl   # with local_bind_port for {name}",
                upstream.proxy.service
            );
            return Found::Broken(format!("{name} listens nowhere: it has no local_bind_port"), fix);
        }
        if upstream.targets.is_empty() {
            return match subject.is_in_peer() {
                // Its own links say what is missing.
                true => Found::Ok(format!("{name}  local_bind {}", upstream.listens)),
                false => Found::Broken(upstream.problems.join("; "), explain),
            };
        }
        let Some(target) = &subject.target else { return Found::Blocked(1) };
        let mode = if target.mode.is_empty() { "unset" } else { &target.mode };
        let elsewhere =
            if upstream.names == target.service { String::new() } else { format!("  to {}", target.target) };
        let legs =
            if upstream.targets.len() > 1 { format!("  ({} targets)", upstream.targets.len()) } else { String::new() };
        Found::Ok(format!(
            "{} -> {name}{elsewhere}  local_bind {}  mode {mode}{legs}   (explain: {explain})",
            upstream.proxy.service, upstream.listens
        ))
    }

    pub(super) fn gateways(&self, place: &Place) -> Vec<GatewayExplanation> {
        self.call.api.explanations.gateways(self.reader, place)
    }

    fn local_gateway(&self, subject: &Subject) -> Found {
        if subject.target.is_none() {
            return unjudged(subject);
        }
        if !subject.gateways().0 {
            return Found::Unused(not_needed(subject));
        }
        let place = &subject.caller.place;
        usable(&self.gateways(place), place, |gateway| format!("{} {}", gateway.instance, gateway.lan))
    }

    fn wan_address(&self, subject: &Subject) -> Found {
        let Some(target) = &subject.target else { return unjudged(subject) };
        if !subject.gateways().1 {
            return Found::Unused(not_needed(subject));
        }
        let Some(place) = subject.target_place() else { return self.wan_of_peer(subject, target) };
        let gateways = self.gateways(&place);
        let found = usable(&gateways, &place, |gateway| format!("{} {}", gateway.instance, gateway.wan));
        let silent: Vec<_> = gateways.iter().filter(|gateway| !gateway.says_wan).collect();
        match (found, silent.first()) {
            (Found::Ok(detail), Some(one)) => Found::Warning(
                format!("{detail}; {} says no wan address: its lan address is dialled from outside", one.instance),
                format!(
                    "meshgate connect envoy -gateway mesh -register -service mesh-gateway -proxy-id {} -address {} \
                     -wan-address HOST:PORT{}",
                    one.instance,
                    one.lan,
                    options(&place)
                ),
            ),
            (found, _) => found,
        }
    }

    /// The peer's gateways, as it told them.
    fn wan_of_peer(&self, subject: &Subject, target: &TargetExplanation) -> Found {
        let key = PeerKey::new(&subject.caller.place, &subject.to.peer);
        let told = self.reader.imported(&key, &subject.callee()).count();
        if told == 0 {
            return Found::Blocked(5);
        }
        let addresses: Vec<_> = match subject.gateways().0 {
            true => Vec::new(),
            false => target.endpoints.iter().map(|endpoint| endpoint.address.clone()).collect(),
        };
        let list = if addresses.is_empty() { String::new() } else { format!(": {}", addresses.join(", ")) };
        Found::Ok(format!("peer {} told {told} of its gateways{list}", subject.to.peer))
    }

    fn export(&self, subject: &Subject) -> Found {
        let (own, to) = (&subject.caller.place, &subject.to);
        if subject.is_in_peer() {
            let key = PeerKey::new(own, &to.peer);
            if !self.reader.peerings(own).any(|row| row.value.name == to.peer) {
                let fix = format!("meshgate peering establish -name {} -peering-token TOKEN{}", to.peer, options(own));
                return Found::Broken(format!("there is no peering {} in {own}", to.peer), fix);
            }
            if self.reader.imported(&key, &subject.callee()).next().is_some() {
                return Found::Ok(format!("peer {} exports {} to us", to.peer, to.name));
            }
            return Found::Broken(
                format!("peer {} exports no {} to us", to.peer, to.name),
                format!(
                    "meshgate services export -name {} -consumer-peers NAME   # in the peer, with its name for us",
                    to.name
                ),
            );
        }
        if to.partition == own.partition {
            return Found::Unused("same partition: nothing has to be exported".to_owned());
        }
        let key = |partition: &Partition| EntryKey {
            kind: EntryKind::ExportedServices,
            name: ServiceName::new(partition, &Namespace::default(), partition.as_str()),
        };
        let entry = self.reader.entry(&key(&to.partition)).map(|row| &*row.value);
        let is_exported = match entry {
            Some(ConfigEntry::ExportedServices(entry)) => entry.exports_to_partition(&subject.callee(), &own.partition),
            _ => false,
        };
        let what = format!("exported-services/{}: {} -> partition {}", to.partition, to.name, own.partition);
        if is_exported {
            return Found::Ok(what);
        }
        Found::Broken(
            format!("{what} is missing"),
            format!(
                "meshgate services export -name {} -partition {} -consumer-partitions {}",
                to.name, to.partition, own.partition
            ),
        )
    }

    fn intention(&self, subject: &Subject) -> Found {
        let (source, destination) = (&subject.caller.service, subject.callee());
        if subject.is_in_peer() {
            return Found::Unknown(format!("the intentions of peer {} decide", subject.to.peer));
        }
        let calls = format!("{} -> {}", source.name, destination.name);
        let full = |service: &ServiceName| {
            if service.partition.is_default() && service.namespace.is_default() {
                return service.name.to_string();
            }
            format!("{}/{}/{}", service.partition, service.namespace, service.name)
        };
        let fix = format!("meshgate intention create -allow -replace {} {}", full(source), full(&destination));
        let Some(intention) = deciding(self.reader, source, &destination) else {
            let default = IntentionAction::from(self.call.api.options.default_intention_policy);
            return match default {
                IntentionAction::Allow => Found::Ok(format!("{calls} allow (by default)")),
                IntentionAction::Deny => {
                    Found::Broken(format!("{calls} deny (by default, no intention is about it)"), fix)
                }
            };
        };
        let by = format!("service-intentions/{}", intention.destination_name);
        if !intention.permissions.is_empty() {
            return Found::Ok(format!("{calls} is decided request by request ({by})"));
        }
        if intention.action == IntentionAction::Allow.as_str() {
            return Found::Ok(format!("{calls} allow ({by})"));
        }
        Found::Broken(format!("{calls} deny ({by}, source {})", intention.source_name), fix)
    }

    fn certificates(&self, subject: &Subject) -> Found {
        let Caller { place, service, state, .. } = &subject.caller;
        if self.reader.active_root().is_none() {
            let fix = "meshgate connect ca get-config   # and look into the log of the agent".to_owned();
            return Found::Broken("there is no root that signs".to_owned(), fix);
        }
        if subject.is_in_peer() && self.reader.trust_bundle(&PeerKey::new(place, &subject.to.peer)).is_none() {
            let fix = format!("meshgate peering read -name {}{}", subject.to.peer, options(place));
            return Found::Broken(format!("the roots of peer {} are not known", subject.to.peer), fix);
        }
        let identity = SpiffeId::Service(ServiceKey { datacenter: place.datacenter.clone(), service: service.clone() });
        let trust = if subject.is_in_peer() { "roots of the peer known" } else { "shared root" };
        let Some(leaf) = self.reader.leaf(&identity) else {
            return match state {
                Some(_) => Found::Broken(
                    format!("{} has no certificate yet", service.name),
                    "meshgate monitor   # the log says why none is issued".to_owned(),
                ),
                None => Found::Ok(format!("{trust}; the certificate is made when the sidecar connects")),
            };
        };
        let left = leaf.value.not_after - OffsetDateTime::now_utc();
        if left.is_negative() {
            let since = -left;
            let detail = format!("the certificate of {} expired {} ago", service.name, hours(since));
            return Found::Broken(
                detail,
                "meshgate monitor   # the log says why it is not renewed; see to the clock".to_owned(),
            );
        }
        Found::Ok(format!("{trust}, the certificate is valid for another {}", hours(left)))
    }

    fn remote_gateway(&self, subject: &Subject, trace: &Trace) -> Found {
        let Some(target) = &subject.target else { return unjudged(subject) };
        if !subject.gateways().1 {
            return Found::Unused(not_needed(subject));
        }
        let Some(place) = subject.target_place() else {
            return Found::Unknown(format!("peer {} told the SNI {}", subject.to.peer, target.sni));
        };
        let wrong: Vec<_> = trace.gateways.iter().filter_map(|(id, wrong)| Some((id, wrong.as_ref()?))).collect();
        if let Some((_, refused)) = self.refusal(&place, &[Needed::Cluster(&target.sni)]) {
            let at = options(&place);
            return Found::Broken(
                refused,
                format!("meshgate config read -kind service-resolver -name {}{at}", target.service.name),
            );
        }
        match wrong.first() {
            None if trace.gateways.is_empty() => Found::Blocked(4),
            None => Found::Ok(format!(
                "{} of {place} is configured with a cluster for SNI {}",
                list(trace.gateways.keys()),
                target.sni
            )),
            Some((id, why)) => Found::Broken(
                format!("{} has no cluster for SNI {}: {why}", id.id, target.sni),
                format!("meshgate sni ls -conflicts{}", options(&place)),
            ),
        }
    }

    /// Tells where a gateway on the way runs something else than what it was sent. Ways say nothing against that: they are
    /// followed through what was sent.
    fn tell_refusals(&self, subject: &Subject, found: &mut [Found; 9]) {
        let Some(target) = &subject.target else { return };
        let (own, remote) = subject.gateways();
        let local = own.then(|| subject.caller.place.clone());
        let local = local
            .and_then(|place| Some((self.refusal(&place, &[Needed::Listeners, Needed::Cluster(&target.sni)])?, place)));
        let remote = subject.target_place().filter(|_| remote);
        let remote = remote.and_then(|place| Some((self.refusal(&place, &[Needed::Listeners])?, place)));
        for (number, refusal) in [(3, local), (4, remote)] {
            let Some(((id, detail), place)) = refusal else { continue };
            let fix = format!("meshgate why-changed {id}{}", options(&place));
            match &mut found[number - 1] {
                Found::Broken(known, _) => known.push_str(&format!("; {detail}")),
                link @ (Found::Ok(_)
                | Found::Warning(..)
                | Found::Blocked(_)
                | Found::Unused(_)
                | Found::Unknown(_)) => *link = Found::Broken(detail, fix),
            }
        }
    }

    /// What a connected gateway of a place refused of what is needed of it.
    fn refusal(&self, place: &Place, needed: &[Needed<'_>]) -> Option<(ServiceId, String)> {
        let gateways = self.gateways(place);
        let ids: BTreeSet<_> = gateways.iter().map(|it| instance(place, &it.node, &it.instance)).collect();
        let states = self.call.api.proxies.proxies();
        states.iter().filter(|state| ids.contains(&id_of(state))).find_map(|state| {
            state.types.iter().filter(|kind| !kind.acked).find_map(|kind| {
                let nack = kind.last_nack.as_ref()?;
                let what = needed.iter().find(|needed| needed.is_in(&kind.kind, nack))?;
                Some((state.id.clone(), format!("{} refused {what}: {}", state.id, nack.message)))
            })
        })
    }

    fn endpoints(&self, subject: &Subject) -> Found {
        let to = &subject.to;
        let Some(place) = subject.target_place() else {
            let told = subject.target.as_ref().map(|target| target.endpoints.len()).unwrap_or_default();
            return if told == 0 {
                Found::Blocked(5)
            } else {
                Found::Unknown("the peer counts its instances itself".into())
            };
        };
        let service = ServiceKey { datacenter: to.datacenter.clone(), service: subject.callee() };
        let instances = match &subject.target {
            Some(target) => target.behind.as_ref().map_or(&target.endpoints, |behind| &behind.instances).clone(),
            None => Vec::new(),
        };
        if subject.target.is_none() {
            let registered = self.reader.endpoints(&service).len();
            return match registered {
                0 => Found::Broken(nobody(to, &place), register(to, &place)),
                some => Found::Ok(format!("{}: {some} registered", to.name)),
            };
        }
        let is_hidden = to.partition != subject.caller.place.partition && instances.is_empty();
        if is_hidden && !self.reader.endpoints(&service).is_empty() {
            return Found::Ok(format!("{}: {} registered", to.name, self.reader.endpoints(&service).len()));
        }
        if let Some(query) = subject.query.as_ref().filter(|_| instances.is_empty()) {
            let fix = format!("meshgate catalog services{}   # lists what the query can find", options(&query.place));
            return Found::Broken(format!("prepared query {} finds nobody who takes mesh traffic", query.name), fix);
        }
        let healthy = instances.iter().filter(|instance| instance.healthy).count();
        let detail = format!("{}: {healthy} healthy / {}", to.name, instances.len());
        if instances.is_empty() {
            return Found::Broken(nobody(to, &place), register(to, &place));
        }
        if healthy > 0 {
            return Found::Ok(detail);
        }
        let failing = instances.iter().find(|instance| !instance.failing.is_empty());
        let why = failing.map(|it| format!(" ({} on {}: {})", it.instance, it.node, it.failing.join(", ")));
        let fix = failing.map_or_else(String::new, |it| mend(&it.instance, &it.failing, &place));
        Found::Broken(format!("{detail}{}", why.unwrap_or_default()), fix)
    }
}

fn link(number: usize, found: Found) -> PathLink {
    let id = |is_fault: bool| if is_fault { format!("MG-PATH-{number:03}") } else { String::new() };
    let (status, detail, fix, because_of) = match found {
        Found::Ok(detail) => ("ok", detail, String::new(), 0),
        Found::Warning(detail, fix) => ("warning", detail, fix, 0),
        Found::Broken(detail, fix) => ("broken", detail, fix, 0),
        Found::Blocked(by) => ("blocked", format!("not known because of {by}"), String::new(), by),
        Found::Unused(detail) => ("unused", detail, String::new(), 0),
        Found::Unknown(detail) => ("unknown", detail, String::new(), 0),
    };
    let id = id(matches!(status, "broken" | "warning"));
    let name = NAMES[number - 1].to_owned();
    PathLink { number, name, status: status.to_owned(), detail, id, because_of, fix }
}

fn id_of(state: &ProxyState) -> InstanceId {
    NodeKey::new(&Place::new(&state.datacenter, &state.partition), &state.node).instance(&state.id)
}

/// An instance of a place, by the names that explanations have.
pub(super) fn instance(place: &Place, node: &str, id: &str) -> InstanceId {
    NodeKey::new(place, &NodeName::from(node)).instance(&ServiceId::from(id))
}

/// What a way needs of a gateway.
enum Needed<'a> {
    /// That it listens.
    Listeners,
    /// A cluster for this SNI.
    Cluster(&'a str),
}

impl Needed<'_> {
    /// A refusal of resources of this type is about it, as far as it can be told.
    fn is_in(&self, kind: &str, nack: &Nack) -> bool {
        match self {
            Needed::Listeners => kind == "LDS",
            Needed::Cluster(sni) => {
                // Gateways have one cluster for all of another datacenter or partition.
                let covers = |resource: &String| {
                    sni.strip_suffix(resource.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                kind == "CDS" && (nack.resources.iter().any(covers) || nack.message.contains(sni))
            }
        }
    }
}

impl fmt::Display for Needed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Needed::Listeners => f.write_str("its listeners"),
            Needed::Cluster(sni) => write!(f, "the cluster for SNI {sni}"),
        }
    }
}

/// Why a link that is about the target cannot be judged.
fn unjudged(subject: &Subject) -> Found {
    Found::Blocked(if subject.caller.sidecar.is_none() { 1 } else { 2 })
}

fn not_needed(subject: &Subject) -> String {
    let target = subject.target.as_ref();
    let dials = target.map(|target| target.dials.as_str()).unwrap_or_default();
    let why = target.filter(|target| !target.applies).map_or("by its mode", |target| &target.applies_because);
    format!("not on the way: {dials} are dialled ({why})")
}

/// The gateways of a place, if one of them takes traffic.
fn usable(gateways: &[GatewayExplanation], place: &Place, shown: impl Fn(&GatewayExplanation) -> String) -> Found {
    if gateways.is_empty() {
        return Found::Broken(
            format!("there is no mesh gateway in {}/{}", place.datacenter, place.partition),
            format!(
                "meshgate connect envoy -gateway mesh -register -service mesh-gateway -address IP:PORT \
                 -wan-address HOST:PORT{}",
                options(place)
            ),
        );
    }
    let healthy: Vec<_> = gateways.iter().filter(|gateway| gateway.healthy).collect();
    if healthy.is_empty() {
        let Some(one) = gateways.first() else { return Found::Blocked(1) };
        let failing = one.failing.join(", ");
        return Found::Broken(
            format!("none of {} takes traffic: {} ({failing})", gateways.len(), one.instance),
            mend(&one.instance, &one.failing, place),
        );
    }
    let list: Vec<_> = healthy.into_iter().map(shown).collect();
    let others = gateways.len() - list.len();
    let rest = if others == 0 { String::new() } else { format!(", {others} not healthy") };
    Found::Ok(format!("{} healthy{rest}", list.join(", ")))
}

/// The command that brings an instance back.
fn mend(instance: &str, failing: &[String], place: &Place) -> String {
    let at = options(place);
    if failing.iter().any(|check| check.starts_with("_service_maintenance:")) {
        return format!("meshgate maint -disable -service {instance}{at}");
    }
    if failing.iter().any(|check| check.starts_with("_node_maintenance")) {
        return format!("meshgate maint -disable{at}");
    }
    let check = failing.first().and_then(|check| check.split(':').next()).unwrap_or("its checks");
    format!("meshgate watch -type checks{at}   # see to {check} of {instance}")
}

fn nobody(to: &TargetService, place: &Place) -> String {
    format!("no instance of {} takes mesh traffic in {}/{}", to.name, place.datacenter, place.partition)
}

fn register(to: &TargetService, place: &Place) -> String {
    format!("meshgate services register{} {}.hcl   # with connect {{ sidecar_service {{}} }}", options(place), to.name)
}

/// The options that name a place on a command line.
fn options(place: &Place) -> String {
    let datacenter = format!(" -datacenter {}", place.datacenter);
    if place.partition.is_default() { datacenter } else { format!("{datacenter} -partition {}", place.partition) }
}

fn list<'i>(ids: impl Iterator<Item = &'i InstanceId>) -> String {
    ids.map(|id| id.id.to_string()).collect::<Vec<_>>().join(", ")
}

/// A time in the largest unit that fits.
fn hours(span: time::Duration) -> String {
    match (span.whole_days(), span.whole_hours(), span.whole_minutes()) {
        (days, ..) if days >= 3 => format!("{days}d"),
        (_, hours, _) if hours > 0 => format!("{hours}h"),
        (_, _, minutes) => format!("{minutes}m"),
    }
}
