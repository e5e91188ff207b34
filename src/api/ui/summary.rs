//! A service in one row: what its instances have in common, and how many checks are in which state.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::api::call::Call;
use crate::model::{
    CheckId, CheckStatus, Datacenter, Namespace, NodeName, Partition, PeerName, Proxy, ProxyMode, Service, ServiceKey,
    ServiceKind, ServiceName, is_default,
};
use crate::store::{Instance, Reader, Stored};

/// The fact by which a registrar says who it is.
pub(super) const EXTERNAL_SOURCE: &str = "external-source";

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    /// The service.
    pub(super) service: ServiceName,
    /// The peer that exports it; empty for what is registered here.
    pub(super) peer: PeerName,
}

impl Subject {
    /// A service that is registered here.
    pub(super) fn here(service: &ServiceName) -> Self {
        Self { service: service.clone(), peer: PeerName::default() }
    }

    /// The service of this name beside an instance: of the same peer, if it is one's.
    fn beside(service: ServiceName, instance: &Service) -> Self {
        Self { service, peer: instance.peer_name.clone() }
    }
}

/// A service and its instances.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    /// What its instances are; empty for one that has none.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) kind: ServiceKind,
    name: String,
    datacenter: Datacenter,
    tags: BTreeSet<String>,
    nodes: BTreeSet<NodeName>,
    external_sources: BTreeSet<String>,
    /// How many instances it has; none if it is known from its proxies or an entry alone.
    pub(super) instance_count: usize,
    checks_passing: usize,
    checks_warning: usize,
    checks_critical: usize,
    /// How it stands to gateways.
    pub(super) gateway_config: GatewayConfig,
    /// All its proxies are in transparent mode, of which there are some.
    pub(super) transparent_proxy: bool,
    connect_native: bool,
    #[serde(skip_serializing_if = "is_default")]
    peer_name: PeerName,
    #[serde(skip_serializing_if = "is_default")]
    namespace: Namespace,
    #[serde(skip_serializing_if = "is_default")]
    partition: Partition,
    /// Some proxy stands before it.
    #[serde(skip)]
    pub(super) has_proxy: bool,
    /// A check of a node judges all instances there, and counts once.
    #[serde(skip)]
    checks: BTreeMap<(NodeName, CheckId), CheckStatus>,
}

/// How a service stands to gateways.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GatewayConfig {
    /// Services behind it, if it is a gateway.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) associated_service_count: usize,
    /// Where it is reached from outside of the mesh.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) addresses: BTreeSet<String>,
}

/// The rows that are being made, by what they are about.
#[derive(Debug, Default)]
pub(super) struct Summaries(BTreeMap<Subject, Summary>);

impl Summaries {
    /// The row of a service, an empty one if there is none yet.
    pub(super) fn row(&mut self, subject: &Subject, datacenter: &Datacenter) -> &mut Summary {
        self.0.entry(subject.clone()).or_insert_with(|| Summary {
            name: subject.service.name.to_string(),
            datacenter: datacenter.clone(),
            peer_name: subject.peer.clone(),
            namespace: subject.service.namespace.clone(),
            partition: subject.service.partition.clone(),
            ..Summary::default()
        })
    }

    /// What there are rows about.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.0.keys().map(|subject| &subject.service)
    }

    /// Counts an instance, and a proxy for the service that it stands before too. `mode` is that of a proxy.
    pub(super) fn add(&mut self, instance: &Instance, mode: ProxyMode) {
        let service = &*instance.service.value;
        let datacenter = &instance.node.value.datacenter;
        if service.kind == ServiceKind::ConnectProxy
            && let Some(destination) = service.mesh_destination()
        {
            self.row(&Subject::beside(destination, service), datacenter).add_proxy(instance, mode);
        }
        self.row(&Subject::beside(service.full_name(), service), datacenter).add(instance);
    }

    /// The rows, sorted by name, those that are registered here before those of peers.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (Subject, Summary)> {
        self.0.into_iter().map(|(subject, summary)| (subject, summary.counted()))
    }
}

impl Summary {
    fn add(&mut self, instance: &Instance) {
        let service = &*instance.service.value;
        self.kind = service.kind;
        self.instance_count += 1;
        self.connect_native |= service.connect.native;
        self.tags.extend(service.tags.iter().cloned());
        self.nodes.insert(instance.node.value.node.clone());
        let source = service.meta.get(EXTERNAL_SOURCE).filter(|source| !source.is_empty());
        self.external_sources.extend(source.cloned());
        self.add_checks(instance);
    }

    /// One proxy that others cannot be redirected to is enough to warn about.
    fn add_proxy(&mut self, instance: &Instance, mode: ProxyMode) {
        let is_transparent = mode == ProxyMode::Transparent;
        self.transparent_proxy = is_transparent && (self.transparent_proxy || !self.has_proxy);
        self.has_proxy = true;
        self.add_checks(instance);
    }

    fn add_checks(&mut self, instance: &Instance) {
        let check = |row: &Stored<crate::model::Check>| {
            ((row.value.node.clone(), row.value.check_id.clone()), row.value.status)
        };
        self.checks.extend(instance.checks.iter().map(check));
    }

    fn counted(mut self) -> Self {
        let mut tally = Tally::default();
        self.checks.values().for_each(|status| tally.count(*status));
        let Tally { passing, warning, critical } = tally;
        (self.checks_passing, self.checks_warning, self.checks_critical) = (passing, warning, critical);
        self
    }
}

/// How many are in which state.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tally {
    passing: usize,
    warning: usize,
    critical: usize,
}

impl Tally {
    pub(super) fn count(&mut self, status: CheckStatus) {
        match status {
            CheckStatus::Passing => self.passing += 1,
            CheckStatus::Warning => self.warning += 1,
            CheckStatus::Critical | CheckStatus::Maintenance => self.critical += 1,
        }
    }
}

impl Call {
    /// The proxy block of an instance as config entries make it. Those of peers' services are not ours to change.
    pub(super) fn effective(&self, reader: &Reader<'_>, service: &Service) -> Proxy {
        if service.is_proxy() && service.peer_name.is_default() {
            return self.api.central.merged(reader, &self.scope.place, service);
        }
        service.proxy.clone()
    }

    /// Counts instances, with the modes that config entries give to proxies.
    pub(super) fn summarize(&self, reader: &Reader<'_>, summaries: &mut Summaries, instances: &[Instance]) {
        for instance in instances {
            let service = &*instance.service.value;
            let is_sidecar = service.kind == ServiceKind::ConnectProxy;
            let mode = if is_sidecar { self.effective(reader, service).mode } else { ProxyMode::Unset };
            summaries.add(instance, mode);
        }
    }

    /// The instances of a service and the sidecars before them, wherever they are.
    pub(super) fn with_sidecars(&self, reader: &Reader<'_>, service: &ServiceKey) -> Vec<Instance> {
        let sidecars = reader.endpoints(service).into_iter();
        let sidecars = sidecars.filter(|instance| instance.service.value.kind == ServiceKind::ConnectProxy);
        reader.instances_named(service).into_iter().chain(sidecars).collect()
    }
}
