//! Where filter expressions meet answers.

use serde_json::Value;

use crate::model::{Filter, FilterError};

/// The part of an answer whose elements a filter picks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filtered {
    /// The answer is not filtered.
    Nothing,
    /// The elements of the list, or the values of the object, that the answer is.
    Rows,
    /// The list under this name.
    Member(&'static str),
}

impl Filtered {
    /// Drops from `answer` what `filter` does not match.
    ///
    /// # Errors
    /// The expression asks for something that the rows do not have.
    pub(super) fn retain(self, answer: &mut Value, filter: &Filter) -> Result<(), FilterError> {
        match self {
            Filtered::Nothing => Ok(()),
            Filtered::Rows => retain_rows(answer, filter),
            Filtered::Member(name) => answer.get_mut(name).map_or(Ok(()), |rows| retain_rows(rows, filter)),
        }
    }
}

fn retain_rows(rows: &mut Value, filter: &Filter) -> Result<(), FilterError> {
    let mut outcome = Ok(());
    let mut is_match = |row: &Value| {
        filter.matches(row).unwrap_or_else(|error| {
            outcome = Err(error);
            false
        })
    };
    match rows {
        Value::Array(rows) => rows.retain(is_match),
        Value::Object(rows) => rows.retain(|_, row| is_match(row)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    outcome
}
