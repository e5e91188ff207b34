//! The options of `connect envoy` (contract 9.1).

use std::path::PathBuf;

use clap::Args;

use crate::cli::CliError;
use crate::cli::client::{ClientOptions, DatacenterOption};
use crate::model::ServiceKind;

/// Options of `connect envoy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Say which proxy it is for with -sidecar-for, -proxy-id or -gateway.

Examples:
  meshgate connect envoy -sidecar-for web
  meshgate connect envoy -sidecar-for web -bootstrap > web.json
  meshgate connect envoy -gateway mesh -register -address 10.0.0.5:8443
  meshgate connect envoy -proxy-id web-sidecar-proxy -admin-bind localhost:19001 -- -l debug

A second Envoy on this machine needs an -admin-bind of its own.
Envoy's hot restart is off, unless an argument for it says otherwise (such as --base-id 7).")]
pub(crate) struct EnvoyOptions {
    /// ID of the proxy's registration
    #[arg(long, env = "CONNECT_PROXY_ID", value_name = "ID")]
    pub(super) proxy_id: Option<String>,
    /// ID of the service instance whose sidecar it is
    #[arg(long, env = "CONNECT_SIDECAR_FOR", value_name = "ID")]
    pub(super) sidecar_for: Option<String>,
    /// Catalog node of the proxy, when it is not registered with the agent; needs -proxy-id
    #[arg(long, value_name = "NODE")]
    pub(super) node_name: Option<String>,
    /// Kind of gateway: mesh, terminating, ingress or api
    #[arg(long, value_name = "KIND")]
    pub(super) gateway: Option<String>,
    /// Older spelling of -gateway mesh
    #[arg(long, hide = true)]
    pub(super) mesh_gateway: bool,
    /// Register the gateway first
    #[arg(long, help_heading = "Registering a gateway")]
    pub(super) register: bool,
    /// Name of the gateway's service [default: its kind, such as mesh-gateway]
    #[arg(long, value_name = "NAME", help_heading = "Registering a gateway")]
    pub(super) service: Option<String>,
    /// Address inside its own network; the port is 8443 when absent
    #[arg(long, value_name = "HOST:PORT", help_heading = "Registering a gateway")]
    pub(super) address: Option<String>,
    /// Address that other datacenters and partitions dial
    #[arg(long, value_name = "HOST:PORT", help_heading = "Registering a gateway")]
    pub(super) wan_address: Option<String>,
    /// Address to listen on instead of -address (name=ip:port); may be given several times
    #[arg(long, value_name = "NAME=IP:PORT", help_heading = "Registering a gateway")]
    pub(super) bind_address: Vec<String>,
    /// Let other datacenters reach this one's servers through the gateway
    #[arg(long, help_heading = "Registering a gateway")]
    pub(super) expose_servers: bool,
    /// How long the gateway may be unreachable before it is deregistered; 0 for ever
    #[arg(long, value_name = "DURATION", default_value = "6h", help_heading = "Registering a gateway")]
    pub(super) deregister_after_critical: String,
    /// Print the bootstrap document and exit
    #[arg(long, help_heading = "Envoy")]
    pub(super) bootstrap: bool,
    /// Path of Envoy [default: envoy on PATH, else what `meshgate envoy install` fetched]
    #[arg(long, value_name = "PATH", help_heading = "Envoy")]
    pub(super) envoy_binary: Option<PathBuf>,
    /// Accepted and without effect, as in Consul
    #[arg(long, hide = true)]
    pub(super) envoy_version: Option<String>,
    /// Start Envoy though its version is not supported
    #[arg(long, help_heading = "Envoy")]
    pub(super) ignore_envoy_compatibility: bool,
    /// Address of Envoy's admin interface
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:19000", help_heading = "Envoy")]
    pub(super) admin_bind: String,
    /// Where requests to it are logged
    #[arg(long, value_name = "PATH", default_value = "/dev/null", help_heading = "Envoy")]
    pub(super) admin_access_log_path: String,
    /// Address of a listener that answers /ready
    #[arg(long, value_name = "IP", help_heading = "Envoy")]
    pub(super) envoy_ready_bind_address: Option<String>,
    /// Port of that listener
    #[arg(long, value_name = "PORT", help_heading = "Envoy")]
    pub(super) envoy_ready_bind_port: Option<u16>,
    /// xDS address: host:port, http(s)://host:port or unix:///path [default: what the agent says]
    #[arg(long, env = "CONSUL_GRPC_ADDR", value_name = "ADDRESS", help_heading = "xDS")]
    pub(super) grpc_addr: Option<String>,
    /// Certificates to verify the xDS server with
    #[arg(long, env = "CONSUL_GRPC_CACERT", value_name = "FILE", help_heading = "xDS")]
    pub(super) grpc_ca_file: Option<PathBuf>,
    /// Directory of certificates to verify the xDS server with
    #[arg(long, env = "CONSUL_GRPC_CAPATH", value_name = "DIR", help_heading = "xDS")]
    pub(super) grpc_ca_path: Option<PathBuf>,
    /// Do not look at proxy-defaults
    #[arg(long, help_heading = "Envoy")]
    pub(super) no_central_config: bool,
    /// Leave out the older names of metric tags
    #[arg(long, help_heading = "Metrics")]
    pub(super) omit_deprecated_tags: bool,
    /// Port of the application's merged metrics, served in place of Envoy's own
    #[arg(long, value_name = "PORT", help_heading = "Metrics")]
    pub(super) prometheus_backend_port: Option<u16>,
    /// Path that Prometheus scrapes
    #[arg(long, value_name = "PATH", default_value = "/metrics", help_heading = "Metrics")]
    pub(super) prometheus_scrape_path: String,
    /// Certificates to verify Prometheus with
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    pub(super) prometheus_ca_file: Option<PathBuf>,
    /// Directory of certificates to verify Prometheus with
    #[arg(long, value_name = "DIR", help_heading = "Metrics")]
    pub(super) prometheus_ca_path: Option<PathBuf>,
    /// Certificate to show to Prometheus
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    pub(super) prometheus_cert_file: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    pub(super) prometheus_key_file: Option<PathBuf>,
    /// Accepted and without effect
    #[arg(long, hide = true)]
    pub(super) enable_config_gen_logging: bool,
    /// Arguments for Envoy itself
    #[arg(last = true, value_name = "ENVOY ARGUMENTS")]
    pub(super) envoy_arguments: Vec<std::ffi::OsString>,
    #[command(flatten)]
    pub(super) datacenter: DatacenterOption,
    #[command(flatten)]
    pub(super) client: ClientOptions,
}

impl EnvoyOptions {
    /// The kind of gateway it is for, if it is for one.
    ///
    /// # Errors
    /// An unknown kind, or options that contradict each other.
    pub(super) fn gateway_kind(&self) -> Result<Option<ServiceKind>, CliError> {
        let usage = |message: &str| Err(CliError::Usage(message.to_owned()));
        let kind = match (self.gateway.as_deref(), self.mesh_gateway) {
            (Some(_), true) => return usage("-gateway and -mesh-gateway say the same twice: use -gateway mesh alone"),
            (None, true) | (Some("mesh"), false) => Some(ServiceKind::MeshGateway),
            (Some("terminating"), false) => Some(ServiceKind::TerminatingGateway),
            (Some("ingress"), false) => Some(ServiceKind::IngressGateway),
            (Some("api"), false) => Some(ServiceKind::ApiGateway),
            (Some(other), false) => {
                return usage(&format!(
                    "-gateway {other:?} is no kind of gateway: use mesh, terminating, ingress or api"
                ));
            }
            (None, false) => None,
        };
        if self.register && kind.is_none() {
            return usage("-register is for gateways: add -gateway mesh, or register a sidecar with its service");
        }
        if self.register && self.node_name.is_some() {
            return usage("-register registers with the agent, and -node-name is for proxies of other nodes");
        }
        if self.expose_servers && !(self.register && kind == Some(ServiceKind::MeshGateway)) {
            return usage("-expose-servers needs -gateway mesh and -register");
        }
        if self.node_name.is_some() && self.proxy_id.is_none() {
            return usage("-node-name needs -proxy-id");
        }
        Ok(kind)
    }

    /// The name of the gateway's service.
    pub(super) fn gateway_service(&self, kind: ServiceKind) -> String {
        self.service.clone().unwrap_or_else(|| kind.as_str().to_owned())
    }
}
