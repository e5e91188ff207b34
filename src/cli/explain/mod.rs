//! `meshgate explain`: why configuration is what it is.

mod intention;
mod resource;
mod upstream;

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Target;
use super::history::{author, time};
use super::output::ViewOption;
use super::{CliError, output};
use crate::api::{ModeExplanation, Setting, UpstreamExplanation};

/// The endpoints of explanations.
const PATH: [&str; 2] = ["meshgate", "explain"];

/// Commands that explain.
#[derive(Debug, Subcommand)]
pub(super) enum ExplainCommand {
    /// Say where an upstream of a sidecar leads, which setting decides it, and what would be without that setting
    Upstream(UpstreamOptions),
    /// List the gateway modes of the upstreams of a sidecar, and what sets each of them
    Mode(ModeOptions),
    /// Say which registrations and entries a cluster comes from, field by field
    Cluster(resource::ResourceOptions),
    /// Say which registrations and entries a listener comes from, field by field
    Listener(resource::ResourceOptions),
    /// Say which registrations and entries the endpoints of a cluster come from
    Endpoint(resource::ResourceOptions),
    /// Say which registrations and entries a route configuration comes from, field by field
    Route(resource::ResourceOptions),
    /// The same for one field of a resource of any type
    Field(resource::FieldOptions),
    /// Say which intention decides about a call, and which others are about it
    Intention(intention::IntentionOptions),
}

/// Options of `explain upstream`.
#[derive(Debug, Args)]
pub(super) struct UpstreamOptions {
    /// The sidecar by its ID, or the service that it stands for
    #[arg(value_name = "PROXY")]
    proxy: String,
    /// The upstream: name, name@datacenter, name@peer, partition/name or partition/namespace/name
    #[arg(value_name = "UPSTREAM")]
    upstream: String,
    #[command(flatten)]
    common: Common,
}

/// Options of `explain mode`.
#[derive(Debug, Args)]
pub(super) struct ModeOptions {
    /// The sidecar by its ID, or the service that it stands for
    #[arg(value_name = "PROXY")]
    proxy: String,
    #[command(flatten)]
    common: Common,
}

/// What all of them take.
#[derive(Debug, Args)]
struct Common {
    /// Node that the proxy is registered on, where several have one of its ID
    #[arg(long, default_value = "", hide_default_value = true)]
    node: String,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

impl Common {
    fn query<'q>(&'q self, more: &[(&'q str, &'q str)]) -> Vec<(&'q str, &'q str)> {
        let node = (!self.node.is_empty()).then_some(("node", self.node.as_str()));
        node.into_iter().chain(more.iter().copied()).collect()
    }
}

/// Runs an `explain` command.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(command: ExplainCommand) -> Result<(), CliError> {
    match command {
        ExplainCommand::Upstream(options) => {
            options.common.output.repeat(async || explain_upstream(&options).await).await
        }
        ExplainCommand::Cluster(options) => resource::run("cluster", &options).await,
        ExplainCommand::Listener(options) => resource::run("listener", &options).await,
        ExplainCommand::Endpoint(options) => resource::run("endpoint", &options).await,
        ExplainCommand::Route(options) => resource::run("route", &options).await,
        ExplainCommand::Field(options) => resource::field(&options).await,
        ExplainCommand::Intention(options) => intention::run(&options).await,
        ExplainCommand::Mode(options) => options.common.output.repeat(async || explain_modes(&options).await).await,
    }
}

async fn explain_upstream(UpstreamOptions { proxy, upstream, common }: &UpstreamOptions) -> Result<(), CliError> {
    let query = common.query(&[("upstream", upstream)]);
    let answer: UpstreamExplanation =
        common.target.client()?.get(&[PATH[0], PATH[1], "upstream", proxy], &query).await?;
    common.output.write(&answer, || upstream::lines(&answer).iter().try_for_each(|line| output::line(line)))?;
    if answer.targets.is_empty() { Err(CliError::No) } else { Ok(()) }
}

async fn explain_modes(ModeOptions { proxy, common }: &ModeOptions) -> Result<(), CliError> {
    let answer: Vec<ModeExplanation> =
        common.target.client()?.get(&[PATH[0], PATH[1], "mode", proxy], &common.query(&[])).await?;
    common.output.write(&answer, || output::columns(&modes(&answer)))
}

/// The commit that last changed a row, and who wrote it when as far as that is remembered.
fn changed(setting: &Setting) -> String {
    let written = setting.written.as_ref().map(|written| json!(written));
    let written = written.map(|written| format!(" by {} {}", author(&written), time(&written["Time"])));
    format!("index {}{}", setting.modify_index, written.unwrap_or_default())
}

fn modes(rows: &[ModeExplanation]) -> Vec<Vec<String>> {
    let heading = ["UPSTREAM", "TARGET", "MODE", "BECAUSE OF", "DIALS"].map(str::to_owned).to_vec();
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |row: &ModeExplanation| {
        let because = if row.problem.is_empty() { &row.because } else { &row.problem };
        vec![row.upstream.clone(), or_dash(&row.target), or_dash(&row.mode), because.clone(), or_dash(&row.dials)]
    };
    std::iter::once(heading).chain(rows.iter().map(row)).collect()
}
