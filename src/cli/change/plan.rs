//! `meshgate plan` and `meshgate diff`.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Plan;
use super::input::{Change, ChangeOptions, Layout};
use super::validation::{Verdicts, validated};
use crate::cli::client::Client;
use crate::cli::{CliError, output};

/// Options of `meshgate plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is stored. The exit code is 0 if nothing would change, 2 if something would, and 1 if the change would be refused
or something would not work afterwards that works now.
The same over HTTP: POST /v1/meshgate/plan")]
pub(in crate::cli) struct PlanOptions {
    #[command(flatten)]
    change: ChangeOptions,
    /// How the plan is printed: wide tells every proxy, resource and field
    #[arg(short, long, value_enum, default_value_t, value_name = "LAYOUT")]
    output: Layout,
    /// Have an Envoy of each proxy's version load what it would be sent, where there is one on this machine
    #[arg(long)]
    validate: bool,
    /// Most proxies that are told one by one
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    limit: usize,
}

/// Options of `meshgate diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 if the state is as the files say, 2 if it is not, and 1 if the files would be refused.
`meshgate plan` tells what the difference means for proxies.")]
pub(in crate::cli) struct DiffOptions {
    #[command(flatten)]
    change: ChangeOptions,
    /// How the differences are printed
    #[arg(short, long, value_enum, default_value_t, value_name = "LAYOUT")]
    output: Layout,
}

/// Tells what a change would do.
///
/// # Errors
/// Input that is wrong, a control plane that does not answer or refuses, and what the exit code says.
pub(in crate::cli) async fn plan(options: &PlanOptions) -> Result<(), CliError> {
    let change = options.change.read()?;
    let client = options.change.target.client()?;
    let more: &[_] = if options.validate { &[("messages", "")] } else { &[] };
    let (plan, mut told) = planned(&change, &client, options.limit, more).await?;
    let verdicts = if options.validate { Some(validated(&plan)?) } else { None };
    if options.output == Layout::Json {
        if let Some(verdicts) = &verdicts {
            told["Validated"] = json!({ "Accepted": verdicts.accepted, "Refused": verdicts.refused });
        }
        output::json(&told)?;
    } else {
        show(&plan, options.output)?;
        verdicts.iter().try_for_each(Verdicts::show)?;
        if plan.changes_something() {
            output::line(&format!("Run `meshgate apply {} -wait`.", options.change.repeated()))?;
        }
    }
    if verdicts.is_some_and(|verdicts| !verdicts.refused.is_empty()) {
        return Err(CliError::No);
    }
    plan.verdict()
}

/// Tells in what files and the state differ.
///
/// # Errors
/// As for `plan`.
pub(in crate::cli) async fn diff(options: &DiffOptions) -> Result<(), CliError> {
    let change = options.change.read()?;
    let (plan, told) = planned(&change, &options.change.target.client()?, 0, &[]).await?;
    if options.output == Layout::Json {
        output::json(&told["Changes"])?;
    } else {
        for row in plan.changes.iter().filter(|row| row.action != "none" || options.output == Layout::Wide) {
            row.lines().iter().try_for_each(|line| output::line(line))?;
        }
    }
    if plan.changes_something() { Err(CliError::Pending) } else { Ok(()) }
}

/// The plan, and all that was told of it.
pub(super) async fn planned(
    change: &Change,
    client: &Client,
    limit: usize,
    more: &[(&str, &str)],
) -> Result<(Plan, Value), CliError> {
    let limit = limit.to_string();
    let query = [&[("limit", &*limit)], more].concat();
    let told: Value = change.send(client, "plan", &query).await?;
    let plan = Plan::deserialize(&told)
        .map_err(|error| CliError::Input(format!("the control plane is of another version: {error}")))?;
    Ok((plan, told))
}

/// Shows a plan to people.
pub(super) fn show(plan: &Plan, layout: Layout) -> Result<(), CliError> {
    for row in &plan.changes {
        row.lines().iter().try_for_each(|line| output::line(line))?;
    }
    let proxies = &plan.proxies;
    let unchanged: Vec<_> = proxies.unchanged.iter().map(|it| format!("{}: {}", it.reason, it.proxies)).collect();
    let others = proxies.total - proxies.affected;
    let others = if others > 0 { format!("  {others} unchanged ({})", unchanged.join(", ")) } else { String::new() };
    output::line(&format!(
        "Affects {} of {} proxies, {} of them connected.{others}",
        proxies.affected, proxies.total, proxies.connected
    ))?;
    if !plan.impacts.is_empty() {
        let heading = ["  IMPACT", "PROXIES", "RESOURCES", "EFFECT ON LIVE CONNECTIONS"].map(str::to_owned).to_vec();
        let rows = plan.impacts.iter().map(|it| {
            vec![format!("  {}", it.impact), it.proxies.to_string(), it.resources.to_string(), it.description.clone()]
        });
        output::columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())?;
    }
    if layout == Layout::Wide {
        show_proxies(plan)?;
    }
    show_findings(plan)
}

fn show_proxies(plan: &Plan) -> Result<(), CliError> {
    for proxy in &plan.affected {
        let version = if proxy.envoy_version.is_empty() { "unknown version" } else { &proxy.envoy_version };
        let stream = if proxy.connected { format!("Envoy {version}") } else { "not connected".to_owned() };
        let place = format!("{}/{}", proxy.datacenter, proxy.partition);
        output::line(&format!("  {}  {place}  {stream}  connections: {}", proxy.id, proxy.effect))?;
        for resource in &proxy.resources {
            resource.lines().iter().try_for_each(|line| output::line(line))?;
        }
    }
    if plan.more_affected > 0 {
        output::line(&format!("  and {} more proxies (-limit)", plan.more_affected))?;
    }
    Ok(())
}

fn show_findings(plan: &Plan) -> Result<(), CliError> {
    plan.findings.iter().flat_map(super::answer::Finding::lines).try_for_each(|line| output::line(&line))
}

impl Plan {
    /// True if a row is another one then.
    pub(super) fn changes_something(&self) -> bool {
        self.changes.iter().any(|row| row.action != "none")
    }

    /// True if something would not work then.
    pub(super) fn has_problems(&self) -> bool {
        self.findings.iter().any(super::answer::Finding::is_problem)
    }

    /// What the exit code says.
    fn verdict(&self) -> Result<(), CliError> {
        match (self.has_problems(), self.changes_something()) {
            (true, _) => Err(CliError::No),
            (false, true) => Err(CliError::Pending),
            (false, false) => Ok(()),
        }
    }
}
