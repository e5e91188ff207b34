//! The mesh of the demo, for a test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use meshgate::cli::demo::{Callee, Mesh, Quiet, Traffic};
use meshgate::cli::envoy;
use meshgate::model::GatewayMode;
use meshgate::resolve::{Rung, Sources};
use serde_json::{Value, json};
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

/// Where a further service of a test is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Its datacenter.
    pub(crate) datacenter: &'static str,
    /// Its partition.
    pub(crate) partition: &'static str,
    /// The number of the place in addresses.
    pub(crate) number: u8,
    /// The number of its host.
    pub(crate) host: u8,
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

    /// The Envoys that carry `requests` requests to this service, all of which must be answered.
    pub(crate) async fn carriers(&self, callee: Callee, requests: u32) -> BTreeSet<&'static str> {
        self.carriers_to(&self.url(callee), callee.greeting(), requests).await
    }

    /// The Envoys that carry `requests` requests to `url`, all of which must be answered with something that contains
    /// `greeting`.
    pub(crate) async fn carriers_to(&self, url: &str, greeting: &str, requests: u32) -> BTreeSet<&'static str> {
        let before = self.received().await;
        for _ in 0..requests {
            let text = self.request(url).await.unwrap_or_else(|error| panic!("{error:?}"));
            assert!(text.contains(greeting), "{text}");
        }
        let after = self.received().await;
        after.into_iter().filter(|(name, bytes)| *bytes > before[name]).map(|(name, _)| name).collect()
    }

    /// One request on a connection of its own.
    pub(crate) async fn request(&self, url: &str) -> Result<String, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(Waiting::LIMIT).build().unwrap();
        client.get(url).send().await?.error_for_status()?.text().await
    }

    /// Waits until a request to `url` is answered.
    pub(crate) async fn answers(&self, url: &str) {
        let waiting = Waiting::for_(format!("an answer of {url}"));
        while self.request(url).await.is_err() {
            waiting.again().await;
        }
    }

    /// Bytes that each Envoy took from callers so far.
    pub(crate) async fn received(&self) -> BTreeMap<&'static str, u64> {
        let all: Vec<&'static str> = self.envoys().iter().map(|envoy| envoy.name).collect();
        self.received_by(&all).await.unwrap()
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
        let before = self.received().await;
        let sent = traffic.sent();
        let waiting = Waiting::for_("requests of the client");
        while traffic.sent() < sent + 4 {
            waiting.again().await;
        }
        let after = self.received().await;
        after.into_iter().filter(|(name, bytes)| *bytes > before[name]).map(|(name, _)| name).collect()
    }

    /// Waits until the traffic of a client takes this way and no other.
    pub(crate) async fn moves(&self, traffic: &Traffic, way: &[&'static str]) {
        let expected: BTreeSet<&'static str> = way.iter().copied().collect();
        let waiting = Waiting::for_(format!("traffic on the way {way:?}"));
        while self.carry(traffic).await != expected {
            waiting.again().await;
        }
    }

    /// Writes to the control plane.
    pub(crate) async fn put(&self, path: &str, body: &Value) {
        self.control_plane.put(path, body).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Reads from the control plane.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.control_plane.get(path).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The trust domain.
    pub(crate) async fn trust_domain(&self) -> String {
        let roots = self.get("/v1/connect/ca/roots").await;
        roots["TrustDomain"].as_str().unwrap().to_owned()
    }

    /// The only instance that `path` shows as passing.
    pub(crate) async fn instance(&self, path: &str) -> Value {
        let waiting = Waiting::for_(format!("a passing instance in {path}"));
        loop {
            let found = self.control_plane.get(&format!("{path}&passing")).await.unwrap();
            match found.as_array().unwrap().as_slice() {
                [] => waiting.again().await,
                [one] => return one["Service"].clone(),
                several => panic!("{path} shows {several:?}"),
            }
        }
    }

    /// Starts a service with its application, which says `hello from <name> in <place>`, and its sidecar, and registers
    /// them. `more` is added to the registration.
    pub(crate) async fn add_service(&mut self, at: Place, name: &str, sidecar: &'static str, more: Value) {
        let host = self.address(at.number, at.host);
        let text = format!("hello from {name} in {}/{}", at.datacenter, at.partition);
        self.start_application(SocketAddr::from((host, 9_000)), &text).await.unwrap();
        self.register(at, name, more).await;
        let id = format!("{name}-{}", at.host);
        let place = ["-datacenter", at.datacenter, "-partition", at.partition];
        self.start_envoy(sidecar, &[&["-sidecar-for", &id][..], &place].concat()).await.unwrap();
        let query = format!("dc={}&partition={}", at.datacenter, at.partition);
        self.instance(&format!("/v1/health/connect/{name}?{query}")).await;
    }

    /// Registers a service with its sidecar.
    pub(crate) async fn register(&self, at: Place, name: &str, more: Value) {
        let host = self.address(at.number, at.host).to_string();
        let mut body = json!({
            "Name": name, "ID": format!("{name}-{}", at.host), "Address": host, "Port": 9_000,
            "Connect": {"SidecarService": {"Address": host, "Proxy": {"LocalServiceAddress": host}}},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            match key.as_str() {
                "Proxy" => value.as_object().unwrap().iter().for_each(|(key, value)| {
                    body["Connect"]["SidecarService"]["Proxy"][key] = value.clone();
                }),
                key => body[key] = value.clone(),
            }
        }
        let path = format!("/v1/agent/service/register?dc={}&partition={}", at.datacenter, at.partition);
        self.put(&path, &body).await;
    }

    /// What the control plane knows about the connected proxies.
    pub(crate) async fn proxies(&self) -> Vec<Value> {
        self.control_plane.get("/v1/meshgate/proxies").await.unwrap().as_array().unwrap().clone()
    }

    /// How often each Envoy has had a new listener or cluster in place of an old one.
    pub(crate) async fn replaced(&self) -> BTreeMap<&'static str, u64> {
        let mut replaced = BTreeMap::new();
        for envoy in self.envoys() {
            let pattern = "^(listener_manager.listener_modified|cluster_manager.cluster_modified)$";
            replaced.insert(envoy.name, Admin::at(envoy.admin()).sum(pattern).await);
        }
        replaced
    }

    /// What `meshgate` prints, asked about this mesh, and its exit code.
    pub(crate) async fn run(&self, line: &str) -> (String, i32) {
        let mut command = tokio::process::Command::new(program());
        command.args(line.split_whitespace()).env("CONSUL_HTTP_ADDR", self.control_plane.http_address());
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap())
    }

    /// Waits until the traffic of a client has gone on for a while.
    pub(crate) async fn go_on(&self, traffic: &Traffic) {
        let sent = traffic.sent();
        let waiting = Waiting::for_("requests of the client");
        while traffic.sent() < sent + 30 {
            waiting.again().await;
        }
    }

    /// Ends the test: no Envoy has ever refused anything or complained about an old field, and no cluster or listener waits
    /// for something.
    pub(crate) async fn is_clean(&self) {
        for proxy in self.proxies().await {
            assert_eq!(proxy["Problems"], json!([]), "{proxy}");
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
    pub(crate) const LIMIT: Duration = Duration::from_secs(12);

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
