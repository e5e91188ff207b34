//! `meshgate connect`: proxies of the mesh, and its certificate authority.

mod bind;
mod ca;
mod envoy;
mod expose;
mod identity;
mod launch;
mod options;
mod register;
mod server;
mod supervise;

use clap::Subcommand;

pub(super) use self::supervise::{RunOptions, run as run_envoy};
use super::CliError;

/// Commands about proxies and certificates.
#[derive(Debug, Subcommand)]
pub(super) enum ConnectCommand {
    /// Start Envoy for a sidecar or gateway, or print what it is started with
    Envoy(Box<options::EnvoyOptions>),
    /// Put a service behind a port of an ingress gateway
    Expose(Box<expose::ExposeOptions>),
    /// Configure the certificate authority
    #[command(subcommand)]
    Ca(Box<ca::CaCommand>),
}

/// Runs a `connect` command.
///
/// # Errors
/// Options that do not fit together, a control plane that does not answer, or an Envoy that cannot be started.
pub(super) fn run(command: ConnectCommand) -> Result<(), CliError> {
    match command {
        ConnectCommand::Envoy(options) => envoy::run(&options),
        ConnectCommand::Expose(options) => super::block_on(expose::run(&options)),
        ConnectCommand::Ca(command) => super::block_on(ca::run(*command)),
    }
}
