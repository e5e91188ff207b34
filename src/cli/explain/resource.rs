//! `explain cluster`, `listener`, `endpoint`, `route` and `field`: which rows a resource comes from.

use clap::Args;
use owo_colors::OwoColorize;

use super::{Common, PATH};
use crate::api::{ResourceExplanation, Setting, SourceExplanation};
use crate::cli::{CliError, output};

/// Options of the commands about one type of resource.
#[derive(Debug, Args)]
pub(in crate::cli) struct ResourceOptions {
    /// The proxy by its ID, or the service that its sidecar stands for
    #[arg(value_name = "PROXY")]
    proxy: String,
    /// The resource: its name, or as much of it as only one has
    #[arg(value_name = "RESOURCE")]
    name: String,
    /// Only this field, and what is inside of it
    #[arg(value_name = "FIELD", default_value = "", hide_default_value = true)]
    field: String,
    #[command(flatten)]
    common: Common,
}

/// Options of `explain field`.
#[derive(Debug, Args)]
pub(in crate::cli) struct FieldOptions {
    /// The type of the resource
    #[arg(value_name = "TYPE", value_parser = ["listener", "cluster", "endpoint", "route"])]
    kind: String,
    #[command(flatten)]
    resource: ResourceOptions,
}

/// Runs `explain field`.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn field(options: &FieldOptions) -> Result<(), CliError> {
    run(&options.kind, &options.resource).await
}

/// Explains a resource of this type.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(kind: &str, options: &ResourceOptions) -> Result<(), CliError> {
    options.common.output.repeat(async || view(kind, options).await).await
}

async fn view(kind: &str, options: &ResourceOptions) -> Result<(), CliError> {
    let ResourceOptions { proxy, name, field, common } = options;
    let mut query = common.query(&[("type", kind), ("resource", name)]);
    if !field.is_empty() {
        query.push(("field", field));
    }
    let answer: ResourceExplanation =
        common.target.client()?.get(&[PATH[0], PATH[1], "resource", proxy], &query).await?;
    common.output.write(&answer, || lines(&answer).iter().try_for_each(|line| output::line(line)))
}

fn lines(answer: &ResourceExplanation) -> Vec<String> {
    let mut lines = vec![format!("{} {} of {}", answer.kind, answer.name.bold(), answer.proxy)];
    for source in &answer.exists {
        lines.push(format!("  is there because of  {}", said(source)));
    }
    for field in &answer.fields {
        let value = if field.value.is_empty() { "(unset)" } else { &field.value };
        lines.push(format!("  {} = {value}", field.field.cyan()));
        for source in &field.sources {
            let then = if source.then == "null" { "(unset)" } else { &source.then };
            let how = match &source.instead {
                None => "without it".to_owned(),
                Some(instead) => format!("with {instead}"),
            };
            lines.push(format!("      <- {}   {how}: {then}", said(source)));
        }
    }
    if answer.fields.iter().any(|field| field.sources.is_empty()) {
        lines.push("  What names no source was changed by no single change that was tried.".to_owned());
    }
    if answer.is_cut {
        lines.push(format!("{} not everything was tried: there may be more sources", "note:".yellow()));
    }
    lines
}

fn said(source: &SourceExplanation) -> String {
    let Setting { source: row, partition, field, value, modify_index, .. } = &source.setting;
    let partition = if partition.is_default() { String::new() } else { format!(" (partition {partition})") };
    match field.as_str() {
        "" => format!("{row}{partition}  index {modify_index}"),
        // Something is tried there, but nothing is.
        _ if value.is_empty() && source.instead.is_some() => format!("{row}{partition} {field} is not set"),
        _ if value.is_empty() => format!("{row}{partition} {field}  index {modify_index}"),
        _ => format!("{row}{partition} {field} = {value}  index {modify_index}"),
    }
}
