//! The parts of the demo that a mesh of containers is made from: a service, a client that keeps sending, and one request.
//! Each is a process of its own, so that no further program is needed in an image.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::task::JoinSet;

use super::traffic::{Sent, client, request, send};
use super::{application, told_to_end};
use crate::cli::{CliError, output};

/// Failures that are told with their reasons in each second.
const TOLD: u64 = 5;

/// One part, for a mesh that something else sets up, such as `docker-compose.yml`.
#[derive(Debug, Subcommand)]
pub(super) enum Part {
    /// Answer every request with a text
    Serve(ServeOptions),
    /// Keep sending requests, and tell every second what became of them
    Load(LoadOptions),
    /// Send one request and print the answer
    Call(CallOptions),
}

/// Options of `meshgate demo serve`.
#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    /// Address to listen on
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:9000")]
    listen: SocketAddr,
    /// What is answered
    #[arg(long)]
    text: String,
}

/// Options of `meshgate demo load`.
#[derive(Debug, Args)]
pub(super) struct LoadOptions {
    /// Where to send requests, and what the answers must contain
    #[arg(value_name = "URL=TEXT", required = true, value_parser = target)]
    targets: Vec<Target>,
    /// Requests to each target that may be under way at once. Envoy tries at most three requests again at a time
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// Time between the answer to a request and the next one, in milliseconds
    #[arg(long, value_name = "MS", default_value = "20")]
    pause: u64,
    /// Time in which an answer must come, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    limit: u64,
}

/// Options of `meshgate demo call`.
#[derive(Debug, Args)]
pub(super) struct CallOptions {
    /// What to ask
    #[arg(value_name = "URL")]
    url: String,
    /// Time in which an answer must come, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    limit: u64,
}

/// What a client sends to.
#[derive(Debug, Clone)]
struct Target {
    url: String,
    text: String,
}

fn target(text: &str) -> Result<Target, String> {
    match text.rsplit_once('=') {
        Some((url, text)) if !text.is_empty() => Ok(Target { url: url.to_owned(), text: text.to_owned() }),
        Some(_) | None => {
            Err("expected a URL and what its answers contain, as in http://127.0.0.1:9191/=hello".to_owned())
        }
    }
}

/// Runs one part until it is told to end.
pub(super) async fn run(part: &Part) -> Result<(), CliError> {
    match part {
        Part::Serve(options) => serve(options).await,
        Part::Load(options) => tokio::select! {
            ended = load(options) => ended,
            () = told_to_end() => Ok(()),
        },
        Part::Call(options) => {
            let answer = request(&client(Duration::from_secs(options.limit)), &options.url).await?;
            output::line(answer.trim_end_matches('\n'))
        }
    }
}

async fn serve(options: &ServeOptions) -> Result<(), CliError> {
    let mut applications = JoinSet::new();
    application::start(&mut applications, options.listen, format!("{}\n", options.text)).await?;
    told_to_end().await;
    Ok(())
}

/// What became of the requests of all targets.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    /// Failures that this second still tells.
    to_tell: AtomicU64,
    /// The slowest answer since it was last told.
    slowest: Mutex<Duration>,
}

impl Counts {
    fn count(&self, target: &Target, sent: Sent) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut slowest) = self.slowest.lock() {
            *slowest = sent.took.max(*slowest);
        }
        let Some(why) = sent.failure else { return };
        self.failed.fetch_add(1, Ordering::Relaxed);
        let took_one = |left: u64| left.checked_sub(1);
        if self.to_tell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, took_one).is_ok() {
            output::note(&format!("failed after {} ms: {}: {why}", sent.took.as_millis(), target.url));
        }
    }

    /// What is told every second.
    fn told(&self) -> String {
        self.to_tell.store(TOLD, Ordering::Relaxed);
        let slowest = self.slowest.lock().map(|mut slowest| std::mem::take(&mut *slowest)).unwrap_or_default();
        let (sent, failed) = (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        format!("{sent} sent, {failed} failed, slowest {} ms", slowest.as_millis())
    }
}

/// Sends until it is dropped.
async fn load(options: &LoadOptions) -> Result<(), CliError> {
    let counts = Arc::new(Counts::default());
    let pause = Duration::from_millis(options.pause);
    let mut workers = JoinSet::new();
    for target in options.targets.iter().flat_map(|target| (0..options.workers).map(move |_| target)) {
        let (target, counts) = (target.clone(), counts.clone());
        let client = client(Duration::from_secs(options.limit));
        workers.spawn(async move {
            loop {
                let sent = send(&client, &target.url, &target.text).await;
                counts.count(&target, sent);
                tokio::time::sleep(pause).await;
            }
        });
    }
    loop {
        output::line(&counts.told())?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_and_what_is_expected_of_it() {
        let found = target("http://127.0.0.1:9191/?a=b=hello from api").unwrap();

        assert_eq!((found.url.as_str(), found.text.as_str()), ("http://127.0.0.1:9191/?a=b", "hello from api"));
        assert!(target("http://127.0.0.1:9191/").is_err());
        assert!(target("http://127.0.0.1:9191/=").is_err());
    }

    #[test]
    fn what_is_told_names_the_slowest_answer_since_the_last_time() {
        let counts = Counts::default();
        let target = target("http://127.0.0.1:1/=hello").unwrap();
        counts.count(&target, Sent { took: Duration::from_millis(7), failure: None });
        counts.count(&target, Sent { took: Duration::from_millis(3), failure: Some("no".to_owned()) });

        assert_eq!(counts.told(), "2 sent, 1 failed, slowest 7 ms");
        assert_eq!(counts.told(), "2 sent, 1 failed, slowest 0 ms");
    }
}
