//! An Envoy of the demo, started as an operator would start it, and what its admin interface counts.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::DemoError;
use super::control_plane::ControlPlane;
use super::process::Process;
use super::wait::Wait;

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// Bytes that came in from callers, on whichever side of a sidecar, and on whichever listener of a gateway. Health checks
/// connect and send nothing, so they do not count.
const RECEIVED: &str =
    r"^(tcp|http)\.(public_listener|upstream|mesh_gateway_local|mesh_gateway_remote).*downstream_cx_rx_bytes_total$";

/// A running Envoy.
#[derive(Debug)]
pub struct EnvoyProxy {
    /// What it is called here, such as `gateway dc1`.
    pub name: &'static str,
    admin: SocketAddr,
    process: Process,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Stat>,
}

/// One counter; the list also holds histograms, which have no value.
#[derive(Deserialize)]
struct Stat {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: u64,
}

/// The programs, the folder and the control plane that Envoys are started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) envoy: &'a Path,
    pub(super) directory: &'a Path,
    pub(super) control_plane: &'a ControlPlane,
}

impl EnvoyProxy {
    /// Runs `meshgate connect envoy` with these arguments.
    pub(super) fn start(
        name: &'static str,
        launch: Launch<'_>,
        admin: SocketAddr,
        arguments: &[&str],
    ) -> Result<Self, DemoError> {
        let own = [
            "-http-addr".to_owned(),
            launch.control_plane.http_address(),
            "-grpc-addr".to_owned(),
            launch.control_plane.grpc_address(),
            "-admin-bind".to_owned(),
            admin.to_string(),
            // Each tag costs Envoy time for each counter of a new cluster, and the old ones only repeat the others.
            "-omit-deprecated-tags".to_owned(),
            "-envoy-binary".to_owned(),
        ];
        let all = ["connect", "envoy"].iter().chain(arguments).map(OsString::from);
        let all = all.chain(own.into_iter().map(OsString::from)).chain([launch.envoy.as_os_str().to_owned()]);
        let of_envoy = ["--", "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"];
        let all = all.chain(of_envoy.map(OsString::from));
        let file = name.replace(' ', "-");
        let process = Process::start(&file, launch.program, all, launch.directory)?;
        Ok(Self { name, admin, process, client: reqwest::Client::new() })
    }

    /// Waits until it is configured.
    pub(super) async fn ready(&mut self, logs: &Path) -> Result<(), DemoError> {
        let url = format!("http://{}/ready", self.admin);
        let mut wait = Wait::up_to(START, format!("the start of {}", self.name), logs);
        loop {
            self.process.check()?;
            if self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            wait.again().await?;
        }
    }

    /// `host:port` of its admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The ID of its process; `None` after it has ended.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// It cannot be ended.
    pub async fn kill(&mut self) -> Result<(), DemoError> {
        self.process.kill().await
    }

    /// The sum of all counters whose name matches `pattern`.
    ///
    /// # Errors
    /// The admin interface does not answer.
    pub async fn count(&self, pattern: &str) -> Result<u64, DemoError> {
        let url = format!("http://{}/stats", self.admin);
        let request = self.client.get(&url).query(&[("format", "json"), ("filter", pattern)]);
        let answer = request.send().await.map_err(DemoError::http(&url))?;
        let stats: Stats = answer.json().await.map_err(DemoError::http(&url))?;
        Ok(stats.stats.iter().filter(|stat| !stat.name.is_empty()).map(|stat| stat.value).sum())
    }

    /// Bytes that it took from callers so far.
    ///
    /// # Errors
    /// The admin interface does not answer.
    pub async fn received(&self) -> Result<u64, DemoError> {
        self.count(RECEIVED).await
    }
}
