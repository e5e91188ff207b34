//! `meshgate troubleshoot ports`.

use std::time::Duration;

use clap::Args;
use tokio::net::TcpStream;

use crate::cli::{CliError, output};

/// Whoever does not answer within this time is not reached.
const LIMIT: Duration = Duration::from_secs(5);

/// The ports that Consul and meshgate use unless they are told otherwise, and what is there.
const KNOWN: [(u16, &str); 8] = [
    (8500, "HTTP API"),
    (8501, "HTTP API with TLS"),
    (8502, "xDS"),
    (8503, "xDS with TLS"),
    (8600, "DNS; Consul only"),
    (8300, "RPC of servers; Consul only"),
    (8301, "gossip of a datacenter; Consul only"),
    (8302, "gossip between datacenters; Consul only"),
];

/// Options of `troubleshoot ports`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PortsOptions {
    /// Host of the control plane
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Ports that are tried in place of the usual ones
    #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
    ports: Vec<u16>,
}

/// Tries all of them at once, and prints them in their order.
pub(super) async fn run(options: &PortsOptions) -> Result<(), CliError> {
    let ports = if options.ports.is_empty() { KNOWN.map(|(port, _)| port).to_vec() } else { options.ports.clone() };
    let tried = ports.iter().map(|port| tried(&options.host, *port));
    for (port, outcome) in ports.iter().zip(futures::future::join_all(tried).await) {
        let about =
            KNOWN.iter().find(|(known, _)| known == port).map_or(String::new(), |(_, what)| format!(" ({what})"));
        output::line(&format!("TCP port {port} of {}{about}: {outcome}", options.host))?;
    }
    Ok(())
}

async fn tried(host: &str, port: u16) -> String {
    match tokio::time::timeout(LIMIT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => "open".to_owned(),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => "closed".to_owned(),
        Ok(Err(error)) => format!("not reached: {error}"),
        Err(_) => format!("not reached: no answer within {} s", LIMIT.as_secs()),
    }
}
