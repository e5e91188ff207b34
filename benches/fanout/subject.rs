//! The servers that are measured: the floor, meshgate, and whatever else speaks the same protocols.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::Failure;
use crate::ads::{Server, Tls};
use crate::floor::{Control, Style};
use crate::http::Http;
use crate::identities::Identities;
use crate::options::Options;
use crate::process::{Cores, Process, Usage};

/// The floor server.
#[derive(Debug)]
pub(crate) struct Floor {
    process: Process,
    pub(crate) server: Server,
    pub(crate) control: Control,
}

impl Floor {
    /// Starts it, with the certificates of `tls` if streams are under TLS.
    ///
    /// # Errors
    /// It does not start, or cannot be reached.
    pub(crate) async fn start(style: Style, tls: Option<&Identities>, cores: Option<Cores>) -> Result<Self, Failure> {
        let style = format!("--style={style:?}").to_lowercase();
        let mut arguments = vec!["serve-floor".to_owned(), style];
        arguments.extend(tls.into_iter().flat_map(Identities::of_floor));
        let (process, [streams, commands]) = start_own(&arguments, cores)?;
        let server = Server { tls: tls.map(Identities::client).transpose()?, ..Server::plain(streams) };
        Ok(Self { process, server, control: Control::connect(commands).await? })
    }

    pub(crate) fn usage(&self) -> Usage {
        self.process.usage()
    }
}

/// A control plane with Consul's HTTP API.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) server: Server,
    pub(crate) http: Http,
    /// `None` if the bench cannot look at the process.
    pub(crate) usage: Option<Usage>,
    /// `None` if the bench did not start it.
    _started: Option<(Process, TempDir)>,
}

impl Subject {
    /// Starts meshgate as an operator does, unless the options say what else to measure.
    ///
    /// # Errors
    /// It does not start, or cannot be reached.
    pub(crate) async fn start(
        options: &Options,
        tls: Option<&Identities>,
        cores: Option<Cores>,
    ) -> Result<Self, Failure> {
        let peer = &options.peer;
        let (Some(server), Some(http)) = (peer.server, peer.http) else {
            return Self::start_meshgate(options, tls, cores).await;
        };
        let tls = peer.tls_ca.as_deref().map(|ca| Tls::new(ca, &peer.tls_name, None)).transpose()?;
        Ok(Self {
            server: Server { address: server, headers: peer.headers.clone(), tls },
            http: Http::connect(http, peer.headers.clone()).await?,
            usage: peer.server_pid.map(|pid| Usage { pid }),
            _started: None,
        })
    }

    /// Starts meshgate as an operator does.
    ///
    /// # Errors
    /// As [`Subject::start`].
    pub(crate) async fn start_meshgate(
        options: &Options,
        tls: Option<&Identities>,
        cores: Option<Cores>,
    ) -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let log = folder.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
        command.args("agent -http-port 0 -grpc-port 0 -log-json -node bench".split(' ')).args(&options.agent);
        command.args(tls.map(Identities::of_agent).transpose()?.into_iter().flatten());
        if options.durable {
            command.arg("-data-dir").arg(folder.path().join("data"));
        } else {
            command.arg("-dev");
        }
        command.stdin(Stdio::null()).stdout(File::create(&log)?);
        let mut process = Process::start(command, cores)?;
        let ready = ready(&mut process, &log).await?;
        let address = |key: &str| Ok::<SocketAddr, Failure>(ready[key].as_str().unwrap_or_default().parse()?);
        Ok(Self {
            server: match tls {
                None => Server::plain(address("grpc")?),
                Some(tls) => Server { tls: Some(tls.client()?), ..Server::plain(address("grpc_tls")?) },
            },
            http: Http::connect(address("http")?, Vec::new()).await?,
            usage: Some(process.usage()),
            _started: Some((process, folder)),
        })
    }
}

/// A control plane whose clock can be moved.
#[derive(Debug)]
pub(crate) struct Clocked {
    process: Process,
    pub(crate) subject: Subject,
}

impl Clocked {
    pub(crate) async fn start(cores: Option<Cores>) -> Result<Self, Failure> {
        let (process, [http, streams]) = start_own(&["serve-clock".to_owned()], cores)?;
        let subject = Subject {
            server: Server::plain(streams),
            http: Http::connect(http, Vec::new()).await?,
            usage: Some(process.usage()),
            _started: None,
        };
        Ok(Self { process, subject })
    }

    /// Lets all certificates be due.
    pub(crate) async fn renew_all(&mut self) -> Result<(), Failure> {
        Ok(self.process.child.stdin.as_mut().ok_or("no input")?.write_all(b"renew\n")?)
    }
}

/// Starts another process of this program, and returns the two addresses that it prints.
fn start_own(arguments: &[String], cores: Option<Cores>) -> Result<(Process, [SocketAddr; 2]), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process::start(command, cores)?;
    let output = process.child.stdout.take().ok_or("no output")?;
    let line = BufReader::new(output).lines().next().ok_or("a server of the bench ended before it was ready")??;
    let (first, second) = line.split_once(' ').ok_or("a server of the bench says something else")?;
    Ok((process, [first.parse()?, second.parse()?]))
}

/// What meshgate logs when it is ready.
async fn ready(process: &mut Process, log: &Path) -> Result<Value, Failure> {
    loop {
        let text = std::fs::read_to_string(log)?;
        let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(ready) = events.find(|event| event["message"] == "ready") {
            return Ok(ready);
        }
        if process.child.try_wait()?.is_some() {
            return Err(format!("meshgate ended before it was ready: {text}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}
