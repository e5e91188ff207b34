//! `meshgate wait`: whether a revision is live, proxy by proxy.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::input::Layout;
use crate::cli::client::{Client, Target};
use crate::cli::{CliError, output};
use crate::model::GoDuration;

/// One question is answered within this time, so that connections between are not taken for dead.
const QUESTION: Duration = Duration::from_secs(20);

/// Options of `meshgate wait`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 once every connected proxy that the revision reaches has acknowledged it, and 1 if one has refused it, or
has not acknowledged it in time; those are named. A proxy that lost its connection, or was connected before the control plane
started again, counts for a minute.
The same over HTTP: GET /v1/meshgate/wait?revision=N")]
pub(in crate::cli) struct WaitOptions {
    /// Revision that shall be live; the newest if absent
    #[arg(long, value_name = "INDEX")]
    revision: Option<u64>,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t, value_name = "LAYOUT")]
    output: Layout,
    #[command(flatten)]
    target: Target,
}

/// How far a revision got.
pub(super) struct Reached {
    /// As the API tells it.
    pub(super) told: Value,
    shown: Shown,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    revision: u64,
    live: bool,
    reached: usize,
    acknowledged: usize,
    open: Vec<Open>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Open {
    datacenter: String,
    partition: String,
    #[serde(rename = "ID")]
    id: String,
    state: String,
    reason: String,
}

/// Waits until a revision is live.
///
/// # Errors
/// A control plane that does not answer, and proxies that have not acknowledged the revision in time.
pub(in crate::cli) async fn wait(options: &WaitOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let is_table = options.output != Layout::Json;
    let revision = options.revision.unwrap_or_default();
    let reached = follow(&client, revision, options.timeout, is_table).await?;
    if !is_table {
        output::json(&reached.told)?;
    }
    reached.verdict()
}

/// Asks until a revision is live, can be so no more, or the time is up. The newest for revision 0.
pub(super) async fn follow(
    client: &Client,
    mut revision: u64,
    timeout: Duration,
    is_told: bool,
) -> Result<Reached, CliError> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        let wait = format!("{}ms", left.min(QUESTION).as_millis().max(1));
        let index = revision.to_string();
        let told: Value = client.get(&["meshgate", "wait"], &[("revision", &index), ("wait", &wait)]).await?;
        let shown = Shown::deserialize(&told)
            .map_err(|error| CliError::Input(format!("the control plane is of another version: {error}")))?;
        // What is the newest is found out once.
        revision = shown.revision;
        // An empty list is no answer yet where the proxies are not known.
        let is_settled = !shown.open.is_empty() && shown.open.iter().all(|open| open.state != "waiting");
        if shown.live || is_settled || left.is_zero() {
            let reached = Reached { told, shown };
            if is_told {
                reached.show(start.elapsed())?;
            }
            return Ok(reached);
        }
    }
}

impl Reached {
    fn show(&self, after: Duration) -> Result<(), CliError> {
        let Shown { revision, live, reached, acknowledged, open } = &self.shown;
        for Open { datacenter, partition, id, state, reason } in open {
            output::line(&format!("{id}  {datacenter}/{partition}  {state}: {reason}"))?;
        }
        let (state, seconds) = (if *live { "live" } else { "NOT live" }, after.as_secs_f64());
        output::line(&format!(
            "Revision {revision} is {state}: {acknowledged} of {reached} proxies acknowledged it ({seconds:.2} s)"
        ))
    }

    /// What the exit code says.
    pub(super) fn verdict(&self) -> Result<(), CliError> {
        if self.shown.live { Ok(()) } else { Err(CliError::No) }
    }
}

/// A duration as it is written in settings.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<GoDuration, _> = text.parse();
    parsed.map(GoDuration::to_std).map_err(|_| format!("{text:?} is no duration: use one such as 30s or 2m"))
}
