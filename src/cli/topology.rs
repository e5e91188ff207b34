//! `meshgate topology`: places with their mesh gateways, and who dials whom through which of them.

use clap::Args;
use serde_json::Value;

use super::client::Target;
use super::output::ViewOption;
use super::{CliError, output};

/// Options of `topology`.
#[derive(Debug, Args)]
#[command(after_help = "\
MODE is what the upstreams come to: none for instances that are dialled directly, local through gateways of both sides, remote
through those of the other side alone. HEALTHY counts the upstreams with an endpoint that takes traffic. The exit code is 1 if
some upstream between two places has none.")]
pub(super) struct TopologyOptions {
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Prints places, gateways and ways.
///
/// # Errors
/// The control plane does not answer or refuses, or an upstream between two places leads to nobody.
pub(super) async fn run(options: &TopologyOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &TopologyOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let topology: Value = client.get(&["meshgate", "topology"], &[]).await?;
    options.output.write(&topology, || {
        output::columns(&places(&topology))?;
        output::line("")?;
        output::columns(&ways(&topology))
    })?;
    let leads_nowhere = list(&topology, "Edges").iter().any(|edge| edge["Healthy"] != edge["Upstreams"]);
    if leads_nowhere { Err(CliError::No) } else { Ok(()) }
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// A row for each gateway, or one for a place without any.
fn places(topology: &Value) -> Vec<Vec<String>> {
    let headings = ["PLACE", "SERVICES", "SIDECARS(connected/all)", "GATEWAY", "LAN", "WAN", "HEALTH", "CONFIGURATION"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for datacenter in list(topology, "Datacenters") {
        for partition in list(datacenter, "Partitions") {
            let place = format!("{}/{}", text(&datacenter["Name"]), text(&partition["Name"]));
            let sidecars = format!("{}/{}", partition["SidecarsConnected"], partition["Sidecars"]);
            let of_place = [place, partition["Services"].to_string(), sidecars];
            let gateways = list(partition, "Gateways");
            rows.extend(gateways.iter().map(|gateway| [of_place.to_vec(), of_gateway(gateway)].concat()));
            if gateways.is_empty() {
                rows.push([of_place.to_vec(), vec!["-".to_owned(); 5]].concat());
            }
        }
    }
    rows
}

fn of_gateway(gateway: &Value) -> Vec<String> {
    let health = match gateway["Healthy"].as_bool() {
        Some(true) => "healthy".to_owned(),
        _ => list(gateway, "Failing").iter().map(text).collect::<Vec<_>>().join(", "),
    };
    let wan = if gateway["SaysWAN"] == true { text(&gateway["WAN"]) } else { "-".to_owned() };
    vec![text(&gateway["ID"]), text(&gateway["LAN"]), wan, health, text(&gateway["Sync"])]
}

fn ways(topology: &Value) -> Vec<Vec<String>> {
    let headings = ["FROM", "TO", "MODE", "UPSTREAMS", "HEALTHY", "EXAMPLE"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    rows.extend(list(topology, "Edges").iter().map(|edge| {
        let to = match edge["ToPeer"].as_str() {
            Some(peer) => format!("peer:{peer}"),
            None => format!("{}/{}", text(&edge["ToDatacenter"]), text(&edge["ToPartition"])),
        };
        let example = &edge["Example"];
        vec![
            format!("{}/{}", text(&edge["FromDatacenter"]), text(&edge["FromPartition"])),
            to,
            text(&edge["Mode"]),
            edge["Upstreams"].to_string(),
            edge["Healthy"].to_string(),
            format!("{} -> {}", text(&example["From"]), text(&example["To"])),
        ]
    }));
    rows
}
