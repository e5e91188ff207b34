//! One stream: a session, its inputs and its end.
//!
//! ```text
//! first request ─► turn to load ─► open: { requests, snapshots } ─► session ─► responses
//! ```
//!
//! Everything happens inside the poll of the responses. Whatever wakes the stream, requests and snapshots are taken before
//! a response is made, so that it is computed from all that is known (R49).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status};
use tracing::{Instrument, Span, debug, field, info, info_span, warn};

use super::Connection;
use super::flow::Queued;
use super::requests::Requests;
use super::service::Shared;
use crate::ads::codec::encoded_len;
use crate::ads::message::{Event, Response};
use crate::ads::node::Client;
use crate::ads::pace::Pace;
use crate::ads::session::Session;
use crate::ads::wire::DiscoveryRequest;
use crate::envoy::snapshot::{Feedback, Progress, ResourceType, Watch};

/// How long a stream counts as loading. One whose proxy is unknown, or that reads slowly, must not keep others out.
const LOADING_LIMIT: Duration = Duration::from_secs(2);

/// One stream: a session, and where its inputs come from.
pub(super) struct AdsStream<R> {
    shared: Arc<Shared>,
    number: u64,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    queued: Queued,
    opened: Instant,
    pace: Pace,
    session: Session,
    /// Nothing happened since the session had nothing to send.
    settled: bool,
    alarm: Alarm,
    phase: Phase<R>,
    /// What was told last of how far the client is.
    told: Option<Progress>,
    span: Span,
}

/// How far the client has come.
enum Phase<R> {
    /// It has not said who it is, or its turn to load has not come.
    Meeting(BoxFuture<'static, Result<Option<Met<R>>, Status>>),
    Open(Box<Proxy<R>>),
    Ended,
}

/// A client that said who it is, when its turn has come.
struct Met<R> {
    client: Client,
    request: R,
    inbound: Requests<R>,
    permit: OwnedSemaphorePermit,
}

/// The client of an open stream.
struct Proxy<R> {
    inbound: Requests<R>,
    snapshots: Box<dyn Watch>,
    /// Held while the first state is built and sent, but not beyond this age of the stream.
    loading: Option<(OwnedSemaphorePermit, Duration)>,
}

impl<R: DiscoveryRequest> AdsStream<R> {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, inbound: Requests<R>) -> Self {
        let number = shared.streams.fetch_add(1, Ordering::Relaxed);
        let (burst, interval) = shared.options.request_pace;
        let span =
            info_span!("stream", peer = connection.peer.map(field::display), stream = number, proxy = field::Empty);
        let meeting = meet(shared.clone(), inbound, connection.closing.clone()).instrument(span.clone());
        Self {
            pace: Pace::new(burst, interval),
            number,
            closing: Box::pin(connection.closing.cancelled_owned()),
            queued: Queued(connection.flow),
            session: Session::new(R::VARIANT, shared.options.names_per_type),
            opened: Instant::now(),
            settled: true,
            alarm: Alarm::default(),
            phase: Phase::Meeting(meeting.boxed()),
            told: None,
            shared,
            span,
        }
    }

    /// The next response; `None` when the client ended the stream.
    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Response>, Status>> {
        if let Phase::Meeting(meeting) = &mut self.phase {
            let Some(met) = ready!(meeting.poll_unpin(context))? else { return Poll::Ready(Ok(None)) };
            self.open(met, context)?;
        }
        let Phase::Open(mut proxy) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Poll::Ready(Ok(None));
        };
        let response = self.poll_open(&mut proxy, context);
        self.phase = Phase::Open(proxy);
        response
    }

    fn open(&mut self, met: Met<R>, context: &mut Context<'_>) -> Result<(), Status> {
        let Met { client: Client { identity, user_agent_version }, request, inbound, permit } = met;
        self.span.record("proxy", &*identity.id);
        info!(parent: &self.span, variant = ?R::VARIANT, envoy = user_agent_version, "stream opened");
        let mut snapshots = self.shared.source.watch(&identity, self.number);
        snapshots.report(Feedback::Connected { user_agent_version });
        let loading = Some((permit, self.opened.elapsed() + LOADING_LIMIT));
        let mut proxy = Box::new(Proxy { inbound, snapshots, loading });
        // Of a proxy that is known already, what the client says is seen in its light.
        if let Poll::Ready(Some(published)) = proxy.snapshots.poll_next_unpin(context) {
            self.session.on_snapshot(published);
        }
        self.on_request(&mut proxy, request)?;
        self.phase = Phase::Open(proxy);
        Ok(())
    }

    fn poll_open(&mut self, proxy: &mut Proxy<R>, context: &mut Context<'_>) -> Poll<Result<Option<Response>, Status>> {
        if self.closing.poll_unpin(context).is_ready() {
            return Poll::Ready(Err(shutting_down()));
        }
        loop {
            let now = self.opened.elapsed();
            let paused = self.pace.wait_until(now);
            if paused.is_none()
                && let Poll::Ready(request) = proxy.inbound.poll_next_unpin(context)
            {
                let Some(request) = request.transpose()? else { return Poll::Ready(Ok(None)) };
                self.pace.spend(now);
                self.on_request(proxy, request)?;
                continue;
            }
            // Until there is none, so that the next one wakes the stream also if there is nothing to send of this one.
            while let Poll::Ready(published) = proxy.snapshots.poll_next_unpin(context) {
                let Some(published) = published else { return Poll::Ready(Err(shutting_down())) };
                self.session.on_snapshot(published);
                self.settled = false;
            }
            if !self.settled {
                if let Some(response) = self.session.next(now) {
                    let bytes = encoded_len(&response);
                    let (type_url, nonce) = (response.kind.type_url(), response.nonce);
                    debug!(parent: &self.span, type_url, nonce, bytes, "response");
                    self.queued.add(bytes);
                    return Poll::Ready(Ok(Some(response)));
                }
                self.settled = true;
                if let Some(progress) = self.session.progress().filter(|it| self.told.as_ref() != Some(it)) {
                    self.told = Some(progress.clone());
                    proxy.snapshots.progress(progress);
                }
                if self.session.has_snapshot() {
                    proxy.loading = None;
                }
            }
            let loading = proxy.loading.as_ref().map(|(_, until)| *until);
            let wake = [self.session.next_tick(), paused, loading].into_iter().flatten().min();
            ready!(self.alarm.poll(self.opened, wake, context));
            self.on_tick(proxy);
        }
    }

    fn on_tick(&mut self, proxy: &mut Proxy<R>) {
        let now = self.opened.elapsed();
        if proxy.loading.as_ref().is_some_and(|(_, until)| *until <= now) {
            proxy.loading = None;
        }
        for event in self.session.on_tick(now) {
            self.settled = false;
            self.on_event(proxy, event);
        }
    }

    fn on_request(&mut self, proxy: &mut Proxy<R>, request: R) -> Result<(), Status> {
        let type_url = request.type_url();
        if type_url.is_empty() {
            return Err(Status::invalid_argument("a request without type_url"));
        }
        let Some(kind) = ResourceType::from_type_url(type_url) else {
            // Other types share the stream with those that are served (R3).
            let type_url = type_url.get(..256).unwrap_or(type_url);
            debug!(parent: &self.span, type_url, "a type that is not served");
            return Ok(());
        };
        let event = self.session.on_request(request.into_request(kind))?;
        self.settled = false;
        if let Some(event) = event {
            self.on_event(proxy, event);
        }
        Ok(())
    }

    fn on_event(&self, proxy: &mut Proxy<R>, event: Event) {
        match event {
            Event::Acked { kind } => {
                debug!(parent: &self.span, type_url = kind.type_url(), "ACK");
                proxy.snapshots.report(Feedback::Acked { kind });
            }
            Event::Nacked { kind, resources, message } => {
                let names: Vec<_> = resources.iter().take(10).map(|(name, _)| &**name).collect();
                let type_url = kind.type_url();
                warn!(parent: &self.span, type_url, resources = resources.len(), ?names, error = message, "NACK");
                proxy.snapshots.report(Feedback::Nacked { kind, resources, message });
            }
            Event::Overdue { kind } => {
                let type_url = kind.type_url();
                warn!(parent: &self.span, type_url, "no answer to the latest response; nothing waits for it any more");
            }
        }
    }
}

impl<R: DiscoveryRequest> Stream for AdsStream<R> {
    type Item = Result<Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if matches!(self.phase, Phase::Ended) {
            return Poll::Ready(None);
        }
        let response = ready!(self.poll_response(context)).transpose();
        if !matches!(response, Some(Ok(_))) {
            self.phase = Phase::Ended;
        }
        if let Some(Err(status)) = &response {
            self.span.in_scope(|| log_end(status));
        }
        Poll::Ready(response)
    }
}

fn log_end(status: &Status) {
    let (code, error) = (status.code(), status.message());
    let is_refused = matches!(code, Code::InvalidArgument | Code::ResourceExhausted | Code::DeadlineExceeded);
    if is_refused {
        warn!(?code, error, "refusing the stream");
    } else {
        // The client went away, or the process does.
        info!(?code, error, "ending the stream");
    }
}

/// Waits for the first request and for the turn of the stream.
async fn meet<R: DiscoveryRequest>(
    shared: Arc<Shared>,
    mut inbound: Requests<R>,
    closing: CancellationToken,
) -> Result<Option<Met<R>>, Status> {
    let options = &shared.options;
    let first = tokio::select! {
        () = closing.cancelled() => return Err(shutting_down()),
        first = timeout(options.first_request, inbound.next()) => first,
    };
    let Ok(first) = first else {
        return Err(Status::deadline_exceeded(format!("no request within {:?}", options.first_request)));
    };
    let Some(mut request) = first.transpose()? else { return Ok(None) };
    let client = Client::from_node(request.take_node())?;
    let permit = tokio::select! {
        () = closing.cancelled() => return Err(shutting_down()),
        permit = timeout(options.loading_wait, shared.loading.clone().acquire_owned()) => permit,
    };
    let Ok(Ok(permit)) = permit else {
        return Err(Status::resource_exhausted("too many proxies are loading their first state; try again"));
    };
    Ok(Some(Met { client, request, inbound, permit }))
}

fn shutting_down() -> Status {
    Status::unavailable("the control plane is shutting down")
}

/// Wakes a stream in time. It is set again only for an earlier time: of the many answers that are waited for, hardly any is
/// overdue, and a stream that wakes once in vain costs less than a timer for each response.
#[derive(Default)]
struct Alarm(Option<(Duration, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Ready at this age of the stream, or earlier.
    fn poll(&mut self, opened: Instant, wake: Option<Duration>, context: &mut Context<'_>) -> Poll<()> {
        let Some(wake) = wake else { return Poll::Pending };
        let sleep = match &mut self.0 {
            Some((set, sleep)) if *set <= wake => sleep,
            Some((set, sleep)) => {
                sleep.as_mut().reset(opened + wake);
                *set = wake;
                sleep
            }
            unset @ None => &mut unset.insert((wake, Box::pin(sleep_until(opened + wake)))).1,
        };
        ready!(sleep.poll_unpin(context));
        self.0 = None;
        Poll::Ready(())
    }
}
