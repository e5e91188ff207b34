//! TLS to servers that want it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;
use crate::support::tls::{self, Pair};

/// Whom to trust, and as whom.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts the certificates of a file, and shows one if it is given one.
    ///
    /// # Errors
    /// A file cannot be used, or the name is none.
    pub(crate) fn new(ca: &Path, name: &str, own: Option<&Pair>) -> Result<Self, Failure> {
        let connector = TlsConnector::from(Arc::new(tls::client(ca, own)?));
        Ok(Self { connector, name: ServerName::try_from(name.to_owned())? })
    }

    pub(super) async fn connect(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        Ok(self.connector.connect(self.name.clone(), socket).await?)
    }
}
