//! `POST /v1/meshgate/plan` and `/v1/meshgate/apply`: what a change would do, and the change itself.
//!
//! The body is what a file of config entries and services may be; `delete` names entries to delete, `deregister` services of
//! the agent's node. All of it is one commit.

use std::sync::Arc;

use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::Value;

use super::agent::{Registration, deregistration};
use super::body::{Body, LARGE};
use super::call::Call;
use super::config::parse_kind;
use super::error::ApiError;
use super::lint::Finding;
use super::route::{Routes, post};
use crate::codec;
use crate::model::{ConfigEntry, Datacenter, EntryKey, Namespace, NodeName, Partition, Problems, ServiceId};
use crate::store::{Index, NodeKey, Op, Outcome, StoreError, View, Write};

/// Most proxies that a plan tells in full, unless the call says otherwise.
const TOLD_PROXIES: usize = 500;

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

    /// What the operations, which lead from one state to the other, do to every registered proxy. At most `told` of the
    /// proxies are told in full.
    fn plan(
        &self,
        before: Arc<View>,
        after: Arc<View>,
        ops: Vec<Op>,
        told: usize,
    ) -> BoxFuture<'_, Result<Plan, PlanError>>;
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nobody configures proxies here.
    #[error("proxies are not configured at the moment: is the process stopping?")]
    NoEngine,
    /// It went wrong.
    #[error("the plan could not be made")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// There is no engine, so that nothing can be planned; writes are tried without rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPlanner;

impl Planner for NoPlanner {
    fn tried(&self, view: &View, write: &Write) -> Result<(Outcome, View), Problems> {
        write.tried(view, &(Arc::new(|_: &View, _: &View, _: &[Op]| Ok(())) as _))
    }

    fn plan(&self, _: Arc<View>, _: Arc<View>, _: Vec<Op>, _: usize) -> BoxFuture<'_, Result<Plan, PlanError>> {
        async { Err(PlanError::NoEngine) }.boxed()
    }
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Plan {
    /// The commit that the change was tried on.
    pub index: Index,
    /// The rows that it changes.
    pub changes: Vec<RowChange>,
    /// How many proxies it reaches, and why not the others.
    pub proxies: PlannedProxies,
    /// What it does to connections, the least first; only what happens.
    pub impacts: Vec<PlannedImpact>,
    /// The proxies that it reaches, sorted.
    pub affected: Vec<AffectedProxy>,
    /// How many more there are.
    pub more_affected: usize,
    /// What is wrong with the result, or worth knowing.
    pub findings: Vec<Finding>,
}

/// A row that a change makes, changes or removes.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    pub action: &'static str,
    /// The fields that differ, of a row that is there before and after.
    pub fields: Vec<Field>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Unchanged {
    /// The reason.
    pub reason: &'static str,
    /// How many.
    pub proxies: usize,
}

/// What changes of one sort do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedImpact {
    /// What changes, such as `endpoints` or `chains-drained`.
    pub impact: &'static str,
    /// In how many proxies.
    pub proxies: usize,
    /// How many resources of them.
    pub resources: usize,
    /// What becomes of open connections: `none`, `new-only` or `drain`.
    pub effect: &'static str,
    /// The same for people.
    pub description: &'static str,
}

/// A proxy with another configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    pub effect: &'static str,
    /// The resources that differ.
    pub resources: Vec<PlannedResource>,
    /// What is newly wrong with its configuration.
    pub problems: Vec<String>,
}

/// A resource that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedResource {
    /// The short name of its type, such as `CDS`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `add`, `change` or `remove`.
    pub action: &'static str,
    /// The version that the proxy has; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The version that it is sent; absent if it is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What the proxy is sent, where the call asks for it; never of secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// What changes, such as `endpoints` or `chains-drained`.
    pub impact: &'static str,
    /// What becomes of open connections.
    pub effect: &'static str,
    /// The filter chains whose connections are drained, by what they match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<String>,
    /// The fields that differ; none for secrets, and for what comes or goes as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_fields: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A change that was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Applied {
    /// The commit that made it, or the last one if there was nothing to change.
    index: Index,
    /// It changed something.
    changed: bool,
}

/// What a call asks to change.
#[derive(Debug, Clone)]
struct Change {
    entries: Vec<ConfigEntry>,
    services: Vec<Registration>,
    deleted: Vec<EntryKey>,
    deregistered: Vec<(NodeKey, ServiceId)>,
}

impl Change {
    /// The operations, given the state.
    fn into_write(self, view: &View) -> Result<Write, Problems> {
        let mut ops: Vec<_> = self.entries.into_iter().map(Op::PutEntry).collect();
        ops.extend(self.deleted.into_iter().map(Op::DeleteEntry));
        for (node, id) in self.deregistered {
            ops.extend(deregistration(view, &node, &id).ops);
        }
        // The port of a sidecar depends on the sidecars before it.
        let mut made = view.after(&ops);
        for registration in self.services {
            let write = registration.into_write(&made)?;
            made = made.after(&write.ops);
            ops.extend(write.ops);
        }
        Ok(ops.into())
    }
}

async fn plan(call: Call, headers: HeaderMap, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    call.api.metrics.count_plan();
    let change = match call.change(&body, &headers)? {
        Ok(change) => change,
        Err(answer) => return Ok(answer),
    };
    let told = match call.query.value("limit") {
        None => TOLD_PROXIES,
        Some(text) => text.parse().map_err(|_| ApiError::InvalidParameter {
            name: "limit",
            value: text.to_owned(),
            expected: "expected a number of proxies",
        })?,
    };
    let before = call.api.store.view();
    let (planner, view) = (call.api.planner.clone(), before.clone());
    // Rules across entries look at all chains.
    let tried = tokio::task::spawn_blocking(move || {
        let write = change.into_write(&view)?;
        planner.tried(&view, &write).map(|(_, after)| (write.ops, after))
    });
    let tried = tried.await.map_err(|error| ApiError::Plan(PlanError::Failed(error.into())))?;
    let (ops, after) = match tried {
        Ok(tried) => tried,
        Err(problems) => return Ok(call.refused(problems)),
    };
    let has_messages = call.query.flag("messages")?;
    let mut plan = call.api.planner.plan(before, Arc::new(after), ops, told).await.map_err(ApiError::Plan)?;
    if !has_messages {
        plan.affected.iter_mut().flat_map(|proxy| &mut proxy.resources).for_each(|resource| resource.message = None);
    }
    Ok(call.json(&plan))
}

async fn apply(call: Call, headers: HeaderMap, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let change = match call.change(&body, &headers)? {
        Ok(change) => change,
        Err(answer) => return Ok(answer),
    };
    match call.store().write_with(move |view| change.into_write(view)).await {
        Ok(Outcome::Committed(index)) => Ok(call.json(&Applied { index, changed: true })),
        Ok(Outcome::Unchanged(index)) => Ok(call.json(&Applied { index, changed: false })),
        Ok(Outcome::ConditionFailed) => unreachable!("it has no conditions"),
        Err(StoreError::Rejected(problems)) => Ok(call.refused(problems)),
        Err(error) => Err(error.into()),
    }
}

impl Call {
    /// What the call asks to change, or the answer about what is wrong with it.
    fn change(&self, body: &[u8], headers: &HeaderMap) -> Result<Result<Change, Response>, ApiError> {
        let mut deleted = Vec::new();
        for text in self.query.all("delete") {
            let named = text.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
            let (kind, name) = named.ok_or(ApiError::UnnamedEntry)?;
            let key = self.key(parse_kind(kind)?, name);
            self.is_writable_here(key.kind)?;
            deleted.push(key);
        }
        let mut deregistered = Vec::new();
        for text in self.query.all("deregister") {
            let (node, id) = (self.agent_node(), ServiceId::from(text));
            if self.api.store.view().service(&node.instance(&id)).is_none() {
                return Err(ApiError::NoServiceToChange(id));
            }
            deregistered.push((node, id));
        }
        let only_removes = body.is_empty() && !(deleted.is_empty() && deregistered.is_empty());
        let defined = if only_removes { Ok(Default::default()) } else { self.definitions_in(body, headers, true) };
        let (entries, services) = match defined {
            Ok(defined) => defined,
            Err(refusals) => return Ok(Err(self.unreadable(refusals))),
        };
        Ok(Ok(Change { entries, services, deleted, deregistered }))
    }
}
