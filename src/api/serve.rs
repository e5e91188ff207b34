//! The listeners: HTTP/1.1 and HTTP/2 on one port, with and without TLS, bounded against slow clients, drained at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use futures::future::join_all;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::net::Listener;

/// Time in which a client must send the head of a request; a connection without one is closed after it.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// Most connections at a time, wherever there are descriptors for more: a call that waits has one for itself, and a fleet has
/// many that wait.
const CONNECTIONS: usize = 32_768;
/// Most calls at a time on one HTTP/2 connection.
const CALLS_PER_CONNECTION: u32 = 1024;
/// HTTP/2 clients that do not answer a ping are gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time in which a client must finish its TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Pause after a failed `accept`, which mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many are served, and how they are let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeOptions {
    /// Most connections at a time; more are left in the listener's backlog.
    pub connections: usize,
    /// Time that the calls that run have to finish after the end.
    pub deadline: Duration,
}

impl ServeOptions {
    /// For a process that may have so many descriptors open (`None` for any number): half of them are left to proxies and
    /// files, so that calls that wait cannot take all.
    pub fn within(descriptors: Option<u64>, deadline: Duration) -> Self {
        let half = descriptors.and_then(|most| usize::try_from(most / 2).ok()).unwrap_or(CONNECTIONS);
        Self { connections: half.clamp(1, CONNECTIONS), deadline }
    }
}

/// Whom a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(pub(super) SocketAddr);

/// Serves `router` until `shutdown`, then lets the calls that run finish until the deadline has passed, and cuts off the
/// rest. The calls that wait for a change end by the token of [`Api`](super::Api), which should be the same or a parent.
pub async fn serve(
    listeners: impl IntoIterator<Item = Listener>,
    router: Router,
    shutdown: CancellationToken,
    options: ServeOptions,
) {
    let places = Arc::new(Semaphore::new(options.connections));
    let serve = |listener| serve_one(listener, router.clone(), places.clone(), shutdown.clone(), options);
    join_all(listeners.into_iter().map(serve)).await;
}

async fn serve_one(
    Listener { socket: listener, tls }: Listener,
    router: Router,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
    options: ServeOptions,
) {
    let builder = Arc::new(builder());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some(stream) = shutdown.run_until_cancelled(accept(&listener)).await {
        let Some(Ok(place)) = shutdown.run_until_cancelled(places.clone().acquire_owned()).await else { break };
        let (builder, watcher, shutdown) = (builder.clone(), graceful.watcher(), shutdown.clone());
        let (caller, router) = (stream.peer_addr().ok().map(Caller), router.clone());
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            tower::Service::call(&mut router.clone(), request)
        });
        let tls = tls.clone();
        connections.spawn(async move {
            let connection = match tls {
                None => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    watcher.watch(connection).left_future()
                }
                Some(tls) => {
                    let handshake = timeout(HANDSHAKE_TIME, tls.accept(stream));
                    let stream = match shutdown.run_until_cancelled(handshake).await {
                        None => return,
                        Some(Ok(Ok(stream))) => stream,
                        Some(Ok(Err(error))) => {
                            return tracing::debug!(%error, "client and server did not agree on TLS");
                        }
                        Some(Err(_)) => return tracing::debug!("the client did not finish its handshake in time"),
                    };
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    // In a box, as every task would else be as large as one with TLS.
                    watcher.watch(connection).boxed().right_future()
                }
            };
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "connection ended");
            }
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if timeout(options.deadline, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off what did not end in time");
    }
    connections.shutdown().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// The next connection; failures are told and waited out.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and whole; waiting for more to send with them only costs time.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "nodelay cannot be set");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(error = %error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_are_left_to_proxies() {
        let connections = |descriptors| ServeOptions::within(descriptors, Duration::ZERO).connections;

        assert_eq!([Some(1024), Some(1), Some(65_536), Some(u64::MAX)].map(connections), [512, 1, 32_768, 32_768]);
        assert_eq!(connections(None), 32_768);
    }
}
