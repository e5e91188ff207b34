//! Filter expressions.

/// A parsed filter expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(());

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no filters yet")]
pub struct FilterError;

impl Filter {
    /// Parses.
    pub fn parse(_: &str) -> Result<Self, FilterError> {
        Err(FilterError)
    }

    /// Evaluates.
    pub fn matches(&self, _: &serde_json::Value) -> Result<bool, FilterError> {
        Err(FilterError)
    }
}
