//! TLS of a listener.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// What is spoken over TLS, as clients and servers tell each other in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 alone, as gRPC needs it.
    Http2,
    /// HTTP/2 and HTTP/1.1.
    Http,
}

impl Protocols {
    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Protocols::Http2 => vec![b"h2".to_vec()],
            Protocols::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// What a listener shows its clients and asks of them. It can be exchanged while clients are served: each new connection
/// gets what is there when it comes. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ArcSwap<ServerConfig>>,
    protocols: Protocols,
}

impl Tls {
    /// TLS as `config` says.
    pub fn new(config: ServerConfig, protocols: Protocols) -> Self {
        Self { config: Arc::new(ArcSwap::from_pointee(speaking(protocols, config))), protocols }
    }

    /// Makes this what new connections get.
    pub fn replace(&self, config: ServerConfig) {
        self.config.store(Arc::new(speaking(self.protocols, config)));
    }

    /// The handshake with a client.
    ///
    /// # Errors
    /// The two do not agree, or the connection breaks.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> impl Future<Output = io::Result<TlsStream<S>>> + use<S> {
        let accepting: Accept<S> = TlsAcceptor::from(self.config.load_full()).accept(socket);
        accepting
    }
}

/// Sessions are not resumed: each connection is verified by the roots of its time, and a small cache would be of no use to
/// a fleet.
fn speaking(protocols: Protocols, mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = protocols.names();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}
