//! `meshgate maint`: takes the node, or one service on it, out of service and back.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;

use super::client::{Client, Target};
use super::{CliError, output};

/// The check that takes out the node.
const OF_NODE: &str = "_node_maintenance";
/// What the checks that take out one service begin with.
const OF_SERVICE: &str = "_service_maintenance:";

/// Options of `meshgate maint`.
#[derive(Debug, Args)]
#[command(after_help = "Without -enable or -disable, everything that is in maintenance is listed.")]
pub(super) struct MaintOptions {
    /// Take it out of service
    #[arg(long)]
    enable: bool,
    /// Take it back into service
    #[arg(long)]
    disable: bool,
    /// Why, for those who find it out of service
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// ID of the service; the whole node without it
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    node: String,
    notes: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
}

/// Switches maintenance, or lists what is in it.
///
/// # Errors
/// Options that contradict each other, or a control plane that does not answer or refuses.
pub(super) async fn run(options: &MaintOptions) -> Result<(), CliError> {
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    match (options.enable, options.disable) {
        (true, true) => return usage("Only one of -enable or -disable may be provided"),
        (false, _) if options.reason.is_some() => return usage("Reason may only be provided with -enable"),
        (false, false) if options.service.is_some() => return usage("-service needs -enable or -disable"),
        _ => {}
    }
    let client = options.target.client()?;
    if !options.enable && !options.disable {
        return list(&client).await;
    }
    let enable = options.enable.to_string();
    let reason = options.reason.as_deref().unwrap_or_default();
    let query = [("enable", enable.as_str()), ("reason", reason)];
    let now = if options.enable { "enabled" } else { "disabled" };
    if let Some(service) = &options.service {
        client.put(&["agent", "service", "maintenance", service], &query, None).await?;
        return output::line(&format!("Service maintenance is now {now} for {service:?}"));
    }
    client.put(&["agent", "maintenance"], &query, None).await?;
    output::line(&format!("Node maintenance is now {now}"))
}

async fn list(client: &Client) -> Result<(), CliError> {
    let checks: BTreeMap<String, Check> = client.get(&["agent", "checks"], &[]).await?;
    for (id, check) in &checks {
        let (heading, name) = if id == OF_NODE {
            ("Node:", format!("Name:   {}", check.node))
        } else if id.starts_with(OF_SERVICE) {
            ("Service:", format!("ID:     {}", check.service_id))
        } else {
            continue;
        };
        output::line(&format!("{heading}\n  {name}\n  Reason: {}\n", check.notes))?;
    }
    Ok(())
}
