//! The whole way from calls of the HTTP API to the snapshots of proxies, in one process and without sockets.

use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, to_bytes};
use futures::{FutureExt, StreamExt};
use http::{Method, Request};
use meshgate::ads;
use meshgate::api::{self, Api, Metrics, NoFiles, ProxyState, ProxyStatus};
use meshgate::app::{Acknowledged, Central, Chains, Changes, Explainer, Exports, Happened, Issuer, Lint};
use meshgate::ca::{self, Authority};
use meshgate::codec;
use meshgate::engine::{self, Engine};
use meshgate::envoy::snapshot::{NodeIdentity, Snapshot, SnapshotSource, Watch};
use meshgate::model::{Datacenter, DnsDomain, InstanceId, IntentionPolicy};
use meshgate::store::{Backend, Memory, Store};
use meshgate::telemetry::{Logs, Readiness};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(crate) use super::http::CLUSTER_ID;
use super::http::{LIMIT, Reports};

/// Name of the agent's node.
pub(crate) const AGENT: &str = "agent";

/// A store, an authority, an engine and the API in front of them. Ends when dropped.
pub(crate) struct Mesh {
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    authority: Authority,
    options: engine::Options,
    router: Router,
    shutdown: CancellationToken,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Says of every proxy that it is connected and accepted everything.
struct Everybody(Store);

impl ProxyStatus for Everybody {
    fn proxies(&self) -> Vec<ProxyState> {
        let state = |id: &InstanceId| ProxyState {
            datacenter: id.place.datacenter.clone(),
            partition: id.place.partition.clone(),
            node: id.node.clone(),
            id: id.id.clone(),
            registered: true,
            problems: Vec::new(),
            streams: 1,
            envoy_version: String::new(),
            index: 1,
            acked: 1,
            behind: None,
            trial: None,
            types: Vec::new(),
        };
        self.0.view().proxies().map(|(id, _)| state(id)).collect()
    }
}

/// Options of an engine for these datacenters, the own one first.
pub(crate) fn options(datacenters: &[Datacenter], default_intention: IntentionPolicy) -> engine::Options {
    let own = datacenters.first().cloned().unwrap_or_else(|| Datacenter::from("dc1"));
    engine::Options {
        datacenter: own,
        hosted: datacenters.to_vec(),
        node: AGENT.into(),
        default_intention,
        dns_domain: DnsDomain::default(),
    }
}

impl Mesh {
    /// An empty mesh in memory.
    pub(crate) async fn start(options: engine::Options) -> Self {
        Self::open(Box::new(Memory), options).await.0
    }

    /// The mesh of a backend, and the thread that has the backend until the mesh is gone.
    pub(crate) async fn open(backend: Box<dyn Backend>, options: engine::Options) -> (Self, JoinHandle<()>) {
        let (store, writer) = Store::open(backend, engine::guard()).expect("the backend opens");
        let settings = ca::Options { cluster_id: Some(CLUSTER_ID.to_owned()), ..ca::Options::default() };
        let authority = Authority::open(store.clone(), settings).await.expect("a root is made");
        (Self::over(store, authority, options), writer)
    }

    /// The mesh of an open store.
    pub(crate) fn over(store: Store, authority: Authority, options: engine::Options) -> Self {
        let shutdown = CancellationToken::new();
        tokio::spawn(authority.clone().run(shutdown.clone()));
        let explainer =
            Arc::new(Explainer { options: options.clone(), trust_domain: authority.trust_domain().clone() });
        let engine = follow(&options, &store, &authority, &shutdown);
        let router = api::router(Api {
            options: api::Options {
                datacenter: options.datacenter.clone(),
                hosted: options.hosted.clone(),
                node: options.node.clone(),
                ..api::Options::default()
            },
            store: store.clone(),
            readiness: Readiness::default(),
            certificates: Arc::new(Issuer(authority.clone())),
            proxies: Arc::new(Everybody(store.clone())),
            happenings: Arc::new(Happened { engine: engine.clone(), trust_domain: authority.trust_domain().clone() }),
            reports: Arc::new(Reports::default()),
            central: Arc::new(Central),
            chains: Arc::new(Chains {
                datacenter: options.datacenter.clone(),
                trust_domain: authority.trust_domain().clone(),
            }),
            explanations: explainer.clone(),
            paths: explainer,
            exports: Arc::new(Exports),
            planner: Arc::new(Changes::new(engine.clone())),
            linter: Arc::new(Lint(engine.clone())),
            propagation: Arc::new(Acknowledged(engine.clone())),
            looks: Arc::default(),
            files: Arc::new(NoFiles),
            logs: Logs::default(),
            leave: CancellationToken::new(),
            shutdown: shutdown.clone(),
            metrics: Metrics::default(),
        });
        Self { store, engine, authority, options, router, shutdown }
    }

    /// Serves the API on a socket; its URL.
    pub(crate) async fn serve_http(&self) -> String {
        let (listener, url) = listen().await;
        let options = api::ServeOptions::within(None, LIMIT);
        tokio::spawn(api::serve([listener.into()], self.router.clone(), self.shutdown.clone(), options));
        url
    }

    /// Serves an engine's snapshots on a socket; its URL.
    pub(crate) async fn serve_ads(&self, engine: &Engine) -> String {
        let (listener, url) = listen().await;
        let source = Arc::new(engine.clone());
        tokio::spawn(ads::serve(
            [listener.into()],
            source,
            ads::Options::default(),
            Readiness::default(),
            self.shutdown.clone(),
        ));
        url
    }

    /// Another engine, which knows nothing but the current state.
    pub(crate) fn fresh_engine(&self) -> Engine {
        follow(&self.options, &self.store, &self.authority, &self.shutdown)
    }

    /// Loads the sections of a bundle, such as `Peerings`, into the store. What names no datacenter is of the own one.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) async fn restore(&self, sections: &Value) -> Result<(), String> {
        let mut document = json!({
            "Format": "meshgate-bundle",
            "Version": 1,
            "Agent": { "Datacenter": self.options.datacenter },
        });
        let sections = sections.as_object().expect("sections of a bundle by their names");
        document.as_object_mut().expect("it is one").extend(sections.clone());
        let bundle = codec::bundle(document.to_string().as_bytes()).map_err(|problems| problems.to_string())?;
        self.store.write(bundle).await.map(drop).map_err(|error| error.to_string())
    }

    /// A call of the HTTP API: status and body.
    pub(crate) async fn call(&self, method: &Method, path: &str, body: String) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).expect("a valid path");
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("the body is in memory");
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, url)
}

fn follow(options: &engine::Options, store: &Store, authority: &Authority, shutdown: &CancellationToken) -> Engine {
    let engine = Engine::new(options.clone());
    tokio::spawn(engine.clone().run(store.clone(), authority.clone(), shutdown.clone()));
    engine
}

/// The snapshots of one proxy, one after the other.
pub(crate) struct Watched(Box<dyn Watch>);

impl Watched {
    /// Starts to watch.
    pub(crate) fn new(engine: &Engine, node: &NodeIdentity) -> Self {
        Self(engine.watch(node, 0))
    }

    /// The next snapshot.
    pub(crate) async fn next(&mut self) -> Arc<Snapshot> {
        tokio::time::timeout(LIMIT, self.0.next()).await.expect("in time").expect("the stream does not end").snapshot
    }

    /// Waits for a snapshot for which `holds`; the last one that came must.
    pub(crate) async fn until(&mut self, holds: impl Fn(&Snapshot) -> bool) {
        while !holds(&*self.next().await) {}
    }

    /// A snapshot that came since the last one was taken.
    pub(crate) fn came(&mut self) -> Option<Arc<Snapshot>> {
        self.0.next().now_or_never().map(|next| next.expect("the stream does not end").snapshot)
    }
}
