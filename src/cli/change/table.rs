//! What the API tells of a plan, for people.

use serde_json::Value;

use crate::api::{AffectedProxy, Field, Finding, Plan, PlannedResource, RowChange};
use crate::cli::{CliError, output};

/// Shows a plan; if `is_wide`, with every proxy, resource and field.
///
/// # Errors
/// Standard output is closed or full.
pub(super) fn show(plan: &Plan, is_wide: bool) -> Result<(), CliError> {
    // What goes comes first: nobody should find it at the end of a long list.
    let (gone, others): (Vec<_>, Vec<_>) = plan.changes.iter().partition(|row| row.action == "delete");
    gone.into_iter().chain(others).try_for_each(show_row)?;
    output::line(&affects(plan))?;
    if !plan.impacts.is_empty() {
        let heading = ["  IMPACT", "PROXIES", "RESOURCES", "EFFECT ON LIVE CONNECTIONS"].map(str::to_owned).to_vec();
        let rows = plan.impacts.iter().map(|it| {
            vec![format!("  {}", it.impact), it.proxies.to_string(), it.resources.to_string(), it.description.clone()]
        });
        output::columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())?;
    }
    if is_wide {
        plan.affected.iter().try_for_each(show_proxy)?;
        if plan.more_affected > 0 {
            output::line(&format!("  and {} more proxies (-limit)", plan.more_affected))?;
        }
    }
    show_findings(&plan.findings, plan.more_findings)
}

/// How many proxies a plan touches, and why it does not touch the others.
pub(super) fn affects(plan: &Plan) -> String {
    let proxies = &plan.proxies;
    let unchanged: Vec<_> = proxies.unchanged.iter().map(|it| format!("{}: {}", it.reason, it.proxies)).collect();
    let others = proxies.total - proxies.affected;
    let others = if others > 0 { format!("  {others} unchanged ({})", unchanged.join(", ")) } else { String::new() };
    format!(
        "Affects {} of {} proxies, {} of them connected.{others}",
        proxies.affected, proxies.total, proxies.connected
    )
}

/// Shows a row and the fields of it that differ.
///
/// # Errors
/// As for [`show`].
pub(super) fn show_row(row: &RowChange) -> Result<(), CliError> {
    let place = match (row.partition.as_str(), row.namespace.as_str()) {
        ("default", "default") => String::new(),
        (partition, "default") => format!(" (partition {partition})"),
        (partition, namespace) => format!(" (partition {partition}, namespace {namespace})"),
    };
    let nothing = if row.action == "none" { "   as it is" } else { "" };
    output::line(&format!("{} {}/{}{place}{nothing}", sign(&row.action), row.kind, row.name))?;
    row.fields.iter().try_for_each(|field| output::line(&format!("    {}", told(field))))
}

/// Shows what is wrong, or worth knowing, and how much more there is.
///
/// # Errors
/// As for [`show`].
pub(super) fn show_findings(findings: &[Finding], more: usize) -> Result<(), CliError> {
    for finding in findings {
        let Finding { id, subject, what, fix, .. } = finding;
        let sign = if finding.is_problem() { "!" } else { "?" };
        let others = if finding.more > 0 { format!(" and {} more", finding.more) } else { String::new() };
        output::line(&format!("{sign} {id}  {subject}{others}: {what}"))?;
        output::line(&format!("      -> {fix}"))?;
    }
    if more > 0 { output::line(&format!("and {more} more findings")) } else { Ok(()) }
}

fn show_proxy(proxy: &AffectedProxy) -> Result<(), CliError> {
    let version = if proxy.envoy_version.is_empty() { "unknown version" } else { &proxy.envoy_version };
    let stream = if proxy.connected { format!("Envoy {version}") } else { "not connected".to_owned() };
    let place = format!("{}/{}", proxy.datacenter, proxy.partition);
    output::line(&format!("  {}  {place}  {stream}  connections: {}", proxy.id, proxy.effect))?;
    proxy.resources.iter().try_for_each(show_resource)
}

fn show_resource(resource: &PlannedResource) -> Result<(), CliError> {
    let PlannedResource { kind, name, action, impact, fields, more_fields, .. } = resource;
    output::line(&format!("    {} {kind} {name}  [{impact}]", sign(action)))?;
    fields.iter().try_for_each(|field| output::line(&format!("        {}", told(field))))?;
    if *more_fields > 0 { output::line(&format!("        and {more_fields} more fields")) } else { Ok(()) }
}

/// The sign of what happens to something.
fn sign(action: &str) -> &'static str {
    match action {
        "create" | "add" => "+",
        "delete" | "remove" => "-",
        "none" => "=",
        _ => "~",
    }
}

fn told(field: &Field) -> String {
    let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "(unset)".to_owned(), shortened);
    format!("{}: {} -> {}", field.path, side(&field.old), side(&field.new))
}

/// A value, cut where nobody reads on.
fn shortened(value: &Value) -> String {
    const MOST: usize = 160;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}
