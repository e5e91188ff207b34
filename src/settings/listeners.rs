//! Where the process listens, and what its TLS is made of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::draft::Draft;
use super::parse;

const HTTP_PORT: u16 = 8500;
const GRPC_PORT: u16 = 8502;
const GRPC_TLS_PORT: u16 = 8503;

/// A port with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListener {
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// What its TLS is made of.
    pub files: TlsFiles,
}

/// What the TLS of a port is made of. The files are read at the start and at each reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The keys that say so.
    pub section: TlsSection,
    /// The certificate that clients verify, with the intermediate ones that lead to it, in PEM.
    pub cert_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
    /// The roots of the certificates that clients must have, in PEM; `None` asks them for none.
    pub client_ca_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

impl TlsFiles {
    /// For people, under the names of the keys.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "cert_file": self.cert_file,
            "key_file": self.key_file,
            "ca_file": self.client_ca_file,
            "verify_incoming": self.client_ca_file.is_some(),
            "tls_min_version": self.min_version.as_str(),
        })
    }
}

/// The keys about the TLS of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsSection {
    /// `tls.grpc`: of xDS.
    Grpc,
    /// `tls.https`: of the HTTP API.
    Https,
}

impl TlsSection {
    /// A member of the section, else of `tls.defaults`.
    fn member<T>(self, draft: &mut Draft, name: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        let default = draft.read(&format!("tls.defaults.{name}"), &parse);
        draft.read(&format!("{}.{name}", self.path()), parse).or(default)
    }

    /// Its path.
    pub const fn path(self) -> &'static str {
        match self {
            TlsSection::Grpc => "tls.grpc",
            TlsSection::Https => "tls.https",
        }
    }

    /// The key of its port.
    const fn port(self) -> &'static str {
        match self {
            TlsSection::Grpc => "ports.grpc_tls",
            TlsSection::Https => "ports.https",
        }
    }

    /// What is served, for people.
    const fn what(self) -> &'static str {
        match self {
            TlsSection::Grpc => "xDS with TLS",
            TlsSection::Https => "the HTTP API with TLS",
        }
    }
}

/// A version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    V1_2,
    /// 1.3.
    V1_3,
}

impl TlsVersion {
    const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::V1_2 => "TLSv1_2",
            TlsVersion::V1_3 => "TLSv1_3",
        }
    }

    fn parse(value: &Value) -> Result<Self, String> {
        match parse::text(value)?.as_str() {
            "" | "TLS_AUTO" | "TLSv1_2" => Ok(TlsVersion::V1_2),
            "TLSv1_3" => Ok(TlsVersion::V1_3),
            "TLSv1_0" | "TLSv1_1" => Err("is too old to be spoken: use TLSv1_2 or TLSv1_3".to_owned()),
            other => Err(format!("{other:?} is no version of TLS: use TLSv1_2 or TLSv1_3")),
        }
    }
}

/// Where the process listens.
pub(super) struct Listeners {
    pub(super) http: SocketAddr,
    pub(super) https: Option<TlsListener>,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) grpc_tls: Option<TlsListener>,
}

impl Listeners {
    /// As the draft says.
    pub(super) fn read(draft: &mut Draft) -> Self {
        let client = draft.read("client_addr", parse::ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let http_ip = draft.read("addresses.http", parse::ip).unwrap_or(client);
        let grpc_ip = draft.read("addresses.grpc", parse::ip).unwrap_or(client);
        let tls_ip = draft.read("addresses.grpc_tls", parse::ip).unwrap_or(client);
        let https_ip = draft.read("addresses.https", parse::ip).unwrap_or(client);
        let http = SocketAddr::new(http_ip, draft.read("ports.http", parse::listen_port).unwrap_or(HTTP_PORT));
        let grpc_port = draft.read("ports.grpc", parse::open_port).unwrap_or(Some(GRPC_PORT));
        let grpc = grpc_port.map(|port| SocketAddr::new(grpc_ip, port));
        let https_tls = Tls::read(draft, TlsSection::Https);
        // As in Consul, a certificate alone does not open the port.
        let https_port = draft.read("ports.https", parse::open_port).flatten();
        let https_address = https_port.map(|port| SocketAddr::new(https_ip, port));
        let (tls, tls_port) = (Tls::read(draft, TlsSection::Grpc), draft.read("ports.grpc_tls", parse::open_port));
        // As for Consul's servers: with a certificate, xDS is served with it.
        let tls_port = tls_port.unwrap_or(tls.cert_file.is_some().then_some(GRPC_TLS_PORT));
        let tls_address = tls_port.map(|port| SocketAddr::new(tls_ip, port));
        let addresses = [
            ("ports.http", Some(http)),
            ("ports.https", https_address),
            ("ports.grpc", grpc),
            ("ports.grpc_tls", tls_address),
        ];
        keep_apart(draft, &addresses);
        if grpc.is_none() && tls_address.is_none() {
            let message = "xDS cannot be switched off: give a port, 0 to let the system choose one, or serve it with TLS \
                           by ports.grpc_tls";
            draft.problem(draft.source_of("ports.grpc"), message);
        }
        let mut complete = |address: Option<SocketAddr>, tls: Tls| {
            address.and_then(|address| Some(TlsListener { address, files: tls.complete(draft)? }))
        };
        let (https, grpc_tls) = (complete(https_address, https_tls), complete(tls_address, tls));
        Self { http, https, grpc, grpc_tls }
    }
}

/// Each listener needs an address of its own.
fn keep_apart(draft: &mut Draft, listeners: &[(&'static str, Option<SocketAddr>)]) {
    for (at, (key, address)) in listeners.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        let Some((other, _)) = listeners[..at].iter().find(|(_, other)| *other == Some(address)) else { continue };
        let (said, other) = if draft.is_given(key) { (*key, *other) } else { (*other, *key) };
        let source = draft.source_of(said);
        draft.problem(source, format!("{address} is also what {other} says: each needs a port of its own"));
    }
}

/// What was said about the TLS of a port: a member of its section, else of `tls.defaults`.
struct Tls {
    section: TlsSection,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    verify_incoming: bool,
    min_version: TlsVersion,
}

impl Tls {
    fn read(draft: &mut Draft, section: TlsSection) -> Self {
        let cert_file = section.member(draft, "cert_file", parse::path);
        let key_file = section.member(draft, "key_file", parse::path);
        let ca_file = section.member(draft, "ca_file", parse::path);
        let verify_incoming = section.member(draft, "verify_incoming", parse::switch).unwrap_or_default();
        let min_version = section.member(draft, "tls_min_version", TlsVersion::parse).unwrap_or_default();
        Self { section, cert_file, key_file, ca_file, verify_incoming, min_version }
    }

    /// What a port is served with; notes what is missing.
    fn complete(self, draft: &mut Draft) -> Option<TlsFiles> {
        let needed = [
            ("a certificate", "cert_file", self.cert_file.is_none()),
            ("the private key of its certificate", "key_file", self.key_file.is_none()),
            (
                "roots to verify the certificates of clients with",
                "ca_file",
                self.verify_incoming && self.ca_file.is_none(),
            ),
        ];
        let (what, path) = (self.section.what(), self.section.path());
        for (missing, key, _) in needed.into_iter().filter(|(.., is_missing)| *is_missing) {
            let source = draft.source_of(self.section.port());
            draft.problem(source, format!("{what} needs {missing}, {path}.{key}, in a file"));
        }
        Some(TlsFiles {
            section: self.section,
            cert_file: self.cert_file?,
            key_file: self.key_file?,
            client_ca_file: self.ca_file.filter(|_| self.verify_incoming),
            min_version: self.min_version,
        })
    }
}
