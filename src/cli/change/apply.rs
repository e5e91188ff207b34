//! `meshgate apply`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::canary::{CanaryOptions, halted, outcome};
use super::input::ChangeOptions;
use super::plan::planned;
use super::table::show;
use super::wait::{duration, follow, verdict};
use crate::api::Applied;
use crate::cli::CliError;
use crate::cli::client::ClientError;
use crate::cli::output::{self, OutputOption};

/// Options of `meshgate apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything is one commit: all of it or nothing. A change after which something would not work that works now is made with
-force alone; `meshgate plan` tells what it is. It is refused if somebody else changes the same rows meanwhile.
With -canary some of the connected proxies that it touches try it first. Nothing is stored unless all of them take it: if one
refuses it, does not acknowledge it in time or is lost, they are given back what they had, and the exit code is 1.
The same over HTTP: POST /v1/meshgate/apply, then GET /v1/meshgate/wait?revision=N")]
pub(in crate::cli) struct ApplyOptions {
    #[command(flatten)]
    change: ChangeOptions,
    /// Return only when every connected proxy that the change reaches has acknowledged it
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    /// Make the change although something would not work
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    canary: CanaryOptions,
    #[command(flatten)]
    output: OutputOption,
}

/// Makes a change, and waits for it if asked to.
///
/// # Errors
/// Input that is wrong, a control plane that does not answer or refuses, a change after which something would not work, and
/// proxies that have not acknowledged it in time.
pub(in crate::cli) async fn apply(options: &ApplyOptions) -> Result<(), CliError> {
    let (change, client) = options.change.read().await?;
    let plan = planned(&change, &client, 0, &[]).await?;
    let is_table = !options.output.is_for_programs();
    if is_table && !options.output.is_short() {
        show(&plan, options.output.is_wide())?;
    }
    if plan.has_problems() && !options.force {
        let repeated = options.change.repeated();
        return Err(CliError::Input(format!(
            "nothing was changed: something would not work; see `meshgate plan {repeated}`, or use -force"
        )));
    }
    let index = plan.index.to_string();
    let query = [vec![("planned", index.as_str())], options.canary.query()].concat();
    let is_tried = plan.changed && options.canary.is_asked();
    if is_table && is_tried {
        output::line(&options.canary.beforehand(&plan))?;
    }
    let applied: Applied = match change.send_within(&client, "apply", &query, options.canary.longest()).await {
        Err(CliError::Client(error @ ClientError::OnlyTold)) if options.wait => return Err(error.or_next().into()),
        sent if is_tried => sent.map_err(halted)?,
        sent => sent?,
    };
    if is_table {
        applied.trial.iter().flat_map(outcome).try_for_each(|line| output::line(&line))?;
        let what = if applied.changed { "Applied" } else { "Nothing to change" };
        output::line(&format!("{what}: revision {}", applied.index))?;
    }
    // What is there already may be on its way still, as after a wait that was too short.
    let reached =
        if options.wait { Some(follow(&client, applied.index, options.timeout, is_table).await?) } else { None };
    if !is_table {
        options.output.write_value(&json!({ "Applied": applied, "Reached": reached }))?;
    }
    reached.map_or(Ok(()), |reached| verdict(&reached))
}
