//! `GET /v1/meshgate/lint`: what is wrong with the state, although each part of it is right.

use std::sync::Arc;

use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::plan::PlanError;
use super::route::{Routes, get};
use crate::store::{Index, View};

/// The route of findings.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/lint", get(lint))
}

/// Looks for what is wrong with a state.
pub trait Linter: Send + Sync + 'static {
    /// What is wrong, the worst first.
    ///
    /// # Errors
    /// Nobody can tell.
    fn findings(&self, view: Arc<View>) -> BoxFuture<'_, Result<Vec<Finding>, PlanError>>;
}

/// There is no engine, so that nobody can tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLinter;

impl Linter for NoLinter {
    fn findings(&self, _: Arc<View>) -> BoxFuture<'_, Result<Vec<Finding>, PlanError>> {
        async { Err(PlanError::NoEngine) }.boxed()
    }
}

/// Something that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// `problem`, `warning` or `note`.
    pub severity: String,
    /// What sort of finding it is; never used for another one.
    #[serde(rename = "ID")]
    pub id: String,
    /// What it is about: an entry, a service, a place or a proxy.
    pub subject: String,
    /// How many more proxies it is about.
    pub more: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// True if something does not work.
    pub fn is_problem(&self) -> bool {
        self.severity == "problem"
    }
}

/// What is wrong with a state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Findings {
    /// The commit of the state.
    pub index: Index,
    /// The worst first.
    pub findings: Vec<Finding>,
}

async fn lint(call: Call) -> Result<Response, ApiError> {
    let view = call.api.store.view();
    let index = view.index();
    let findings = call.api.linter.findings(view).await.map_err(ApiError::Plan)?;
    Ok(call.meta_at(index)?.on(Size::Large.run(|| call.json(&Findings { index, findings }))))
}
