//! Where a document is wrong.
//!
//! The reader stops at the first mistake and knows no path. So each value of a document that cannot be read is tried by
//! itself, down to the smallest ones that cannot be.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::envoy::descriptors;

/// More are not told.
const MOST_PROBLEMS: usize = 10;

/// The paths of what is wrong in an `Any`, each with the reason. Empty if no single value is.
pub(super) fn problems(document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    of_any("", document, &mut problems);
    problems.truncate(MOST_PROBLEMS);
    problems
}

/// An `Any` names its own type. Without one, or with one that is not known, it is wrong as a whole.
fn of_any(path: &str, value: &Value, problems: &mut Vec<String>) {
    let Value::Object(fields) = value else {
        return problems.push(format!("{path}: must be an object with \"@type\""));
    };
    let Some(Value::String(url)) = fields.get("@type") else {
        return problems.push(format!("{}: is missing", join(path, "@type")));
    };
    match descriptors::by_type_url(url) {
        None => problems.push(format!("{}: the type {url:?} is not known", join(path, "@type"))),
        // The content of a well-known type stands under one key.
        Some(descriptor) if descriptor.full_name().starts_with("google.protobuf.") => {
            if let Some(reason) = reason(&descriptor, fields.get("value").unwrap_or(&Value::Null)) {
                problems.push(format!("{}: {reason}", join(path, "value")));
            }
        }
        Some(descriptor) => {
            let content: Map<String, Value> = fields
                .iter()
                .filter(|(key, _)| *key != "@type")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            of_message(path, &descriptor, &content, problems);
        }
    }
}

fn of_message(path: &str, descriptor: &MessageDescriptor, fields: &Map<String, Value>, problems: &mut Vec<String>) {
    let before = problems.len();
    for (key, value) in fields {
        if problems.len() >= MOST_PROBLEMS {
            return;
        }
        if let Some(reason) = reason(descriptor, &json!({ key: value })) {
            of_field(&join(path, key), field(descriptor, key).as_ref(), value, reason, problems);
        }
    }
    if problems.len() == before
        && let Some(reason) = reason(descriptor, &Value::Object(fields.clone()))
    {
        problems.push(format!("{path}: {reason}"));
    }
}

/// What is wrong inside of a field, or else the field itself.
fn of_field(path: &str, field: Option<&FieldDescriptor>, value: &Value, reason: String, problems: &mut Vec<String>) {
    let before = problems.len();
    if let Some(field) = field
        && let Kind::Message(message) = field.kind()
    {
        if let Some(items) = value.as_array()
            && field.is_list()
        {
            for (position, item) in items.iter().enumerate() {
                of_value(&format!("{path}[{position}]"), &message, item, problems);
            }
        } else if let Some(entries) = value.as_object()
            && field.is_map()
        {
            if let Kind::Message(message) = message.map_entry_value_field().kind() {
                for (key, item) in entries {
                    of_value(&join(path, key), &message, item, problems);
                }
            }
        } else {
            of_value(path, &message, value, problems);
        }
    }
    if problems.len() == before {
        problems.push(format!("{path}: {reason}"));
    }
}

/// What is wrong inside of a message. The well-known types are not looked into: they are values rather than messages.
fn of_value(path: &str, descriptor: &MessageDescriptor, value: &Value, problems: &mut Vec<String>) {
    let name = descriptor.full_name();
    let Some(reason) = reason(descriptor, value) else { return };
    if name == "google.protobuf.Any" {
        of_any(path, value, problems);
    } else if let Some(fields) = value.as_object()
        && !name.starts_with("google.protobuf.")
    {
        of_message(path, descriptor, fields, problems);
    } else {
        problems.push(format!("{path}: {reason}"));
    }
}

/// Why this value is no such message; `None` if it is one.
fn reason(descriptor: &MessageDescriptor, value: &Value) -> Option<String> {
    DynamicMessage::deserialize(descriptor.clone(), value).err().map(|error| error.to_string())
}

fn field(descriptor: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(key).or_else(|| descriptor.get_field_by_name(key))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
