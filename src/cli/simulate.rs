//! `meshgate simulate`: what would become of traffic if something were gone.

use clap::Args;

use super::client::Target;
use super::output::ViewOption;
use super::{CliError, output};
use crate::api::{Destination, DownInstance, SimulatedUpstream, Simulation};

/// Most instances that a table names.
const NAMED: usize = 5;

/// Options of `meshgate simulate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is stored. WHAT is one of
  dc2                    everything in a datacenter; dc2/team-a/* in one of its partitions
  dc2/api                all instances of a service, with their sidecars; dc2/team-a/api in another partition
  dc2/mesh-gateway       all mesh gateways of a datacenter, whatever they are called
  dc2/node:edge-1        everything on a node; node:edge-1 in the own datacenter
  dc2/instance:api-2     one instance, by its ID
The exit code is 1 if some traffic that is known to arrive now would not arrive, or if there are too many upstreams to look
at all of them, and 0 otherwise.
The same over HTTP: GET /v1/meshgate/simulate?down=WHAT")]
pub(super) struct SimulateOptions {
    /// What is gone (repeatable)
    #[arg(long, value_name = "WHAT", required = true)]
    down: Vec<String>,
    /// Only upstreams of services with this name
    #[arg(long, value_name = "SERVICE")]
    upstream: Option<String>,
    /// Most upstreams that are told one by one; at most 1000
    #[arg(long, default_value_t = 200, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Tells what would become of traffic.
///
/// # Errors
/// A control plane that does not answer or refuses, and traffic that would not arrive.
pub(super) async fn run(options: &SimulateOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &SimulateOptions) -> Result<(), CliError> {
    let limit = options.limit.to_string();
    let mut query: Vec<_> = options.down.iter().map(|what| ("down", what.as_str())).collect();
    query.push(("limit", &limit));
    query.extend(options.upstream.as_deref().map(|upstream| ("called", upstream)));
    let simulation: Simulation = options.target.client()?.get(&["meshgate", "simulate"], &query).await?;
    options.output.write_or(&simulation, || counts(&simulation), || show(&simulation))?;
    if simulation.has_losses() { Err(CliError::No) } else { Ok(()) }
}

fn show(simulation: &Simulation) -> Result<(), CliError> {
    output::line(&down(simulation))?;
    output::line(&counts(simulation))?;
    if simulation.cut {
        output::line("There are more upstreams than were looked at: name a service with -upstream.")?;
    }
    if !simulation.affected.is_empty() {
        let heading = ["FROM", "UPSTREAM", "SIDECARS", "EFFECT", "NOW", "THEN"].map(str::to_owned).to_vec();
        let rows = simulation.affected.iter().map(row);
        output::columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())?;
    }
    if simulation.more_affected > 0 {
        output::line(&format!("and {} more (-limit)", simulation.more_affected))?;
    }
    let proxies = &simulation.proxies;
    output::line(&format!("{} of {} proxies that stay would be sent something.", proxies.affected, proxies.total))
}

fn counts(simulation: &Simulation) -> String {
    let counts = simulation.upstreams;
    format!(
        "Upstreams: {} of {} lost, {} partly, {} moved, {} with fewer instances, {} as they are, {} broken already, {} \
         unknown.",
        counts.lost,
        counts.total,
        counts.partly,
        counts.moved,
        counts.fewer,
        counts.same,
        counts.broken,
        counts.unknown
    )
}

fn down(simulation: &Simulation) -> String {
    let name = |it: &DownInstance| format!("{}/{}/{}/{}", it.datacenter, it.partition, it.node, it.id);
    let named: Vec<_> = simulation.down.iter().take(NAMED).map(name).collect();
    let more = simulation.down.len() + simulation.more_down - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("Down: {}{more}", named.join(", "))
}

fn row(it: &SimulatedUpstream) -> Vec<String> {
    let then = match it.stops.first() {
        Some(stop) if it.then.is_empty() => format!("{}: {stop}", it.callers),
        Some(stop) => format!("{}, or {}: {stop}", destinations(&it.then), it.callers),
        None => destinations(&it.then),
    };
    vec![it.from.clone(), it.upstream.clone(), it.sidecars.to_string(), it.effect.clone(), destinations(&it.now), then]
}

fn destinations(all: &[Destination]) -> String {
    let one = |it: &Destination| format!("{} ({})", it.service, it.instances);
    if all.is_empty() { "-".to_owned() } else { all.iter().map(one).collect::<Vec<_>>().join(", ") }
}
