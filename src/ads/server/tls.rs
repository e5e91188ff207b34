//! TLS of a listener.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// What a listener shows its clients and asks of them. It can be exchanged while clients are served: each new connection
/// gets what is there when it comes. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// TLS as `config` says, for gRPC.
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(for_grpc(config))))
    }

    /// Makes this what new connections get.
    pub fn replace(&self, config: ServerConfig) {
        self.0.store(Arc::new(for_grpc(config)));
    }

    pub(super) fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> impl Future<Output = io::Result<TlsStream<S>>> + use<S> {
        let accepting: Accept<S> = TlsAcceptor::from(self.0.load_full()).accept(socket);
        accepting
    }
}

/// Sessions are not resumed: each connection is verified by the roots of its time, and a small cache would be of no use to
/// a fleet.
fn for_grpc(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}
