//! `api.yaml`: what the operations are about.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema;
use crate::codec::{self, Format};

/// What every operation can answer beside what it says.
const ALWAYS: [u16; 2] = [400, 500];
/// What those with a body can answer too.
const WITH_BODY: [u16; 2] = [408, 413];

/// The file, read.
#[derive(Debug, Clone)]
pub(super) struct Description {
    parameters: BTreeMap<String, Parameter>,
    groups: BTreeMap<String, Vec<String>>,
    /// By method and path.
    pub(super) operations: BTreeMap<String, Operation>,
    /// JSON schemas by name.
    pub(super) schemas: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    about: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    required: bool,
}

/// One operation.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Operation {
    /// What it does.
    pub(super) about: String,
    #[serde(default)]
    parameters: Vec<String>,
    /// `optional` for a body that may be left out, `archive` for one that is no JSON.
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(flatten)]
    answers: BTreeMap<String, String>,
}

impl Description {
    /// Reads the file, which is part of the program.
    pub(super) fn read() -> Self {
        const TEXT: &str = include_str!("api.yaml");
        let tree = codec::parse(TEXT.as_bytes(), Format::Yaml).expect("api.yaml is YAML");
        let value = serde_json::to_value(&tree).expect("YAML with string keys");
        let part = |name: &str| value[name].clone();
        let shapes: Map<String, Value> = serde_json::from_value(part("schemas")).expect("schemas by name");
        Self {
            parameters: serde_json::from_value(part("parameters")).expect("parameters by name"),
            groups: serde_json::from_value(part("groups")).expect("lists of parameters by name"),
            operations: serde_json::from_value(part("operations")).expect("operations by method and path"),
            schemas: shapes.into_iter().map(|(name, shape)| (name, schema::of_notation(&shape))).collect(),
        }
    }

    /// The parameters of an operation: those in its path, then those of its query.
    pub(super) fn parameters_of(&self, path: &str, operation: &Operation) -> Vec<Value> {
        let in_path = path.split(['{', '}']).skip(1).step_by(2).map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        });
        let everything = &self.groups["everything"];
        let own = operation.parameters.iter().flat_map(|name| match self.groups.get(name) {
            Some(group) => group.as_slice(),
            None => std::slice::from_ref(name),
        });
        let in_query = own.chain(everything).map(|name| self.parameters[name].described(name));
        in_path.chain(in_query).collect()
    }

    /// The answers of an operation by their status.
    pub(super) fn responses(&self, operation: &Operation, has_body: bool) -> Value {
        let mut responses = Map::new();
        let errors = ALWAYS.iter().chain(WITH_BODY.iter().filter(|_| has_body));
        for status in errors {
            responses.insert(status.to_string(), response("refused", "text"));
        }
        let shows_the_state = operation.parameters.iter().any(|name| name == "read");
        for (status, answer) in &operation.answers {
            let mut described = response(if status == "200" { "done" } else { "not done" }, answer);
            if status == "200" && shows_the_state {
                let header = |about: &str| json!({ "description": about, "schema": { "type": "string" } });
                described["headers"] = json!({
                    "X-Consul-Index": header("The last commit that the answer shows"),
                    "X-Consul-KnownLeader": header("Always true"),
                    "X-Consul-LastContact": header("Always 0"),
                    "X-Consul-Effective-Consistency": header("leader, consistent or stale, as was asked"),
                    "X-Consul-Query-Backend": header("Always blocking-query"),
                });
            }
            responses.insert(status.clone(), described);
        }
        Value::Object(responses)
    }
}

impl Parameter {
    fn described(&self, name: &str) -> Value {
        let mut value = json!({ "name": name, "in": "query", "description": self.about });
        value["schema"] = match self.kind.as_deref() {
            Some("boolean") => json!({ "type": "boolean" }),
            Some("index") => json!({ "type": "integer", "minimum": 0 }),
            Some("list") => json!({ "type": "array", "items": { "type": "string" } }),
            Some(_) | None => json!({ "type": "string" }),
        };
        if self.kind.as_deref() == Some("flag") {
            value["allowEmptyValue"] = json!(true);
        }
        if self.required {
            value["required"] = json!(true);
        }
        value
    }
}

/// An answer: alternatives of text and JSON.
fn response(about: &str, answer: &str) -> Value {
    let mut content = Map::new();
    for alternative in answer.split(" or ") {
        let (media_type, value) = match alternative {
            "nothing" => continue,
            "text" | "lines" => ("text/plain", json!({ "schema": { "type": "string" } })),
            "archive" => ("application/x-gzip", json!({})),
            "events" => ("application/x-ndjson", json!({ "schema": { "type": "string" } })),
            "pem" => ("application/pem-certificate-chain", json!({ "schema": { "type": "string" } })),
            shape => ("application/json", json!({ "schema": schema::of_notation(&json!(shape)) })),
        };
        content.insert(media_type.to_owned(), value);
    }
    let mut value = json!({ "description": about });
    if !content.is_empty() {
        value["content"] = Value::Object(content);
    }
    value
}
