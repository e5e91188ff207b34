//! `meshgate apply -canary`: a few proxies try a change before it is made.

use std::time::Duration;

use clap::Args;

use super::wait::duration;
use crate::api::{Plan, TrialProxy, TrialReport};
use crate::cli::CliError;
use crate::cli::client::ClientError;

/// How a change is tried.
#[derive(Debug, Args)]
pub(super) struct CanaryOptions {
    /// Have so many connected proxies try the change first, of each kind and Envoy version one before a second of any; make it
    /// only if they take it
    #[arg(long = "canary", value_name = "COUNT")]
    count: Option<String>,
    /// How long they must have had it before it is made, without refusing it, going away or becoming unhealthy
    #[arg(long = "canary-for", value_name = "DURATION", value_parser = written, requires = "count")]
    lasting: Option<(String, Duration)>,
    /// How long each may take to acknowledge it, or to come back [default: 15s]
    #[arg(long = "canary-timeout", value_name = "DURATION", value_parser = written, requires = "count")]
    patience: Option<(String, Duration)>,
}

/// A duration, with the text that said so.
fn written(text: &str) -> Result<(String, Duration), String> {
    duration(text).map(|read| (text.to_owned(), read))
}

impl CanaryOptions {
    /// True if the change is to be tried.
    pub(super) fn is_asked(&self) -> bool {
        self.count.is_some()
    }

    /// What the API is told.
    pub(super) fn query(&self) -> Vec<(&str, &str)> {
        let durations = [("canary-for", &self.lasting), ("canary-timeout", &self.patience)];
        let durations = durations.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?.0.as_str())));
        self.count.iter().map(|count| ("canary", count.as_str())).chain(durations).collect()
    }

    /// How long a trial can take.
    pub(super) fn longest(&self) -> Duration {
        if self.is_asked() { Duration::from_secs(300) } else { Duration::ZERO }
    }

    /// What is about to happen.
    pub(super) fn beforehand(&self, plan: &Plan) -> String {
        let count = self.count.as_deref().unwrap_or_default();
        let connected = plan.proxies.connected;
        format!("Trying it first, on at most {count} of the {connected} connected proxies that it touches")
    }
}

/// Who tried a change that was made, and why those.
pub(super) fn outcome(report: &TrialReport) -> Vec<String> {
    let TrialReport { asked, proxies } = report;
    if proxies.is_empty() {
        return vec!["It touches no proxy: there was nothing to try".to_owned()];
    }
    let line = |proxy: &TrialProxy| {
        let TrialProxy { datacenter, partition, id, kind, envoy_version, alike, .. } = proxy;
        let version = if envoy_version.is_empty() { "of unknown version" } else { envoy_version };
        format!("  {id}  {datacenter}/{partition}  took it: one of {alike} touched {kind} with Envoy {version}")
    };
    let fewer = (proxies.len() < *asked).then(|| format!("  {} of {asked}: no others could try it", proxies.len()));
    proxies.iter().map(line).chain(fewer).collect()
}

/// A trial that did not go well is told in the words of the control plane.
pub(super) fn halted(error: CliError) -> CliError {
    if let CliError::Client(ClientError::Status { code: 409, body }) = &error {
        return CliError::Input(body.clone());
    }
    error
}
