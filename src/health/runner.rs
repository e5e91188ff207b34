//! Keeps a task for each check row of the own nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::alias::{self, Aliases};
use super::exposed::{Exposed, Exposing, Exposures};
use super::probe::{Probe, Probes};
use super::reaper::{self, Reaper};
use super::report::Subject;
use super::{Options, task};
use crate::model::{CheckKind, GoDuration, InstanceId};
use crate::store::{CheckKey, Key, Store, StoreError, View, Write};

/// Runs the checks of this process's own nodes. Clones share everything.
#[derive(Debug, Clone)]
pub struct Runner {
    store: Store,
    options: Options,
    exposures: Exposures,
    exposed: Exposed,
    /// Counts the reports of each TTL check that runs.
    reports: Arc<DashMap<CheckKey, watch::Sender<u64>>>,
    /// Counts how often somebody asked to look at what a probe looks at.
    asked: Arc<DashMap<CheckKey, watch::Sender<u64>>>,
}

/// What runs.
struct Running {
    probes: Probes,
    tasks: JoinSet<()>,
    checks: BTreeMap<CheckKey, (Subject, AbortHandle)>,
    aliases: Aliases,
    reaper: Reaper,
    exposing: Exposing,
}

impl Runner {
    /// A runner that runs nothing yet. What `exposures` find is asked where they say.
    pub fn new(store: Store, options: Options, exposures: Exposures) -> Self {
        Self { store, options, exposures, exposed: Exposed::default(), reports: Arc::default(), asked: Arc::default() }
    }

    /// Says that somebody reports on a TTL check, so that its time starts anew. To be called *before* the status is
    /// written: an expiry in between is then overwritten by the write and not the other way round.
    pub fn reported(&self, check: &CheckKey) {
        if let Some(reports) = self.reports.get(check) {
            reports.send_modify(|count| *count += 1);
        }
    }

    /// Has the checks of an instance that this process runs look at it now, because something happened to it.
    pub fn look_at(&self, instance: &InstanceId) {
        let view = self.store.view();
        for check in view.checks_of(instance) {
            if let Some(asked) = self.asked.get(&CheckKey::of(&check.value)) {
                asked.send_modify(|count| *count += 1);
            }
        }
    }

    /// Runs checks until `shutdown`. Returns once every task has ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut running = Running {
            probes: Probes::new(self.options.concurrency, self.options.output_max_size),
            tasks: JoinSet::new(),
            checks: BTreeMap::new(),
            aliases: Aliases::default(),
            reaper: Reaper::default(),
            exposing: Exposing::default(),
        };
        let mut views = self.store.watch_late();
        let mut seen = Arc::new(View::default());
        let mut look = tokio::time::interval(reaper::LOOK);
        views.mark_changed();
        loop {
            let result = tokio::select! {
                () = shutdown.cancelled() => break,
                changed = views.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let view = views.borrow_and_update().clone();
                    let result = self.follow(&mut running, &seen, &view).await;
                    seen = view;
                    result
                }
                _ = look.tick() => running.reaper.reap(&self.store).await,
                Some(ended) = running.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "a check has ended");
                    }
                    continue;
                }
            };
            if let Err(error) = result {
                tracing::error!(error = &error as &dyn std::error::Error, "results of checks are lost");
            }
        }
        running.tasks.shutdown().await;
    }

    /// Brings what runs from one view to a newer one, and the aliases that depend on the difference up to date.
    async fn follow(&self, running: &mut Running, old: &View, new: &View) -> Result<(), StoreError> {
        running.exposing.follow(&self.exposed, (old, new), &self.options, self.exposures);
        let mut aliases = BTreeSet::new();
        let changed: Vec<_> = new.checks_changed_since(old).collect();
        for key in changed.iter().filter(|key| self.options.runs(key)) {
            self.sync(running, key, new);
            aliases.insert((*key).clone());
        }
        for key in changed {
            for row in [old.check(key), new.check(key)].into_iter().flatten() {
                aliases.extend(running.aliases.of(&alias::judged(&key.node, &row.value)).cloned());
            }
        }
        for key in new.changed_since(old) {
            if let Key::Instance(id) = key {
                aliases.extend(running.aliases.of(id).cloned());
            }
        }
        if alias::updates(new, &aliases).is_empty() {
            return Ok(());
        }
        self.store.write_with(move |view| Ok(Write::from(alias::updates(view, &aliases)))).await.map(drop)
    }

    /// Starts, restarts, keeps or stops what one row asks for.
    fn sync(&self, running: &mut Running, key: &CheckKey, view: &View) {
        let row = view.check(key);
        running.aliases.sync(key, row.map(|row| &*row.value));
        running.reaper.sync(key, row.map(|row| &*row.value));
        if let Some((subject, task)) = running.checks.get(key) {
            if row.is_some_and(|row| subject.is(row)) {
                // Whatever wrote the row has reported on it.
                return self.reported(key);
            }
            task.abort();
            running.checks.remove(key);
            self.reports.remove(key);
            self.asked.remove(key);
        }
        let Some(subject) = row.map(Subject::of) else { return };
        if let Some(task) = self.start(running, subject.clone()) {
            running.checks.insert(key.clone(), (subject, task));
        }
    }

    /// Starts the task of a check that needs one.
    fn start(&self, running: &mut Running, subject: Subject) -> Option<AbortHandle> {
        let kind = subject.definition.kind()?;
        let store = self.store.clone();
        if kind == CheckKind::Ttl {
            let ttl = subject.definition.ttl.map(GoDuration::to_std)?;
            let (sender, reports) = watch::channel(0);
            self.reports.insert(subject.key.clone(), sender);
            return Some(running.tasks.spawn(task::expire(store, subject, ttl, reports)));
        }
        let probe = Probe::of(kind)?;
        let probes = running.probes.clone();
        let exposed = self.exposed.clone();
        let (sender, asked) = watch::channel(0);
        self.asked.insert(subject.key.clone(), sender);
        Some(running.tasks.spawn(task::probe_at_interval(store, subject, probe, (probes, exposed), asked)))
    }
}
