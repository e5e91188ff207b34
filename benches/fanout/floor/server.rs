//! The server and its codec.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use futures::future::BoxFuture;
use prost::Message;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, Streaming};

use super::control::{Command, Commands};
use super::stream::{FloorStream, Request, Script, Slot, lock};
use super::tls;
use crate::Failure;
use crate::ads::{NUMBER_HEADER, frame_bytes};
use crate::options::ServerFiles;

/// How a message goes from shared bytes to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// Through tonic's encoder, which copies it; best for small messages.
    Copied,
    /// As a body of shared bytes, without a copy; best for large ones.
    Shared,
}

/// As in meshgate's server.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// As in meshgate's server.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// Serves until the bench that started it ends. Prints where streams and where commands are taken.
///
/// # Errors
/// It cannot listen.
pub(crate) async fn serve(style: Style, tls: Option<&ServerFiles>) -> Result<(), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let streams = meshgate::net::bind(any)?;
    let commands = TcpListener::bind(any).await?;
    println!("{} {}", streams.local_addr()?, commands.local_addr()?);
    let floor = Floor { style, slots: Arc::default(), script: Arc::default() };
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .add_service(floor.clone());
    let server: BoxFuture<'_, _> = match tls {
        None => Box::pin(server.serve_with_incoming(TcpIncoming::from(streams).with_nodelay(Some(true)))),
        Some(files) => Box::pin(server.serve_with_incoming(tls::incoming(streams, files)?)),
    };
    let obey = async {
        let (socket, _) = commands.accept().await?;
        socket.set_nodelay(true)?;
        floor.obey(Commands::new(socket)).await
    };
    tokio::select! {
        ended = server => Ok(ended?),
        // The bench has gone.
        _ = obey => Ok(()),
    }
}

#[derive(Debug, Clone)]
struct Floor {
    style: Style,
    /// By the numbers of the streams.
    slots: Arc<Mutex<Vec<Arc<Slot>>>>,
    script: Arc<Mutex<Arc<Script>>>,
}

impl Floor {
    async fn obey(&self, mut commands: Commands) -> std::io::Result<()> {
        loop {
            match commands.next().await? {
                Command::Push(streams, message) => {
                    let frame = frame_bytes(&message);
                    lock(&self.slots).get(streams).into_iter().flatten().for_each(|slot| slot.push(frame.clone()));
                }
                Command::Script(message) => {
                    Arc::make_mut(&mut lock(&self.script)).add(&message);
                    commands.confirm().await?;
                }
            }
        }
    }

    fn open(&self, number: usize, requests: Streaming<Request>) -> FloorStream {
        let slot = Arc::new(Slot::default());
        let mut slots = lock(&self.slots);
        if slots.len() <= number {
            slots.resize_with(number + 1, Arc::default);
        }
        slots[number] = slot.clone();
        FloorStream { requests, slot, script: lock(&self.script).clone(), answered: Vec::new() }
    }
}

impl NamedService for Floor {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl tower::Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let number = request.headers().get(NUMBER_HEADER).and_then(|number| number.to_str().ok()?.parse().ok());
        let open = Open { floor: self.clone(), number: number.unwrap_or(0) };
        match self.style {
            Style::Copied => Box::pin(async move { Ok(Grpc::new(BytesCodec).streaming(open, request).await) }),
            Style::Shared => {
                let requests = Streaming::new_request(RequestDecoder, request.into_body(), None, None);
                let body = Body::new(open.floor.open(open.number, requests));
                let response = http::Response::builder().header("content-type", "application/grpc").body(body);
                Box::pin(ready(Ok(response.unwrap_or_default())))
            }
        }
    }
}

struct Open {
    floor: Floor,
    number: usize,
}

impl StreamingService<Request> for Open {
    type Response = Bytes;
    type ResponseStream = FloorStream;
    type Future = Ready<Result<tonic::Response<FloorStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Request>>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.floor.open(self.number, request.into_inner()))))
    }
}

/// As in meshgate's codec.
const BUFFERS: (usize, usize) = (256, 32 << 10);

struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Request;
    type Encoder = BytesEncoder;
    type Decoder = RequestDecoder;

    fn encoder(&mut self) -> BytesEncoder {
        BytesEncoder
    }

    fn decoder(&mut self) -> RequestDecoder {
        RequestDecoder
    }
}

struct BytesEncoder;

impl Encoder for BytesEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

struct RequestDecoder;

impl Decoder for RequestDecoder {
    type Item = Request;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Request>, Status> {
        Request::decode(buffer).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}
