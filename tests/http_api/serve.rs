//! The listener: protocols, panics, slow clients and the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshgate::api::{Certificates, ConfigureError, IssueError};
use meshgate::model::{CaConfig, InstanceId, Leaf, Service, SpiffeId};
use meshgate::store::Stored;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{LIMIT, TestApi};

struct Panics;

impl Certificates for Panics {
    fn leaf(&self, _: SpiffeId) -> BoxFuture<'_, Result<Stored<Leaf>, IssueError>> {
        async { panic!("broken on purpose") }.boxed()
    }

    fn configure(&self, _: CaConfig) -> BoxFuture<'_, Result<(), ConfigureError>> {
        async { panic!("broken on purpose") }.boxed()
    }

    fn replace_root(&self) -> BoxFuture<'_, Result<(), ConfigureError>> {
        async { panic!("broken on purpose") }.boxed()
    }

    fn replace(&self, _: Option<BTreeSet<SpiffeId>>) -> BoxFuture<'_, Result<Vec<Stored<Leaf>>, IssueError>> {
        async { panic!("broken on purpose") }.boxed()
    }

    fn identity(&self, _: &InstanceId, _: &Service) -> SpiffeId {
        panic!("broken on purpose")
    }
}

struct Fails(fn() -> IssueError);

impl Certificates for Fails {
    fn leaf(&self, _: SpiffeId) -> BoxFuture<'_, Result<Stored<Leaf>, IssueError>> {
        async { Err(self.0()) }.boxed()
    }

    fn configure(&self, _: CaConfig) -> BoxFuture<'_, Result<(), ConfigureError>> {
        async { Err(ConfigureError::Failed("secret".into())) }.boxed()
    }

    fn replace_root(&self) -> BoxFuture<'_, Result<(), ConfigureError>> {
        async { Err(ConfigureError::Failed("secret".into())) }.boxed()
    }

    fn replace(&self, _: Option<BTreeSet<SpiffeId>>) -> BoxFuture<'_, Result<Vec<Stored<Leaf>>, IssueError>> {
        async { Err(self.0()) }.boxed()
    }

    fn identity(&self, proxy: &InstanceId, _: &Service) -> SpiffeId {
        SpiffeId::MeshGateway(proxy.place.clone())
    }
}

#[tokio::test]
async fn a_panic_is_one_failed_call_and_is_counted() {
    let api = TestApi::start_with(|api| api.certificates = Arc::new(Panics)).await;

    api.get("/v1/agent/connect/ca/leaf/web").await.is(500, "internal error: the log says more");

    assert_eq!(api.metrics.panics(), 1);
    assert_eq!(api.get("/v1/agent/self").await.json()["Stats"]["runtime"]["handler_panics"], "1");
}

#[tokio::test]
async fn each_reason_for_no_certificate_has_its_status() {
    for (fails, status, text) in [
        (Fails(|| IssueError::Identity("names must be ASCII".into())), 400, "names must be ASCII"),
        (Fails(|| IssueError::Unavailable("secret".into())), 503, "certificates cannot be issued at the moment"),
        (Fails(|| IssueError::Failed("secret".into())), 500, "the certificate could not be issued"),
    ] {
        let api = TestApi::start_with(|api| api.certificates = Arc::new(fails)).await;
        api.get("/v1/agent/connect/ca/leaf/web").await.is(status, text);
        api.put("/v1/meshgate/certs/rotate?all", "").await.is(status, text);
        let configured = api.put("/v1/connect/ca/configuration", r#"{"Provider": "consul"}"#).await;
        configured.is(500, "the configuration could not be taken over");
    }
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_on_the_same_port() {
    let api = TestApi::start().await;
    let stream = TcpStream::connect(api.url.trim_start_matches("http://")).await.expect("connects");

    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get(format!("{}/v1/status/leader", api.url)).body(String::new()).expect("well formed");
    let response = client.send_request(request).await.expect("answers");

    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_at_the_end() {
    let api = TestApi::start().await;
    let address = api.url.trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).await.expect("connects");
    slow.write_all(b"PUT /v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.expect("writes");
    // Another call is answered meanwhile, and shows that the server has accepted the slow one before it.
    api.get("/v1/status/leader").await;

    api.shutdown.cancel();
    tokio::time::timeout(LIMIT, api.served).await.expect("the deadline holds").expect("it does not panic");

    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn rubbish_is_answered_or_closed_and_harms_nobody() {
    let api = TestApi::start().await;
    let address = api.url.trim_start_matches("http://").to_owned();

    for rubbish in ["\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}\u{3}\r\n\r\n"] {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        stream.write_all(rubbish.as_bytes()).await.expect("writes");
        stream.shutdown().await.expect("closes its side");
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the server closes");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{rubbish:?}");
    }

    api.get("/v1/status/leader").await;
}
