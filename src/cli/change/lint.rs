//! `meshgate lint`.

use clap::Args;

use super::input::ChangeOptions;
use super::plan::planned;
use super::table::show_findings;
use crate::api::Findings;
use crate::cli::CliError;
use crate::cli::client::Target;
use crate::cli::output::{self, ViewOption};

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
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Tells what is wrong with the state, or would be with these files.
///
/// # Errors
/// A control plane that does not answer, files that are wrong, and findings.
pub(in crate::cli) async fn lint(options: &LintOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &LintOptions) -> Result<(), CliError> {
    let (findings, more) = if options.files.is_empty() {
        let told: Findings = options.target.client()?.get(&["meshgate", "lint"], &[]).await?;
        (told.findings, 0)
    } else {
        let change = ChangeOptions {
            files: options.files.clone(),
            delete: Vec::new(),
            deregister: Vec::new(),
            owner: None,
            prune: false,
            target: options.target.clone(),
        };
        let (change, client) = change.read().await?;
        let plan = planned(&change, &client, 0, &[]).await?;
        (plan.findings, plan.more_findings)
    };
    let problems = findings.iter().filter(|finding| finding.is_problem()).count();
    let verdict = || match (problems, findings.len() - problems) {
        (0, 0) => "Nothing found.".to_owned(),
        (problems, others) => format!("{problems} problems, {others} warnings"),
    };
    options.output.write_or(&findings, verdict, || {
        show_findings(&findings, more)?;
        output::line(&verdict())
    })?;
    let fails = problems > 0 || options.strict && !findings.is_empty();
    if fails { Err(CliError::No) } else { Ok(()) }
}
