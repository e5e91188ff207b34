//! `meshgate catalog`: what is registered where.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::client::{Client, ClientOptions, Target};
use super::{CliError, output};
use crate::model::Node;

/// Commands that list the catalog.
#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// List the datacenters
    Datacenters(DatacentersOptions),
    /// List the nodes
    Nodes(NodesOptions),
    /// List the services
    Services(ServicesOptions),
}

/// Options of `catalog datacenters`.
#[derive(Debug, Args)]
pub(super) struct DatacentersOptions {
    #[command(flatten)]
    client: ClientOptions,
}

/// Options of `catalog nodes`.
#[derive(Debug, Args)]
pub(super) struct NodesOptions {
    /// Only nodes with an instance of this service
    #[arg(long)]
    service: Option<String>,
    /// Only nodes with this metadata (key=value); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    node_meta: Vec<String>,
    /// Nearest to this node first, where distances are known; they are not
    #[arg(long, value_name = "NODE")]
    near: Option<String>,
    /// Only nodes that this expression selects
    #[arg(long)]
    filter: Option<String>,
    /// Print addresses and metadata too
    #[arg(long)]
    detailed: bool,
    #[command(flatten)]
    target: Target,
}

/// Options of `catalog services`.
#[derive(Debug, Args)]
pub(super) struct ServicesOptions {
    /// Only services on this node
    #[arg(long)]
    node: Option<String>,
    /// Only services on nodes with this metadata (key=value); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    node_meta: Vec<String>,
    /// Print the tags too
    #[arg(long)]
    tags: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs a `catalog` command.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn run(command: CatalogCommand) -> Result<(), CliError> {
    match command {
        CatalogCommand::Datacenters(options) => datacenters(&options).await,
        CatalogCommand::Nodes(options) => nodes(&options).await,
        CatalogCommand::Services(options) => services(&options).await,
    }
}

async fn datacenters(options: &DatacentersOptions) -> Result<(), CliError> {
    let client = Client::new(&options.client, "")?;
    let names: Vec<String> = client.get(&["catalog", "datacenters"], &[]).await?;
    names.iter().try_for_each(|name| output::line(name))
}

async fn nodes(options: &NodesOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let mut query = metadata(&options.node_meta)?;
    query.extend(options.filter.iter().map(|filter| ("filter", filter.clone())));
    query.extend(options.near.iter().map(|near| ("near", near.clone())));
    let query = borrowed(&query);
    let nodes: Vec<Node> = match &options.service {
        Some(service) => on_service(&client, service, &query).await?,
        None => client.get(&["catalog", "nodes"], &query).await?,
    };
    if nodes.is_empty() {
        output::note("No nodes match the given query - try expanding your search");
        return Ok(());
    }
    let heading = ["Node", "ID", "Address", "DC"].into_iter();
    let extra = ["TaggedAddresses", "Meta"].into_iter().filter(|_| options.detailed);
    let rows = nodes.iter().map(|node| row(node, options.detailed));
    let rows: Vec<_> = std::iter::once(heading.chain(extra).map(str::to_owned).collect()).chain(rows).collect();
    output::columns(&rows)
}

fn row(node: &Node, detailed: bool) -> Vec<String> {
    // A whole UUID is of no use to a person; its first group tells nodes apart.
    let id = if detailed { node.id.as_str() } else { node.id.split('-').next().unwrap_or_default() };
    let mut row = vec![node.node.to_string(), id.to_owned(), node.address.clone(), node.datacenter.to_string()];
    if detailed {
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
        };
        row.extend([pairs(&node.tagged_addresses), pairs(&node.meta)]);
    }
    row
}

/// The nodes that instances of a service are on, each once. The rows of that endpoint are instances with their node.
async fn on_service(client: &Client, service: &str, query: &[(&str, &str)]) -> Result<Vec<Node>, CliError> {
    let instances: Vec<Node> = client.get(&["catalog", "service", service], query).await?;
    let by_name: BTreeMap<_, _> = instances.into_iter().map(|node| (node.node.clone(), node)).collect();
    Ok(by_name.into_values().collect())
}

async fn services(options: &ServicesOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let query = metadata(&options.node_meta)?;
    let query = borrowed(&query);
    let services = match &options.node {
        Some(node) => of_node(&client, node, &query).await?,
        None => client.get(&["catalog", "services"], &query).await?,
    };
    if services.is_empty() {
        output::note("No services match the given query - try expanding your search");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = services
        .into_iter()
        .map(|(name, tags)| if options.tags { vec![name, tags.join(",")] } else { vec![name] })
        .collect();
    output::columns(&rows)
}

async fn of_node(
    client: &Client,
    node: &str,
    query: &[(&str, &str)],
) -> Result<BTreeMap<String, Vec<String>>, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct OfNode {
        services: Option<BTreeMap<String, Instance>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Instance {
        service: String,
        tags: Option<Vec<String>>,
    }
    let found: Option<OfNode> = client.get(&["catalog", "node", node], query).await?;
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for instance in found.into_iter().filter_map(|found| found.services).flat_map(BTreeMap::into_values) {
        let tags = services.entry(instance.service).or_default();
        tags.extend(instance.tags.unwrap_or_default());
        tags.sort();
        tags.dedup();
    }
    Ok(services)
}

fn metadata(pairs: &[String]) -> Result<Vec<(&'static str, String)>, CliError> {
    let to_parameter = |pair: &String| match pair.split_once('=') {
        Some((key, value)) => Ok(("node-meta", format!("{key}:{value}"))),
        None => Err(CliError::Usage(format!("-node-meta {pair:?} is not of the form key=value"))),
    };
    pairs.iter().map(to_parameter).collect()
}

fn borrowed<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    query.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
