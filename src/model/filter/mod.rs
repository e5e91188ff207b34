//! Filter expressions over rows of answers and over the instances of subsets (`http-api.md` 1.7).
//!
//! ```text
//! expr     := and { "or" and }          match := selector ("==" | "!=") value
//! and      := not { "and" not }                | selector ["not"] ("contains" | "matches") value
//! not      := "not" not | "(" expr ")" | match | value ["not"] "in" selector
//! selector := word { "." word | "[" quoted "]" }| selector "is" ["not"] "empty"
//! ```

mod parse;

use regex::Regex;
use serde_json::Value;

/// A parsed filter expression.
#[derive(Debug, Clone)]
pub struct Filter(Expression);

/// Why an expression cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {expected}")]
pub struct FilterError {
    /// Where, counted in characters from 1.
    pub position: usize,
    /// What was expected there, and what was found.
    pub expected: String,
}

#[derive(Debug, Clone)]
enum Expression {
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Match(Vec<String>, Test),
}

/// What a selected value is tested for.
#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    NotEqual(String),
    Contains(String),
    NotContains(String),
    Matches(Regex),
    NotMatches(Regex),
    Empty,
    NotEmpty,
}

/// Fields whose keys are data. A key that is not there has no value; any other field that is not there has that of an
/// unset one, because answers leave unset fields out.
const MAPS: [&str; 8] =
    ["Config", "Header", "Meta", "NodeMeta", "ServiceMeta", "ServiceTaggedAddresses", "TaggedAddresses", "Subsets"];

impl Filter {
    /// Parses an expression.
    ///
    /// # Errors
    /// The position of the first problem, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::expression(text).map(Self)
    }

    /// True if `row`, an object with the fields of an answer, is selected. A list on the way of a selector means "any of
    /// its elements".
    pub fn matches(&self, row: &Value) -> bool {
        self.0.holds(row)
    }
}

impl Expression {
    fn holds(&self, row: &Value) -> bool {
        match self {
            Expression::Or(a, b) => a.holds(row) || b.holds(row),
            Expression::And(a, b) => a.holds(row) && b.holds(row),
            Expression::Not(inner) => !inner.holds(row),
            Expression::Match(path, test) => any(Some(row), path, false, test),
        }
    }
}

/// Follows `path` from `value` and tests what it leads to. `in_map` says that the next name is a key of data.
fn any(value: Option<&Value>, path: &[String], in_map: bool, test: &Test) -> bool {
    let Some((name, rest)) = path.split_first() else { return test.holds(value, false) };
    if let Some(Value::Array(items)) = value {
        return items.iter().any(|item| any(Some(item), path, in_map, test));
    }
    let next = value.and_then(|value| value.get(name));
    if in_map && next.is_none() {
        return test.holds(None, true);
    }
    any(next, rest, MAPS.contains(&name.as_str()), test)
}

impl Test {
    /// Tests a value. Without one, a missing key of data differs from everything, and an unset field equals the empty
    /// text, zero and false.
    fn holds(&self, value: Option<&Value>, is_missing_key: bool) -> bool {
        match self {
            Test::Equal(wanted) => !is_missing_key && equals(value, wanted),
            Test::NotEqual(wanted) => is_missing_key || !equals(value, wanted),
            Test::Contains(wanted) => contains(value, wanted),
            Test::NotContains(wanted) => !contains(value, wanted),
            Test::Matches(pattern) => pattern.is_match(text(value)),
            Test::NotMatches(pattern) => !pattern.is_match(text(value)),
            Test::Empty => is_empty(value),
            Test::NotEmpty => !is_empty(value),
        }
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn equals(value: Option<&Value>, wanted: &str) -> bool {
    match value {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Bool(flag)) => wanted.parse() == Ok(*flag),
        Some(Value::Number(number)) => wanted.parse::<f64>().ok() == number.as_f64(),
        Some(Value::Array(_) | Value::Object(_)) => false,
        Some(Value::Null) | None => matches!(wanted, "" | "0" | "false"),
    }
}

/// A part of a text, an element of a list, or a key of a map.
fn contains(value: Option<&Value>, wanted: &str) -> bool {
    match value {
        Some(Value::String(text)) => text.contains(wanted),
        Some(Value::Array(items)) => items.iter().any(|item| equals(Some(item), wanted)),
        Some(Value::Object(object)) => object.contains_key(wanted),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => false,
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(object)) => object.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
        Some(Value::Null) | None => true,
    }
}

#[cfg(test)]
mod tests;
