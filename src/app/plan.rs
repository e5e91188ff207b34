//! What a change would do, answered by the code that configures Envoy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::api::{
    AffectedProxy, Field, Finding, Plan, PlanError, PlannedImpact, PlannedProxies, PlannedResource, Planner, RowChange,
    Unchanged,
};
use crate::engine::{self, Configuration, Engine, Offline};
use crate::envoy::change::{Comparer, Effect, FieldChange, Impact, ResourceChange, differing};
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::model::{EntryKey, InstanceId, Problems};
use crate::store::{Guard, Key, Op, Outcome, View, Write};

use super::lint::findings;

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
}

impl Planner for Changes {
    fn tried(&self, view: &View, write: &Write) -> Result<(Outcome, View), Problems> {
        write.tried(view, &self.guard)
    }

    fn plan(
        &self,
        before: Arc<View>,
        after: Arc<View>,
        ops: Vec<Op>,
        told: usize,
    ) -> BoxFuture<'_, Result<Plan, PlanError>> {
        async move {
            let offline = self.engine.offline().await.ok_or(PlanError::NoEngine)?;
            let streams = self.engine.proxies().into_iter();
            let streams = streams.map(|report| (report.instance, report.envoy_version)).collect();
            let made = tokio::task::spawn_blocking(move || {
                let planned = planned(offline, &before, &after);
                let mut plan = planned.told(&streams, told);
                plan.index = before.index();
                plan.changes = rows(&before, &after, &ops);
                // What would not work comes first.
                let rank = |it: &Finding| ["problem", "warning", "note"].iter().position(|known| *known == it.severity);
                plan.findings.sort_by_cached_key(|it| (rank(it), it.clone()));
                plan
            });
            made.await.map_err(|error| PlanError::Failed(error.into()))
        }
        .boxed()
    }
}

/// What becomes of proxies.
struct Planned {
    total: usize,
    /// Registered proxies whose configuration is made from something that changes, and comes out the same.
    same: usize,
    changes: BTreeMap<InstanceId, ProxyChange>,
    /// Proxies that are registered no longer.
    gone: Vec<InstanceId>,
    /// What is newly wrong with the state.
    findings: Vec<Finding>,
}

/// What becomes of one proxy.
struct ProxyChange {
    resources: Vec<Arc<ResourceChange>>,
    problems: Vec<String>,
}

fn planned(mut offline: Offline, before: &Arc<View>, after: &Arc<View>) -> Planned {
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
    let news = findings(after, &offline).into_iter().filter(|finding| !known.contains(finding)).collect();
    let mut planned = Planned { total: 0, same: 0, changes: BTreeMap::new(), gone: Vec::new(), findings: news };
    for (instance, configuration) in new {
        let had = old.get(&instance).unwrap_or(&none);
        if !configuration.is_registered && !had.is_registered {
            continue;
        }
        planned.total += 1;
        if !configuration.is_registered {
            planned.gone.push(instance);
            continue;
        }
        let resources = changed(&mut comparer, had.snapshot.as_deref(), configuration.snapshot.as_deref());
        let problems = configuration.problems.into_iter().filter(|problem| !had.problems.contains(problem));
        let change = ProxyChange { resources, problems: problems.collect() };
        if !change.resources.is_empty() || !change.problems.is_empty() {
            planned.changes.insert(instance, change);
        } else if readers.contains(&instance) {
            planned.same += 1;
        }
    }
    planned
}

fn changed(comparer: &mut Comparer, old: Option<&Snapshot>, new: Option<&Snapshot>) -> Vec<Arc<ResourceChange>> {
    let Some(new) = new else { return Vec::new() };
    match old {
        Some(old) => comparer.changes(old, new),
        None => comparer.changes(&Snapshot::default(), new),
    }
}

impl Planned {
    fn told(&self, streams: &BTreeMap<InstanceId, String>, most: usize) -> Plan {
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
            unchanged: unchanged.map(|(reason, proxies)| Unchanged { reason, proxies }).collect(),
        };
        let impact = |(impact, (proxies, resources)): (Impact, (usize, usize))| PlannedImpact {
            impact: impact.name(),
            proxies,
            resources,
            effect: impact.effect().name(),
            description: impact.description(),
        };
        let shown = self.changes.iter().take(most).map(|(instance, change)| proxy(instance, change, streams));
        Plan {
            index: 0,
            changes: Vec::new(),
            proxies,
            impacts: impacts.into_iter().map(impact).collect(),
            affected: shown.collect(),
            more_affected: affected.saturating_sub(most),
            findings: self.findings(),
        }
    }

    /// What the change itself does that somebody should know before.
    fn findings(&self) -> Vec<Finding> {
        // What proxies would go without is told with the state.
        let mut found: BTreeSet<_> = self.findings.iter().cloned().collect();
        for (instance, change) in &self.changes {
            let subject = instance.to_string();
            found.extend(change.resources.iter().filter(|it| loses_endpoints(it)).map(|resource| Finding {
                severity: "problem",
                id: "MG-PLAN-001",
                subject: subject.clone(),
                what: format!("cluster {} would have no endpoints", resource.name),
                fix: "register an instance or a gateway that it can lead to first (`meshgate lint` tells of gateways)".to_owned(),
            }));
            let drained = change.resources.iter().filter(|it| it.impact.effect() == Effect::Drained);
            found.extend(drained.map(|resource| Finding {
                severity: "warning",
                id: "MG-PLAN-002",
                subject: subject.clone(),
                what: format!("open connections of listener {} are drained ({})", resource.name, chains(resource)),
                fix: "apply it when long TCP sessions may end, or start Envoy with a longer --drain-time-s".to_owned(),
            }));
            found.extend(renamed(&change.resources).map(|(old, new)| Finding {
                severity: "note",
                id: "MG-PLAN-003",
                subject: subject.clone(),
                what: format!("cluster {old} is replaced by {new}, with statistics of its own"),
                fix: "look at dashboards and alerts that name the cluster".to_owned(),
            }));
        }
        found.into_iter().collect()
    }
}

fn chains(resource: &ResourceChange) -> String {
    match (resource.impact, resource.drained.as_slice()) {
        (Impact::ListenerDrained, _) => "all of them".to_owned(),
        (_, [one]) => format!("filter chain {one}"),
        (_, some) => format!("filter chains {}", some.join(", ")),
    }
}

/// True if it is an assignment that had endpoints and has none any more.
fn loses_endpoints(resource: &ResourceChange) -> bool {
    let stays = resource.kind == ResourceType::Endpoint && resource.after.is_some();
    stays && resource.endpoints.is_some_and(|(old, new)| old > 0 && new == 0)
}

/// Clusters that differ only in what settings put before their names.
fn renamed(resources: &[Arc<ResourceChange>]) -> impl Iterator<Item = (&str, &str)> {
    let of = |impact| resources.iter().filter(move |it| it.impact == impact).map(|it| &*it.name);
    let sni = |name: &str| name.rsplit('~').next().unwrap_or_default().to_owned();
    of(Impact::ClusterRemoved).flat_map(move |old| {
        of(Impact::ClusterAdded).filter(move |new| sni(new) == sni(old)).map(move |new| (old, new))
    })
}

fn proxy(instance: &InstanceId, change: &ProxyChange, streams: &BTreeMap<InstanceId, String>) -> AffectedProxy {
    let version = streams.get(instance);
    let worst = change.resources.iter().map(|it| it.impact.effect()).max().unwrap_or(Effect::Kept);
    AffectedProxy {
        datacenter: instance.place.datacenter.clone(),
        partition: instance.place.partition.clone(),
        node: instance.node.clone(),
        id: instance.id.clone(),
        connected: version.is_some(),
        envoy_version: version.cloned().unwrap_or_default(),
        effect: worst.name(),
        resources: change.resources.iter().map(|it| resource(it)).collect(),
        problems: change.problems.clone(),
    }
}

fn resource(change: &ResourceChange) -> PlannedResource {
    let action = match (change.before, change.after) {
        (None, _) => "add",
        (_, None) => "remove",
        (Some(_), Some(_)) => "change",
    };
    PlannedResource {
        kind: change.kind.to_string(),
        name: change.name.to_string(),
        action,
        before: change.before.map(|version| version.to_string()),
        after: change.after.map(|version| version.to_string()),
        message: change.message.clone(),
        impact: change.impact.name(),
        effect: change.impact.effect().name(),
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
    let shown = |view: &View| view.entry(key).and_then(|row| serde_json::to_value(&*row.value).ok());
    let (action, fields) = compared(shown(before), shown(after));
    let name = &key.name;
    RowChange {
        kind: key.kind.to_string(),
        name: name.name.to_string(),
        partition: name.partition.clone(),
        namespace: name.namespace.clone(),
        action,
        fields,
    }
}

fn service_row(before: &View, after: &View, instance: &InstanceId) -> RowChange {
    let shown = |view: &View| view.service(instance).and_then(|row| serde_json::to_value(&*row.value).ok());
    let (action, fields) = compared(shown(before), shown(after));
    let row = after.service(instance).or_else(|| before.service(instance));
    RowChange {
        kind: "service".to_owned(),
        name: instance.id.to_string(),
        partition: instance.place.partition.clone(),
        namespace: row.map(|row| row.value.namespace.clone()).unwrap_or_default(),
        action,
        fields,
    }
}

fn compared(old: Option<Value>, new: Option<Value>) -> (&'static str, Vec<Field>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => ("none", Vec::new()),
        (Some(old), Some(new)) => ("change", differing(&old, &new).into_iter().map(field).collect()),
        (None, Some(_)) => ("create", Vec::new()),
        (Some(_), None) => ("delete", Vec::new()),
        (None, None) => ("none", Vec::new()),
    }
}
