//! `meshgate rollback`: a config entry becomes what it was.

use clap::Args;
use serde_json::Value;

use super::client::Target;
use super::history::details;
use super::output::OutputOption;
use super::{CliError, output};

/// Options of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
What differs is printed, and then written, unless somebody else changes the entry in the meantime. An entry that did not
exist then is deleted. `meshgate history KIND/NAME` shows the commits.
The exit code is 0 when the entry is what it was, and 2 with -dry-run if that would change it.")]
pub(super) struct RollbackOptions {
    /// The config entry
    #[arg(value_name = "KIND/NAME")]
    entry: String,
    /// The commit, or the time such as 2026-01-02T15:04:05Z, whose state of the entry is wanted
    #[arg(long, value_name = "INDEX|TIME")]
    to: String,
    /// Only print what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// Shows what differs, and writes it.
///
/// # Errors
/// The control plane does not answer or refuses, the commit is forgotten, or the entry was changed in the meantime.
pub(super) async fn run(options: &RollbackOptions) -> Result<(), CliError> {
    let Some((kind, name)) = options.entry.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
    else {
        let message = format!("{:?} is no config entry: write kind/name, such as service-defaults/web", options.entry);
        return Err(CliError::Usage(message));
    };
    let client = options.target.client()?;
    let path = ["meshgate", "rollback", kind, name];
    let wanted: Value = client.get(&path, &[("commit", &options.to)]).await?;
    let is_same = wanted["Action"] == "unchanged";
    if options.dry_run || is_same {
        options.output.write(&wanted, || told(options, &wanted))?;
        return if is_same { Ok(()) } else { Err(CliError::Pending) };
    }
    // The commit and not the time, and only what was looked at.
    let (to, seen) = (wanted["To"].to_string(), wanted["ModifyIndex"].to_string());
    let answer = client.put(&path, &[("commit", &to), ("cas", &seen)], None).await?;
    let done: Value = serde_json::from_str(&answer)
        .map_err(|error| CliError::Input(format!("the answer of the control plane cannot be understood: {error}")))?;
    options.output.write(&done, || {
        told(options, &done)?;
        output::line(&format!("Written by commit {}.", done["Written"]))
    })
}

fn told(options: &RollbackOptions, change: &Value) -> Result<(), CliError> {
    if change["Action"] == "unchanged" {
        return output::line(&format!("{} is what it was at commit {}.", options.entry, change["To"]));
    }
    let mut row = change.clone();
    row["Table"] = "ConfigEntries".into();
    row["Name"] = options.entry.as_str().into();
    details(&row).iter().try_for_each(|line| output::line(line))
}
