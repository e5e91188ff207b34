//! `meshgate replay`: the control plane that a bundle was taken from, once more.

use clap::Args;

use super::agent::{ProcessOptions, serve};
use super::{CliError, files};
use crate::settings::{Inputs, Settings};

/// Options of `meshgate replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
The state is kept in memory alone. Everything that proxies are told is as it was, apart from certificates and keys, which \
are new. Datacenters, node name, trust domain and default intention policy are those of the bundle; no health checks are run.
Try `meshgate debug bundle -o state.json` on a running agent, then `meshgate replay state.json`.")]
pub(super) struct ReplayOptions {
    /// File that `meshgate debug bundle` wrote; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: String,
    #[command(flatten)]
    process: ProcessOptions,
}

/// Runs a control plane with the state of a bundle until it is told to stop.
///
/// # Errors
/// A bundle or settings that are wrong, or a control plane that cannot start or had to stop.
pub(super) fn run(options: &ReplayOptions) -> Result<(), CliError> {
    let bundle = files::bundle(&options.bundle)?;
    let inputs = Inputs { flags: options.process.flags().collect(), dev: true, ..Inputs::of_process() };
    let settings = Settings::load(&inputs)?;
    let warnings = settings.warnings.clone();
    serve(settings, &warnings, |settings, process| crate::app::replay(settings, bundle, process))
}
