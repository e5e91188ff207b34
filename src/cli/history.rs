//! `meshgate history`: what was changed, when and by whom.

use clap::Args;
use serde_json::Value;

use super::client::{Client, Target};
use super::output::ViewOption;
use super::{CliError, output};
use crate::model::EntryKind;

/// Most bytes of a value that a table shows.
const SHOWN: usize = 60;

/// Options of `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
The history is bounded: each class of commits (config, catalog, health, certificates) has bounds of its own, which -o json
shows. `meshgate agent -history-commits` and -history-bytes set them.
Try `meshgate history service-defaults/web`, or `meshgate history 48190` for all that one commit did. Of a proxy it lists the
commits that changed what it is sent; `meshgate why-changed` says what became of each.")]
pub(super) struct HistoryOptions {
    /// A config entry as kind/name, the index of a commit, or a proxy by its ID, node/ID or datacenter/partition/node/ID;
    /// everything that changed when left out
    #[arg(value_name = "KIND/NAME|INDEX|PROXY")]
    of: Option<String>,
    /// Only commits about this: config, catalog, health or certificates
    #[arg(long)]
    class: Option<String>,
    /// Most commits to show
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Only commits before this one
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Prints the history.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn run(options: &HistoryOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &HistoryOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    if let Some(index) = options.of.as_deref().filter(|of| of.bytes().all(|b| b.is_ascii_digit())) {
        let commit: Value = client.get(&["meshgate", "history", index], &[]).await?;
        return options.output.write(&commit, || {
            let rows = commit["Rows"].as_array().map(Vec::as_slice).unwrap_or_default();
            output::line(&headline(&commit).join("  "))?;
            rows.iter().try_for_each(|row| details(row).iter().try_for_each(|line| output::line(line)))
        });
    }
    if let Some(proxy) = options.of.as_deref().filter(|of| is_proxy(of)) {
        return of_proxy(options, &client, proxy).await;
    }
    let (limit, before) = (options.limit.to_string(), options.before.map(|before| before.to_string()));
    let mut query = vec![("limit", limit.as_str())];
    query.extend(options.of.as_deref().map(|entry| ("entry", entry)));
    query.extend(options.class.as_deref().map(|class| ("class", class)));
    query.extend(before.as_deref().map(|before| ("before", before)));
    let answer: Value = client.get(&["meshgate", "history"], &query).await?;
    options.output.write(&answer, || table(&answer))
}

/// True for what is neither a config entry nor a commit.
fn is_proxy(of: &str) -> bool {
    let kind = of.split_once('/').filter(|(_, name)| !name.contains('/')).map(|(kind, _)| kind);
    kind.is_none_or(|kind| EntryKind::ALL.iter().all(|known| known.as_str() != kind))
}

/// The commits that changed what a proxy is sent, the newest first.
async fn of_proxy(options: &HistoryOptions, client: &Client, proxy: &str) -> Result<(), CliError> {
    let path: Vec<&str> = ["meshgate", "why-changed"].into_iter().chain(proxy.split('/')).collect();
    let mut answer: Value = client.get(&path, &[]).await?;
    let changes = answer["Changes"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let commits = changes.into_iter().flat_map(|mut change| match change["Commits"].take() {
        Value::Array(commits) => commits,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
    });
    let index = |commit: &Value| commit["Index"].as_u64().unwrap_or_default();
    let is_asked = |commit: &Value| {
        options.before.is_none_or(|before| index(commit) < before)
            && options.class.as_deref().is_none_or(|class| commit["Class"] == class)
    };
    let mut commits: Vec<Value> = commits.filter(is_asked).collect();
    commits.sort_by_key(|commit| std::cmp::Reverse(index(commit)));
    commits.truncate(options.limit);
    options.output.write(&commits, || list(&commits))
}

fn list(commits: &[Value]) -> Result<(), CliError> {
    let mut rows = vec![["INDEX", "TIME", "BY", "WHAT"].map(str::to_owned).to_vec()];
    for commit in commits {
        let mut row = headline(commit);
        row.push(summary(commit));
        rows.push(row);
    }
    output::columns(&rows)
}

fn table(answer: &Value) -> Result<(), CliError> {
    let commits = answer["Commits"].as_array().map(Vec::as_slice).unwrap_or_default();
    list(commits)?;
    if answer["HasMore"] == true
        && let Some(oldest) = commits.last()
    {
        output::note(&format!("There are older ones: -before {}", oldest["Index"]));
    }
    Ok(())
}

/// Index, time and author.
fn headline(commit: &Value) -> Vec<String> {
    vec![commit["Index"].to_string(), time(&commit["Time"]), author(&commit["Author"])]
}

/// A moment, to the millisecond.
pub(super) fn time(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default().trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{:0<3}Z", fraction.get(..3).unwrap_or(fraction))
}

/// Who wrote.
pub(super) fn author(author: &Value) -> String {
    match (author["By"].as_str().unwrap_or_default(), author["Address"].as_str()) {
        ("call", Some(address)) => address.to_owned(),
        ("call", None) => "a local caller".to_owned(),
        ("process", _) => "meshgate".to_owned(),
        (by, _) => by.replace('-', " "),
    }
}

/// What a commit did, on one line.
pub(super) fn summary(commit: &Value) -> String {
    let rows = commit["Rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let more = commit["MoreRows"].as_u64().unwrap_or_default() as usize + rows.len().saturating_sub(1);
    // A node comes with what is registered on it, which says more.
    let Some(first) = rows.iter().find(|row| row["Table"] != "Nodes").or(rows.first()) else { return String::new() };
    let fields = first["Fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = row_name(first);
    if let ("changed", [first, others @ ..]) = (first["Action"].as_str().unwrap_or_default(), fields) {
        text.push_str(&format!("  {}", difference(first)));
        if !others.is_empty() {
            text.push_str(&format!(" and {} more fields", others.len()));
        }
    }
    if more > 0 {
        text.push_str(&format!("  (+{more} rows)"));
    }
    text
}

/// All that happened to a row.
pub(super) fn details(row: &Value) -> Vec<String> {
    let mut lines = vec![row_name(row)];
    let fields = row["Fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A row that is new or gone differs in everything, which is told as its members.
    lines.extend(fields.iter().flat_map(|field| match (field["Path"].as_str(), field.get("Old"), field.get("New")) {
        (Some(""), None, Some(Value::Object(members))) => {
            members.iter().map(|(name, value)| format!("    + {name}: {value}")).collect()
        }
        (Some(""), Some(Value::Object(members)), None) => {
            members.iter().map(|(name, value)| format!("    - {name}: {value}")).collect()
        }
        _ => vec![format!("    {}", difference(field))],
    }));
    lines
}

fn row_name(row: &Value) -> String {
    let sign = match row["Action"].as_str() {
        Some("created") => '+',
        Some("removed") => '-',
        _ => '~',
    };
    let (table, name) = (row["Table"].as_str().unwrap_or_default(), row["Name"].as_str().unwrap_or_default());
    // The kind of an entry says what it is.
    let table = match table {
        "ConfigEntries" => "",
        "Nodes" => "node ",
        "Services" => "service ",
        "Checks" => "check ",
        "ConnectCALeaves" => "leaf of ",
        "ConnectCARoots" => "root ",
        "ConnectCAConfig" => "configuration of the certificate authority",
        other => return format!("{sign} {other} {name}"),
    };
    let name = if table.starts_with("configuration") { "" } else { name };
    format!("{sign} {table}{name}")
}

/// A field that differs, such as `MeshGateway.Mode: "local" -> "remote"`.
fn difference(field: &Value) -> String {
    let path = field["Path"].as_str().unwrap_or_default();
    let shown = |value: Option<&Value>| value.map_or_else(|| "(unset)".to_owned(), short);
    format!("{path}: {} -> {}", shown(field.get("Old")), shown(field.get("New")))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_commit_is_told_on_one_line() {
        let field = json!({ "Path": "MeshGateway.Mode", "Old": "local", "New": "remote" });
        let row = |action: &str, fields: Value| json!({ "Table": "ConfigEntries", "Name": "mesh/mesh", "Action": action, "Fields": fields });
        let commit = |rows: Value, more: u64| json!({ "Rows": rows, "MoreRows": more });

        for (commit, line) in [
            (
                commit(json!([row("changed", json!([field]))]), 0),
                "~ mesh/mesh  MeshGateway.Mode: \"local\" -> \"remote\"",
            ),
            (
                commit(json!([row("changed", json!([field, field])), row("created", json!([]))]), 3),
                "~ mesh/mesh  MeshGateway.Mode: \"local\" -> \"remote\" and 1 more fields  (+4 rows)",
            ),
            (commit(json!([row("created", json!([]))]), 0), "+ mesh/mesh"),
        ] {
            assert_eq!(summary(&commit), line);
        }
    }

    #[test]
    fn moments_are_told_to_the_millisecond() {
        for (told, shown) in [
            ("2026-01-02T03:04:05.678912Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05.6Z", "2026-01-02T03:04:05.600Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ] {
            assert_eq!(time(&json!(told)), shown);
        }
    }
}
