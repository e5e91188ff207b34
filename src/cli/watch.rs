//! `meshgate watch`: a part of the state whenever it changes, on standard output or to a command.

use std::process::Stdio;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::client::{Client, ClientError, Target};
use super::{CliError, output};

/// Pause after the first failure; each further one adds another.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(180);

/// Options of `meshgate watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a command, the current state is printed once. With one, the command is run now and after each change, with the state \
as JSON on its standard input and the index of the change in CONSUL_INDEX.
Try `meshgate watch -type service -service web -passingonly ./update.sh`.")]
pub(super) struct WatchOptions {
    /// What is watched: services, nodes, service, checks, connect_roots, connect_leaf or agent_service
    #[arg(long = "type", value_enum, value_name = "TYPE", hide_possible_values = true)]
    kind: Kind,
    /// Name of the service (service, checks, connect_leaf); its ID for agent_service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only instances with this tag (service); may be given several times
    #[arg(long)]
    tag: Vec<String>,
    /// Only instances whose checks all pass (service)
    #[arg(long)]
    passingonly: bool,
    /// Only checks in this state (checks): any, passing, warning or critical
    #[arg(long)]
    state: Option<String>,
    /// Only what this expression selects
    #[arg(long)]
    filter: Option<String>,
    /// Run the command through a shell [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_name = "BOOL", action = clap::ArgAction::Set)]
    shell: bool,
    /// Command to run, with its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    Services,
    Nodes,
    Service,
    Checks,
    ConnectRoots,
    ConnectLeaf,
    AgentService,
}

/// What one answer was, and what tells that the next one is another.
struct Seen {
    value: Value,
    /// The index, or the hash of an instance of the agent.
    mark: String,
}

/// Prints the state, or runs the command after each change.
///
/// # Errors
/// Options that do not fit, a control plane that does not answer or refuses, or a command that fails.
pub(super) async fn run(options: &WatchOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let path = options.path()?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut seen = options.ask(&client, &path, "").await?;
    if options.command.is_empty() {
        return output::json(&seen.value);
    }
    options.tell(&seen).await?;
    let mut failures = 0;
    loop {
        match options.ask(&client, &path, &seen.mark).await {
            Ok(next) => {
                failures = 0;
                if next.mark != seen.mark {
                    options.tell(&next).await?;
                    seen = next;
                }
            }
            Err(error) => {
                failures += 1;
                let pause = (PAUSE * failures).min(LONGEST_PAUSE);
                output::warning(&format!("{error}; trying again in {pause:?}"));
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl WatchOptions {
    fn path(&self) -> Result<Vec<String>, CliError> {
        let service = || {
            let name = self.service.clone().filter(|name| !name.is_empty());
            name.ok_or_else(|| CliError::Usage("this type needs -service".to_owned()))
        };
        let path = match (self.kind, &self.service) {
            (Kind::Services, _) => vec!["catalog".to_owned(), "services".to_owned()],
            (Kind::Nodes, _) => vec!["catalog".to_owned(), "nodes".to_owned()],
            (Kind::Service, _) => vec!["health".to_owned(), "service".to_owned(), service()?],
            (Kind::Checks, Some(_)) if self.state.is_some() => {
                return Err(CliError::Usage("-service and -state exclude each other".to_owned()));
            }
            (Kind::Checks, Some(service)) => vec!["health".to_owned(), "checks".to_owned(), service.clone()],
            (Kind::Checks, None) => {
                let state = self.state.clone().unwrap_or_else(|| "any".to_owned());
                vec!["health".to_owned(), "state".to_owned(), state]
            }
            (Kind::ConnectRoots, _) => ["agent", "connect", "ca", "roots"].map(str::to_owned).to_vec(),
            (Kind::ConnectLeaf, _) => {
                let path = ["agent", "connect", "ca", "leaf"].map(str::to_owned);
                path.into_iter().chain([service()?]).collect()
            }
            (Kind::AgentService, _) => vec!["agent".to_owned(), "service".to_owned(), service()?],
        };
        Ok(path)
    }

    /// The state once it is another than that of the mark; the current one without a mark.
    async fn ask(&self, client: &Client, path: &[&str], mark: &str) -> Result<Seen, ClientError> {
        let by_hash = self.kind == Kind::AgentService;
        let mut query = Vec::new();
        if !mark.is_empty() {
            query.push((if by_hash { "hash" } else { "index" }, mark));
        }
        if self.passingonly {
            query.push(("passing", "1"));
        }
        query.extend(self.tag.iter().map(|tag| ("tag", tag.as_str())));
        query.extend(self.filter.iter().map(|filter| ("filter", filter.as_str())));
        let answer = client.follow(path, &query).await?;
        let header = if by_hash { "x-consul-contenthash" } else { "x-consul-index" };
        let mark = answer.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let value = answer.json().await.map_err(|source| client.answer_error(source))?;
        Ok(Seen { value, mark })
    }

    /// Runs the command with what was seen.
    async fn tell(&self, seen: &Seen) -> Result<(), CliError> {
        let what = self.command.join(" ");
        let mut command = if self.shell {
            let mut shell = Command::new("sh");
            shell.args(["-c", &what]);
            shell
        } else {
            let mut command = Command::new(&self.command[0]);
            command.args(&self.command[1..]);
            command
        };
        command.stdin(Stdio::piped()).env("CONSUL_INDEX", &seen.mark);
        let mut child = command.spawn().map_err(CliError::io(what.clone()))?;
        if let Some(mut input) = child.stdin.take() {
            // A command need not read what it is told.
            let _ = input.write_all(format!("{}\n", seen.value).as_bytes()).await;
        }
        let status = child.wait().await.map_err(CliError::io(what.clone()))?;
        if status.success() { Ok(()) } else { Err(CliError::Input(format!("{what}: {status}"))) }
    }
}
