//! Access logging of sidecars and gateways (contract 3.8, 6.2).

mod format;
mod operators;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use operators::{Parameters, operators as access_log_operators};

use super::{OpaqueConfig, Problems, is_default};

/// Access logging of listeners and connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AccessLogs {
    /// Log at all.
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: bool,
    /// Leave out the listeners' own log.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_listener_logs: bool,
    /// `stdout` (when empty), `stderr` or `file`.
    #[serde(rename = "Type", skip_serializing_if = "is_default")]
    pub sink: String,
    /// File to write, with type `file`.
    #[serde(skip_serializing_if = "is_default")]
    pub path: String,
    /// Line format as a JSON object.
    #[serde(rename = "JSONFormat", skip_serializing_if = "is_default")]
    pub json_format: String,
    /// Line format as text.
    #[serde(skip_serializing_if = "is_default")]
    pub text_format: String,
}

impl AccessLogs {
    /// Every broken rule. A format that Envoy does not understand would make it refuse every listener of every proxy.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        let sink = self.sink.as_str();
        if !matches!(sink, "" | "stdout" | "stderr" | "file") {
            problems.rule("Type", format!("unknown type {sink:?}: expected \"stdout\", \"stderr\" or \"file\""));
        }
        if (sink == "file") == self.path.is_empty() {
            problems.rule("Path", "a path is required with type \"file\", and only allowed with it");
        }
        if self.path.contains('\0') {
            problems.rule("Path", "must not hold a zero byte");
        }
        if !self.json_format.is_empty() && !self.text_format.is_empty() {
            problems.rule("TextFormat", "only one of JSONFormat and TextFormat may be set");
        }
        if let Some(problem) = format::problem(&self.text_format) {
            problems.rule("TextFormat", problem);
        }
        if !self.json_format.is_empty() {
            match serde_json::from_str::<OpaqueConfig>(&self.json_format) {
                Ok(object) => object.iter().for_each(|(key, value)| validate_value(key, value, &mut problems)),
                Err(_) => problems.rule("JSONFormat", "must be a JSON object"),
            }
        }
        problems
    }
}

/// Only values have operators, keys are taken as they are.
fn validate_value(path: &str, value: &Value, problems: &mut Problems) {
    match value {
        Value::String(text) => {
            if let Some(problem) = format::problem(text) {
                problems.rule("JSONFormat", format!("{path}: {problem}"));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| validate_value(path, item, problems)),
        Value::Object(fields) => {
            for (key, value) in fields {
                validate_value(&format!("{path}.{key}"), value, problems);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(logs: AccessLogs) -> Vec<String> {
        logs.validate().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn formats_are_looked_into_value_by_value() {
        let json_format =
            r#"{"%no operator%": "%PROTOCOL%", "a": {"b": ["%PROTOCL%", 1, null]}, "c": "100%"}"#.to_owned();

        assert_eq!(
            problems(AccessLogs { json_format, ..AccessLogs::default() }),
            [
                "JSONFormat: a.b: Envoy knows no operator %PROTOCL%, did you mean %PROTOCOL%?",
                "JSONFormat: c: the % at the end begins no operator; a % of its own is written %%",
            ]
        );
        assert_eq!(
            problems(AccessLogs { text_format: "%START_TIME(%F)% %%".to_owned(), ..AccessLogs::default() }),
            [""; 0]
        );
    }

    #[test]
    fn a_file_has_a_path_that_the_system_can_take() {
        let file = |sink: &str, path: &str| {
            problems(AccessLogs { sink: sink.to_owned(), path: path.to_owned(), ..AccessLogs::default() })
        };

        assert_eq!(file("file", "/var/log/envoy"), [""; 0]);
        assert_eq!(file("file", "a\0b"), ["Path: must not hold a zero byte"]);
        assert_eq!((file("file", "").len(), file("", "/tmp/x").len(), file("syslog", "").len()), (1, 1, 1));
    }
}
