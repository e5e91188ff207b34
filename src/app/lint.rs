//! What is wrong with the state, answered by the engine.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::api::{Finding, Linter, PlanError};
use crate::engine::{Engine, LintFinding, Offline, Severity, lint};
use crate::store::View;

/// Looks at a state and at what proxies have in it.
pub struct Lint(pub Engine);

impl Linter for Lint {
    fn findings(&self, view: Arc<View>) -> BoxFuture<'_, Result<Vec<Finding>, PlanError>> {
        async move {
            let mut offline = self.0.offline().await.ok_or(PlanError::NoEngine)?;
            let found = tokio::task::spawn_blocking(move || {
                offline.advance(view.clone());
                findings(&view, &offline).into_iter().map(finding).collect()
            });
            found.await.map_err(|error| PlanError::Failed(error.into()))
        }
        .boxed()
    }
}

/// What is wrong with the state that the configurations are made from.
pub(super) fn findings(view: &View, offline: &Offline) -> Vec<LintFinding> {
    lint(view, &offline.configurations())
}

/// A finding as it is told.
pub(super) fn finding(found: LintFinding) -> Finding {
    let LintFinding { severity, id, subjects, what, fix } = found;
    let severity = match severity {
        Severity::Problem => "problem",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let more = subjects.len().saturating_sub(1);
    let subject = subjects.into_iter().next().unwrap_or_default();
    Finding { severity: severity.to_owned(), id: id.to_owned(), subject, more, what, fix }
}
