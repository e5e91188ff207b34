//! Collecting what was said, from the weakest source to the strongest.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::error::{SettingProblem, Source};
use super::inputs::{HostAddress, Inputs};
use super::keys::{self, KEYS, Key, Merge};
use super::{files, parse, template};
use crate::model::{CheckRegistration, ConfigEntry, Problem, ServiceDefinition};

/// Variables that begin like ours and are none of the settings: options of commands, and what Kubernetes sets in every
/// pod for a service of the name `meshgate`.
const OTHER_VARIABLES: [&str; 5] =
    ["MESHGATE_CACHE_DIR", "MESHGATE_CONFIG_", "MESHGATE_SERVICE_", "MESHGATE_PORT_", "MESHGATE_TEST_"];

/// A value with the place it was given in.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Per key, every value that counts: the last one, or all of a list or map.
    given: BTreeMap<&'static str, Vec<Given>>,
    /// Services of files.
    pub(super) services: Vec<ServiceDefinition>,
    /// Checks of files.
    pub(super) checks: Vec<CheckRegistration>,
    /// Config entries of files.
    pub(super) entries: Vec<ConfigEntry>,
    /// What is wrong so far.
    pub(super) problems: Vec<SettingProblem>,
    /// What has no effect.
    pub(super) warnings: Vec<String>,
}

impl Draft {
    /// Collects files, then variables, then flags.
    pub(super) fn collect(inputs: &Inputs) -> Self {
        let mut draft = Self::default();
        files::collect(inputs, &mut draft);
        draft.collect_variables(inputs);
        for (path, text) in &inputs.flags {
            let source = Source::Flag(keys::flag_of(path));
            draft.give(path, Given { value: text.clone().into(), source });
        }
        draft.fill_templates(&inputs.host_addresses);
        draft
    }

    /// Puts addresses of this host where templates mean them. What is no template here is judged as an address later.
    fn fill_templates(&mut self, host: &[HostAddress]) {
        for key in keys::ADDRESSES {
            let Some(values) = self.given.get_mut(key) else { continue };
            values.retain_mut(|Given { value, source }| {
                let Value::String(text) = value else { return true };
                match template::filled(text, host) {
                    Ok(filled) => *text = filled,
                    Err(message) => {
                        self.problems.push(SettingProblem { source: source.clone(), message });
                        return false;
                    }
                }
                true
            });
        }
    }

    fn collect_variables(&mut self, inputs: &Inputs) {
        for key in &KEYS {
            let name = keys::variable_of(key.path);
            if let Some(text) = inputs.variables.get(&name) {
                self.give(key.path, Given { value: text.clone().into(), source: Source::Variable(name) });
            }
        }
        let ours: Vec<String> = KEYS.iter().map(|key| keys::variable_of(key.path)).collect();
        let unknown = inputs.variables.keys().filter(|name| {
            name.starts_with("MESHGATE_")
                && name.as_str() != "MESHGATE_PORT"
                && !ours.contains(name)
                && !OTHER_VARIABLES.iter().any(|other| name.starts_with(other))
        });
        self.warnings.extend(unknown.map(|name| format!("{name}: there is no such setting; it has no effect")));
    }

    /// Takes a value of a known key.
    pub(super) fn give(&mut self, path: &str, given: Given) {
        let Some(key) = keys::find(path) else { return };
        let values = self.given.entry(key.path).or_default();
        match key.merge {
            Merge::Last => *values = vec![given],
            Merge::Append => {
                let each = parse::list(&given.value).into_iter();
                values.extend(each.map(|value| Given { value, source: given.source.clone() }));
            }
            Merge::Overlay => values.push(given),
        }
    }

    /// The value of a key, if it was given and can be understood; what cannot is a problem.
    pub(super) fn read<T>(&mut self, path: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        self.read_all(path, parse).pop()
    }

    /// Every value of a key.
    pub(super) fn read_all<T>(&mut self, path: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Vec<T> {
        let given = self.given.get(path).map(Vec::as_slice).unwrap_or_default();
        let mut values = Vec::with_capacity(given.len());
        for Given { value, source } in given {
            match parse(value) {
                Ok(value) => values.push(value),
                Err(message) => self.problems.push(SettingProblem { source: source.clone(), message }),
            }
        }
        values
    }

    /// True if a key was given anywhere.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.given.contains_key(path)
    }

    /// Where the value of a key that counts was given.
    pub(super) fn source_of(&self, path: &'static str) -> Source {
        let last = self.given.get(path).and_then(|given| given.last());
        last.map_or(Source::Missing(path), |given| given.source.clone())
    }

    /// Notes what is wrong.
    pub(super) fn problem(&mut self, source: Source, message: impl Into<String>) {
        self.problems.push(SettingProblem { source, message: message.into() });
    }

    /// Notes what is wrong with a file as a whole.
    pub(super) fn file_problem(&mut self, path: &Path, message: impl Into<String>) {
        self.problem(Source::File { path: path.to_owned(), line: None, key: String::new() }, message);
    }

    /// Notes what is wrong in a file.
    pub(super) fn located_problem(&mut self, path: &Path, problem: Problem) {
        let Problem { path: key, line, message, .. } = problem;
        self.problem(Source::File { path: path.to_owned(), line, key }, message);
    }
}

/// How a missing key can be given.
pub(super) fn how_to_give(key: &Key) -> String {
    let flag = key.flag.map(|flag| format!("-{flag}, ")).unwrap_or_default();
    format!("{flag}{}, or {} in a file", keys::variable_of(key.path), key.path)
}
