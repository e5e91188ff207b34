//! What is wrong with a state although each of its parts is right: names that lead nowhere, gateways that are missed.
//!
//! Nothing here refuses a write. What is registered in which order must not matter, so an entry may well come before what it
//! speaks about; somebody who looks for a fault wants to know all the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Configuration;
use crate::model::{
    ConfigEntry, Datacenter, DestinationType, EntryKey, EntryKind, InstanceId, Namespace, Partition, PeerKey, PeerName,
    Place, ServiceKey, ServiceKind, ServiceName, says_wan,
};
use crate::store::View;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work.
    Problem,
    /// Something will not work, or not as it is meant, in some cases.
    Warning,
    /// Everything works; somebody may want to know it.
    Note,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LintFinding {
    /// How bad it is.
    pub severity: Severity,
    /// What sort of finding it is; never used for another one.
    pub id: &'static str,
    /// What it is about: one entry, service or place, or all the proxies that it is true of. There is at least one.
    pub subjects: BTreeSet<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl LintFinding {
    /// Those of a state, without what was true of the same subjects before.
    pub fn news(now: Vec<Self>, before: &[Self]) -> impl Iterator<Item = Self> {
        let mut known: BTreeMap<(&str, &str), BTreeSet<&String>> = BTreeMap::new();
        for finding in before {
            known.entry((finding.id, finding.what.as_str())).or_default().extend(&finding.subjects);
        }
        now.into_iter().filter_map(move |mut finding| {
            if let Some(known) = known.get(&(finding.id, finding.what.as_str())) {
                finding.subjects.retain(|subject| !known.contains(subject));
            }
            (!finding.subjects.is_empty()).then_some(finding)
        })
    }
}

/// What is wrong with a state and with what proxies have in it, the worst first.
pub fn lint(view: &View, configurations: &BTreeMap<InstanceId, Configuration>) -> Vec<LintFinding> {
    let mut lint = Lint { view, known: Known::of(view), found: BTreeSet::new() };
    for (key, row) in view.entries() {
        lint.entry(key, &row.value);
    }
    for (instance, row) in view.proxies() {
        if row.value.kind == ServiceKind::ConnectProxy {
            for upstream in &row.value.proxy.upstreams {
                lint.upstream(instance, &row.value.namespace, upstream);
            }
        }
    }
    lint.gateways();
    lint.proxies(configurations);
    lint.found.into_iter().collect()
}

/// What names stand for.
struct Known {
    /// Services with instances, anywhere.
    services: BTreeSet<ServiceName>,
    /// The same by datacenter.
    instances: BTreeSet<ServiceKey>,
    /// Names that resolvers, routers and splitters give a meaning.
    routed: BTreeSet<ServiceName>,
    /// All of these names, by how an SNI has them, in which case does not count.
    by_sni: BTreeMap<ServiceName, ServiceName>,
    peers: BTreeSet<PeerKey>,
    places: BTreeSet<Place>,
}

impl Known {
    fn of(view: &View) -> Self {
        let datacenters = view.datacenters().into_iter();
        let places: BTreeSet<_> = datacenters
            .flat_map(|datacenter| {
                let partitions = view.partitions(&datacenter).into_iter();
                partitions.map(move |partition| Place::new(&datacenter, &partition)).collect::<Vec<_>>()
            })
            .collect();
        let keys = |place| view.service_keys(place).chain(view.mesh_service_keys(place)).cloned().collect::<Vec<_>>();
        let instances: BTreeSet<_> = places.iter().flat_map(keys).collect();
        let routes =
            |kind| matches!(kind, EntryKind::ServiceResolver | EntryKind::ServiceRouter | EntryKind::ServiceSplitter);
        let defined = places.iter().flat_map(|place| {
            view.partition_definitions(&place.datacenter).map(|row| row.value.place()).collect::<Vec<_>>()
        });
        let defined: Vec<_> = defined.collect();
        let services: BTreeSet<_> = instances.iter().map(|key| key.service.clone()).collect();
        let routed: BTreeSet<_> =
            view.entries().filter(|(key, _)| routes(key.kind)).map(|(key, _)| key.name.clone()).collect();
        Self {
            by_sni: services.iter().chain(&routed).map(|name| (in_sni(name), name.clone())).collect(),
            services,
            routed,
            peers: places.iter().flat_map(|place| view.peerings(place)).map(|row| row.value.key()).collect(),
            places: places.into_iter().chain(defined).collect(),
            instances,
        }
    }

    fn is_known(&self, service: &ServiceName) -> bool {
        self.services.contains(service) || self.routed.contains(service)
    }

    fn has_instances(&self, datacenter: &Datacenter, service: &ServiceName) -> bool {
        if datacenter.as_str().is_empty() {
            return self.services.contains(service);
        }
        self.instances.contains(&ServiceKey { datacenter: datacenter.clone(), service: service.clone() })
    }

    fn knows_peer(&self, partition: &Partition, peer: &PeerName) -> bool {
        self.peers.iter().any(|key| key.name == *peer && key.place.partition == *partition)
    }

    fn knows_partition(&self, partition: &Partition) -> bool {
        self.places.iter().any(|place| place.partition == *partition)
    }
}

/// A name as Envoy compares it, where it is part of an SNI.
fn in_sni(service: &ServiceName) -> ServiceName {
    let ServiceName { partition, namespace, name } = service;
    let (partition, namespace) = (partition.as_str().to_lowercase(), namespace.as_str().to_lowercase());
    ServiceName::new(&partition.as_str().into(), &namespace.as_str().into(), &name.to_lowercase())
}

struct Lint<'v> {
    view: &'v View,
    known: Known,
    found: BTreeSet<LintFinding>,
}

/// A service as an entry names it, in the tenancy of the entry where it does not say one.
fn named(key: &EntryKey, name: &str, tenancy: (Option<&Partition>, Option<&Namespace>)) -> ServiceName {
    let (partition, namespace) = tenancy;
    let name = if name.is_empty() { &key.name.name } else { name };
    ServiceName::new(partition.unwrap_or(&key.name.partition), namespace.unwrap_or(&key.name.namespace), name)
}

impl Lint<'_> {
    fn find(&mut self, severity: Severity, id: &'static str, subject: impl ToString, (what, fix): (String, String)) {
        let subjects = BTreeSet::from([subject.to_string()]);
        self.found.insert(LintFinding { severity, id, subjects, what, fix });
    }

    fn entry(&mut self, key: &EntryKey, entry: &ConfigEntry) {
        match entry {
            ConfigEntry::ExportedServices(exports) => {
                for service in &exports.services {
                    self.export(key, service);
                }
            }
            ConfigEntry::ServiceIntentions(intentions) => {
                if &*key.name.name != "*" && !self.known.is_known(&key.name) {
                    let what = format!("nobody registers the service {} that it is about", key.name);
                    let fix = "register the service, or correct the name of the entry".to_owned();
                    self.find(Severity::Warning, "MG-INT-001", key, (what, fix));
                }
                for source in &intentions.sources {
                    let caller = named(key, &source.name, (source.partition.as_ref(), source.namespace.as_ref()));
                    let is_local = source.peer.as_str().is_empty() && source.name != "*";
                    if is_local && !self.known.services.contains(&caller) {
                        let what = format!("nobody registers the service {caller} whose calls it judges");
                        let fix = "register the service, or correct or remove the source".to_owned();
                        self.find(Severity::Warning, "MG-INT-002", key, (what, fix));
                    }
                }
            }
            ConfigEntry::ServiceResolver(resolver) => self.resolver(key, resolver),
            ConfigEntry::ServiceRouter(router) => {
                for destination in router.routes.iter().filter_map(|route| route.destination.as_ref()) {
                    let tenancy = (destination.partition.as_ref(), destination.namespace.as_ref());
                    self.destination(key, &named(key, &destination.service, tenancy));
                }
            }
            ConfigEntry::ServiceSplitter(splitter) => {
                for split in &splitter.splits {
                    let tenancy = (split.partition.as_ref(), split.namespace.as_ref());
                    self.destination(key, &named(key, &split.service, tenancy));
                }
            }
            ConfigEntry::ProxyDefaults(_)
            | ConfigEntry::ServiceDefaults(_)
            | ConfigEntry::Mesh(_)
            | ConfigEntry::IngressGateway(_)
            | ConfigEntry::TerminatingGateway(_) => {}
        }
    }

    fn export(&mut self, key: &EntryKey, service: &crate::model::entry::ExportedService) {
        let name = ServiceName::new(&key.name.partition, &service.namespace, &service.name);
        if service.name != "*" && !self.known.is_known(&name) {
            let what = format!("it exports {name}, and nobody registers that service");
            let fix = "register the service, or correct or remove the export".to_owned();
            self.find(Severity::Problem, "MG-EXP-001", key, (what, fix));
        }
        for consumer in &service.consumers {
            let peer = &consumer.peer;
            if !peer.as_str().is_empty() && !self.known.knows_peer(&key.name.partition, peer) {
                let what = format!("it exports {name} to the peer {peer}, and there is no such peering");
                let fix = format!("establish the peering {peer}, or correct the name of the consumer");
                self.find(Severity::Warning, "MG-EXP-002", key, (what, fix));
            }
            if let Some(partition) = consumer.partition.as_ref().filter(|it| !self.known.knows_partition(it)) {
                let what = format!("it exports {name} to the partition {partition}, and there is no such partition");
                let fix = "register something in the partition, or correct the name of the consumer".to_owned();
                self.find(Severity::Warning, "MG-EXP-003", key, (what, fix));
            }
        }
    }

    fn resolver(&mut self, key: &EntryKey, resolver: &crate::model::entry::ServiceResolver) {
        if let Some(redirect) = &resolver.redirect {
            let tenancy = (redirect.partition.as_ref(), redirect.namespace.as_ref());
            let target = named(key, &redirect.service, tenancy);
            let is_own = redirect.peer.as_str().is_empty();
            let leads_on = self.known.routed.contains(&target) && target != key.name;
            if is_own && !leads_on && !self.known.has_instances(&redirect.datacenter, &target) {
                let what = format!("it redirects to {target}{}, which has no instances", within(&redirect.datacenter));
                let fix = "register an instance there, or correct the redirect".to_owned();
                self.find(Severity::Problem, "MG-CFG-001", key, (what, fix));
            }
        }
        for (subset, failover) in &resolver.failover {
            let datacenters = failover.datacenters.iter();
            let legacy = datacenters.map(|datacenter| {
                (named(key, &failover.service, (None, failover.namespace.as_ref())), datacenter.clone())
            });
            let alone = failover.datacenters.is_empty() && failover.targets.is_empty();
            let alone = alone
                .then(|| (named(key, &failover.service, (None, failover.namespace.as_ref())), Datacenter::default()));
            let targets = failover.targets.iter().filter(|target| target.peer.as_str().is_empty()).map(|target| {
                let tenancy = (target.partition.as_ref(), target.namespace.as_ref());
                (named(key, &target.service, tenancy), target.datacenter.clone())
            });
            let legs: Vec<_> = legacy.chain(alone).chain(targets).collect();
            for (target, datacenter) in legs {
                if !self.known.has_instances(&datacenter, &target) {
                    let what = format!(
                        "the failover of {subset:?} leads to {target}{}, which has no instances",
                        within(&datacenter)
                    );
                    let fix = "register an instance there, or correct the failover".to_owned();
                    self.find(Severity::Warning, "MG-CFG-002", key, (what, fix));
                }
            }
        }
        for subset in resolver.subsets.keys() {
            let dotted = ServiceName { name: format!("{subset}.{}", key.name.name).into(), ..key.name.clone() };
            if let Some(dotted) = self.known.by_sni.get(&in_sni(&dotted)) {
                let what = format!(
                    "its subset {subset:?} and the service {dotted} have the same SNI, so that gateways take one for the other"
                );
                let fix = "give the subset or the service another name".to_owned();
                self.find(Severity::Problem, "MG-SNI-001", key, (what, fix));
            }
        }
    }

    fn destination(&mut self, key: &EntryKey, target: &ServiceName) {
        if !self.known.is_known(target) {
            let what = format!("it leads to {target}, and nobody registers that service");
            let fix = "register the service, or correct the entry".to_owned();
            self.find(Severity::Problem, "MG-CFG-003", key, (what, fix));
        }
    }

    fn upstream(&mut self, instance: &InstanceId, namespace: &Namespace, upstream: &crate::model::Upstream) {
        let is_local = upstream.destination_peer.as_str().is_empty();
        if !is_local || upstream.destination_type == DestinationType::PreparedQuery {
            return;
        }
        let partition = upstream.destination_partition.as_ref().unwrap_or(&instance.place.partition);
        let namespace = upstream.destination_namespace.as_ref().unwrap_or(namespace);
        let target = ServiceName::new(partition, namespace, &upstream.destination_name);
        let datacenter =
            if upstream.datacenter.as_str().is_empty() { &instance.place.datacenter } else { &upstream.datacenter };
        if !self.known.routed.contains(&target) && !self.known.has_instances(datacenter, &target) {
            let what = format!("its upstream {target} has no instances{}", within(datacenter));
            let fix = "register the service there, or correct the upstream".to_owned();
            self.find(Severity::Warning, "MG-CFG-004", instance, (what, fix));
        }
    }

    /// Other places come in at the WAN address.
    fn gateways(&mut self) {
        let places: Vec<_> = self.known.places.iter().cloned().collect();
        if places.len() < 2 {
            return;
        }
        for place in &places {
            let gateways = self.view.mesh_gateways(place);
            let has_wan = |it: &crate::store::Instance| says_wan(&it.service.value, &it.node.value);
            if !gateways.is_empty() && !gateways.iter().any(has_wan) {
                let what = "none of its mesh gateways says a WAN address, so that other places dial the LAN address";
                let fix = "register the gateways with `meshgate connect envoy -gateway mesh -register -wan-address host:port`";
                self.find(Severity::Warning, "MG-GW-002", place, (what.to_owned(), fix.to_owned()));
            }
        }
    }

    /// What proxies go without, each once for all that do.
    fn proxies(&mut self, configurations: &BTreeMap<InstanceId, Configuration>) {
        let mut by_problem: BTreeMap<&str, Vec<&InstanceId>> = BTreeMap::new();
        for (instance, configuration) in configurations.iter().filter(|(_, it)| it.is_registered) {
            for problem in &configuration.problems {
                by_problem.entry(problem).or_default().push(instance);
            }
        }
        for (problem, instances) in by_problem {
            let (id, fix) = if problem.contains("mesh gateway") {
                ("MG-GW-001", "start a mesh gateway in that place, or set another gateway mode")
            } else {
                ("MG-XDS-001", "correct the registration or entry that it names")
            };
            let subjects = instances.into_iter().map(ToString::to_string).collect();
            let (what, fix) = (problem.to_owned(), fix.to_owned());
            self.found.insert(LintFinding { severity: Severity::Problem, id, subjects, what, fix });
        }
    }
}

fn within(datacenter: &Datacenter) -> String {
    if datacenter.as_str().is_empty() { String::new() } else { format!(" in {datacenter}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &'static str, what: &str, subjects: &[&str]) -> LintFinding {
        let subjects = subjects.iter().map(ToString::to_string).collect();
        LintFinding { severity: Severity::Problem, id, subjects, what: what.to_owned(), fix: String::new() }
    }

    #[test]
    fn what_is_true_of_a_subject_already_is_no_news() {
        let before = [finding("MG-XDS-001", "a", &["api", "web"]), finding("MG-CFG-003", "b", &["router"])];
        let now = vec![
            finding("MG-XDS-001", "a", &["api", "shop", "web"]),
            finding("MG-CFG-003", "b", &["router"]),
            finding("MG-CFG-003", "c", &["router"]),
        ];
        let news: Vec<_> = LintFinding::news(now, &before).collect();

        assert_eq!(news, [finding("MG-XDS-001", "a", &["shop"]), finding("MG-CFG-003", "c", &["router"])]);
        let less = vec![finding("MG-XDS-001", "a", &["web"])];
        assert_eq!(LintFinding::news(less, &before).count(), 0);
    }
}
