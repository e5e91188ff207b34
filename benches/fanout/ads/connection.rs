//! One connection with one stream, in one task: HTTP/2 and the stream are polled together, so that a message costs one
//! wake-up.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use h2::client::{Connection, ResponseFuture};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls::Tls;
use super::wire::Frames;
use crate::Failure;

/// Bytes that a server may send ahead on a stream and on a connection, as Envoy has them.
const WINDOWS: (u32, u32) = (16 << 20, 24 << 20);

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Tells a server under which number the bench has a stream; only the floor server reads it.
pub(crate) const NUMBER_HEADER: &str = "bench-proxy";

/// An ADS server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) tls: Option<Tls>,
}

impl Server {
    /// A server that speaks plain text.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, headers: Vec::new(), tls: None }
    }
}

/// Opens a stream, sends the first messages, and answers each message with what `on_message` returns, until the stream
/// ends.
///
/// # Errors
/// Always: why it ended.
pub(crate) async fn connect(
    server: &Server,
    number: usize,
    first: Vec<Bytes>,
    on_message: impl FnMut(Bytes) -> Result<Vec<Bytes>, Failure>,
) -> Result<(), Failure> {
    let socket = TcpStream::connect(server.address).await.map_err(|error| format!("cannot connect: {error}"))?;
    socket.set_nodelay(true)?;
    match &server.tls {
        None => stream(socket, server, number, first, on_message).await,
        Some(tls) => stream(tls.connect(socket).await?, server, number, first, on_message).await,
    }
}

async fn stream<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    server: &Server,
    number: usize,
    first: Vec<Bytes>,
    on_message: impl FnMut(Bytes) -> Result<Vec<Bytes>, Failure>,
) -> Result<(), Failure> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    let (sender, connection) = builder.handshake(socket).await?;
    let mut request = Request::post(format!("http://{}{METHOD}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(NUMBER_HEADER, number)
        .body(())?;
    request.headers_mut().extend(server.headers.iter().cloned());
    let (response, mut requests) = sender.ready().await?.send_request(request, false)?;
    for message in first {
        requests.send_data(message, false)?;
    }
    let frames = Frames::default();
    let mut stream = Stream { connection, response: Some(response), body: None, requests, frames, on_message };
    poll_fn(|context| stream.poll(context)).await
}

struct Stream<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection: Connection<S, Bytes>,
    /// `None` once it was there.
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    requests: SendStream<Bytes>,
    frames: Frames,
    on_message: F,
}

impl<S, F> Stream<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Bytes) -> Result<Vec<Bytes>, Failure>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            let ended = self.connection.poll_unpin(context);
            self.poll_response(context)?;
            let mut is_idle = true;
            while let Poll::Ready(chunk) = self.poll_chunk(context) {
                self.frames.push(chunk?);
                while let Some(message) = self.frames.next() {
                    is_idle = false;
                    for answer in (self.on_message)(message)? {
                        self.requests.send_data(answer, false)?;
                    }
                }
            }
            if let Poll::Ready(ended) = ended {
                return Poll::Ready(Err(match ended {
                    Ok(()) => "the server closed the connection".into(),
                    Err(error) => error.into(),
                }));
            }
            // What was queued is written by the connection.
            if is_idle {
                return Poll::Pending;
            }
        }
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Some(response) = &mut self.response else { return Ok(()) };
        let Poll::Ready(response) = response.poll_unpin(context) else { return Ok(()) };
        self.response = None;
        let (head, body) = response?.into_parts();
        if head.status != 200 || head.headers.contains_key("grpc-status") {
            return Err(refusal(&head.headers, &format!("status {}", head.status)));
        }
        self.body = Some(body);
        Ok(())
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        let Some(body) = &mut self.body else { return Poll::Pending };
        match ready!(body.poll_data(context)) {
            Some(chunk) => {
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                Poll::Ready(Ok(chunk))
            }
            None => {
                let trailers = ready!(body.poll_trailers(context))?;
                Poll::Ready(Err(refusal(&trailers.unwrap_or_default(), "no status")))
            }
        }
    }
}

/// Why the server ended the stream.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: String,
    message: String,
}

impl Refusal {
    /// True if the server is only busy (`RESOURCE_EXHAUSTED`, `UNAVAILABLE`): an Envoy tries again.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(&*self.code, "8" | "14")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server ended the stream: {} {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

fn refusal(headers: &HeaderMap, otherwise: &str) -> Failure {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status").unwrap_or_else(|| otherwise.to_owned());
    Refusal { code, message: text("grpc-message").unwrap_or_default() }.into()
}
