//! `meshgate agent`: the control plane itself.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, descriptors, output};
use crate::app::{AppError, Process};
use crate::settings::{FileFormat, Inputs, Settings};

/// Options of `meshgate agent`. Each is a key of the files under another name.
#[derive(Debug, Args)]
#[command(after_help = "\
Every key of the files can be given as a variable, such as MESHGATE_PORTS_HTTP for ports.http. \
Flags win over variables, variables over files, and a later file over an earlier one. \
A file may hold services and config entries as well.
Try `meshgate agent -dev -print-settings`.")]
pub(super) struct AgentOptions {
    /// Keep the state in memory, and nothing on disk
    #[arg(long)]
    dev: bool,
    /// File of settings, services or config entries (.hcl, .json, .yaml), or a directory of them, read in the order of
    /// their names; may be given several times
    #[arg(long, visible_alias = "config-dir", value_name = "PATH", env = "MESHGATE_CONFIG_FILE")]
    config_file: Vec<PathBuf>,
    /// Format of files whose name does not tell it: hcl, json or yaml
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    config_format: Option<FileFormat>,
    /// Settings in HCL; may be given several times
    #[arg(long, value_name = "HCL")]
    hcl: Vec<String>,
    /// Print the settings that result, as JSON without secrets, and exit
    #[arg(long)]
    print_settings: bool,
    /// Directory that the state is kept in; required without -dev
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Name of the datacenter [default: dc1]
    #[arg(long, value_name = "NAME")]
    datacenter: Option<String>,
    /// Another datacenter that this process hosts; may be given several times
    #[arg(long, value_name = "NAME")]
    hosted_datacenter: Vec<String>,
    /// Name of the node that local services are registered on [default: the name of this host]
    #[arg(long, alias = "node-name", value_name = "NAME")]
    node: Option<String>,
    /// UUID of that node
    #[arg(long, value_name = "UUID")]
    node_id: Option<String>,
    /// Fact about that node (key=value); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    node_meta: Vec<String>,
    #[command(flatten)]
    process: ProcessOptions,
    /// Address of this host, announced unless -advertise says another
    #[arg(long, value_name = "IP")]
    bind: Option<String>,
    /// Address of the node, for services without one of their own
    #[arg(long, value_name = "IP")]
    advertise: Option<String>,
    /// Address of the node as other datacenters see it
    #[arg(long, value_name = "IP")]
    advertise_wan: Option<String>,
    /// Most bytes of output that are kept of a check [default: 4096]
    #[arg(long, alias = "check_output_max_size", value_name = "BYTES")]
    check_output_max_size: Option<String>,
    /// Most commits of each class that the history keeps [default: 1024]
    #[arg(long, value_name = "COUNT")]
    history_commits: Option<String>,
    /// Most bytes that the commits of each class may take in the history [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    history_bytes: Option<String>,
    /// Lowest port for sidecars that name none [default: 21000]
    #[arg(long, value_name = "PORT")]
    sidecar_min_port: Option<String>,
    /// Highest port for sidecars that name none [default: 21255]
    #[arg(long, value_name = "PORT")]
    sidecar_max_port: Option<String>,
    /// What happens to calls that no intention speaks about: allow or deny [default: allow]
    #[arg(long, value_name = "POLICY")]
    default_intention_policy: Option<String>,
    /// DNS domain of the agents, in the names of WAN-federated servers [default: consul]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    #[command(flatten)]
    ignored: IgnoredOptions,
}

/// How the process itself behaves, whatever it serves.
#[derive(Debug, Args)]
pub(super) struct ProcessOptions {
    /// Address that the HTTP API and xDS listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    client: Option<String>,
    /// Address that the HTTP API listens on, if it is another
    #[arg(long, value_name = "IP")]
    http_address: Option<String>,
    /// Address that xDS listens on, if it is another
    #[arg(long, value_name = "IP")]
    grpc_address: Option<String>,
    /// Port of the HTTP API [default: 8500]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    http_port: Option<String>,
    /// Address that the HTTP API with TLS listens on, if it is another
    #[arg(long, value_name = "IP")]
    https_address: Option<String>,
    /// Port of the HTTP API with TLS, which needs tls.https.cert_file and key_file in a file [default: closed]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    https_port: Option<String>,
    /// Port of xDS; a negative one leaves only that with TLS [default: 8502]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    grpc_port: Option<String>,
    /// Address that xDS with TLS listens on, if it is another
    #[arg(long, value_name = "IP")]
    grpc_tls_address: Option<String>,
    /// Port of xDS with TLS, which needs tls.grpc.cert_file and key_file in a file [default: 8503 if these are there]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    grpc_tls_port: Option<String>,
    /// Log level: trace, debug, info, warn, error [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log one JSON object per line
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    log_json: Option<String>,
    /// Serve metrics to Prometheus, if it is more than no time [default: 0s]
    #[arg(long, value_name = "DURATION")]
    prometheus_retention_time: Option<String>,
    /// URL of a collector that takes traces by OTLP (also OTEL_EXPORTER_OTLP_ENDPOINT and its kin) [default: none]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// How long a stop may take [default: 10s]
    #[arg(long, value_name = "DURATION")]
    shutdown_deadline: Option<String>,
}

/// Options of Consul's agent that have no meaning here, so that its command lines work as they are.
#[derive(Debug, Args)]
struct IgnoredOptions {
    #[arg(long, hide = true)]
    server: bool,
    #[arg(long, hide = true)]
    bootstrap: bool,
    #[arg(long, hide = true)]
    bootstrap_expect: Option<String>,
    #[arg(long, hide = true)]
    ui: bool,
    #[arg(long, hide = true)]
    retry_join: Vec<String>,
    #[arg(long, hide = true)]
    retry_join_wan: Vec<String>,
    #[arg(long, hide = true)]
    primary_gateway: Vec<String>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    dns_port: Option<String>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    serf_lan_port: Option<String>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    serf_wan_port: Option<String>,
    #[arg(long, hide = true)]
    server_port: Option<String>,
    #[arg(long, hide = true)]
    encrypt: Option<String>,
    #[arg(long, hide = true)]
    disable_host_node_id: bool,
    #[arg(long, hide = true)]
    enable_script_checks: bool,
    #[arg(long, hide = true)]
    enable_local_script_checks: bool,
}

/// Runs the control plane until it is told to stop.
///
/// # Errors
/// Settings that are wrong, or a control plane that cannot start or had to stop.
pub(super) fn run(options: &AgentOptions) -> Result<(), CliError> {
    let settings = Settings::load(&options.inputs())?;
    let ignored = options.ignored.given().into_iter().map(|flag| format!("-{flag}: without effect in meshgate"));
    let warnings: Vec<String> = ignored.chain(settings.warnings.iter().cloned()).collect();
    if options.print_settings {
        warnings.iter().for_each(|text| output::warning(text));
        return output::json(&settings.to_redacted_json());
    }
    serve(settings, &warnings, crate::app::run)
}

/// Runs a control plane until a signal ends it.
///
/// # Errors
/// It cannot start, or had to stop.
pub(super) fn serve<F: Future<Output = Result<(), AppError>>>(
    settings: Settings,
    warnings: &[String],
    run: impl FnOnce(Settings, Process) -> F,
) -> Result<(), CliError> {
    let logs = settings.log.start(settings.traces.as_ref()).map_err(|error| CliError::Usage(error.to_string()))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let descriptors = descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("the runtime cannot be started"))?;
    let ran = runtime.block_on(async {
        let process = Process { logs: logs.clone(), descriptors, ..Process::default() };
        watch_signals(&process)?;
        run(settings, process).await.map_err(CliError::from)
    });
    // Whatever blocks still, such as reading standard input, must not keep the process.
    runtime.shutdown_background();
    logs.finish();
    ran
}

/// A signal asks for an orderly stop, a second one ends the process at once. SIGHUP asks for a reload.
#[cfg(unix)]
fn watch_signals(process: &Process) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};

    let refused = || CliError::io("signals cannot be received");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(refused())?;
    let reload = process.reload.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "reading the files again");
            reload.notify_one();
        }
    });
    let shutdown = process.shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => ("SIGINT", 130),
                _ = terminate.recv() => ("SIGTERM", 143),
            }
        };
        let (name, _) = next().await;
        tracing::info!(signal = name, "stopping; a second signal ends the process at once");
        shutdown.cancel();
        let (name, code) = next().await;
        tracing::error!(signal = name, "ended at once");
        std::process::exit(code);
    });
    Ok(())
}

#[cfg(not(unix))]
fn watch_signals(process: &Process) -> Result<(), CliError> {
    let shutdown = process.shutdown.clone();
    tokio::spawn(async move {
        // Without a way to be told there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.cancel();
        }
    });
    Ok(())
}

impl AgentOptions {
    fn inputs(&self) -> Inputs {
        Inputs {
            flags: self.flags(),
            files: self.config_file.clone(),
            file_format: self.config_format,
            snippets: self.hcl.clone(),
            dev: self.dev,
            ..Inputs::of_process()
        }
    }

    /// The options that are keys.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let once = [
            ("datacenter", &self.datacenter),
            ("node_name", &self.node),
            ("node_id", &self.node_id),
            ("data_dir", &self.data_dir),
            ("bind_addr", &self.bind),
            ("advertise_addr", &self.advertise),
            ("advertise_addr_wan", &self.advertise_wan),
            ("check_output_max_size", &self.check_output_max_size),
            ("history_commits", &self.history_commits),
            ("history_bytes", &self.history_bytes),
            ("ports.sidecar_min_port", &self.sidecar_min_port),
            ("ports.sidecar_max_port", &self.sidecar_max_port),
            ("default_intention_policy", &self.default_intention_policy),
            ("domain", &self.domain),
        ];
        let repeated = [("hosted_datacenters", &self.hosted_datacenter), ("node_meta", &self.node_meta)];
        let once = once.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
        let repeated =
            repeated.into_iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value.clone())));
        once.chain(repeated).chain(self.process.flags()).collect()
    }
}

impl ProcessOptions {
    /// The options as keys.
    pub(super) fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("client_addr", &self.client),
            ("addresses.http", &self.http_address),
            ("addresses.grpc", &self.grpc_address),
            ("ports.http", &self.http_port),
            ("addresses.https", &self.https_address),
            ("ports.https", &self.https_port),
            ("ports.grpc", &self.grpc_port),
            ("addresses.grpc_tls", &self.grpc_tls_address),
            ("ports.grpc_tls", &self.grpc_tls_port),
            ("log_level", &self.log_level),
            ("log_json", &self.log_json),
            ("telemetry.prometheus_retention_time", &self.prometheus_retention_time),
            ("telemetry.otlp_endpoint", &self.otlp_endpoint),
            ("shutdown_deadline", &self.shutdown_deadline),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)))
    }
}

impl IgnoredOptions {
    /// The flags that were given.
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("server", self.server),
            ("bootstrap", self.bootstrap),
            ("bootstrap-expect", self.bootstrap_expect.is_some()),
            ("ui", self.ui),
            ("retry-join", !self.retry_join.is_empty()),
            ("retry-join-wan", !self.retry_join_wan.is_empty()),
            ("primary-gateway", !self.primary_gateway.is_empty()),
            ("dns-port", self.dns_port.is_some()),
            ("serf-lan-port", self.serf_lan_port.is_some()),
            ("serf-wan-port", self.serf_wan_port.is_some()),
            ("server-port", self.server_port.is_some()),
            ("encrypt", self.encrypt.is_some()),
            ("disable-host-node-id", self.disable_host_node_id),
            ("enable-script-checks", self.enable_script_checks),
            ("enable-local-script-checks", self.enable_local_script_checks),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}
