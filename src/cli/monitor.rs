//! `meshgate monitor`: the log of a running agent.

use std::io::Write;

use clap::Args;

use super::CliError;
use super::client::{Client, ClientOptions};

/// Options of `meshgate monitor`.
#[derive(Debug, Args)]
pub(super) struct MonitorOptions {
    /// Level that is shown, whatever the agent itself logs: trace, debug, info, warn or error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// One JSON object per line
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    client: ClientOptions,
}

/// Prints what is logged until the agent or somebody else ends it.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn run(options: &MonitorOptions) -> Result<(), CliError> {
    let client = Client::new(&options.client, "")?;
    let mut query = vec![("loglevel", options.log_level.as_str())];
    if options.log_json {
        query.push(("logjson", ""));
    }
    let mut answer = client.follow(&["agent", "monitor"], &query).await?;
    let mut output = std::io::stdout();
    while let Some(chunk) = answer.chunk().await.map_err(|source| client.answer_error(source))? {
        let written = output.write_all(&chunk).and_then(|()| output.flush());
        written.map_err(CliError::io("standard output cannot be written"))?;
    }
    Ok(())
}
