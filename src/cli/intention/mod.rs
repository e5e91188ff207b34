//! `meshgate intention`: who may call whom.

mod create;
mod show;

use clap::{Args, Subcommand};

use super::client::Target;
use super::{CliError, output};
use crate::model::Intention;

/// The endpoints of intentions.
const PATH: [&str; 2] = ["connect", "intentions"];

/// Commands about intentions.
#[derive(Debug, Subcommand)]
pub(super) enum IntentionCommand {
    /// Make an intention
    Create(create::CreateOptions),
    /// Ask whether a service may call another one
    Check(CheckOptions),
    /// List the intentions about a service
    Match(MatchOptions),
    /// List all intentions
    List(ListOptions),
    /// Print one intention
    Get(OneOptions),
    /// Delete one intention
    Delete(OneOptions),
}

/// Options of `intention check`.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// The service that calls
    #[arg(value_name = "SRC")]
    source: String,
    /// The service that is called
    #[arg(value_name = "DST")]
    destination: String,
    #[command(flatten)]
    target: Target,
}

/// Options of `intention match`.
#[derive(Debug, Args)]
pub(super) struct MatchOptions {
    /// Intentions whose source is the service
    #[arg(long)]
    source: bool,
    /// Intentions whose destination is the service, as without either option
    #[arg(long, conflicts_with = "source")]
    destination: bool,
    /// The service
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Options of `intention list`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Only intentions that this expression selects
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Options of `intention get` and `intention delete`.
#[derive(Debug, Args)]
pub(super) struct OneOptions {
    /// The ID of the intention, or the service that calls and the one that is called
    #[arg(value_name = "ID | SRC DST", required = true, num_args = 1..=2)]
    which: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs an `intention` command.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(command: IntentionCommand) -> Result<(), CliError> {
    match command {
        IntentionCommand::Create(options) => create::run(&options).await,
        IntentionCommand::Check(options) => check(&options).await,
        IntentionCommand::Match(options) => matching(&options).await,
        IntentionCommand::List(options) => list(&options).await,
        IntentionCommand::Get(options) => get(&options).await,
        IntentionCommand::Delete(options) => delete(&options).await,
    }
}

/// The exit code tells the answer too, so that a failure has another one.
async fn check(options: &CheckOptions) -> Result<(), CliError> {
    let allowed = ask(options).await.map_err(|error| CliError::Unanswered(Box::new(error)))?;
    output::line(if allowed { "Allowed" } else { "Denied" })?;
    if allowed { Ok(()) } else { Err(CliError::No) }
}

async fn ask(options: &CheckOptions) -> Result<bool, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        allowed: bool,
    }
    let query = pair(&options.source, &options.destination);
    let answer: Answer = options.target.client()?.get(&[PATH[0], PATH[1], "check"], &query).await?;
    Ok(answer.allowed)
}

async fn matching(options: &MatchOptions) -> Result<(), CliError> {
    let by = if options.source { "source" } else { "destination" };
    let query = [("by", by), ("name", options.name.as_str())];
    let found: std::collections::BTreeMap<String, Vec<Intention>> =
        options.target.client()?.get(&[PATH[0], PATH[1], "match"], &query).await?;
    let found: Vec<Intention> = found.into_values().flatten().collect();
    if found.is_empty() {
        return Err(none());
    }
    found.iter().try_for_each(|intention| output::line(&show::sentence(intention)))
}

async fn list(options: &ListOptions) -> Result<(), CliError> {
    let query: Vec<_> = options.filter.iter().map(|filter| ("filter", filter.as_str())).collect();
    let found: Vec<Intention> = options.target.client()?.get(&PATH, &query).await?;
    if found.is_empty() {
        return Err(none());
    }
    output::columns(&show::table(&found))
}

async fn get(options: &OneOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let intention: Intention = match options.which.as_slice() {
        [source, destination] => client.get(&[PATH[0], PATH[1], "exact"], &pair(source, destination)).await?,
        which => client.get(&[PATH[0], PATH[1], &which.concat()], &[]).await?,
    };
    output::columns(&show::facts(&intention))
}

async fn delete(options: &OneOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    match options.which.as_slice() {
        [source, destination] => client.delete(&[PATH[0], PATH[1], "exact"], &pair(source, destination)).await?,
        which => client.delete(&[PATH[0], PATH[1], &which.concat()], &[]).await?,
    };
    output::line("Intention deleted.")
}

fn pair<'n>(source: &'n str, destination: &'n str) -> [(&'static str, &'n str); 2] {
    [("source", source), ("destination", destination)]
}

fn none() -> CliError {
    CliError::Nothing("There are no intentions.".to_owned())
}
