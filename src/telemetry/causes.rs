//! Errors as people read them.

use std::error::Error;

/// An error with what led to it, each said once.
pub fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Failure {
        what: &'static str,
        source: Option<Box<Failure>>,
    }

    fn failure(what: &'static str, source: Option<Failure>) -> Failure {
        Failure { what, source: source.map(Box::new) }
    }

    #[test]
    fn every_cause_is_said_once() {
        let error = failure("no file: not found", Some(failure("not found", Some(failure("os error 2", None)))));

        assert_eq!(with_causes(&error), "no file: not found: os error 2");
    }
}
