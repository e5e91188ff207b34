//! `connect envoy`: from options and what the agent says to a running Envoy.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::bind::{host_and_port, resolve};
use super::identity::{self, CentralDefaults, NamedProxy, ProxyRegistration};
use super::launch;
use super::options::EnvoyOptions;
use super::register;
use super::server::{AgentSelf, xds_server};
use crate::cli::client::{Client, ClientError, read_ca};
use crate::cli::envoy::{EnvoyVersion, find};
use crate::cli::{CliError, block_on, descriptors, output};
use crate::envoy::bootstrap::{
    AdminLog, Bootstrap, BootstrapConfig, DeprecatedTags, LogFormat, LogSink, MergedMetrics, MetricsCa, MetricsTls,
    Node, bootstrap,
};
use crate::model::{AccessLogs, ServiceKind, collector_socket};

/// Options whose values may name environment variables.
const EXPANDED: [&str; 4] =
    ["envoy_statsd_url", "envoy_dogstatsd_url", "envoy_prometheus_bind_addr", "envoy_stats_bind_addr"];

/// Runs `connect envoy`. Does not return when Envoy was started.
///
/// # Errors
/// Options that do not fit together, a control plane that does not answer, or an Envoy that cannot be started.
pub(super) fn run(options: &EnvoyOptions) -> Result<(), CliError> {
    let Prepared { input, supported, .. } = block_on(prepare(options))?;
    let document = bootstrap(&input);
    if options.bootstrap {
        return output::json(&document);
    }
    let binary = find(options.envoy_binary.as_deref())?;
    if !options.ignore_envoy_compatibility {
        launch::check_version(&binary, &supported)?;
    }
    launch::become_envoy(&binary, &document, &options.envoy_arguments)
}

/// What is known before Envoy starts.
pub(super) struct Prepared {
    /// What the bootstrap follows from.
    pub(super) input: Bootstrap,
    /// The versions of Envoy that the control plane supports.
    pub(super) supported: Vec<EnvoyVersion>,
    /// The ID of the proxy's registration.
    pub(super) proxy: String,
    /// Whom it was asked of.
    pub(super) client: Client,
}

/// Everything that is asked of the control plane.
pub(super) async fn prepare(options: &EnvoyOptions) -> Result<Prepared, CliError> {
    let gateway = options.gateway_kind()?;
    let named = NamedProxy::of(options, gateway)?;
    if let Some(kind) = gateway
        && kind != ServiceKind::MeshGateway
    {
        output::warning(&format!(
            "meshgate configures mesh gateways only: this {} will get no listeners",
            kind.as_str()
        ));
    }
    let registration = match gateway {
        Some(kind) if options.register => Some(register::of_this_machine(kind, options)?),
        Some(_) | None => None,
    };
    let client = Client::new(&options.client, &options.datacenter.datacenter)?;
    let agent = AgentSelf::ask(&client).await?;
    let xds = xds_server(options, agent.as_ref(), &client)?;
    if let Some(registration) = registration {
        let body = serde_json::to_value(&registration).map_err(|error| CliError::Input(error.to_string()))?;
        client.put(&["agent", "service", "register"], &[], Some(&body)).await.map_err(ClientError::or_next)?;
        output::note(&format!("Registered service: {}", registration.name));
    }
    let proxy = identity::find(&client, named, options).await?;
    let central = if options.no_central_config {
        CentralDefaults::default()
    } else {
        identity::central_defaults(&client).await?
    };
    let agent = agent.unwrap_or_default();
    let node = node(&proxy, options, &agent);
    let admin_log = admin_log(options, central.access_logs.as_ref())?;
    let config = config(&proxy, options, central)?;
    let socket = |folder: &String| collector_socket(folder, &node.namespace.as_str().into(), &node.id.as_str().into());
    let input = Bootstrap {
        collector: config.collector_folder.as_ref().filter(|_| gateway.is_none()).map(socket),
        node,
        xds,
        admin: admin_address(options)?,
        admin_log,
        ready: ready_address(options)?,
        merged_metrics: merged_metrics(options)?,
        prometheus_path: options.prometheus_scrape_path.clone(),
        most_connections: gateway.and_then(|_| most_connections(config.most_connections, descriptors::highest())),
        config,
        deprecated_tags: if options.omit_deprecated_tags { DeprecatedTags::Omit } else { DeprecatedTags::Keep },
    };
    Ok(Prepared { input, supported: agent.supported_envoys(), proxy: proxy.id, client })
}

/// Who Envoy says it is: as registered, else as the options say, else as the agent is.
fn node(proxy: &ProxyRegistration, options: &EnvoyOptions, agent: &AgentSelf) -> Node {
    let first = |choices: &[&str]| choices.iter().find(|text| !text.is_empty()).copied().unwrap_or_default().to_owned();
    Node {
        id: proxy.id.clone(),
        cluster: proxy.cluster().to_owned(),
        datacenter: first(&[&proxy.datacenter, &options.datacenter.datacenter, &agent.config.datacenter]),
        partition: first(&[&proxy.partition, &options.client.partition, "default"]),
        namespace: first(&[&proxy.namespace, &options.client.namespace, "default"]),
        node_name: first(&[options.node_name.as_deref().unwrap_or_default(), &agent.config.node_name]),
    }
}

/// What an Envoy opens besides connections that it carries: libraries, logs, what it listens on for each worker, the streams to
/// the control plane, and the admin interface.
const OTHER_FILES: u64 = 256;

/// How many connections a gateway takes at a time: as its registration says, else as many as it can open files for, which
/// Envoy raises its limit to. Each takes two files, as the gateway dials its other end: what it accepts beyond that it could
/// not carry.
fn most_connections(said: Option<u64>, files: Option<u64>) -> Option<u64> {
    match said {
        Some(said) => Some(said).filter(|most| *most > 0),
        None => files.map(|files| (files.saturating_sub(OTHER_FILES) / 2).max(1)),
    }
}

fn admin_address(options: &EnvoyOptions) -> Result<SocketAddr, CliError> {
    let (host, port) = host_and_port(&options.admin_bind, 19_000, "admin-bind")?;
    resolve(&host, port, "admin-bind")
}

fn ready_address(options: &EnvoyOptions) -> Result<Option<SocketAddr>, CliError> {
    match (&options.envoy_ready_bind_address, options.envoy_ready_bind_port) {
        (Some(host), Some(port)) => resolve(host, port, "envoy-ready-bind-address").map(Some),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            Err(CliError::Usage("-envoy-ready-bind-address and -envoy-ready-bind-port come together".to_owned()))
        }
    }
}

/// The path that was given, unless the mesh logs access centrally.
fn admin_log(options: &EnvoyOptions, central: Option<&AccessLogs>) -> Result<AdminLog, CliError> {
    let Some(logs) = central.filter(|logs| logs.enabled) else {
        return Ok(AdminLog::file(&options.admin_access_log_path));
    };
    let sink = match logs.sink.as_str() {
        "stderr" => LogSink::Stderr,
        "file" => LogSink::File(logs.path.clone()),
        _ => LogSink::Stdout,
    };
    let format = match (logs.json_format.as_str(), logs.text_format.as_str()) {
        ("", "") => None,
        ("", text) => Some(LogFormat::Text(format!("{}\n", text.trim_end_matches('\n')))),
        (json, _) => {
            let parsed = serde_json::from_str(json);
            let refused =
                |error| CliError::Input(format!("proxy-defaults: AccessLogs.JSONFormat is not JSON: {error}"));
            Some(LogFormat::Json(parsed.map_err(refused)?))
        }
    };
    Ok(AdminLog { sink, format })
}

fn merged_metrics(options: &EnvoyOptions) -> Result<Option<MergedMetrics>, CliError> {
    let text = |path: &std::path::Path| path.display().to_string();
    let ca = match (&options.prometheus_ca_file, &options.prometheus_ca_path) {
        (Some(file), _) => Some(MetricsCa::File(text(file))),
        (None, directory) => read_ca(None, directory.as_deref())?.map(MetricsCa::Inline),
    };
    let tls = match (ca, &options.prometheus_cert_file, &options.prometheus_key_file) {
        (None, None, None) => None,
        (Some(ca), Some(certificate), Some(key)) => {
            Some(MetricsTls { ca, certificate: text(certificate), key: text(key) })
        }
        (_, _, _) => {
            return Err(CliError::Usage(
                "TLS for Prometheus needs all of -prometheus-ca-file (or -ca-path), -prometheus-cert-file and \
                 -prometheus-key-file"
                    .to_owned(),
            ));
        }
    };
    match (options.prometheus_backend_port, tls) {
        (Some(port), tls) => Ok(Some(MergedMetrics { port, tls })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(CliError::Usage("TLS for Prometheus needs -prometheus-backend-port".to_owned())),
    }
}

/// The opaque options: those of the registration over those of every proxy.
fn config(
    proxy: &ProxyRegistration,
    options: &EnvoyOptions,
    central: CentralDefaults,
) -> Result<BootstrapConfig, CliError> {
    if options.no_central_config {
        return Ok(BootstrapConfig::default());
    }
    let mut merged: Map<String, Value> = central.config.unwrap_or_default();
    merged.extend(proxy.config());
    for key in EXPANDED {
        if let Some(Value::String(text)) = merged.get_mut(key) {
            *text = expand(text, |name| std::env::var(name).ok());
        }
    }
    let read = BootstrapConfig::read(&merged).map_err(|errors| CliError::input(&errors))?;
    for key in read.ignored {
        output::warning(&format!("{key}: without effect in meshgate"));
    }
    Ok(read.config)
}

/// Replaces `$NAME` and `${NAME}` by variables; one that is not set is empty.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, tail) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some(parts) => parts,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        expanded.push_str(&variable(name).unwrap_or_default());
        rest = tail;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_takes_what_it_has_files_for_unless_it_is_told_otherwise() {
        assert_eq!(most_connections(None, Some(20_256)), Some(10_000));
        assert_eq!(most_connections(None, Some(100)), Some(1));
        assert_eq!(most_connections(None, None), None);
        assert_eq!(most_connections(Some(7), Some(20_256)), Some(7));
        assert_eq!(most_connections(Some(0), Some(20_256)), None);
    }

    #[test]
    fn variables_are_filled_in() {
        let variable = |name: &str| (name == "HOST_IP").then(|| "10.0.0.5".to_owned());

        assert_eq!(expand("udp://${HOST_IP}:8125", variable), "udp://10.0.0.5:8125");
        assert_eq!(expand("udp://$HOST_IP:8125", variable), "udp://10.0.0.5:8125");
        assert_eq!(expand("$NOT_SET", variable), "");
        assert_eq!(expand("udp://10.0.0.1", variable), "udp://10.0.0.1");
    }
}
