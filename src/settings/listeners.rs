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
    /// Where it listens, one address at least; port 0 lets the system choose.
    pub addresses: Vec<SocketAddr>,
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
            "" | "TLS_AUTO" | "TLSv1_2" | "tls12" => Ok(TlsVersion::V1_2),
            "TLSv1_3" | "tls13" => Ok(TlsVersion::V1_3),
            "TLSv1_0" | "TLSv1_1" | "tls10" | "tls11" => {
                Err("is too old to be spoken: use TLSv1_2 or TLSv1_3".to_owned())
            }
            other => Err(format!("{other:?} is no version of TLS: use TLSv1_2 or TLSv1_3")),
        }
    }
}

/// Where the process listens.
pub(super) struct Listeners {
    pub(super) http: Vec<SocketAddr>,
    pub(super) https: Option<TlsListener>,
    pub(super) grpc: Vec<SocketAddr>,
    pub(super) grpc_tls: Option<TlsListener>,
}

impl Listeners {
    /// As the draft says.
    pub(super) fn read(draft: &mut Draft) -> Self {
        let client = draft.read("client_addr", parse::ips).unwrap_or_else(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let [http_ips, https_ips, grpc_ips, tls_ips] =
            ["addresses.http", "addresses.https", "addresses.grpc", "addresses.grpc_tls"]
                .map(|key| draft.read(key, parse::ips).unwrap_or_else(|| client.clone()));
        let http = at(&http_ips, draft.read("ports.http", parse::open_port).unwrap_or(Some(HTTP_PORT)));
        let grpc = at(&grpc_ips, draft.read("ports.grpc", parse::open_port).unwrap_or(Some(GRPC_PORT)));
        let https_tls = Tls::read(draft, TlsSection::Https);
        // As in Consul, a certificate alone does not open the port.
        let https = at(&https_ips, draft.read("ports.https", parse::open_port).flatten());
        let (tls, tls_port) = (Tls::read(draft, TlsSection::Grpc), draft.read("ports.grpc_tls", parse::open_port));
        // As for Consul's servers: with a certificate, xDS is served with it.
        let tls_port = tls_port.unwrap_or(tls.cert_file.is_some().then_some(GRPC_TLS_PORT));
        let grpc_tls = at(&tls_ips, tls_port);
        keep_apart(
            draft,
            &[("ports.http", &http), ("ports.https", &https), ("ports.grpc", &grpc), ("ports.grpc_tls", &grpc_tls)],
        );
        for (what, [open, with_tls], [key, tls_key]) in [
            ("the HTTP API", [&http, &https], ["ports.http", "ports.https"]),
            ("xDS", [&grpc, &grpc_tls], ["ports.grpc", "ports.grpc_tls"]),
        ] {
            if open.is_empty() && with_tls.is_empty() {
                let message = format!(
                    "{what} cannot be switched off: give a port, 0 to let the system choose one, or serve it with TLS by \
                     {tls_key}"
                );
                draft.problem(draft.source_of(key), message);
            }
        }
        let mut complete = |addresses: Vec<SocketAddr>, tls: Tls| {
            if addresses.is_empty() { None } else { Some(TlsListener { addresses, files: tls.complete(draft)? }) }
        };
        let (https, grpc_tls) = (complete(https, https_tls), complete(grpc_tls, tls));
        Self { http, https, grpc, grpc_tls }
    }
}

/// An open port at each of some addresses.
fn at(ips: &[IpAddr], port: Option<u16>) -> Vec<SocketAddr> {
    port.map_or_else(Vec::new, |port| ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
}

/// Each listener needs an address of its own.
fn keep_apart(draft: &mut Draft, listeners: &[(&'static str, &Vec<SocketAddr>)]) {
    let all: Vec<_> = listeners.iter().flat_map(|(key, addresses)| addresses.iter().map(|it| (*key, *it))).collect();
    for (position, (key, address)) in all.iter().enumerate().filter(|(_, (_, address))| address.port() != 0) {
        let Some((other, _)) = all[..position].iter().find(|(_, other)| other == address) else { continue };
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
