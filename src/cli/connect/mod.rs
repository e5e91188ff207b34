//! `meshgate connect`: proxies of the mesh.

mod bind;
mod envoy;
mod identity;
mod launch;
mod options;
mod register;
mod server;

use clap::Subcommand;

use super::CliError;

/// Commands that start proxies.
#[derive(Debug, Subcommand)]
pub(super) enum ConnectCommand {
    /// Start Envoy for a sidecar or gateway, or print what it is started with
    Envoy(Box<options::EnvoyOptions>),
}

/// Runs a `connect` command.
///
/// # Errors
/// Options that do not fit together, a control plane that does not answer, or an Envoy that cannot be started.
pub(super) fn run(command: ConnectCommand) -> Result<(), CliError> {
    let ConnectCommand::Envoy(options) = command;
    envoy::run(&options)
}
