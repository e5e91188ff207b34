//! Changes of HTTP headers, as routes and splits make them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Problems, is_default};

/// Changes of the headers of requests or responses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderModifiers {
    /// Values that are added beside those that are there.
    #[serde(skip_serializing_if = "is_default")]
    pub add: BTreeMap<String, String>,
    /// Values that replace those that are there.
    #[serde(skip_serializing_if = "is_default")]
    pub set: BTreeMap<String, String>,
    /// Headers that are taken away.
    #[serde(skip_serializing_if = "is_default")]
    pub remove: Vec<String>,
}

/// Longest name and value that Envoy takes.
const LONGEST: usize = 16_384;

impl HeaderModifiers {
    /// Refuses what Envoy would not take.
    pub(super) fn validate(&self, path: &str, problems: &mut Problems) {
        for (field, headers) in [("Add", &self.add), ("Set", &self.set)] {
            for (name, value) in headers {
                let path = format!("{path}.{field}{}{name}", if name.is_empty() { "" } else { "." });
                validate_name(name, &path, problems);
                validate_value(value, &path, problems);
            }
        }
        for (position, name) in self.remove.iter().enumerate() {
            validate_name(name, &format!("{path}.Remove[{position}]"), problems);
        }
    }
}

fn validate_name(name: &str, path: &str, problems: &mut Problems) {
    if name.is_empty() || name.len() > LONGEST {
        problems.rule(path, format!("the name of a header has 1 to {LONGEST} bytes"));
    }
    problems.refuse_control_characters(path, name);
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        problems.rule(path, format!("the header {name:?} cannot be changed"));
    }
}

fn validate_value(value: &str, path: &str, problems: &mut Problems) {
    if value.len() > LONGEST || value.contains(['\0', '\r', '\n']) {
        problems
            .rule(path, format!("a value has at most {LONGEST} bytes, neither zero bytes nor line ends among them"));
    }
    if !has_whole_commands(value) {
        problems
            .rule(path, "a % starts a command such as %DOWNSTREAM_REMOTE_ADDRESS%; write %% for the character itself");
    }
}

/// True if every `%` is doubled, or encloses a command of Envoy's: a name, perhaps arguments and a length.
fn has_whole_commands(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        let name = after.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let Some(end) = name else { return false };
        let tail = match (end, &after[end..]) {
            (0, tail) => {
                let Some(tail) = tail.strip_prefix('%') else { return false };
                rest = tail;
                continue;
            }
            (_, tail) => tail,
        };
        let tail = match tail.strip_prefix('(') {
            Some(arguments) => match arguments.split_once(')') {
                Some((_, tail)) => tail,
                None => return false,
            },
            None => tail,
        };
        let tail = match tail.strip_prefix(':') {
            Some(length) => match length.trim_start_matches(|c: char| c.is_ascii_digit()) {
                tail if tail.len() < length.len() => tail,
                _ => return false,
            },
            None => tail,
        };
        let Some(tail) = tail.strip_prefix('%') else { return false };
        rest = tail;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_must_be_whole() {
        for value in ["", "100%%", "a %PROTOCOL% b", "%REQ(X-ID?:path):10%%%", "%DYNAMIC_METADATA(a:b)%"] {
            assert!(has_whole_commands(value), "{value}");
        }
        for value in ["100%", "%a%", "%PROTOCOL", "%REQ(X%", "%REQ(X):%", "%REQ(X)y%", "%% %"] {
            assert!(!has_whole_commands(value), "{value}");
        }
    }
}
