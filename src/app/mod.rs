//! Start and stop order of the process.

mod adapters;
mod chains;
mod explain;
mod exports;
mod files;
mod gateways;
mod happenings;
mod lint;
mod plan;
mod simulate;
mod tls;
mod trial;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ads;
use crate::api::{self, Api, Files, NoFiles};
use crate::ca::{Authority, CaError};
use crate::engine::{self, Engine};
use crate::health::{self, Runner};
use crate::model::{Bundle, Problems, TrustDomain};
use crate::net::{self, Listener};
use crate::settings::{Settings, TlsListener};
use crate::store::{Author, Backend, Embedded, Key, Memory, Store, StoreError};
use crate::telemetry::{Logs, Readiness, ReadinessGuard};

pub use self::adapters::{Central, Issuer};
use self::adapters::{Proxies, Reports};
pub use self::chains::Chains;
pub use self::explain::Explainer;
pub use self::exports::Exports;
use self::files::Reloader;
pub use self::happenings::Happened;
pub use self::lint::Lint;
pub use self::plan::Changes;
pub use self::tls::TlsError;
use self::tls::{Configs, Secured};
pub use self::wait::Acknowledged;

/// Why the process could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data directory cannot be made or protected.
    #[error("the data directory {path} cannot be used; choose another with -data-dir")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("{what} cannot listen on {address}; is another agent running? choose another with {flag}")]
    Listen {
        /// What would listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// xDS cannot be served with TLS as the settings say.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate authority cannot be opened.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// A registration or config entry of the files is refused.
    #[error("{what} of the configuration files is refused: {problems}")]
    Refused {
        /// Which one.
        what: String,
        /// Why.
        problems: String,
    },
    /// The rows of a bundle are refused; nothing was started.
    #[error("the bundle is refused: {0}")]
    Bundle(Problems),
    /// The thread that makes configurations panicked, so that no proxy would learn of changes any more.
    #[error("the engine failed, see the log; proxies keep what they have until the process is started again")]
    Engine,
}

/// A running control plane.
pub struct App {
    /// Where the HTTP API listens: without TLS if it does so at all.
    pub http: SocketAddr,
    /// Where the HTTP API listens with TLS.
    pub https: Option<SocketAddr>,
    /// Where the ADS server listens without TLS.
    pub grpc: Option<SocketAddr>,
    /// Where the ADS server listens with TLS.
    pub grpc_tls: Option<SocketAddr>,
    /// The state.
    pub store: Store,
    /// What it waits for before it is ready.
    pub readiness: Readiness,
    settings: Settings,
    /// Everything that it listens on, with the ports that the system chose.
    bound: Bound,
    /// The checks that it runs.
    checks: health::Options,
    /// Who reads the files again, if there are any.
    files: Arc<dyn Files>,
    /// The same, if there are any.
    reloader: Option<Arc<Reloader>>,
    logs: Logs,
    descriptors: Option<u64>,
    /// What listeners with TLS show their clients.
    secured: Secured,
    /// Facts about the agent's node, as the files say them now.
    node_meta: api::NodeMeta,
    /// Cancelled when somebody asks the process to stop.
    leave: CancellationToken,
    /// Ends what accepts calls.
    serving: CancellationToken,
    /// Ends what works in the background, after everybody was answered.
    working: CancellationToken,
    /// Cancelled when the engine panicked.
    failed: CancellationToken,
    /// Cancelled when the state has another trust domain than everything that was made of it.
    moved: CancellationToken,
    servers: JoinSet<()>,
    workers: JoinSet<()>,
    writer: JoinHandle<()>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, https, grpc, grpc_tls, store, readiness, .. } = self;
        let mut shown = f.debug_struct("App");
        shown
            .field("http", http)
            .field("https", https)
            .field("grpc", grpc)
            .field("grpc_tls", grpc_tls)
            .field("store", store)
            .field("readiness", readiness);
        shown.finish_non_exhaustive()
    }
}

/// Addresses that are listened on.
#[derive(Debug, Clone)]
struct Bound {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    grpc: Vec<SocketAddr>,
    grpc_tls: Vec<SocketAddr>,
}

/// What will be served, once everything is there.
struct Listeners {
    api: Vec<Listener>,
    xds: Vec<Listener>,
    starting: ReadinessGuard,
}

/// What the process around it tells a control plane. By default nothing, and it logs nowhere.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Cancelled when it shall stop.
    pub shutdown: CancellationToken,
    /// Notified when it shall read its files again.
    pub reload: Arc<Notify>,
    /// Where it logs.
    pub logs: Logs,
    /// Most files and connections that it may have open; `None` for any number.
    pub descriptors: Option<u64>,
}

/// Runs the control plane until the process says stop.
///
/// # Errors
/// It cannot start, or the engine failed.
pub async fn run(settings: Settings, process: Process) -> Result<(), AppError> {
    serve(App::start_in(settings, &process).await?, process).await
}

/// Runs a control plane from the state of a bundle until the process says stop.
///
/// # Errors
/// It cannot start, or the engine failed.
pub async fn replay(settings: Settings, bundle: Bundle, process: Process) -> Result<(), AppError> {
    serve(App::replay_in(settings, bundle, &process).await?, process).await
}

/// What a process would send to each registered proxy of a bundle, as hashes without secrets, by the proxies' names.
///
/// # Errors
/// The bundle is refused.
pub async fn verify(bundle: Bundle) -> Result<BTreeMap<String, String>, AppError> {
    let agent = bundle.agent.clone();
    let (store, _writer) = Store::open(Box::new(Memory), engine::guard())?;
    write(&store, bundle).await?;
    let cluster_id = Some(agent.cluster_id.clone()).filter(|id| !id.is_empty());
    let ca = crate::ca::Options { cluster_id, ..Default::default() };
    let authority = Authority::open(store.by(Author::Authority), ca).await?;
    let options = engine::Options {
        hosted: std::iter::once(&agent.datacenter).chain(&agent.hosted_datacenters).cloned().collect(),
        datacenter: agent.datacenter,
        node: agent.node_name,
        default_intention: agent.default_intention_policy,
        dns_domain: agent.domain,
    };
    let hashes = happenings::hashes(&options, authority.trust_domain(), &store.view());
    Ok(hashes.into_iter().map(|(proxy, hash)| (proxy.to_string(), hash)).collect())
}

/// Writes a bundle into an empty store.
async fn write(store: &Store, bundle: Bundle) -> Result<(), AppError> {
    let written = store.write(bundle).await.map(drop);
    written.map_err(
        |error| {
            if let StoreError::Rejected(problems) = error { AppError::Bundle(problems) } else { error.into() }
        },
    )
}

async fn serve(mut app: App, process: Process) -> Result<(), AppError> {
    let ended = loop {
        let (failed, moved) = (app.failed.clone(), app.moved.clone());
        tokio::select! {
            () = process.shutdown.cancelled() => break Ok(()),
            () = failed.cancelled() => break Err(AppError::Engine),
            () = moved.cancelled() => app = app.restart(&process).await?,
            () = process.reload.notified() => {
                // Whoever sent the signal reads the log, which says what became of it.
                let _ = app.files.reload().await;
            }
        }
    };
    app.stop().await;
    ended
}

impl App {
    /// Every address of the HTTP API, those without TLS first.
    pub fn listening(&self) -> Vec<SocketAddr> {
        [&self.bound.http[..], &self.bound.https].concat()
    }

    /// Starts the control plane. When this returns, it is ready.
    ///
    /// # Errors
    /// It cannot start; nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, AppError> {
        Self::start_in(settings, &Process::default()).await
    }

    async fn start_in(settings: Settings, process: &Process) -> Result<Self, AppError> {
        let opened = Store::open_with(backend(settings.data_dir.as_deref())?, engine::guard(), settings.history)?;
        let checks = health::Options {
            output_max_size: settings.check_output_max_size,
            ..health::Options::new(settings.node_name.clone(), settings.datacenters().cloned())
        };
        Self::start_on(settings, opened, checks, None, process).await
    }

    async fn start_on(
        settings: Settings,
        opened: (Store, JoinHandle<()>),
        checks: health::Options,
        secured: Option<Secured>,
        process: &Process,
    ) -> Result<Self, AppError> {
        let (mut app, listeners) = Self::open(settings, opened, checks, secured, process)?;
        let (config, cluster_id) = (app.settings.ca.clone(), app.settings.cluster_id.clone());
        let ca = crate::ca::Options { config, cluster_id, ..Default::default() };
        let authority = Authority::open(app.store.by(Author::Authority), ca).await?;
        let options = app.api_options();
        files::take_over(&app.store.by(Author::Files), &app.settings, &options).await?;
        let reloader = Arc::new(Reloader::new(&app, options));
        app.files = reloader.clone();
        app.reloader = Some(reloader);
        Ok(app.spawn(listeners, authority))
    }

    /// Starts the control plane that a bundle was taken from, apart from its certificates, in memory. It runs no checks:
    /// what they found is part of the state. When this returns, it is ready.
    ///
    /// # Errors
    /// The bundle is refused, or the process cannot start; nothing is left running.
    pub async fn replay(settings: Settings, bundle: Bundle) -> Result<Self, AppError> {
        Self::replay_in(settings, bundle, &Process::default()).await
    }

    async fn replay_in(settings: Settings, bundle: Bundle, process: &Process) -> Result<Self, AppError> {
        let agent = &bundle.agent;
        let settings = Settings {
            datacenter: agent.datacenter.clone(),
            hosted_datacenters: agent.hosted_datacenters.clone(),
            node_name: agent.node_name.clone(),
            default_intention_policy: agent.default_intention_policy,
            domain: agent.domain.clone(),
            data_dir: None,
            ..settings
        };
        let cluster_id = Some(agent.cluster_id.clone()).filter(|id| !id.is_empty());
        let opened = Store::open_with(Box::new(Memory), engine::guard(), settings.history)?;
        write(&opened.0, bundle).await?;
        let checks = health::Options::new(settings.node_name.clone(), []);
        let (app, listeners) = Self::open(settings, opened, checks, None, process)?;
        let ca = crate::ca::Options { cluster_id, ..Default::default() };
        let authority = Authority::open(app.store.by(Author::Authority), ca).await?;
        Ok(app.spawn(listeners, authority))
    }

    /// Binds the listeners; nothing is served on them yet. The files of TLS are read unless they were before.
    fn open(
        settings: Settings,
        (store, writer): (Store, JoinHandle<()>),
        checks: health::Options,
        secured: Option<Secured>,
        process: &Process,
    ) -> Result<(Self, Listeners), AppError> {
        let readiness = Readiness::default();
        let starting = readiness.wait_for("the start of the process");
        let http = listen("the HTTP API", &settings.http, "-http-port")?;
        let grpc = listen("xDS", &settings.grpc, "-grpc-port")?;
        let secured = secured.map_or_else(|| Configs::read(&settings).map(Secured::new), Ok)?;
        let with_tls = |what, listener: &Option<TlsListener>, flag| {
            let addresses = listener.as_ref().map(|listener| &listener.addresses[..]).unwrap_or_default();
            listen(what, addresses, flag)
        };
        let https = with_tls("the HTTP API with TLS", &settings.https, "-https-port")?;
        let grpc_tls = with_tls("xDS with TLS", &settings.grpc_tls, "-grpc-tls-port")?;
        let [at_http, at_https, at_grpc, at_tls] = [&http, &https, &grpc, &grpc_tls].map(|open| local_addresses(open));
        let bound = Bound { http: at_http, https: at_https, grpc: at_grpc, grpc_tls: at_tls };
        let first = |addresses: &[SocketAddr]| addresses.first().copied();
        let app = Self {
            http: first(&bound.http).or(first(&bound.https)).expect("the settings have an address for the API"),
            https: first(&bound.https),
            grpc: first(&bound.grpc),
            grpc_tls: first(&bound.grpc_tls),
            bound,
            store,
            readiness,
            node_meta: settings.node_meta.clone().into(),
            leave: process.shutdown.clone(),
            settings,
            checks,
            files: Arc::new(NoFiles),
            reloader: None,
            logs: process.logs.clone(),
            secured: secured.clone(),
            descriptors: process.descriptors,
            serving: CancellationToken::new(),
            working: CancellationToken::new(),
            failed: CancellationToken::new(),
            moved: CancellationToken::new(),
            servers: JoinSet::new(),
            workers: JoinSet::new(),
            writer,
        };
        let all = |open: Vec<TcpListener>, with_tls: Vec<TcpListener>, tls: Option<net::Tls>| {
            let with_tls = with_tls.into_iter().map(|socket| Listener { socket, tls: tls.clone() });
            open.into_iter().map(Listener::from).chain(with_tls).collect()
        };
        let (api, xds) = (all(http, https, secured.https), all(grpc, grpc_tls, secured.grpc));
        Ok((app, Listeners { api, xds, starting }))
    }

    fn spawn(mut self, listeners: Listeners, authority: Authority) -> Self {
        let Listeners { api: api_listeners, xds, starting } = listeners;
        let engine_options = engine::Options {
            datacenter: self.settings.datacenter.clone(),
            hosted: self.settings.datacenters().cloned().collect(),
            node: self.settings.node_name.clone(),
            default_intention: self.settings.default_intention_policy,
            dns_domain: self.settings.domain.clone(),
        };
        let engine = Engine::new(engine_options.clone());
        let runner = Runner::new(self.store.by(Author::HealthChecks), self.checks.clone(), adapters::EXPOSURES);
        let working = || self.working.clone();
        self.workers.spawn(authority.clone().run(working()));
        self.workers.spawn(runner.clone().run(working()));
        let looking = gateways::look_at_gateways(engine.clone(), self.store.clone(), runner.clone(), working());
        self.workers.spawn(looking);
        self.workers.spawn(on_own_thread(
            engine.clone().run(self.store.clone(), authority.clone(), working()),
            self.failed.clone(),
        ));

        let trust_domain = authority.trust_domain().clone();
        self.workers.spawn(watch_trust_domain(self.store.clone(), trust_domain.clone(), self.moved.clone(), working()));
        let explainer = Arc::new(Explainer { options: engine_options, trust_domain: trust_domain.clone() });
        let api = Api {
            options: self.api_options(),
            store: self.store.clone(),
            readiness: self.readiness.clone(),
            certificates: Arc::new(Issuer(authority)),
            proxies: Arc::new(Proxies(engine.clone())),
            happenings: Arc::new(Happened { engine: engine.clone(), trust_domain: trust_domain.clone() }),
            reports: Arc::new(Reports(runner)),
            central: Arc::new(Central),
            chains: Arc::new(Chains { datacenter: self.settings.datacenter.clone(), trust_domain }),
            explanations: explainer.clone(),
            paths: explainer,
            exports: Arc::new(Exports),
            planner: Arc::new(Changes::new(engine.clone())),
            linter: Arc::new(Lint(engine.clone())),
            propagation: Arc::new(Acknowledged(engine.clone())),
            looks: Arc::default(),
            files: self.files.clone(),
            logs: self.logs.clone(),
            leave: self.leave.clone(),
            shutdown: self.serving.clone(),
            metrics: api::Metrics::default(),
        };
        let options = api::ServeOptions::within(self.descriptors, self.settings.shutdown_deadline);
        self.servers.spawn(api::serve(api_listeners, api::router(api), self.serving.clone(), options));
        let (readiness, serving) = (self.readiness.clone(), self.serving.clone());
        self.servers.spawn(ads::serve(xds, Arc::new(engine), ads::Options::default(), readiness, serving));
        drop(starting);
        let Bound { http, https, grpc, grpc_tls } = &self.bound;
        // Absent where nothing listens.
        let [http, https, grpc, grpc_tls] = [http, https, grpc, grpc_tls].map(|addresses| listed(addresses));
        let hosted = self.api_options().datacenters().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        tracing::info!(http, https, grpc, grpc_tls, datacenter = %self.settings.datacenter, hosted, "ready");
        self
    }

    fn api_options(&self) -> api::Options {
        let settings = &self.settings;
        api::Options {
            datacenter: settings.datacenter.clone(),
            hosted: settings.hosted_datacenters.clone(),
            node: settings.node_name.clone(),
            node_id: settings.node_id.clone().unwrap_or_default(),
            node_meta: self.node_meta.clone(),
            advertise: settings.advertise.to_string(),
            http_addr: self.http,
            grpc_port: self.grpc.map(|address| address.port()),
            grpc_tls_port: self.grpc_tls.map(|address| address.port()),
            check_output_max_size: settings.check_output_max_size,
            sidecar_ports: settings.sidecar_ports,
            default_intention_policy: settings.default_intention_policy,
            dns_domain: settings.domain.clone(),
            prometheus: settings.prometheus,
            pretty: settings.dev,
            waits: settings.waits,
            access: settings.access.clone(),
        }
    }

    /// Starts anew with the same state on the same addresses, after the snapshot of another cluster was restored: the trust
    /// domain is part of everything that proxies have, so they are served again once all of it is made anew.
    async fn restart(self, process: &Process) -> Result<Self, AppError> {
        let Self {
            bound: Bound { http, https, grpc, grpc_tls },
            store,
            checks,
            secured,
            serving,
            working,
            mut servers,
            mut workers,
            writer,
            ..
        } = self;
        tracing::warn!("starting again: the state belongs to another trust domain than before");
        serving.cancel();
        while servers.join_next().await.is_some() {}
        working.cancel();
        while workers.join_next().await.is_some() {}
        let settings = match &self.reloader {
            Some(reloader) => reloader.taken_over_into(self.settings).await,
            None => self.settings,
        };
        let at = |listener: Option<TlsListener>, addresses: Vec<SocketAddr>| {
            listener.map(|listener| TlsListener { addresses, ..listener })
        };
        let (https, grpc_tls) = (at(settings.https, https), at(settings.grpc_tls, grpc_tls));
        let settings = Settings { http, https, grpc, grpc_tls, ..settings };
        Self::start_on(settings, (store, writer), checks, Some(secured), process).await
    }

    /// Stops accepting, lets running calls finish, ends the streams, closes the store; all under the deadline of the
    /// settings.
    pub async fn stop(self) {
        let Self {
            store,
            readiness,
            settings,
            files,
            reloader,
            serving,
            working,
            mut servers,
            mut workers,
            writer,
            ..
        } = self;
        let _not_ready = readiness.wait_for("the end of the process");
        tracing::info!(deadline = ?settings.shutdown_deadline, "stopping");
        let stopped = tokio::time::timeout(settings.shutdown_deadline, async {
            serving.cancel();
            while servers.join_next().await.is_some() {}
            tracing::info!("calls finished, streams ended");
            working.cancel();
            while workers.join_next().await.is_some() {}
            drop((store, files, reloader));
            // The writer ends when nobody can write any more; what was acknowledged is durable already.
            let closed = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(closed, Ok(Ok(()))) {
                tracing::error!("the writer of the store failed");
            }
            tracing::info!("store closed");
        });
        if stopped.await.is_err() {
            tracing::warn!("not everything ended in time");
        }
    }
}

fn backend(directory: Option<&Path>) -> Result<Box<dyn Backend>, AppError> {
    let Some(path) = directory else { return Ok(Box::new(Memory)) };
    make_private(path).map_err(|source| AppError::DataDir { path: path.to_owned(), source })?;
    Ok(Box::new(Embedded::open(path)?))
}

/// Makes a directory that only its owner can enter: it holds keys.
fn make_private(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn listen(what: &'static str, addresses: &[SocketAddr], flag: &'static str) -> Result<Vec<TcpListener>, AppError> {
    let bind = |address: &SocketAddr| {
        net::bind(*address).map_err(|source| AppError::Listen { what, address: *address, flag, source })
    };
    addresses.iter().map(bind).collect()
}

/// Addresses for people.
fn listed(addresses: &[SocketAddr]) -> Option<String> {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    Some(texts.join(" ")).filter(|text| !text.is_empty())
}

/// The addresses with the ports that the system chose.
fn local_addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// Cancels `moved` once the root that signs has another trust domain.
async fn watch_trust_domain(store: Store, own: TrustDomain, moved: CancellationToken, shutdown: CancellationToken) {
    let watch = async {
        loop {
            let view = store.view();
            if view.active_root().is_some_and(|root| root.trust_domain != own) {
                return moved.cancel();
            }
            if store.changed(BTreeSet::from([Key::Roots]), view.index()).await.is_err() {
                return;
            }
        }
    };
    shutdown.run_until_cancelled(watch).await;
}

/// Drives a future that computes for long on a thread of its own, so that it holds up nobody else. Cancels `failed` if it
/// panics.
async fn on_own_thread(work: impl Future<Output = ()> + Send + 'static, failed: CancellationToken) {
    let runtime = tokio::runtime::Handle::current();
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        runtime.block_on(work);
        // Nobody waits when the process is ending.
        ended.send(()).ok();
    });
    if let Err(error) = thread {
        tracing::error!(error = %error, "the engine's thread cannot be started");
    }
    // A thread that panicked, or never was, drops its end of the channel without a word.
    if wait.await.is_err() {
        failed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_engine_that_panics_has_failed() {
        let failed = CancellationToken::new();
        on_own_thread(async {}, failed.clone()).await;
        assert!(!failed.is_cancelled());

        on_own_thread(async { panic!("a defect") }, failed.clone()).await;
        assert!(failed.is_cancelled());
    }
}
