//! One stream: a session, its inputs and its end.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{Span, debug, field, info, info_span, warn};

use super::Connection;
use super::flow::Queued;
use super::service::Shared;
use crate::ads::codec::encoded_len;
use crate::ads::message::{Event, Response};
use crate::ads::node::Client;
use crate::ads::pace::Pace;
use crate::ads::session::Session;
use crate::ads::status::of_broken_request;
use crate::ads::wire::DiscoveryRequest;
use crate::envoy::snapshot::{Feedback, NodeIdentity, ResourceType, Snapshot, SnapshotSource};

/// How long a stream counts as loading. One whose proxy is unknown, or that reads slowly, must not keep others out.
const LOADING_LIMIT: Duration = Duration::from_secs(2);

/// One stream: a session, and where its inputs come from.
pub(super) struct AdsStream<R> {
    shared: Arc<Shared>,
    number: u64,
    closing: CancellationToken,
    queued: Queued,
    inbound: Streaming<R>,
    opened: Instant,
    pace: Pace,
    session: Session,
    /// Nothing happened since the session had nothing to send.
    settled: bool,
    /// `None` until the first request.
    proxy: Option<Proxy>,
    pub(super) span: Span,
}

/// The client of a stream, once it said who it is.
struct Proxy {
    snapshots: BoxStream<'static, Arc<Snapshot>>,
    report: Report,
    /// Held while the first state is built and sent, but not beyond this age of the stream.
    loading: Option<(OwnedSemaphorePermit, Duration)>,
}

impl<R: DiscoveryRequest> AdsStream<R> {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, inbound: Streaming<R>) -> Self {
        let number = shared.streams.fetch_add(1, Ordering::Relaxed);
        let (burst, interval) = shared.options.request_pace;
        Self {
            pace: Pace::new(burst, interval),
            number,
            closing: connection.closing,
            queued: Queued(connection.flow),
            session: Session::new(R::VARIANT, shared.options.names_per_type),
            span: info_span!(
                "stream",
                peer = connection.peer.map(field::display),
                stream = number,
                proxy = field::Empty
            ),
            opened: Instant::now(),
            settled: true,
            proxy: None,
            shared,
            inbound,
        }
    }

    /// Waits for the next response; `None` when the client ends the stream.
    pub(super) async fn next_response(&mut self) -> Result<Option<Response>, Status> {
        let mut proxy = match self.proxy.take() {
            Some(proxy) => proxy,
            None => match self.meet().await? {
                Some(proxy) => proxy,
                None => return Ok(None),
            },
        };
        let response = self.advance(&mut proxy).await?;
        self.proxy = Some(proxy);
        Ok(response)
    }

    /// Waits for the first request and for the turn of this stream.
    async fn meet(&mut self) -> Result<Option<Proxy>, Status> {
        let options = &self.shared.options;
        let first = tokio::select! {
            () = self.closing.cancelled() => return Err(shutting_down()),
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
            () = self.closing.cancelled() => return Err(shutting_down()),
            permit = timeout(options.loading_wait, self.shared.loading.clone().acquire_owned()) => permit,
        };
        let Ok(Ok(permit)) = permit else {
            return Err(Status::resource_exhausted("too many proxies are loading their first state; try again"));
        };
        self.span.record("proxy", &*identity.id);
        info!(variant = ?R::VARIANT, envoy = user_agent_version, "stream opened");
        let snapshots = self.shared.source.watch(&identity);
        let report = Report { source: self.shared.source.clone(), node: identity, stream: self.number };
        report.send(Feedback::Connected { user_agent_version });
        let loading = Some((permit, self.opened.elapsed() + LOADING_LIMIT));
        let proxy = Proxy { snapshots, report, loading };
        self.on_request(&proxy, request)?;
        Ok(Some(proxy))
    }

    /// Requests and snapshots come before responses, so that a response is computed from all that is known (R49).
    async fn advance(&mut self, proxy: &mut Proxy) -> Result<Option<Response>, Status> {
        loop {
            let now = self.opened.elapsed();
            let paused = self.pace.wait_until(now);
            let wake = self.next_wake(proxy, paused);
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return Err(shutting_down()),
                request = self.inbound.message(), if paused.is_none() => {
                    let limit = self.shared.options.request_bytes;
                    let Some(request) = request.map_err(|status| of_broken_request(status, limit))? else {
                        return Ok(None);
                    };
                    self.pace.spend(now);
                    self.on_request(proxy, request)?;
                }
                snapshot = proxy.snapshots.next() => {
                    let Some(snapshot) = snapshot else { return Err(shutting_down()) };
                    self.session.on_snapshot(snapshot);
                    self.settled = false;
                }
                () = ready(()), if !self.settled => match self.session.next(now) {
                    Some(response) => {
                        let bytes = encoded_len(&response);
                        debug!(type_url = response.kind.type_url(), nonce = response.nonce, bytes, "response");
                        self.queued.add(bytes);
                        return Ok(Some(response));
                    }
                    None => {
                        self.settled = true;
                        if self.session.has_snapshot() {
                            proxy.loading = None;
                        }
                    }
                },
                () = wake_at(self.opened, wake) => self.on_tick(proxy),
            }
        }
    }

    /// When the stream has to look at the clock again, if nothing else happens.
    fn next_wake(&self, proxy: &Proxy, paused: Option<Duration>) -> Option<Duration> {
        let loading = proxy.loading.as_ref().map(|(_, until)| *until);
        [self.session.next_tick(), paused, loading].into_iter().flatten().min()
    }

    fn on_tick(&mut self, proxy: &mut Proxy) {
        let now = self.opened.elapsed();
        if proxy.loading.as_ref().is_some_and(|(_, until)| *until <= now) {
            proxy.loading = None;
        }
        for event in self.session.on_tick(now) {
            self.settled = false;
            self.on_event(proxy, event);
        }
    }

    fn on_request(&mut self, proxy: &Proxy, request: R) -> Result<(), Status> {
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
            self.on_event(proxy, event);
        }
        Ok(())
    }

    fn on_event(&self, proxy: &Proxy, event: Event) {
        match event {
            Event::Acked { kind } => {
                debug!(type_url = kind.type_url(), "ACK");
                proxy.report.send(Feedback::Acked { kind });
            }
            Event::Nacked { kind, resources, message } => {
                let names: Vec<_> = resources.iter().take(10).map(|(name, _)| &**name).collect();
                warn!(type_url = kind.type_url(), resources = resources.len(), ?names, error = message, "NACK");
                proxy.report.send(Feedback::Nacked { kind, resources, message });
            }
            Event::Overdue { kind } => {
                warn!(type_url = kind.type_url(), "no answer to the latest response; nothing waits for it any more");
            }
        }
    }
}

/// Waits until a stream has this age; for ever without one.
async fn wake_at(opened: Instant, age: Option<Duration>) {
    match age {
        Some(age) => sleep_until(opened + age).await,
        None => pending().await,
    }
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
