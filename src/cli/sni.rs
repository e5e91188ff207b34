//! `meshgate sni`: the names that travel in TLS handshakes.

use clap::{Args, Subcommand};
use owo_colors::OwoColorize;

use super::client::Target;
use super::output::{OutputOption, ViewOption};
use super::{CliError, output};
use crate::api::SniRow;

/// Commands about SNIs.
#[derive(Debug, Subcommand)]
pub(super) enum SniCommand {
    /// Print the SNI of a service
    Encode(EncodeOptions),
    /// Say what an SNI means
    Decode(DecodeOptions),
    /// List every SNI that gateways choose ways by
    Ls(ListOptions),
}

/// Options of `sni encode`.
#[derive(Debug, Args)]
pub(super) struct EncodeOptions {
    /// The service: name, name@datacenter, name@peer (that imports it), partition/name or partition/namespace/name
    #[arg(value_name = "SERVICE")]
    service: String,
    /// A subset of the service
    #[arg(long, default_value = "", hide_default_value = true)]
    subset: String,
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// Options of `sni decode`.
#[derive(Debug, Args)]
pub(super) struct DecodeOptions {
    /// The SNI
    #[arg(value_name = "SNI")]
    sni: String,
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// Options of `sni ls`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Only those that mean several things; there are some if the exit code is 1
    #[arg(long)]
    conflicts: bool,
    /// Those of every datacenter and partition
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

const PATH: [&str; 2] = ["meshgate", "sni"];

/// Runs an `sni` command.
///
/// # Errors
/// Input that is wrong, conflicts that were asked for, or a control plane that does not answer or refuses.
pub(super) async fn run(command: SniCommand) -> Result<(), CliError> {
    match command {
        SniCommand::Encode(EncodeOptions { service, subset, output, target }) => {
            let query: Vec<_> = (!subset.is_empty()).then_some(("subset", subset.as_str())).into_iter().collect();
            let row: SniRow = target.client()?.get(&[PATH[0], PATH[1], "encode", &service], &query).await?;
            output.write(&row, || {
                if !row.known {
                    output::note(&format!("there is no {}", row.about));
                }
                output::line(&row.sni)
            })
        }
        SniCommand::Decode(DecodeOptions { sni, output, target }) => {
            let rows: Vec<SniRow> = target.client()?.get(&[PATH[0], PATH[1], "decode", &sni], &[]).await?;
            output.write(&rows, || rows.iter().try_for_each(|row| output::line(&meaning(row))))
        }
        SniCommand::Ls(options) => options.output.repeat(async || list(&options).await).await,
    }
}

async fn list(ListOptions { conflicts, all, output, target }: &ListOptions) -> Result<(), CliError> {
    let flags = [("conflicts", *conflicts), ("all", *all)];
    let query: Vec<_> = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, "")).collect();
    let rows: Vec<SniRow> = target.client()?.get(&PATH, &query).await?;
    output.write(&rows, || output::columns(&table(&rows)))?;
    if *conflicts && !rows.is_empty() { Err(CliError::No) } else { Ok(()) }
}

fn meaning(row: &SniRow) -> String {
    let known = if row.known { format!("{}", "known".green()) } else { format!("{}", "not there".yellow()) };
    format!("{}   {known}", row.about)
}

fn table(rows: &[SniRow]) -> Vec<Vec<String>> {
    let heading = ["SNI", "KIND", "MEANS", "CONFLICTS WITH"].map(str::to_owned).to_vec();
    let row = |row: &SniRow| {
        let conflicts = if row.conflicts.is_empty() { "-".to_owned() } else { row.conflicts.join("; ") };
        vec![row.sni.clone(), row.meaning.kind.to_string(), row.about.clone(), conflicts]
    };
    std::iter::once(heading).chain(rows.iter().map(row)).collect()
}
