//! `api.yaml`: what the operations are about.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema;
use crate::codec::{self, Format};

/// What every operation can answer beside what it says.
const ALWAYS: [u16; 3] = [400, 403, 500];
/// What those with a body can answer too.
const WITH_BODY: [u16; 2] = [408, 413];

/// The file, read.
#[derive(Debug, Clone)]
pub(super) struct Description {
    parameters: BTreeMap<String, Parameter>,
    groups: BTreeMap<String, Vec<String>>,
    /// Headers of calls by name.
    headers: BTreeMap<String, Parameter>,
    /// Headers of answers by name.
    answer_headers: BTreeMap<String, Parameter>,
    answer_groups: BTreeMap<String, Vec<String>>,
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
    /// Headers of its answers, by their status.
    #[serde(default)]
    headers: BTreeMap<String, Vec<String>>,
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
            headers: serde_json::from_value(part("headers")).expect("headers by name"),
            answer_headers: serde_json::from_value(part("answer-headers")).expect("headers by name"),
            answer_groups: serde_json::from_value(part("answer-groups")).expect("lists of headers by name"),
            operations: serde_json::from_value(part("operations")).expect("operations by method and path"),
            schemas: shapes.into_iter().map(|(name, shape)| (name, schema::of_notation(&shape))).collect(),
        }
    }

    /// The parameters of an operation: those in its path, then those of its query, then headers.
    pub(super) fn parameters_of(&self, path: &str, operation: &Operation) -> Vec<Value> {
        let in_path = path.split(['{', '}']).skip(1).step_by(2).map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        });
        let everything = &self.groups["everything"];
        let own = operation.parameters.iter().flat_map(|name| match self.groups.get(name) {
            Some(group) => group.as_slice(),
            None => std::slice::from_ref(name),
        });
        let in_query = own.chain(everything).map(|name| self.parameters[name].described(name, "query"));
        let in_headers = self.headers.iter().map(|(name, header)| header.described(name, "header"));
        in_path.chain(in_query).chain(in_headers).collect()
    }

    /// The answers of an operation by their status.
    pub(super) fn responses(&self, operation: &Operation, has_body: bool) -> Value {
        let mut responses = Map::new();
        let errors = ALWAYS.iter().chain(WITH_BODY.iter().filter(|_| has_body));
        for status in errors {
            let mut described = response("refused", "text");
            described["headers"] = self.headers_of(status.to_string().as_str(), operation);
            responses.insert(status.to_string(), described);
        }
        for (status, answer) in &operation.answers {
            let mut described = response(if status == "200" { "done" } else { "not done" }, answer);
            described["headers"] = self.headers_of(status, operation);
            responses.insert(status.clone(), described);
        }
        Value::Object(responses)
    }

    /// The headers of an operation's answers with this status.
    fn headers_of(&self, status: &str, operation: &Operation) -> Value {
        let own = operation.headers.get(status).into_iter().flatten().map(String::as_str);
        let of_reads = match status {
            "200" => Some("read"),
            // Something else than what was asked for may be absent.
            "404" => Some("read?"),
            _ => None,
        };
        let of_reads = of_reads.filter(|_| operation.parameters.iter().any(|name| name == "read"));
        let mut headers = Map::new();
        for said in ["everything"].into_iter().chain(of_reads).chain(own) {
            let name = said.trim_end_matches('?');
            let one = name.to_owned();
            let names = self.answer_groups.get(name).map_or(std::slice::from_ref(&one), Vec::as_slice);
            for name in names {
                let header = &self.answer_headers[name];
                let mut described = json!({ "description": header.about, "schema": header.schema() });
                if !said.ends_with('?') {
                    described["required"] = json!(true);
                }
                headers.insert(name.clone(), described);
            }
        }
        Value::Object(headers)
    }
}

impl Parameter {
    fn schema(&self) -> Value {
        match self.kind.as_deref() {
            Some("boolean") => json!({ "type": "boolean" }),
            Some("index") => json!({ "type": "integer", "minimum": 0 }),
            Some("list") => json!({ "type": "array", "items": { "type": "string" } }),
            Some(_) | None => json!({ "type": "string" }),
        }
    }

    fn described(&self, name: &str, place: &str) -> Value {
        let mut value = json!({ "name": name, "in": place, "description": self.about, "schema": self.schema() });
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
