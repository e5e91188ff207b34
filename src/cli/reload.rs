//! `meshgate reload`: the agent reads its files again.

use clap::Args;

use super::client::{Client, ClientOptions};
use super::{CliError, output};

/// Options of `meshgate reload`.
#[derive(Debug, Args)]
#[command(after_help = "\
Services, checks and config entries of files are taken over, and so are node_meta, log_level and the files of tls.grpc. What \
a file no longer has goes; what was registered over HTTP stays. The signal SIGHUP does the same.")]
pub(super) struct ReloadOptions {
    #[command(flatten)]
    client: ClientOptions,
}

/// Asks for a reload.
///
/// # Errors
/// The control plane does not answer, or something is wrong with its files; nothing was taken over then.
pub(super) async fn run(options: &ReloadOptions) -> Result<(), CliError> {
    Client::new(&options.client, "")?.put(&["agent", "reload"], &[], None).await?;
    output::line("Configuration reload triggered")
}
