//! Resources as proto3 JSON, for people, goldens and comparisons.

use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Map, Value};

use super::descriptors;
use super::snapshot::ResourceType;

/// A resource as JSON with its `@type`, keys sorted, whole numbers without a fraction.
///
/// # Errors
/// The bytes are not a message of this type, or hold an `Any` of an unknown one.
pub fn resource(kind: ResourceType, body: &[u8]) -> Result<Value, JsonError> {
    let descriptor = descriptors::by_type_url(kind.type_url()).expect("every served type has a descriptor");
    let message = DynamicMessage::decode(descriptor, body)?;
    let printed = message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new().use_proto_field_name(false))?;
    let mut object = Map::from_iter([("@type".to_owned(), Value::from(kind.type_url()))]);
    if let Value::Object(fields) = tidy(printed) {
        object.extend(fields);
    }
    Ok(Value::Object(object))
}

/// A resource that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are no such message.
    #[error("the bytes are not a message of the type")]
    Decode(#[from] prost::DecodeError),
    /// It holds something without a descriptor.
    #[error("the message holds something that cannot be written as JSON")]
    Print(#[from] serde_json::Error),
}

/// Whole doubles become integers, as Envoy prints them.
fn tidy(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9.0e15 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, tidy(value))).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::String(_)) => other,
    }
}
