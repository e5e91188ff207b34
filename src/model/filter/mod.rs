//! Filter expressions in go-bexpr's language (`http-api.md` 1.7), over rows as the API shows them.
//!
//! A row is JSON, and JSON does not say whether an object is a struct or a map, nor names the fields that were left out
//! because they are empty. So the names of fields are known here ([`fields`]): a selector made of any other name is
//! refused when the expression is parsed, whatever the rows hold, and a field that a row leaves out counts as empty.
//! Below a map, such as `Meta`, every key is a selector, and one that is missing compares as the language says: it equals
//! nothing, contains nothing and is empty.

mod fields;
mod parse;

use regex::Regex;
use serde_json::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Filter(Expression);

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is no expression.
    #[error("syntax error at column {column}: expected {expected}")]
    Syntax {
        /// Where reading stopped, in characters counted from 1.
        column: usize,
        /// What would have been right there.
        expected: String,
    },
    /// A selector that names no field.
    #[error("selector {selector:?} is not valid: {reason}")]
    Selector {
        /// The selector.
        selector: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An operator that the selected field does not have, or a value that cannot be compared with it.
    #[error("{operator} cannot be used with {selector:?}, which is {found}")]
    Mismatch {
        /// The operator, and the value if it is to blame.
        operator: String,
        /// The selector.
        selector: String,
        /// What the field is.
        found: &'static str,
    },
}

#[derive(Debug, Clone)]
enum Expression {
    Or(Vec<Expression>),
    And(Vec<Expression>),
    Not(Box<Expression>),
    Comparison(Comparison),
}

/// One test of one selector.
#[derive(Debug, Clone)]
struct Comparison {
    selector: Vec<String>,
    is_negated: bool,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    /// `==` and `!=`.
    Equals(String),
    /// `contains` and `in`.
    Contains(String),
    /// `matches`.
    Matches(Regex),
    /// `is empty`.
    IsEmpty,
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// A text that is no expression, or a selector that can name no field.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filter = Self(parse::expression(text)?);
        filter.0.each(&mut Comparison::check_names)?;
        Ok(filter)
    }

    /// The same expression, if every selector starts with one of `roots`, the fields at the top of a row.
    ///
    /// # Errors
    /// The first selector that starts with another field.
    pub fn over(self, roots: &[&str]) -> Result<Self, FilterError> {
        self.0.each(&mut |comparison| {
            if roots.contains(&comparison.selector[0].as_str()) {
                return Ok(());
            }
            Err(comparison.not_valid(format!("it must start with {}", roots.join(", "))))
        })?;
        Ok(self)
    }

    /// True if the row fits.
    ///
    /// # Errors
    /// An operator or value that does not go with the type of a field in this row.
    pub fn matches(&self, row: &Value) -> Result<bool, FilterError> {
        self.0.matches(row)
    }
}

impl Expression {
    fn each(&self, check: &mut dyn FnMut(&Comparison) -> Result<(), FilterError>) -> Result<(), FilterError> {
        match self {
            Expression::Or(parts) | Expression::And(parts) => parts.iter().try_for_each(|part| part.each(check)),
            Expression::Not(inner) => inner.each(check),
            Expression::Comparison(comparison) => check(comparison),
        }
    }

    fn matches(&self, row: &Value) -> Result<bool, FilterError> {
        match self {
            Expression::Or(parts) => any(parts, |part| part.matches(row)),
            Expression::And(parts) => any(parts, |part| part.matches(row).map(|fits| !fits)).map(|fails| !fails),
            Expression::Not(inner) => inner.matches(row).map(|fits| !fits),
            Expression::Comparison(comparison) => comparison.matches(row, 0),
        }
    }
}

/// True if `fits` is for any item; the first error ends the search.
fn any<'a, T: 'a>(
    items: impl IntoIterator<Item = &'a T>,
    fits: impl Fn(&'a T) -> Result<bool, FilterError>,
) -> Result<bool, FilterError> {
    for item in items {
        if fits(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Comparison {
    fn not_valid(&self, reason: String) -> FilterError {
        FilterError::Selector { selector: self.selector.join("."), reason }
    }

    /// Every name must be a field, but for the one behind a map, which is a key.
    fn check_names(&self) -> Result<(), FilterError> {
        for (position, name) in self.selector.iter().enumerate() {
            let is_key = position > 0 && fields::is_map(&self.selector[position - 1]);
            if is_key || fields::is_field(name) {
                continue;
            }
            let reason = if fields::is_hidden(name) { "cannot be filtered on" } else { "is no field" };
            return Err(self.not_valid(format!("{name} {reason}")));
        }
        Ok(())
    }

    /// `value` is what the first `depth` names of the selector lead to.
    fn matches(&self, value: &Value, depth: usize) -> Result<bool, FilterError> {
        let Some(name) = self.selector.get(depth) else {
            return Ok(self.test(value)? != self.is_negated);
        };
        let is_map = depth > 0 && fields::is_map(&self.selector[depth - 1]);
        match value {
            // A list of structs is searched for any that fits, negated tests included.
            Value::Array(items) => any(items, |item| self.matches(item, depth)),
            Value::Object(members) => match members.get(name) {
                Some(member) => self.matches(member, depth + 1),
                None if is_map => Ok(self.misses_key()),
                None => self.matches(&Value::Null, depth + 1),
            },
            Value::Null if is_map => Ok(self.misses_key()),
            Value::Null => self.matches(&Value::Null, depth + 1),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(self.not_valid(format!("{} has no fields", self.selector[..depth].join("."))))
            }
        }
    }

    fn misses_key(&self) -> bool {
        matches!(self.test, Test::IsEmpty) != self.is_negated
    }

    fn test(&self, value: &Value) -> Result<bool, FilterError> {
        match (&self.test, value) {
            (Test::Equals(expected), Value::String(text)) => Ok(text == expected),
            (Test::Equals(expected), found @ Value::Bool(value)) => {
                go_bool(expected).map(|expected| expected == *value).ok_or_else(|| self.mismatch(kind_of(found)))
            }
            (Test::Equals(expected), found @ Value::Number(number)) => {
                let expected: f64 = expected.parse().map_err(|_| self.mismatch(kind_of(found)))?;
                Ok(number.as_f64() == Some(expected))
            }
            (Test::Equals(expected), Value::Null) => Ok(matches!(expected.as_str(), "" | "0" | "false")),
            (Test::Contains(part), Value::String(text)) => Ok(text.contains(part.as_str())),
            (Test::Contains(part), Value::Array(items)) => any(items, |item| match item {
                Value::String(text) => Ok(text == part),
                Value::Number(number) => Ok(number.to_string() == *part),
                Value::Bool(value) => Ok(go_bool(part) == Some(*value)),
                Value::Null | Value::Array(_) | Value::Object(_) => Err(self.mismatch("a list of objects")),
            }),
            (Test::Contains(key), Value::Object(members)) if self.ends_in_map() => Ok(members.contains_key(key)),
            (Test::Contains(_), Value::Null) => Ok(false),
            (Test::Matches(pattern), Value::String(text)) => Ok(pattern.is_match(text)),
            (Test::Matches(pattern), Value::Null) => Ok(pattern.is_match("")),
            (Test::IsEmpty, Value::Null) => Ok(true),
            (Test::IsEmpty, Value::String(text)) => Ok(text.is_empty()),
            (Test::IsEmpty, Value::Array(items)) => Ok(items.is_empty()),
            (Test::IsEmpty, Value::Object(members)) if self.ends_in_map() => Ok(members.is_empty()),
            (_, found) => Err(self.mismatch(kind_of(found))),
        }
    }

    fn ends_in_map(&self) -> bool {
        self.selector.last().is_some_and(|name| fields::is_map(name))
    }

    fn mismatch(&self, found: &'static str) -> FilterError {
        let operator = match (&self.test, self.is_negated) {
            (Test::Equals(value), false) => format!("== {value:?}"),
            (Test::Equals(value), true) => format!("!= {value:?}"),
            (Test::Contains(_), false) => "contains".to_owned(),
            (Test::Contains(_), true) => "not contains".to_owned(),
            (Test::Matches(_), false) => "matches".to_owned(),
            (Test::Matches(_), true) => "not matches".to_owned(),
            (Test::IsEmpty, false) => "is empty".to_owned(),
            (Test::IsEmpty, true) => "is not empty".to_owned(),
        };
        FilterError::Mismatch { operator, selector: self.selector.join("."), found }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A truth value as Go's `strconv.ParseBool` reads it.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
