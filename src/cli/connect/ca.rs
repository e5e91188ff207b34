//! `meshgate connect ca`: the configuration of the certificate authority.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::client::Target;
use crate::cli::files::SourceText;
use crate::cli::{CliError, output};

const PATH: [&str; 3] = ["connect", "ca", "configuration"];

/// Commands about the certificate authority.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Print the configuration as JSON
    GetConfig(GetOptions),
    /// Replace the configuration
    SetConfig(SetOptions),
}

/// Options of `connect ca get-config`.
#[derive(Debug, Args)]
pub(crate) struct GetOptions {
    #[command(flatten)]
    target: Target,
}

/// Options of `connect ca set-config`.
#[derive(Debug, Args)]
pub(crate) struct SetOptions {
    /// File with Provider and Config, in JSON, HCL or YAML; - is standard input
    #[arg(long, value_name = "FILE")]
    config_file: String,
    /// Let a new root be one that the old one has not signed
    #[arg(long)]
    force_without_cross_signing: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs a `connect ca` command.
///
/// # Errors
/// A file that cannot be read, or a control plane that does not answer or refuses.
pub(super) async fn run(command: CaCommand) -> Result<(), CliError> {
    match command {
        CaCommand::GetConfig(options) => get(&options).await,
        CaCommand::SetConfig(options) => set(&options).await,
    }
}

async fn get(options: &GetOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let config: Value = client.get(&PATH, &[]).await?;
    output::json(&config)
}

async fn set(options: &SetOptions) -> Result<(), CliError> {
    let mut config: Value = SourceText::read(&options.config_file)?.value()?;
    if options.force_without_cross_signing {
        config["ForceWithoutCrossSigning"] = true.into();
    }
    let client = options.target.client()?;
    client.put(&PATH, &[], Some(&config)).await?;
    output::line("Configuration updated!")
}
