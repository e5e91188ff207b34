//! The service: its two methods, and what all streams share.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;

use super::body::Responses;
use super::flow::Flow;
use super::requests::Requests;
use super::stream::AdsStream;
use super::{Connection, Options};
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

    /// Opens a stream.
    fn open<R, B>(&self, request: http::Request<B>) -> http::Response<tonic::body::Body>
    where
        R: DiscoveryRequest,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send,
    {
        let waiting_for = self.shared.readiness.waiting_for();
        if !waiting_for.is_empty() {
            // An empty answer would be taken for an empty world (R9).
            return Status::unavailable(format!("not ready, waiting for {}", waiting_for.join(", "))).into_http();
        }
        if let Some(encoding) = request.headers().get(ENCODING).filter(|encoding| *encoding != "identity") {
            return Status::unimplemented(format!("requests are not understood in the encoding {encoding:?}"))
                .into_http();
        }
        let connection = request.extensions().get::<Connection>().cloned().unwrap_or_else(|| Connection {
            peer: None,
            closing: self.shared.shutdown.child_token(),
            flow: Arc::new(Flow::default()),
        });
        let body = tonic::body::Body::new(request.into_body());
        let inbound = Requests::<R>::new(body, self.shared.options.request_bytes);
        let responses = Responses::new(AdsStream::new(self.shared.clone(), connection, inbound));
        let mut response = http::Response::new(tonic::body::Body::new(responses));
        response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
        response
    }
}

/// The header that says how messages are compressed.
const ENCODING: &str = "grpc-encoding";

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B> tower::Service<http::Request<B>> for AdsService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(Self::NAME));
        let response = match path {
            Some("/DeltaAggregatedResources") => self.open::<DeltaRequest, _>(request),
            Some("/StreamAggregatedResources") => self.open::<SotwRequest, _>(request),
            Some(_) | None => Status::unimplemented(format!("no such method: {}", request.uri().path())).into_http(),
        };
        ready(Ok(response))
    }
}
