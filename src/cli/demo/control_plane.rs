//! The control plane of the demo, as its own process, and what it is told over HTTP.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::DemoError;
use super::network::{GRPC_PORT, HTTP_PORT};
use super::process::Process;
use super::wait::Wait;

/// What its process and log are called.
const NAME: &str = "control-plane";
/// How long a start may take.
const START: Duration = Duration::from_secs(20);

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    program: PathBuf,
    directory: PathBuf,
    address: Ipv4Addr,
    process: Process,
    client: reqwest::Client,
}

impl ControlPlane {
    /// Starts it, with two datacenters, on its store in `directory`. Nobody else may have `address`.
    pub(super) async fn start(program: &Path, directory: &Path, address: Ipv4Addr) -> Result<Self, DemoError> {
        let process = Process::start(NAME, program, arguments(directory, address), directory)?;
        let mut this = Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            address,
            process,
            client: reqwest::Client::new(),
        };
        this.ready().await?;
        Ok(this)
    }

    /// Kills it, as a power failure would.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<(), DemoError> {
        self.process.kill().await
    }

    /// The ID of its process; `None` after it has ended.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits until it has ended, after somebody told it to.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn ended(&mut self) -> Result<ExitStatus, DemoError> {
        self.process.ended().await
    }

    /// Starts it again on the same store and address, after it has ended.
    ///
    /// # Errors
    /// It does not get ready.
    pub async fn start_again(&mut self) -> Result<(), DemoError> {
        let arguments = arguments(&self.directory, self.address);
        self.process = Process::start(NAME, &self.program, arguments, &self.directory)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), DemoError> {
        let url = self.url("/v1/meshgate/ready");
        let mut wait = Wait::up_to(START, "the start of the control plane", &self.directory);
        loop {
            self.process.check()?;
            let answer = self.client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            wait.again().await?;
        }
    }

    /// `host:port` of the HTTP API.
    pub fn http_address(&self) -> String {
        SocketAddr::from((self.address, HTTP_PORT)).to_string()
    }

    /// `host:port` of the ADS server.
    pub fn grpc_address(&self) -> String {
        SocketAddr::from((self.address, GRPC_PORT)).to_string()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http_address())
    }

    /// Writes.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn put(&self, path: &str, body: &Value) -> Result<(), DemoError> {
        self.call(Method::PUT, "PUT", path, Some(body)).await.map(drop)
    }

    /// Removes.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn delete(&self, path: &str) -> Result<(), DemoError> {
        self.call(Method::DELETE, "DELETE", path, None).await.map(drop)
    }

    /// Reads.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn get(&self, path: &str) -> Result<Value, DemoError> {
        self.call(Method::GET, "GET", path, None).await
    }

    async fn call(
        &self,
        method: Method,
        name: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, DemoError> {
        let url = self.url(path);
        let mut request = self.client.request(method, &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(DemoError::http(&url))?;
        let status = answer.status();
        let text = answer.text().await.map_err(DemoError::http(&url))?;
        if !status.is_success() {
            let refused =
                DemoError::Refused { method: name, path: path.to_owned(), status: status.as_u16(), body: text };
            return Err(refused);
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn arguments(directory: &Path, address: Ipv4Addr) -> Vec<OsString> {
    let own =
        ["agent", "-datacenter", "dc1", "-hosted-datacenter", "dc2", "-node", "demo", "-client"].map(OsString::from);
    let (http, grpc) = (HTTP_PORT.to_string(), GRPC_PORT.to_string());
    let places = [&address.to_string(), "-http-port", &http, "-grpc-port", &grpc, "-data-dir"].map(OsString::from);
    own.into_iter().chain(places).chain([directory.join("data").into_os_string()]).collect()
}
