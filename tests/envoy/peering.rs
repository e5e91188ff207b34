//! Two clusters with a trust domain each: what one exports to the other is reached through its gateway, and through the
//! importer's own one where the mode says so. How the state of peers arrives is not what is tested: it is written as rows.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use http::Method;
use meshgate::ca::{self, Authority};
use meshgate::model::{Datacenter, IntentionPolicy};
use meshgate::store::{Memory, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shared::mesh::{Mesh, options};
use crate::support::{Admin, Waiting, envoy_binary, program};

/// Addresses `127.<n>.0.0/16` that no demo and no other test has.
struct Network {
    number: u8,
    _lock: TcpListener,
}

impl Network {
    fn take() -> Self {
        let lock = |number| {
            let address = SocketAddr::from((Ipv4Addr::new(127, number, 0, 1), 65_000));
            TcpListener::bind(address).ok().map(|lock| Self { number, _lock: lock })
        };
        (1..42).find_map(lock).expect("some network is free")
    }

    fn host(&self, host: u8) -> String {
        Ipv4Addr::new(127, self.number, 0, host).to_string()
    }
}

/// A control plane in this process, with its Envoys.
struct Cluster {
    mesh: Mesh,
    http: String,
    grpc: String,
    trust_domain: String,
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
    async fn start(id: &str, datacenter: &str, default_intention: IntentionPolicy) -> Self {
        let (store, _) = Store::open(Box::new(Memory), meshgate::engine::guard()).unwrap();
        let settings = ca::Options { cluster_id: Some(id.to_owned()), ..ca::Options::default() };
        let authority = Authority::open(store.clone(), settings).await.unwrap();
        let trust_domain = authority.trust_domain().to_string();
        let mesh = Mesh::over(store, authority, options(&[Datacenter::from(datacenter)], default_intention));
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
    async fn knows(&self, name: &str, other: &Self, imported: Value) {
        let sections = json!({
            "Peerings": [{"Name": name, "ID": "10000000-0000-4000-8000-000000000001", "State": "ACTIVE"}],
            "PeerTrustBundles": [{"PeerName": name, "TrustDomain": other.trust_domain, "RootPEMs": other.roots().await}],
            "ImportedServices": imported,
        });
        self.mesh.restore(&sections).await.unwrap();
    }

    async fn put(&self, path: &str, body: Value) {
        let (status, answer) = self.mesh.call(&Method::PUT, path, body.to_string()).await;
        assert_eq!(status, 200, "{path}: {answer}: {body}");
    }

    async fn entry(&self, entry: Value) {
        self.put("/v1/config", entry).await;
    }

    /// Registers an instance on a node of its own.
    async fn register(&self, host: &str, service: Value) {
        let node = format!("node-{host}");
        self.put("/v1/catalog/register", json!({"Node": node, "Address": host, "Service": service})).await;
    }

    /// Starts the Envoy of an instance, which listens on `host`.
    async fn start_envoy(&mut self, host: &str, id: &str) {
        let admin: SocketAddr = format!("{host}:19000").parse().unwrap();
        let log = std::fs::File::create(self.directory.path().join(id)).unwrap();
        let child = Command::new(program())
            .args(["connect", "envoy", "-proxy-id", id, "-node-name", &format!("node-{host}")])
            .args(["-http-addr", &self.http, "-grpc-addr", &self.grpc, "-admin-bind", &admin.to_string()])
            .args(["-omit-deprecated-tags", "-envoy-binary"])
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
    async fn serve(&mut self, host: &str, name: &str) {
        let listener = tokio::net::TcpListener::bind(format!("{host}:9000")).await.unwrap();
        let text = format!("hello from {name}");
        let application = axum::Router::new().fallback(move || std::future::ready(text.clone()));
        tokio::spawn(async move { axum::serve(listener, application).await });
        let id = format!("{name}-sidecar-proxy");
        let proxy = json!({"DestinationServiceName": name, "LocalServiceAddress": host, "LocalServicePort": 9000});
        let kind = "connect-proxy";
        let service = json!({"Kind": kind, "ID": id, "Service": id, "Address": host, "Port": 21_000, "Proxy": proxy});
        self.register(host, service).await;
        self.start_envoy(host, &id).await;
    }

    /// Starts a mesh gateway, reached from everywhere at one address.
    async fn open_gateway(&mut self, host: &str) {
        let service = json!({
            "Kind": "mesh-gateway", "ID": "gateway", "Service": "mesh-gateway", "Address": host, "Port": 8443,
        });
        self.register(host, service).await;
        self.start_envoy(host, "gateway").await;
    }

    /// What an Envoy counts under names that match `pattern`, added up.
    async fn count(&self, id: &str, pattern: &str) -> u64 {
        let (_, _, admin) = self.envoys.iter().find(|(name, ..)| name == id).unwrap();
        admin.stats(pattern).await.values().sum()
    }

    /// No Envoy has refused anything.
    async fn is_clean(&self) {
        for (id, _, admin) in &self.envoys {
            let stats = admin.stats(r"update_rejected|listener_create_failure|deprecated_feature_use").await;
            assert!(!stats.is_empty(), "{id} counts nothing of the kind");
            assert!(stats.values().all(|count| *count == 0), "{id}: {stats:?}");
        }
    }
}

/// The synthetic proxy by which an exporter tells how one of its services is dialled.
fn exported(service: &str, gateway: &str, (trust_domain, peer): (&str, &str), protocol: &str) -> Value {
    let sidecar = format!("{service}-sidecar-proxy");
    json!({
        "PeerName": "far",
        "Node": {"Node": "far-gateway", "Address": gateway, "Datacenter": "north"},
        "Service": {
            "Kind": "connect-proxy", "ID": sidecar, "Service": sidecar, "Port": 8443, "PeerName": "far",
            "Address": gateway, "Proxy": {"DestinationServiceName": service},
            "Connect": {"PeerMeta": {
                "SNI": [format!("{service}.default.default.{peer}.external.{trust_domain}")],
                "SpiffeID": [
                    format!("spiffe://{trust_domain}/ns/default/dc/north/svc/{service}"),
                    format!("spiffe://{trust_domain}/gateway/mesh/dc/north"),
                ],
                "Protocol": protocol,
            }},
        },
    })
}

/// What a request is answered with: status and body.
async fn get(url: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().timeout(Waiting::LIMIT).build().unwrap();
    let answer = client.get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// Waits until a request is answered so.
async fn answers(url: &str, status: u16, text: &str) {
    let waiting = Waiting::for_(format!("{status} {text:?} from {url}"));
    loop {
        match get(url).await {
            Some((found, body)) if found == status && body.contains(text) => return,
            Some(_) | None => waiting.again().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_a_peer_are_reached_through_its_gateway_by_its_routes_and_under_its_intentions() {
    let network = Network::take();
    let allow = IntentionPolicy::Allow;
    let mut near = Cluster::start("aaaaaaaa-1111-4111-8111-111111111111", "dc1", allow).await;
    let mut far = Cluster::start("bbbbbbbb-2222-4222-8222-222222222222", "north", IntentionPolicy::Deny).await;
    let gateway = network.host(20);
    let told = (far.trust_domain.as_str(), "near");
    let imported = json!([exported("shop", &gateway, told, "http"), exported("db", &gateway, told, "tcp")]);
    near.knows("far", &far, imported).await;
    far.knows("near", &near, json!([])).await;

    for service in ["shop", "shop-next", "admin"] {
        far.entry(json!({"Kind": "service-defaults", "Name": service, "Protocol": "http"})).await;
    }
    let splits = json!([{"Weight": 50}, {"Weight": 50, "Service": "shop-next"}]);
    far.entry(json!({"Kind": "service-splitter", "Name": "shop", "Splits": splits})).await;
    let routes = json!([{"Match": {"HTTP": {"PathPrefix": "/admin"}}, "Destination": {"Service": "admin"}}]);
    far.entry(json!({"Kind": "service-router", "Name": "shop", "Routes": routes})).await;
    let to_near = json!([{"Peer": "near"}]);
    let services = json!([{"Name": "shop", "Consumers": to_near}, {"Name": "db", "Consumers": to_near}]);
    far.entry(json!({"Kind": "exported-services", "Name": "default", "Services": services})).await;
    let permitted =
        |name: &str, source: Value| json!({"Kind": "service-intentions", "Name": name, "Sources": [source]});
    for service in ["shop", "shop-next", "db"] {
        far.entry(permitted(service, json!({"Name": "web", "Peer": "near", "Action": "allow"}))).await;
    }
    let only_read = json!([{"Action": "allow", "HTTP": {"PathPrefix": "/admin/read"}}]);
    far.entry(permitted("admin", json!({"Name": "web", "Peer": "near", "Permissions": only_read}))).await;
    for (host, service) in [(21, "shop"), (22, "shop-next"), (23, "admin"), (24, "db")] {
        far.serve(&network.host(host), service).await;
    }
    far.open_gateway(&gateway).await;

    let web = network.host(10);
    let upstream = |name: &str, port: u16| json!({"DestinationName": name, "DestinationPeer": "far", "LocalBindAddress": web, "LocalBindPort": port});
    for (host, name) in [(&web, "web"), (&network.host(11), "stranger")] {
        let mut upstreams = json!([upstream("shop", 9191), upstream("db", 9192)]);
        upstreams.as_array_mut().unwrap().iter_mut().for_each(|it| it["LocalBindAddress"] = json!(host));
        let id = format!("{name}-sidecar-proxy");
        let proxy = json!({"DestinationServiceName": name, "LocalServicePort": 9000, "Upstreams": upstreams});
        let kind = "connect-proxy";
        near.register(host, json!({"Kind": kind, "ID": id, "Service": id, "Port": 21_000, "Proxy": proxy})).await;
        near.start_envoy(host, &id).await;
    }
    near.open_gateway(&network.host(12)).await;
    let shop = format!("http://{web}:9191");

    // The peer's splitter spreads requests, its router sends some elsewhere, its intentions judge who really calls.
    answers(&shop, 200, "hello from shop").await;
    let mut greetings = std::collections::BTreeSet::new();
    let waiting = Waiting::for_("both parts of the splitter");
    while greetings.len() < 2 {
        let (status, greeting) = get(&shop).await.unwrap();
        assert_eq!(status, 200, "{greeting}");
        greetings.insert(greeting);
        waiting.again().await;
    }
    assert_eq!(Vec::from_iter(greetings), ["hello from shop", "hello from shop-next"]);
    answers(&format!("{shop}/admin/read"), 200, "hello from admin").await;
    answers(&format!("{shop}/admin/write"), 403, "RBAC").await;
    answers(&format!("http://{}:9191/", network.host(11)), 403, "RBAC").await;
    // Bytes pass through the gateway, from certificate to certificate.
    answers(&format!("http://{web}:9192"), 200, "hello from db").await;
    let stranger = format!("http://{}:9192", network.host(11));
    assert_eq!(get(&stranger).await, None, "a stranger reached db");
    assert_eq!(near.count("gateway", "mesh_gateway_local.*downstream_cx_total").await, 0, "no mode asks for it");

    // Through the own gateway as well, which passes everything on.
    near.entry(json!({"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}})).await;
    let waiting = Waiting::for_("connections through the own gateway");
    while near.count("gateway", "mesh_gateway_local.*downstream_cx_total").await < 2 {
        let _ = (get(&shop).await, get(&format!("http://{web}:9192")).await);
        waiting.again().await;
    }
    answers(&format!("{shop}/admin/read"), 200, "hello from admin").await;
    answers(&format!("http://{web}:9192"), 200, "hello from db").await;

    // What is exported no longer is reached no longer.
    let services = json!([{"Name": "db", "Consumers": to_near}]);
    far.entry(json!({"Kind": "exported-services", "Name": "default", "Services": services})).await;
    let waiting = Waiting::for_("the end of the way to shop");
    while get(&shop).await.is_some_and(|(status, _)| status == 200) {
        waiting.again().await;
    }
    answers(&format!("http://{web}:9192"), 200, "hello from db").await;
    near.is_clean().await;
    far.is_clean().await;
}

/// Asks again and again on one connection, as a caller does that must not be cut off.
struct Kept(tokio::net::TcpStream);

impl Kept {
    async fn open(address: &str) -> Self {
        Self(tokio::net::TcpStream::connect(address).await.unwrap())
    }

    /// True if the connection carries another request and its answer.
    async fn is_alive(&mut self) -> bool {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut answer = vec![0; 4096];
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: db\r\n\r\n").await.is_ok()
            && self.0.read(&mut answer).await.is_ok_and(|read| read > 0 && answer.starts_with(b"HTTP/1.1 200"))
    }
}

/// A service that a peer begins to import accepts the peer's callers, and nobody who was connected notices. A peer whose
/// roots cannot be read takes nothing from the others.
#[tokio::test(flavor = "multi_thread")]
async fn peers_come_and_rotate_without_a_closed_connection() {
    let network = Network::take();
    let allow = IntentionPolicy::Allow;
    let mut near = Cluster::start("cccccccc-1111-4111-8111-111111111111", "dc1", allow).await;
    let mut far = Cluster::start("dddddddd-2222-4222-8222-222222222222", "north", allow).await;
    let gateway = network.host(20);
    let told = (far.trust_domain.as_str(), "near");
    near.knows("far", &far, json!([exported("db", &gateway, told, "tcp")])).await;
    far.serve(&network.host(21), "db").await;
    far.open_gateway(&gateway).await;
    let sidecar = |name: &str, upstream: Value| {
        let id = format!("{name}-sidecar-proxy");
        let proxy = json!({"DestinationServiceName": name, "LocalServicePort": 9000, "Upstreams": [upstream]});
        json!({"Kind": "connect-proxy", "ID": id, "Service": id, "Port": 21_000, "Proxy": proxy})
    };
    let (batch, web) = (network.host(22), network.host(10));
    let of_batch = json!({"DestinationName": "db", "LocalBindAddress": batch, "LocalBindPort": 9191});
    far.register(&batch, sidecar("batch", of_batch)).await;
    far.start_envoy(&batch, "batch-sidecar-proxy").await;
    let of_web =
        json!({"DestinationName": "db", "DestinationPeer": "far", "LocalBindAddress": web, "LocalBindPort": 9191});
    near.register(&web, sidecar("web", of_web)).await;
    near.start_envoy(&web, "web-sidecar-proxy").await;
    answers(&format!("http://{batch}:9191"), 200, "hello from db").await;
    let mut kept = Kept::open(&format!("{batch}:9191")).await;
    assert!(kept.is_alive().await);
    let updates = "listener_manager.listener_(modified|in_place_updated)";
    let updates_before = far.count("db-sidecar-proxy", updates).await;

    far.knows("near", &near, json!([])).await;
    let broken = json!({
        "Peerings": [{"Name": "broken", "ID": "10000000-0000-4000-8000-000000000002", "State": "ACTIVE"}],
        "PeerTrustBundles": [{"PeerName": "broken", "TrustDomain": "broken.example", "RootPEMs": ["no certificate"]}],
    });
    far.mesh.restore(&broken).await.unwrap();
    let to_both = json!([{"Peer": "near"}, {"Peer": "broken"}]);
    let services = json!([{"Name": "db", "Consumers": to_both}]);
    far.entry(json!({"Kind": "exported-services", "Name": "default", "Services": services})).await;

    answers(&format!("http://{web}:9191"), 200, "hello from db").await;
    assert!(kept.is_alive().await, "the first import closed a connection");
    assert_eq!(far.count("db-sidecar-proxy", updates).await, updates_before, "the public listener changed");

    let services = json!([{"Name": "db", "Consumers": [{"Peer": "broken"}]}]);
    far.entry(json!({"Kind": "exported-services", "Name": "default", "Services": services})).await;
    let waiting = Waiting::for_("the end of the peer's way");
    while get(&format!("http://{web}:9191")).await.is_some() {
        waiting.again().await;
    }
    assert!(kept.is_alive().await, "the last import closed a connection");
    assert_eq!(far.count("db-sidecar-proxy", updates).await, updates_before, "the public listener changed");
    near.is_clean().await;
    far.is_clean().await;
}
