//! `services export`, `exported-services` and `imported-services`.

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::client::{Client, Target};
use crate::cli::output::OutputFormat;
use crate::cli::{CliError, output};
use crate::model::entry::{Consumer, ExportedService, ExportedServices};
use crate::model::{ConfigEntry, EntryKind, Namespace, Partition, PeerName, ServiceName};

/// Options of `services export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportOptions {
    /// Name of the service; * stands for every one
    #[arg(long)]
    name: String,
    /// Peers that may reach it
    #[arg(long, value_name = "PEER,...", value_delimiter = ',', required_unless_present = "consumer_partitions")]
    consumer_peers: Vec<String>,
    /// Other partitions that may reach it
    #[arg(long, value_name = "PARTITION,...", value_delimiter = ',')]
    consumer_partitions: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Options of `services exported-services` and `imported-services`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListOptions {
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    /// Only services that this expression selects
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Adds consumers to what is exported already. Nothing is lost if somebody else changes the entry meanwhile.
pub(super) async fn export(options: &ExportOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let (partition, namespace) = options.target.tenancy();
    let (mut entry, index) = stored(&client, &partition).await?;
    add(&mut entry, &options.name, &namespace, &options.consumers());
    let body = serde_json::to_value(ConfigEntry::ExportedServices(entry));
    let body = body.map_err(|error| CliError::Input(error.to_string()))?;
    if client.put(&["config"], &[("cas", &index.to_string())], Some(&body)).await?.trim() == "false" {
        let message = "Config entry changed during update, nothing was exported: try again";
        return Err(CliError::Input(message.to_owned()));
    }
    let names = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let to = [names("cluster peers", &options.consumer_peers), names("partitions", &options.consumer_partitions)];
    let to: Vec<String> = to.into_iter().flatten().collect();
    output::line(&format!("Successfully exported service {:?} to {}", options.name, to.join(" and ")))
}

impl ExportOptions {
    fn consumers(&self) -> Vec<Consumer> {
        let peers = self
            .consumer_peers
            .iter()
            .map(|name| Consumer { peer: PeerName::from(name.as_str()), ..Consumer::default() });
        let partitions = self
            .consumer_partitions
            .iter()
            .map(|name| Consumer { partition: Some(Partition::from(name.as_str())), ..Consumer::default() });
        peers.chain(partitions).collect()
    }
}

/// The entry of a partition with the commit that last changed it; an empty one and 0 if there is none.
async fn stored(client: &Client, partition: &Partition) -> Result<(ExportedServices, u64), CliError> {
    let kind = EntryKind::ExportedServices.as_str();
    let found: Value = match client.get(&["config", kind, partition.as_str()], &[]).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => {
            let name = partition.to_string();
            return Ok((ExportedServices { name, partition: partition.clone(), ..ExportedServices::default() }, 0));
        }
        Err(error) => return Err(error.into()),
    };
    let index = found["ModifyIndex"].as_u64().unwrap_or_default();
    Ok((understood(found)?, index))
}

/// Adds a service, or those of its consumers that are not there yet. An item of its own replaces the wildcard that counted for
/// it, so it keeps the consumers of that one.
fn add(entry: &mut ExportedServices, name: &str, namespace: &Namespace, consumers: &[Consumer]) {
    let is_it = |service: &ExportedService| service.name == name && service.namespace == *namespace;
    let position = entry.services.iter().position(is_it).unwrap_or_else(|| {
        let service = ServiceName::new(&entry.partition, namespace, name);
        let kept = entry.consumers(&service).cloned().collect();
        entry.services.push(ExportedService { name: name.to_owned(), namespace: namespace.clone(), consumers: kept });
        entry.services.len() - 1
    });
    let service = &mut entry.services[position];
    for consumer in consumers {
        if !service.consumers.contains(consumer) {
            service.consumers.push(consumer.clone());
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    service: String,
    consumers: Consumers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Consumers {
    peers: Vec<String>,
    partitions: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Imported {
    service: String,
    source_peer: String,
    source_partition: String,
}

/// The lists, with the heading and what is said where there is nothing to list.
const EXPORTED: List = List {
    path: "exported-services",
    heading: ["Service", "Consumer Peers", "Consumer Partitions"],
    none: "No exported services found",
};
const IMPORTED: List = List {
    path: "imported-services",
    heading: ["Service", "Source Peer", "Source Partition"],
    none: "No imported services found",
};

struct List {
    path: &'static str,
    heading: [&'static str; 3],
    none: &'static str,
}

pub(super) async fn exported(options: &ListOptions) -> Result<(), CliError> {
    let cells =
        |row: &Exported| [row.service.clone(), row.consumers.peers.join(", "), row.consumers.partitions.join(", ")];
    list(options, &EXPORTED, cells).await
}

pub(super) async fn imported(options: &ListOptions) -> Result<(), CliError> {
    let cells = |row: &Imported| [row.service.clone(), row.source_peer.clone(), row.source_partition.clone()];
    list(options, &IMPORTED, cells).await
}

/// Prints a list. The last column is for those who have partitions.
async fn list<T: DeserializeOwned>(
    options: &ListOptions,
    list: &List,
    cells: impl Fn(&T) -> [String; 3],
) -> Result<(), CliError> {
    let query: Vec<_> = options.filter.iter().map(|filter| ("filter", filter.as_str())).collect();
    let found: Value = options.target.client()?.get(&[list.path], &query).await?;
    if options.format == OutputFormat::Json {
        return output::json(&found);
    }
    let rows: Vec<T> = understood(found)?;
    let rows: Vec<[String; 3]> = rows.iter().map(cells).collect();
    if rows.is_empty() {
        return output::line(list.none);
    }
    let width = if rows.iter().all(|row| row[2].is_empty()) { 2 } else { 3 };
    let rows = std::iter::once(list.heading.map(str::to_owned)).chain(rows);
    output::columns(&rows.map(|row| row.into_iter().take(width).collect()).collect::<Vec<_>>())
}

fn understood<T: DeserializeOwned>(found: Value) -> Result<T, CliError> {
    serde_json::from_value(found).map_err(|error| CliError::Input(format!("the answer cannot be understood: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_added_to_what_is_there() {
        let peer = |name: &str| Consumer { peer: PeerName::from(name), ..Consumer::default() };
        let mut entry = ExportedServices::default();
        let namespace = Namespace::default();

        add(&mut entry, "db", &namespace, &[peer("west")]);
        add(&mut entry, "db", &namespace, &[peer("west"), peer("east")]);
        add(&mut entry, "web", &namespace, &[peer("west")]);
        add(&mut entry, "db", &Namespace::from("blue"), &[peer("north")]);

        let seen: Vec<_> = entry.services.iter().map(|service| (&*service.name, service.consumers.len())).collect();
        assert_eq!(seen, [("db", 2), ("web", 1), ("db", 1)]);
    }

    #[test]
    fn an_item_of_its_own_takes_a_service_from_nobody() {
        let peer = |name: &str| Consumer { peer: PeerName::from(name), ..Consumer::default() };
        let mut entry = ExportedServices::default();
        let (namespace, everywhere) = (Namespace::default(), Namespace::from("*"));
        add(&mut entry, "*", &everywhere, &[peer("west")]);

        add(&mut entry, "db", &namespace, &[peer("east")]);
        add(&mut entry, "*", &namespace, &[peer("north"), peer("west")]);
        add(&mut entry, "web", &namespace, &[peer("east")]);

        let told = |service: &ExportedService| {
            let consumers: Vec<_> = service.consumers.iter().map(|consumer| consumer.peer.as_str()).collect();
            format!("{}/{}: {}", service.namespace, service.name, consumers.join(" "))
        };
        let items: Vec<_> = entry.services.iter().map(told).collect();
        let expected = ["*/*: west", "default/db: west east", "default/*: west north", "default/web: west north east"];
        assert_eq!(items, expected);
    }
}
