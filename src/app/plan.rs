//! What a change would do, answered by the code that configures Envoy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::api::{
    AffectedProxy, Detail, Failure, Field, Plan, PlanError, PlannedImpact, PlannedProxies, PlannedResource, Planner,
    RowChange, Simulation, Tested, TrialError, TrialQuestion, Tried, Unchanged,
};
use crate::engine::{self, Configuration, Engine, LintFinding, Offline, Severity};
use crate::envoy::change::{Comparer, Effect, FieldChange, Impact, ResourceChange, differing};
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::model::{Check, EntryKey, InstanceId, Problems, Service};
use crate::store::{Guard, Key, Op, Outcome, View, Write};

use super::lint::{finding, findings};
use super::simulate::simulated;

/// Most findings of a plan that are told.
const MOST_FINDINGS: usize = 500;

/// Most filter chains that a finding names.
const MOST_CHAINS: usize = 5;

/// Plans with the configurations of an engine.
pub struct Changes {
    engine: Engine,
    /// Of its own: that of the store remembers what it last judged.
    guard: Guard,
}

impl Changes {
    /// What changes do to the proxies of this engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine, guard: engine::guard() }
    }

    /// Computes something from the configurations as they are and the proxies that are connected.
    async fn computed<T: Send + 'static>(
        &self,
        compute: impl FnOnce(Offline, Streams) -> T + Send + 'static,
    ) -> Result<T, PlanError> {
        let offline = self.engine.offline().await.ok_or(PlanError::NoEngine)?;
        let streams = self.engine.proxies().into_iter();
        let streams = streams.map(|report| (report.instance, report.envoy_version)).collect();
        let made = tokio::task::spawn_blocking(move || compute(offline, streams));
        made.await.map_err(|error| PlanError::Failed(error.into()))
    }
}

/// The proxies with a stream, with Envoy's version as it says it.
pub(super) type Streams = BTreeMap<InstanceId, String>;

impl Planner for Changes {
    fn tried(&self, view: &View, write: &Write) -> Result<(Outcome, View), Problems> {
        write.tried(view, &self.guard)
    }

    fn plan(&self, tried: Tried, detail: Detail) -> BoxFuture<'_, Result<Plan, PlanError>> {
        self.computed(move |offline, streams| {
            let Tried { before, after, ops, is_changed } = tried;
            Plan {
                index: before.index(),
                changed: is_changed,
                changes: rows(&before, &after, &ops),
                ..Planned::new(offline, &before, &after, &BTreeSet::new()).told(&streams, detail)
            }
        })
        .boxed()
    }

    fn try_out(&self, asked: TrialQuestion) -> BoxFuture<'_, Result<Option<Box<dyn Tested>>, TrialError>> {
        super::trial::tried(&self.engine, asked).boxed()
    }

    fn simulate(&self, failure: Failure) -> BoxFuture<'_, Result<Simulation, PlanError>> {
        self.computed(move |offline, streams| simulated(offline, &streams, &failure)).boxed()
    }
}

/// What becomes of proxies.
pub(super) struct Planned {
    /// The configurations before.
    pub(super) before: BTreeMap<InstanceId, Configuration>,
    /// The configurations after.
    pub(super) after: BTreeMap<InstanceId, Configuration>,
    total: usize,
    /// Registered proxies whose configuration is made from something that changes, and comes out the same.
    same: usize,
    changes: BTreeMap<InstanceId, ProxyChange>,
    /// Proxies that are registered no longer.
    gone: Vec<InstanceId>,
    /// What is newly wrong with the state.
    findings: Vec<LintFinding>,
}

/// What becomes of one proxy.
struct ProxyChange {
    resources: Vec<Arc<ResourceChange>>,
    problems: Vec<String>,
}

fn changed(comparer: &mut Comparer, old: Option<&Snapshot>, new: Option<&Snapshot>) -> Vec<Arc<ResourceChange>> {
    let Some(new) = new else { return Vec::new() };
    match old {
        Some(old) => comparer.changes(old, new),
        None => comparer.changes(&Snapshot::default(), new),
    }
}

impl Planned {
    /// What becomes of all proxies, apart from those in `left_out`.
    pub(super) fn new(
        mut offline: Offline,
        before: &Arc<View>,
        after: &Arc<View>,
        left_out: &BTreeSet<InstanceId>,
    ) -> Self {
        // The engine may be a commit away.
        offline.advance(before.clone());
        let keys: Vec<&Key> = after.changed_since(before).collect();
        let mut readers = offline.readers_of(&keys);
        let old = offline.configurations();
        let known = findings(before, &offline);
        offline.advance(after.clone());
        readers.extend(offline.readers_of(&keys));
        let new = offline.configurations();
        let (mut comparer, none) = (Comparer::default(), Configuration::default());
        let findings = LintFinding::news(findings(after, &offline), &known).collect();
        let (mut total, mut same, mut changes, mut gone) = (0, 0, BTreeMap::new(), Vec::new());
        for (instance, configuration) in new.iter().filter(|(instance, _)| !left_out.contains(instance)) {
            let had = old.get(instance).unwrap_or(&none);
            if !configuration.is_registered && !had.is_registered {
                continue;
            }
            total += 1;
            if !configuration.is_registered {
                gone.push(instance.clone());
                continue;
            }
            let resources = changed(&mut comparer, had.snapshot.as_deref(), configuration.snapshot.as_deref());
            let problems = configuration.problems.iter().filter(|problem| !had.problems.contains(problem));
            let change = ProxyChange { resources, problems: problems.cloned().collect() };
            if !change.resources.is_empty() || !change.problems.is_empty() {
                changes.insert(instance.clone(), change);
            } else if readers.contains(instance) {
                same += 1;
            }
        }
        Self { before: old, after: new, total, same, changes, gone, findings }
    }

    /// The plan, without the change itself.
    pub(super) fn told(self, streams: &Streams, detail: Detail) -> Plan {
        let mut impacts: BTreeMap<Impact, (usize, usize)> = BTreeMap::new();
        for change in self.changes.values() {
            let mut of_proxy: BTreeMap<Impact, usize> = BTreeMap::new();
            change.resources.iter().for_each(|resource| *of_proxy.entry(resource.impact).or_default() += 1);
            for (impact, resources) in of_proxy {
                let (proxies, all) = impacts.entry(impact).or_default();
                *proxies += 1;
                *all += resources;
            }
        }
        let (affected, gone) = (self.changes.len(), self.gone.len());
        let unchanged = [
            ("nothing that they are made from changes", self.total - affected - gone - self.same),
            ("what changes makes no difference for them", self.same),
            ("they are registered no longer, and keep what they have", gone),
        ];
        let unchanged = unchanged.into_iter().filter(|(_, proxies)| *proxies > 0);
        let proxies = PlannedProxies {
            total: self.total,
            affected,
            connected: self.changes.keys().filter(|instance| streams.contains_key(instance)).count(),
            unchanged: unchanged.map(|(reason, proxies)| Unchanged { reason: reason.to_owned(), proxies }).collect(),
        };
        let impact = |(impact, (proxies, resources)): (Impact, (usize, usize))| PlannedImpact {
            impact: impact.name().to_owned(),
            proxies,
            resources,
            effect: impact.effect().name().to_owned(),
            description: impact.description().to_owned(),
        };
        let shown = self.changes.iter().take(detail.proxies);
        let shown = shown.map(|(instance, change)| proxy(instance, change, streams.get(instance), detail));
        let shown: Vec<_> = shown.collect();
        let mut findings = self.findings();
        let more_findings = findings.len().saturating_sub(MOST_FINDINGS);
        // What would not work comes first.
        findings.truncate(MOST_FINDINGS);
        Plan {
            index: 0,
            changed: false,
            changes: Vec::new(),
            proxies,
            impacts: impacts.into_iter().map(impact).collect(),
            more_affected: affected - shown.len(),
            affected: shown,
            findings: findings.into_iter().map(finding).collect(),
            more_findings,
        }
    }

    /// What is newly wrong with the state, and what the change itself does that somebody should know before; the worst
    /// first.
    fn findings(self) -> Vec<LintFinding> {
        // What proxies would go without is told with the state.
        let mut by_proxies: BTreeMap<(Sort, String), BTreeSet<String>> = BTreeMap::new();
        for (instance, change) in &self.changes {
            let mut find = |sort, what| by_proxies.entry((sort, what)).or_default().insert(instance.to_string());
            for resource in &change.resources {
                if loses_endpoints(resource) {
                    find(LOST, format!("cluster {} would have no endpoints", resource.name));
                }
                if resource.impact.effect() == Effect::Drained {
                    let (name, chains) = (&resource.name, chains(resource));
                    find(DRAINED, format!("open connections of listener {name} are drained ({chains})"));
                }
            }
            for (old, new) in renamed(&change.resources) {
                find(RENAMED, format!("cluster {old} is replaced by {new}, with statistics of its own"));
            }
        }
        let of_proxies = by_proxies.into_iter().map(|((Sort { severity, id, fix }, what), subjects)| LintFinding {
            severity,
            id,
            subjects,
            what,
            fix: fix.to_owned(),
        });
        self.findings.into_iter().chain(of_proxies).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What a change does to proxies that somebody should know before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    severity: Severity,
    id: &'static str,
    fix: &'static str,
}

const LOST: Sort = Sort {
    severity: Severity::Problem,
    id: "MG-PLAN-001",
    fix: "register an instance or a gateway that it can lead to first (`meshgate lint` tells of gateways)",
};
const DRAINED: Sort = Sort {
    severity: Severity::Warning,
    id: "MG-PLAN-002",
    fix: "apply it when long TCP sessions may end, or start Envoy with a longer --drain-time-s",
};
const RENAMED: Sort =
    Sort { severity: Severity::Note, id: "MG-PLAN-003", fix: "look at dashboards and alerts that name the cluster" };

fn chains(resource: &ResourceChange) -> String {
    match (resource.impact, resource.drained.as_slice()) {
        (Impact::ListenerDrained, _) => "all of them".to_owned(),
        (_, [one]) => format!("filter chain {one}"),
        (_, some) if some.len() <= MOST_CHAINS => format!("filter chains {}", some.join(", ")),
        (_, many) => {
            let named: Vec<_> = many.iter().take(MOST_CHAINS).map(String::as_str).collect();
            format!("filter chains {} and {} more", named.join(", "), many.len() - named.len())
        }
    }
}

/// True if it is an assignment that had endpoints and has none any more.
fn loses_endpoints(resource: &ResourceChange) -> bool {
    let stays = resource.kind == ResourceType::Endpoint && resource.after.is_some();
    stays && resource.endpoints.is_some_and(|(old, new)| old > 0 && new == 0)
}

/// Clusters that are gone, each with one that came and differs only in what settings put before the name.
fn renamed(resources: &[Arc<ResourceChange>]) -> impl Iterator<Item = (&str, &str)> {
    let of = |impact| resources.iter().filter(move |it| it.impact == impact).map(|it| &*it.name);
    let came: HashMap<&str, &str> = of(Impact::ClusterAdded).map(|new| (sni(new), new)).collect();
    of(Impact::ClusterRemoved).filter_map(move |old| came.get(sni(old)).map(|new| (old, *new)))
}

/// The name of a cluster without what settings put before it.
fn sni(cluster: &str) -> &str {
    cluster.rsplit('~').next().unwrap_or(cluster)
}

fn proxy(instance: &InstanceId, change: &ProxyChange, version: Option<&String>, detail: Detail) -> AffectedProxy {
    let worst = change.resources.iter().map(|it| it.impact.effect()).max().unwrap_or(Effect::Kept);
    AffectedProxy {
        datacenter: instance.place.datacenter.clone(),
        partition: instance.place.partition.clone(),
        node: instance.node.clone(),
        id: instance.id.clone(),
        connected: version.is_some(),
        envoy_version: version.cloned().unwrap_or_default(),
        effect: worst.name().to_owned(),
        resources: change.resources.iter().map(|it| resource(it, detail)).collect(),
        problems: change.problems.clone(),
    }
}

fn resource(change: &ResourceChange, detail: Detail) -> PlannedResource {
    let action = match (change.before, change.after) {
        (None, _) => "add",
        (_, None) => "remove",
        (Some(_), Some(_)) => "change",
    };
    PlannedResource {
        kind: change.kind.to_string(),
        name: change.name.to_string(),
        action: action.to_owned(),
        before: change.before.map(|version| version.to_string()),
        after: change.after.map(|version| version.to_string()),
        message: change.message.clone().filter(|_| detail.has_messages),
        impact: change.impact.name().to_owned(),
        effect: change.impact.effect().name().to_owned(),
        drained: change.drained.clone(),
        fields: change.fields.iter().cloned().map(field).collect(),
        more_fields: change.more_fields,
    }
}

fn field(change: FieldChange) -> Field {
    let FieldChange { path, old, new } = change;
    Field { path, old, new }
}

/// What the operations do to rows that people write, in their order.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "what comes along, such as nodes and checks, is no change of its own"
)]
fn rows(before: &View, after: &View, ops: &[Op]) -> Vec<RowChange> {
    let row = |op: &Op| match op {
        Op::PutEntry(entry) => Some(entry_row(before, after, &entry.key())),
        Op::DeleteEntry(key) => Some(entry_row(before, after, key)),
        Op::PutService(node, service) => Some(service_row(before, after, &node.instance(&service.id))),
        Op::DeleteService(instance) => Some(service_row(before, after, instance)),
        _ => None,
    };
    ops.iter().filter_map(row).collect()
}

fn entry_row(before: &View, after: &View, key: &EntryKey) -> RowChange {
    let of = |view: &View| view.entry(key).map(|row| row.value.clone());
    let (action, fields) = compared(of(before), of(after));
    let name = &key.name;
    RowChange {
        kind: key.kind.to_string(),
        name: name.name.to_string(),
        partition: name.partition.clone(),
        namespace: name.namespace.clone(),
        action: action.to_owned(),
        fields,
    }
}

/// A registration: an instance with its checks, which come and go with it.
#[derive(PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Registered<'v> {
    #[serde(flatten)]
    service: &'v Service,
    checks: BTreeMap<&'v str, &'v Check>,
}

impl<'v> Registered<'v> {
    fn of(view: &'v View, instance: &InstanceId) -> Option<Self> {
        let service = &*view.service(instance)?.value;
        let checks = view.checks_of(instance).map(|row| (row.value.check_id.as_str(), &*row.value)).collect();
        Some(Self { service, checks })
    }
}

fn service_row(before: &View, after: &View, instance: &InstanceId) -> RowChange {
    let (action, fields) = compared(Registered::of(before, instance), Registered::of(after, instance));
    let row = after.service(instance).or_else(|| before.service(instance));
    RowChange {
        kind: "service".to_owned(),
        name: instance.id.to_string(),
        partition: instance.place.partition.clone(),
        namespace: row.map(|row| row.value.namespace.clone()).unwrap_or_default(),
        action: action.to_owned(),
        fields,
    }
}

fn compared<T: PartialEq + Serialize>(old: Option<T>, new: Option<T>) -> (&'static str, Vec<Field>) {
    let shown = |value: &T| serde_json::to_value(value).unwrap_or_default();
    match (old, new) {
        (Some(old), Some(new)) if old == new => ("none", Vec::new()),
        (Some(old), Some(new)) => ("change", differing(&shown(&old), &shown(&new)).into_iter().map(field).collect()),
        (None, Some(_)) => ("create", Vec::new()),
        (Some(_), None) => ("delete", Vec::new()),
        (None, None) => ("none", Vec::new()),
    }
}
