//! `meshgate config`: config entries of the mesh.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Client, ClientError, Target};
use super::files::{self, WrittenEntry};
use super::{CliError, output};
use crate::model::{EntryKind, Partition};

/// Commands on config entries.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Write the config entries of files and folders, all of them or none
    Write(WriteOptions),
    /// Print one config entry as JSON
    Read(ReadOptions),
    /// Print the names of the config entries of a kind
    List(ListOptions),
    /// Delete one config entry
    Delete(DeleteOptions),
}

/// A condition on what is stored.
#[derive(Debug, Args)]
struct CasOptions {
    /// Only if the entry was last changed at -modify-index
    #[arg(long)]
    cas: bool,
    /// Index of the entry that may be replaced; 0 if there must be none
    #[arg(long, value_name = "INDEX")]
    modify_index: Option<u64>,
}

/// Options of `config write`.
#[derive(Debug, Args)]
pub(super) struct WriteOptions {
    /// Files with config entries, in HCL, JSON or YAML, or as Kubernetes resources; folders of such files; - is standard
    /// input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    cas: CasOptions,
    #[command(flatten)]
    target: Target,
}

/// Options of `config read`.
#[derive(Debug, Args)]
pub(super) struct ReadOptions {
    /// Kind of the entry
    #[arg(long)]
    kind: String,
    /// Name of the entry (global for proxy-defaults, mesh for mesh)
    #[arg(long)]
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Options of `config list`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Kind of the entries
    #[arg(long)]
    kind: String,
    /// Only entries that this expression selects
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Options of `config delete`.
#[derive(Debug, Args)]
pub(super) struct DeleteOptions {
    /// Kind of the entry
    #[arg(long, required_unless_present = "filename", requires = "name")]
    kind: Option<String>,
    /// Name of the entry
    #[arg(long, requires = "kind")]
    name: Option<String>,
    /// File with the config entry, in place of -kind and -name
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "name"])]
    filename: Option<String>,
    #[command(flatten)]
    cas: CasOptions,
    #[command(flatten)]
    target: Target,
}

/// Runs a `config` command.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Write(options) => write(&options).await,
        ConfigCommand::Read(options) => read(&options).await,
        ConfigCommand::List(options) => list(&options).await,
        ConfigCommand::Delete(options) => delete(&options).await,
    }
}

async fn write(options: &WriteOptions) -> Result<(), CliError> {
    let (partition, namespace) = options.target.tenancy();
    let written = files::entries(&options.paths, &partition, &namespace)?;
    let condition = options.cas.condition()?;
    if condition.is_some() && written.len() > 1 {
        return Err(CliError::Usage("-cas is about one config entry, and several were given".to_owned()));
    }
    let client = options.target.client()?;
    let names = written.iter().map(|written| {
        let key = written.key_in(&partition, &namespace);
        format!("{}/{}", key.kind, key.name.name)
    });
    let names: Vec<_> = names.collect();
    if let ([only], [name]) = (written.as_slice(), names.as_slice()) {
        let query: Vec<_> = condition.iter().map(|index| ("cas", index.as_str())).collect();
        let body = serde_json::to_value(&only.entry).map_err(|error| CliError::Input(error.to_string()))?;
        if client.put(&["config"], &query, Some(&body)).await?.trim() == "false" {
            return Err(CliError::Input(format!("Config entry not updated: {name}")));
        }
    } else {
        write_together(&client, &written).await?;
    }
    names.iter().try_for_each(|name| output::line(&format!("Config entry written: {name}")))
}

/// Writes all or none. What the control plane refuses is told with the place in the files.
async fn write_together(client: &Client, written: &[WrittenEntry]) -> Result<(), CliError> {
    let entries: Vec<_> = written.iter().map(|written| &written.entry).collect();
    let body = serde_json::to_value(&entries).map_err(|error| CliError::Input(error.to_string()))?;
    let error = match client.put(&["meshgate", "config"], &[], Some(&body)).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let body = if let ClientError::Status { body, .. } = &error { body.as_str() } else { "" };
    Err(files::refusals(body, written).map_or_else(|| error.into(), |problems| CliError::input(&problems)))
}

async fn read(options: &ReadOptions) -> Result<(), CliError> {
    let kind = known_kind(&options.kind)?;
    let client = options.target.client()?;
    let entry: Value = client.get(&["config", kind.as_str(), &options.name], &[]).await?;
    output::json(&entry)
}

async fn list(options: &ListOptions) -> Result<(), CliError> {
    let kind = known_kind(&options.kind)?;
    let client = options.target.client()?;
    let query: Vec<_> = options.filter.iter().map(|filter| ("filter", filter.as_str())).collect();
    let entries: Vec<Value> = client.get(&["config", kind.as_str()], &query).await?;
    // An entry of kind mesh has its name by its kind alone.
    let names = entries.iter().map(|entry| entry["Name"].as_str().unwrap_or(kind.as_str()));
    names.into_iter().try_for_each(output::line)
}

async fn delete(options: &DeleteOptions) -> Result<(), CliError> {
    let mut query = Vec::new();
    let (kind, name) = match (&options.kind, &options.name, &options.filename) {
        (Some(kind), Some(name), _) => (known_kind(kind)?, name.clone()),
        (_, _, Some(file)) => {
            let (partition, namespace) = options.target.tenancy();
            let entries = files::entries(std::slice::from_ref(file), &partition, &namespace)?;
            let [written] = entries.as_slice() else {
                return Err(CliError::Usage("-filename names one config entry, and the file holds several".to_owned()));
            };
            let key = written.key_in(&partition, &namespace);
            let (said_partition, said_namespace) = options.target.said_tenancy();
            query.extend(of_file("partition", said_partition, key.name.partition.as_str())?);
            if key.kind.is_namespaced() {
                query.extend(of_file("namespace", said_namespace, key.name.namespace.as_str())?);
            }
            (key.kind, key.name.name.to_string())
        }
        (_, _, None) => return Err(CliError::Usage("-kind and -name, or -filename, are required".to_owned())),
    };
    query.extend(options.cas.condition()?.map(|index| ("cas", index)));
    let client = options.target.client()?;
    let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if client.delete(&["config", kind.as_str(), &name], &query).await?.trim() == "false" {
        return Err(CliError::Input(format!("Config entry not deleted: {kind}/{name}")));
    }
    output::line(&format!("Config entry deleted: {kind}/{name}"))
}

/// The parameter that says what a file says, unless an option says it already. They must not contradict each other.
fn of_file(option: &str, said: &str, file: &str) -> Result<Option<(&'static str, String)>, CliError> {
    let parameter = if option == "namespace" { "ns" } else { "partition" };
    if said.is_empty() {
        return Ok((file != Partition::default().as_str()).then(|| (parameter, file.to_owned())));
    }
    if said == file {
        return Ok(None);
    }
    Err(CliError::Usage(format!(
        "{option} is {said:?} by -{option} (CONSUL_{}) and {file:?} in the file: give one, or the same",
        option.to_uppercase()
    )))
}

impl CasOptions {
    /// The index that the entry must have, if there is a condition.
    fn condition(&self) -> Result<Option<String>, CliError> {
        match (self.cas, self.modify_index) {
            (true, index) => Ok(Some(index.unwrap_or(0).to_string())),
            (false, None) => Ok(None),
            (false, Some(_)) => Err(CliError::Usage("-modify-index needs -cas".to_owned())),
        }
    }
}

fn known_kind(text: &str) -> Result<EntryKind, CliError> {
    EntryKind::parse(text).ok_or_else(|| {
        let known = EntryKind::ALL.map(EntryKind::as_str).join(", ");
        CliError::Usage(format!("-kind {text:?} is no kind of config entry: use one of {known}"))
    })
}
