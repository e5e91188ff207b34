//! `meshgate services`: what runs on this machine, registered with its agent, and what crosses the borders of a partition.

mod exports;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::client::{Changes, Target};
use super::files::SourceText;
use super::{CliError, output};
use crate::model::{ServiceAddress, ServiceDefinition, ServiceId, ServiceKind};
use crate::settings::check_service;

/// Commands that change what is registered.
#[derive(Debug, Subcommand)]
pub(super) enum ServicesCommand {
    /// Register the services of files, or one that the options describe
    Register(Box<RegisterOptions>),
    /// Deregister the services of files, or one by its ID
    Deregister(Box<DeregisterOptions>),
    /// Let peers and other partitions reach a service
    Export(Box<exports::ExportOptions>),
    /// List the services that peers and other partitions may reach
    ExportedServices(Box<exports::ListOptions>),
    /// List the services of peers and other partitions that may be reached
    ImportedServices(Box<exports::ListOptions>),
}

/// Options of `services register`.
#[derive(Debug, Args)]
pub(super) struct RegisterOptions {
    /// Files with `service` or `services`, in HCL, JSON or YAML; - is standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["name", "id", "address", "port", "socket", "meta", "tag", "tagged_address", "kind"])]
    files: Vec<String>,
    /// Name of the service
    #[arg(long, required_unless_present = "files")]
    name: Option<String>,
    /// ID of the instance; the name when absent
    #[arg(long)]
    id: Option<String>,
    /// Address that the service is reached at; the node's when absent
    #[arg(long)]
    address: Option<String>,
    /// Port of the service
    #[arg(long)]
    port: Option<u16>,
    /// Unix socket of the service
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Metadata (key=value); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    /// Tag; may be given several times
    #[arg(long)]
    tag: Vec<String>,
    /// Address by network, such as wan=198.51.100.5:443; may be given several times
    #[arg(long, value_name = "NETWORK=HOST:PORT")]
    tagged_address: Vec<String>,
    /// What the service is: mesh-gateway, connect-proxy, ...; an application when absent
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Options of `services deregister`.
#[derive(Debug, Args)]
pub(super) struct DeregisterOptions {
    /// Files with `service` or `services`, in HCL, JSON or YAML; - is standard input
    #[arg(value_name = "FILE", conflicts_with = "id")]
    files: Vec<String>,
    /// ID of the instance
    #[arg(long, required_unless_present = "files")]
    id: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs a `services` command.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(command: ServicesCommand) -> Result<(), CliError> {
    match command {
        ServicesCommand::Register(options) => register(&options).await,
        ServicesCommand::Deregister(options) => deregister(&options).await,
        ServicesCommand::Export(options) => exports::export(&options).await,
        ServicesCommand::ExportedServices(options) => exports::exported(&options).await,
        ServicesCommand::ImportedServices(options) => exports::imported(&options).await,
    }
}

async fn register(options: &RegisterOptions) -> Result<(), CliError> {
    let services = if options.files.is_empty() { vec![described(options)?] } else { read(&options.files)? };
    let client = options.target.client()?;
    let mut changes = Changes::default();
    for service in &services {
        let body = serde_json::to_value(service).map_err(|error| CliError::Input(error.to_string()))?;
        if changes.note(client.put(&["agent", "service", "register"], &[], Some(&body)).await)?.is_some() {
            output::line(&format!("Registered service: {}", service.name))?;
        }
    }
    Ok(changes.end()?)
}

async fn deregister(options: &DeregisterOptions) -> Result<(), CliError> {
    let ids: Vec<String> = match &options.id {
        Some(id) => vec![id.clone()],
        None => read(&options.files)?.iter().map(|service| id_of(service).to_owned()).collect(),
    };
    let client = options.target.client()?;
    let mut changes = Changes::default();
    for id in &ids {
        if changes.note(client.put(&["agent", "service", "deregister", id], &[], None).await)?.is_some() {
            output::line(&format!("Deregistered service: {id}"))?;
        }
    }
    Ok(changes.end()?)
}

fn id_of(service: &ServiceDefinition) -> &str {
    if service.id.as_str().is_empty() { &service.name } else { service.id.as_str() }
}

/// The services of every file, or every problem of every file.
fn read(files: &[String]) -> Result<Vec<ServiceDefinition>, CliError> {
    let mut services = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match SourceText::read(file)?.services() {
            Ok(found) => services.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(services) } else { Err(CliError::input(&problems)) }
}

/// The service that the options describe.
fn described(options: &RegisterOptions) -> Result<ServiceDefinition, CliError> {
    let kind = options.kind.clone().unwrap_or_default();
    let kind: ServiceKind = serde_json::from_value(kind.clone().into()).map_err(|_| {
        CliError::Usage(format!("-kind {kind:?} is no kind of service: use mesh-gateway or connect-proxy"))
    })?;
    let service = ServiceDefinition {
        kind,
        id: ServiceId::from(options.id.clone().unwrap_or_default()),
        name: options.name.clone().unwrap_or_default(),
        tags: options.tag.clone(),
        address: options.address.clone().unwrap_or_default(),
        tagged_addresses: tagged_addresses(&options.tagged_address)?,
        meta: options.meta.iter().map(|pair| key_value(pair)).collect::<Result<_, _>>()?,
        port: options.port.unwrap_or_default(),
        socket_path: options.socket.clone().unwrap_or_default(),
        ..ServiceDefinition::default()
    };
    check_service(&service).into_result().map_err(|problems| CliError::input(&problems.0))?;
    Ok(service)
}

fn key_value(pair: &str) -> Result<(String, String), CliError> {
    let parts = pair.split_once('=');
    let (key, value) = parts.ok_or_else(|| CliError::Usage(format!("-meta {pair:?} is not of the form key=value")))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn tagged_addresses(pairs: &[String]) -> Result<BTreeMap<String, ServiceAddress>, CliError> {
    let read = |pair: &String| {
        let (network, address) = pair.split_once('=')?;
        let (host, port) = address.rsplit_once(':')?;
        let address = host.trim_matches(['[', ']']).to_owned();
        Some((network.to_owned(), ServiceAddress { address, port: port.parse().ok()? }))
    };
    let refusal = |pair| CliError::Usage(format!("-tagged-address {pair:?} is not of the form wan=198.51.100.5:443"));
    pairs.iter().map(|pair| read(pair).ok_or_else(|| refusal(pair))).collect()
}
