//! `meshgate troubleshoot`: what an Envoy says about itself, and which ports of a control plane answer.
//!
//! Nothing is asked of the control plane, so it tells something where that does not answer.

mod dump;
mod ports;
mod proxy;
mod upstreams;

use std::fmt;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{CliError, demo};

/// How long one answer of the admin interface may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Commands that look for what is wrong.
#[derive(Debug, Subcommand)]
pub(super) enum TroubleshootCommand {
    /// List the upstreams of an Envoy
    Upstreams(upstreams::UpstreamsOptions),
    /// Go through what an Envoy needs to call an upstream
    Proxy(proxy::ProxyOptions),
    /// Say which ports of a control plane answer
    Ports(ports::PortsOptions),
}

/// Runs a `troubleshoot` command.
///
/// # Errors
/// Options that do not fit, or an Envoy that does not answer.
pub(super) async fn run(command: TroubleshootCommand) -> Result<(), CliError> {
    match command {
        TroubleshootCommand::Upstreams(options) => upstreams::run(&options).await,
        TroubleshootCommand::Proxy(options) => proxy::run(&options).await,
        TroubleshootCommand::Ports(options) => ports::run(&options).await,
    }
}

/// Which Envoy is asked.
#[derive(Debug, Args)]
pub(super) struct Admin {
    /// Address of its admin interface
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:19000")]
    envoy_admin_endpoint: String,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.envoy_admin_endpoint)
    }
}

impl Admin {
    /// What the admin interface says at a path.
    ///
    /// # Errors
    /// It does not answer, or with no JSON.
    pub(super) async fn ask(&self, path: &str) -> Result<Value, CliError> {
        let url = format!("http://{}/{path}", self.envoy_admin_endpoint);
        let text = demo::request(&demo::client(LIMIT), &url).await?;
        serde_json::from_str(&text).map_err(|error| CliError::Input(format!("{url} answers with no JSON: {error}")))
    }
}
