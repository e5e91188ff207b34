//! `GET /v1/meshgate/lint`: what is wrong with the state, although each part of it is right.

use std::sync::Arc;

use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;

use super::call::Call;
use super::error::ApiError;
use super::route::{Routes, get};
use crate::store::{Index, View};

/// The route of findings.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/lint", get(lint))
}

/// Looks for what is wrong with a state.
pub trait Linter: Send + Sync + 'static {
    /// What is wrong, the worst first.
    fn findings(&self, view: Arc<View>) -> BoxFuture<'_, Vec<Finding>>;
}

/// Finds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLinter;

impl Linter for NoLinter {
    fn findings(&self, _: Arc<View>) -> BoxFuture<'_, Vec<Finding>> {
        async { Vec::new() }.boxed()
    }
}

/// Something that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// `problem`, `warning` or `note`.
    pub severity: &'static str,
    /// What sort of finding it is; never used for another one.
    #[serde(rename = "ID")]
    pub id: &'static str,
    /// What it is about: an entry, a service, a place or a proxy.
    pub subject: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Findings {
    /// The commit of the state.
    index: Index,
    findings: Vec<Finding>,
}

async fn lint(call: Call) -> Result<Response, ApiError> {
    let view = call.api.store.view();
    let index = view.index();
    let findings = call.api.linter.findings(view).await;
    Ok(call.meta_at(index)?.on(call.json(&Findings { index, findings })))
}
