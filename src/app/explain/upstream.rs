//! One upstream: the ladder, what it leads to, and what it would lead to without one of the rungs.

use super::{Sidecar, label, text};
use crate::api::{
    Behind, EndpointExplanation, ModeExplanation, Removal, RemovedTarget, RungExplanation, Setting, TargetExplanation,
    TargetService, UpstreamExplanation,
};
use crate::engine::{self, Row};
use crate::envoy::names;
use crate::ir::{Health, SocketAddress};
use crate::model::{AddressForm, Datacenter, GatewayMode, ServiceName, Upstream};
use crate::resolve::explain::{self, Found, Led, LedTo, Owned, Says, rung_field};
use crate::resolve::{EndpointSource, LADDER, Ladder, Origin, Reach, Route, Rung, Via};
use crate::store::{Key, Reader};

/// An upstream of a sidecar.
#[derive(Clone, Copy)]
pub(super) struct Explained<'a> {
    pub(super) sidecar: &'a Sidecar<'a>,
    pub(super) upstream: &'a Upstream,
}

impl Explained<'_> {
    pub(super) fn all(self) -> UpstreamExplanation {
        let sidecar = self.sidecar;
        let led = sidecar.leading(self.upstream);
        let ladder = self.ladder();
        let shown = self.rungs(&ladder);
        let (mut targets, mut problems) = (Vec::new(), Vec::new());
        match &led {
            Ok(leading) => {
                targets.extend(leading.targets.iter().map(|led| self.target(led, &ladder)));
                problems.extend(leading.gone.iter().cloned());
            }
            Err(error) => problems.push(told(error)),
        }
        if self.upstream.bind_key().is_empty() {
            problems.push(
                "the registration says neither LocalBindPort nor LocalBindSocketPath: nothing can dial it".into(),
            );
        }
        let set = LADDER.into_iter().rev().filter(|rung| ladder.sources.get(*rung).is_some());
        UpstreamExplanation {
            proxy: sidecar.shown(),
            upstream: self.name(),
            names: self.names(),
            listens: self.upstream.bind_key(),
            http: led.as_ref().is_ok_and(|leading| leading.is_http),
            notes: notes(&ladder, self.upstream),
            chain: self.chain(),
            removals: set.map(|rung| self.without(rung, &targets)).collect(),
            ladder: shown,
            targets,
            problems,
        }
    }

    /// The mode of each target.
    pub(super) fn modes(self) -> Vec<ModeExplanation> {
        let upstream = self.name();
        let empty = || ModeExplanation {
            upstream: upstream.clone(),
            target: String::new(),
            mode: String::new(),
            because: String::new(),
            dials: String::new(),
            problem: String::new(),
        };
        match self.sidecar.leading(self.upstream) {
            Ok(leading) => {
                let row = |led: &LedTo| ModeExplanation {
                    target: target_name(led),
                    mode: mode(led.mode),
                    because: self.because(led, &leading.ladder),
                    dials: dials(led).to_owned(),
                    ..empty()
                };
                leading.targets.iter().map(row).collect()
            }
            Err(error) => vec![ModeExplanation { problem: told(&error), ..empty() }],
        }
    }

    fn name(self) -> String {
        let id = explain::upstreams(&self.sidecar.service).into_iter().find(|(_, it)| std::ptr::eq(*it, self.upstream));
        id.map(|(id, _)| names::upstream(&id)).unwrap_or_default()
    }

    /// The service that the upstream names.
    fn names(self) -> TargetService {
        let service = explain::named_by(&self.sidecar.service, self.upstream);
        let (peer, own) = (self.upstream.destination_peer.clone(), &self.sidecar.instance.place);
        let datacenter = match (peer.is_default(), self.upstream.datacenter.is_default()) {
            (false, _) => Datacenter::default(),
            (true, true) => own.datacenter.clone(),
            (true, false) => self.upstream.datacenter.clone(),
        };
        // Whatever else an upstream names, what is imported belongs to the partition that imports it.
        let partition = if peer.is_default() { service.partition } else { own.partition.clone() };
        let (name, namespace) = (service.name.to_string(), service.namespace);
        TargetService { name, namespace, partition, datacenter, peer }
    }

    /// The ladder also of an upstream that leads nowhere.
    fn ladder(self) -> Ladder {
        let state = engine::state(self.sidecar.reader, &[]);
        explain::ladder(&state, &self.sidecar.service, self.upstream)
    }

    fn rungs(self, ladder: &Ladder) -> Vec<RungExplanation> {
        let state = engine::state(self.sidecar.reader, &[]);
        let rung = |(number, rung): (usize, Rung)| {
            let (says, field) = rung_field(&state, &self.sidecar.service, self.upstream, rung);
            let mode = ladder.sources.get(rung);
            let status = match mode {
                None => "unset",
                Some(_) if ladder.winner == Some(rung) => "wins",
                Some(_) => "overridden",
            };
            // What a text means counts, not how it is written.
            let setting = Setting { value: self::mode(mode), ..self.sidecar.setting(&says, &field) };
            RungExplanation { rung: number, setting, status: status.to_owned() }
        };
        LADDER.into_iter().enumerate().rev().map(rung).collect()
    }

    /// The entries that were read to find out where the name leads.
    fn chain(self) -> Vec<Setting> {
        let reader = Reader::new(self.sidecar.reader.view());
        let Ok(leading) =
            self.sidecar.leading_in(&reader, (&self.sidecar.instance, &self.sidecar.service), self.upstream)
        else {
            return Vec::new();
        };
        let Some(scope) = leading.scope else { return Vec::new() };
        let reader = Reader::new(self.sidecar.reader.view());
        let _ = engine::discovery_chain(&reader, &scope);
        let view = self.sidecar.reader.view();
        let entries = reader.into_read_set().into_iter().filter_map(|key| {
            let Key::Entry(key) = key else { return None };
            view.entry(&key).map(|row| (key, row.modify_index))
        });
        let shown = entries.map(|(key, modify_index)| Setting {
            source: label(&key),
            partition: key.name.partition,
            field: String::new(),
            value: String::new(),
            modify_index,
            written: None,
        });
        shown.collect()
    }

    fn because(self, led: &LedTo, ladder: &Ladder) -> String {
        let rung = |rung: Rung| format!("{} ({})", rung as usize, rung);
        match (led.decision.map(|decision| decision.origin), &led.target) {
            (_, Led::Query(_)) => "prepared queries have no mode from central configuration".to_owned(),
            (Some(Origin::Caller(winner)), _) => rung(winner),
            (Some(Origin::TargetServiceDefaults), Led::Target(target)) => {
                format!("the target's service-defaults/{}, because 0-6 are all unset", target.service.name)
            }
            (Some(Origin::TargetProxyDefaults), _) => {
                "proxy-defaults of the target's partition, because nothing stronger is set".to_owned()
            }
            (Some(Origin::External), Led::Target(target)) => {
                format!("ExternalSNI of service-defaults/{} puts it outside of the mesh", target.service.name)
            }
            (Some(Origin::Unset), _) => "nothing sets one".to_owned(),
            (None, _) => ladder.winner.map_or_else(|| "nothing sets one".to_owned(), rung),
        }
    }

    fn target(self, led: &LedTo, ladder: &Ladder) -> TargetExplanation {
        let sidecar = self.sidecar;
        let state = engine::state(sidecar.reader, &sidecar.explainer.options.hosted);
        let (endpoints, omissions) = led.endpoints(&state);
        let behind = led.behind(&state).map(|(service, instances)| Behind {
            service: format!("{}/{}", service.datacenter, full(&service.service)),
            healthy: instances.iter().filter(|instance| is_healthy(instance)).count(),
            total: instances.len(),
            instances: instances.iter().map(endpoint).collect(),
        });
        let target_side = match &led.target {
            Led::Target(target) if target.peer.is_default() => {
                let external = explain::external_field(&target.service);
                let fields = explain::target_fields(&target.service).into_iter().chain([external]);
                fields.map(|(says, field)| sidecar.setting(&says, &field)).collect()
            }
            Led::Target(_) | Led::Query(_) => Vec::new(),
        };
        let (applies, why) = applies(led);
        TargetExplanation {
            target: target_name(led),
            service: target_service(led),
            cluster: names::cluster(&led.cluster),
            leg: led.leg,
            mode: mode(led.mode),
            because: self.because(led, ladder),
            target_side,
            applies,
            applies_because: why.to_owned(),
            dials: dials(led).to_owned(),
            gateways_of: led
                .gateways()
                .map(|place| format!("{}/{}", place.datacenter, place.partition))
                .unwrap_or_default(),
            addresses: addresses(led).to_owned(),
            sni: led.sni.to_string(),
            identities: led.identities.iter().map(ToString::to_string).collect(),
            endpoints: endpoints.iter().map(endpoint).collect(),
            behind,
            omissions: omissions.iter().map(ToString::to_string).collect(),
        }
    }

    /// Resolves again without a rung.
    fn without(self, rung: Rung, now: &[TargetExplanation]) -> Removal {
        let sidecar = self.sidecar;
        let state = engine::state(sidecar.reader, &[]);
        let (says, field) = rung_field(&state, &sidecar.service, self.upstream, rung);
        let row = match says {
            Says::Entry(key) => Row::Entry(key),
            Says::Registration => Row::Instance(sidecar.instance.clone()),
        };
        let number = rung as usize;
        let failed = |problem: String| Removal { rung: number, targets: Vec::new(), problem };
        let Some(view) = row.without(sidecar.reader.view(), &field) else {
            return failed(format!("{} cannot be without it", field));
        };
        let reader = Reader::new(&view);
        let Some(service) = view.service(&sidecar.instance).map(|row| row.value.clone()) else {
            return failed("the registration cannot be without it".to_owned());
        };
        let wanted = self.name();
        let upstreams = explain::upstreams(&service);
        let Some((_, upstream)) = upstreams.iter().find(|(id, _)| names::upstream(id) == wanted) else {
            return failed("the registration cannot be without it".to_owned());
        };
        let leading = match sidecar.leading_in(&reader, (&sidecar.instance, &service), upstream) {
            Ok(leading) => leading,
            Err(error) => return failed(told(&error)),
        };
        let state = engine::state(&reader, &sidecar.explainer.options.hosted);
        let target = |led: &LedTo| {
            let endpoints: Vec<_> =
                led.endpoints(&state).0.iter().map(|owned| shown(&owned.endpoint.address)).collect();
            let (target, mode, cluster) = (target_name(led), mode(led.mode), names::cluster(&led.cluster));
            let is_as_now = now.iter().any(|now| {
                let dialled: Vec<_> = now.endpoints.iter().map(|endpoint| &endpoint.address).collect();
                now.target == target
                    && now.cluster == cluster
                    && now.mode == mode
                    && dialled == endpoints.iter().collect::<Vec<_>>()
            });
            let because = self.because(led, &leading.ladder);
            RemovedTarget { target, cluster, mode, because, endpoints, changes: !is_as_now }
        };
        let targets = leading.targets.iter().map(target).collect();
        drop(state);
        // Whoever waits for news of this answer waits for news of that state too.
        sidecar.reader.note_all(&reader.into_read_set());
        Removal { rung: number, targets, problem: String::new() }
    }
}

/// What is particular about a ladder.
fn notes(ladder: &Ladder, upstream: &Upstream) -> Vec<String> {
    let is_set = |rung| ladder.sources.get(rung).is_some();
    let mut notes = Vec::new();
    if ladder.winner == Some(Rung::UpstreamOverride) && is_set(Rung::Instance) {
        notes.push("overrides of service-defaults beat the registration's Proxy.MeshGateway".to_owned());
    }
    if ladder.winner == Some(Rung::Instance) && is_set(Rung::UpstreamDefaults) {
        notes.push("the registration's Proxy.MeshGateway beats UpstreamConfig.Defaults of service-defaults".to_owned());
    }
    if ladder.winner == Some(Rung::OpaqueProxyDefaults) {
        notes.push("Config.mesh_gateway of proxy-defaults is a legacy key: use MeshGateway".to_owned());
    }
    if upstream.destination_type == crate::model::DestinationType::PreparedQuery {
        notes.push("prepared queries take nothing from proxy-defaults and service-defaults".to_owned());
    }
    notes
}

/// Whether a mode makes a difference, and why.
fn applies(led: &LedTo) -> (bool, &'static str) {
    match (&led.target, led.reach) {
        (Led::Query(_), _) => (false, "a prepared query is dialled directly"),
        (_, Reach::SamePlace) => (false, "same datacenter and partition: dialled directly whatever the mode"),
        (_, Reach::External) => (false, "outside of the mesh (ExternalSNI): dialled directly whatever the mode"),
        (_, Reach::OtherDatacenter) => (true, "different datacenter, not external, not a peer"),
        (_, Reach::OtherPartition) => (true, "different partition, not external, not a peer"),
        (_, Reach::Peer) => (true, "a peer: unset and none act as remote"),
    }
}

fn dials(led: &LedTo) -> &'static str {
    match led.route {
        Route::Direct => "instances",
        Route::LocalGateways => "local gateways",
        Route::RemoteGateways => "remote gateways",
    }
}

/// Which addresses are dialled, and why.
fn addresses(led: &LedTo) -> &'static str {
    match &led.found {
        Found::Named(_) => "wan (host names, looked up by Envoy)",
        Found::Sent(source) => match source {
            EndpointSource::Service { via: Via::Instances(form) | Via::Gateways(_, form), .. } => match form {
                AddressForm::Lan => "lan (same datacenter and partition)",
                AddressForm::Wan => "wan (from another datacenter or partition)",
            },
            EndpointSource::OwnGateways(_) => "lan (same datacenter and partition)",
            EndpointSource::Imported { .. } => "wan (as the peer tells them)",
            EndpointSource::Query { .. } => "lan in the own place, wan elsewhere",
            EndpointSource::RemoteGateways(_)
            | EndpointSource::FederatedGateways(_)
            | EndpointSource::Servers(..)
            | EndpointSource::PeerServers(_) => "wan (from another datacenter or partition)",
        },
    }
}

fn endpoint(owned: &Owned) -> EndpointExplanation {
    EndpointExplanation {
        address: shown(&owned.endpoint.address),
        instance: owned.owner.as_ref().map(|owner| owner.service.id.to_string()).unwrap_or_default(),
        node: owned.owner.as_ref().map(|owner| owner.node.node.to_string()).unwrap_or_default(),
        healthy: is_healthy(owned),
        failing: owned.failing(),
    }
}

/// True if Envoy sends it traffic.
pub(super) fn is_healthy(owned: &Owned) -> bool {
    owned.endpoint.health != Some(Health::Unhealthy)
}

fn target_name(led: &LedTo) -> String {
    match &led.target {
        Led::Target(target) => target.to_string(),
        Led::Query(query) => format!("prepared query {} of {}", query.name, query.place),
    }
}

fn target_service(led: &LedTo) -> TargetService {
    match &led.target {
        Led::Target(target) => TargetService {
            name: target.service.name.to_string(),
            namespace: target.service.namespace.clone(),
            partition: target.service.partition.clone(),
            datacenter: target.datacenter.clone(),
            peer: target.peer.clone(),
        },
        Led::Query(query) => TargetService {
            name: query.name.clone(),
            partition: query.place.partition.clone(),
            datacenter: query.place.datacenter.clone(),
            ..TargetService::default()
        },
    }
}

/// A service as `partition/namespace/name`.
pub(super) fn full(service: &ServiceName) -> String {
    format!("{}/{}/{}", service.partition, service.namespace, service.name)
}

fn mode(mode: Option<GatewayMode>) -> String {
    mode.map_or("", GatewayMode::as_str).to_owned()
}

fn shown(address: &SocketAddress) -> String {
    address.to_string()
}

fn told(error: &impl std::error::Error) -> String {
    text(&serde_json::Value::from(error.to_string()))
}
