//! `POST /v1/meshgate/plan` and `/v1/meshgate/apply`: what a change would do, and the change itself.
//!
//! The body is what a file of config entries and services may be; `delete` names entries to delete, `deregister` services of
//! the agent's node, and `delete-cas` and `deregister-cas` do so with the `ModifyIndex` that the row must still have. All of it
//! is one commit. `planned` of an `apply` is the commit that its plan was made on: it is refused if somebody else changed what
//! it names since. With `canary` of an `apply` some proxies try it first.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Options;
use super::agent::{Registration, UsedPorts, deregistration};
use super::blocking::Size;
use super::body::{Body, LARGE};
use super::call::Call;
use super::config::parse_kind;
use super::entries::Refusal;
use super::error::ApiError;
use super::lint::Finding;
use super::route::{Routes, post};
use super::simulate::{Failure, Simulation};
use super::trial::{Tested, TrialError, TrialQuestion, TrialReport, TrialTerms};
use crate::codec;
use crate::model::{
    ConfigEntry, Datacenter, EntryKey, InstanceId, Namespace, NodeName, Partition, Problems, ServiceId,
};
use crate::store::{Index, Key, NodeKey, Op, Outcome, StoreError, View, Write};

/// Most proxies that a plan tells in full, unless the call says otherwise.
const TOLD_PROXIES: usize = 500;

/// Most proxies that a call can ask for.
const MOST_PROXIES: usize = 1_000;

/// Most rows of a change that proxies try by which it is named.
const NAMED: usize = 3;

/// The routes of planned changes.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/meshgate/plan", post(plan).taking(Method::POST, codec::entries_shape))
        .route("/v1/meshgate/apply", post(apply).taking(Method::POST, codec::entries_shape))
}

/// Knows what a change does to proxies. The engine does.
pub trait Planner: Send + Sync + 'static {
    /// What rules across entries would refuse of a write in this state; otherwise what became of it, and the state that it
    /// would make. Nothing is stored.
    ///
    /// # Errors
    /// Every broken rule.
    fn tried(&self, view: &View, write: &Write) -> Result<(Outcome, View), Problems>;

    /// What a change does to every registered proxy.
    fn plan(&self, tried: Tried, detail: Detail) -> BoxFuture<'_, Result<Plan, PlanError>>;

    /// Has some proxies try a change that was tried on the state: once they have had it for as long as asked, they keep it
    /// until the answer is dropped. `None` if it touches no proxy. Whoever drops the future ends the trial.
    fn try_out(&self, asked: TrialQuestion) -> BoxFuture<'_, Result<Option<Box<dyn Tested>>, TrialError>>;

    /// What becomes of traffic when something fails; `down` and `more_down` of the answer are empty.
    fn simulate(&self, failure: Failure) -> BoxFuture<'_, Result<Simulation, PlanError>>;
}

/// A change that was tried on a state.
#[derive(Clone)]
pub struct Tried {
    /// The state.
    pub before: Arc<View>,
    /// What the operations make of it.
    pub after: Arc<View>,
    /// The operations.
    pub ops: Vec<Op>,
    /// It would be a commit: the two states differ.
    pub is_changed: bool,
}

/// How much is told of the proxies that a change reaches.
#[derive(Debug, Clone, Copy)]
pub struct Detail {
    /// How many of them are told at most.
    pub proxies: usize,
    /// Each resource comes with what the proxy would be sent.
    pub has_messages: bool,
}

/// Why there is no plan, or why nobody can tell what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nobody configures proxies here.
    #[error("proxies are not configured at the moment: is the process stopping?")]
    NoEngine,
    /// It went wrong.
    #[error("the configurations of proxies could not be computed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// There is no engine, so that nothing can be planned; writes are tried without rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPlanner;

impl Planner for NoPlanner {
    fn tried(&self, view: &View, write: &Write) -> Result<(Outcome, View), Problems> {
        write.tried(view, &(Arc::new(|_: &View, _: &View, _: &[Op]| Ok(())) as _))
    }

    fn plan(&self, _: Tried, _: Detail) -> BoxFuture<'_, Result<Plan, PlanError>> {
        async { Err(PlanError::NoEngine) }.boxed()
    }

    fn try_out(&self, _: TrialQuestion) -> BoxFuture<'_, Result<Option<Box<dyn Tested>>, TrialError>> {
        async { Err(TrialError::Plan(PlanError::NoEngine)) }.boxed()
    }

    fn simulate(&self, _: Failure) -> BoxFuture<'_, Result<Simulation, PlanError>> {
        async { Err(PlanError::NoEngine) }.boxed()
    }
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Plan {
    /// The commit that the change was tried on.
    pub index: Index,
    /// It would be a commit; otherwise everything is as the call asks already.
    pub changed: bool,
    /// The rows that it names.
    pub changes: Vec<RowChange>,
    /// How many proxies it reaches, and why not the others.
    pub proxies: PlannedProxies,
    /// What it does to connections, the least first; only what happens.
    pub impacts: Vec<PlannedImpact>,
    /// The proxies that it reaches, sorted.
    pub affected: Vec<AffectedProxy>,
    /// How many more there are.
    pub more_affected: usize,
    /// What is wrong with the result, or worth knowing, the worst first.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: usize,
}

impl Plan {
    /// True if something would not work then.
    pub fn has_problems(&self) -> bool {
        self.findings.iter().any(Finding::is_problem)
    }
}

/// A row that a change makes, changes or removes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RowChange {
    /// The kind of the entry, or `service`.
    pub kind: String,
    /// The name of the entry, or the ID of the service.
    pub name: String,
    /// Its partition.
    pub partition: Partition,
    /// Its namespace.
    pub namespace: Namespace,
    /// `create`, `change`, `delete`, or `none` for what is there already as it is written.
    pub action: String,
    /// The fields that differ, of a row that is there before and after.
    pub fields: Vec<Field>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Field {
    /// Where it is.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it is; absent if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// How many proxies a change reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedProxies {
    /// All that are registered and configured, before or after.
    pub total: usize,
    /// Those whose configuration is another one then.
    pub affected: usize,
    /// Those of them with a stream.
    pub connected: usize,
    /// Why the others stay as they are.
    pub unchanged: Vec<Unchanged>,
}

/// Proxies that stay as they are, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Unchanged {
    /// The reason.
    pub reason: String,
    /// How many.
    pub proxies: usize,
}

/// What changes of one sort do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedImpact {
    /// What changes, such as `endpoints` or `chains-drained`.
    pub impact: String,
    /// In how many proxies.
    pub proxies: usize,
    /// How many resources of them.
    pub resources: usize,
    /// What becomes of open connections: `none`, `new-only` or `drain`.
    pub effect: String,
    /// The same for people.
    pub description: String,
}

/// A proxy with another configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AffectedProxy {
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Its partition.
    pub partition: Partition,
    /// The node it is registered on.
    pub node: NodeName,
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// It has a stream.
    pub connected: bool,
    /// Envoy's version as its stream says it; empty if there is none.
    pub envoy_version: String,
    /// The worst that becomes of its open connections: `none`, `new-only` or `drain`.
    pub effect: String,
    /// The resources that differ.
    pub resources: Vec<PlannedResource>,
    /// What is newly wrong with its configuration.
    pub problems: Vec<String>,
}

/// A resource that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedResource {
    /// The short name of its type, such as `CDS`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `add`, `change` or `remove`.
    pub action: String,
    /// The version that the proxy has; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The version that it is sent; absent if it is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What the proxy is sent, where the call asks for it; never of secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<Value>>,
    /// What changes, such as `endpoints` or `chains-drained`.
    pub impact: String,
    /// What becomes of open connections.
    pub effect: String,
    /// The filter chains whose connections are drained, by what they match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<String>,
    /// The fields that differ; none for secrets, and for what comes or goes as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_fields: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A change that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Applied {
    /// The commit that made it. If there was nothing to change, the one that last changed what the call names; the last one
    /// of all, if none is known to have.
    pub index: Index,
    /// It changed something.
    pub changed: bool,
    /// How it was tried before, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialReport>,
}

/// What a call asks to change.
#[derive(Debug, Clone)]
struct Change {
    options: Options,
    entries: Vec<ConfigEntry>,
    services: Vec<Registration>,
    deleted: Vec<EntryKey>,
    deregistered: Vec<(NodeKey, ServiceId)>,
    /// The commits that last changed rows that go, as the caller saw them.
    seen: Vec<(Gone, Index)>,
    /// The commit that it was planned on; nothing of what it names may have changed since.
    planned: Option<Index>,
    /// The same of the commit on which proxies began to try it.
    tried: Option<Index>,
}

/// A change that some proxies have, and how it was tried.
type Trial = (Option<Box<dyn Tested>>, Option<TrialReport>);

/// A row that goes.
#[derive(Debug, Clone)]
enum Gone {
    Entry(EntryKey),
    Service(InstanceId),
}

impl Change {
    /// The operations, given the state.
    fn into_write(self, view: &View) -> Result<Write, Problems> {
        self.is_as_seen(view).into_result()?;
        self.is_as_planned(view).into_result()?;
        let mut ops: Vec<_> = self.entries.into_iter().map(Op::PutEntry).collect();
        ops.extend(self.deleted.into_iter().map(Op::DeleteEntry));
        for (node, id) in self.deregistered {
            ops.extend(deregistration(view, &node, &id).ops);
        }
        // The port of a sidecar depends on the sidecars before it.
        let mut made = view.after(&ops);
        let mut ports = UsedPorts::of(&self.options, &made);
        for registration in self.services {
            let write = registration.into_write_beside(&made, &mut ports)?;
            made = made.after(&write.ops);
            ops.extend(write.ops);
        }
        Ok(ops.into())
    }

    /// The instances that are registered, those of sidecars included.
    fn registered(&self) -> impl Iterator<Item = InstanceId> {
        self.services.iter().flat_map(|registration| registration.rows().0)
    }

    /// The rows that it names, with their names for people.
    fn rows(&self) -> BTreeMap<Key, String> {
        let entries = self.entries.iter().map(ConfigEntry::key).chain(self.deleted.iter().cloned());
        let gone = self.deregistered.iter().map(|(node, id)| node.instance(id));
        let entry = |key: EntryKey| (Key::Entry(key.clone()), key.to_string());
        let service = |instance: InstanceId| (Key::Instance(instance.clone()), format!("service {instance}"));
        entries.map(entry).chain(self.registered().chain(gone).map(service)).collect()
    }

    /// The first of what it names, for people.
    fn name(&self) -> String {
        let rows = self.rows();
        let first: Vec<&str> = rows.values().take(NAMED).map(String::as_str).collect();
        let more = rows.len() - first.len();
        if more > 0 { format!("{} and {more} more", first.join(", ")) } else { first.join(", ") }
    }

    /// What others did to what goes since the caller saw it. What is gone already may go.
    fn is_as_seen(&self, view: &View) -> Problems {
        let mut problems = Problems::default();
        for (gone, seen) in &self.seen {
            let (named, changed) = match gone {
                Gone::Entry(key) => (key.to_string(), view.entry(key).map(|row| row.modify_index)),
                Gone::Service(id) => (format!("service {id}"), view.service(id).map(|row| row.modify_index)),
            };
            if let Some(changed) = changed.filter(|changed| changed != seen) {
                let message = format!("{named} was changed by commit {changed}, after it was listed: try again");
                problems.rule("", message);
            }
        }
        problems
    }

    /// What others did to it since it was planned, or since proxies try it.
    fn is_as_planned(&self, view: &View) -> Problems {
        let mut problems = Problems::default();
        let planned = self.planned.map(|index| (index, "after the plan was made: plan again"));
        let tried = self.tried.map(|index| (index, "while proxies tried the change: apply it again"));
        let Some((seen, told)) = planned.or(tried) else { return problems };
        for (key, named) in self.rows() {
            let changed = view.changed_at(&key);
            if changed > seen {
                problems.rule("", format!("{named} was changed by commit {changed}, {told}"));
            }
        }
        problems
    }

    /// What it asks for twice, or in two ways.
    fn contradictions(&self) -> Vec<Refusal> {
        let deleted: BTreeSet<_> = self.deleted.iter().collect();
        let gone: BTreeSet<_> = self.deregistered.iter().map(|(node, id)| node.instance(id)).collect();
        let written = self.entries.iter().map(ConfigEntry::key).filter(|key| deleted.contains(key));
        let mut told: Vec<_> =
            written.map(|key| format!("{key} is in the body, and in delete: leave one out")).collect();
        let mut seen = BTreeSet::new();
        for instance in self.registered() {
            if gone.contains(&instance) {
                told.push(format!("service {instance} is in the body, and in deregister: leave one out"));
            }
            if seen.contains(&instance) {
                told.push(format!("service {instance} is in the body twice: leave one out"));
            }
            seen.insert(instance);
        }
        told.into_iter().map(Refusal::about_all).collect()
    }
}

async fn plan(call: Call, headers: HeaderMap, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    call.api.metrics.count_plan();
    let change = match call.change(&body, &headers)? {
        Ok(change) => change,
        Err(answer) => return Ok(answer),
    };
    let expected = "expected a number of proxies, at most 1000";
    let limit = number("limit", call.query.value("limit"), expected)?.unwrap_or(TOLD_PROXIES);
    if limit > MOST_PROXIES {
        return Err(ApiError::InvalidParameter { name: "limit", value: limit.to_string(), expected });
    }
    let detail = Detail { proxies: limit, has_messages: call.query.flag("messages")? };
    let tried = match call.tried(change).await? {
        Ok(tried) => tried,
        Err(problems) => return Ok(call.refused(problems)),
    };
    let plan = call.api.planner.plan(tried, detail).await.map_err(ApiError::Plan)?;
    Ok(Size::Large.run(|| call.json(&plan)))
}

async fn apply(call: Call, headers: HeaderMap, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let planned = number("planned", call.query.value("planned"), "expected the Index of a plan")?;
    let terms = TrialTerms::of(&call.query)?;
    let mut change = match call.change(&body, &headers)? {
        Ok(change) => Change { planned, ..change },
        Err(answer) => return Ok(answer),
    };
    let rows = change.rows();
    let (tested, trial) = match terms {
        Some(terms) => match call.try_out(&mut change, terms).await {
            Ok(Ok(tested)) => tested,
            Ok(Err(problems)) => return Ok(call.refused(problems)),
            Err(error) => {
                call.api.metrics.count_trial(false);
                return Err(error);
            }
        },
        None => (None, None),
    };
    let outcome = call.store().write_with(move |view| change.into_write(view)).await;
    if let Some(tested) = tested {
        call.api.metrics.count_trial(matches!(outcome, Ok(Outcome::Committed(_))));
        tested.over(match &outcome {
            Ok(Outcome::Committed(index)) => Ok(*index),
            Ok(_) => Err("the state was so already".to_owned()),
            Err(error) => Err(error.to_string()),
        });
    }
    match outcome {
        Ok(Outcome::Committed(index)) => Ok(call.json(&Applied { index, changed: true, trial })),
        Ok(Outcome::Unchanged(last)) => {
            let view = call.api.store.view();
            let index = rows.keys().map(|key| view.changed_at(key)).max().filter(|index| *index > 0).unwrap_or(last);
            Ok(call.json(&Applied { index, changed: false, trial: None }))
        }
        Ok(Outcome::ConditionFailed) => unreachable!("it has no conditions"),
        Err(StoreError::Rejected(problems)) => Ok(call.refused(problems)),
        Err(error) => Err(error.into()),
    }
}

/// A parameter that is a number, if it is there.
pub(super) fn number<T: FromStr>(
    name: &'static str,
    text: Option<&str>,
    expected: &'static str,
) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApiError::InvalidParameter { name, value: text.to_owned(), expected })
}

/// The rows that a parameter names, each behind the `ModifyIndex` that it must have.
fn with_index<'q>(
    name: &'static str,
    texts: impl Iterator<Item = &'q str>,
) -> Result<Vec<(&'q str, Option<Index>)>, ApiError> {
    let read = |text: &'q str| {
        let parts = text.split_once('/').and_then(|(index, row)| Some((row, Some(index.parse().ok()?))));
        let expected = "expected a ModifyIndex, a slash and what goes";
        parts.ok_or_else(|| ApiError::InvalidParameter { name, value: text.to_owned(), expected })
    };
    texts.map(read).collect()
}

impl Call {
    /// What becomes of the latest state with a change, or what rules would refuse of it.
    async fn tried(&self, change: Change) -> Result<Result<Tried, Problems>, ApiError> {
        let before = self.api.store.view();
        let planner = self.api.planner.clone();
        // Rules across entries look at all chains.
        let tried = tokio::task::spawn_blocking(move || {
            let write = change.into_write(&before)?;
            let (outcome, after) = planner.tried(&before, &write)?;
            let is_changed = matches!(outcome, Outcome::Committed(_));
            Ok(Tried { before, after: Arc::new(after), ops: write.ops, is_changed })
        });
        tried.await.map_err(|error| ApiError::Plan(PlanError::Failed(error.into())))
    }

    /// Has some proxies try a change, if it is one. They have it until the first part of the answer is dropped.
    async fn try_out(&self, change: &mut Change, terms: TrialTerms) -> Result<Result<Trial, Problems>, ApiError> {
        match self.tried(change.clone()).await? {
            Ok(tried) if tried.is_changed => change.tried = Some(tried.before.index()),
            Ok(_) => return Ok(Ok((None, None))),
            Err(problems) => return Ok(Err(problems)),
        }
        let (name, change) = (change.name(), change.clone());
        let candidate = Arc::new(move |view: &View| Ok(view.after(&change.clone().into_write(view)?.ops)));
        let asked = TrialQuestion { name, candidate, terms };
        let stopped = TrialError::Plan(PlanError::NoEngine);
        let tested = self.api.shutdown.run_until_cancelled(self.api.planner.try_out(asked)).await;
        match tested.unwrap_or(Err(stopped)) {
            Ok(tested) => {
                let proxies = tested.iter().flat_map(|tested| tested.proxies()).collect();
                Ok(Ok((tested, Some(TrialReport { asked: terms.proxies, proxies }))))
            }
            Err(TrialError::Refused(problems)) => Ok(Err(problems)),
            Err(error) => Err(ApiError::Trial(error)),
        }
    }

    /// What the call asks to change, or the answer about what is wrong with it.
    fn change(&self, body: &[u8], headers: &HeaderMap) -> Result<Result<Change, Response>, ApiError> {
        let (mut deleted, mut deregistered, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        let seen_entries = with_index("delete-cas", self.query.all("delete-cas"))?;
        for (text, index) in self.query.all("delete").map(|text| (text, None)).chain(seen_entries) {
            let named = text.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
            let (kind, name) = named.ok_or(ApiError::UnnamedEntry)?;
            let key = self.key(parse_kind(kind)?, name);
            self.is_writable_here(key.kind)?;
            seen.extend(index.map(|index| (Gone::Entry(key.clone()), index)));
            deleted.push(key);
        }
        let seen_services = with_index("deregister-cas", self.query.all("deregister-cas"))?;
        for (text, index) in self.query.all("deregister").map(|text| (text, None)).chain(seen_services) {
            let (node, id) = (self.agent_node(), ServiceId::from(text));
            let instance = node.instance(&id);
            match (self.api.store.view().service(&instance), index) {
                (Some(_), _) => {}
                // Somebody else took it away.
                (None, Some(_)) => continue,
                (None, None) => return Err(ApiError::NoServiceToChange(id)),
            }
            seen.extend(index.map(|index| (Gone::Service(instance), index)));
            deregistered.push((node, id));
        }
        let removals = ["delete", "delete-cas", "deregister", "deregister-cas"];
        let only_removes = body.is_empty() && removals.iter().any(|name| self.query.has(name));
        let defined = if only_removes { Ok(Default::default()) } else { self.definitions_in(body, headers, true) };
        let (entries, services) = match defined {
            Ok(defined) => defined,
            Err(refusals) => return Ok(Err(self.unreadable(refusals))),
        };
        let options = self.api.options.clone();
        let change = Change { options, entries, services, deleted, deregistered, seen, planned: None, tried: None };
        let contradictions = change.contradictions();
        Ok(if contradictions.is_empty() { Ok(change) } else { Err(self.unreadable(contradictions)) })
    }
}
