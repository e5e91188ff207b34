//! `meshgate troubleshoot upstreams`.

use clap::Args;

use super::Admin;
use super::dump::Dump;
use crate::cli::{CliError, output};

/// Options of `troubleshoot upstreams`.
#[derive(Debug, Args)]
pub(in crate::cli) struct UpstreamsOptions {
    #[command(flatten)]
    admin: Admin,
}

/// Prints the IDs of explicit upstreams, then the addresses that a transparent proxy knows.
pub(super) async fn run(options: &UpstreamsOptions) -> Result<(), CliError> {
    let dump = Dump::of(&options.admin.ask("config_dump").await?);
    output::line("Upstream IDs (explicit upstreams):")?;
    for id in dump.upstream_ids() {
        output::line(&format!("  {id}"))?;
    }
    output::line("")?;
    output::line("Upstream IPs (transparent proxies):")?;
    for (ip, clusters) in dump.upstream_ips() {
        output::line(&format!("  {ip}: {}", clusters.into_iter().collect::<Vec<_>>().join(", ")))?;
    }
    Ok(())
}
