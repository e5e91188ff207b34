//! Start and stop order of the process.

mod adapters;
mod chains;
mod files;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ads;
use crate::api::{self, Api};
use crate::ca::{Authority, CaError};
use crate::engine::{self, Engine};
use crate::health::{self, Runner};
use crate::model::{Bundle, Problems};
use crate::settings::Settings;
use crate::store::{Backend, Embedded, Memory, Store, StoreError};
use crate::telemetry::Readiness;

use self::adapters::{Central, Issuer, Proxies, Reports};
pub use self::chains::Chains;

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
#[derive(Debug)]
pub struct App {
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where the ADS server listens.
    pub grpc: SocketAddr,
    /// The state.
    pub store: Store,
    /// What it waits for before it is ready.
    pub readiness: Readiness,
    settings: Settings,
    /// The checks that it runs.
    checks: health::Options,
    /// Ends what accepts calls.
    serving: CancellationToken,
    /// Ends what works in the background, after everybody was answered.
    working: CancellationToken,
    /// Cancelled when the engine panicked.
    failed: CancellationToken,
    servers: JoinSet<()>,
    workers: JoinSet<()>,
    writer: JoinHandle<()>,
}

/// Runs the control plane until `shutdown` is cancelled.
///
/// # Errors
/// It cannot start, or the engine failed.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), AppError> {
    serve(App::start(settings).await?, shutdown).await
}

/// Runs a control plane from the state of a bundle until `shutdown` is cancelled.
///
/// # Errors
/// It cannot start, or the engine failed.
pub async fn replay(settings: Settings, bundle: Bundle, shutdown: CancellationToken) -> Result<(), AppError> {
    serve(App::replay(settings, bundle).await?, shutdown).await
}

async fn serve(app: App, shutdown: CancellationToken) -> Result<(), AppError> {
    let failed = app.failed.clone();
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = failed.cancelled() => Err(AppError::Engine),
    };
    app.stop().await;
    ended
}

impl App {
    /// Starts the control plane. When this returns, it is ready.
    ///
    /// # Errors
    /// It cannot start; nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, AppError> {
        let opened = Store::open(backend(settings.data_dir.as_deref())?, engine::guard())?;
        let checks = health::Options::new(settings.node_name.clone(), settings.datacenters().cloned());
        Self::start_with(settings, opened, crate::ca::Options::default(), checks).await
    }

    /// Starts the control plane that a bundle was taken from, apart from its certificates, in memory. It runs no checks:
    /// what they found is part of the state. When this returns, it is ready.
    ///
    /// # Errors
    /// The bundle is refused, or the process cannot start; nothing is left running.
    pub async fn replay(settings: Settings, bundle: Bundle) -> Result<Self, AppError> {
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
        let opened = Store::open(Box::new(Memory), engine::guard())?;
        opened.0.write(bundle).await.map_err(|error| {
            if let StoreError::Rejected(problems) = error { AppError::Bundle(problems) } else { error.into() }
        })?;
        let checks = health::Options::new(settings.node_name.clone(), []);
        Self::start_with(settings, opened, crate::ca::Options { cluster_id, ..Default::default() }, checks).await
    }

    async fn start_with(
        settings: Settings,
        (store, writer): (Store, JoinHandle<()>),
        ca: crate::ca::Options,
        checks: health::Options,
    ) -> Result<Self, AppError> {
        let readiness = Readiness::default();
        let starting = readiness.wait_for("the start of the process");
        let http = listen("the HTTP API", settings.http, "-http-port")?;
        let grpc = listen("xDS", settings.grpc, "-grpc-port")?;
        let authority = Authority::open(store.clone(), ca).await?;
        let mut app = Self {
            http: local_address(&http, settings.http),
            grpc: local_address(&grpc, settings.grpc),
            store,
            readiness,
            settings,
            checks,
            serving: CancellationToken::new(),
            working: CancellationToken::new(),
            failed: CancellationToken::new(),
            servers: JoinSet::new(),
            workers: JoinSet::new(),
            writer,
        };
        files::write(&app.store, &app.settings, &app.api_options()).await?;
        app.spawn(http, grpc, authority);
        drop(starting);
        let (http, grpc) = (app.http, app.grpc);
        let hosted = app.api_options().datacenters().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        tracing::info!(%http, %grpc, datacenter = %app.settings.datacenter, hosted, "ready");
        Ok(app)
    }

    fn spawn(&mut self, http: TcpListener, grpc: TcpListener, authority: Authority) {
        let engine = Engine::new(engine::Options {
            datacenter: self.settings.datacenter.clone(),
            hosted: self.settings.datacenters().cloned().collect(),
            node: self.settings.node_name.clone(),
            default_intention: self.settings.default_intention_policy,
            dns_domain: self.settings.domain.clone(),
        });
        let runner = Runner::new(self.store.clone(), self.checks.clone(), adapters::exposures);
        let working = || self.working.clone();
        self.workers.spawn(authority.clone().run(working()));
        self.workers.spawn(runner.clone().run(working()));
        self.workers.spawn(on_own_thread(
            engine.clone().run(self.store.clone(), authority.clone(), working()),
            self.failed.clone(),
        ));

        let trust_domain = authority.trust_domain().clone();
        let api = Api {
            options: self.api_options(),
            store: self.store.clone(),
            readiness: self.readiness.clone(),
            certificates: Arc::new(Issuer(authority)),
            proxies: Arc::new(Proxies(engine.clone())),
            reports: Arc::new(Reports(runner)),
            central: Arc::new(Central),
            chains: Arc::new(Chains { datacenter: self.settings.datacenter.clone(), trust_domain }),
            shutdown: self.serving.clone(),
            metrics: api::Metrics::default(),
        };
        let deadline = self.settings.shutdown_deadline;
        self.servers.spawn(api::serve(http, api::router(api), self.serving.clone(), deadline));
        let (readiness, serving) = (self.readiness.clone(), self.serving.clone());
        self.servers.spawn(ads::serve(grpc, Arc::new(engine), ads::Options::default(), readiness, serving));
    }

    fn api_options(&self) -> api::Options {
        let settings = &self.settings;
        api::Options {
            datacenter: settings.datacenter.clone(),
            hosted: settings.hosted_datacenters.clone(),
            node: settings.node_name.clone(),
            node_id: settings.node_id.clone().unwrap_or_default(),
            node_meta: settings.node_meta.clone(),
            advertise: settings.advertise.to_string(),
            http_addr: self.http,
            grpc_port: Some(self.grpc.port()),
            sidecar_ports: settings.sidecar_ports,
            default_intention_policy: settings.default_intention_policy,
            dns_domain: settings.domain.clone(),
            pretty: settings.dev,
        }
    }

    /// Stops accepting, lets running calls finish, ends the streams, closes the store; all under the deadline of the
    /// settings.
    pub async fn stop(self) {
        let Self { store, readiness, settings, serving, working, mut servers, mut workers, writer, .. } = self;
        let _not_ready = readiness.wait_for("the end of the process");
        tracing::info!(deadline = ?settings.shutdown_deadline, "stopping");
        let stopped = tokio::time::timeout(settings.shutdown_deadline, async {
            serving.cancel();
            while servers.join_next().await.is_some() {}
            tracing::info!("calls finished, streams ended");
            working.cancel();
            while workers.join_next().await.is_some() {}
            drop(store);
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

fn listen(what: &'static str, address: SocketAddr, flag: &'static str) -> Result<TcpListener, AppError> {
    ads::bind(address).map_err(|source| AppError::Listen { what, address, flag, source })
}

/// The address with the port that the system chose.
fn local_address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
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
