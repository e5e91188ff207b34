//! A gRPC client that speaks ADS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use discovery_v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use discovery_v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::service::discovery::v3 as discovery_v3;
use envoy_types::pb::envoy::r#type::v3 as type_v3;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Longest time that anything in a test may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Fails the test if something takes too long.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("this does not take long")
}

/// One connection.
pub(crate) struct Client(Channel);

/// A stream of either form.
pub(crate) struct Stream<Q, R> {
    requests: UnboundedSender<Q>,
    responses: Streaming<R>,
}

pub(crate) type DeltaStream = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
pub(crate) type SotwStream = Stream<DiscoveryRequest, DiscoveryResponse>;

impl<Q, R> Stream<Q, R> {
    pub(crate) fn send(&self, request: Q) {
        // A stream that has ended shows that in `next`.
        let _ = self.requests.send(request);
    }

    /// The next response, or the status with which the stream ended.
    pub(crate) async fn next(&mut self) -> Result<R, Status> {
        within(self.following()).await
    }

    /// The same for a stream that may well be silent for long.
    pub(crate) async fn following(&mut self) -> Result<R, Status> {
        self.responses.message().await.and_then(|it| it.ok_or_else(|| Status::ok("the stream ended")))
    }
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Self {
        Self(Endpoint::new(url.to_owned()).expect("a URL").connect().await.expect("the server listens"))
    }

    /// `None` if client and server do not agree on TLS.
    pub(crate) async fn connect_with_tls(address: SocketAddr, config: rustls::ClientConfig) -> Option<Self> {
        let connector = TlsConnector::from(Arc::new(config));
        let connect = move |_: http::Uri| {
            let connector = connector.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                let name = rustls::pki_types::ServerName::from(address.ip());
                connector.connect(name, socket).await.map(hyper_util::rt::TokioIo::new)
            }
        };
        let endpoint = Endpoint::from_static("http://localhost");
        within(endpoint.connect_with_connector(tower::service_fn(connect))).await.ok().map(Self)
    }

    fn service(&self) -> AggregatedDiscoveryServiceClient<Channel> {
        AggregatedDiscoveryServiceClient::new(self.0.clone()).max_decoding_message_size(64 << 20)
    }

    pub(crate) async fn delta(self) -> Result<DeltaStream, Status> {
        let (requests, receiver) = unbounded_channel();
        let responses =
            within(self.service().delta_aggregated_resources(UnboundedReceiverStream::new(receiver))).await?;
        Ok(Stream { requests, responses: responses.into_inner() })
    }

    pub(crate) async fn sotw(self) -> Result<SotwStream, Status> {
        let (requests, receiver) = unbounded_channel();
        let responses =
            within(self.service().stream_aggregated_resources(UnboundedReceiverStream::new(receiver))).await?;
        Ok(Stream { requests, responses: responses.into_inner() })
    }

    /// Calls any other method, which fails.
    pub(crate) async fn call(self, path: &'static str) -> Status {
        let mut grpc = tonic::client::Grpc::new(self.0);
        grpc.ready().await.expect("the connection lives");
        let codec = tonic_prost::ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
        let request = tonic::Request::new(DiscoveryRequest::default());
        within(grpc.unary(request, http::uri::PathAndQuery::from_static(path), codec))
            .await
            .expect_err("there is no such method")
    }
}

/// A node that says only its id.
pub(crate) fn node(id: &str) -> core_v3::Node {
    core_v3::Node { id: id.to_owned(), ..Default::default() }
}

/// An Envoy 1.`minor`.0.
pub(crate) fn envoy(id: &str, minor: u32) -> core_v3::Node {
    let version = Some(type_v3::SemanticVersion { major_number: 1, minor_number: minor, patch: 0 });
    let build = core_v3::BuildVersion { version, metadata: None };
    core_v3::Node {
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(core_v3::node::UserAgentVersionType::UserAgentBuildVersion(build)),
        ..node(id)
    }
}

pub(crate) fn subscribe(type_url: &str, names: &[&str], node: Option<core_v3::Node>) -> DeltaDiscoveryRequest {
    let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
    DeltaDiscoveryRequest { node, type_url: type_url.to_owned(), resource_names_subscribe, ..Default::default() }
}

pub(crate) fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
    DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }
}
