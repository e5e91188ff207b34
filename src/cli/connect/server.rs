//! Where the control plane serves xDS, and which Envoys it supports.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bind::{host_and_port, resolve};
use super::options::EnvoyOptions;
use crate::cli::client::{Client, read_ca};
use crate::cli::envoy::EnvoyVersion;
use crate::cli::{CliError, output};
use crate::envoy::bootstrap::{XdsAddress, XdsServer};

const DEFAULT_PORT: u16 = 8502;

/// What the agent says about itself, as far as a bootstrap needs it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct AgentSelf {
    #[serde(rename = "Config")]
    pub(super) config: AgentConfig,
    #[serde(rename = "xDS")]
    xds: Option<Xds>,
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AgentConfig {
    pub(super) datacenter: String,
    pub(super) node_name: String,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Xds {
    supported_proxies: BTreeMap<String, Vec<String>>,
    port: i64,
    ports: Option<Ports>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Ports {
    #[serde(rename = "Plaintext")]
    plaintext: i64,
    #[serde(rename = "TLS")]
    tls: i64,
}

impl AgentSelf {
    /// Asks the agent; `None` if the token does not suffice.
    ///
    /// # Errors
    /// The agent does not answer.
    pub(super) async fn ask(client: &Client) -> Result<Option<Self>, CliError> {
        match client.get(&["agent", "self"], &[]).await {
            Err(error) if error.is_denied() => {
                output::warning(
                    "the token may not ask the agent about itself: defaults are used for what it would say",
                );
                Ok(None)
            }
            answer => Ok(Some(answer?)),
        }
    }

    /// The versions of Envoy that the control plane supports; empty if it does not say.
    pub(super) fn supported_envoys(&self) -> Vec<EnvoyVersion> {
        let versions = self.xds.as_ref().and_then(|xds| xds.supported_proxies.get("envoy"));
        versions.into_iter().flatten().filter_map(|text| EnvoyVersion::parse(text)).collect()
    }

    /// The address of xDS on `host`, with its scheme.
    fn address(&self, host: &str) -> Option<String> {
        let xds = self.xds.as_ref()?;
        let (tls, plaintext) = xds.ports.as_ref().map_or((-1, xds.port), |ports| (ports.tls, ports.plaintext));
        match (tls, plaintext) {
            (tls, _) if tls > 0 => Some(format!("https://{host}:{tls}")),
            (_, plaintext) if plaintext > 0 => Some(format!("http://{host}:{plaintext}")),
            (_, _) => None,
        }
    }
}

/// Where Envoy finds the xDS server: as the options say, else as the agent says.
///
/// # Errors
/// Nobody says, the address cannot be understood, or TLS is asked for without certificates to verify it with.
pub(super) fn xds_server(
    options: &EnvoyOptions,
    agent: Option<&AgentSelf>,
    client: &Client,
) -> Result<XdsServer, CliError> {
    let given = options.grpc_addr.clone().filter(|text| !text.is_empty());
    let text = match (given, agent) {
        (Some(text), _) => text,
        (None, Some(agent)) => agent.address(client.host().unwrap_or("localhost")).ok_or_else(|| {
            CliError::Usage(
                "the agent serves no xDS: start it with -grpc-port, or say where it is with -grpc-addr".to_owned(),
            )
        })?,
        (None, None) => format!("localhost:{DEFAULT_PORT}"),
    };
    let token = client.token().to_owned();
    if let Some(path) = text.strip_prefix("unix://") {
        return Ok(XdsServer { address: XdsAddress::Pipe(path.to_owned()), ca: None, token });
    }
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some((scheme, _)) => {
            let message = format!("-grpc-addr: unknown scheme {scheme:?}: use http, https or unix");
            return Err(CliError::Usage(message));
        }
        None => (false, text.as_str()),
    };
    let (host, port) = host_and_port(rest.trim_end_matches('/'), DEFAULT_PORT, "grpc-addr")?;
    let address = XdsAddress::Socket(resolve(&host, port, "grpc-addr")?);
    let ca = if tls { Some(certificates(options)?) } else { None };
    Ok(XdsServer { address, ca, token })
}

fn certificates(options: &EnvoyOptions) -> Result<String, CliError> {
    let own = read_ca(options.grpc_ca_file.as_deref(), options.grpc_ca_path.as_deref())?;
    let found = match own {
        Some(pem) => Some(pem),
        None => read_ca(options.client.ca_file.as_deref(), options.client.ca_path.as_deref())?,
    };
    found.ok_or_else(|| {
        CliError::Usage("xDS is served over TLS: say what to verify it with, -grpc-ca-file or -ca-file".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(xds: serde_json::Value) -> AgentSelf {
        serde_json::from_value(json!({"Config": {"Datacenter": "dc1", "NodeName": "laptop"}, "xDS": xds})).unwrap()
    }

    #[test]
    fn tls_is_preferred_where_it_is_served() {
        let both = agent(json!({"Port": 8503, "Ports": {"Plaintext": 8502, "TLS": 8503}}));
        let plain = agent(json!({"Port": 8502, "Ports": {"Plaintext": 8502, "TLS": -1}}));
        let older = agent(json!({"Port": 8502}));
        let closed = agent(json!({"Port": -1, "Ports": {"Plaintext": -1, "TLS": -1}}));

        assert_eq!(both.address("10.0.0.1").as_deref(), Some("https://10.0.0.1:8503"));
        assert_eq!(plain.address("10.0.0.1").as_deref(), Some("http://10.0.0.1:8502"));
        assert_eq!(older.address("[::1]").as_deref(), Some("http://[::1]:8502"));
        assert_eq!(closed.address("10.0.0.1"), None);
        assert_eq!(AgentSelf::default().address("10.0.0.1"), None);
    }
}
