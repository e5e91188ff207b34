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
use super::traffic::{client, request};
use super::wait::Wait;
use super::{DemoError, Progress, application};
use crate::model::GatewayMode;
use crate::resolve::{Rung, Sources};

/// Port of every application, on an address of its own.
const APPLICATION_PORT: u16 = 9_000;
/// How long health checks may take to notice that something runs.
const HEALTHY: Duration = Duration::from_secs(20);

/// The host numbers of a place: its gateway, its application.
const GATEWAY_HOST: u8 = 1;
const APPLICATION_HOST: u8 = 10;

/// A place of the demo.
#[derive(Debug, Clone, Copy)]
struct Site {
    number: u8,
    datacenter: &'static str,
    partition: &'static str,
    gateway: &'static str,
    service: &'static str,
    sidecar: &'static str,
}

const SITES: [Site; 3] = [
    Site {
        number: 1,
        datacenter: "dc1",
        partition: "default",
        gateway: "gateway dc1",
        service: "web",
        sidecar: "sidecar web",
    },
    Site {
        number: 2,
        datacenter: "dc2",
        partition: "default",
        gateway: "gateway dc2",
        service: "api",
        sidecar: "sidecar api",
    },
    Site {
        number: 3,
        datacenter: "dc1",
        partition: "team-a",
        gateway: "gateway team-a",
        service: "billing",
        sidecar: "sidecar billing",
    },
];

/// A service that `web` calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// `api` in the other datacenter, over HTTP.
    OtherDatacenter,
    /// `billing` in the other partition, over TCP.
    OtherPartition,
}

impl Callee {
    /// Both.
    pub const ALL: [Callee; 2] = [Callee::OtherDatacenter, Callee::OtherPartition];

    const fn site(self) -> Site {
        match self {
            Callee::OtherDatacenter => SITES[1],
            Callee::OtherPartition => SITES[2],
        }
    }

    const fn port(self) -> u16 {
        match self {
            Callee::OtherDatacenter => 9_191,
            Callee::OtherPartition => 9_192,
        }
    }

    /// What it is called, with its place.
    pub const fn title(self) -> &'static str {
        match self {
            Callee::OtherDatacenter => "other datacenter: web -> api in dc2 (http)",
            Callee::OtherPartition => "other partition: web -> billing in team-a (tcp)",
        }
    }

    /// What its answers contain.
    pub const fn greeting(self) -> &'static str {
        match self {
            Callee::OtherDatacenter => "hello from api",
            Callee::OtherPartition => "hello from billing",
        }
    }

    /// The Envoys that carry a request in this mode, in order (contract 2.5).
    pub fn hops(self, mode: GatewayMode) -> Vec<&'static str> {
        let site = self.site();
        match mode {
            GatewayMode::None => vec!["sidecar web", site.sidecar],
            GatewayMode::Local => vec!["sidecar web", "gateway dc1", site.gateway, site.sidecar],
            GatewayMode::Remote => vec!["sidecar web", site.gateway, site.sidecar],
        }
    }
}

/// A running mesh. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Mesh {
    /// The control plane.
    pub control_plane: ControlPlane,
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
        let control_plane = ControlPlane::start(program, directory.path()).await?;
        let mut mesh = Self {
            control_plane,
            envoys: Vec::new(),
            network,
            sources: Sources::default(),
            client: client(),
            applications: JoinSet::new(),
            directory,
        };
        progress.step("starting and registering web, api and billing");
        mesh.start_services().await?;
        progress.step("starting three mesh gateways and three sidecars");
        mesh.start_envoys(program, envoy).await?;
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

    async fn start_envoys(&mut self, program: &Path, envoy: &Path) -> Result<(), DemoError> {
        let launch = Launch { program, envoy, directory: self.directory.path() };
        for site in SITES {
            let place = ["-datacenter", site.datacenter, "-partition", site.partition];
            let lan = format!("{}:{GATEWAY_PORT}", self.network.lan(site.number, GATEWAY_HOST));
            let wan = format!("{}:{GATEWAY_PORT}", self.network.wan(site.number));
            let gateway = ["-gateway", "mesh", "-register", "-address", &lan, "-wan-address", &wan];
            let sidecar = ["-sidecar-for", site.service];
            for (name, own) in [(site.gateway, &gateway[..]), (site.sidecar, &sidecar[..])] {
                let arguments: Vec<&str> = own.iter().chain(&place).copied().collect();
                self.envoys.push(EnvoyProxy::start(name, launch, &self.control_plane, &arguments)?);
            }
        }
        let logs = self.directory.path().to_owned();
        try_join_all(self.envoys.iter_mut().map(|envoy| envoy.ready(&logs))).await.map(drop)
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

    /// The Envoys.
    pub fn envoys(&self) -> &[EnvoyProxy] {
        &self.envoys
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
        request(&self.client, &url).await.map_err(DemoError::http(&url))
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
