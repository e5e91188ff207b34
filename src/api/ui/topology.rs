//! `service-topology/:s`: whom a service calls and who calls it, and what intentions say about it.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;

use super::summary::{EXTERNAL_SOURCE, Subject, Summaries, Summary};
use crate::api::call::Call;
use crate::api::catalog::{bound_to, bound_to_all};
use crate::api::chain::{ChainOverrides, CompiledChain};
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::intentions::deciding;
use crate::api::route::Tail;
use crate::model::{
    DestinationType, EntryKey, EntryKind, IntentionAction, PeerKey, ProxyMode, Service, ServiceKey, ServiceKind,
    ServiceName, Upstream,
};
use crate::store::{Instance, Reader};

/// The kinds of entries that lead a name elsewhere.
const ROUTING: [EntryKind; 3] = [EntryKind::ServiceRouter, EntryKind::ServiceSplitter, EntryKind::ServiceResolver];

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Topology {
    protocol: String,
    transparent_proxy: bool,
    upstreams: Vec<Neighbour>,
    downstreams: Vec<Neighbour>,
    #[serde(rename = "FilteredByACLs")]
    filtered_by_acls: bool,
}

/// A service that calls or is called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Neighbour {
    #[serde(flatten)]
    summary: Summary,
    source: Source,
    intention: Decision,
}

/// Why a service is a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    /// A proxy or gateway names it.
    ProxyRegistration,
    /// It is named, and has no instances: entries lead its name elsewhere.
    RoutingConfig,
    /// The caller dials whatever it likes, and an intention about just these two lets it.
    SpecificIntention,
    /// The same by an intention with a wildcard.
    WildcardIntention,
    /// The same, and no intention speaks about them.
    DefaultAllow,
}

/// What intentions say about calls.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decision {
    default_allow: bool,
    /// Every call passes; those that permissions judge one by one do not count.
    allowed: bool,
    has_permissions: bool,
    external_source: String,
    has_exact: bool,
    #[serde(skip)]
    is_default: bool,
}

impl Decision {
    /// Why two who need no registration to call each other are neighbours, if they are.
    fn source(&self) -> Option<Source> {
        match (self.allowed || self.has_permissions, self.is_default, self.has_exact) {
            (false, _, _) => None,
            (true, true, _) => Some(Source::DefaultAllow),
            (true, false, true) => Some(Source::SpecificIntention),
            (true, false, false) => Some(Source::WildcardIntention),
        }
    }
}

pub(super) async fn topology(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let own = call.scope.clone().in_namespace(None)?.service(&tail.required("service name")?);
    let kind = match call.query.get("kind").ok_or(ApiError::Missing("service kind"))? {
        "" => ServiceKind::Typical,
        "ingress-gateway" => ServiceKind::IngressGateway,
        "api-gateway" => ServiceKind::ApiGateway,
        other => {
            let expected = "expected nothing, ingress-gateway or api-gateway";
            return Err(ApiError::InvalidParameter { name: "kind", value: other.to_owned(), expected });
        }
    };
    let topology = |reader: &Reader<'_>| {
        let view = Neighbourhood { call: &call, reader, own: &own };
        Ok(if kind.is_gateway() { view.of_gateway() } else { view.of_service() })
    };
    call.read(Filtered::Nothing, topology).await
}

/// The services around one.
struct Neighbourhood<'a> {
    call: &'a Call,
    reader: &'a Reader<'a>,
    own: &'a ServiceKey,
}

/// The neighbours on one side.
type Side = BTreeMap<(ServiceKey, Subject), Source>;

impl Neighbourhood<'_> {
    /// A gateway leads to what is bound to it, and nobody in the mesh calls it.
    fn of_gateway(&self) -> Topology {
        let bound = bound_to(self.reader, &self.call.scope.place, &self.own.service);
        let is_http = |protocol: &&str| !matches!(*protocol, "" | "tcp");
        let protocol = bound.iter().map(|bound| bound.protocol()).find(is_http).unwrap_or("tcp").to_owned();
        let named = bound.iter().map(|bound| (self.here(bound.service()), Source::ProxyRegistration));
        let upstreams = self.neighbours(named.collect(), |upstream| self.decision(&self.own.service, upstream));
        Topology { protocol, transparent_proxy: false, upstreams, downstreams: Vec::new(), filtered_by_acls: false }
    }

    fn of_service(&self) -> Topology {
        let sidecars = self.sidecars(self.own);
        let is_transparent = all_transparent(&sidecars);
        let mut upstreams = Side::new();
        for upstream in sidecars.iter().flat_map(|(upstreams, _)| upstreams) {
            let (key, subject) = self.named(upstream);
            let source = self.source_of(&key, &subject);
            upstreams.insert((key, subject), source);
        }
        let mut downstreams = self.downstreams();
        for other in self.reader.mesh_service_keys(&self.call.scope.place).filter(|other| *other != self.own) {
            if is_transparent && let Some(source) = self.decision(&self.own.service, &other.service).source() {
                upstreams.entry(self.here(&other.service)).or_insert(source);
            }
            let here = self.here(&other.service);
            if !downstreams.contains_key(&here)
                && all_transparent(&self.sidecars(other))
                && let Some(source) = self.decision(&other.service, &self.own.service).source()
            {
                downstreams.insert(here, source);
            }
        }
        Topology {
            protocol: self.chain(self.own).map_or_else(|| "tcp".to_owned(), |chain| chain.protocol.to_owned()),
            transparent_proxy: is_transparent,
            upstreams: self.neighbours(upstreams, |upstream| self.decision(&self.own.service, upstream)),
            downstreams: self.neighbours(downstreams, |downstream| self.decision(downstream, &self.own.service)),
            filtered_by_acls: false,
        }
    }

    /// Who names this service, or another one that entries lead to it.
    fn downstreams(&self) -> Side {
        let place = &self.call.scope.place;
        let mut leads_here: BTreeMap<ServiceKey, bool> = BTreeMap::new();
        let mut leads = |key: &ServiceKey| *leads_here.entry(key.clone()).or_insert_with(|| self.leads_here(key));
        let mut found = Side::new();
        for other in self.reader.mesh_service_keys(place).filter(|other| *other != self.own) {
            let upstreams = self.sidecars(other).into_iter().flat_map(|(upstreams, _)| upstreams);
            let mut named = upstreams.filter(|upstream| upstream.destination_peer.is_default());
            if named.any(|upstream| leads(&self.named(&upstream).0)) {
                found.insert(self.here(&other.service), Source::ProxyRegistration);
            }
        }
        for bound in bound_to_all(self.reader, place) {
            let ((key, _), gateway) = (self.here(bound.service()), self.here(bound.gateway()));
            if leads(&key) && !self.reader.instances_named(&gateway.0).is_empty() {
                found.insert(gateway, Source::ProxyRegistration);
            }
        }
        found
    }

    /// What each sidecar of a service dials, and whether it is in transparent mode.
    fn sidecars(&self, service: &ServiceKey) -> Vec<(Vec<Upstream>, ProxyMode)> {
        let instances = self.reader.endpoints(service).into_iter().map(|instance| instance.service.value);
        let sidecars = instances.filter(|service| service.kind == ServiceKind::ConnectProxy);
        let effective = |service: std::sync::Arc<Service>| {
            let proxy = self.call.effective(self.reader, &service);
            // What config entries say about a service does not mean that somebody calls it.
            let is_dialled = |upstream: &Upstream| {
                upstream.destination_type == DestinationType::Service && !upstream.centrally_configured
            };
            (proxy.upstreams.into_iter().filter(is_dialled).collect(), proxy.mode)
        };
        sidecars.map(effective).collect()
    }

    /// What an upstream of this service, or of one beside it, names.
    fn named(&self, upstream: &Upstream) -> (ServiceKey, Subject) {
        let own = &self.own.service;
        let partition = upstream.destination_partition.as_ref().unwrap_or(&own.partition);
        let namespace = upstream.destination_namespace.as_ref().unwrap_or(&own.namespace);
        let service = ServiceName::new(partition, namespace, &upstream.destination_name);
        let is_here = upstream.datacenter.is_default();
        let datacenter = if is_here { self.own.datacenter.clone() } else { upstream.datacenter.clone() };
        let subject = Subject { service: service.clone(), peer: upstream.destination_peer.clone() };
        (ServiceKey { datacenter, service }, subject)
    }

    fn here(&self, service: &ServiceName) -> (ServiceKey, Subject) {
        let key = ServiceKey { datacenter: self.own.datacenter.clone(), service: service.clone() };
        (key, Subject::here(service))
    }

    fn source_of(&self, key: &ServiceKey, subject: &Subject) -> Source {
        let name = &key.service;
        let is_led =
            || ROUTING.iter().any(|kind| self.reader.entry(&EntryKey { kind: *kind, name: name.clone() }).is_some());
        if self.instances(key, subject).is_empty() && is_led() {
            Source::RoutingConfig
        } else {
            Source::ProxyRegistration
        }
    }

    fn leads_here(&self, key: &ServiceKey) -> bool {
        let own = &self.own.service;
        let chain = self.chain(key);
        let mut targets = chain.iter().flat_map(|chain| chain.targets.values());
        targets.any(|target| {
            target.peer.is_default()
                && target.datacenter == self.own.datacenter
                && ServiceName::new(&target.partition, &target.namespace, &target.service) == *own
        })
    }

    /// The chain of a name; `None` where entries contradict each other.
    fn chain(&self, key: &ServiceKey) -> Option<CompiledChain> {
        self.call.api.chains.compile(self.reader, key, &ChainOverrides::default()).ok()
    }

    fn instances(&self, key: &ServiceKey, subject: &Subject) -> Vec<Instance> {
        if subject.peer.is_default() {
            return self.call.with_sidecars(self.reader, key);
        }
        let peer = PeerKey::new(&self.call.scope.place, &subject.peer);
        let rows = self.reader.imported_from(&peer).filter(|row| {
            row.value.name() == key.service || row.value.mesh_destination().as_ref() == Some(&key.service)
        });
        rows.map(Instance::from).collect()
    }

    /// The rows of one side. A name without instances has one only if entries lead it elsewhere.
    fn neighbours(&self, side: Side, decision: impl Fn(&ServiceName) -> Decision) -> Vec<Neighbour> {
        let row = |((key, subject), source): ((ServiceKey, Subject), Source)| {
            let mut summaries = Summaries::default();
            self.call.summarize(self.reader, &mut summaries, &self.instances(&key, &subject));
            if source == Source::RoutingConfig {
                summaries.row(&subject, &key.datacenter);
            }
            let own = summaries.into_rows().find(|(of, _)| *of == subject);
            own.map(|(_, summary)| Neighbour { summary, source, intention: decision(&subject.service) })
        };
        side.into_iter().filter_map(row).collect()
    }

    fn decision(&self, source: &ServiceName, destination: &ServiceName) -> Decision {
        let default = IntentionAction::from(self.call.api.options.default_intention_policy);
        let deciding = deciding(self.reader, source, destination);
        let empty = Decision {
            default_allow: default == IntentionAction::Allow,
            allowed: default == IntentionAction::Allow,
            has_permissions: false,
            external_source: String::new(),
            has_exact: false,
            is_default: true,
        };
        let Some(intention) = deciding else { return empty };
        Decision {
            allowed: intention.action == IntentionAction::Allow.as_str(),
            has_permissions: !intention.permissions.is_empty(),
            external_source: intention.meta.get(EXTERNAL_SOURCE).cloned().unwrap_or_default(),
            has_exact: intention.source_name != "*" && intention.destination_name != "*",
            is_default: false,
            ..empty
        }
    }
}

/// True if there are sidecars, all of which take whatever their application dials.
fn all_transparent(sidecars: &[(Vec<Upstream>, ProxyMode)]) -> bool {
    !sidecars.is_empty() && sidecars.iter().all(|(_, mode)| *mode == ProxyMode::Transparent)
}
