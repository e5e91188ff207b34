//! A client that keeps sending, each request on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(2);
/// Time in which an answer must come.
const LIMIT: Duration = Duration::from_secs(5);

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
        tokio::spawn(send(url.to_owned(), expected.to_owned(), counts.clone(), stop.clone()));
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

async fn send(url: String, expected: String, counts: Arc<Counts>, stop: CancellationToken) {
    let client = client();
    while !stop.is_cancelled() {
        let is_good = match request(&client, &url).await {
            Ok(text) => text.contains(&expected),
            Err(_) => false,
        };
        counts.sent.fetch_add(1, Ordering::Relaxed);
        if !is_good {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A client that opens a connection for each request.
pub(super) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(LIMIT).no_proxy();
    builder.build().unwrap_or_default()
}

/// Sends one request; anything but a success is an error.
pub(super) async fn request(client: &reqwest::Client, url: &str) -> Result<String, reqwest::Error> {
    client.get(url).send().await?.error_for_status()?.text().await
}
