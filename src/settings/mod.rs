//! What the process was started with: flags over environment variables over files over defaults.
//!
//! A key has one name everywhere: `ports.http` in a file is `MESHGATE_PORTS_HTTP` in the environment and `-http-port` on
//! the command line. Everything that is wrong is reported at once, before a port is bound, each with the place that it
//! was said in and what to write instead.

mod compose;
mod definitions;
mod draft;
mod error;
mod files;
mod inputs;
mod keys;
mod listeners;
mod parse;
mod template;
mod traces;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use definitions::{check_service, judged};
pub use error::{SettingProblem, SettingsError, Source};
pub use inputs::{FileFormat, HostAddress, Inputs};
pub use listeners::{TlsFiles, TlsListener, TlsSection, TlsVersion};

use crate::api::{Access, Waits};
use crate::model::{
    CaConfig, CheckRegistration, ConfigEntry, Datacenter, DnsDomain, IntentionPolicy, NodeName, ServiceDefinition,
    SidecarPorts,
};
use crate::store::Retention;
use crate::telemetry::{LogOptions, TraceOptions};

/// The port of what is not served.
const CLOSED: i32 = -1;

/// What the process was started with, complete and consistent.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The process's own datacenter, the primary one of all that it hosts; `dc1` unless said.
    pub datacenter: Datacenter,
    /// The other datacenters that this process hosts, in the order given.
    pub hosted_datacenters: Vec<Datacenter>,
    /// The node that local services are registered on; the host's name unless said.
    pub node_name: NodeName,
    /// UUID of that node, if one was given.
    pub node_id: Option<String>,
    /// Free-form facts about that node.
    pub node_meta: BTreeMap<String, String>,
    /// Where the state is kept; `None` keeps it in memory alone (`-dev`).
    pub data_dir: Option<PathBuf>,
    /// Started with `-dev`.
    pub dev: bool,
    /// Where the HTTP API listens without TLS; port 0 lets the system choose. Empty only where it is served with TLS.
    pub http: Vec<SocketAddr>,
    /// Where the HTTP API listens with TLS; port 0 lets the system choose.
    pub https: Option<TlsListener>,
    /// Where xDS is served without TLS; port 0 lets the system choose. Empty only where it is served with TLS.
    pub grpc: Vec<SocketAddr>,
    /// Where xDS is served with TLS; port 0 lets the system choose.
    pub grpc_tls: Option<TlsListener>,
    /// Address of the node, for services without one of their own.
    pub advertise: IpAddr,
    /// Address of the node as other datacenters see it, if it differs.
    pub advertise_wan: Option<IpAddr>,
    /// Most bytes of output that are kept of a check; 4096 unless said.
    pub check_output_max_size: usize,
    /// How much is remembered of what happened; 1024 commits of each class and 16 MiB unless said.
    pub history: Retention,
    /// Range of ports for sidecars that name none.
    pub sidecar_ports: SidecarPorts,
    /// What happens to calls that no intention speaks about; `allow` unless said.
    pub default_intention_policy: IntentionPolicy,
    /// How the certificate authority of a new data directory signs, if something was said.
    pub ca: Option<CaConfig>,
    /// UUID of the cluster of a new data directory, if one was given; that of another one must be the same.
    pub cluster_id: Option<String>,
    /// How long blocking queries wait.
    pub waits: Waits,
    /// Who may ask for what over HTTP.
    pub access: Access,
    /// The DNS domain of the agents, which the names of WAN-federated servers end in; `consul` unless said.
    pub domain: DnsDomain,
    /// Services of files, checked, for `datacenter`.
    pub services: Vec<ServiceDefinition>,
    /// Checks of files that stand alone, for `datacenter`.
    pub checks: Vec<CheckRegistration>,
    /// Config entries of files, normalized and checked, to be written where there is none of that name.
    pub entries: Vec<ConfigEntry>,
    /// What is logged and how.
    pub log: LogOptions,
    /// How long a stop may take.
    pub shutdown_deadline: Duration,
    /// Metrics are served to Prometheus too, because they are kept for longer than no time.
    pub prometheus: bool,
    /// Where traces are sent, if they are.
    pub traces: Option<TraceOptions>,
    /// What the settings were made from, for making them again.
    pub inputs: Inputs,
    /// What was said and has no effect; to be logged once logging works.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Composes the settings.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(inputs: &Inputs) -> Result<Self, SettingsError> {
        let draft = draft::Draft::collect(inputs);
        compose::compose(draft, inputs)
    }

    /// Every datacenter of this process, its own first.
    pub fn datacenters(&self) -> impl Iterator<Item = &Datacenter> {
        std::iter::once(&self.datacenter).chain(&self.hosted_datacenters)
    }

    /// The settings for people, under their names in files; what may be secret is hidden.
    pub fn to_redacted_json(&self) -> Value {
        let mut services = json!(self.services);
        let mut entries = json!(self.entries);
        let mut checks = json!(self.checks.iter().map(|check| &check.definition).collect::<Vec<_>>());
        hide_secrets(&mut services);
        hide_secrets(&mut checks);
        hide_secrets(&mut entries);
        json!({
            "datacenter": self.datacenter,
            "hosted_datacenters": self.hosted_datacenters,
            "node_name": self.node_name,
            "node_id": self.node_id,
            "node_meta": self.node_meta,
            "data_dir": self.data_dir,
            "dev": self.dev,
            "addresses": {
                "http": ips(&self.http),
                "https": ips(with_tls(&self.https)),
                "grpc": ips(&self.grpc),
                "grpc_tls": ips(with_tls(&self.grpc_tls)),
            },
            "ports": {
                "http": port(&self.http),
                "https": port(with_tls(&self.https)),
                "grpc": port(&self.grpc),
                "grpc_tls": port(with_tls(&self.grpc_tls)),
                "sidecar_min_port": self.sidecar_ports.min,
                "sidecar_max_port": self.sidecar_ports.max,
            },
            "tls": {
                "grpc": self.grpc_tls.as_ref().map(|listener| listener.files.to_json()),
                "https": self.https.as_ref().map(|listener| listener.files.to_json()),
            },
            "check_output_max_size": self.check_output_max_size,
            "history_commits": self.history.commits,
            "history_bytes": self.history.bytes,
            "advertise_addr": self.advertise,
            "advertise_addr_wan": self.advertise_wan,
            "default_intention_policy": self.default_intention_policy,
            "connect": self.ca.as_ref().map(|ca| json!({ "ca_provider": ca.provider, "ca_config": ca.config })),
            "default_query_time": format!("{:?}", self.waits.default),
            "max_query_time": format!("{:?}", self.waits.longest),
            "http_config": {
                "block_endpoints": self.access.blocked,
                "allow_write_http_from": self.access.writers.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "response_headers": self.access.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
            },
            "domain": self.domain,
            "log_level": self.log.level,
            "log_json": self.log.json,
            "telemetry": {
                "prometheus": self.prometheus,
                "otlp_endpoint": self.traces.as_ref().map(|traces| &traces.endpoint),
                "otlp_protocol": self.traces.as_ref().map(|traces| traces.transport.as_str()),
            },
            "shutdown_deadline": format!("{:?}", self.shutdown_deadline),
            "services": services,
            "checks": checks,
            "config_entries": {"bootstrap": entries},
        })
    }
}

/// Fills in templates that mean addresses of this host, such as `{{ GetPrivateIP }}`; another text is as it was.
///
/// # Errors
/// A template that is none, or that no address of this host is meant by.
pub fn with_addresses_of_host(text: &str) -> Result<String, String> {
    // Whoever writes none need not know them.
    let host = if text.contains("{{") { inputs::host_addresses() } else { Vec::new() };
    template::filled(text, &host)
}

/// Addresses as they are written in files; nothing for a port that is closed.
fn ips(addresses: &[SocketAddr]) -> Option<String> {
    let ips: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    Some(ips.join(" ")).filter(|ips| !ips.is_empty())
}

/// The port that is the same at all addresses.
fn port(addresses: &[SocketAddr]) -> i32 {
    addresses.first().map_or(CLOSED, |address| address.port().into())
}

fn with_tls(listener: &Option<TlsListener>) -> &[SocketAddr] {
    listener.as_ref().map(|listener| &listener.addresses[..]).unwrap_or_default()
}

/// Checks files as `agent` would read them, without what only a running process needs.
///
/// # Errors
/// Everything that is wrong.
pub fn check_files(inputs: &Inputs) -> Result<Vec<String>, SettingsError> {
    let mut inputs = inputs.clone();
    // Files need not say where the state is kept to be right.
    inputs.dev = true;
    Settings::load(&inputs).map(|settings| settings.warnings)
}

/// Hides the values that checks send as headers, and whatever is called a token, password or key.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let key = key.to_ascii_lowercase();
                if ["header", "token", "password", "secret", "private_key", "privatekey"]
                    .iter()
                    .any(|word| key.contains(word))
                {
                    *inner = json!("<hidden>");
                } else {
                    hide_secrets(inner);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
