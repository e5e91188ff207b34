//! The gRPC service and its connections: the only part of `ads` that knows sockets, clocks and tasks.
//!
//! A stream has no task of its own: it runs inside the poll of its response body. A slow client thus holds back its own
//! stream and nothing else, and finds the latest state when it goes on.

mod body;
mod flow;
mod options;
mod requests;
mod service;
mod stream;

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use self::options::Options;
pub use self::service::AdsService;

use self::flow::{Counted, Flow, Flows};
use super::codec::IDENTIFIER;
use crate::envoy::snapshot::SnapshotSource;
use crate::net::{Listener, Tls};
use crate::telemetry::Readiness;

/// Most streams on one connection. Envoy needs one.
const STREAMS_PER_CONNECTION: u32 = 128;

/// Bytes that a client may send ahead on a stream and on a connection; a large reconnect should not take many round trips.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// What the streams of a connection share.
#[derive(Debug, Clone)]
struct Connection {
    peer: Option<SocketAddr>,
    /// Streams end with a status.
    closing: CancellationToken,
    flow: Arc<Flow>,
}

/// Serves both methods of ADS until `shutdown`, then ends every stream and returns.
pub async fn serve(
    listeners: impl IntoIterator<Item = Listener>,
    source: Arc<dyn SnapshotSource>,
    options: Options,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let service = AdsService::new(source, options, readiness, shutdown.clone());
    let server = Server {
        service,
        connections: TaskTracker::new(),
        flows: Flows::default(),
        abort: CancellationToken::new(),
        shutdown,
    };
    let accepting = join_all(listeners.into_iter().map(|listener| server.accept(listener)));
    join(accepting, server.sweep()).await;
    server.drain().await;
}

/// What all connections share.
struct Server {
    service: AdsService,
    connections: TaskTracker,
    flows: Flows,
    /// Drops all connections.
    abort: CancellationToken,
    shutdown: CancellationToken,
}

impl Server {
    /// Accepts connections until the shutdown.
    async fn accept(&self, listener: Listener) {
        let Listener { socket: listener, tls } = listener;
        let address = listener.local_addr().ok().map(tracing::field::display);
        info!(version = IDENTIFIER, address, tls = tls.is_some(), "serving xDS");
        while let Some(accepted) = self.shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((socket, peer)) => self.spawn(socket, peer, tls.as_ref()),
                Err(error) => {
                    // Such as too many open files: others may end in the meantime.
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn spawn(&self, socket: TcpStream, peer: SocketAddr, tls: Option<&Tls>) {
        if let Err(error) = socket.set_nodelay(true) {
            debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let flow = self.flows.watch(self.abort.child_token());
        let connection = Connection { peer: Some(peer), closing: self.shutdown.child_token(), flow: flow.clone() };
        let (socket, service) = (Counted { socket, flow }, self.service.clone());
        let Some(tls) = tls else {
            self.connections.spawn(serve_connection(socket, service, connection));
            return;
        };
        let accepting = timeout(service.options().first_request, tls.accept(socket));
        self.connections.spawn(async move {
            match accepting.await {
                // In a box, as the task would else be as large as a handshake for as long as it lives.
                Ok(Ok(socket)) => Box::pin(serve_connection(socket, service, connection)).await,
                Ok(Err(error)) => debug!(%peer, %error, "the client and this server did not agree on TLS"),
                Err(_) => debug!(%peer, "the client did not finish its handshake in time"),
            }
        });
    }

    /// Drops, until the shutdown, the connections of clients that take nothing.
    async fn sweep(&self) {
        let deadline = self.service.options().write;
        let mut sweep = interval(deadline / 4);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.shutdown.run_until_cancelled(sweep.tick()).await.is_some() {
            match self.flows.sweep(deadline) {
                0 => {}
                connections => warn!(connections, "closing connections of clients that take nothing"),
            }
        }
    }

    async fn drain(self) {
        self.connections.close();
        if timeout(self.service.options().drain, self.connections.wait()).await.is_err() {
            warn!(connections = self.connections.len(), "clients did not close their connections in time");
            self.abort.cancel();
            self.connections.wait().await;
        }
    }
}

async fn serve_connection<S>(socket: S, service: AdsService, shared: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (interval, timeout) = service.options().keepalive;
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW);
    let is_used = AtomicBool::new(false);
    let call = |mut request: http::Request<Incoming>| {
        is_used.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(shared.clone());
        tower::Service::call(&mut service.clone(), request)
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service_fn(call)));
    let unused = async {
        sleep(service.options().first_request).await;
        if is_used.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.flow.abort.cancelled() => return,
        () = unused => return debug!(peer = ?shared.peer, "nothing was asked for on the connection"),
        () = shared.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = shared.flow.abort.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(peer = ?shared.peer, %error, "the connection broke");
    }
}
