//! `meshgate replay`: the control plane that a bundle was taken from, once more.

use std::collections::BTreeSet;

use clap::Args;

use super::agent::{ProcessOptions, serve};
use super::{CliError, files, output};
use crate::model::Bundle;
use crate::settings::{Inputs, Settings};

/// Options of `meshgate replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
The state is kept in memory alone. Everything that proxies are told is as it was, apart from certificates and keys, which \
are new. Datacenters, node name, trust domain and default intention policy are those of the bundle; no health checks are run.
Try `meshgate debug bundle -o state.json` on a running agent, then `meshgate replay state.json`.")]
pub(super) struct ReplayOptions {
    /// File that `meshgate debug bundle` or `meshgate bug-report` wrote; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: String,
    /// Start nothing, and say of each proxy whether this version makes the configuration of it that is noted in the bundle
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    process: ProcessOptions,
}

/// Runs a control plane with the state of a bundle until it is told to stop.
///
/// # Errors
/// A bundle or settings that are wrong, or a control plane that cannot start or had to stop.
pub(super) fn run(options: &ReplayOptions) -> Result<(), CliError> {
    let bundle = files::bundle(&options.bundle)?;
    if options.verify {
        return verify(bundle);
    }
    let inputs = Inputs { flags: options.process.flags().collect(), dev: true, ..Inputs::of_process() };
    let settings = Settings::load(&inputs)?;
    let warnings = settings.warnings.clone();
    serve(settings, &warnings, |settings, process| crate::app::replay(settings, bundle, process))
}

/// Makes the configuration of every proxy again, and tells which ones differ from what was noted.
fn verify(bundle: Bundle) -> Result<(), CliError> {
    let noted = bundle.configurations.clone();
    if noted.is_empty() {
        let hint = "the bundle has no hashes: take it with `meshgate bug-report`, or from the API with ?hashes";
        return Err(CliError::Usage(hint.to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("the runtime cannot be started"))?;
    let made = runtime.block_on(crate::app::verify(bundle))?;
    let names: BTreeSet<_> = noted.keys().chain(made.keys()).collect();
    let mut differing = 0;
    for name in &names {
        let told = match (noted.get(*name), made.get(*name)) {
            (noted, made) if noted == made => continue,
            (Some(noted), Some(made)) => format!("{name}: {made}, and it was {noted}"),
            (Some(noted), None) => format!("{name}: nothing, and it was {noted}"),
            (None, made) => format!("{name}: {}, and there was nothing", made.map(String::as_str).unwrap_or_default()),
        };
        differing += 1;
        output::line(&told)?;
    }
    output::line(&format!(
        "{} of {} proxies get the configuration that is noted",
        names.len() - differing,
        names.len()
    ))?;
    if differing == 0 { Ok(()) } else { Err(CliError::No) }
}
