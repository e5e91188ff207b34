//! `meshgate info`: what the agent tells about itself, for people.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;

use super::client::Target;
use super::{CliError, output};

/// Options of `meshgate info`.
#[derive(Debug, Args)]
pub(super) struct InfoOptions {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    stats: BTreeMap<String, BTreeMap<String, String>>,
}

/// Prints the statistics, sorted.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn run(options: &InfoOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let about: About = client.get(&["agent", "self"], &[]).await?;
    for (group, values) in &about.stats {
        output::line(&format!("{group}:"))?;
        values.iter().try_for_each(|(name, value)| output::line(&format!("\t{name} = {value}")))?;
    }
    Ok(())
}
