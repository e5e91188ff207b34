//! Which registration an Envoy is started for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::options::EnvoyOptions;
use crate::cli::client::{Client, ClientError};
use crate::cli::{CliError, output};
use crate::model::{AccessLogs, ServiceKind};

/// A proxy's registration, as far as its bootstrap needs it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ProxyRegistration {
    pub(super) kind: ServiceKind,
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) service: String,
    pub(super) namespace: String,
    pub(super) partition: String,
    pub(super) datacenter: String,
    pub(super) proxy: Option<ProxyBlock>,
}

/// The `Proxy` block of a registration.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ProxyBlock {
    destination_service_name: String,
    #[serde(rename = "DestinationServiceID")]
    destination_service_id: String,
    config: Option<Map<String, Value>>,
}

impl ProxyRegistration {
    /// What Envoy calls its cluster: the service that a sidecar stands before, a gateway's own service.
    pub(super) fn cluster(&self) -> &str {
        let destination = self.proxy.as_ref().map(|proxy| proxy.destination_service_name.as_str());
        let named = destination.into_iter().chain([self.service.as_str(), self.id.as_str()]);
        named.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// Its opaque options.
    pub(super) fn config(&self) -> Map<String, Value> {
        self.proxy.as_ref().and_then(|proxy| proxy.config.clone()).unwrap_or_default()
    }

    fn is_sidecar_of(&self, instance: &str) -> bool {
        self.kind == ServiceKind::ConnectProxy
            && self.proxy.as_ref().is_some_and(|proxy| proxy.destination_service_id == instance)
    }
}

/// How the options name the proxy.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NamedProxy {
    /// By its ID.
    Id(String),
    /// As the sidecar of this instance.
    SidecarOf(String),
    /// As the only gateway of its kind.
    OnlyGateway(ServiceKind),
}

impl NamedProxy {
    /// # Errors
    /// The options name none.
    pub(super) fn of(options: &EnvoyOptions, gateway: Option<ServiceKind>) -> Result<Self, CliError> {
        let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        match (given(&options.proxy_id), given(&options.sidecar_for), gateway) {
            (Some(id), _, _) => Ok(Self::Id(id)),
            (None, Some(instance), _) => Ok(Self::SidecarOf(instance)),
            (None, None, Some(kind)) if options.register => Ok(Self::Id(options.gateway_service(kind))),
            (None, None, Some(kind)) => Ok(Self::OnlyGateway(kind)),
            (None, None, None) => {
                let message = "which proxy? Add -sidecar-for <service ID>, -proxy-id <proxy ID>, or -gateway mesh";
                Err(CliError::Usage(message.to_owned()))
            }
        }
    }
}

/// The registration that the options name.
///
/// # Errors
/// It is not there, is no proxy, or the options fit several.
pub(super) async fn find(
    client: &Client,
    named: NamedProxy,
    options: &EnvoyOptions,
) -> Result<ProxyRegistration, CliError> {
    let id = match named {
        NamedProxy::Id(id) => id,
        NamedProxy::SidecarOf(instance) => return sidecar_of(client, &instance).await,
        NamedProxy::OnlyGateway(kind) => return only_gateway(client, kind).await,
    };
    let found = match &options.node_name {
        Some(node) => on_node(client, node, &id).await?,
        None => on_agent(client, &id).await?,
    };
    if found.kind == ServiceKind::Typical {
        let message = format!("{id:?} is an application and no proxy: use -sidecar-for {id}, or the ID of its proxy");
        return Err(CliError::Usage(message));
    }
    Ok(found)
}

async fn on_agent(client: &Client, id: &str) -> Result<ProxyRegistration, CliError> {
    match client.get(&["agent", "service", id], &[]).await {
        Err(error) if error.is_not_found() => {
            let message = format!(
                "no proxy {id:?} is registered with the agent: register it, check the ID with `meshgate catalog services`, \
                 or add -node-name for one of another node"
            );
            Err(CliError::Usage(message))
        }
        found => Ok(found?),
    }
}

async fn on_node(client: &Client, node: &str, id: &str) -> Result<ProxyRegistration, CliError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct OfNode {
        services: Option<Vec<ProxyRegistration>>,
    }
    let query = [("merge-central-config", "")];
    let found: Option<OfNode> = client.get(&["catalog", "node-services", node], &query).await?;
    let mut services = found.into_iter().filter_map(|found| found.services).flatten();
    let missing = || CliError::Usage(format!("no proxy {id:?} is registered on node {node:?}"));
    services.find(|service| service.id == id).ok_or_else(missing)
}

async fn of_kind(client: &Client, kind: ServiceKind) -> Result<Vec<ProxyRegistration>, CliError> {
    let found: BTreeMap<String, ProxyRegistration> = client.get(&["agent", "services"], &[]).await?;
    Ok(found.into_values().filter(|service| service.kind == kind).collect())
}

async fn sidecar_of(client: &Client, instance: &str) -> Result<ProxyRegistration, CliError> {
    let sidecars = of_kind(client, ServiceKind::ConnectProxy).await?;
    let of_instance = sidecars.into_iter().filter(|proxy| proxy.is_sidecar_of(instance)).collect();
    only(of_instance, &format!("sidecar for {instance:?}"), "register the service with connect { sidecar_service {} }")
}

async fn only_gateway(client: &Client, kind: ServiceKind) -> Result<ProxyRegistration, CliError> {
    only(of_kind(client, kind).await?, &kind.to_string(), "add -register, or register one first")
}

fn only(mut found: Vec<ProxyRegistration>, what: &str, how: &str) -> Result<ProxyRegistration, CliError> {
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(CliError::Usage(format!("no {what} is registered with the agent: {how}"))),
        _ => {
            let ids: Vec<_> = found.iter().map(|service| service.id.as_str()).collect();
            let message = format!("more than one {what} is registered: choose one with -proxy-id: {}", ids.join(", "));
            Err(CliError::Usage(message))
        }
    }
}

/// Defaults of every proxy, as far as a bootstrap needs them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CentralDefaults {
    /// Opaque options.
    pub(super) config: Option<Map<String, Value>>,
    /// Access logging.
    pub(super) access_logs: Option<AccessLogs>,
}

/// The `proxy-defaults` entry; defaults where there is none or the token does not suffice.
///
/// # Errors
/// The control plane does not answer.
pub(super) async fn central_defaults(client: &Client) -> Result<CentralDefaults, ClientError> {
    match client.get(&["config", "proxy-defaults", "global"], &[]).await {
        Ok(defaults) => Ok(defaults),
        Err(error) if error.is_not_found() => Ok(CentralDefaults::default()),
        Err(error) if error.is_denied() => {
            output::warning("the token may not read proxy-defaults, so its options are not used");
            Ok(CentralDefaults::default())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sidecar_is_named_after_its_service_and_a_gateway_after_itself() {
        let read = |value| serde_json::from_value::<ProxyRegistration>(value).unwrap();
        let sidecar = read(json!({
            "Kind": "connect-proxy", "ID": "web-1-sidecar-proxy", "Service": "web-sidecar-proxy",
            "Proxy": {"DestinationServiceName": "web", "DestinationServiceID": "web-1", "Config": null},
        }));
        let gateway = read(json!({"Kind": "mesh-gateway", "ID": "gw-1", "Service": "mesh-gateway", "Proxy": {}}));

        assert_eq!((sidecar.cluster(), gateway.cluster()), ("web", "mesh-gateway"));
        assert!(sidecar.is_sidecar_of("web-1") && !sidecar.is_sidecar_of("web"));
    }

    #[test]
    fn several_candidates_are_named() {
        let named = |id: &str| ProxyRegistration { id: id.to_owned(), ..ProxyRegistration::default() };

        let error = only(vec![named("gw-1"), named("gw-2")], "mesh-gateway", "").unwrap_err();

        assert_eq!(
            error.to_string(),
            "more than one mesh-gateway is registered: choose one with -proxy-id: gw-1, gw-2"
        );
    }
}
