//! What is to be changed: files, and names of what goes.

use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::CliError;
use crate::cli::client::{Client, ClientError, TIMEOUT, Target};
use crate::cli::files::{self, Written};

use super::owned::{self, DELETE, DEREGISTER, Pruned};

/// What is to be changed.
#[derive(Debug, Args)]
pub(super) struct ChangeOptions {
    /// File with config entries, services or Kubernetes resources, in HCL, JSON or YAML, or a folder of such files; - is
    /// standard input (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "PATH", required_unless_present_any = ["delete", "deregister"])]
    pub(super) files: Vec<String>,
    /// Config entry that goes, such as service-resolver/api (repeatable)
    #[arg(long, value_name = "KIND/NAME")]
    pub(super) delete: Vec<String>,
    /// Service of the agent that goes, with its sidecar, by its ID (repeatable)
    #[arg(long, value_name = "ID")]
    pub(super) deregister: Vec<String>,
    /// Label everything in the files as owned by NAME, in the Meta key meshgate-owner
    #[arg(long, value_name = "NAME", requires = "files")]
    pub(super) owner: Option<String>,
    /// Take away what -owner owns in this partition and namespace and the files have no more
    #[arg(long, requires = "owner")]
    pub(super) prune: bool,
    #[command(flatten)]
    pub(super) target: Target,
}

/// What is to be changed, read and checked.
pub(super) struct Change {
    written: Written,
    body: Option<Value>,
    query: Vec<(&'static str, String)>,
}

impl ChangeOptions {
    /// Reads everything that is named, and asks what else goes if what is owned is pruned.
    ///
    /// # Errors
    /// A file that cannot be read, everything that is wrong in any of them, and a control plane that does not answer.
    pub(super) async fn read(&self) -> Result<(Change, Client), CliError> {
        let (partition, namespace) = self.target.tenancy();
        let mut written = files::definitions(&self.files, &partition, &namespace)?;
        if let Some(owner) = &self.owner {
            owned::label(&mut written, owner);
        }
        let client = self.target.client()?;
        let given = |name, texts: &[String]| texts.iter().map(|text| (name, text.clone())).collect::<Vec<_>>();
        let mut query = [given(DELETE, &self.delete), given(DEREGISTER, &self.deregister)].concat();
        if let Some(owner) = self.owner.as_ref().filter(|_| self.prune) {
            let pruned = owned::left_behind(&client, owner, &written, (&partition, &namespace)).await?;
            let is_named =
                |row: &Pruned| query.iter().any(|(parameter, name)| (*parameter, name) == (row.parameter, &row.name));
            let more: Vec<_> = pruned.into_iter().filter(|row| !is_named(row)).map(Pruned::unless_changed).collect();
            query.extend(more);
        }
        let entries: Vec<_> = written.entries.iter().map(|written| &written.entry).collect();
        let body = json!({ "services": written.services, "config_entries": { "bootstrap": entries } });
        let body = (!self.files.is_empty()).then_some(body);
        Ok((Change { written, body, query }, client))
    }

    /// The options that say the same to another command.
    pub(super) fn repeated(&self) -> String {
        let files = self.files.iter().map(|file| format!("-f {file}"));
        let deleted = self.delete.iter().map(|name| format!("-delete {name}"));
        let deregistered = self.deregister.iter().map(|id| format!("-deregister {id}"));
        let owner = self.owner.iter().map(|owner| format!("-owner {owner}"));
        let pruned = self.prune.then(|| "-prune".to_owned());
        files.chain(deleted).chain(deregistered).chain(owner).chain(pruned).collect::<Vec<_>>().join(" ")
    }
}

impl Change {
    /// Sends it. What the control plane refuses is told with the place in the files.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        client: &Client,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.send_within(client, path, query, Duration::ZERO).await
    }

    /// The same for an answer that may take so much longer than others.
    ///
    /// # Errors
    /// As for [`Change::send`].
    pub(super) async fn send_within<T: DeserializeOwned>(
        &self,
        client: &Client,
        path: &str,
        query: &[(&str, &str)],
        longer: Duration,
    ) -> Result<T, CliError> {
        let ours = self.query.iter().map(|(name, value)| (*name, value.as_str()));
        let query: Vec<_> = ours.chain(query.iter().copied()).collect();
        let sent = client.post_with(&["meshgate", path], &query, self.body.as_ref(), TIMEOUT + longer).await;
        sent.map_err(|error| self.located(error))
    }

    fn located(&self, error: ClientError) -> CliError {
        let body = if let ClientError::Status { body, .. } = &error { body.as_str() } else { "" };
        match files::refusals(body, &self.written.entries) {
            Some(problems) => CliError::input(&problems),
            None => error.into(),
        }
    }
}
