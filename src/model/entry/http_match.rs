//! Rules about HTTP requests that routes and intentions share (contract 6.8, 6.9).

use std::collections::BTreeSet;

use crate::model::{Problems, check_expression};

/// The methods that can be matched.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// A condition on the path, of which one at most is set.
pub(super) struct PathCondition<'a> {
    pub(super) exact: &'a str,
    pub(super) prefix: &'a str,
    pub(super) regex: &'a str,
}

impl PathCondition<'_> {
    pub(super) fn validate(&self, path: &str, problems: &mut Problems) {
        let set = [("PathExact", self.exact), ("PathPrefix", self.prefix), ("PathRegex", self.regex)];
        if set.iter().filter(|(_, value)| !value.is_empty()).count() > 1 {
            problems.rule(path, "only one of PathExact, PathPrefix and PathRegex may be set");
        }
        for (field, value) in &set[..2] {
            if !value.is_empty() && !value.starts_with('/') {
                problems.rule(format!("{path}.{field}"), format!("{value:?} must start with /"));
            }
        }
        validate_expression(self.regex, &format!("{path}.PathRegex"), problems);
    }
}

/// Refuses an expression that Envoy would not take. Empty means that there is none.
pub(super) fn validate_expression(expression: &str, path: &str, problems: &mut Problems) {
    if let Err(error) = check_expression(expression) {
        problems.rule(path, format!("is no regular expression that Envoy takes: {error}"));
    }
}

/// A header or parameter needs a name and exactly one condition.
pub(super) fn validate_conditions(name: &str, conditions: &[(&str, bool)], path: &str, problems: &mut Problems) {
    if name.is_empty() {
        problems.rule(format!("{path}.Name"), "a name is required");
    }
    problems.refuse_control_characters(&format!("{path}.Name"), name);
    if conditions.iter().filter(|(_, is_set)| *is_set).count() != 1 {
        let names: Vec<_> = conditions.iter().map(|(name, _)| *name).collect();
        problems.rule(path, format!("exactly one of {} must be set", names.join(", ")));
    }
}

/// Methods in the spelling of HTTP.
pub(super) fn normalize_methods(methods: &mut [String]) {
    methods.iter_mut().for_each(|method| method.make_ascii_uppercase());
}

/// Methods must be known, and each stands once.
pub(super) fn validate_methods(methods: &[String], path: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (position, method) in methods.iter().enumerate() {
        let path = format!("{path}[{position}]");
        if !METHODS.contains(&method.as_str()) {
            problems.rule(path, format!("unknown method {method:?}: expected one of {}", METHODS.join(", ")));
        } else if !seen.insert(method) {
            problems.rule(path, format!("{method:?} is there twice"));
        }
    }
}
