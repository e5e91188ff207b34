//! Where filter expressions meet answers.

use serde_json::Value;

use crate::model::Filter;

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
    pub(super) fn retain(self, answer: &mut Value, filter: &Filter) {
        match self {
            Filtered::Nothing => {}
            Filtered::Rows => retain_rows(answer, filter),
            Filtered::Member(name) => {
                if let Some(rows) = answer.get_mut(name) {
                    retain_rows(rows, filter);
                }
            }
        }
    }
}

fn retain_rows(rows: &mut Value, filter: &Filter) {
    match rows {
        Value::Array(rows) => rows.retain(|row| filter.matches(row)),
        Value::Object(rows) => rows.retain(|_, row| filter.matches(row)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
