//! `envoy run`: an Envoy that takes its leave before it ends.
//!
//! Whoever ends an Envoy at once cuts what is under way on it, and its peers go on dialling it until they hear of it. So on a
//! signal the proxy is put into maintenance, and everybody who dials it is waited for; then it drains, and ends once nobody is
//! connected any more, or the time for that is up.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::envoy::{Prepared, prepare};
use super::launch;
use super::options::EnvoyOptions;
use crate::cli::change::duration;
use crate::cli::client::Client;
use crate::cli::envoy::find;
use crate::cli::ps::lasting;
use crate::cli::{CliError, demo, output};
use crate::envoy::bootstrap::bootstrap;

/// Why the proxy is in maintenance while it drains. A proxy that is so when it starts was left so by an earlier run.
const REASON: &str = "drained by meshgate envoy run";

/// How long Envoy may take to end once it was told to, before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one answer of the admin interface or the agent may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Longest time that others are waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(45);

/// How often Envoy is asked who is still connected.
const INTERVAL: Duration = Duration::from_millis(200);

/// Options of `envoy run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Starts Envoy as `meshgate connect envoy` does, and stays with it. On SIGTERM or SIGINT the proxy is put into maintenance, so that
nobody dials it any more; once everybody has acknowledged that, Envoy drains: HTTP connections end after their requests, and others
are waited for. It ends when nobody is connected, or after -drain-time. A second signal ends it at once.
If Envoy ends by itself, this ends with its exit code, so that whoever started it can start it again.

  meshgate envoy run -sidecar-for web
  meshgate envoy run -gateway mesh -register -address 10.0.0.5:8443 -drain-time 2m -deregister")]
pub(crate) struct RunOptions {
    /// Longest time from a signal until Envoy is told to end
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, help_heading = "Draining")]
    drain_time: Duration,
    /// Deregister the proxy in the end
    #[arg(long, help_heading = "Draining")]
    deregister: bool,
    #[command(flatten)]
    envoy: EnvoyOptions,
}

/// Runs Envoy until it ends, or until a signal and its drain.
///
/// # Errors
/// As for `connect envoy`; Envoy ended by itself with an exit code other than 0.
pub(crate) async fn run(options: &RunOptions) -> Result<(), CliError> {
    if options.envoy.bootstrap {
        return Err(CliError::Usage("-bootstrap is an option of `meshgate connect envoy`".to_owned()));
    }
    let Prepared { input, supported, proxy, client } = prepare(&options.envoy).await?;
    let binary = find(options.envoy.envoy_binary.as_deref())?;
    if !options.envoy.ignore_envoy_compatibility {
        launch::check_version(&binary, &supported)?;
    }
    let mut signals = Signals::new()?;
    let leaving = Leaving { client, proxy, admin: input.admin };
    let mut child = launch::start(&binary, &bootstrap(&input), &options.envoy.envoy_arguments)?;
    let back = async {
        leaving.end_of_maintenance().await;
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = child.wait() => Some(ended.map_err(CliError::io("Envoy cannot be waited for"))?),
        () = signals.next() => None,
        () = back => None,
    };
    if let Some(status) = ended {
        return match status.code() {
            Some(0) => Ok(()),
            code => Err(CliError::Ended(code)),
        };
    }
    tokio::select! {
        () = leaving.drain(options.drain_time) => {}
        () = signals.next() => output::note("a second signal: Envoy ends at once"),
        _ = child.wait() => output::note("Envoy ended while it drained"),
    }
    end(&mut child).await?;
    if options.deregister {
        leaving.deregister().await?;
    }
    Ok(())
}

/// A proxy that is about to end.
struct Leaving {
    client: Client,
    /// The ID of its registration.
    proxy: String,
    admin: SocketAddr,
}

impl Leaving {
    /// Keeps others away, waits until they know, drains, and waits for those who are connected; at most so long.
    async fn drain(&self, most: Duration) {
        let until = Instant::now() + most;
        output::note(&format!("draining {} for at most {}", self.proxy, lasting(most.as_secs_f64() * 1000.0)));
        match self.keep_others_away().await {
            // Half of the time is left for those who are connected.
            Ok(()) => self.wait_for_others(most / 2).await,
            Err(error) => output::warning(&format!("{} cannot be put into maintenance: {error}", self.proxy)),
        }
        for path in ["healthcheck/fail", "drain_listeners?graceful&skip_exit"] {
            if let Err(error) = self.ask_envoy(Method::POST, path).await {
                output::warning(&format!("Envoy does not drain: {error}"));
            }
        }
        let mut connected = None;
        while Instant::now() < until {
            connected = self.connected().await;
            if connected == Some(0) {
                return output::note("nobody is connected any more");
            }
            sleep(INTERVAL).await;
        }
        let connections = connected.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        output::note(&format!("the time is up: {connections} connections are cut"));
    }

    async fn set_maintenance(&self, is_on: bool) -> Result<(), CliError> {
        let query = [("enable", if is_on { "true" } else { "false" }), ("reason", REASON)];
        let path = ["agent", "service", "maintenance", self.proxy.as_str()];
        let asked = timeout(LIMIT, self.client.put(&path, &query, None)).await;
        asked.map_err(|_| CliError::Input("the agent does not answer in time".to_owned()))??;
        Ok(())
    }

    /// Puts the proxy into maintenance, unless an operator has, whose reason stays.
    async fn keep_others_away(&self) -> Result<(), CliError> {
        match self.reason().await {
            Some(reason) if reason != REASON => Ok(()),
            Some(_) | None => self.set_maintenance(true).await,
        }
    }

    /// Why the proxy is in maintenance, if it is.
    async fn reason(&self) -> Option<String> {
        let asked = self.client.get::<serde_json::Value>(&["agent", "checks"], &[]);
        let checks = timeout(LIMIT, asked).await.ok()?.ok()?;
        checks[format!("_service_maintenance:{}", self.proxy)]["Notes"].as_str().map(str::to_owned)
    }

    /// Takes a proxy out of maintenance that an earlier run put there, once its Envoy is there. What an operator put there
    /// stays there.
    async fn end_of_maintenance(&self) {
        while self.ask_envoy(Method::GET, "ready").await.is_err() {
            sleep(INTERVAL).await;
        }
        if self.reason().await.as_deref() == Some(REASON)
            && let Err(error) = self.set_maintenance(false).await
        {
            output::warning(&format!("{} stays in maintenance: {error}", self.proxy));
        }
    }

    /// Waits until every proxy has acknowledged that this one is in maintenance.
    async fn wait_for_others(&self, most: Duration) {
        // Answers that take longer are not waited for by the client.
        let most = most.min(LONGEST_WAIT);
        let wait = format!("{}ms", most.as_millis().max(1));
        let query = [("wait", wait.as_str())];
        let asked = self.client.get::<serde_json::Value>(&["meshgate", "wait"], &query);
        match timeout(most + LIMIT, asked).await {
            Ok(Ok(told)) if told["Live"] == true => output::note("everybody who dials it knows"),
            Ok(Ok(told)) => {
                let count = |name: &str| told[name].as_u64().unwrap_or_default();
                let missing = count("Reached").saturating_sub(count("Acknowledged"));
                output::warning(&format!("{missing} proxies have not acknowledged that it ends"));
            }
            Ok(Err(error)) => output::warning(&format!("whether others know that it ends is not known: {error}")),
            Err(_) => output::warning("whether others know that it ends is not known: no answer in time"),
        }
    }

    async fn ask_envoy(&self, method: Method, path: &str) -> Result<String, CliError> {
        let url = format!("http://{}/{path}", self.admin);
        let answer = demo::client(LIMIT).request(method, &url).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let text = match answer {
            Ok(answer) => answer.text().await,
            Err(error) => Err(error),
        };
        text.map_err(|error| CliError::Input(error.to_string()))
    }

    /// How many connections others have to Envoy's listeners; `None` if it does not say.
    async fn connected(&self) -> Option<u64> {
        let path = "stats?filter=%5Elistener%5C..*downstream_(pre_)%3Fcx_active%24";
        let text = self.ask_envoy(Method::GET, path).await.ok()?;
        // Those of the admin interface are this one's own, and workers have their share of the others.
        let lines = text.lines().filter(|line| !line.starts_with("listener.admin.") && !line.contains(".worker_"));
        let counts = lines.map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok());
        let counts = counts.collect::<Option<Vec<_>>>()?;
        // Without a listener nobody can be connected, and nothing is said about any.
        (!counts.is_empty() || text.contains("listener.admin.")).then(|| counts.iter().sum())
    }

    async fn deregister(&self) -> Result<(), CliError> {
        self.client.put(&["agent", "service", "deregister", &self.proxy], &[], None).await?;
        output::note(&format!("Deregistered service: {}", self.proxy));
        Ok(())
    }
}

/// Lets Envoy end, and kills it if it does not.
async fn end(child: &mut Child) -> Result<(), CliError> {
    launch::terminate(child);
    if timeout(PATIENCE, child.wait()).await.is_err() {
        output::warning("Envoy does not end: it is killed");
        child.kill().await.map_err(CliError::io("Envoy cannot be killed"))?;
    }
    Ok(())
}

/// The signals that ask for the end.
struct Signals {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};

        let listen = |kind| signal(kind).map_err(CliError::io("signals cannot be received"));
        Ok(Self { signals: [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?] })
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    fn new() -> Result<Self, CliError> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        {
            let [terminate, interrupt] = &mut self.signals;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        #[cfg(not(unix))]
        // Without signals there is the one that the terminal sends.
        let _ = tokio::signal::ctrl_c().await;
    }
}
