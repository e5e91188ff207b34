//! The service: its two methods, and what all streams share.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};

use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};

use super::flow::Flow;
use super::stream::AdsStream;
use super::{Connection, Options};
use crate::ads::codec::ResponseCodec;
use crate::ads::message::Response;
use crate::ads::wire::{DeltaRequest, DiscoveryRequest, SotwRequest};
use crate::envoy::snapshot::SnapshotSource;
use crate::telemetry::Readiness;

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`.
#[derive(Clone)]
pub struct AdsService {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) source: Arc<dyn SnapshotSource>,
    pub(super) options: Options,
    pub(super) readiness: Readiness,
    pub(super) shutdown: CancellationToken,
    pub(super) loading: Arc<Semaphore>,
    /// The number of the next stream.
    pub(super) streams: AtomicU64,
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
        let streams = AtomicU64::new(1);
        Self { shared: Arc::new(Shared { source, options, readiness, shutdown, loading, streams }) }
    }

    /// How it treats its clients.
    pub fn options(&self) -> &Options {
        &self.shared.options
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
    type ResponseStream = AdsStream<R>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<R>>) -> Self::Future {
        let waiting_for = self.shared.readiness.waiting_for();
        if !waiting_for.is_empty() {
            // An empty answer would be taken for an empty world (R9).
            return ready(Err(Status::unavailable(format!("not ready, waiting for {}", waiting_for.join(", ")))));
        }
        let connection = request.extensions().get::<Connection>().cloned().unwrap_or_else(|| Connection {
            peer: None,
            closing: self.shared.shutdown.child_token(),
            flow: Arc::new(Flow::default()),
        });
        let stream = AdsStream::new(self.shared.clone(), connection, request.into_inner());
        ready(Ok(tonic::Response::new(stream)))
    }
}
