//! Typed reads of the opaque options of proxies and upstreams (contract 3.9 and 4.2).
//!
//! Keys match whatever their case and underscores; numbers, texts and flags convert into each other. A value that does
//! not convert counts as unset.

use serde_json::Value;

use crate::model::OpaqueConfig;

/// The value of a key, which is given in lower snake case.
pub(super) fn get<'c>(config: &'c OpaqueConfig, key: &str) -> Option<&'c Value> {
    config.get(key).or_else(|| config.iter().find(|(written, _)| same(written, key)).map(|(_, value)| value))
}

/// True if two spellings mean the same key.
pub(super) fn same(written: &str, key: &str) -> bool {
    let letters = |text: &'_ str| -> Vec<u8> {
        text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect()
    };
    letters(written) == letters(key)
}

/// A whole number.
pub(super) fn integer(config: &OpaqueConfig, key: &str) -> Option<i64> {
    match get(config, key)? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text; empty counts as unset.
pub(super) fn text(config: &OpaqueConfig, key: &str) -> Option<String> {
    match get(config, key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(|text| !text.is_empty())
}

/// A flag; unset counts as off.
pub(super) fn flag(config: &OpaqueConfig, key: &str) -> bool {
    match get(config, key) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Number(number)) => number.as_f64().is_some_and(|float| float != 0.0),
        Some(Value::String(text)) => matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => false,
    }
}

/// An object; a list with one object stands for it.
pub(super) fn object<'c>(config: &'c OpaqueConfig, key: &str) -> Option<&'c OpaqueConfig> {
    match get(config, key)? {
        Value::Object(object) => Some(object),
        Value::Array(items) => match items.as_slice() {
            [Value::Object(object)] => Some(object),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_and_types_convert() {
        let Value::Object(config) = serde_json::json!({
            "ConnectTimeoutMs": "250", "protocol": "HTTP", "on": "true", "limits": [{"max_connections": 3}],
        }) else {
            unreachable!("an object literal")
        };

        assert_eq!(integer(&config, "connect_timeout_ms"), Some(250));
        assert_eq!(text(&config, "protocol").as_deref(), Some("HTTP"));
        assert!(flag(&config, "on") && !flag(&config, "off"));
        assert_eq!(object(&config, "limits").and_then(|limits| integer(limits, "max_connections")), Some(3));
        assert_eq!(integer(&config, "protocol"), None);
    }
}
