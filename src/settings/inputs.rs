//! Everything that settings are made from, as values.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

use crate::codec::Format;

/// What settings are made from. Tests build one by hand; the program takes it from the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Values of the command line: key (`ports.http`) and text, in order.
    pub flags: Vec<(&'static str, String)>,
    /// Files and directories of settings, in the order of the command line.
    pub files: Vec<PathBuf>,
    /// The format of files whose name does not tell.
    pub file_format: Option<FileFormat>,
    /// Settings in HCL that were given on the command line.
    pub snippets: Vec<String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Keep the state in memory alone.
    pub dev: bool,
    /// Name of this host, if it has one.
    pub host_name: Option<String>,
    /// The address that this host reaches others from, if there are others.
    pub host_address: Option<IpAddr>,
    /// All addresses of this host, for templates that mean some of them.
    pub host_addresses: Vec<HostAddress>,
}

/// An address of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// The interface that has it.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// The host reaches others from it.
    pub is_default: bool,
}

/// The format of a file of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// HashiCorp's configuration language.
    Hcl,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Hcl => Format::Hcl,
            FileFormat::Json => Format::Json,
            FileFormat::Yaml => Format::Yaml,
        }
    }
}

impl Inputs {
    /// What this process knows by itself: its environment, the host's name and address.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            host_name: host_name(),
            host_address: host_address(),
            host_addresses: host_addresses(),
            ..Self::default()
        }
    }
}

fn host_name() -> Option<String> {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| {
        let output = std::process::Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    })?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Connecting a datagram socket sends nothing; it makes the system choose the address that it would send from. The
/// destination is of a range that is reserved for documentation.
fn host_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

/// The addresses of this host; none if the system does not tell them.
pub(super) fn host_addresses() -> Vec<HostAddress> {
    let default = host_address();
    let of = |found: if_addrs::Interface| {
        let ip = found.ip();
        HostAddress { interface: found.name, ip, is_default: Some(ip) == default }
    };
    if_addrs::get_if_addrs().map(|found| found.into_iter().map(of).collect()).unwrap_or_default()
}
