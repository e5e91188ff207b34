//! `meshgate wait`: whether a revision is live, proxy by proxy.

use std::time::{Duration, Instant};

use clap::Args;

use crate::api::{Reached, ReachedProxy};
use crate::cli::CliError;
use crate::cli::client::{Client, Target};
use crate::cli::output::{self, OutputOption};
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
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// Waits until a revision is live.
///
/// # Errors
/// A control plane that does not answer, and proxies that have not acknowledged the revision in time.
pub(in crate::cli) async fn wait(options: &WaitOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let is_table = !options.output.is_for_programs();
    let revision = options.revision.unwrap_or_default();
    let reached = follow(&client, revision, options.timeout, is_table).await?;
    if !is_table {
        options.output.write_value(&reached)?;
    }
    verdict(&reached)
}

/// Asks until a revision is live, can be so no more, or the time is up. The newest for revision 0.
pub(in crate::cli) async fn follow(
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
        let reached: Reached = client.get(&["meshgate", "wait"], &[("revision", &index), ("wait", &wait)]).await?;
        // What is the newest is found out once.
        revision = reached.revision;
        if reached.is_settled() || left.is_zero() {
            if is_told {
                show(&reached, start.elapsed())?;
            }
            return Ok(reached);
        }
    }
}

fn show(reached: &Reached, after: Duration) -> Result<(), CliError> {
    open(reached).iter().try_for_each(|line| output::line(line))?;
    output::line(&format!("{} ({:.2} s)", summary(reached), after.as_secs_f64()))
}

/// Those that do not have a revision, a line each.
pub(in crate::cli) fn open(reached: &Reached) -> Vec<String> {
    let line = |proxy: &ReachedProxy| {
        let ReachedProxy { datacenter, partition, id, state, reason, .. } = proxy;
        format!("{id}  {datacenter}/{partition}  {state}: {reason}")
    };
    let more = (reached.more_open > 0).then(|| format!("and {} more", reached.more_open));
    reached.open.iter().map(line).chain(more).collect()
}

/// How far a revision got.
pub(in crate::cli) fn summary(reached: &Reached) -> String {
    let Reached { revision, live, reached, acknowledged, .. } = reached;
    let state = if *live { "live" } else { "NOT live" };
    format!("Revision {revision} is {state}: {acknowledged} of {reached} proxies acknowledged it")
}

/// What the exit code says.
pub(super) fn verdict(reached: &Reached) -> Result<(), CliError> {
    if reached.live { Ok(()) } else { Err(CliError::No) }
}

/// A duration as it is written in settings.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<GoDuration, _> = text.parse();
    parsed.map(GoDuration::to_std).map_err(|_| format!("{text:?} is no duration: use one such as 30s or 2m"))
}
