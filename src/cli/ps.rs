//! `meshgate ps`: the proxies, and how far they have come.

use clap::Args;
use serde_json::Value;

use super::client::Target;
use super::history::author;
use super::output::ViewOption;
use super::{CliError, output};

/// The columns of resource types, in the order in which Envoy needs them.
const TYPES: [&str; 5] = ["CDS", "LDS", "EDS", "RDS", "SDS"];

/// The columns that only the wide form has.
const WIDE: [&str; 4] = ["NODE", "SERVICE", "STREAMS", "RESOURCES"];

/// Options of `ps`.
#[derive(Debug, Args)]
#[command(after_help = "\
Of each resource type: ok if the proxy has accepted what it was sent last, NACK if it refused that, ... while it has not
answered, and - if it asked for nothing of the type. REV is the last commit that changed the proxy, as it has acknowledged it
and as it should be. The exit code is 1 if a proxy refused something.")]
pub(super) struct PsOptions {
    /// Also those that are registered and not connected
    #[arg(long)]
    all: bool,
    /// Only proxies of this kind, such as mesh-gateway
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only proxies in this state: synced, behind, refused or disconnected
    #[arg(long, value_name = "STATE")]
    sync: Option<String>,
    /// Only proxies with this in their ID, node or service
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Order: name, id, kind, service, sync, envoy or lag; -sort=-lag begins with the longest
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Prints the proxies.
///
/// # Errors
/// The control plane does not answer or refuses, or a proxy refused something.
pub(super) async fn run(options: &PsOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &PsOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let is_all = options.all || options.sync.as_deref() == Some("disconnected");
    let asked =
        [("kinds", &options.kind), ("sync", &options.sync), ("search", &options.search), ("sort", &options.sort)];
    let asked = asked.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let query: Vec<_> = is_all.then_some(("registered", "")).into_iter().chain(asked).collect();
    let proxies: Vec<Value> = client.get(&["meshgate", "proxies"], &query).await?;
    options.output.write(&proxies, || table(&proxies, options.output.is_wide()))?;
    if proxies.iter().any(|proxy| proxy["Sync"] == "refused") { Err(CliError::No) } else { Ok(()) }
}

fn table(proxies: &[Value], is_wide: bool) -> Result<(), CliError> {
    let headings = ["PROXY", "KIND", "WHERE", "ENVOY"].into_iter().chain(TYPES);
    let more: &[&str] = if is_wide { &WIDE } else { &[] };
    let headings = headings.chain(["REV(acked/want)", "LAG"]).chain(more.iter().copied()).chain(["NOTE"]);
    let mut rows = vec![headings.map(str::to_owned).collect()];
    rows.extend(proxies.iter().map(|proxy| {
        let mut row = row(proxy);
        if is_wide {
            row.splice(row.len() - 1..row.len() - 1, wide(proxy));
        }
        row
    }));
    output::columns(&rows)
}

/// What there is no room for otherwise: where it is registered and for what, and how much it has.
fn wide(proxy: &Value) -> [String; WIDE.len()] {
    let text = |name: &str| proxy[name].as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let types = proxy["Types"].as_array().into_iter().flatten();
    let resources: u64 = types.filter_map(|of| of["Resources"].as_u64()).sum();
    [text("Node"), text("Service"), proxy["Streams"].to_string(), resources.to_string()]
}

fn row(proxy: &Value) -> Vec<String> {
    let text = |name: &str| match proxy[name].as_str() {
        Some("") | None => "-".to_owned(),
        Some(text) => text.to_owned(),
    };
    let place = format!("{}/{}", text("Datacenter"), text("Partition"));
    let mut row = vec![text("ID"), text("Kind"), place, text("EnvoyVersion")];
    row.extend(TYPES.into_iter().map(|kind| of_type(proxy, kind).to_owned()));
    row.push(format!("{}/{}", number(&proxy["Acked"]), number(&proxy["Index"])));
    let lag = proxy["BehindMs"].as_f64().filter(|_| proxy["Streams"] != 0);
    row.push(lag.map_or_else(|| "-".to_owned(), lasting));
    row.push(note(proxy));
    row
}

fn number(value: &Value) -> String {
    value.as_u64().filter(|number| *number > 0).map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// A time in milliseconds for people.
pub(super) fn lasting(milliseconds: f64) -> String {
    let seconds = milliseconds / 1000.0;
    match seconds {
        ..60.0 => format!("{seconds:.2}s"),
        ..3600.0 => format!("{}m{:02}s", (seconds / 60.0).floor(), (seconds % 60.0).floor()),
        _ => format!("{}h{:02}m", (seconds / 3600.0).floor(), (seconds / 60.0 % 60.0).floor()),
    }
}

fn find<'p>(proxy: &'p Value, kind: &str) -> Option<&'p Value> {
    proxy["Types"].as_array()?.iter().find(|of| of["Type"] == kind)
}

fn of_type(proxy: &Value, kind: &str) -> &'static str {
    let Some(of) = find(proxy, kind) else { return "-" };
    let has_answered = of["Acks"] != 0 || of["Nacks"] != 0;
    match (of["Acked"] == true, has_answered && of.get("LastNack").is_some(), of["Resources"] == 0) {
        (true, ..) => "ok",
        (false, true, _) => "NACK",
        // What it came with was right already.
        (false, false, false) if proxy["Sync"] == "synced" => "ok",
        (false, false, true) => "-",
        (false, false, false) => "...",
    }
}

/// What somebody should know.
fn note(proxy: &Value) -> String {
    let types = proxy["Types"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refusal = types.iter().filter(|of| of["Acked"] == false).find_map(|of| of.get("LastNack"));
    if let Some(nack) = refusal {
        return told_refusal(nack);
    }
    if let Some(change) = proxy["Trial"].as_str() {
        return format!("tries {change}");
    }
    let problems = proxy["Problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    match problems {
        [] if proxy["Streams"] == 0 => "not connected".to_owned(),
        [] => String::new(),
        [only] => only.as_str().unwrap_or_default().to_owned(),
        [first, others @ ..] => format!("{} (+{} more)", first.as_str().unwrap_or_default(), others.len()),
    }
}

/// Envoy's reason, with the resources, and the entry and commit behind it.
pub(super) fn told_refusal(nack: &Value) -> String {
    let resources: Vec<_> = nack["Resources"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let named = match resources.as_slice() {
        [] => String::new(),
        [only] => format!("{only}: "),
        [first, others @ ..] => format!("{first} and {} more: ", others.len()),
    };
    let message = nack["Message"].as_str().unwrap_or_default();
    let causes = nack["Causes"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let causes = causes.map(|cause| {
        let rows: Vec<_> = cause["Rows"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{} rev {} by {}", rows.join(", "), cause["Index"], author(&cause["Author"]))
    });
    let causes: Vec<_> = causes.collect();
    let behind = if causes.is_empty() { String::new() } else { format!("  <- {}", causes.join("; ")) };
    format!("{named}{message}{behind}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_reason_and_what_is_behind_it() {
        let cause =
            json!({ "Index": 9, "Author": { "By": "call", "Address": "10.0.0.1:7" }, "Rows": ["service-router/web"] });
        let nack = json!({ "Resources": ["web"], "Message": "bad regex", "Causes": [cause] });
        let refused = json!({ "Type": "RDS", "Resources": 1, "Acked": false, "Acks": 1, "Nacks": 1, "LastNack": nack });
        let accepted = json!({ "Type": "CDS", "Resources": 1, "Acked": true, "Acks": 1, "Nacks": 0 });
        let silent = json!({ "Type": "LDS", "Resources": 1, "Acked": false, "Acks": 0, "Nacks": 0 });
        let proxy = json!({
            "ID": "web-proxy", "Kind": "connect-proxy", "Datacenter": "dc1", "Partition": "default", "EnvoyVersion": "1.40.0",
            "Sync": "refused", "Streams": 1, "Problems": [], "Index": 9, "Acked": 7, "BehindMs": 252_300.0,
            "Types": [refused, accepted, silent],
        });

        assert_eq!(
            row(&proxy),
            [
                "web-proxy",
                "connect-proxy",
                "dc1/default",
                "1.40.0",
                "ok",
                "...",
                "-",
                "NACK",
                "-",
                "7/9",
                "4m12s",
                "web: bad regex  <- service-router/web rev 9 by 10.0.0.1:7",
            ]
        );
        assert_eq!([12.0, 3_600_000.0].map(lasting), ["0.01s", "1h00m"]);
    }
}
