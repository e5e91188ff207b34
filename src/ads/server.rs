//! The gRPC service and its connections: the only part of `ads` that knows sockets, clocks and tasks.
//!
//! A stream has no task of its own: it runs inside the poll of its response body, which the connection polls only while
//! the client takes data. A slow client thus holds back its own stream and nothing else, and finds the latest state
//! when it goes on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tracing::{Instrument, Span, debug, field, info, info_span, warn};

use super::codec::{IDENTIFIER, ResponseCodec};
use super::message::{Event, Response};
use super::node::Client;
use super::pace::Pace;
use super::session::Session;
use super::status::of_broken_request;
use super::wire::{DeltaRequest, DiscoveryRequest, SotwRequest};
use crate::envoy::snapshot::{Feedback, NodeIdentity, ResourceType, Snapshot, SnapshotSource};
use crate::telemetry::Readiness;

/// Lets a fleet that lost another replica connect within a second.
const BACKLOG: u32 = 4096;

/// Most streams on one connection. Envoy needs one.
const STREAMS_PER_CONNECTION: u32 = 128;

/// Bytes that a client may send ahead on a stream and on a connection; a large reconnect should not take many round trips.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// How long a stream counts as loading. One whose proxy is unknown, or that reads slowly, must not keep others out.
const LOADING_LIMIT: Duration = Duration::from_secs(2);

/// How the server treats its clients.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most resource names of one type on one stream. Default: 100,000.
    pub names_per_type: usize,
    /// Longest request in bytes. Default: 32 MiB, more than a reconnect with 100,000 names.
    pub request_bytes: usize,
    /// Requests that a stream may send at once, and after which time each further one. Default: 1,024 and 1 ms.
    pub request_pace: (u32, Duration),
    /// How long a new stream may be silent. Default: 5 s.
    pub first_request: Duration,
    /// How long a client may take nothing of what is sent before its connection is closed. Default: 30 s.
    pub write: Duration,
    /// How many streams may load their first state at once. Default: four per core.
    pub loading: usize,
    /// How long a stream waits for its turn to load. Default: 10 s.
    pub loading_wait: Duration,
    /// After which silence a connection is probed, and how long the answer may take. Default: 20 s and 10 s.
    pub keepalive: (Duration, Duration),
    /// How long connections may take to end at shutdown. Default: 5 s.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names_per_type: 100_000,
            request_bytes: 32 << 20,
            request_pace: (1024, Duration::from_millis(1)),
            first_request: Duration::from_secs(5),
            write: Duration::from_secs(30),
            loading: 4 * std::thread::available_parallelism().map_or(1, NonZero::get),
            loading_wait: Duration::from_secs(10),
            keepalive: (Duration::from_secs(20), Duration::from_secs(10)),
            drain: Duration::from_secs(5),
        }
    }
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
    let (connections, abort) = (TaskTracker::new(), CancellationToken::new());
    let mut sweep = interval(service.shared.options.write / 4);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    info!(version = IDENTIFIER, address = ?listener.local_addr().ok(), "serving xDS");
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = sweep.tick() => service.shared.pulses.sweep(),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let closing = Closing { graceful: shutdown.child_token(), abort: abort.child_token() };
                    let span = info_span!("connection", %peer);
                    connections.spawn(serve_connection(socket, service.clone(), closing).instrument(span));
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
    if timeout(service.shared.options.drain, connections.wait()).await.is_err() {
        warn!(connections = connections.len(), "clients did not close their connections in time");
        abort.cancel();
        connections.wait().await;
    }
}

async fn serve_connection(socket: TcpStream, service: AdsService, closing: Closing) {
    let (interval, timeout) = service.shared.options.keepalive;
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
        request.extensions_mut().insert(closing.clone());
        tower::Service::call(&mut service.clone(), request)
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service_fn(call)));
    let unused = async {
        sleep(service.shared.options.first_request).await;
        if is_used.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.abort.cancelled() => return,
        () = unused => return debug!("nothing was asked for on the connection"),
        () = closing.graceful.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = closing.abort.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "the connection broke");
    }
}

/// How the streams of a connection are told to end.
#[derive(Debug, Clone)]
struct Closing {
    /// Streams end with a status.
    graceful: CancellationToken,
    /// The connection is dropped with all its streams.
    abort: CancellationToken,
}

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`.
#[derive(Clone)]
pub struct AdsService {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn SnapshotSource>,
    options: Options,
    readiness: Readiness,
    shutdown: CancellationToken,
    loading: Arc<Semaphore>,
    streams: AtomicU64,
    pulses: Pulses,
}

impl std::fmt::Debug for AdsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdsService").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl AdsService {
    /// A service that gives each client what `source` has for it. Streams are refused until the process is ready, and
    /// end at `shutdown`.
    pub fn new(
        source: Arc<dyn SnapshotSource>,
        options: Options,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Self {
        let loading = Arc::new(Semaphore::new(options.loading));
        let (streams, pulses) = (AtomicU64::new(1), Pulses::new());
        Self { shared: Arc::new(Shared { source, options, readiness, shutdown, loading, streams, pulses }) }
    }

    fn open<R: DiscoveryRequest>(&self) -> (Grpc<ResponseCodec<R>>, Open) {
        let grpc = Grpc::new(ResponseCodec::<R>::default());
        (grpc.max_decoding_message_size(self.shared.options.request_bytes), Open { shared: self.shared.clone() })
    }
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B> tower::Service<http::Request<B>> for AdsService
where
    B: Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(Self::NAME));
        match path {
            Some("/DeltaAggregatedResources") => {
                let (mut grpc, open) = self.open::<DeltaRequest>();
                Box::pin(async move { Ok(grpc.streaming(open, request).await) })
            }
            Some("/StreamAggregatedResources") => {
                let (mut grpc, open) = self.open::<SotwRequest>();
                Box::pin(async move { Ok(grpc.streaming(open, request).await) })
            }
            Some(_) | None => {
                let status = Status::unimplemented(format!("no such method: {}", request.uri().path()));
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

/// Opens streams.
struct Open {
    shared: Arc<Shared>,
}

impl<R: DiscoveryRequest> StreamingService<R> for Open {
    type Response = Response;
    type ResponseStream = BoxStream<'static, Result<Response, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<R>>) -> Self::Future {
        let waiting_for = self.shared.readiness.waiting_for();
        if !waiting_for.is_empty() {
            // An empty answer would be taken for an empty world (R9).
            return ready(Err(Status::unavailable(format!("not ready, waiting for {}", waiting_for.join(", ")))));
        }
        let closing = request.extensions().get::<Closing>().cloned().unwrap_or_else(|| Closing {
            graceful: self.shared.shutdown.child_token(),
            abort: CancellationToken::new(),
        });
        let stream = AdsStream::new(self.shared.clone(), closing, request.into_inner());
        let responses = unfold(Some(Box::new(stream)), |stream| async {
            let mut stream = stream?;
            let span = stream.span.clone();
            match stream.next_response().instrument(span).await {
                Ok(Some(response)) => Some((Ok(response), Some(stream))),
                Ok(None) => None,
                Err(status) => {
                    stream
                        .span
                        .in_scope(|| info!(code = ?status.code(), error = status.message(), "ending the stream"));
                    Some((Err(status), None))
                }
            }
        });
        ready(Ok(tonic::Response::new(responses.boxed())))
    }
}

/// One stream: a session, and where its inputs come from.
struct AdsStream<R> {
    shared: Arc<Shared>,
    closing: Closing,
    inbound: Streaming<R>,
    opened: Instant,
    pace: Pace,
    pulse: Pulse,
    session: Session,
    /// Nothing happened since the session had nothing to send.
    settled: bool,
    /// `None` until the first request.
    peer: Option<Peer>,
    span: Span,
}

/// The client of a stream, once it said who it is.
struct Peer {
    snapshots: BoxStream<'static, Arc<Snapshot>>,
    report: Report,
    /// Held while the first state is built and sent, but not beyond this age of the stream.
    loading: Option<(OwnedSemaphorePermit, Duration)>,
}

impl<R: DiscoveryRequest> AdsStream<R> {
    fn new(shared: Arc<Shared>, closing: Closing, inbound: Streaming<R>) -> Self {
        let number = shared.streams.fetch_add(1, Ordering::Relaxed);
        let (burst, interval) = shared.options.request_pace;
        Self {
            pace: Pace::new(burst, interval),
            pulse: Pulse::new(shared.clone(), number, closing.abort.clone()),
            session: Session::new(R::VARIANT, shared.options.names_per_type),
            span: info_span!("stream", stream = number, proxy = field::Empty),
            opened: Instant::now(),
            settled: true,
            peer: None,
            shared,
            closing,
            inbound,
        }
    }

    /// Waits for the next response; `None` when the client ends the stream.
    async fn next_response(&mut self) -> Result<Option<Response>, Status> {
        let mut peer = match self.peer.take() {
            Some(peer) => peer,
            None => match self.meet().await? {
                Some(peer) => peer,
                None => return Ok(None),
            },
        };
        let response = self.advance(&mut peer).await?;
        self.peer = Some(peer);
        Ok(response)
    }

    /// Waits for the first request and for the turn of this stream.
    async fn meet(&mut self) -> Result<Option<Peer>, Status> {
        let options = &self.shared.options;
        let first = tokio::select! {
            () = self.closing.graceful.cancelled() => return Err(shutting_down()),
            first = timeout(options.first_request, self.inbound.message()) => first,
        };
        let Ok(first) = first else {
            return Err(Status::deadline_exceeded(format!("no request within {:?}", options.first_request)));
        };
        let Some(mut request) = first.map_err(|status| of_broken_request(status, options.request_bytes))? else {
            return Ok(None);
        };
        let Client { identity, user_agent_version } = Client::from_node(request.take_node())?;
        let permit = tokio::select! {
            () = self.closing.graceful.cancelled() => return Err(shutting_down()),
            permit = timeout(options.loading_wait, self.shared.loading.clone().acquire_owned()) => permit,
        };
        let Ok(Ok(permit)) = permit else {
            return Err(Status::resource_exhausted("too many proxies are loading their first state; try again"));
        };
        self.span.record("proxy", &*identity.id);
        info!(variant = ?R::VARIANT, envoy = user_agent_version, "stream opened");
        let snapshots = self.shared.source.watch(&identity);
        let report = Report { source: self.shared.source.clone(), node: identity, stream: self.pulse.stream };
        report.send(Feedback::Connected { user_agent_version });
        let loading = Some((permit, self.opened.elapsed() + LOADING_LIMIT));
        let peer = Peer { snapshots, report, loading };
        self.on_request(&peer, request)?;
        Ok(Some(peer))
    }

    /// Requests and snapshots come before responses, so that a response is computed from all that is known (R49).
    async fn advance(&mut self, peer: &mut Peer) -> Result<Option<Response>, Status> {
        loop {
            let now = self.opened.elapsed();
            self.pulse.allow(self.shared.options.write);
            let paused = self.pace.wait_until(now);
            let wake = self.next_wake(peer, paused, now);
            tokio::select! {
                biased;
                () = self.closing.graceful.cancelled() => return Err(shutting_down()),
                request = self.inbound.message(), if paused.is_none() => {
                    let limit = self.shared.options.request_bytes;
                    let Some(request) = request.map_err(|status| of_broken_request(status, limit))? else {
                        return Ok(None);
                    };
                    self.pace.spend(now);
                    self.on_request(peer, request)?;
                }
                snapshot = peer.snapshots.next() => {
                    let Some(snapshot) = snapshot else { return Err(shutting_down()) };
                    self.session.on_snapshot(snapshot);
                    self.settled = false;
                }
                () = ready(()), if !self.settled => match self.session.next(now) {
                    Some(response) => {
                        log_response(&response);
                        return Ok(Some(response));
                    }
                    None => {
                        self.settled = true;
                        if self.session.has_snapshot() {
                            peer.loading = None;
                        }
                    }
                },
                () = sleep_until(self.opened + wake) => self.on_tick(peer),
            }
        }
    }

    /// When the stream has to look at the clock again.
    fn next_wake(&self, peer: &Peer, paused: Option<Duration>, now: Duration) -> Duration {
        let loading = peer.loading.as_ref().map(|(_, until)| *until);
        let wakes = [self.session.next_tick(), paused, loading].into_iter().flatten();
        wakes.fold(now + self.shared.options.write / 2, Duration::min)
    }

    fn on_tick(&mut self, peer: &mut Peer) {
        let now = self.opened.elapsed();
        if peer.loading.as_ref().is_some_and(|(_, until)| *until <= now) {
            peer.loading = None;
        }
        for event in self.session.on_tick(now) {
            self.settled = false;
            self.on_event(peer, event);
        }
    }

    fn on_request(&mut self, peer: &Peer, request: R) -> Result<(), Status> {
        let type_url = request.type_url();
        if type_url.is_empty() {
            return Err(Status::invalid_argument("a request without type_url"));
        }
        let Some(kind) = ResourceType::from_type_url(type_url) else {
            // Other types share the stream with those that are served (R3).
            debug!(type_url = type_url.get(..256).unwrap_or(type_url), "a type that is not served");
            return Ok(());
        };
        let event = self.session.on_request(request.into_request(kind))?;
        self.settled = false;
        if let Some(event) = event {
            self.on_event(peer, event);
        }
        Ok(())
    }

    fn on_event(&self, peer: &Peer, event: Event) {
        match event {
            Event::Acked { kind } => {
                debug!(type_url = kind.type_url(), "ACK");
                peer.report.send(Feedback::Acked { kind });
            }
            Event::Nacked { kind, resources, message } => {
                let names: Vec<_> = resources.iter().take(10).map(|(name, _)| &**name).collect();
                warn!(type_url = kind.type_url(), resources = resources.len(), ?names, error = message, "NACK");
                peer.report.send(Feedback::Nacked { kind, resources, message });
            }
            Event::Overdue { kind } => {
                warn!(type_url = kind.type_url(), "no answer to the latest response; nothing waits for it any more");
            }
        }
    }
}

fn log_response(response: &Response) {
    debug!(type_url = response.kind.type_url(), nonce = response.nonce, "response");
}

fn shutting_down() -> Status {
    Status::unavailable("the control plane is shutting down")
}

/// Tells the source what happens on a stream, the end of it included, however it ends.
struct Report {
    source: Arc<dyn SnapshotSource>,
    node: NodeIdentity,
    stream: u64,
}

impl Report {
    fn send(&self, feedback: Feedback) {
        self.source.report(&self.node, self.stream, feedback);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.send(Feedback::Disconnected);
    }
}

/// By when each stream must be polled again, in milliseconds since the service was made. A stream wakes by itself within
/// half the write deadline; one that is not polled in time has a client that takes nothing, and only closing the
/// connection gets rid of it (R48).
struct Pulses {
    epoch: Instant,
    streams: Mutex<HashMap<u64, (Arc<AtomicU64>, CancellationToken)>>,
}

impl Pulses {
    fn new() -> Self {
        Self { epoch: Instant::now(), streams: Mutex::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn sweep(&self) {
        let now = self.now();
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, (due, abort)) in &*streams {
            if due.load(Ordering::Relaxed) < now && !abort.is_cancelled() {
                warn!(stream, "the client takes nothing; closing its connection");
                abort.cancel();
            }
        }
    }
}

/// The entry of one stream in [`Pulses`], gone when dropped.
struct Pulse {
    shared: Arc<Shared>,
    stream: u64,
    due: Arc<AtomicU64>,
}

impl Pulse {
    fn new(shared: Arc<Shared>, stream: u64, abort: CancellationToken) -> Self {
        let due = Arc::new(AtomicU64::new(0));
        let mut streams = shared.pulses.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream, (due.clone(), abort));
        drop(streams);
        let pulse = Self { shared, stream, due };
        let options = &pulse.shared.options;
        pulse.allow(options.first_request + options.loading_wait + options.write);
        pulse
    }

    /// The stream is alive and will be polled within this time.
    fn allow(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.due.store(self.shared.pulses.now().saturating_add(time), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let mut streams = self.shared.pulses.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.remove(&self.stream);
    }
}
