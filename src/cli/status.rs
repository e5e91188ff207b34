//! `meshgate status`: is it all right, on one screen.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;

use super::change::duration;
use super::client::Target;
use super::history::{author, summary, time};
use super::output::ViewOption;
use super::ps::lasting;
use super::{CliError, output};

/// Most problems that are shown.
const SHOWN: usize = 10;

/// How long one look is after another one while it waits.
const PAUSE: Duration = Duration::from_millis(250);

/// Options of `status`.
#[derive(Debug, Args)]
#[command(after_help = "The exit code is 0 if nothing is wrong, and 1 if something is, with -wait after that time.")]
pub(super) struct StatusOptions {
    /// Wait until nothing is wrong and every connected proxy has what it should have
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION", requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Prints the overview.
///
/// # Errors
/// The control plane does not answer or refuses, or something is wrong.
pub(super) async fn run(options: &StatusOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &StatusOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let started = Instant::now();
    let mut status: Value = client.get(&["meshgate", "status"], &[]).await?;
    while options.wait && !is_settled(&status) && started.elapsed() < options.timeout {
        sleep(PAUSE).await;
        status = client.get(&["meshgate", "status"], &[]).await?;
    }
    options
        .output
        .write(&status, || screen(&status, OffsetDateTime::now_utc()).iter().try_for_each(|line| output::line(line)))?;
    let is_well = if options.wait { is_settled(&status) } else { list(&status, "Problems").is_empty() };
    if is_well { Ok(()) } else { Err(CliError::No) }
}

/// Nothing is wrong, and nothing is on its way.
fn is_settled(status: &Value) -> bool {
    list(status, "Problems").is_empty() && status["Proxies"]["Behind"] == 0 && status["Ready"] == true
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn screen(status: &Value, now: OffsetDateTime) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let problems = list(status, "Problems");
    let count = problems.len() as u64 + status["MoreProblems"].as_u64().unwrap_or_default();
    let verdict = match count {
        0 => "all good".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let head = format!(
        "meshgate {}  {} (revision {})",
        text(&status["Version"]),
        text(&status["Datacenter"]),
        status["Index"]
    );
    let mut lines = vec![format!("{head:<70}  {verdict}")];
    let mut add = |name: &str, parts: Vec<String>| {
        if !parts.is_empty() {
            lines.push(format!("  {name:<12} {}", parts.join("   ")));
        }
    };
    let datacenters = list(status, "Datacenters");
    add(
        "Datacenters",
        datacenters.iter().map(|of| format!("{} ({})", text(&of["Name"]), nodes(&of["Nodes"]))).collect(),
    );
    let gateways = datacenters.iter().filter(|of| of["Gateways"] != 0);
    let gateways = gateways.map(|of| format!("{} {}/{}", text(&of["Name"]), of["GatewaysHealthy"], of["Gateways"]));
    add("Gateways", gateways.collect());
    let peers = list(status, "Peerings").iter();
    add("Peers", peers.map(|of| format!("{} {}", text(&of["Name"]), text(&of["State"]).to_lowercase())).collect());
    let proxies = &status["Proxies"];
    let counts = [("Synced", "synced"), ("Behind", "behind"), ("Refused", "nack"), ("Disconnected", "not connected")];
    add("Proxies", counts.iter().map(|(name, shown)| format!("{} {shown}", proxies[*name])).collect());
    let certificates = &status["Certificates"];
    let ends = [("NextLeaf", "next leaf"), ("ActiveRoot", "root")].into_iter();
    let ends = ends.filter_map(|(name, shown)| Some(format!("{shown} {}", left(certificates[name].as_str()?, now)?)));
    add("Certs", ends.collect());
    if let Some(change) = status.get("LastChange") {
        let push = change.get("Propagation");
        let live = push.map_or_else(String::new, |push| {
            let after = match (push["LiveAfterMs"].as_f64(), push["Unmade"].as_u64()) {
                (Some(after), _) => lasting(after),
                (None, Some(unmade @ 1..)) => format!("{unmade} not made"),
                (None, _) => "pending".to_owned(),
            };
            format!(" ({}/{} live, {after})", push["Live"], push["Proxies"])
        });
        let (at, what, by) = (time(&change["Time"]), summary(change), author(&change["Author"]));
        add("Last change", vec![format!("{at} {what} by {by}{live}")]);
    }
    lines.extend(problems.iter().take(SHOWN).map(|problem| format!("! {}", text(problem))));
    if count > SHOWN as u64 {
        lines.push(format!("! and {} more (-o json)", count - SHOWN as u64));
    }
    lines
}

fn nodes(count: &Value) -> String {
    format!("{count} node{}", if *count == 1 { "" } else { "s" })
}

/// The time that is left until a moment.
pub(super) fn left(until: &str, now: OffsetDateTime) -> Option<String> {
    let left = OffsetDateTime::parse(until, &Rfc3339).ok()? - now;
    Some(match (left.whole_days(), left.whole_hours()) {
        _ if left.is_negative() => "expired".to_owned(),
        (731.., _) => format!("{:.1}y", left.as_seconds_f64() / (365.25 * 86_400.0)),
        (days @ 2.., _) => format!("{days}d"),
        (_, hours @ 1..) => format!("{hours}h"),
        _ => format!("{}m", left.whole_minutes()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn one_screen_says_what_is_known() {
        let now = datetime!(2026-01-02 00:00 UTC);
        let row = json!({ "Table": "ConfigEntries", "Name": "mesh/mesh", "Action": "created", "Fields": [] });
        let status = json!({
            "Version": "0.1.0", "Datacenter": "dc1", "Index": 7, "Ready": true, "Problems": ["p refused CDS: no"],
            "Datacenters": [
                { "Name": "dc1", "Nodes": 2, "Gateways": 2, "GatewaysHealthy": 1 },
                { "Name": "dc2", "Nodes": 1, "Gateways": 0, "GatewaysHealthy": 0 },
            ],
            "Peerings": [{ "Name": "lab", "State": "ACTIVE" }],
            "Proxies": { "Synced": 3, "Behind": 0, "Refused": 1, "Disconnected": 2 },
            "Certificates": { "NextLeaf": "2026-01-03T21:00:00Z", "ActiveRoot": "2036-01-02T00:00:00Z" },
            "LastChange": {
                "Index": 7, "Time": "2026-01-01T10:00:00.5Z", "Author": { "By": "files" }, "Rows": [row], "MoreRows": 0,
                "Propagation": { "Live": 2, "Proxies": 3, "Unmade": 1 },
            },
        });

        let shown = screen(&status, now).join("\n");

        let wanted = format!(
            "{:<70}  1 problem\n{}",
            "meshgate 0.1.0  dc1 (revision 7)",
            "  Datacenters  dc1 (2 nodes)   dc2 (1 node)\n\
             \x20 Gateways     dc1 1/2\n\
             \x20 Peers        lab active\n\
             \x20 Proxies      3 synced   0 behind   1 nack   2 not connected\n\
             \x20 Certs        next leaf 45h   root 10.0y\n\
             \x20 Last change  2026-01-01T10:00:00.500Z + mesh/mesh by files (2/3 live, 1 not made)\n\
             ! p refused CDS: no"
        );
        assert_eq!(shown, wanted);
        assert_eq!(left("2026-01-01T00:00:00Z", now).as_deref(), Some("expired"));
    }
}
