//! Certificates of the servers and of the load client, where streams are under mutual TLS.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::Failure;
use crate::ads::Tls;
use crate::support::tls::{Pair, Signer};

/// Certificates in files, which go when this is dropped.
#[derive(Debug)]
pub(crate) struct Identities {
    folder: TempDir,
    root: PathBuf,
    server: Pair,
    client: Pair,
}

impl Identities {
    /// New ones, all signed by one root.
    ///
    /// # Errors
    /// There is no room for files.
    pub(crate) fn new() -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let signer = Signer::new(folder.path(), "root");
        let (server, client) = (signer.sign(folder.path(), "server"), signer.sign(folder.path(), "client"));
        Ok(Self { root: signer.root, server, client, folder })
    }

    /// The load client's side.
    ///
    /// # Errors
    /// The files cannot be used.
    pub(crate) fn client(&self) -> Result<Tls, Failure> {
        Tls::new(&self.root, "localhost", Some(&self.client))
    }

    /// Arguments of the floor server.
    pub(crate) fn of_floor(&self) -> [String; 3] {
        let argument = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
        let Pair { certificate, key } = &self.server;
        [argument("tls-ca", &self.root), argument("tls-certificate", certificate), argument("tls-key", key)]
    }

    /// Arguments of meshgate's agent.
    ///
    /// # Errors
    /// There is no room for a file.
    pub(crate) fn of_agent(&self) -> Result<[String; 3], Failure> {
        let Pair { certificate, key } = &self.server;
        let grpc = json!({
            "cert_file": certificate, "key_file": key, "ca_file": self.root, "verify_incoming": true,
        });
        let path = self.folder.path().join("tls.json");
        std::fs::write(&path, json!({"tls": {"grpc": grpc}}).to_string())?;
        Ok(["-grpc-tls-port=0".to_owned(), "-config-file".to_owned(), path.display().to_string()])
    }
}
