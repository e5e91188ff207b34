//! Very many connections at a time through one gateway.

use std::sync::Arc;

use futures::{StreamExt, stream};
use meshgate::model::IntentionPolicy;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Cluster, Network, Waiting};

/// Envoy's own limit of connections to one cluster.
const USUAL: usize = 1_024;
/// Connections at a time, each of which takes two files of the test and two of Envoy.
const MANY: usize = 3_000;
/// How many are opened at a time.
const AT_ONCE: usize = 64;

/// Lets this process and the Envoys that it starts have as many files as the system allows.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// An address at which every connection is greeted and then kept.
async fn greeter(address: String) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            if connection.write_all(b"!").await.is_ok() {
                kept.push(connection);
            }
        }
    });
}

/// What a TLS client says first.
fn hello(sni: &str) -> Arc<[u8]> {
    let config = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
    let name = rustls::pki_types::ServerName::try_from(sni.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap();
    let mut said = Vec::new();
    client.write_tls(&mut said).unwrap();
    said.into()
}

/// A connection that says `hello` to a gateway, once the service behind has answered.
async fn arrive(gateway: &str, hello: &[u8]) -> std::io::Result<TcpStream> {
    let mut connection = TcpStream::connect(gateway).await?;
    connection.write_all(hello).await?;
    let mut greeting = [0; 1];
    connection.read_exact(&mut greeting).await?;
    Ok(connection)
}

/// A gateway with this registration, in front of a service that greets; its address and what is said to reach the service.
async fn gateway(network: &Network, id: &str, more: Value) -> (Cluster, String, Arc<[u8]>) {
    let mut cluster = Cluster::start(id, &["dc1"], IntentionPolicy::Allow).await;
    let (host, service) = (network.host(20), network.host(21));
    greeter(format!("{service}:9000")).await;
    // The gateway passes bytes on, so that it does not matter that nobody speaks TLS behind it.
    let api = json!({"ID": "api", "Service": "api", "Address": service, "Port": 9000, "Connect": {"Native": true}});
    cluster.register(&service, api).await;
    let proxy = json!({"Config": more});
    let own = json!({"Kind": "mesh-gateway", "ID": "gateway", "Service": "mesh-gateway", "Address": host, "Port": 8443, "Proxy": proxy});
    cluster.register(&host, own).await;
    cluster.start_envoy(&host, "gateway").await;
    let hello = hello(&format!("api.default.dc1.internal.{}", cluster.trust_domain));
    (cluster, format!("{host}:8443"), hello)
}

async fn overflows(cluster: &Cluster) -> u64 {
    cluster.count("gateway", r"^cluster\.api\..*upstream_cx_(pool_)?overflow$").await
}

/// A gateway carries the connections of a whole datacenter. As `connect envoy -register` registers it, Envoy's own limit is
/// no limit for it, and no connection waits for another one to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_carries_more_connections_than_envoy_does_by_itself() {
    raise_limit();
    let network = Network::take();
    let limits = json!({"limits": {"max_connections": 1_000_000, "max_pending_requests": 1_000_000}});
    let id = "acacacac-1111-4111-8111-111111111111";
    let (cluster, address, hello) = gateway(&network, id, limits).await;

    let opened = stream::iter(0..MANY).map(|_| arrive(&address, &hello)).buffer_unordered(AT_ONCE);
    let open: Vec<_> = opened.map(|connection| connection.unwrap()).collect().await;

    assert_eq!((open.len(), overflows(&cluster).await), (MANY, 0));
    let active = cluster.count("gateway", r"^cluster\.api\..*upstream_cx_active$").await;
    assert_eq!(active, u64::try_from(MANY).unwrap());
    cluster.is_clean().await;
}

/// Without a word about limits Consul's gateways have Envoy's, and so have ours. An entry lifts it, and no connection is
/// closed for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_lifts_the_limit_of_a_gateway_that_says_nothing() {
    raise_limit();
    let network = Network::take();
    let (cluster, address, hello) = gateway(&network, "adadadad-1111-4111-8111-111111111111", json!({})).await;
    let opened = stream::iter(0..USUAL).map(|_| arrive(&address, &hello)).buffer_unordered(AT_ONCE);
    let mut open: Vec<_> = opened.map(|connection| connection.unwrap()).collect().await;
    assert_eq!(overflows(&cluster).await, 0);

    let one_more = tokio::spawn({
        let (address, hello) = (address.clone(), hello.clone());
        async move { arrive(&address, &hello).await }
    });
    let waiting = Waiting::for_("the limit");
    while overflows(&cluster).await == 0 {
        waiting.again().await;
    }
    one_more.abort();

    let limits = json!({"MaxConnections": 20_000, "MaxPendingRequests": 20_000});
    let defaults = json!({"Defaults": {"Limits": limits}});
    cluster.entry(json!({"Kind": "service-defaults", "Name": "mesh-gateway", "UpstreamConfig": defaults})).await;
    let waiting = Waiting::for_("the new limit");
    while cluster.count("gateway", "^cluster_manager.cluster_modified$").await == 0 {
        waiting.again().await;
    }
    let overflowed = overflows(&cluster).await;
    let opened = stream::iter(0..USUAL).map(|_| arrive(&address, &hello)).buffer_unordered(AT_ONCE);
    open.extend(opened.map(|connection| connection.unwrap()).collect::<Vec<_>>().await);

    assert_eq!(overflows(&cluster).await, overflowed);
    // Those from before are open still: nothing comes, and nothing ended.
    for connection in &open {
        let mut byte = [0; 1];
        let read = connection.try_read(&mut byte);
        assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
    }
    cluster.is_clean().await;
}

/// What the kernel says of a TCP connection: the addresses of both ends in hexadecimal digits, its state and its timer.
fn timers(remote_port: u16) -> Vec<String> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_port = rows.filter(|row| row[2].ends_with(&format!(":{remote_port:04X}")) && row[3] == ESTABLISHED);
    of_port.map(|row| row[5].split(':').next().unwrap().to_owned()).collect()
}

/// What forgets idle connections between two places, as load balancers do, is kept awake, and an end that is gone without a
/// word is found out: the kernel probes each connection of a gateway to another place.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_other_places_are_probed_where_a_gateway_says_so() {
    const KEEPALIVE: &str = "02";
    let network = Network::take();
    let id = "aeaeaeae-1111-4111-8111-111111111111";
    let mut cluster = Cluster::start(id, &["dc1", "dc2"], IntentionPolicy::Allow).await;
    let (host, remote) = (network.host(20), network.host(22));
    let port = network.port(0);
    greeter(format!("{remote}:{port}")).await;
    let there =
        json!({"Kind": "mesh-gateway", "ID": "there", "Service": "mesh-gateway", "Address": remote, "Port": port});
    cluster.register_in("dc2", &remote, there).await;
    let gateway = |keepalive: bool| {
        let config = json!({
            "envoy_gateway_remote_tcp_enable_keepalive": keepalive, "envoy_gateway_remote_tcp_keepalive_time": 60,
        });
        json!({
            "Kind": "mesh-gateway", "ID": "gateway", "Service": "mesh-gateway", "Address": host, "Port": 8443,
            "Proxy": {"Config": config},
        })
    };
    cluster.register(&host, gateway(false)).await;
    cluster.start_envoy(&host, "gateway").await;
    let (address, hello) =
        (format!("{host}:8443"), hello(&format!("api.default.dc2.internal.{}", cluster.trust_domain)));

    let unprobed = arrive(&address, &hello).await.unwrap();
    assert_eq!(timers(port), ["00"], "without keepalive nothing is under way");
    drop(unprobed);

    cluster.register(&host, gateway(true)).await;
    let waiting = Waiting::for_("the changed clusters");
    while cluster.count("gateway", "^cluster_manager.cluster_modified$").await == 0 {
        waiting.again().await;
    }
    let _probed = arrive(&address, &hello).await.unwrap();
    let waiting = Waiting::for_("the end of the first connection");
    while timers(port).len() > 1 {
        waiting.again().await;
    }
    assert_eq!(timers(port), [KEEPALIVE]);
    cluster.is_clean().await;
}
