//! `meshgate debug`: what a control plane knows, for those who look for a fault.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client::{Client, ClientOptions};
use super::{CliError, output};
use crate::api;

/// Commands that look into a control plane.
#[derive(Debug, Subcommand)]
pub(super) enum DebugCommand {
    /// Print the whole state apart from certificates and keys, as a JSON document that `meshgate replay` takes
    Bundle(Box<BundleOptions>),
    /// Print what this version's HTTP API serves, as an OpenAPI document
    Openapi,
}

/// Options of `debug bundle`.
#[derive(Debug, Args)]
pub(super) struct BundleOptions {
    /// File to write, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    client: ClientOptions,
}

/// Runs a `debug` command.
///
/// # Errors
/// A control plane that does not answer or refuses, or a file that cannot be written.
pub(super) async fn run(command: DebugCommand) -> Result<(), CliError> {
    match command {
        DebugCommand::Bundle(options) => bundle(&options).await,
        DebugCommand::Openapi => output::json(api::openapi()),
    }
}

async fn bundle(options: &BundleOptions) -> Result<(), CliError> {
    let text = Client::new(&options.client, "")?.get_bytes(&["meshgate", "debug", "bundle"], &[("pretty", "")]).await?;
    match &options.output {
        Some(path) => std::fs::write(path, text).map_err(CliError::io(path.display().to_string())),
        None => std::io::stdout().lock().write_all(&text).map_err(CliError::io("standard output cannot be written")),
    }
}
