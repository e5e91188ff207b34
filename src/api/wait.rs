//! `GET /v1/meshgate/wait`: whether a revision is live, proxy by proxy.

use std::pin::Pin;
use std::time::Duration;

use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::route::{Routes, get};
use crate::model::{Datacenter, NodeName, Partition, ServiceId};
use crate::store::Index;

/// Pause between two looks at all proxies, of which thousands may acknowledge at once.
const PAUSE: Duration = Duration::from_millis(10);

/// The route of revisions.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/wait", get(wait))
}

/// Knows who has acknowledged what.
pub trait Propagation: Send + Sync + 'static {
    /// The proxies that a commit reaches, and what became of it there; `None` while nothing is known of it yet.
    fn reached(&self, index: Index) -> Option<Vec<ReachedProxy>>;

    /// Ready once there may be another answer than when this was called.
    fn progressed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// No proxy is connected.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPropagation;

impl Propagation for NoPropagation {
    fn reached(&self, _: Index) -> Option<Vec<ReachedProxy>> {
        Some(Vec::new())
    }

    fn progressed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// A proxy that a commit reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReachedProxy {
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Its partition.
    pub partition: Partition,
    /// The node it is registered on.
    pub node: NodeName,
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// `live`, `waiting`, `refused` or `unmade`.
    pub state: &'static str,
    /// Why it is not live.
    pub reason: String,
}

/// How far a commit got.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reached {
    /// The commit.
    revision: Index,
    /// Every connected proxy that it reaches has acknowledged it.
    live: bool,
    /// How many proxies it reaches.
    reached: usize,
    /// How many of them have acknowledged it.
    acknowledged: usize,
    /// The others.
    open: Vec<ReachedProxy>,
}

/// Answers once the revision is live, once it can be so no more without another change, or once the time is up. Without
/// `wait` it answers at once.
async fn wait(call: Call) -> Result<Response, ApiError> {
    let api = &call.api;
    let newest = api.store.view().index();
    let revision = match call.query.value("revision").unwrap_or("0").parse() {
        Ok(0) => newest,
        Ok(revision) if revision <= newest => revision,
        Ok(_) | Err(_) => {
            let value = call.query.value("revision").unwrap_or_default().to_owned();
            let expected = "expected the index of a commit that there is, such as the one that a write answers with";
            return Err(ApiError::InvalidParameter { name: "revision", value, expected });
        }
    };
    let wait = if call.query.value("wait").is_some() { call.query.wait()? } else { Duration::ZERO };
    let deadline = Instant::now() + wait;
    let _waiting = api.metrics.count_waiting();
    loop {
        let progressed = api.propagation.progressed();
        let reached = Size::Large.run(|| api.propagation.reached(revision));
        let is_settled = reached.as_ref().is_some_and(|all| all.iter().all(|proxy| proxy.state != "waiting"));
        let goes_on = !is_settled
            && tokio::select! {
                () = progressed => true,
                () = tokio::time::sleep_until(deadline) => false,
                () = api.shutdown.cancelled() => false,
            };
        if !goes_on {
            return Ok(call.json(&answer(revision, reached)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn answer(revision: Index, reached: Option<Vec<ReachedProxy>>) -> Reached {
    let is_known = reached.is_some();
    let reached = reached.unwrap_or_default();
    let count = reached.len();
    let open: Vec<_> = reached.into_iter().filter(|proxy| proxy.state != "live").collect();
    Reached { revision, live: is_known && open.is_empty(), reached: count, acknowledged: count - open.len(), open }
}
