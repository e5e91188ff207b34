//! A snapshot that is restored under a live stream.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use meshgate::model::{Datacenter, IntentionPolicy};
use prost::Message;
use serde_json::{Value, json};

use crate::support::ads::{Client, DeltaStream, ack, envoy, subscribe};
use crate::support::mesh::{Mesh, options};
use crate::{CLUSTERS, ENDPOINTS};

async fn put(mesh: &Mesh, path: &str, body: Value) {
    let (status, text) = mesh.call(&http::Method::PUT, path, body.to_string()).await;
    assert_eq!(status, 200, "{path}: {text}");
}

/// Registers an instance of `api`, or takes it away.
async fn api(mesh: &Mesh, host: u8, is_there: bool) {
    let (node, address) = (format!("node-{host}"), format!("10.0.0.{host}"));
    if !is_there {
        return put(mesh, "/v1/catalog/deregister", json!({ "Node": node })).await;
    }
    let proxy = json!({ "DestinationServiceName": "api", "LocalServicePort": 80 });
    let service = json!({ "Kind": "connect-proxy", "ID": "api-sidecar-proxy", "Service": "api-sidecar-proxy", "Port": 21_001, "Proxy": proxy });
    put(mesh, "/v1/catalog/register", json!({ "Node": node, "Address": address, "Service": service })).await;
}

fn addresses(body: &[u8]) -> BTreeSet<String> {
    let assignment = ClusterLoadAssignment::decode(body).unwrap();
    let endpoints = assignment.endpoints.into_iter().flat_map(|it| it.lb_endpoints);
    let address = |it: HostIdentifier| match it {
        HostIdentifier::Endpoint(endpoint) => match endpoint.address.unwrap().address.unwrap() {
            Address::SocketAddress(socket) => socket.address,
            other @ (Address::Pipe(_) | Address::EnvoyInternalAddress(_)) => panic!("{other:?}"),
        },
        HostIdentifier::EndpointName(name) => name,
    };
    endpoints.filter_map(|it| it.host_identifier).map(address).collect()
}

/// What a proxy is sent: clusters by name, and every set of endpoints that it was told of, in order.
struct Web {
    stream: DeltaStream,
    clusters: BTreeSet<String>,
    told: Vec<BTreeSet<String>>,
}

impl Web {
    /// Takes what comes until the endpoints are these. No cluster may go meanwhile.
    async fn until(&mut self, hosts: &[u8]) {
        let wanted: BTreeSet<_> = hosts.iter().map(|host| format!("10.0.0.{host}")).collect();
        while self.told.last() != Some(&wanted) {
            let response = self.stream.next().await.unwrap();
            self.stream.send(ack(&response));
            assert_eq!(response.removed_resources, Vec::<String>::new(), "{}", response.type_url);
            for resource in &response.resources {
                if response.type_url == ENDPOINTS {
                    self.told.push(addresses(&resource.resource.as_ref().unwrap().value));
                } else if self.clusters.insert(resource.name.clone()) && resource.name.starts_with("api.") {
                    self.stream.send(subscribe(ENDPOINTS, &[&resource.name], None));
                }
            }
        }
    }
}

/// Instances came and went since the snapshot. All of it is taken back in one step: no message has less than what is in both
/// states, and none has what is in neither.
#[tokio::test]
async fn what_both_states_have_is_never_missing_while_a_snapshot_is_restored() {
    let mesh = Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await;
    let upstreams = json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]);
    let sidecar = json!({ "Port": 21_000, "Proxy": { "Upstreams": upstreams } });
    put(
        &mesh,
        "/v1/agent/service/register",
        json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": sidecar } }),
    )
    .await;
    for host in 1..=4 {
        api(&mesh, host, true).await;
    }
    let (http, ads) = (mesh.serve_http().await, mesh.serve_ads(&mesh.engine).await);
    let stream = Client::connect(&ads).await.delta().await.unwrap();
    stream.send(subscribe(CLUSTERS, &[], Some(envoy("web-sidecar-proxy", 40))));
    let mut web = Web { stream, clusters: BTreeSet::new(), told: Vec::new() };
    web.until(&[1, 2, 3, 4]).await;
    let url = format!("{http}/v1/snapshot");
    let archive = reqwest::get(&url).await.unwrap().bytes().await.unwrap();

    // Two of four are replaced, one after the other.
    for (host, is_there) in [(3, false), (5, true), (4, false), (6, true)] {
        api(&mesh, host, is_there).await;
    }
    web.until(&[1, 2, 5, 6]).await;
    web.told.clear();
    let answer = reqwest::Client::new().put(&url).body(archive).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    web.until(&[1, 2, 3, 4]).await;

    let hosts = |hosts: &[u8]| hosts.iter().map(|host| format!("10.0.0.{host}")).collect::<BTreeSet<_>>();
    assert_eq!(web.told, [hosts(&[1, 2, 3, 4])], "one message, from one state to the other");
    let clusters: BTreeMap<_, _> = web.clusters.iter().map(|name| (name.split('.').next().unwrap(), ())).collect();
    assert_eq!(clusters.into_keys().collect::<Vec<_>>(), ["api", "local_app"]);
}
