//! Messages that operators give in place of generated ones, read against the real types of Envoy's API.
//!
//! **Problem.** They are proto3 JSON: keys in two spellings, other messages nested in `Any`, and mistakes that only Envoy
//! would find, together with everything that it was sent with.
//!
//! **Invariant.** What is taken decodes as the message that it says it is, down to the last `Any`. What is not is named with
//! the option that holds it and the path of every key that is wrong.

mod blame;
mod protect;
mod references;

use std::fmt;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

pub(super) use protect::protect;
pub(super) use references::clusters;

use super::descriptors;
use crate::ir::Given;

/// A message that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenError {
    /// The option that holds it.
    origin: String,
    /// Everything that is wrong, as far as it was read.
    problems: Vec<String>,
}

impl GivenError {
    fn new(given: &Given, problem: impl Into<String>) -> Self {
        Self { origin: given.origin.to_string(), problems: vec![problem.into()] }
    }
}

impl fmt::Display for GivenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used: {}", self.origin, self.problems.join("; "))
    }
}

impl std::error::Error for GivenError {}

/// What is wrong with a resource that an operator gives, or gives a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenErrors {
    /// The resource itself.
    pub whole: Option<GivenError>,
    /// What its connection managers trace.
    pub tracing: Option<GivenError>,
}

impl GivenErrors {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &GivenError> {
        self.whole.iter().chain(&self.tracing)
    }
}

/// A listener.
pub(super) fn listener(given: &Given) -> Result<Listener, GivenError> {
    let listener: Listener = read(given)?;
    has_name(given, &listener.name)?;
    Ok(listener)
}

/// A cluster.
pub(super) fn cluster(given: &Given) -> Result<Cluster, GivenError> {
    let cluster: Cluster = read(given)?;
    has_name(given, &cluster.name)?;
    Ok(cluster)
}

/// What connection managers trace.
pub(super) fn tracing(given: &Given) -> Result<Tracing, GivenError> {
    read(given)
}

/// Envoy knows listeners and clusters of the stream by their names.
fn has_name(given: &Given, name: &str) -> Result<(), GivenError> {
    if name.is_empty() { Err(GivenError::new(given, "name: must not be empty")) } else { Ok(()) }
}

fn read<M: Message + Name + Default>(given: &Given) -> Result<M, GivenError> {
    let wrong = |problem: String| GivenError::new(given, problem);
    let json: Value = serde_json::from_str(&given.document).map_err(|error| wrong(format!("invalid JSON: {error}")))?;
    is_a::<M>(&json).map_err(wrong)?;
    let any = descriptors::by_name(&Any::full_name()).expect("the well-known types are built in");
    let mut text = serde_json::Deserializer::from_str(&given.document);
    let message = DynamicMessage::deserialize(any, &mut text).map_err(|error| {
        let problems = blame::problems(&json);
        let problems = if problems.is_empty() { vec![error.to_string()] } else { problems };
        GivenError { origin: given.origin.to_string(), problems }
    })?;
    let body = message.transcode_to::<Any>().map_err(|error| wrong(error.to_string()))?.value;
    can_be_shown::<M>(&body).map_err(wrong)?;
    M::decode(&*body).map_err(|error| wrong(error.to_string()))
}

/// Looks at the `@type`.
fn is_a<M: Name>(json: &Value) -> Result<(), String> {
    let Value::Object(fields) = json else { return Err("it must be a JSON object".to_owned()) };
    let wanted = M::type_url();
    match fields.get("@type") {
        None => Err(format!("the key \"@type\" is missing: it must be {wanted:?}")),
        Some(Value::String(url)) if url.rsplit('/').next() == Some(&M::full_name()) => Ok(()),
        Some(other) => Err(format!("@type: must be {wanted:?}, found {other}")),
    }
}

/// Reads back every nested message: bytes that are nested too deep could be sent, and nobody could look at them.
fn can_be_shown<M: Name>(body: &[u8]) -> Result<(), String> {
    let descriptor = descriptors::by_name(&M::full_name()).expect("every generated message has a descriptor");
    let message = DynamicMessage::decode(descriptor, body).map_err(|error| error.to_string())?;
    let shown = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
    shown.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
