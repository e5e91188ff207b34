//! `meshgate plan` and `meshgate diff`.

use clap::Args;
use serde::Serialize;

use super::input::{Change, ChangeOptions};
use super::table::{affects, show, show_row};
use super::validation::{Verdicts, validated};
use crate::api::{Plan, RowChange};
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::output::{self, OutputOption};

/// Options of `meshgate plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is stored. The exit code is 0 if nothing would change, 2 if something would, and 1 if the change would be refused
or something would not work afterwards that works now. With -o wide every proxy, resource and field is told.
The same over HTTP: POST /v1/meshgate/plan")]
pub(in crate::cli) struct PlanOptions {
    #[command(flatten)]
    change: ChangeOptions,
    #[command(flatten)]
    output: OutputOption,
    /// Have an Envoy of each proxy's version load what it would be sent, where there is one on this machine
    #[arg(long)]
    validate: bool,
    /// Most proxies that are told one by one, and validated; at most 1000
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    limit: usize,
}

/// A plan as it is told to programs.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    validated: Option<&'a Verdicts>,
}

/// Options of `meshgate diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 if the state is as the files say, 2 if it is not, and 1 if the files would be refused.
`meshgate plan` tells what the difference means for proxies.")]
pub(in crate::cli) struct DiffOptions {
    #[command(flatten)]
    change: ChangeOptions,
    #[command(flatten)]
    output: OutputOption,
}

/// Tells what a change would do.
///
/// # Errors
/// Input that is wrong, a control plane that does not answer or refuses, and what the exit code says.
pub(in crate::cli) async fn plan(options: &PlanOptions) -> Result<(), CliError> {
    let (change, client) = options.change.read().await?;
    let more: &[_] = if options.validate { &[("messages", "")] } else { &[] };
    let plan = planned(&change, &client, options.limit, more).await?;
    let verdicts = if options.validate { Some(validated(&plan)?) } else { None };
    let told = Told { plan: &plan, validated: verdicts.as_ref() };
    options.output.write_or(
        &told,
        || affects(&plan),
        || {
            show(&plan, options.output.is_wide())?;
            verdicts.iter().try_for_each(Verdicts::show)?;
            if plan.changed {
                output::line(&format!("Run `meshgate apply {} -wait`.", options.change.repeated()))?;
            }
            Ok(())
        },
    )?;
    if verdicts.is_some_and(|verdicts| !verdicts.refused.is_empty()) {
        return Err(CliError::No);
    }
    match (plan.has_problems(), plan.changed) {
        (true, _) => Err(CliError::No),
        (false, true) => Err(CliError::Pending),
        (false, false) => Ok(()),
    }
}

/// Tells in what files and the state differ.
///
/// # Errors
/// As for `plan`.
pub(in crate::cli) async fn diff(options: &DiffOptions) -> Result<(), CliError> {
    let (change, client) = options.change.read().await?;
    let plan = planned(&change, &client, 0, &[]).await?;
    let is_shown = |row: &&RowChange| row.action != "none" || options.output.is_wide();
    let rows = || plan.changes.iter().filter(is_shown);
    let short = || rows().map(|row| format!("{}/{}", row.kind, row.name)).collect::<Vec<_>>().join("\n");
    options.output.write_or(&plan.changes, short, || rows().try_for_each(show_row))?;
    if plan.changed { Err(CliError::Pending) } else { Ok(()) }
}

/// The plan of a change.
pub(super) async fn planned(
    change: &Change,
    client: &Client,
    limit: usize,
    more: &[(&str, &str)],
) -> Result<Plan, CliError> {
    let limit = limit.to_string();
    change.send(client, "plan", &[&[("limit", &*limit)], more].concat()).await
}
