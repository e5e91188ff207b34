//! Gateways that have an address of one family alone, for callers that have both.

use std::collections::BTreeSet;

use meshgate::model::IntentionPolicy;
use serde_json::{Value, json};

use crate::support::{Cluster, Network, Waiting, answers};

/// What counts the connections that a gateway forwards, to services of its place and to other places.
const FORWARDED: &str = "mesh_gateway_(local|remote).*downstream_cx_total";

/// The addresses of all endpoints that a proxy should have for `api`.
async fn offered(cluster: &Cluster, id: &str) -> BTreeSet<String> {
    let assignments = cluster.desired(id, "EDS").await;
    let of_api = assignments.iter().filter(|it| it["Name"].as_str().unwrap().starts_with("api."));
    let localities = of_api.flat_map(|it| it["Resource"]["endpoints"].as_array().cloned().unwrap_or_default());
    let endpoints = localities.flat_map(|it| it["lbEndpoints"].as_array().unwrap().clone());
    let address = |it: Value| it["endpoint"]["address"]["socketAddress"]["address"].as_str().unwrap().to_owned();
    endpoints.map(address).collect()
}

/// A gateway that is only reached by IPv6 is offered as such, beside one that is only reached by IPv4, and both carry traffic.
#[tokio::test(flavor = "multi_thread")]
async fn gateways_with_ipv6_alone_are_dialled_like_others_and_beside_them() {
    let network = Network::take();
    let id = "abababab-1111-4111-8111-111111111111";
    let mut cluster = Cluster::start(id, &["dc1", "dc2"], IntentionPolicy::Allow).await;
    cluster.serve_in("dc2", &network.host(21), "api", "hello from api").await;
    let gateway = |id: &str, address: &str, port: u16| json!({"Kind": "mesh-gateway", "ID": id, "Service": "mesh-gateway", "Address": address, "Port": port});
    let (six, four, own) = (network.host(22), network.host(23), network.host(12));
    for (datacenter, host, service) in [
        ("dc2", &six, gateway("gateway-six", "::1", network.port(0))),
        ("dc2", &four, gateway("gateway-four", &four, 8443)),
        ("dc1", &own, gateway("gateway-own", "::1", network.port(1))),
    ] {
        cluster.register_in(datacenter, host, service.clone()).await;
        cluster.start_envoy_in(datacenter, host, service["ID"].as_str().unwrap()).await;
    }
    // One caller is itself called by IPv4, the other one by IPv6.
    let web = network.host(10);
    let api = |address: &str, port: u16| json!([{"DestinationName": "api", "Datacenter": "dc2", "LocalBindAddress": address, "LocalBindPort": port}]);
    cluster.call_from(&web, "web", api(&web, 9191)).await;
    cluster.call_from(&network.host(11), "cron", api("::1", network.port(2))).await;
    let urls = [format!("http://{web}:9191"), format!("http://[::1]:{}", network.port(2))];

    cluster.entry(json!({"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "remote"}})).await;
    carries(&cluster, &urls, &["gateway-six", "gateway-four"]).await;
    for id in ["web-sidecar-proxy", "cron-sidecar-proxy"] {
        assert_eq!(offered(&cluster, id).await, BTreeSet::from(["::1".to_owned(), four.clone()]), "{id}");
    }

    cluster.entry(json!({"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "local"}})).await;
    carries(&cluster, &urls, &["gateway-own"]).await;
    assert_eq!(offered(&cluster, "web-sidecar-proxy").await, BTreeSet::from(["::1".to_owned()]));
    cluster.is_clean().await;
}

/// Asks every URL until each of these gateways has forwarded something; every request must be answered.
async fn carries(cluster: &Cluster, urls: &[String], gateways: &[&str]) {
    let waiting = Waiting::for_(format!("traffic through {gateways:?}"));
    loop {
        for url in urls {
            answers(url, 200, "hello from api").await;
        }
        let mut counts = Vec::new();
        for id in gateways {
            counts.push(cluster.count(id, FORWARDED).await);
        }
        if counts.iter().all(|count| *count > 0) {
            return;
        }
        waiting.again().await;
    }
}
