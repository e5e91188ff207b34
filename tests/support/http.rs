//! The HTTP API behind a real socket, and a client that checks on every answer what holds for all of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshgate::api::{
    self, Api, CheckReports, Metrics, NoFiles, NoHappenings, NoLinter, NoPlanner, NoPropagation, ProxyState,
    ProxyStatus,
};
use meshgate::app::{Acknowledged, Central, Chains, Changes, Explainer, Exports, Issuer, Lint};
use meshgate::ca::Authority;
use meshgate::engine::{self, Engine};
use meshgate::model::{Datacenter, DnsDomain, IntentionPolicy, TrustDomain};
use meshgate::store::{CheckKey, Memory, Store};
use meshgate::telemetry::{Logs, Readiness};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::openapi;

/// The identifier of every cluster in tests.
pub(crate) const CLUSTER_ID: &str = "11111111-2222-3333-4444-555555555555";

/// Longest time that anything in a test may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A served API with a store of its own.
pub(crate) struct TestApi {
    /// The state behind it.
    pub(crate) store: Store,
    /// What it waits for.
    pub(crate) readiness: Readiness,
    /// The checks that were reported on, in order.
    pub(crate) reports: Arc<Reports>,
    /// What it counts.
    pub(crate) metrics: Metrics,
    /// Stops it.
    pub(crate) shutdown: CancellationToken,
    /// Ends when the server has.
    pub(crate) served: JoinHandle<()>,
    /// `http://127.0.0.1:<port>`.
    pub(crate) url: String,
    client: reqwest::Client,
}

/// Remembers what was reported.
#[derive(Default)]
pub(crate) struct Reports(pub(crate) Mutex<Vec<CheckKey>>);

impl CheckReports for Reports {
    fn reported(&self, key: CheckKey) {
        self.0.lock().expect("no test panics while it holds this").push(key);
    }
}

/// No proxy is connected.
pub(crate) struct NoProxies;

impl ProxyStatus for NoProxies {
    fn proxies(&self) -> Vec<ProxyState> {
        Vec::new()
    }
}

/// An API with an empty store, datacenter `dc1` and a certificate authority.
async fn new_api(reports: Arc<Reports>) -> Api {
    let (store, _) = Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).expect("memory opens");
    let authority = Authority::open(store.clone(), meshgate::ca::Options::default()).await.expect("a root is made");
    let explainer = Arc::new(Explainer {
        options: super::mesh::options(&[Datacenter::from("dc1")], IntentionPolicy::Allow),
        trust_domain: authority.trust_domain().clone(),
    });
    Api {
        options: api::Options::default(),
        store,
        readiness: Readiness::default(),
        certificates: Arc::new(Issuer(authority)),
        proxies: Arc::new(NoProxies),
        happenings: Arc::new(NoHappenings::default()),
        reports,
        central: Arc::new(Central),
        chains: Arc::new(Chains {
            datacenter: Datacenter::from("dc1"),
            trust_domain: TrustDomain::of_cluster(CLUSTER_ID),
        }),
        explanations: explainer.clone(),
        paths: explainer,
        exports: Arc::new(Exports),
        planner: Arc::new(NoPlanner),
        linter: Arc::new(NoLinter),
        propagation: Arc::new(NoPropagation),
        looks: Arc::default(),
        files: Arc::new(NoFiles),
        logs: Logs::default(),
        leave: CancellationToken::new(),
        shutdown: CancellationToken::new(),
        metrics: Metrics::default(),
    }
}

/// The same with rules across entries, and an engine that configures proxies.
async fn new_api_with_engine(reports: Arc<Reports>, hosted: &[&str]) -> (Api, Engine) {
    let (store, _) = Store::open(Box::new(Memory), engine::guard()).expect("memory opens");
    let authority = Authority::open(store.clone(), meshgate::ca::Options::default()).await.expect("a root is made");
    let mut api = new_api(reports).await;
    api.options.hosted = hosted.iter().copied().map(Datacenter::from).collect();
    let own = engine::Options {
        datacenter: api.options.datacenter.clone(),
        hosted: api.options.datacenters().into_iter().collect(),
        node: api.options.node.clone(),
        default_intention: IntentionPolicy::Allow,
        dns_domain: DnsDomain::default(),
    };
    let engine = Engine::new(own.clone());
    let explainer = Arc::new(Explainer { options: own, trust_domain: authority.trust_domain().clone() });
    tokio::spawn(authority.clone().run(api.shutdown.clone()));
    tokio::spawn(engine.clone().run(store.clone(), authority.clone(), api.shutdown.clone()));
    let api = Api {
        certificates: Arc::new(Issuer(authority)),
        explanations: explainer.clone(),
        paths: explainer,
        planner: Arc::new(Changes::new(engine.clone())),
        linter: Arc::new(Lint(engine.clone())),
        propagation: Arc::new(Acknowledged(engine.clone())),
        store,
        ..api
    };
    (api, engine)
}

/// The routes of such an API, without a socket.
pub(crate) async fn router() -> axum::Router {
    api::router(new_api(Arc::new(Reports::default())).await)
}

impl TestApi {
    /// Datacenter `dc1`, with a certificate authority.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same, changed before it is served.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Api)) -> Self {
        let reports = Arc::new(Reports::default());
        Self::serve(new_api(reports.clone()).await, reports, change).await
    }

    /// The same with rules across entries, and an engine that configures proxies.
    pub(crate) async fn with_engine() -> (Self, Engine) {
        Self::with_engine_for(&[]).await
    }

    /// The same for these datacenters as well.
    pub(crate) async fn with_engine_for(hosted: &[&str]) -> (Self, Engine) {
        let reports = Arc::new(Reports::default());
        let (api, engine) = new_api_with_engine(reports.clone(), hosted).await;
        (Self::serve(api, reports, |_| ()).await, engine)
    }

    async fn serve(mut api: Api, reports: Arc<Reports>, change: impl FnOnce(&mut Api)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        api.options.http_addr = address;
        change(&mut api);
        let store = api.store.clone();
        let (readiness, metrics, shutdown) = (api.readiness.clone(), api.metrics.clone(), api.shutdown.clone());
        let options = api::ServeOptions::within(None, Duration::from_secs(2));
        let served = tokio::spawn(api::serve([listener.into()], api::router(api), shutdown.clone(), options));
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("no special settings");
        Self { store, readiness, reports, metrics, shutdown, served, url: format!("http://{address}"), client }
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], String::new()).await
    }

    /// `PUT` with a body, sent as `curl -d` does: with a form content type.
    pub(crate) async fn put(&self, path: &str, body: impl ToString) -> Answer {
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.call(Method::PUT, path, &[form], body.to_string()).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], String::new()).await
    }

    /// Registers a service with the agent.
    pub(crate) async fn register(&self, service: Value) {
        self.put("/v1/agent/service/register", service).await.is(200, "");
    }

    /// Any call. Checks what holds for every answer.
    pub(crate) async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).body(body);
        let sent = headers;
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.expect("the body arrives").to_vec();
        let answer = Answer { call: format!("{method} {path}"), status, headers, body };
        answer.check(&method, path);
        if matches!(answer.header("content-encoding"), "" | "identity") {
            openapi::check((method.as_str(), path, sent), status, &answer.headers, &answer.body);
        }
        answer
    }

    /// A call that is refused, and changes nothing.
    pub(crate) async fn refuses(&self, method: Method, path: &str, body: impl ToString, status: u16, fragment: &str) {
        let before = self.store.view();
        let answer = self.call(method, path, &[], body.to_string()).await;
        let after = self.store.view();
        assert_eq!(answer.status, status, "{}: {}", answer.call, answer.text());
        assert!(answer.text().contains(fragment), "{}: {:?} is not in {:?}", answer.call, fragment, answer.text());
        assert_eq!(after.index(), before.index(), "{}: the index moved", answer.call);
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "{}: the state changed", answer.call);
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Method and path, for messages.
    pub(crate) call: String,
    /// Status.
    pub(crate) status: u16,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body, as it was sent.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Asserts status and body.
    pub(crate) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body.to_owned()), "{}", self.call);
    }

    /// Asserts status and a part of the body.
    pub(crate) fn says(&self, status: u16, fragment: &str) {
        assert_eq!(self.status, status, "{}: {}", self.call, self.text());
        assert!(self.text().contains(fragment), "{}: {fragment:?} is not in {:?}", self.call, self.text());
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, of a call that succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}: {}", self.call, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {}", self.call, self.text()))
    }

    /// A header, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are ASCII"))
    }

    /// The index header.
    pub(crate) fn index(&self) -> u64 {
        self.header("x-consul-index").parse().unwrap_or_else(|_| panic!("{}: no index", self.call))
    }

    fn check(&self, method: &Method, path: &str) {
        let call = &self.call;
        assert_eq!(self.header("x-consul-default-acl-policy"), "allow", "{call}");
        let content_type = self.header("content-type");
        let ends_with_newline = self.body.ends_with(b"\n");
        let is_unknown_path = self.body.starts_with(b"Invalid URL path");
        let status_is_the_result = ["/v1/meshgate/", "/v1/agent/health/", "/v1/internal/federation-state/", "/v1/txn"];
        if self.status >= 400 && !status_is_the_result.iter().any(|prefix| path.starts_with(prefix)) {
            assert_eq!(content_type, "text/plain; charset=utf-8", "{call}");
            assert!(*method == Method::HEAD || !self.body.is_empty(), "{call}: an error without a text");
            assert_eq!(ends_with_newline, is_unknown_path, "{call}: {:?}", self.text());
        }
        if self.status == 200 && content_type == "application/json" && self.header("content-encoding").is_empty() {
            serde_json::from_slice::<Value>(&self.body).unwrap_or_else(|error| panic!("{call}: {error}"));
            assert_eq!(ends_with_newline, path.contains("pretty"), "{call}: newline at the end");
        }
        let reads_the_state = [
            "/v1/catalog/",
            "/v1/health/",
            "/v1/config/",
            "/v1/connect/",
            "/v1/namespace",
            "/v1/partition",
            "/v1/internal/ui/",
            "/v1/exported",
            "/v1/imported",
        ]
        .into_iter()
        .any(|prefix| path.starts_with(prefix) && !path.starts_with("/v1/catalog/datacenters"));
        if *method == Method::GET && self.status == 200 && reads_the_state {
            assert!(self.index() >= 1, "{call}");
            assert_eq!(
                (self.header("x-consul-knownleader"), self.header("x-consul-lastcontact")),
                ("true", "0"),
                "{call}"
            );
            assert_eq!(self.header("x-consul-query-backend"), "blocking-query", "{call}");
        }
    }
}
