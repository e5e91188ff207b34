//! Two clusters with a trust domain each: what one exports to the other is reached through its gateway, and through the
//! importer's own one where the mode says so. How the state of peers arrives is not what is tested: it is written as rows.

use meshgate::model::IntentionPolicy;
use serde_json::{Value, json};

use crate::support::{Cluster, Exporter, Network, Waiting, answers, get};

#[tokio::test(flavor = "multi_thread")]
async fn services_of_a_peer_are_reached_through_its_gateway_by_its_routes_and_under_its_intentions() {
    let network = Network::take();
    let allow = IntentionPolicy::Allow;
    let mut near = Cluster::start("aaaaaaaa-1111-4111-8111-111111111111", &["dc1"], allow).await;
    let mut far = Cluster::start("bbbbbbbb-2222-4222-8222-222222222222", &["north"], IntentionPolicy::Deny).await;
    let gateway = network.host(20);
    let trust_domain = &far.trust_domain;
    let exporter = Exporter { name: "far", datacenter: "north", trust_domain, importer: "near" };
    let told = |service, protocol| exporter.tells(service, protocol, (&gateway, 8443), None);
    let imported = json!([told("shop", "http"), told("db", "tcp")]);
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
    let mut near = Cluster::start("cccccccc-1111-4111-8111-111111111111", &["dc1"], allow).await;
    let mut far = Cluster::start("dddddddd-2222-4222-8222-222222222222", &["north"], allow).await;
    let gateway = network.host(20);
    let trust_domain = &far.trust_domain;
    let exporter = Exporter { name: "far", datacenter: "north", trust_domain, importer: "near" };
    near.knows("far", &far, json!([exporter.tells("db", "tcp", (&gateway, 8443), None)])).await;
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

/// A peer may call its datacenter as we call ours, and so may another peer: each is dialled at what it says for the WAN, and
/// callers never take its private addresses for those of their own network.
#[tokio::test(flavor = "multi_thread")]
async fn peers_with_the_same_datacenter_as_ours_are_dialled_at_their_wan_addresses() {
    let network = Network::take();
    let allow = IntentionPolicy::Allow;
    let mut near = Cluster::start("eeeeeeee-1111-4111-8111-111111111111", &["dc1"], allow).await;
    let mut peers = Vec::new();
    // What every network of its kind has at the address that both peers' gateways have in theirs.
    let private = (network.host(30), 8443);
    let decoy = tokio::net::TcpListener::bind((&*private.0, private.1)).await.unwrap();
    for (number, name) in [(20, "far"), (22, "other")] {
        let id = format!("eeeeeeee-2222-4222-8222-2222222222{number}");
        let mut peer = Cluster::start(&id, &["dc1"], allow).await;
        let wan = (network.host(number), 8443);
        let exporter = Exporter { name, datacenter: "dc1", trust_domain: &peer.trust_domain, importer: "near" };
        let told = exporter.tells("db", "tcp", (&private.0, private.1), Some((&wan.0, wan.1)));
        near.knows(name, &peer, json!([told])).await;
        peer.knows("near", &near, json!([])).await;
        let services = json!([{"Name": "db", "Consumers": [{"Peer": "near"}]}]);
        peer.entry(json!({"Kind": "exported-services", "Name": "default", "Services": services})).await;
        peer.serve_as(&network.host(number + 1), "db", &format!("hello from db of {name}")).await;
        peer.open_gateway(&wan.0).await;
        peers.push(peer);
    }
    let web = network.host(10);
    let upstream = |peer: &str, port: u16| json!({"DestinationName": "db", "DestinationPeer": peer, "LocalBindAddress": web, "LocalBindPort": port});
    near.call_from(&web, "web", json!([upstream("far", 9191), upstream("other", 9192)])).await;
    // Ours has a gateway in that datacenter too, at an address of its own.
    near.open_gateway(&network.host(12)).await;

    let each_arrives = async || {
        answers(&format!("http://{web}:9191"), 200, "hello from db of far").await;
        answers(&format!("http://{web}:9192"), 200, "hello from db of other").await;
    };
    each_arrives().await;
    assert_eq!(near.count("gateway", "mesh_gateway_local.*downstream_cx_total").await, 0, "no mode asks for it");
    near.entry(json!({"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}})).await;
    let waiting = Waiting::for_("connections through the own gateway");
    while near.count("gateway", "mesh_gateway_local.*downstream_cx_total").await < 2 {
        each_arrives().await;
        waiting.again().await;
    }
    each_arrives().await;

    // Neither the sidecar nor the gateway was even told of it.
    for id in ["web-sidecar-proxy", "gateway"] {
        let endpoints = json!(near.desired(id, "EDS").await).to_string();
        assert!(!endpoints.contains(&private.0), "{id}: {endpoints}");
    }
    let dialled = tokio::time::timeout(std::time::Duration::from_millis(100), decoy.accept()).await;
    assert!(dialled.is_err(), "somebody dialled a private address of a peer");
    near.is_clean().await;
    for peer in &peers {
        peer.is_clean().await;
    }
}

/// Three gateways of a peer that are known by names: a cluster that looks names up takes one of them in Envoy's usual kind, and
/// all of them in the other one, at sidecars as at gateways.
#[tokio::test(flavor = "multi_thread")]
async fn all_gateways_of_a_peer_with_host_names_are_used() {
    let network = Network::take();
    let allow = IntentionPolicy::Allow;
    let mut near = Cluster::start("ffffffff-1111-4111-8111-111111111111", &["dc1"], allow).await;
    let mut far = Cluster::start("ffffffff-2222-4222-8222-222222222222", &["north"], allow).await;
    let exporter = Exporter { name: "far", datacenter: "north", trust_domain: &far.trust_domain, importer: "near" };
    // Names that lead to this machine without anybody being asked.
    let wan = |number: u16| (format!("gateway-{number}.localhost"), network.port(number));
    let told: Vec<_> = (0..3)
        .map(|number| {
            let (name, port) = wan(number);
            exporter.tells("db", "tcp", ("10.9.0.1", port), Some((&name, port)))
        })
        .collect();
    near.knows("far", &far, json!(told)).await;
    far.knows("near", &near, json!([])).await;
    let services = json!([{"Name": "db", "Consumers": [{"Peer": "near"}]}]);
    far.entry(json!({"Kind": "exported-services", "Name": "default", "Services": services})).await;
    far.serve(&network.host(21), "db").await;
    let gateways = ["gateway-0", "gateway-1", "gateway-2"];
    for (number, id) in (0..).zip(gateways) {
        let (host, port) = (network.host(22 + u8::try_from(number).unwrap()), network.port(number));
        let service =
            json!({"Kind": "mesh-gateway", "ID": id, "Service": "mesh-gateway", "Address": "127.0.0.1", "Port": port});
        far.register(&host, service).await;
        far.start_envoy(&host, id).await;
    }
    let web = network.host(10);
    let db = json!({"DestinationName": "db", "DestinationPeer": "far", "LocalBindAddress": web, "LocalBindPort": 9191});
    near.call_from(&web, "web", json!([db])).await;
    let url = format!("http://{web}:9191");
    let used = async |far: &Cluster| {
        let mut used = Vec::new();
        for id in gateways {
            // What passes through to the service of an exporter.
            used.push(far.count(id, r"^tcp\..*downstream_cx_total$").await);
        }
        used
    };

    // One that Envoy may choose: more endpoints than one would be refused.
    answers(&url, 200, "hello from db").await;
    let mut before = used(&far).await;
    assert_eq!(before.iter().filter(|count| **count > 0).count(), 1, "{before:?}");

    let strict = json!({"envoy_dns_discovery_type": "strict_dns"});
    near.open_gateway(&network.host(12)).await;
    for mode in ["remote", "local"] {
        let mode = json!({"Mode": mode});
        near.entry(json!({"Kind": "proxy-defaults", "Name": "global", "Config": strict, "MeshGateway": mode})).await;
        let waiting = Waiting::for_(format!("connections through all gateways, mode {mode}"));
        loop {
            answers(&url, 200, "hello from db").await;
            let after = used(&far).await;
            if after.iter().zip(&before).all(|(after, before)| after > before) {
                before = after;
                break;
            }
            waiting.again().await;
        }
    }
    assert!(near.count("gateway", "mesh_gateway_local.*downstream_cx_total").await > 0);
    for id in ["web-sidecar-proxy", "gateway"] {
        // Clusters of host names have a field that Envoy calls deprecated, as the page about compatibility says.
        assert_eq!(near.count(id, "update_rejected|listener_create_failure").await, 0, "{id}");
    }
    far.is_clean().await;
}
