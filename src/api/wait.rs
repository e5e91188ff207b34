//! `GET /v1/meshgate/wait`: whether a revision is live, proxy by proxy.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::route::{Routes, get};
use crate::model::{Datacenter, NodeName, Partition, ServiceId};
use crate::store::Index;

/// Pause between two looks at all proxies, of which thousands may acknowledge at once.
const PAUSE: Duration = Duration::from_millis(10);

/// Most proxies that are told of those that do not have a revision.
const OPEN: usize = 500;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub state: String,
    /// Why it is not live.
    pub reason: String,
}

/// How far a commit got.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reached {
    /// The commit.
    pub revision: Index,
    /// Every connected proxy that it reaches has acknowledged it.
    pub live: bool,
    /// How many proxies it reaches.
    pub reached: usize,
    /// How many of them have acknowledged it.
    pub acknowledged: usize,
    /// How many of the others may still do so.
    pub waiting: usize,
    /// The others, those first that will not do so.
    pub open: Vec<ReachedProxy>,
    /// How many more there are.
    pub more_open: usize,
}

impl Reached {
    /// True if nothing becomes of it any more without another change. Where the proxies are not known yet, none is open, and
    /// it is not live.
    pub fn is_settled(&self) -> bool {
        self.live || self.reached > self.acknowledged && self.waiting == 0
    }
}

/// Looks at all proxies for those who wait. Everybody is woken by every acknowledgement, of which there are thousands at
/// once, so there is one look at a time, and whoever asked for a revision before it began shares it.
#[derive(Debug, Default)]
pub struct Looks {
    /// How many have begun.
    begun: AtomicU64,
    last: Mutex<BTreeMap<Index, Look>>,
}

#[derive(Debug)]
struct Look {
    /// How many had begun before it, and itself.
    number: u64,
    /// Kept by those who have it.
    found: Weak<Reached>,
}

impl Looks {
    /// What there is to see of a revision after this call.
    async fn at(&self, propagation: &dyn Propagation, revision: Index) -> Arc<Reached> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        let later = last.get(&revision).filter(|look| look.number > begun);
        if let Some(found) = later.and_then(|look| look.found.upgrade()) {
            return found;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let found = Arc::new(Size::Large.run(|| answer(revision, propagation.reached(revision))));
        last.retain(|_, look| look.found.strong_count() > 0);
        last.insert(revision, Look { number, found: Arc::downgrade(&found) });
        found
    }
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
    let wait =
        if call.query.value("wait").is_some() { call.query.wait(call.api.options.waits)? } else { Duration::ZERO };
    let deadline = Instant::now() + wait;
    let _waiting = api.metrics.count_waiting();
    let mut is_over = wait.is_zero();
    loop {
        let progressed = api.propagation.progressed();
        let reached = api.looks.at(&*api.propagation, revision).await;
        if is_over || reached.is_settled() {
            return Ok(Size::Large.run(|| call.json(&*reached)));
        }
        // What is known once the wait is over is the answer, not what was known when it began.
        is_over = tokio::select! {
            () = progressed => false,
            () = tokio::time::sleep_until(deadline) => true,
            () = api.shutdown.cancelled() => true,
        };
        if !is_over {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn answer(revision: Index, reached: Option<Vec<ReachedProxy>>) -> Reached {
    let is_known = reached.is_some();
    let reached = reached.unwrap_or_default();
    let count = reached.len();
    let mut open: Vec<_> = reached.into_iter().filter(|proxy| proxy.state != "live").collect();
    let is_waiting = |proxy: &ReachedProxy| proxy.state == "waiting";
    let (live, acknowledged, waiting) =
        (is_known && open.is_empty(), count - open.len(), open.iter().filter(|proxy| is_waiting(proxy)).count());
    open.sort_by_key(is_waiting);
    let more_open = open.len().saturating_sub(OPEN);
    open.truncate(OPEN);
    Reached { revision, live, reached: count, acknowledged, waiting, open, more_open }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies that never acknowledge anything, and how often somebody looked at them.
    #[derive(Default)]
    struct Silent(AtomicU64);

    impl Propagation for Silent {
        fn reached(&self, _: Index) -> Option<Vec<ReachedProxy>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            None
        }

        fn progressed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn of_very_many_that_do_not_have_it_those_are_told_that_never_will() {
        let proxy = |id: usize| ReachedProxy {
            datacenter: Datacenter::from("dc1"),
            partition: Partition::default(),
            node: NodeName::from("n"),
            id: ServiceId::from(id.to_string().as_str()),
            state: if id == 900 { "refused" } else { "waiting" }.to_owned(),
            reason: String::new(),
        };

        let told = answer(7, Some((0..1000).map(proxy).collect()));

        assert_eq!((told.reached, told.waiting, told.open.len(), told.more_open), (1000, 999, OPEN, 500));
        assert_eq!((told.open[0].id.as_str(), told.open[1].id.as_str()), ("900", "0"));
        assert!(!told.is_settled() && answer(7, Some(vec![proxy(900)])).is_settled());
        assert!(!answer(7, None).is_settled());
    }

    #[tokio::test]
    async fn those_who_wait_for_one_revision_share_a_look() {
        let (looks, silent) = (Looks::default(), Silent::default());
        let ask = |revision| looks.at(&silent, revision);

        // All ask before the first one looks.
        let busy = looks.last.lock().await;
        let all = futures::future::join_all((0..20).map(|number| ask(number % 2)));
        tokio::pin!(all);
        assert!(futures::poll!(&mut all).is_pending());
        drop(busy);
        let found = all.await;

        assert_eq!(silent.0.load(Ordering::SeqCst), 2);
        assert!(found.iter().zip(0..).all(|(reached, number)| reached.revision == number % 2));
        // Whoever asks afterwards is not told what was known before.
        ask(0).await;
        assert_eq!(silent.0.load(Ordering::SeqCst), 3);
    }
}
