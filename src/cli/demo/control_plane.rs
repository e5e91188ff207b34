//! The control plane of the demo, as its own process, and what it is told over HTTP.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::DemoError;
use super::network::free_port;
use super::process::Process;
use super::wait::Wait;

/// How long a start may take.
const START: Duration = Duration::from_secs(20);

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    program: PathBuf,
    directory: PathBuf,
    http: u16,
    grpc: u16,
    process: Process,
    client: reqwest::Client,
}

impl ControlPlane {
    /// Starts it, with two datacenters, on its store in `directory`.
    pub(super) async fn start(program: &Path, directory: &Path) -> Result<Self, DemoError> {
        let (http, grpc) = (free_port(8_500)?, free_port(8_502)?);
        let process = Process::start("control-plane", program, arguments(directory, http, grpc), directory)?;
        let mut this = Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            http,
            grpc,
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

    /// Starts it again on the same store and ports, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// It does not get ready.
    pub async fn start_again(&mut self) -> Result<(), DemoError> {
        let arguments = arguments(&self.directory, self.http, self.grpc);
        self.process = Process::start("control-plane", &self.program, arguments, &self.directory)?;
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
        format!("127.0.0.1:{}", self.http)
    }

    /// `host:port` of the ADS server.
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
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

fn arguments(directory: &Path, http: u16, grpc: u16) -> Vec<OsString> {
    let data = directory.join("data");
    let plain = ["agent", "-datacenter", "dc1", "-hosted-datacenter", "dc2", "-node", "demo"].map(OsString::from);
    let ports = [("-http-port", http), ("-grpc-port", grpc)];
    let ports = ports.into_iter().flat_map(|(flag, port)| [OsString::from(flag), OsString::from(port.to_string())]);
    plain.into_iter().chain(ports).chain([OsString::from("-data-dir"), data.into_os_string()]).collect()
}
