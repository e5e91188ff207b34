//! The mesh of the demo, for a test.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use meshgate::cli::demo::{Callee, Mesh, Quiet, Traffic};
use meshgate::cli::envoy;
use meshgate::model::GatewayMode;
use meshgate::resolve::{Rung, Sources};
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::Admin;

/// A mesh is eight processes: more of them at once would only wait for each other.
static MESHES: Semaphore = Semaphore::const_new(2);

/// Lines of each log that a failed test shows.
const LAST_LINES: usize = 25;

/// The meshgate binary.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_meshgate"))
}

/// The Envoy binary, which is fetched if there is none.
pub(crate) async fn envoy_binary() -> PathBuf {
    static FOUND: OnceCell<PathBuf> = OnceCell::const_new();
    let find = || async {
        let found = tokio::task::spawn_blocking(|| envoy::find_or_install(None)).await.unwrap();
        found.unwrap_or_else(|error| panic!("this test needs a real Envoy: {error}"))
    };
    FOUND.get_or_init(find).await.clone()
}

/// A running mesh. When the test fails, it shows the ends of the logs.
pub(crate) struct TestMesh {
    mesh: Mesh,
    _permit: SemaphorePermit<'static>,
}

impl Deref for TestMesh {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        &self.mesh
    }
}

impl DerefMut for TestMesh {
    fn deref_mut(&mut self) -> &mut Mesh {
        &mut self.mesh
    }
}

impl TestMesh {
    /// Starts a mesh.
    pub(crate) async fn start() -> Self {
        let envoy = envoy_binary().await;
        let permit = MESHES.acquire().await.unwrap();
        let mesh = Mesh::start(program(), &envoy, &Quiet).await.unwrap_or_else(|error| panic!("{error:?}"));
        Self { mesh, _permit: permit }
    }

    /// Sets the mode for everybody, with proxy-defaults.
    pub(crate) async fn set_mode(&mut self, mode: GatewayMode) {
        self.set_modes(Sources::default().with(Rung::ProxyDefaults, Some(mode))).await.unwrap();
    }

    /// The admin interface of an Envoy.
    pub(crate) fn admin(&self, name: &str) -> Admin {
        Admin::at(self.envoys().iter().find(|envoy| envoy.name == name).unwrap().admin())
    }

    /// The Envoys that carry `requests` requests, all of which must be answered.
    pub(crate) async fn carriers(&self, callee: Callee, requests: u32) -> BTreeSet<&'static str> {
        let all: Vec<&'static str> = self.envoys().iter().map(|envoy| envoy.name).collect();
        let before = self.received_by(&all).await.unwrap();
        for _ in 0..requests {
            let text = self.call(callee).await.unwrap_or_else(|error| panic!("{error:?}"));
            assert!(text.contains(callee.greeting()), "{text}");
        }
        let after = self.received_by(&all).await.unwrap();
        all.into_iter().filter(|name| after[name] > before[name]).collect()
    }

    /// Waits until requests take this way and no other.
    pub(crate) async fn takes(&self, callee: Callee, way: &[&'static str]) {
        let expected: BTreeSet<&'static str> = way.iter().copied().collect();
        let waiting = Waiting::for_(format!("the way {way:?}"));
        while self.carriers(callee, 2).await != expected {
            waiting.again().await;
        }
    }

    /// The Envoys that carry the traffic of a client until it has sent some more requests.
    pub(crate) async fn carry(&self, traffic: &Traffic) -> BTreeSet<&'static str> {
        let all: Vec<&'static str> = self.envoys().iter().map(|envoy| envoy.name).collect();
        let before = self.received_by(&all).await.unwrap();
        let sent = traffic.sent();
        let waiting = Waiting::for_("requests of the client");
        while traffic.sent() < sent + 4 {
            waiting.again().await;
        }
        let after = self.received_by(&all).await.unwrap();
        all.into_iter().filter(|name| after[name] > before[name]).collect()
    }

    /// Waits until the traffic of a client takes this way and no other.
    pub(crate) async fn moves(&self, traffic: &Traffic, way: &[&'static str]) {
        let expected: BTreeSet<&'static str> = way.iter().copied().collect();
        let waiting = Waiting::for_(format!("traffic on the way {way:?}"));
        while self.carry(traffic).await != expected {
            waiting.again().await;
        }
    }

    /// What the control plane knows about the connected proxies.
    pub(crate) async fn proxies(&self) -> Vec<Value> {
        self.control_plane.get("/v1/meshgate/proxies").await.unwrap().as_array().unwrap().clone()
    }

    /// Ends the test: no Envoy has ever refused anything or complained about an old field, and no cluster or listener waits
    /// for something.
    pub(crate) async fn is_clean(&self) {
        for proxy in self.proxies().await {
            assert_eq!(proxy["Problems"], serde_json::json!([]), "{proxy}");
            for kind in proxy["Types"].as_array().unwrap() {
                assert_eq!((&kind["Nacks"], &kind["LastNack"]), (&0.into(), &Value::Null), "{proxy}");
            }
        }
        let bad = r"update_rejected|listener_create_failure|deprecated_feature_use|warming|init_fetch_timeout";
        for envoy in self.envoys() {
            let stats = Admin::at(envoy.admin()).stats(bad).await;
            assert!(!stats.is_empty(), "{} counts nothing of the kind", envoy.name);
            assert!(stats.values().all(|count| *count == 0), "{}: {stats:?}", envoy.name);
        }
    }
}

impl Drop for TestMesh {
    #[allow(clippy::print_stderr, reason = "shown with a failed test")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for file in std::fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                eprintln!("--- the end of {}\n{last}", file.display());
            }
        }
    }
}

/// A wait that ends the test when it takes too long.
#[derive(Debug)]
pub(crate) struct Waiting {
    what: String,
    started: Instant,
}

impl Waiting {
    /// Longest time that a test waits for anything: much more than it takes on a busy machine, and less than the fetch
    /// time-outs of Envoy.
    const LIMIT: Duration = Duration::from_secs(12);

    /// Starts to wait.
    pub(crate) fn for_(what: impl Into<String>) -> Self {
        Self { what: what.into(), started: Instant::now() }
    }

    /// How long it has been.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Pauses before the next look.
    pub(crate) async fn again(&self) {
        assert!(self.elapsed() < Self::LIMIT, "{} did not come within {:?}", self.what, Self::LIMIT);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
