//! Calls of Consul's HTTP API, over connections that stay open.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::Failure;

/// Connections that calls are spread over where their order does not matter.
const CONNECTIONS: usize = 8;

/// A client of the API.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    address: SocketAddr,
    headers: Vec<(HeaderName, HeaderValue)>,
    connections: Vec<Arc<Mutex<SendRequest<Full<Bytes>>>>>,
}

/// One write.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) path: &'static str,
    pub(crate) body: Value,
}

impl Http {
    pub(crate) async fn connect(address: SocketAddr, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Arc::new(Mutex::new(open(address).await?)));
        }
        Ok(Self { address, headers, connections })
    }

    /// Where the API is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What every call carries.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Writes on the connection with this number, as soon as it is free.
    ///
    /// # Errors
    /// The write is refused, or the server gone.
    pub(crate) async fn put(&self, connection: usize, write: &Write) -> Result<(), Failure> {
        let body = Full::new(Bytes::from(write.body.to_string()));
        let mut request = Request::put(write.path).header("host", self.address.to_string()).body(body)?;
        request.headers_mut().extend(self.headers.iter().cloned());
        let mut sender = self.connections[connection % CONNECTIONS].lock().await;
        // A server closes what nobody has used for a while.
        if sender.is_closed() {
            *sender = open(self.address).await?;
        }
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("PUT {}: {status}: {} of {}", write.path, String::from_utf8_lossy(&answer), write.body).into())
    }

    /// Writes all of this, in any order.
    ///
    /// # Errors
    /// As [`Http::put`].
    pub(crate) async fn put_all(&self, writes: impl IntoIterator<Item = Write>) -> Result<(), Failure> {
        let writes = Arc::new(Mutex::new(writes.into_iter().collect::<Vec<_>>().into_iter()));
        let workers = (0..CONNECTIONS).map(|connection| {
            let writes = writes.clone();
            async move {
                loop {
                    let Some(write) = writes.lock().await.next() else { return Ok(()) };
                    self.put(connection, &write).await?;
                }
            }
        });
        futures::future::try_join_all(workers).await.map(drop)
    }
}

async fn open(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let socket = TcpStream::connect(address).await.map_err(|error| format!("HTTP API {address}: {error}"))?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
