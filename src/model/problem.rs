//! What is wrong with an input, said once per place.

use std::fmt;

use serde::Serialize;

/// How an input is wrong. The edges turn this into a status: Consul answers what cannot be decoded with 400 and what
/// breaks a rule of a config entry with 500 (`http-api.md` 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The text is not HCL, JSON or YAML.
    Syntax,
    /// A key that nothing reads.
    UnknownKey,
    /// A value of a type the field cannot take.
    Type,
    /// A well-formed value that a rule forbids.
    Rule,
}

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How it is wrong.
    pub kind: ProblemKind,
    /// Where: the path of the field from the top of the document, such as `Proxy.Upstreams[0].LocalBindPort`.
    /// Empty for the document as a whole.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
    /// Line of the source, counted from 1, where the format gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Problem {
    /// A broken rule at `path`.
    pub fn rule(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: ProblemKind::Rule, path: path.into(), message: message.into(), line: None }
    }

    /// The same problem, seen from the document that holds the value under `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.path = match (prefix.is_empty(), self.path.is_empty()) {
            (true, _) => self.path,
            (false, true) => prefix.to_owned(),
            (false, false) if self.path.starts_with('[') => format!("{prefix}{}", self.path),
            (false, false) => format!("{prefix}.{}", self.path),
        };
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Every problem of one input, in document order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Ok if there are none.
    ///
    /// # Errors
    /// The problems themselves.
    pub fn into_result(self) -> Result<(), Problems> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Adds a broken rule.
    pub fn rule(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::rule(path, message));
    }

    /// Refuses a name with control characters: no path of the API could say it, so that nobody could take it away again.
    pub(super) fn refuse_control_characters(&mut self, path: &str, name: &str) {
        if name.contains(char::is_control) {
            self.rule(path, format!("{name:?} must not hold control characters"));
        }
    }

    /// Adds what was found in a part of the document.
    pub fn extend_under(&mut self, prefix: &str, inner: Problems) {
        self.0.extend(inner.0.into_iter().map(|problem| problem.under(prefix)));
    }

    /// True if every problem is a broken rule, that is, the input could be decoded.
    pub fn only_rules(&self) -> bool {
        self.0.iter().all(|problem| problem.kind == ProblemKind::Rule)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    /// One problem stands alone; several follow a headline that counts them, one bulleted line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return only.fmt(f);
        }
        write!(f, "{} errors occurred:", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n\t* {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_problems_are_counted_and_listed() {
        let mut problems = Problems::default();
        problems.rule("Port", "must be set");
        problems.extend_under("Proxy", Problem::rule("Upstreams[0].DestinationName", "must be set").into());

        assert_eq!(
            problems.to_string(),
            "2 errors occurred:\n\t* Port: must be set\n\t* Proxy.Upstreams[0].DestinationName: must be set"
        );
    }
}
