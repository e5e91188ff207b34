//! `meshgate join`, `leave` and `force-leave`: the words of Consul for a cluster of agents, of which there is one.

use clap::Args;

use super::client::{Changes, Target};
use super::{CliError, output};

/// Options of `meshgate join`.
#[derive(Debug, Args)]
pub(super) struct JoinOptions {
    /// Addresses of the agents to join
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
    /// Join servers of another datacenter
    #[arg(long)]
    wan: bool,
    #[command(flatten)]
    target: Target,
}

/// Options of `meshgate leave`.
#[derive(Debug, Args)]
pub(super) struct LeaveOptions {
    #[command(flatten)]
    target: Target,
}

/// Options of `meshgate force-leave`.
#[derive(Debug, Args)]
pub(super) struct ForceLeaveOptions {
    /// Name of the agent's node
    #[arg(value_name = "NODE")]
    node: String,
    /// Forget the agent altogether
    #[arg(long)]
    prune: bool,
    /// The agent is one of another datacenter
    #[arg(long)]
    wan: bool,
    #[command(flatten)]
    target: Target,
}

/// Asks to join each address.
///
/// # Errors
/// The control plane does not answer, or one of the addresses cannot be joined; the others are joined then.
pub(super) async fn join(options: &JoinOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let query = switches(&[("wan", options.wan)]);
    let (mut failures, mut changes) = (Vec::new(), Changes::default());
    for address in &options.addresses {
        if let Err(error) = changes.note(client.put(&["agent", "join", address], &query, None).await) {
            failures.push(format!("Error joining address '{address}': {error}"));
        }
    }
    changes.end()?;
    let joined = options.addresses.len() - failures.len();
    if joined > 0 {
        output::line(&format!("Successfully joined cluster by contacting {joined} nodes."))?;
    }
    if failures.is_empty() { Ok(()) } else { Err(CliError::input(&failures)) }
}

/// Asks the agent to stop.
///
/// # Errors
/// The control plane does not answer.
pub(super) async fn leave(options: &LeaveOptions) -> Result<(), CliError> {
    options.target.client()?.put(&["agent", "leave"], &[], None).await?;
    output::line("Graceful leave complete")
}

/// Asks to count an agent out.
///
/// # Errors
/// The control plane does not answer, or knows no such agent.
pub(super) async fn force_leave(options: &ForceLeaveOptions) -> Result<(), CliError> {
    let query = switches(&[("prune", options.prune), ("wan", options.wan)]);
    options.target.client()?.put(&["agent", "force-leave", &options.node], &query, None).await?;
    Ok(())
}

fn switches(switches: &[(&'static str, bool)]) -> Vec<(&'static str, &'static str)> {
    switches.iter().filter(|(_, given)| *given).map(|(name, _)| (*name, "1")).collect()
}
