//! `meshgate lint`.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::answer::Finding;
use super::input::{ChangeOptions, Layout};
use super::plan::planned;
use crate::cli::client::Target;
use crate::cli::{CliError, output};

/// Options of `meshgate lint`.
#[derive(Debug, Args)]
#[command(after_help = "\
Tells what is wrong although each entry and registration is right: exports of services that nobody registers, gateways that
are missed, redirects to services without instances. With -f it tells what these files would add to it.
The exit code is 1 if something does not work.
The same over HTTP: GET /v1/meshgate/lint")]
pub(in crate::cli) struct LintOptions {
    /// File with config entries, services or Kubernetes resources, or a folder of such files (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    files: Vec<String>,
    /// Let warnings fail as well
    #[arg(long)]
    strict: bool,
    /// How the findings are printed
    #[arg(short, long, value_enum, default_value_t, value_name = "LAYOUT")]
    output: Layout,
    #[command(flatten)]
    target: Target,
}

/// Tells what is wrong with the state, or would be with these files.
///
/// # Errors
/// A control plane that does not answer, files that are wrong, and findings.
pub(in crate::cli) async fn lint(options: &LintOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let told: Value = if options.files.is_empty() {
        client.get(&["meshgate", "lint"], &[]).await?
    } else {
        let change = ChangeOptions {
            files: options.files.clone(),
            delete: Vec::new(),
            deregister: Vec::new(),
            target: options.target.clone(),
        };
        planned(&change.read()?, &client, 0, &[]).await?.1
    };
    let findings: Vec<Finding> = Deserialize::deserialize(&told["Findings"])
        .map_err(|error| CliError::Input(format!("the control plane is of another version: {error}")))?;
    if options.output == Layout::Json {
        output::json(&told["Findings"])?;
    } else {
        findings.iter().flat_map(Finding::lines).try_for_each(|line| output::line(&line))?;
        let problems = findings.iter().filter(|finding| finding.is_problem()).count();
        output::line(&match (problems, findings.len() - problems) {
            (0, 0) => "Nothing found.".to_owned(),
            (problems, others) => format!("{problems} problems, {others} warnings"),
        })?;
    }
    let fails = findings.iter().any(|finding| options.strict || finding.is_problem());
    if fails { Err(CliError::No) } else { Ok(()) }
}
