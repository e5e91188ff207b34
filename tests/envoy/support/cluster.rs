//! Control planes in this process with Envoys of their own, for meshes that are not like that of the demo.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use http::Method;
use meshgate::ca::{self, Authority};
use meshgate::model::{Datacenter, IntentionPolicy};
use meshgate::store::{Memory, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Admin;
use super::mesh::{Waiting, envoy_binary, program};
use crate::shared::mesh::{Mesh, options};

/// Addresses `127.<n>.0.0/16` that no demo and no other test has.
pub(crate) struct Network {
    number: u8,
    _lock: TcpListener,
}

impl Network {
    /// A network that nobody uses.
    pub(crate) fn take() -> Self {
        let lock = |number| {
            let address = SocketAddr::from((Ipv4Addr::new(127, number, 0, 1), 65_000));
            TcpListener::bind(address).ok().map(|lock| Self { number, _lock: lock })
        };
        (1..42).find_map(lock).expect("some network is free")
    }

    /// The address of a host.
    pub(crate) fn host(&self, host: u8) -> String {
        Ipv4Addr::new(127, self.number, 0, host).to_string()
    }

    /// One of ten ports for what all networks have in common, such as `::1`. None of them is given to outgoing connections.
    pub(crate) fn port(&self, number: u16) -> u16 {
        assert!(number < 10, "each network has ten ports");
        20_000 + u16::from(self.number) * 10 + number
    }
}

/// A control plane in this process, with its Envoys.
pub(crate) struct Cluster {
    pub(crate) mesh: Mesh,
    http: String,
    grpc: String,
    pub(crate) trust_domain: String,
    directory: TempDir,
    envoys: Vec<(String, Child, Admin)>,
}

impl Drop for Cluster {
    #[allow(clippy::print_stderr, reason = "shown with a failed test")]
    fn drop(&mut self) {
        for (name, child, _) in &mut self.envoys {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.directory.path().join(&*name)).unwrap_or_default();
                eprintln!("--- the log of {name}\n{log}");
            }
        }
    }
}

impl Cluster {
    /// Starts one for these datacenters, the own one first. The ID makes its trust domain.
    pub(crate) async fn start(id: &str, datacenters: &[&str], default_intention: IntentionPolicy) -> Self {
        let (store, _) = Store::open(Box::new(Memory), meshgate::engine::guard()).unwrap();
        let settings = ca::Options { cluster_id: Some(id.to_owned()), ..ca::Options::default() };
        let authority = Authority::open(store.clone(), settings).await.unwrap();
        let trust_domain = authority.trust_domain().to_string();
        let datacenters: Vec<_> = datacenters.iter().copied().map(Datacenter::from).collect();
        let mesh = Mesh::over(store, authority, options(&datacenters, default_intention));
        let (http, grpc) = (mesh.serve_http().await, mesh.serve_ads(&mesh.engine).await);
        Self { mesh, http, grpc, trust_domain, directory: TempDir::new().unwrap(), envoys: Vec::new() }
    }

    /// The roots of its trust domain.
    async fn roots(&self) -> Vec<Value> {
        let (_, body) = self.mesh.call(&Method::GET, "/v1/connect/ca/roots", String::new()).await;
        let roots: Value = serde_json::from_str(&body).unwrap();
        roots["Roots"].as_array().unwrap().iter().map(|root| root["RootCert"].clone()).collect()
    }

    /// Makes `other` a peer under this name. `imported` is what it exports.
    pub(crate) async fn knows(&self, name: &str, other: &Self, imported: Value) {
        let number: u32 = name.bytes().map(u32::from).sum();
        let id = format!("10000000-0000-4000-8000-{number:012}");
        let sections = json!({
            "Peerings": [{"Name": name, "ID": id, "State": "ACTIVE"}],
            "PeerTrustBundles": [{"PeerName": name, "TrustDomain": other.trust_domain, "RootPEMs": other.roots().await}],
            "ImportedServices": imported,
        });
        self.mesh.restore(&sections).await.unwrap();
    }

    pub(crate) async fn put(&self, path: &str, body: Value) {
        let (status, answer) = self.mesh.call(&Method::PUT, path, body.to_string()).await;
        assert_eq!(status, 200, "{path}: {answer}: {body}");
    }

    pub(crate) async fn entry(&self, entry: Value) {
        self.put("/v1/config", entry).await;
    }

    /// Registers an instance on a node of its own.
    pub(crate) async fn register(&self, host: &str, service: Value) {
        self.register_in("", host, service).await;
    }

    /// The same in a datacenter, which is the own one if it is empty.
    pub(crate) async fn register_in(&self, datacenter: &str, host: &str, service: Value) {
        let node = format!("node-{host}");
        let body = json!({"Datacenter": datacenter, "Node": node, "Address": host, "Service": service});
        self.put("/v1/catalog/register", body).await;
    }

    /// Starts the Envoy of an instance, whose admin interface is on `host`.
    pub(crate) async fn start_envoy(&mut self, host: &str, id: &str) {
        self.start_envoy_in("", host, id).await;
    }

    /// The same in a datacenter, which is the own one if it is empty.
    pub(crate) async fn start_envoy_in(&mut self, datacenter: &str, host: &str, id: &str) {
        let admin: SocketAddr = format!("{host}:19000").parse().unwrap();
        let log = std::fs::File::create(self.directory.path().join(id)).unwrap();
        let child = Command::new(program())
            .args(["connect", "envoy", "-proxy-id", id, "-node-name", &format!("node-{host}")])
            .args(["-http-addr", &self.http, "-grpc-addr", &self.grpc, "-admin-bind", &admin.to_string()])
            .args(["-datacenter", datacenter, "-omit-deprecated-tags", "-envoy-binary"])
            .arg(envoy_binary().await)
            .args(["--", "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.envoys.push((id.to_owned(), child, Admin::at(admin)));
        let waiting = Waiting::for_(format!("the configuration of {id}"));
        while !self.envoys.last().unwrap().2.is_ready().await {
            waiting.again().await;
        }
    }

    /// Starts an application that says its name, with its sidecar.
    pub(crate) async fn serve(&mut self, host: &str, name: &str) {
        self.serve_as(host, name, &format!("hello from {name}")).await;
    }

    /// The same with something else that it says.
    pub(crate) async fn serve_as(&mut self, host: &str, name: &str, text: &str) {
        self.serve_in("", host, name, text).await;
    }

    /// The same in a datacenter, which is the own one if it is empty.
    pub(crate) async fn serve_in(&mut self, datacenter: &str, host: &str, name: &str, text: &str) {
        let listener = tokio::net::TcpListener::bind(format!("{host}:9000")).await.unwrap();
        let text = text.to_owned();
        let application = axum::Router::new().fallback(move || std::future::ready(text.clone()));
        tokio::spawn(async move { axum::serve(listener, application).await });
        let id = format!("{name}-sidecar-proxy");
        let proxy = json!({"DestinationServiceName": name, "LocalServiceAddress": host, "LocalServicePort": 9000});
        let kind = "connect-proxy";
        let service = json!({"Kind": kind, "ID": id, "Service": id, "Address": host, "Port": 21_000, "Proxy": proxy});
        self.register_in(datacenter, host, service).await;
        self.start_envoy_in(datacenter, host, &id).await;
    }

    /// Starts the sidecar of a service that others call nobody at, with what it dials.
    pub(crate) async fn call_from(&mut self, host: &str, name: &str, upstreams: Value) {
        let id = format!("{name}-sidecar-proxy");
        let proxy = json!({"DestinationServiceName": name, "LocalServicePort": 9000, "Upstreams": upstreams});
        let kind = "connect-proxy";
        self.register(host, json!({"Kind": kind, "ID": id, "Service": id, "Port": 21_000, "Proxy": proxy})).await;
        self.start_envoy(host, &id).await;
    }

    /// Starts a mesh gateway, reached from everywhere at one address.
    pub(crate) async fn open_gateway(&mut self, host: &str) {
        let service = json!({
            "Kind": "mesh-gateway", "ID": "gateway", "Service": "mesh-gateway", "Address": host, "Port": 8443,
        });
        self.register(host, service).await;
        self.start_envoy(host, "gateway").await;
    }

    /// The admin interface of the Envoy of an instance.
    pub(crate) fn admin(&self, id: &str) -> &Admin {
        &self.envoys.iter().find(|(name, ..)| name == id).unwrap().2
    }

    /// What an Envoy counts under names that match `pattern`, added up.
    pub(crate) async fn count(&self, id: &str, pattern: &str) -> u64 {
        self.admin(id).sum(pattern).await
    }

    /// What a proxy should have of a type, such as `EDS`.
    pub(crate) async fn desired(&self, id: &str, kind: &str) -> Vec<Value> {
        let path = format!("/v1/meshgate/proxy/{id}?types={kind}");
        let (status, body) = self.mesh.call(&Method::GET, &path, String::new()).await;
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["Resources"].as_array().unwrap().clone()
    }

    /// No Envoy has refused anything.
    pub(crate) async fn is_clean(&self) {
        for (id, _, admin) in &self.envoys {
            let stats = admin.stats(r"update_rejected|listener_create_failure|deprecated_feature_use").await;
            assert!(!stats.is_empty(), "{id} counts nothing of the kind");
            assert!(stats.values().all(|count| *count == 0), "{id}: {stats:?}");
        }
    }
}

/// A cluster that exports services, as another one knows it.
pub(crate) struct Exporter<'c> {
    /// Its name as a peer.
    pub(crate) name: &'c str,
    pub(crate) datacenter: &'c str,
    pub(crate) trust_domain: &'c str,
    /// What it calls the importer.
    pub(crate) importer: &'c str,
}

impl Exporter<'_> {
    /// The synthetic proxy by which it tells how one of its services is dialled: at which gateway, whose address of the
    /// WAN is added where it is another one.
    pub(crate) fn tells(&self, service: &str, protocol: &str, gateway: (&str, u16), wan: Option<(&str, u16)>) -> Value {
        let Self { name, datacenter, trust_domain, importer } = self;
        let sidecar = format!("{service}-sidecar-proxy");
        let mut row = json!({
            "PeerName": name,
            "Node": {"Node": format!("gateway-{}-{}", gateway.0, gateway.1), "Address": gateway.0, "Datacenter": datacenter},
            "Service": {
                "Kind": "connect-proxy", "ID": sidecar, "Service": sidecar, "Port": gateway.1, "PeerName": name,
                "Address": gateway.0, "Proxy": {"DestinationServiceName": service},
                "Connect": {"PeerMeta": {
                    "SNI": [format!("{service}.default.default.{importer}.external.{trust_domain}")],
                    "SpiffeID": [
                        format!("spiffe://{trust_domain}/ns/default/dc/{datacenter}/svc/{service}"),
                        format!("spiffe://{trust_domain}/gateway/mesh/dc/{datacenter}"),
                    ],
                    "Protocol": protocol,
                }},
            },
        });
        if let Some((address, port)) = wan {
            row["Service"]["TaggedAddresses"] = json!({"wan": {"Address": address, "Port": port}});
        }
        row
    }
}

/// What a request is answered with: status and body.
pub(crate) async fn get(url: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().timeout(Waiting::LIMIT).build().unwrap();
    let answer = client.get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// Waits until a request is answered so.
pub(crate) async fn answers(url: &str, status: u16, text: &str) {
    let waiting = Waiting::for_(format!("{status} {text:?} from {url}"));
    loop {
        match get(url).await {
            Some((found, body)) if found == status && body.contains(text) => return,
            Some(_) | None => waiting.again().await,
        }
    }
}
