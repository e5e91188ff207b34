//! `meshgate why-changed`: which commits changed a proxy, and whether it has taken them.

use clap::Args;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use super::client::Target;
use super::events::told;
use super::history::{author, summary, time};
use super::output::ViewOption;
use super::ps::lasting;
use super::{CliError, output};

/// Options of `why-changed`.
#[derive(Debug, Args)]
#[command(after_help = "\
Try `meshgate why-changed web-sidecar-proxy -between 14:00 14:05`. Times are those of UTC. What is shown is what the running
process remembers: changes since it started, within bounds.")]
pub(super) struct WhyChangedOptions {
    /// The proxy, by its ID, node/ID or datacenter/partition/node/ID
    #[arg(value_name = "PROXY")]
    proxy: String,
    /// Only changes between two times: 2026-01-02T15:04:05Z, or 15:04 and 15:04:05 of today
    #[arg(long, num_args = 2, value_names = ["FROM", "UNTIL"])]
    between: Vec<String>,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Prints the changes.
///
/// # Errors
/// The control plane does not answer or refuses, or knows no such proxy.
pub(super) async fn run(options: &WhyChangedOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &WhyChangedOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let today = OffsetDateTime::now_utc().date();
    let times = options.between.iter().map(|text| moment(text, today)).collect::<Result<Vec<_>, _>>()?;
    let query: Vec<_> = ["begin", "until"].into_iter().zip(times.iter().map(String::as_str)).collect();
    let path: Vec<&str> = ["meshgate", "why-changed"].into_iter().chain(options.proxy.split('/')).collect();
    let answer: Value = client.get(&path, &query).await?;
    options.output.write(&answer, || lines(&answer))
}

fn lines(answer: &Value) -> Result<(), CliError> {
    let of = |name: &str| answer[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let changes = of("Changes").iter().map(|change| (change["Time"].as_str().unwrap_or_default(), told_change(change)));
    let events = of("Events").iter().map(|event| (event["Time"].as_str().unwrap_or_default(), vec![told(event)]));
    let mut all: Vec<_> = changes.chain(events).collect();
    all.sort_by(|a, b| a.0.cmp(b.0));
    if all.is_empty() {
        return output::line("Nothing changed, as far as the process remembers.");
    }
    all.iter().flat_map(|(_, lines)| lines).try_for_each(|line| output::line(line))
}

/// A change: the commits behind it, what it changed, and what the proxy made of it.
fn told_change(change: &Value) -> Vec<String> {
    let types: Vec<_> = change["Types"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let outcome = match (change["Refused"] == true, change["LiveAfterMs"].as_f64()) {
        (_, Some(after)) => format!("acked +{}", lasting(after)),
        (true, None) => "NACK".to_owned(),
        (false, None) => "not acknowledged yet".to_owned(),
    };
    let outcome = format!("{}  {outcome}", types.join(" "));
    let commits = change["Commits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = time(&change["Time"]);
    if commits.is_empty() {
        let what = if change["Since"] == change["Index"] { "the proxy came" } else { "commits that are forgotten" };
        return vec![format!("{at}  rev {}  {what}  {outcome}", change["Index"])];
    }
    let of_commit = |(position, commit): (usize, &Value)| {
        let (what, by) = (summary(commit), author(&commit["Author"]));
        let outcome = if position + 1 == commits.len() { format!("  {outcome}") } else { String::new() };
        format!("{at}  rev {}  {what}  by {by}{outcome}", commit["Index"])
    };
    commits.iter().enumerate().map(of_commit).collect()
}

/// A time as the API takes it.
fn moment(text: &str, today: Date) -> Result<String, CliError> {
    if OffsetDateTime::parse(text, &Rfc3339).is_ok() {
        return Ok(text.to_owned());
    }
    let formats = [format_description!("[hour]:[minute]:[second]"), format_description!("[hour]:[minute]")];
    let time = formats.into_iter().find_map(|format| Time::parse(text, format).ok()).ok_or_else(|| {
        CliError::Usage(format!("{text:?} is no time: write 2026-01-02T15:04:05Z, or 15:04 or 15:04:05 of today (UTC)"))
    })?;
    Ok(PrimitiveDateTime::new(today, time).assume_utc().format(&Rfc3339).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn times_of_today_are_taken() {
        let at = |text| moment(text, date!(2026 - 01 - 02)).ok();

        assert_eq!(at("14:02").as_deref(), Some("2026-01-02T14:02:00Z"));
        assert_eq!(at("14:02:11").as_deref(), Some("2026-01-02T14:02:11Z"));
        assert_eq!(at("2025-01-02T14:02:11+01:00").as_deref(), Some("2025-01-02T14:02:11+01:00"));
        assert_eq!(at("two"), None);
    }
}
