//! The body of a transaction.

use serde::Deserialize;

use super::lenient::{Typing, from_tree};
use super::tree::{Content, Tree};
use super::{Format, Shape, parse, shape_of};
use crate::model::{Check, Node, NodeName, Operation, OperationRow, Problem, ProblemKind, Problems, Service, Verb};

/// What can be done to a row.
const VERBS: [&str; 5] = ["get", "set", "cas", "delete", "delete-cas"];

/// The operations that meshgate has rows for.
const KNOWN: &str = "Node, Service or Check";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OnNode {
    verb: String,
    node: Node,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OnService {
    verb: String,
    node: NodeName,
    service: Service,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OnCheck {
    verb: String,
    check: Check,
}

/// The body of `PUT /v1/txn` (decoder A).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn transaction(body: &[u8]) -> Result<Vec<Operation>, Problems> {
    let tree = parse(body, Format::Json)?;
    let Content::List(items) = &tree.content else {
        return Err(problem(&tree, format!("expected a list of operations, found {}", tree.describe())).into());
    };
    let mut problems = Problems::default();
    let mut operations = Vec::with_capacity(items.len());
    for (position, item) in items.iter().enumerate() {
        match operation(item) {
            Ok(operation) => operations.push(operation),
            Err(inner) => problems.0.extend(inner.0.into_iter().map(|it| it.under(&format!("[{position}]")))),
        }
    }
    problems.into_result().map(|()| operations)
}

/// What the body is decoded from: operations, each about one row.
pub fn transaction_shape() -> Shape {
    let with_verbs = |shape: Shape| {
        let Shape::Object(fields) = shape else { return shape };
        let known = |(name, shape)| if name == "Verb" { (name, Shape::Choice(VERBS.to_vec())) } else { (name, shape) };
        Shape::Object(fields.into_iter().map(known).collect())
    };
    Shape::List(Box::new(Shape::Object(vec![
        ("Node", with_verbs(shape_of::<OnNode>())),
        ("Service", with_verbs(shape_of::<OnService>())),
        ("Check", with_verbs(shape_of::<OnCheck>())),
    ])))
}

fn operation(item: &Tree) -> Result<Operation, Problems> {
    let given =
        |kind: &'static str| item.get(kind).filter(|tree| tree.content != Content::Null).map(|tree| (kind, tree));
    let kinds: Vec<_> = ["KV", "Session", "Node", "Service", "Check"].into_iter().filter_map(given).collect();
    let [(kind, inner)] = kinds.as_slice() else {
        return Err(problem(item, format!("an operation is about one thing: give {KNOWN}")).into());
    };
    let (verb, row) = match *kind {
        "Node" => {
            let OnNode { verb, node } = from_tree(inner, Typing::Strict).map_err(|it| under(it, kind))?;
            (verb, OperationRow::Node(Box::new(node)))
        }
        "Service" => {
            let OnService { verb, node, service } = from_tree(inner, Typing::Strict).map_err(|it| under(it, kind))?;
            (verb, OperationRow::Service(node, Box::new(service)))
        }
        "Check" => {
            let OnCheck { verb, check } = from_tree(inner, Typing::Strict).map_err(|it| under(it, kind))?;
            (verb, OperationRow::Check(Box::new(check)))
        }
        other => {
            return Err(problem(inner, format!("there is no {other} store in meshgate: give {KNOWN}")).into());
        }
    };
    let verb = Verb::parse(&verb).ok_or_else(|| {
        let message = format!("unknown verb {verb:?}: use get, set, cas, delete or delete-cas");
        problem(inner, message).under(kind)
    })?;
    Ok(Operation { verb, row, index: index_of(inner, kind) })
}

/// The commit that an operation compares with. The row itself is read without it, because no row keeps it.
fn index_of(inner: &Tree, kind: &str) -> u64 {
    let index = inner.get(kind).and_then(|row| row.get("ModifyIndex"));
    match index.map(|tree| &tree.content) {
        Some(Content::Number(number)) => number.to_string().parse().unwrap_or_default(),
        _ => 0,
    }
}

fn under(problems: Problems, place: &str) -> Problems {
    Problems(problems.0.into_iter().map(|problem| problem.under(place)).collect())
}

fn problem(tree: &Tree, message: String) -> Problem {
    Problem { kind: ProblemKind::Type, path: String::new(), message, line: Some(tree.line) }
}
