//! `meshgate intention create`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::Value;

use super::{PATH, Target, pair, show};
use crate::cli::client::{Changes, Client};
use crate::cli::files::SourceText;
use crate::cli::{CliError, output};
use crate::model::{Intention, Namespace, Partition};

/// Options of `intention create`.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// Let calls pass, as without either option
    #[arg(long)]
    allow: bool,
    /// Let no call pass
    #[arg(long, conflicts_with = "allow")]
    deny: bool,
    /// The arguments are files that each hold one intention, in JSON, HCL or YAML
    #[arg(long, short = 'f', conflicts_with_all = ["allow", "deny", "meta"])]
    file: bool,
    /// Replace the intention if there is one about the same services
    #[arg(long)]
    replace: bool,
    /// A fact about the intention (key=value); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    /// The service that calls and the one that is called; with -file, files
    #[arg(value_name = "SRC DST | FILE", required = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs `intention create`.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(options: &CreateOptions) -> Result<(), CliError> {
    let intentions = options.intentions()?;
    let client = options.target.client()?;
    let mut changes = Changes::default();
    for intention in intentions {
        let made = match write(&client, &intention, options.replace).await {
            Err(CliError::Client(error)) => Err(error),
            other => Ok(other?),
        };
        if changes.note(made)?.is_some() {
            output::line(&format!("Created: {}", show::sentence(&intention)))?;
        }
    }
    Ok(changes.end()?)
}

impl CreateOptions {
    fn intentions(&self) -> Result<Vec<Intention>, CliError> {
        if self.file {
            return self.arguments.iter().map(|file| SourceText::read(file)?.value()).collect();
        }
        let [source, destination] = self.arguments.as_slice() else {
            return Err(CliError::Usage("name the service that calls and the one that is called".to_owned()));
        };
        let (source, destination) = (Name::parse(source)?, Name::parse(destination)?);
        Ok(vec![Intention {
            source_partition: source.partition,
            source_ns: source.namespace,
            source_name: source.name,
            destination_partition: destination.partition,
            destination_ns: destination.namespace,
            destination_name: destination.name,
            action: if self.deny { "deny" } else { "allow" }.to_owned(),
            meta: facts(&self.meta)?,
            ..Intention::default()
        }])
    }
}

/// A service with as much of its tenancy as is said.
struct Name {
    partition: Option<Partition>,
    namespace: Option<Namespace>,
    name: String,
}

impl Name {
    /// `web`, `namespace/web` or `partition/namespace/web`.
    fn parse(text: &str) -> Result<Self, CliError> {
        let (partition, namespace, name) = match *text.split('/').collect::<Vec<_>>().as_slice() {
            [name] => (None, None, name),
            [namespace, name] => (None, Some(namespace), name),
            [partition, namespace, name] => (Some(partition), Some(namespace), name),
            _ => {
                let message = format!("{text:?}: expected service, namespace/service or partition/namespace/service");
                return Err(CliError::Usage(message));
            }
        };
        Ok(Self {
            partition: partition.map(Partition::from),
            namespace: namespace.map(Namespace::from),
            name: name.to_owned(),
        })
    }
}

fn facts(pairs: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let fact = |pair: &String| match pair.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(CliError::Usage(format!("-meta {pair:?} is not of the form key=value"))),
    };
    pairs.iter().map(fact).collect()
}

/// New ones get an ID, as they do from Consul's command; those with permissions cannot have one.
async fn write(client: &Client, intention: &Intention, replace: bool) -> Result<(), CliError> {
    let Intention { source_partition, source_ns, source_name, .. } = intention;
    let Intention { destination_partition, destination_ns, destination_name, .. } = intention;
    let source = show::full(source_partition.as_ref(), source_ns.as_ref(), source_name);
    let destination = show::full(destination_partition.as_ref(), destination_ns.as_ref(), destination_name);
    let query = pair(&source, &destination);
    let exact = [PATH[0], PATH[1], "exact"];
    let existing: Option<Intention> = match client.get(&exact, &query).await {
        Ok(found) => Some(found),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let body = serde_json::to_value(intention).map_err(|error| CliError::Input(error.to_string()))?;
    let by_id = intention.permissions.is_empty();
    match existing {
        Some(existing) if !replace => {
            let shown = show::sentence(&existing);
            return Err(CliError::Input(format!("there is an intention already, {shown}: use -replace")));
        }
        None if by_id => {
            client.post::<Value>(&PATH, &body).await?;
        }
        Some(existing) if by_id && !existing.id.is_empty() => {
            client.put(&[PATH[0], PATH[1], &existing.id], &[], Some(&body)).await?;
        }
        Some(_) | None => {
            client.put(&exact, &query, Some(&body)).await?;
        }
    }
    Ok(())
}
