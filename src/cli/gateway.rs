//! `meshgate gateway`: the mesh gateways.

use clap::{Args, Subcommand};

use super::client::Target;
use super::output::ViewOption;
use super::{CliError, output};
use crate::api::GatewayRow;

/// Commands about mesh gateways.
#[derive(Debug, Subcommand)]
pub(super) enum GatewayCommand {
    /// List the mesh gateways of all places
    Ls(ListOptions),
}

/// Options of `gateway ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 1 if the checks of a gateway let it take no connections.
The same over HTTP: GET /v1/meshgate/gateways")]
pub(super) struct ListOptions {
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Runs a `gateway` command.
///
/// # Errors
/// A control plane that does not answer or refuses, and gateways that take no connections.
pub(super) async fn run(command: GatewayCommand) -> Result<(), CliError> {
    match command {
        GatewayCommand::Ls(options) => options.output.repeat(async || list(&options).await).await,
    }
}

async fn list(options: &ListOptions) -> Result<(), CliError> {
    let rows: Vec<GatewayRow> = options.target.client()?.get(&["meshgate", "gateways"], &[]).await?;
    options.output.write(&rows, || output::columns(&table(&rows)))?;
    if rows.iter().all(|row| row.healthy) { Ok(()) } else { Err(CliError::No) }
}

fn table(rows: &[GatewayRow]) -> Vec<Vec<String>> {
    let heading = ["GATEWAY", "NODE", "WHERE", "LAN", "WAN", "HEALTH", "CONNECTED", "ENVOY", "CLUSTERS", "SNIS"];
    let row = |row: &GatewayRow| {
        let health = match (row.healthy, row.failing.as_slice()) {
            (true, _) => "ok".to_owned(),
            (false, []) => "takes no connections".to_owned(),
            (false, failing) => failing.join(", "),
        };
        // Other places dial the LAN address where none is said, which is rarely meant.
        let wan = if row.says_wan { row.wan.clone() } else { "-".to_owned() };
        let version = if row.envoy_version.is_empty() { "-".to_owned() } else { row.envoy_version.clone() };
        vec![
            row.id.clone(),
            row.node.clone(),
            format!("{}/{}", row.datacenter, row.partition),
            row.lan.clone(),
            wan,
            health,
            if row.connected { row.sync.clone() } else { "no".to_owned() },
            version,
            row.clusters.to_string(),
            row.snis.to_string(),
        ]
    };
    std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows.iter().map(row)).collect()
}
