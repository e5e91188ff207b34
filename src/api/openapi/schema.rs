//! JSON schemas of shapes.

use serde_json::{Map, Value, json};

use crate::codec::{self, Shape, shape_of};
use crate::model::entry::{LoadBalancer, Route, Split};
use crate::model::{CheckDefinition, Intention, Proxy};

/// The schema of what a decoder takes.
pub(super) fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(least, most) => {
            let mut value = json!({ "type": "integer" });
            // The limits of 64 bits are no rule about the field.
            if *least > i128::from(i64::MIN) {
                value["minimum"] = number(*least);
            }
            if *most < i128::from(i64::MAX) {
                value["maximum"] = number(*most);
            }
            value
        }
        Shape::Number => json!({ "type": "number" }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Choice(choices) => json!({ "type": "string", "enum": choices }),
        Shape::OneOf(shapes) => json!({ "anyOf": shapes.iter().map(of_shape).collect::<Vec<_>>() }),
        Shape::List(inner) => json!({ "type": "array", "items": of_shape(inner) }),
        Shape::Map(inner) => json!({ "type": "object", "additionalProperties": of_shape(inner) }),
        Shape::Object(fields) => {
            // A field with one possible value says what the object is.
            let is_mark = |shape: &Shape| matches!(shape, Shape::Choice(choices) if choices.len() == 1);
            let required = fields.iter().filter(|(_, shape)| is_mark(shape)).map(|(name, _)| *name).collect();
            object(fields.iter().map(|(name, shape)| ((*name).to_owned(), of_shape(shape))).collect(), required)
        }
    }
}

fn number(limit: i128) -> Value {
    i64::try_from(limit).map_or(Value::Null, Value::from)
}

fn object(properties: Map<String, Value>, required: Vec<&str>) -> Value {
    let mut value = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    value
}

/// The schema of a shape in the notation of `api.yaml`: fields by name, or a text.
pub(super) fn of_notation(shape: &Value) -> Value {
    match shape {
        Value::Object(fields) => {
            let name = |key: &str| key.trim_end_matches('~').to_owned();
            let properties = fields.iter().map(|(key, shape)| (name(key), of_notation(shape))).collect();
            let required = fields.keys().filter(|key| !key.ends_with('~')).map(String::as_str).collect();
            object(properties, required)
        }
        Value::String(text) => of_text(text.trim()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => json!({}),
    }
}

fn of_text(text: &str) -> Value {
    if let Some((first, rest)) = text.split_once(" | ") {
        return json!({ "anyOf": [of_text(first), of_text(rest)] });
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return json!({ "type": "array", "items": of_text(inner) });
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        return json!({ "type": "object", "additionalProperties": of_text(inner) });
    }
    match text {
        "any" => json!({}),
        "index" => json!({ "type": "integer", "minimum": 0 }),
        "string" | "boolean" | "integer" | "number" | "null" => json!({ "type": text }),
        name => match name.strip_prefix('=') {
            Some(name) => decoded(name),
            None => json!({ "$ref": format!("#/components/schemas/{name}") }),
        },
    }
}

/// Rows that are shown as they are decoded.
fn decoded(name: &str) -> Value {
    match name {
        "ConfigEntry" => of_shape(&with_commits(codec::entry_shape())),
        "Proxy" => of_shape(&shape_of::<Proxy>()),
        "CheckDefinition" => of_shape(&shape_of::<CheckDefinition>()),
        "LoadBalancer" => of_shape(&shape_of::<LoadBalancer>()),
        "Route" => of_shape(&shape_of::<Route>()),
        "Split" => of_shape(&shape_of::<Split>()),
        "Intention" => of_shape(&shape_of::<Intention>()),
        other => panic!("api.yaml: no type is known as {other}"),
    }
}

/// Stored entries are shown with the commits that made and changed them.
fn with_commits(shape: Shape) -> Shape {
    let Shape::OneOf(kinds) = shape else { return shape };
    let shown = |kind: Shape| {
        let Shape::Object(mut fields) = kind else { return kind };
        let index = || Shape::Integer(0, i128::from(u64::MAX));
        fields.extend([("CreateIndex", index()), ("ModifyIndex", index())]);
        Shape::Object(fields)
    };
    Shape::OneOf(kinds.into_iter().map(shown).collect())
}
