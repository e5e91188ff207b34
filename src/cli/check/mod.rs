//! `meshgate check`: a checklist.

mod pre;

use clap::Args;
use owo_colors::OwoColorize;
use serde_json::Value;

use super::client::Target;
use super::output::ViewOption;
use super::{CliError, output};

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 if nothing is found that does not work, and 1 if something is; with -strict for warnings too.
The same over HTTP, apart from -pre: GET /v1/meshgate/check")]
pub(super) struct CheckOptions {
    /// Look at this machine, before there is an agent: ports, limits, Envoy
    #[arg(long)]
    pre: bool,
    /// Only the check of this ID, such as MG-GW-002 (repeatable)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Only checks of this area: SRV, XDS, GW, CERT, PEER, EXP, INT, CFG or SNI (repeatable)
    #[arg(long, value_name = "AREA")]
    category: Vec<String>,
    /// Let warnings fail as well
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Prints the list.
///
/// # Errors
/// The control plane does not answer or refuses, the list has no such check, or something is wrong.
pub(super) async fn run(options: &CheckOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &CheckOptions) -> Result<(), CliError> {
    let list = if options.pre { pre::checklist(&options.only, &options.category)? } else { asked(options).await? };
    let checks = list["Checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let short = || {
        let wrong = checks.iter().filter(|check| check["Status"] != "ok").filter_map(|check| check["ID"].as_str());
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { "ok".to_owned() } else { wrong.join("\n") }
    };
    options.output.write_or(&list, short, || lines(&list).iter().try_for_each(|line| output::line(line)))?;
    let fails = checks.iter().any(|check| {
        check["Status"] == "problem" || check["Status"] == "unknown" || options.strict && check["Status"] != "ok"
    });
    if fails { Err(CliError::No) } else { Ok(()) }
}

/// What the control plane tells.
async fn asked(options: &CheckOptions) -> Result<Value, CliError> {
    let named = options.only.iter().map(|id| ("only", id.as_str()));
    let query: Vec<_> = named.chain(options.category.iter().map(|area| ("category", area.as_str()))).collect();
    Ok(options.target.client()?.get(&["meshgate", "check"], &query).await?)
}

fn lines(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = list["Checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = Vec::new();
    for check in checks {
        let status = match text(&check["Status"]).as_str() {
            "ok" => format!("{}     ", "ok".green()),
            "warning" => format!("{}", "warning".yellow()),
            other => format!("{}", other.red()),
        };
        lines.push(format!("{status}  {:<12}  {}", text(&check["ID"]), text(&check["What"])));
        for finding in check["Findings"].as_array().into_iter().flatten() {
            lines.push(format!("           {}: {}", text(&finding["Subject"]), text(&finding["What"])));
            lines.push(format!("           fix: {}", text(&finding["Fix"])));
        }
    }
    let count = |status: &str| checks.iter().filter(|check| check["Status"] == status).count();
    lines.push(match (count("problem") + count("unknown"), count("warning")) {
        (0, 0) => format!("{} of {} are ok", count("ok"), checks.len()),
        (problems, warnings) => {
            format!("{} of {} are ok, {problems} with problems, {warnings} with warnings", count("ok"), checks.len())
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_item_is_told_with_its_causes_and_fixes() {
        let finding = json!({ "Severity": "problem", "ID": "MG-GW-003", "Subject": "gw", "What": "it takes no connections", "Fix": "see to it" });
        let item = |id: &str, status: &str, findings: Value| json!({ "ID": id, "Category": "GW", "What": "all is well", "Status": status, "Findings": findings });
        let list =
            json!({ "Checks": [item("MG-GW-001", "ok", json!([])), item("MG-GW-003", "problem", json!([finding]))] });

        let lines: Vec<_> =
            lines(&list).into_iter().map(|line| anstream::adapter::strip_str(&line).to_string()).collect();

        assert_eq!(
            lines,
            [
                "ok       MG-GW-001     all is well",
                "problem  MG-GW-003     all is well",
                "           gw: it takes no connections",
                "           fix: see to it",
                "1 of 2 are ok, 1 with problems, 0 with warnings",
            ]
        );
    }
}
