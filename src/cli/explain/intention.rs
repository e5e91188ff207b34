//! `explain intention`: which intention decides about a call, and which others are about it.

use clap::Args;
use owo_colors::OwoColorize;

use super::{PATH, changed};
use crate::api::{IntentionExplanation, RankedIntention};
use crate::cli::client::Target;
use crate::cli::output::ViewOption;
use crate::cli::{CliError, output};

/// Options of `explain intention`.
#[derive(Debug, Args)]
#[command(after_help = "\
Of the intentions that are about a call, the one of the highest precedence decides. Where it has permissions, each request is
judged by itself: `meshgate path SRC DST -http \"GET /\"` follows one.
The same over HTTP: GET /v1/meshgate/explain/intention?source=SRC&destination=DST")]
pub(in crate::cli) struct IntentionOptions {
    /// The service that calls: name, namespace/name or partition/namespace/name
    #[arg(value_name = "SRC")]
    source: String,
    /// The service that is called
    #[arg(value_name = "DST")]
    destination: String,
    /// Also the intentions about other callers
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Explains what decides about a call.
///
/// # Errors
/// A control plane that does not answer or refuses.
pub(super) async fn run(options: &IntentionOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &IntentionOptions) -> Result<(), CliError> {
    let query = [("source", options.source.as_str()), ("destination", options.destination.as_str())];
    let answer: IntentionExplanation = options.target.client()?.get(&[PATH[0], PATH[1], "intention"], &query).await?;
    let lines = || lines(&answer, options.all).iter().try_for_each(|line| output::line(line));
    options.output.write_or(&answer, || answer.action.clone(), lines)
}

fn lines(answer: &IntentionExplanation, is_all: bool) -> Vec<String> {
    let IntentionExplanation { source, destination, action, because, without, intentions } = answer;
    let verdict = match action.as_str() {
        "permissions" => "request by request".to_owned(),
        action => action.to_owned(),
    };
    let mut lines = vec![format!("{source} -> {destination}: {}", verdict.bold()), format!("  Because of  {because}")];
    let shown: Vec<_> = intentions.iter().filter(|it| is_all || it.status != "other").collect();
    let said = |it: &RankedIntention| format!("{}  {} = {}", place(it), it.setting.field, it.setting.value);
    let widest = shown.iter().map(|it| said(it).chars().count()).max().unwrap_or_default();
    for it in shown {
        let (head, tail) = match it.status.as_str() {
            "wins" => (format!("{}", "WINS".green().bold()), ""),
            "overridden" => ("    ".to_owned(), "  overridden"),
            _ => ("    ".to_owned(), "  about other callers"),
        };
        let (said, changed) = (said(it), changed(&it.setting));
        lines.push(format!("  {head}  {:>2}  {said:<widest$}  {changed}{tail}", it.precedence));
    }
    if let Some(without) = without {
        lines.push(format!("  Without it: {} ({})", without.action, without.because));
    }
    lines
}

fn place(it: &RankedIntention) -> String {
    let partition = &it.setting.partition;
    if partition.is_default() {
        it.setting.source.clone()
    } else {
        format!("{} (partition {partition})", it.setting.source)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_intention_that_decides_comes_first_with_what_it_overrides() {
        let intention = |entry: &str, caller: &str, action: &str, precedence: u32, status: &str| {
            json!({ "Source": format!("service-intentions/{entry}"), "Partition": "default", "ModifyIndex": 7,
                "Field": format!("Sources[{caller}].Action"), "Value": action, "Precedence": precedence, "Status": status })
        };
        let answer = json!({
            "Source": "web", "Destination": "api", "Action": "deny",
            "Because": "service-intentions/api  Sources[web].Action = deny",
            "Without": { "Action": "allow", "Because": "default_intention_policy: no intention is about the call" },
            "Intentions": [
                intention("api", "web", "deny", 9, "wins"), intention("api", "cron", "allow", 9, "other"),
                intention("*", "*", "allow", 5, "overridden"),
            ],
        });
        let answer: IntentionExplanation = serde_json::from_value(answer).unwrap();
        let told = |is_all| -> Vec<String> {
            lines(&answer, is_all).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
        };

        assert_eq!(
            told(false),
            [
                "web -> api: deny",
                "  Because of  service-intentions/api  Sources[web].Action = deny",
                "  WINS   9  service-intentions/api  Sources[web].Action = deny  index 7",
                "         5  service-intentions/*  Sources[*].Action = allow     index 7  overridden",
                "  Without it: allow (default_intention_policy: no intention is about the call)",
            ]
        );
        assert_eq!(told(true).len(), 6);
    }
}
