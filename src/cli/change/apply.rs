//! `meshgate apply`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::input::ChangeOptions;
use super::plan::planned;
use super::table::show;
use super::wait::{duration, follow, verdict};
use crate::api::Applied;
use crate::cli::CliError;
use crate::cli::output::{self, OutputOption};

/// Options of `meshgate apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything is one commit: all of it or nothing. A change after which something would not work that works now is made with
-force alone; `meshgate plan` tells what it is. It is refused if somebody else changes the same rows meanwhile.
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
    let applied: Applied = change.send(&client, "apply", &[("planned", &index)]).await?;
    if is_table {
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
