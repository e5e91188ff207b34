//! `meshgate connect expose`: a service behind a port of an ingress gateway.

use clap::Args;
use serde_json::Value;

use crate::cli::client::{Changes, Client, Target};
use crate::cli::{CliError, output};
use crate::model::entry::{IngressGateway, IngressListener, IngressService};
use crate::model::{ConfigEntry, EntryKind, Intention};

/// Options of `connect expose`.
#[derive(Debug, Args)]
#[command(after_help = "\
Adds the service to the config entry of the gateway, and lets the gateway call it unless an intention speaks about the two.

Example:
  meshgate connect expose -service web -ingress-gateway front -port 8080 -protocol http -host web.example.com")]
pub(crate) struct ExposeOptions {
    /// Service that is exposed
    #[arg(long, value_name = "NAME")]
    service: String,
    /// Service name of the gateway
    #[arg(long, value_name = "NAME", default_value = "ingress-gateway")]
    ingress_gateway: String,
    /// Port of the gateway
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// What is spoken there: tcp, http, http2 or grpc
    #[arg(long, default_value = "tcp")]
    protocol: String,
    /// Host that the service is asked for under, where HTTP is spoken; may be given several times
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs `connect expose`.
///
/// # Errors
/// The port is used otherwise, somebody else changed the entry meanwhile, or a control plane that does not answer or refuses.
pub(super) async fn run(options: &ExposeOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let (mut entry, index) = options.stored(&client).await?;
    options.add_to(&mut entry)?;
    let body = serde_json::to_value(ConfigEntry::IngressGateway(entry));
    let body = body.map_err(|error| CliError::Input(error.to_string()))?;
    let mut changes = Changes::default();
    let written = changes.note(client.put(&["config"], &[("cas", &index.to_string())], Some(&body)).await)?;
    if written.as_ref().is_some_and(|answer| answer.trim() == "false") {
        let message = "the config entry of the gateway was changed meanwhile, and nothing was exposed: try again";
        return Err(CliError::Input(message.to_owned()));
    }
    let ExposeOptions { service, ingress_gateway: gateway, port, .. } = options;
    if written.is_some() {
        output::line(&format!("Service {service:?} is behind port {port} of ingress gateway {gateway:?}"))?;
    }
    options.allow(&client).await?;
    Ok(changes.end()?)
}

impl ExposeOptions {
    /// The entry of the gateway with the commit that last changed it; an empty one and 0 if there is none.
    async fn stored(&self, client: &Client) -> Result<(IngressGateway, u64), CliError> {
        let found: Value =
            match client.get(&["config", EntryKind::IngressGateway.as_str(), &self.ingress_gateway], &[]).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => {
                    let (partition, namespace) = self.target.tenancy();
                    let name = self.ingress_gateway.clone();
                    return Ok((IngressGateway { name, partition, namespace, ..IngressGateway::default() }, 0));
                }
                Err(error) => return Err(error.into()),
            };
        let index = found["ModifyIndex"].as_u64().unwrap_or_default();
        let entry = serde_json::from_value(found);
        let entry = entry.map_err(|error| CliError::Input(format!("the answer cannot be understood: {error}")))?;
        Ok((entry, index))
    }

    /// Puts the service behind the port. Others stay there, and what else is said about the service stays too.
    fn add_to(&self, entry: &mut IngressGateway) -> Result<(), CliError> {
        let listener = match entry.listeners.iter_mut().find(|listener| listener.port == self.port) {
            Some(listener) => listener,
            None => entry.listeners.push_mut(IngressListener {
                port: self.port,
                protocol: self.protocol.clone(),
                ..IngressListener::default()
            }),
        };
        if listener.protocol != self.protocol {
            let (port, other) = (self.port, &listener.protocol);
            return Err(CliError::Input(format!("port {port} of the gateway speaks {other}, not {}", self.protocol)));
        }
        match listener.services.iter_mut().find(|service| service.name == self.service) {
            Some(service) => {
                let new = self.host.iter().filter(|host| !service.hosts.contains(host)).cloned().collect::<Vec<_>>();
                service.hosts.extend(new);
            }
            None => listener.services.push(IngressService {
                name: self.service.clone(),
                hosts: self.host.clone(),
                ..IngressService::default()
            }),
        }
        Ok(())
    }

    /// Lets the gateway call the service, unless somebody has said something about the two.
    async fn allow(&self, client: &Client) -> Result<(), CliError> {
        let (source, destination) = (self.ingress_gateway.as_str(), self.service.as_str());
        let path = ["connect", "intentions", "exact"];
        let query = [("source", source), ("destination", destination)];
        let line = match client.get::<Intention>(&path, &query).await {
            Ok(found) => format!("Intention exists already: {source} => {destination} ({})", found.action),
            Err(error) if error.is_not_found() => {
                client.put(&path, &query, Some(&serde_json::json!({ "Action": "allow" }))).await?;
                format!("Intention created: {source} => {destination} (allow)")
            }
            Err(error) => return Err(error.into()),
        };
        output::line(&line)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: ExposeOptions,
    }

    fn add(entry: &mut IngressGateway, line: &str) -> Result<(), CliError> {
        let words = std::iter::once("x").chain(line.split(' '));
        Line::parse_from(words).options.add_to(entry)
    }

    #[test]
    fn services_are_added_to_what_is_there() {
        let mut entry = IngressGateway::default();

        add(&mut entry, "--service web --port 80 --protocol http --host a").unwrap();
        add(&mut entry, "--service api --port 80 --protocol http --host b").unwrap();
        add(&mut entry, "--service web --port 80 --protocol http --host a --host c").unwrap();
        add(&mut entry, "--service db --port 90").unwrap();
        let refused = add(&mut entry, "--service db --port 80").unwrap_err();

        let shown = |listener: &IngressListener| {
            let services = listener.services.iter().map(|service| format!("{}{:?}", service.name, service.hosts));
            format!("{} {} {}", listener.port, listener.protocol, services.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            entry.listeners.iter().map(shown).collect::<Vec<_>>(),
            [r#"80 http web["a", "c"] api["b"]"#, "90 tcp db[]"]
        );
        assert_eq!(refused.to_string(), "port 80 of the gateway speaks http, not tcp");
    }
}
