//! Puts certificates and roots where they are referred to, as Envoy does.
//!
//! The comparer takes a reference and an inline certificate for the same, but not what a validation context holds besides
//! its roots: a SPIFFE validator with the bundles of several trust domains travels inside of our secret. What Envoy
//! effectively has is compared, so the secrets that came are put into the TLS contexts that refer to them. A reference to
//! a secret that did not come is dropped, so that it is missed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Secrets by name.
pub(crate) type Secrets<'s> = BTreeMap<&'s str, &'s Value>;

/// A resource with everything in place of the references to it.
pub(crate) fn resolved(value: &Value, secrets: &Secrets<'_>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| resolved(item, secrets)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| (key.clone(), resolved(field, secrets)));
            Value::Object(context(fields.collect(), secrets))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// A message, which may be a TLS context.
fn context(mut fields: Map<String, Value>, secrets: &Secrets<'_>) -> Map<String, Value> {
    let find = |reference: &Value, what: &str| {
        let name = reference.get("name").and_then(Value::as_str)?;
        secrets.get(name)?.get(what).cloned()
    };
    if let Some(Value::Array(references)) = fields.remove("tlsCertificateSdsSecretConfigs") {
        let found = references.iter().filter_map(|reference| find(reference, "tlsCertificate")).collect();
        fields.insert("tlsCertificates".to_owned(), found);
    }
    if let Some(reference) = fields.get("validationContextSdsSecretConfig")
        && !fields.contains_key("defaultValidationContext")
    {
        let found = find(reference, "validationContext");
        fields.remove("validationContextSdsSecretConfig");
        fields.extend(found.map(|found| ("validationContext".to_owned(), found)));
    }
    if let Some(Value::Object(mut combined)) = fields.remove("combinedValidationContext") {
        let mut whole = combined.remove("defaultValidationContext").unwrap_or_default();
        let reference = combined.remove("validationContextSdsSecretConfig");
        if let Some(secret) = reference.and_then(|reference| find(&reference, "validationContext")) {
            merge(&mut whole, secret);
        }
        fields.insert("validationContext".to_owned(), whole);
    }
    fields
}

/// Merges as protobuf does: what is singular is replaced, lists grow.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from),
        (into, from) => *into = from,
    }
}
