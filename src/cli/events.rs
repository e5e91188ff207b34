//! `meshgate events`: commits, pushes and what happens to proxies.

use clap::Args;
use serde_json::Value;

use super::client::Target;
use super::history::{author, summary, time};
use super::output::OutputOption;
use super::ps::lasting;
use super::{CliError, output};

/// Options of `events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Events are: commit, push (a change is sent to proxies), live (all of them have it, as far as it could be made), nack (a proxy
refused something), connected, disconnected, problem (a part of a proxy cannot be made and stays as it was), and trial (a
proxy tries a change before it is made; it was made, or the trial was halted, and why). Leaf certificates that are renewed
are commits of the class certificates. With -o json, each line is one JSON object; with -o yaml, each event is one document.")]
pub(super) struct EventsOptions {
    /// Go on with what happens, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only what happened to this proxy, by its ID, node/ID or datacenter/partition/node/ID
    #[arg(long, value_name = "ID")]
    proxy: Option<String>,
    /// Only what happened after this time, such as 2026-01-02T15:04:05Z
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// Prints what happened, and what happens.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn run(options: &EventsOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let mut query = Vec::new();
    query.extend(options.follow.then_some(("follow", "")));
    query.extend(options.proxy.as_deref().map(|proxy| ("proxy", proxy)));
    query.extend(options.after.as_deref().map(|after| ("after", after)));
    let mut answer = client.follow(&["meshgate", "events"], &query).await?;
    let mut rest = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|source| client.answer_error(source))? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Ok(event) = serde_json::from_str(&line) else { continue };
            options.output.write_each((line.trim_end(), &event), || output::line(&told(&event)))?;
        }
    }
    Ok(())
}

/// An event on one line.
pub(super) fn told(event: &Value) -> String {
    let kind = event["Event"].as_str().unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let push = &event["Push"];
    let what = match kind {
        "commit" => {
            let commit = &event["Commit"];
            format!("rev {}  {}  by {}", commit["Index"], summary(commit), author(&commit["Author"]))
        }
        "push" => {
            let proxies = if push["Proxies"] == 1 { "proxy" } else { "proxies" };
            format!("{}  to {} {proxies}", revisions(push), push["Proxies"])
        }
        "live" => {
            let after = push["LiveAfterMs"].as_f64().map(lasting).unwrap_or_default();
            let unmade = push["Unmade"].as_u64().filter(|count| *count > 0);
            let unmade = unmade.map(|count| format!("; of {count} a part could not be made")).unwrap_or_default();
            let (live, all) = (&push["Live"], &push["Proxies"]);
            format!("{}  {live} of {all} proxies have it, after {after}{unmade}", revisions(push))
        }
        "connected" => format!("{}  Envoy {}", text("Proxy"), text("EnvoyVersion")),
        "disconnected" => format!("{}  {} streams left", text("Proxy"), event["Streams"]),
        "nack" => {
            let resources: Vec<_> =
                event["Resources"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let (resources, message) = (resources.join(", "), text("Message"));
            let of = event["Index"].as_u64().map_or("in a trial".to_owned(), |index| format!("rev {index}"));
            format!("{}  {} {resources}  {of}: {message}", text("Proxy"), text("Type"))
        }
        "trial" => {
            let step = match text("Step") {
                "made" => format!("made by rev {}", event["Index"]),
                "halted" => format!("halted: {}", text("Message")),
                step => step.to_owned(),
            };
            format!("{}  {}  {step}", text("Proxy"), text("Change"))
        }
        _ => format!("{}  {}", text("Proxy"), text("Message")),
    };
    format!("{}  {kind:<12}  {what}", time(&event["Time"])).replace('\n', " ")
}

/// The commits of a push.
pub(super) fn revisions(push: &Value) -> String {
    match (push["Since"].as_u64().unwrap_or_default(), push["Index"].as_u64().unwrap_or_default()) {
        (since, index) if since + 1 < index => format!("rev {}-{index}", since + 1),
        (_, index) => format!("rev {index}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_lines() {
        let at = "2026-01-02T03:04:05.6789Z";
        for (event, line) in [
            (
                json!({ "Event": "push", "Push": { "Since": 6, "Index": 7, "Proxies": 3 } }),
                "push          rev 7  to 3 proxies",
            ),
            (
                json!({ "Event": "live", "Push": { "Since": 4, "Index": 7, "Proxies": 3, "Live": 3, "LiveAfterMs": 31.5 } }),
                "live          rev 5-7  3 of 3 proxies have it, after 0.03s",
            ),
            (
                json!({ "Event": "live", "Push": { "Since": 6, "Index": 7, "Proxies": 3, "Live": 2, "Unmade": 1, "LiveAfterMs": 31.5 } }),
                "live          rev 7  2 of 3 proxies have it, after 0.03s; of 1 a part could not be made",
            ),
            (
                json!({ "Event": "nack", "Proxy": "dc1/default/n/web", "Type": "RDS", "Resources": ["a", "b"], "Message": "bad\nregex", "Index": 9 }),
                "nack          dc1/default/n/web  RDS a, b  rev 9: bad regex",
            ),
            (json!({ "Event": "problem", "Proxy": "p", "Message": "m" }), "problem       p  m"),
            (
                json!({ "Event": "nack", "Proxy": "p", "Type": "CDS", "Resources": ["a"], "Message": "m" }),
                "nack          p  CDS a  in a trial: m",
            ),
            (
                json!({ "Event": "trial", "Proxy": "p", "Change": "mesh/mesh", "Step": "halted", "Message": "m" }),
                "trial         p  mesh/mesh  halted: m",
            ),
            (
                json!({ "Event": "trial", "Proxy": "p", "Change": "mesh/mesh", "Step": "made", "Index": 9 }),
                "trial         p  mesh/mesh  made by rev 9",
            ),
        ] {
            let mut event = event;
            event["Time"] = at.into();
            assert_eq!(told(&event), format!("2026-01-02T03:04:05.678Z  {line}"));
        }
    }
}
