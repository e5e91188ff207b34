//! `PUT /v1/txn`: reads and writes of the catalog that happen together or not at all.

use axum::response::Response;
use http::{Method, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;

use super::body::{Body, SMALL};
use super::call::Call;
use super::catalog::check_row;
use super::error::{ApiError, Decoder};
use super::route::{Routes, put};
use super::scope::Scope;
use super::wire::{CatalogNode, HealthCheck, NodeService};
use crate::codec;
use crate::model::{
    Check, CheckId, InstanceId, MAX_OPERATIONS, Node, NodeName, Operation, OperationRow, Problems, Service, Verb,
};
use crate::store::{CheckKey, Index, NodeKey, Op, Outcome, Stored, View, Write};

/// The route of transactions.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/txn", put(transact).taking(Method::PUT, codec::transaction_shape))
}

/// What an operation shows.
enum Shown {
    Node(Stored<Node>),
    Service(Stored<Service>),
    Check(Stored<Check>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    results: Option<Vec<Row>>,
    errors: Option<Vec<Refusal>>,
}

#[derive(Serialize)]
enum Row {
    Node(CatalogNode),
    Service(Box<NodeService>),
    Check(HealthCheck),
}

/// Why the whole transaction did not happen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    op_index: usize,
    what: String,
}

async fn transact(call: Call, Body(body): Body<SMALL>) -> Result<Response, ApiError> {
    let operations =
        codec::transaction(&body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })?;
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::TooManyOperations(operations.len()));
    }
    let is_read = operations.iter().all(|operation| operation.verb.is_read());
    if is_read {
        let view = call.api.store.view();
        let meta = call.meta_at(view.index())?;
        let done = run(&view, &call.scope, operations).map(|(_, shown)| shown);
        return Ok(meta.on(call.transaction_answer(done, view.index(), view.index())));
    }
    let scope = call.scope.clone();
    let (tell, told) = oneshot::channel();
    let decide = move |view: &View| {
        let done = run(view, &scope, operations);
        let (ops, shown) = done.map_or_else(|refusals| (Vec::new(), Err(refusals)), |(ops, shown)| (ops, Ok(shown)));
        // Whoever asked may have gone.
        let _ = tell.send((shown, view.index()));
        Ok(Write::from(ops))
    };
    let outcome = call.store().write_with(decide).await?;
    let (done, base) = told.await.map_err(|_| ApiError::Store(crate::store::StoreError::Closed))?;
    let committed = match outcome {
        Outcome::Committed(index) | Outcome::Unchanged(index) => index,
        Outcome::ConditionFailed => base,
    };
    Ok(call.transaction_answer(done, base, committed))
}

impl Call {
    /// Rows that the transaction changed are shown with its commit; while it ran, that was not known.
    fn transaction_answer(&self, done: Result<Vec<Shown>, Vec<Refusal>>, base: Index, committed: Index) -> Response {
        let (status, answer) = match done {
            Ok(shown) => {
                let rows = shown.into_iter().map(|shown| shown.into_row(base, committed)).collect();
                (StatusCode::OK, Answer { results: Some(rows), errors: None })
            }
            Err(refusals) => (StatusCode::CONFLICT, Answer { results: None, errors: Some(refusals) }),
        };
        self.json_with_status(status, &answer)
    }
}

impl Shown {
    fn into_row(self, base: Index, committed: Index) -> Row {
        fn at<T>(row: Stored<T>, base: Index, committed: Index) -> Stored<T> {
            let now = |index| if index > base { committed } else { index };
            Stored { create_index: now(row.create_index), modify_index: now(row.modify_index), value: row.value }
        }
        match self {
            Shown::Node(row) => Row::Node(CatalogNode(at(row, base, committed))),
            Shown::Service(row) => Row::Service(Box::new(NodeService { row: at(row, base, committed), proxy: None })),
            Shown::Check(row) => Row::Check(at(row, base, committed).into()),
        }
    }
}

/// Runs the operations one after the other, each on what those before it made.
fn run(view: &View, scope: &Scope, operations: Vec<Operation>) -> Result<(Vec<Op>, Vec<Shown>), Vec<Refusal>> {
    let mut now = view.clone();
    let (mut ops, mut shown, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for (op_index, Operation { verb, row, index }) in operations.into_iter().enumerate() {
        let done = match row {
            OperationRow::Node(node) => on_node(&now, scope, verb, *node, index),
            OperationRow::Service(node, service) => on_service(&now, scope, verb, &node, *service, index),
            OperationRow::Check(check) => on_check(&now, scope, verb, *check, index),
        };
        match done {
            Err(what) => refusals.push(Refusal { op_index, what }),
            Ok(Step { op, key }) => {
                now = op.as_ref().map_or_else(|| now.clone(), |op| now.after(std::slice::from_ref(op)));
                ops.extend(op);
                shown.extend(key.and_then(|key| key.shown(&now)));
            }
        }
    }
    if refusals.is_empty() { Ok((ops, shown)) } else { Err(refusals) }
}

/// What one operation does, and the row that it then shows.
struct Step {
    op: Option<Op>,
    key: Option<RowKey>,
}

enum RowKey {
    Node(NodeKey),
    Service(InstanceId),
    Check(CheckKey),
}

impl RowKey {
    fn shown(&self, view: &View) -> Option<Shown> {
        match self {
            RowKey::Node(key) => view.node(key).cloned().map(Shown::Node),
            RowKey::Service(id) => view.service(id).cloned().map(Shown::Service),
            RowKey::Check(key) => view.check(key).cloned().map(Shown::Check),
        }
    }
}

/// What a verb does to a row whose last change is known (0 where there is none).
fn step(
    (verb, index): (Verb, Index),
    (what, modified): (&str, Index),
    key: RowKey,
    set: impl FnOnce() -> Result<Op, String>,
    delete: Op,
) -> Result<Step, String> {
    match verb {
        Verb::Get if modified == 0 => Err(format!("{what} doesn't exist")),
        Verb::Get => Ok(Step { op: None, key: Some(key) }),
        Verb::Cas if modified != index => Err(format!("failed to set {what}, index is stale")),
        Verb::Set | Verb::Cas => Ok(Step { op: Some(set()?), key: Some(key) }),
        Verb::DeleteCas if modified != index => Err(format!("failed to delete {what}, index is stale")),
        Verb::Delete | Verb::DeleteCas => Ok(Step { op: Some(delete), key: None }),
    }
}

fn on_node(view: &View, scope: &Scope, verb: Verb, mut node: Node, index: Index) -> Result<Step, String> {
    if node.node.as_str().is_empty() {
        // A node can be named by its UUID.
        let by_id = view.nodes(&scope.place).find(|row| !node.id.is_empty() && row.value.id == node.id);
        node.node = by_id.map(|row| row.value.node.clone()).ok_or("Must provide node")?;
    }
    node.datacenter = scope.place.datacenter.clone();
    node.partition = scope.place.partition.clone();
    let key = NodeKey::new(&scope.place, &node.node);
    let (what, modified) = (format!("node {:?}", node.node), modified(view.node(&key)));
    let set = || {
        if node.address.is_empty() {
            return Err(format!("Must provide the address of node {:?}", node.node));
        }
        Ok(Op::PutNode(node))
    };
    step((verb, index), (&what, modified), RowKey::Node(key.clone()), set, Op::DeleteNode(key))
}

fn on_service(
    view: &View,
    scope: &Scope,
    verb: Verb,
    node: &NodeName,
    mut service: Service,
    index: Index,
) -> Result<Step, String> {
    service.partition = scope.place.partition.clone();
    service.namespace = scope.namespace.clone();
    service.locally_registered_as_sidecar = false;
    service.from_file = false;
    service.normalize_told();
    let key = NodeKey::new(&scope.place, node);
    let id = key.instance(&service.id);
    let (what, modified) = (format!("service {:?} on node {node:?}", service.id), modified(view.service(&id)));
    let set = || {
        require_node(view, &key)?;
        service.validate().into_result().map_err(told)?;
        Ok(Op::PutService(key, service))
    };
    step((verb, index), (&what, modified), RowKey::Service(id.clone()), set, Op::DeleteService(id))
}

fn on_check(view: &View, scope: &Scope, verb: Verb, mut check: Check, index: Index) -> Result<Step, String> {
    if check.check_id.as_str().is_empty() {
        check.check_id = CheckId::from(check.name.as_str());
    }
    let node = NodeKey::new(&scope.place, &check.node);
    let key = CheckKey { node: node.clone(), check: check.check_id.clone() };
    let (what, modified) = (format!("check {:?} on node {:?}", check.check_id, check.node), modified(view.check(&key)));
    let set = || {
        require_node(view, &node)?;
        if check.check_id.as_str().is_empty() {
            return Err("a check needs a CheckID or a Name".to_owned());
        }
        let row = check_row(view, &node, None, check).map_err(|problem| told(problem.into()))?;
        Ok(Op::PutCheck(row))
    };
    step((verb, index), (&what, modified), RowKey::Check(key.clone()), set, Op::DeleteCheck(key))
}

fn modified<T>(row: Option<&Stored<T>>) -> Index {
    row.map_or(0, |row| row.modify_index)
}

fn require_node(view: &View, key: &NodeKey) -> Result<(), String> {
    view.node(key).map(drop).ok_or_else(|| format!("Missing node registration: {:?} does not exist", key.node))
}

fn told(problems: Problems) -> String {
    problems.to_string()
}
