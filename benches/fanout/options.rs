//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use http::{HeaderName, HeaderValue};

use crate::catalog::Naming;
use crate::floor::Style;
use crate::report::{Case, Report};

/// Measures how changes reach proxies, next to the least that this machine needs for it.
#[derive(Debug, Clone, Parser)]
#[command(name = "fanout")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What happens
    #[arg(long, value_enum, default_value = "S1")]
    pub(crate) scenario: Scenario,
    /// How many proxies are connected [default: 1000, and 20 gateways for S3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) proxies: Option<u32>,
    /// Rounds that are measured [default: by scenario and number of proxies]
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Upstreams of each proxy, for S2, S4 and S5
    #[arg(long, default_value_t = 50)]
    pub(crate) upstreams: usize,
    /// Numbers of services that gateways know, for S3
    #[arg(long, value_delimiter = ',', default_values_t = [50, 500, 5_000])]
    pub(crate) services: Vec<usize>,
    /// Changes per second, for S6; 0 is as many as there can be
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 0])]
    pub(crate) rates: Vec<u32>,
    /// How long each rate lasts, for S6
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u32,
    /// Serve the streams with TLS, and ask every proxy for a certificate
    #[arg(long, conflicts_with = "server")]
    pub(crate) tls: bool,
    /// Keep the state of meshgate on disk, so that every change waits for it
    #[arg(long)]
    pub(crate) durable: bool,
    /// Check the targets that a change is likely to break, with 1,000 proxies; fail if one is missed by far
    #[arg(long, conflicts_with = "large")]
    pub(crate) smoke: bool,
    /// Check all targets, with 10,000 proxies and 5,000 services
    #[arg(long)]
    pub(crate) large: bool,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Another argument for `meshgate agent`; may be given several times
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) agent: Vec<String>,
    #[command(flatten)]
    pub(crate) peer: Peer,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// Another control plane, which is running already and is measured in place of meshgate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Peer {
    /// Address of another control plane's ADS server, to measure that one
    #[arg(long, value_name = "IP:PORT", requires = "http")]
    pub(crate) server: Option<SocketAddr>,
    /// Address of its Consul HTTP API
    #[arg(long, value_name = "IP:PORT", requires = "server")]
    pub(crate) http: Option<SocketAddr>,
    /// Process that it runs in, to know what it uses
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Header of streams and HTTP calls, such as a token; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Form of node.id; {proxy}, {service} and {node} are filled in
    #[arg(long, value_name = "FORM")]
    node_id: Option<String>,
    /// Field of node.metadata, in the same form; may be given several times, and replaces the usual ones
    #[arg(long, value_name = "KEY=FORM", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Speak TLS to the ADS server, and trust this file of certificates
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Name that the certificate of the ADS server is for
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    pub(crate) tls_name: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=FORM")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    let name = name.trim().to_lowercase().parse::<HeaderName>().map_err(|error| error.to_string())?;
    Ok((name, value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?))
}

/// What happens, by the names of the performance targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Scenario {
    /// One instance changes of the only upstream that every proxy has
    S1,
    /// One instance changes of one of many upstreams
    S2,
    /// Mesh gateways that know every service: an instance changes, a service is added
    S3,
    /// All proxies start at once
    S4,
    /// All proxies connect again at once, with what they had
    S5,
    /// Changes at a rate, each of them for twenty proxies
    S6,
    /// All certificates are renewed
    S7,
    /// Calls of the HTTP API, as many as there would be proxies, wait for a change
    S8,
}

/// What the bench's other processes do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Be the floor server
    #[command(hide = true)]
    ServeFloor {
        /// How messages are written
        #[arg(long, value_enum)]
        style: Style,
        #[command(flatten)]
        tls: Option<ServerFiles>,
    },
    /// Be a control plane whose clock can be moved
    #[command(hide = true)]
    ServeClock,
}

/// The certificate of a server, its key, and the roots of the certificates of its clients.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerFiles {
    #[arg(long, required = false)]
    pub(crate) tls_ca: PathBuf,
    #[arg(long, required = false, requires = "tls_ca")]
    pub(crate) tls_certificate: PathBuf,
    #[arg(long, required = false, requires = "tls_ca")]
    pub(crate) tls_key: PathBuf,
}

impl Options {
    /// How many proxies are connected.
    pub(crate) fn proxies(&self) -> usize {
        let usual = if self.scenario == Scenario::S3 { 20 } else { 1_000 };
        self.proxies.map_or(usual, |proxies| proxies as usize)
    }

    /// How proxies are called.
    pub(crate) fn naming(&self) -> Naming {
        let usual = Naming::default();
        Naming {
            id: self.peer.node_id.clone().unwrap_or(usual.id),
            metadata: if self.peer.metadata.is_empty() { usual.metadata } else { self.peer.metadata.clone() },
        }
    }

    /// The report of these cases.
    pub(crate) fn report(&self, cases: Vec<Case>) -> Report {
        Report {
            scenario: format!("{:?}", self.scenario),
            subject: self.peer.server.map_or("meshgate".to_owned(), |server| server.to_string()),
            proxies: self.proxies(),
            cases,
        }
    }
}
