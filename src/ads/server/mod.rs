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
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use self::options::Options;
pub use self::service::AdsService;

use self::flow::{Counted, Flow, Flows};
use super::codec::IDENTIFIER;
use crate::envoy::snapshot::SnapshotSource;
use crate::telemetry::Readiness;

/// Lets a fleet that lost another replica connect within a second.
const BACKLOG: u32 = 4096;

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

/// Opens a listening socket whose queue holds a whole fleet.
///
/// # Errors
/// The address cannot be bound. The runtime must be one of tokio.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves both methods of ADS until `shutdown`, then ends every stream and returns.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn SnapshotSource>,
    options: Options,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let service = AdsService::new(source, options, readiness, shutdown.clone());
    let options = service.options().clone();
    let (connections, flows, abort) = (TaskTracker::new(), Flows::default(), CancellationToken::new());
    let mut sweep = interval(options.write / 4);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let address = listener.local_addr().ok().map(tracing::field::display);
    info!(version = IDENTIFIER, address, "serving xDS");
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = sweep.tick() => match flows.sweep(options.write) {
                0 => {}
                connections => warn!(connections, "closing connections of clients that take nothing"),
            },
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let flow = flows.watch(abort.child_token());
                    let connection = Connection { peer: Some(peer), closing: shutdown.child_token(), flow };
                    connections.spawn(serve_connection(socket, service.clone(), connection));
                }
                Err(error) => {
                    // Such as too many open files: others may end in the meantime.
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    connections.close();
    if timeout(options.drain, connections.wait()).await.is_err() {
        warn!(connections = connections.len(), "clients did not close their connections in time");
        abort.cancel();
        connections.wait().await;
    }
}

async fn serve_connection(socket: TcpStream, service: AdsService, shared: Connection) {
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
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let is_used = AtomicBool::new(false);
    let call = |mut request: http::Request<Incoming>| {
        is_used.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(shared.clone());
        tower::Service::call(&mut service.clone(), request)
    };
    let socket = Counted { socket, flow: shared.flow.clone() };
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
