//! A real Envoy that is given one snapshot after the other over ADS, and asked whether it has taken it over.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, Pipe, SocketAddress};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use meshgate::ads;
use meshgate::cli::envoy::{binary, versions};
use meshgate::envoy::bootstrap::{self, AdminLog, Bootstrap, BootstrapConfig, DeprecatedTags, LogSink, XdsAddress};
use meshgate::envoy::canonical;
use meshgate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use meshgate::telemetry::Readiness;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::source::Source;

/// Longest time that Envoy may take for a snapshot on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks, the first one and the longest: a look costs Envoy as much as what it is asked about.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// The node that it is.
const ID: &str = "proxy";

/// The oldest and the newest version that are supported.
pub(crate) fn oldest_and_newest() -> [&'static str; 2] {
    let versions = versions();
    [versions[0], versions[versions.len() - 1]]
}

/// A running Envoy; ends when it is dropped.
pub(crate) struct TestEnvoy {
    source: Arc<Source>,
    process: Child,
    admin: SocketAddr,
    client: reqwest::Client,
    directory: TempDir,
    _server: DropGuard,
}

impl Drop for TestEnvoy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl TestEnvoy {
    /// Starts an Envoy of this version, which is fetched if it is not there, and a server that it takes snapshots from.
    pub(crate) async fn start(version: &'static str) -> Self {
        let found = tokio::task::spawn_blocking(|| binary(version)).await.expect("nothing panics");
        let envoy = found.unwrap_or_else(|error| panic!("this test needs a real Envoy: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let xds = listener.local_addr().expect("it is bound");
        let (source, shutdown) = (Arc::new(Source::default()), CancellationToken::new());
        let (options, readiness) = (ads::Options::default(), Readiness::default());
        tokio::spawn(ads::serve([listener.into()], source.clone(), options, readiness, shutdown.clone()));
        source.publish(ID, Snapshot::default());
        let directory = tempfile::tempdir().expect("there is room for temporary files");
        let process = run(&envoy, directory.path(), &bootstrap(xds));
        let mut started = Self {
            source,
            process,
            admin: xds,
            client: reqwest::Client::new(),
            directory,
            _server: shutdown.drop_guard(),
        };
        started.find_admin().await;
        started
    }

    /// Envoy writes where its admin interface listens.
    async fn find_admin(&mut self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let written = std::fs::read_to_string(self.directory.path().join("admin")).unwrap_or_default();
            if let Ok(address) = written.parse() {
                self.admin = address;
                return;
            }
            assert!(Instant::now() < deadline, "Envoy does not start: {}", self.log());
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Loads a snapshot into an Envoy without configuration.
    ///
    /// # Errors
    /// What Envoy refuses, or waits for in vain.
    pub(crate) async fn load(&self, snapshot: &Snapshot) -> Result<(), String> {
        self.load_within(snapshot, LIMIT).await
    }

    /// The same in another time.
    pub(crate) async fn load_within(&self, snapshot: &Snapshot, limit: Duration) -> Result<(), String> {
        let loaded = self.take_over(self.bindable(snapshot), limit).await;
        let emptied = self.take_over(Snapshot::default(), LIMIT).await;
        loaded.and(emptied)
    }

    async fn take_over(&self, snapshot: Snapshot, limit: Duration) -> Result<(), String> {
        let expected = versions_of(&snapshot);
        let given_up = self.given_up().await;
        self.source.take_refusals();
        self.source.publish(ID, snapshot);
        let deadline = Instant::now() + limit;
        let mut pause = PAUSE;
        loop {
            let difference = difference(&expected, &self.dump().await);
            let refusals = self.source.take_refusals();
            if !refusals.is_empty() {
                return Err(refusals.join("\n"));
            }
            if difference.is_empty() {
                let mut now = self.given_up().await;
                now.retain(|name, count| *count > given_up.get(name).copied().unwrap_or_default());
                return if now.is_empty() { Ok(()) } else { Err(format!("waited for in vain: {now:?}")) };
            }
            if Instant::now() > deadline {
                return Err(format!("not taken over within {limit:?}: {}", difference.join(", ")));
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// How often it has given up to wait for endpoints, routes or secrets, and went on without, by whom.
    async fn given_up(&self) -> BTreeMap<String, u64> {
        let stats = self.ask("stats?format=json&filter=init_fetch_timeout").await;
        let counters = stats["stats"].as_array().into_iter().flatten();
        counters.filter_map(|it| Some((it["name"].as_str()?.to_owned(), it["value"].as_u64()?))).collect()
    }

    async fn dump(&self) -> Value {
        self.ask("config_dump").await
    }

    async fn ask(&self, path: &str) -> Value {
        let url = format!("http://{}/{path}", self.admin);
        let answer = self.client.get(&url).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}: {}", self.log()));
        answer.json().await.expect("it answers in JSON")
    }

    /// The snapshot with listeners that can be opened on any machine: at loopback addresses with free ports, and at paths in
    /// a folder of the test.
    fn bindable(&self, snapshot: &Snapshot) -> Snapshot {
        let mut bindable = snapshot.clone();
        for resource in snapshot.get(ResourceType::Listener).values() {
            let mut listener = Listener::decode(resource.body.clone()).expect("a listener");
            let path = self.directory.path().join("socket");
            let additional = listener.additional_addresses.iter_mut().map(|other| &mut other.address);
            std::iter::once(&mut listener.address).chain(additional).flatten().for_each(|it| on_loopback(it, &path));
            let body = canonical::encode(&listener);
            let resource = Resource::new(&resource.name, body, resource.references.iter().cloned());
            bindable.insert(ResourceType::Listener, Arc::new(resource));
        }
        bindable
    }
}

fn on_loopback(address: &mut Address, path: &Path) {
    match &mut address.address {
        Some(Kind::SocketAddress(SocketAddress { address, port_specifier, .. })) => {
            "127.0.0.1".clone_into(address);
            *port_specifier = Some(PortSpecifier::PortValue(0));
        }
        Some(Kind::Pipe(Pipe { path: given, .. })) => *given = path.display().to_string(),
        Some(Kind::EnvoyInternalAddress(_)) | None => {}
    }
}

/// What `connect envoy` would write for this proxy. Host names lead nowhere, at once.
fn bootstrap(xds: SocketAddr) -> Value {
    let mut document = bootstrap::bootstrap(&Bootstrap {
        node: bootstrap::Node {
            id: ID.to_owned(),
            cluster: ID.to_owned(),
            datacenter: String::new(),
            partition: String::new(),
            namespace: String::new(),
            node_name: String::new(),
        },
        xds: bootstrap::XdsServer { address: XdsAddress::Socket(xds), ca: None, token: String::new() },
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_log: AdminLog { sink: LogSink::File("/dev/null".to_owned()), format: None },
        ready: None,
        merged_metrics: None,
        prometheus_path: String::new(),
        config: BootstrapConfig::default(),
        collector: None,
        most_connections: None,
        deprecated_tags: DeprecatedTags::Omit,
    });
    document["typed_dns_resolver_config"] = json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": 1}}],
        },
    });
    document
}

fn run(envoy: &Path, directory: &Path, bootstrap: &Value) -> Child {
    let file: PathBuf = directory.join("bootstrap.json");
    std::fs::write(&file, bootstrap.to_string()).expect("there is room for temporary files");
    let log = File::create(directory.join("log")).expect("there is room for temporary files");
    Command::new(envoy)
        .arg("--config-path")
        .arg(file)
        .arg("--admin-address-path")
        .arg(directory.join("admin"))
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])
        .args(["--drain-time-s", "0", "--drain-strategy", "immediate"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Envoy runs")
}

type Versions = BTreeMap<(ResourceType, String), String>;

/// The types that a dump gives versions of. Endpoints are there when their cluster is active.
const DUMPED: [ResourceType; 4] =
    [ResourceType::Secret, ResourceType::Cluster, ResourceType::Listener, ResourceType::Route];

fn versions_of(snapshot: &Snapshot) -> Versions {
    let of_type = |kind| {
        let resources = snapshot.get(kind).values();
        resources.map(move |resource| ((kind, resource.name.to_string()), resource.version.to_string()))
    };
    DUMPED.into_iter().flat_map(of_type).collect()
}

/// How what Envoy uses differs from what it should. It holds only those secrets and routes that something uses; what is not
/// expected and warming, or a stub, is missed by something.
fn difference(expected: &Versions, dump: &Value) -> Vec<String> {
    let active = active(dump);
    let due = expected.iter().filter(|((kind, name), version)| {
        let found = active.get(&(*kind, name.clone()));
        found != Some(version) && (*kind != ResourceType::Secret || found.is_some())
    });
    let due = due.map(|((kind, name), _)| format!("{kind} {name} is not in use"));
    let others = active.keys().filter(|key| !expected.contains_key(*key));
    due.chain(others.map(|(kind, name)| format!("{kind} {name} should not be there"))).collect()
}

/// The versions of what is in use; what is warming beside it has none.
fn active(dump: &Value) -> Versions {
    let sections = dump["configs"].as_array().into_iter().flatten();
    let list = |section: &Value, key: &str| section[key].as_array().cloned().unwrap_or_default();
    let mut versions = Versions::new();
    let mut note = |kind, name: &Value, version: &Value, is_settled: bool| {
        let version = if is_settled { version.as_str().unwrap_or_default() } else { "warming" };
        versions.insert((kind, name.as_str().unwrap_or_default().to_owned()), version.to_owned());
    };
    for section in sections {
        for item in list(section, "dynamic_active_clusters") {
            note(ResourceType::Cluster, &item["cluster"]["name"], &item["version_info"], true);
        }
        for item in list(section, "dynamic_warming_clusters") {
            note(ResourceType::Cluster, &item["cluster"]["name"], &Value::Null, false);
        }
        // One that drains is gone for everybody but the connections that it has.
        let listeners = list(section, "dynamic_listeners");
        for item in listeners.iter().filter(|item| item["active_state"].is_object() || item["draining_state"].is_null())
        {
            let is_settled = item["warming_state"].is_null();
            note(ResourceType::Listener, &item["name"], &item["active_state"]["version_info"], is_settled);
        }
        for item in list(section, "dynamic_route_configs") {
            note(ResourceType::Route, &item["route_config"]["name"], &item["version_info"], true);
        }
        for (key, is_settled) in [("dynamic_active_secrets", true), ("dynamic_warming_secrets", false)] {
            for item in list(section, key) {
                note(ResourceType::Secret, &item["name"], &item["version_info"], is_settled);
            }
        }
    }
    versions
}
