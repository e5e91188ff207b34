//! What is wrong with the state, answered by the engine.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::api::{Finding, Linter};
use crate::engine::{Engine, LintFinding, Offline, Severity, lint};
use crate::store::View;

/// Looks at a state and at what proxies have in it.
pub struct Lint(pub Engine);

impl Linter for Lint {
    fn findings(&self, view: Arc<View>) -> BoxFuture<'_, Vec<Finding>> {
        async move {
            let Some(mut offline) = self.0.offline().await else { return Vec::new() };
            let found = tokio::task::spawn_blocking(move || {
                offline.advance(view.clone());
                findings(&view, &offline)
            });
            found.await.unwrap_or_default()
        }
        .boxed()
    }
}

/// What is wrong with the state that the configurations are made from.
pub(super) fn findings(view: &View, offline: &Offline) -> Vec<Finding> {
    lint(view, &offline.configurations()).into_iter().map(finding).collect()
}

fn finding(found: LintFinding) -> Finding {
    let LintFinding { severity, id, subject, what, fix } = found;
    let severity = match severity {
        Severity::Problem => "problem",
        Severity::Warning => "warning",
    };
    Finding { severity, id, subject, what, fix }
}
