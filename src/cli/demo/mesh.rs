//! The mesh of the demo: two datacenters and two partitions, each with a gateway, and three services.
//!
//! ```text
//!   dc1 (127.n.1.0)                      dc2 (127.n.2.0)
//!   web ─ sidecar        gateway ═ WAN ═ gateway        sidecar ─ api
//!                           ║
//!   dc1, partition team-a (127.n.3.0)
//!                        gateway         sidecar ─ billing
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::control_plane::ControlPlane;
use super::network::{GATEWAY_PORT, Network};
use super::proxy::{EnvoyProxy, Launch};
use super::site::{APPLICATION_HOST, Callee, GATEWAY_HOST, SITES, Site};
use super::traffic::{LIMIT, client, request};
use super::wait::Wait;
use super::{DemoError, Progress, application};
use crate::model::GatewayMode;
use crate::resolve::{Rung, Sources};

/// Port of every application, on an address of its own.
const APPLICATION_PORT: u16 = 9_000;
/// How long health checks may take to notice that something runs.
const HEALTHY: Duration = Duration::from_secs(20);

/// A running mesh. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Mesh {
    /// The control plane.
    pub control_plane: ControlPlane,
    program: PathBuf,
    envoy: PathBuf,
    envoys: Vec<EnvoyProxy>,
    network: Network,
    sources: Sources,
    client: reqwest::Client,
    applications: JoinSet<()>,
    directory: TempDir,
}

impl Mesh {
    /// Starts everything. `program` is the meshgate binary, `envoy` the Envoy binary.
    ///
    /// # Errors
    /// Something does not start; nothing is left running.
    pub async fn start(program: &Path, envoy: &Path, progress: &dyn Progress) -> Result<Self, DemoError> {
        let directory = tempfile::Builder::new().prefix("meshgate-demo-").tempdir();
        let directory = directory.map_err(DemoError::io("no temporary directory can be made"))?;
        let network = Network::take()?;
        progress.step("starting the control plane for dc1 and dc2");
        let control_plane = ControlPlane::start(program, directory.path(), network.operator()).await?;
        let mut mesh = Self {
            control_plane,
            program: program.to_owned(),
            envoy: envoy.to_owned(),
            envoys: Vec::new(),
            network,
            sources: Sources::default(),
            client: client(LIMIT),
            applications: JoinSet::new(),
            directory,
        };
        progress.step("starting and registering web, api and billing");
        mesh.start_services().await?;
        progress.step("starting three mesh gateways and three sidecars");
        mesh.start_envoys().await?;
        progress.step("waiting until every health check passes");
        mesh.healthy().await?;
        Ok(mesh)
    }

    async fn start_services(&mut self) -> Result<(), DemoError> {
        for site in SITES {
            let host = self.application(site);
            let place = format!("{}/{}", site.datacenter, site.partition);
            let text = format!("hello from {} in {place}\n", site.service);
            application::start(&mut self.applications, SocketAddr::from((host, APPLICATION_PORT)), text).await?;
            self.register(site).await?;
        }
        let api = json!({"Kind": "service-defaults", "Name": "api", "Protocol": "http"});
        self.control_plane.put("/v1/config", &api).await?;
        self.export_billing(true).await
    }

    fn application(&self, site: Site) -> Ipv4Addr {
        self.network.lan(site.number, APPLICATION_HOST)
    }

    /// Registers a service with its sidecar; that of `web` with what it calls.
    async fn register(&self, site: Site) -> Result<(), DemoError> {
        let host = self.application(site).to_string();
        let mut proxy = json!({});
        if site.service == "web" {
            proxy = json!({
                "Upstreams": Callee::ALL.map(|callee| self.upstream(callee, &host)),
                "MeshGateway": mode(self.sources.get(Rung::Instance)),
            });
        }
        // The application does not listen on 127.0.0.1, where sidecars look unless they are told.
        proxy["LocalServiceAddress"] = json!(host);
        let sidecar = json!({"Address": host, "Proxy": proxy});
        let body = json!({
            "Name": site.service, "Address": host, "Port": APPLICATION_PORT, "Connect": {"SidecarService": sidecar},
        });
        let path = format!("/v1/agent/service/register?dc={}&partition={}", site.datacenter, site.partition);
        self.control_plane.put(&path, &body).await
    }

    fn upstream(&self, callee: Callee, host: &str) -> Value {
        let site = callee.site();
        let mut upstream = json!({
            "DestinationName": site.service,
            "LocalBindAddress": host,
            "LocalBindPort": callee.port(),
            "MeshGateway": mode(self.sources.get(Rung::Upstream)),
        });
        match callee {
            Callee::OtherDatacenter => upstream["Datacenter"] = json!(site.datacenter),
            Callee::OtherPartition => upstream["DestinationPartition"] = json!(site.partition),
        }
        upstream
    }

    /// Lets the default partition call `billing` of team-a, or no longer.
    ///
    /// # Errors
    /// The control plane refuses.
    pub async fn export_billing(&self, is_exported: bool) -> Result<(), DemoError> {
        if !is_exported {
            return self.control_plane.delete("/v1/config/exported-services/team-a?partition=team-a").await;
        }
        let services = json!([{"Name": "billing", "Consumers": [{"Partition": "default"}]}]);
        let entry = json!({"Kind": "exported-services", "Name": "team-a", "Partition": "team-a", "Services": services});
        self.control_plane.put("/v1/config?partition=team-a", &entry).await
    }

    async fn start_envoys(&mut self) -> Result<(), DemoError> {
        for site in SITES {
            let place = ["-datacenter", site.datacenter, "-partition", site.partition];
            let lan = format!("{}:{GATEWAY_PORT}", self.network.lan(site.number, GATEWAY_HOST));
            let wan = format!("{}:{GATEWAY_PORT}", self.network.wan(site.number));
            let gateway = ["-gateway", "mesh", "-register", "-address", &lan, "-wan-address", &wan];
            let sidecar = ["-sidecar-for", site.service];
            for (name, own) in [(site.gateway, &gateway[..]), (site.sidecar, &sidecar[..])] {
                let arguments: Vec<&str> = own.iter().chain(&place).copied().collect();
                self.launch_envoy(name, &arguments)?;
            }
        }
        let logs = self.directory.path().to_owned();
        try_join_all(self.envoys.iter_mut().map(|envoy| envoy.ready(&logs))).await.map(drop)
    }

    fn launch_envoy(&mut self, name: &'static str, arguments: &[&str]) -> Result<&mut EnvoyProxy, DemoError> {
        let launch = Launch {
            program: &self.program,
            envoy: &self.envoy,
            directory: self.directory.path(),
            control_plane: &self.control_plane,
        };
        let started = u16::try_from(self.envoys.len()).unwrap_or(u16::MAX);
        let envoy = EnvoyProxy::start(name, launch, self.network.admin(started), arguments)?;
        Ok(self.envoys.push_mut(envoy))
    }

    /// Starts one more Envoy with `meshgate connect envoy` and these arguments, and waits until it is configured.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_envoy(&mut self, name: &'static str, arguments: &[&str]) -> Result<(), DemoError> {
        let logs = self.directory();
        self.launch_envoy(name, arguments)?.ready(&logs).await
    }

    /// Starts one more application, which answers every request with `text`.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_application(&mut self, address: SocketAddr, text: &str) -> Result<(), DemoError> {
        application::start(&mut self.applications, address, text.to_owned()).await
    }

    /// The address of a host inside a place: 1 is dc1, 2 is dc2, 3 is team-a, 0 has the control plane and the admin interfaces,
    /// 100 the gateways' addresses in the WAN, and others are free. The hosts below 20 of the first three are taken.
    pub fn address(&self, place: u8, host: u8) -> Ipv4Addr {
        self.network.lan(place, host)
    }

    async fn healthy(&self) -> Result<(), DemoError> {
        for site in SITES {
            let place = format!("dc={}&partition={}&passing", site.datacenter, site.partition);
            let paths = [
                format!("/v1/health/connect/{}?{place}", site.service),
                format!("/v1/health/service/mesh-gateway?{place}"),
            ];
            for path in paths {
                let mut wait = Wait::up_to(HEALTHY, format!("a passing instance in {path}"), self.directory.path());
                while self.control_plane.get(&path).await?.as_array().is_none_or(Vec::is_empty) {
                    wait.again().await?;
                }
            }
        }
        Ok(())
    }

    /// The Envoys, in the order of their start.
    pub fn envoys(&self) -> &[EnvoyProxy] {
        &self.envoys
    }

    /// The Envoys, to end one.
    pub fn envoys_mut(&mut self) -> &mut [EnvoyProxy] {
        &mut self.envoys
    }

    /// Where the logs are.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Where `web` calls this service.
    pub fn url(&self, callee: Callee) -> String {
        format!("http://{}:{}/", self.application(SITES[0]), callee.port())
    }

    /// One request from `web`.
    ///
    /// # Errors
    /// There is no good answer.
    pub async fn call(&self, callee: Callee) -> Result<String, DemoError> {
        let url = self.url(callee);
        request(&self.client, &url).await
    }

    /// Bytes that each of these Envoys took from callers so far.
    ///
    /// # Errors
    /// An admin interface does not answer.
    pub async fn received_by(&self, names: &[&'static str]) -> Result<BTreeMap<&'static str, u64>, DemoError> {
        let named = self.envoys.iter().filter(|envoy| names.contains(&envoy.name));
        let all = named.map(|envoy| async { Ok::<_, DemoError>((envoy.name, envoy.received().await?)) });
        Ok(try_join_all(all).await?.into_iter().collect())
    }

    /// The modes that are set at the moment.
    pub fn sources(&self) -> Sources {
        self.sources
    }

    /// Sets the gateway mode at each level as `sources` says, by writing what carries the levels that differ.
    ///
    /// # Errors
    /// The control plane refuses.
    pub async fn set_modes(&mut self, sources: Sources) -> Result<(), DemoError> {
        let old = std::mem::replace(&mut self.sources, sources);
        let differs = |rungs: &[Rung]| rungs.iter().any(|rung| old.get(*rung) != sources.get(*rung));
        if differs(&[Rung::OpaqueProxyDefaults, Rung::ProxyDefaults]) {
            let legacy = mode(sources.get(Rung::OpaqueProxyDefaults));
            let entry = json!({
                "Kind": "proxy-defaults", "Name": "global",
                "Config": {"mesh_gateway": {"mode": legacy["Mode"]}},
                "MeshGateway": mode(sources.get(Rung::ProxyDefaults)),
            });
            self.control_plane.put("/v1/config", &entry).await?;
        }
        if differs(&[Rung::ServiceDefaults, Rung::UpstreamDefaults, Rung::UpstreamOverride]) {
            self.control_plane.put("/v1/config", &self.service_defaults()).await?;
        }
        if differs(&[Rung::Instance, Rung::Upstream]) {
            self.register(SITES[0]).await?;
        }
        Ok(())
    }

    fn service_defaults(&self) -> Value {
        let overridden = mode(self.sources.get(Rung::UpstreamOverride));
        let overrides = Callee::ALL.map(|callee| {
            json!({
                "Name": callee.site().service, "Partition": callee.site().partition, "MeshGateway": overridden,
            })
        });
        json!({
            "Kind": "service-defaults", "Name": "web",
            "MeshGateway": mode(self.sources.get(Rung::ServiceDefaults)),
            "UpstreamConfig": {
                "Defaults": {"MeshGateway": mode(self.sources.get(Rung::UpstreamDefaults))},
                "Overrides": overrides,
            },
        })
    }
}

fn mode(mode: Option<GatewayMode>) -> Value {
    json!({"Mode": mode.map_or("", GatewayMode::as_str)})
}
