//! The tasks that run one check each until they are aborted.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::exposed::Exposed;
use super::probe::{Probe, Probes};
use super::report::{Finding, Subject};
use super::threshold::Streak;
use crate::model::{CheckStatus, GoDuration};
use crate::store::{CheckKey, Store, StoreError};

/// Shorter intervals are raised to this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// When a probe runs that somebody has asked for: at once, and again shortly after. A process that ends may close the
/// connection that told of it before its ports, and one that comes may open it before them.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(600), Duration::from_millis(1400)];

/// Runs a probe at once, then at its interval. Until it passes for the first time it runs after 1, 2, 4... seconds, as
/// long as that is sooner. Whenever `asked` says so it runs in between.
pub(super) async fn probe_at_interval(
    store: Store,
    subject: Subject,
    probe: Probe,
    (probes, exposed): (Probes, Exposed),
    mut asked: watch::Receiver<u64>,
) {
    let interval = subject.definition.interval.map_or(SHORTEST_INTERVAL, GoDuration::to_std).max(SHORTEST_INTERVAL);
    let start = Instant::now();
    // Checks that were registered together run apart from their second run on.
    let offset = interval.mul_f64(fraction(&subject.key));
    let mut streak = Streak::default();
    let mut patience = SHORTEST_INTERVAL;
    let mut next = start;
    let mut looks: Vec<Instant> = Vec::new();
    loop {
        let at = looks.iter().copied().fold(next, Instant::min);
        tokio::select! {
            () = tokio::time::sleep_until(at) => looks.retain(|look| *look > at),
            // Who asks is there for as long as the check is.
            Ok(()) = asked.changed() => {
                let now = Instant::now();
                looks = LOOKS.iter().map(|after| now + *after).collect();
                patience = SHORTEST_INTERVAL;
                continue;
            }
        }
        let Finding { status, output } = probes.run(&probe, &exposed.question(&subject.key, &subject.definition)).await;
        next = next_run(start + offset, interval);
        // What has not passed yet is mostly about to start: a sidecar is registered before its Envoy runs.
        if status == CheckStatus::Passing {
            patience = interval;
        } else if looks.is_empty() && patience < interval {
            next = next.min(Instant::now() + patience);
            patience *= 2;
        }
        let Some(status) = streak.add(status, &subject.definition) else { continue };
        log(&subject.key, subject.report(&store, Finding { status, output }, || true).await);
    }
}

/// The next point of a grid that starts at `first`; a run that took longer than the interval skips points.
fn next_run(first: Instant, interval: Duration) -> Instant {
    let passed = Instant::now().saturating_duration_since(first);
    let runs = passed.as_nanos() / interval.as_nanos();
    let next = u32::try_from(runs).unwrap_or(u32::MAX).saturating_add(1);
    if Instant::now() < first { first } else { first + interval * next }
}

/// A number from 0 to 1 that is the same for the same check.
fn fraction(key: &CheckKey) -> f64 {
    let digest = Sha256::digest(format!("{}/{}/{}", key.node.place, key.node.node, key.check));
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

/// Makes a check critical whenever nobody reports on it for its TTL. `reports` counts the reports.
pub(super) async fn expire(store: Store, subject: Subject, ttl: Duration, mut reports: watch::Receiver<u64>) {
    loop {
        let seen = *reports.borrow_and_update();
        match tokio::time::timeout(ttl, reports.changed()).await {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        let latest = reports.clone();
        let finding = Finding::critical(format!("TTL of {} expired", GoDuration::from_nanos(nanos(ttl))));
        // A report that came while the write waited for its turn wins.
        let written = subject.report(&store, finding, move || *latest.borrow() == seen).await;
        let is_lost = written.is_err();
        log(&subject.key, written);
        // What could not be written is tried again after another TTL; else there is nothing to do until a report.
        if !is_lost && reports.changed().await.is_err() {
            return;
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn log(key: &CheckKey, result: Result<(), StoreError>) {
    if let Err(error) = result {
        let error = &error as &dyn std::error::Error;
        tracing::error!(node = %key.node.node, check = %key.check, error, "the result of a check is lost");
    }
}
