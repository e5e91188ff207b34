//! A client that keeps sending, each request on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use crate::telemetry::with_causes;

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(2);
/// Time in which an answer must come.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Counts of a client that keeps sending.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// A client that keeps sending until it is dropped.
#[derive(Debug)]
pub struct Traffic {
    counts: Arc<Counts>,
    stop: CancellationToken,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Traffic {
    /// Starts to send to `url`, whose answers must contain `expected`.
    pub fn start(url: &str, expected: &str) -> Self {
        let counts = Arc::new(Counts::default());
        let stop = CancellationToken::new();
        tokio::spawn(keep_sending(url.to_owned(), expected.to_owned(), counts.clone(), stop.clone()));
        Self { counts, stop }
    }

    /// Requests that were answered or failed so far.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }
}

async fn keep_sending(url: String, expected: String, counts: Arc<Counts>, stop: CancellationToken) {
    let client = client(LIMIT);
    while !stop.is_cancelled() {
        let sent = send(&client, &url, &expected).await;
        counts.sent.fetch_add(1, Ordering::Relaxed);
        if sent.failure.is_some() {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Sent {
    /// The time until its answer was there, or it had failed.
    pub(super) took: Duration,
    /// Why it failed; `None` for a good answer.
    pub(super) failure: Option<String>,
}

/// Sends one request, whose answer must contain `expected`.
pub(super) async fn send(client: &reqwest::Client, url: &str, expected: &str) -> Sent {
    let started = Instant::now();
    let failure = match request(client, url).await {
        Ok(text) if text.contains(expected) => None,
        Ok(text) => Some(format!("{:?} in place of {expected:?}", text.trim_end())),
        Err(error) => Some(with_causes(&error)),
    };
    Sent { took: started.elapsed(), failure }
}

/// A client that opens a connection for each request, and waits this long for an answer. It speaks no TLS: small images have
/// no certificates of the system, without which it could not be made.
pub(in crate::cli) fn client(limit: Duration) -> reqwest::Client {
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(limit).no_proxy();
    builder.tls_certs_only([]).build().unwrap_or_default()
}

/// Sends one request; anything but a success is an error.
pub(in crate::cli) async fn request(client: &reqwest::Client, url: &str) -> Result<String, DemoError> {
    let answer = client.get(url).send().await.map_err(DemoError::http(url))?;
    let status = answer.status();
    let text = answer.text().await.map_err(DemoError::http(url))?;
    if !status.is_success() {
        return Err(DemoError::Refused { method: "GET", path: url.to_owned(), status: status.as_u16(), body: text });
    }
    Ok(text)
}
