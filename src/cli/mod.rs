//! The command line: Consul's verbs with Consul's flags, and our own.

mod agent;
mod arguments;
mod bug_report;
mod catalog;
mod cert;
mod change;
mod check;
mod client;
mod cluster;
mod completion;
mod config;
mod connect;
mod context;
mod debug;
pub mod demo;
mod descriptors;
pub mod envoy;
mod error;
mod events;
mod explain;
mod files;
mod gateway;
mod history;
mod info;
mod intention;
mod maint;
mod members;
mod monitor;
mod output;
mod path;
mod proxy;
mod ps;
mod ready;
mod redact;
mod reload;
mod replay;
mod rollback;
mod services;
mod simulate;
mod snapshot;
mod sni;
mod status;
mod tenancy;
mod tls;
mod top;
mod topology;
mod troubleshoot;
mod validate;
mod watch;
mod why_changed;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use error::{CliError, Verb};

const AFTER_HELP: &str = "\
Long options work with one dash as well (-sidecar-for web), and switches take a value (-register=false).
Results go to standard output, everything else to standard error.
The exit code is 1 on any error. Of meshgate's own commands (apply, at, bug-report, cert, check, completion, context, debug,
demo, diff, envoy, events, explain, gateway, history, lint, path, plan, proxy, ps, ready, replay, rollback, sni, status,
top, topology, wait, why-changed) it is 1 for a problem, 2 for changes that are pending, 3 on bad usage, 4 where nobody answers, and 5 where the
token does not suffice.

Start here:
  meshgate demo                                       two datacenters with real Envoys, and a tour
  meshgate agent -dev                                 a control plane in memory, on 127.0.0.1
  meshgate services register web.hcl                  register what runs on this machine
  meshgate config write mesh.hcl                      write a config entry
  meshgate envoy install                              fetch an Envoy, if there is none on PATH
  meshgate connect envoy -sidecar-for web             start the sidecar of web";

/// An open control plane for Envoy mesh gateways and sidecars that speaks Consul's API.
#[derive(Debug, Parser)]
#[command(name = "meshgate", version, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    /// No colours, as if NO_COLOR were set
    #[arg(long, global = true)]
    no_color: bool,
    /// What is said to reach a control plane, by name: see `meshgate context`
    #[arg(long, global = true, env = "MESHGATE_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane: HTTP API, xDS server, health checks
    Agent(Box<agent::AgentOptions>),
    /// Register, deregister and export services
    #[command(subcommand)]
    Services(services::ServicesCommand),
    /// Write, read, list and delete config entries
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// List datacenters, nodes and services
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Say who may call whom, and ask
    #[command(subcommand)]
    Intention(intention::IntentionCommand),
    /// Make, read, list and delete partitions
    #[command(subcommand)]
    Partition(tenancy::TenantCommand),
    /// Make, read, list and delete namespaces
    #[command(subcommand)]
    Namespace(tenancy::TenantCommand),
    /// Start proxies of the mesh, and configure its certificate authority
    #[command(subcommand)]
    Connect(connect::ConnectCommand),
    /// Tell what a change would do to proxies and their connections; nothing is stored
    Plan(Box<change::PlanOptions>),
    /// Make a change, and wait until it is live if asked to
    Apply(Box<change::ApplyOptions>),
    /// Tell in what files and the state differ
    Diff(Box<change::DiffOptions>),
    /// Wait until every connected proxy has acknowledged a revision
    Wait(Box<change::WaitOptions>),
    /// Tell what is wrong with the state although each part of it is right
    Lint(Box<change::LintOptions>),
    /// Tell what would become of traffic if something were gone
    Simulate(simulate::SimulateOptions),
    /// Set up a whole mesh with real Envoys on this machine, and show what it does
    Demo(demo::DemoOptions),
    /// Fetch Envoy, and run it
    #[command(subcommand)]
    Envoy(envoy::EnvoyCommand),
    /// Look into a running control plane
    #[command(subcommand)]
    Debug(debug::DebugCommand),
    /// Explain why configuration is what it is
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Follow the way from a service to another one, link by link, and say what is broken on it
    Path(Box<path::PathOptions>),
    /// Write and read the names that travel in TLS handshakes, and list them
    #[command(subcommand)]
    Sni(sni::SniCommand),
    /// List the certificates of the mesh, and replace them
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// List the mesh gateways
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// Go through a checklist, and tell what is wrong and what to do about it
    Check(check::CheckOptions),
    /// Say on one screen whether all is well
    Status(status::StatusOptions),
    /// Show the proxies that are pushed to most, and how much they lag, again and again
    Top(top::TopOptions),
    /// List places with their mesh gateways, and who dials whom through which of them
    Topology(topology::TopologyOptions),
    /// List the proxies, and how far they have come
    #[command(visible_alias = "proxies")]
    Ps(ps::PsOptions),
    /// Show what one proxy should have
    Proxy(proxy::ProxyOptions),
    /// Show what a proxy should have had after a commit or at a time
    At(proxy::AtOptions),
    /// Print commits, pushes and what happens to proxies
    Events(events::EventsOptions),
    /// Say which commits changed a proxy
    WhyChanged(why_changed::WhyChangedOptions),
    /// Show what was changed, when and by whom
    History(history::HistoryOptions),
    /// Let a config entry be what it was
    Rollback(rollback::RollbackOptions),
    /// Write a file with all that somebody else needs to see what happened
    BugReport(bug_report::BugReportOptions),
    /// Run a control plane from the state of another one
    Replay(replay::ReplayOptions),
    /// Say whether a control plane or an Envoy is ready
    Ready(Box<ready::ReadyOptions>),
    /// List the agents that know each other
    Members(members::MembersOptions),
    /// Join other agents
    Join(cluster::JoinOptions),
    /// Stop the agent in good order
    Leave(cluster::LeaveOptions),
    /// Count an agent out that is gone
    ForceLeave(cluster::ForceLeaveOptions),
    /// Print what the agent tells about itself
    Info(info::InfoOptions),
    /// Print the agent's log as it happens
    Monitor(monitor::MonitorOptions),
    /// Have the agent read its files again
    Reload(reload::ReloadOptions),
    /// Take the node, or one service on it, out of service and back
    Maint(maint::MaintOptions),
    /// Save the whole state, restore it, or look into a saved one
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Print a part of the state, or run a command whenever it changes
    Watch(watch::WatchOptions),
    /// Look for what is wrong, with Envoy's admin interface alone
    #[command(subcommand)]
    Troubleshoot(troubleshoot::TroubleshootCommand),
    /// Make files of certificates for the HTTP API and for xDS
    #[command(subcommand)]
    Tls(tls::TlsCommand),
    /// Check files of settings, registrations and config entries without starting anything
    Validate(validate::ValidateOptions),
    /// Print what a shell needs to complete commands and options
    Completion(completion::CompletionOptions),
    /// Keep what is said to reach control planes, by name
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Print the version
    Version(VersionOptions),
}

/// Options of `meshgate version`.
#[derive(Debug, clap::Args)]
struct VersionOptions {
    /// How the version is printed
    #[arg(long, value_enum, default_value_t)]
    format: output::OutputFormat,
}

/// Runs the command that the arguments name (the first one being the program itself).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments::with_double_dashes(arguments);
    let verb = Verb::named(arguments::command(&arguments));
    let matches = match parsed(&arguments) {
        Ok(matches) => matches,
        Err(Unparsed::Arguments(error)) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { verb.usage_code() } else { ExitCode::SUCCESS };
        }
        Err(Unparsed::Context(error)) => {
            output::error(&error);
            return verb.code(&error);
        }
    };
    let said = context::Chosen::said(&matches);
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return verb.usage_code();
        }
    };
    if cli.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    match run(cli.command, said) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (CliError::No | CliError::Pending)) => verb.code(&error),
        Err(CliError::Client(error @ (client::ClientError::OnlyTold | client::ClientError::ToldUntil))) => {
            output::note(&error.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::error(&error);
            verb.code(&error)
        }
    }
}

/// Arguments that are no command.
enum Unparsed {
    Arguments(clap::Error),
    Context(CliError),
}

impl From<clap::Error> for Unparsed {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(error)
    }
}

/// What the arguments mean. A context counts only for a command that calls the API, so that the command is found first.
fn parsed(arguments: &[OsString]) -> Result<ArgMatches, Unparsed> {
    let program = arguments::with_switch_values(Cli::command());
    let matches = program.clone().try_get_matches_from(arguments)?;
    match context::with_defaults(&program, &matches).map_err(Unparsed::Context)? {
        Some(program) => Ok(program.try_get_matches_from(arguments)?),
        None => Ok(matches),
    }
}

fn run(command: Command, said: Option<context::Chosen>) -> Result<(), CliError> {
    match command {
        Command::Agent(options) => agent::run(&options),
        Command::Services(command) => block_on(services::run(command)),
        Command::Config(command) => block_on(config::run(command)),
        Command::Catalog(command) => block_on(catalog::run(command)),
        Command::Intention(command) => block_on(intention::run(command)),
        Command::Partition(command) => block_on(tenancy::run(tenancy::Tenant::Partition, command)),
        Command::Namespace(command) => block_on(tenancy::run(tenancy::Tenant::Namespace, command)),
        Command::Connect(command) => connect::run(command),
        Command::Plan(options) => block_on(change::plan(&options)),
        Command::Apply(options) => block_on(change::apply(&options)),
        Command::Diff(options) => block_on(change::diff(&options)),
        Command::Wait(options) => block_on(change::wait(&options)),
        Command::Lint(options) => block_on(change::lint(&options)),
        Command::Simulate(options) => block_on(simulate::run(&options)),
        Command::Demo(options) => demo::run(&options),
        Command::Envoy(command) => envoy::run(command),
        Command::Debug(command) => block_on(debug::run(command)),
        Command::Explain(command) => block_on(explain::run(command)),
        Command::Path(options) => block_on(path::run(&options)),
        Command::Sni(command) => block_on(sni::run(command)),
        Command::Cert(command) => block_on(cert::run(command)),
        Command::Gateway(command) => block_on(gateway::run(command)),
        Command::Check(options) => block_on(check::run(&options)),
        Command::Status(options) => block_on(status::run(&options)),
        Command::Top(options) => block_on(top::run(&options)),
        Command::Topology(options) => block_on(topology::run(&options)),
        Command::Ps(options) => block_on(ps::run(&options)),
        Command::Proxy(options) => block_on(proxy::run(&options)),
        Command::At(options) => block_on(proxy::run_at(&options)),
        Command::Events(options) => block_on(events::run(&options)),
        Command::WhyChanged(options) => block_on(why_changed::run(&options)),
        Command::History(options) => block_on(history::run(&options)),
        Command::Rollback(options) => block_on(rollback::run(&options)),
        Command::BugReport(options) => block_on(bug_report::run(&options)),
        Command::Replay(options) => replay::run(&options),
        Command::Ready(options) => block_on(ready::run(&options)),
        Command::Members(options) => block_on(members::run(&options)),
        Command::Join(options) => block_on(cluster::join(&options)),
        Command::Leave(options) => block_on(cluster::leave(&options)),
        Command::ForceLeave(options) => block_on(cluster::force_leave(&options)),
        Command::Info(options) => block_on(info::run(&options)),
        Command::Monitor(options) => block_on(monitor::run(&options)),
        Command::Reload(options) => block_on(reload::run(&options)),
        Command::Maint(options) => block_on(maint::run(&options)),
        Command::Snapshot(command) => block_on(snapshot::run(command)),
        Command::Watch(options) => block_on(watch::run(&options)),
        Command::Troubleshoot(command) => block_on(troubleshoot::run(command)),
        Command::Tls(command) => tls::run(command),
        Command::Validate(options) => validate::run(&options),
        Command::Completion(options) => completion::run(&options, Cli::command()),
        Command::Context(command) => context::run(&command, said),
        Command::Version(options) => print_version(options.format),
    }
}

/// Runs a client command, which needs no more than one thread.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::io("the runtime cannot be started"))?.block_on(work)
}

fn print_version(format: output::OutputFormat) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        output::OutputFormat::Pretty => output::line(&format!("meshgate {version}")),
        output::OutputFormat::Json => output::json(&serde_json::json!({"Version": version})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        arguments::with_switch_values(Cli::command()).debug_assert();
    }
}
