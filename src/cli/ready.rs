//! `meshgate ready`: whether a control plane or an Envoy is ready, for health checks.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::client::Target;
use super::{CliError, demo, output};

/// Health checks have a limit of their own, and should hear why.
const LIMIT: Duration = Duration::from_secs(5);

/// Options of `meshgate ready`.
#[derive(Debug, Args)]
#[command(after_help = "\
For health checks of containers and units: the exit code is 0 only if it is ready. A control plane that is not ready says \
what it waits for. An Envoy is ready once it has had its listeners and clusters.")]
pub(super) struct ReadyOptions {
    /// Ask the Envoy with this admin interface in place of the control plane
    #[arg(long, value_name = "IP:PORT")]
    envoy: Option<SocketAddr>,
    #[command(flatten)]
    target: Target,
}

/// Asks, and prints the answer.
///
/// # Errors
/// It is not ready, or does not answer.
pub(super) async fn run(options: &ReadyOptions) -> Result<(), CliError> {
    let answer = match options.envoy {
        Some(admin) => demo::request(&demo::client(LIMIT), &format!("http://{admin}/ready")).await?,
        None => {
            let answer = options.target.client()?.get_bytes(&["meshgate", "ready"], &[]).await?;
            String::from_utf8_lossy(&answer).into_owned()
        }
    };
    output::line(answer.trim_end())
}
