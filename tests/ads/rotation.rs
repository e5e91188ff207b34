//! Another root, as a proxy sees it come.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;
use meshgate::model::{Datacenter, IntentionPolicy};
use prost::Message;
use serde_json::json;

use crate::support::ads::{Client, ack, envoy, subscribe};
use crate::support::mesh::{Mesh, options};

const SECRETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

async fn put(mesh: &Mesh, path: &str, body: serde_json::Value) {
    let (status, text) = mesh.call(&http::Method::PUT, path, body.to_string()).await;
    assert_eq!(status, 200, "{path}: {text}");
}

/// How many certificates each secret holds that differs from what was known.
fn certificates(resources: &[envoy_types::pb::envoy::service::discovery::v3::Resource]) -> BTreeMap<String, usize> {
    let count = |text: &[u8]| String::from_utf8_lossy(text).matches("BEGIN CERTIFICATE").count();
    let secret = |body: &[u8]| tls_v3::Secret::decode(body).expect("a secret");
    let secrets = resources.iter().filter_map(|it| it.resource.as_ref()).map(|body| secret(&body.value));
    secrets.map(|secret| (secret.name.clone(), count(&secret.encode_to_vec()))).collect()
}

#[tokio::test]
async fn a_new_root_comes_as_secrets_and_changes_nothing_else() {
    let mesh = Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await;
    let upstreams = json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]);
    let sidecar = json!({ "Port": 21000, "Proxy": { "Upstreams": upstreams } });
    let web = json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": sidecar } });
    put(&mesh, "/v1/agent/service/register", web).await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut stream = Client::connect(&url).await.delta().await.unwrap();
    stream.send(subscribe(CLUSTERS, &[], Some(envoy("web-sidecar-proxy", 40))));
    stream.send(subscribe(LISTENERS, &[], None));
    stream.send(subscribe(SECRETS, &["leaf", "roots"], None));
    let mut known = BTreeMap::new();
    // The two secrets, the listeners of application and upstream, and their clusters.
    let mut others = BTreeSet::new();
    while known.len() < 2 || others.len() < 4 {
        let response = stream.next().await.unwrap();
        stream.send(ack(&response));
        if response.type_url == SECRETS {
            known.extend(certificates(&response.resources));
        } else {
            others.extend(response.resources.iter().map(|it| format!("{} {}", response.type_url, it.name)));
        }
    }
    assert_eq!(known, BTreeMap::from([("leaf".to_owned(), 1), ("roots".to_owned(), 1)]));

    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    put(&mesh, "/v1/connect/ca/configuration", json!({ "Provider": "consul", "Config": { "PrivateKey": key } })).await;

    // The leaf brings what the old root says of the new one along.
    let both = BTreeMap::from([("leaf".to_owned(), 2), ("roots".to_owned(), 2)]);
    while known != both {
        let response = stream.next().await.unwrap();
        stream.send(ack(&response));
        assert_eq!(response.type_url, SECRETS);
        known.extend(certificates(&response.resources));
    }
}

/// A leaf is renewed after a proxy has got its clusters and before it has asked for anything else. It gets the rest, with the
/// new leaf and no other, and nothing waits for what it never asked for.
#[tokio::test]
async fn a_leaf_that_is_renewed_during_the_initial_fetch_holds_nothing_up() {
    const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    let mesh = Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await;
    let upstreams = json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]);
    let sidecar = json!({ "Port": 21000, "Proxy": { "Upstreams": upstreams } });
    put(
        &mesh,
        "/v1/agent/service/register",
        json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": sidecar } }),
    )
    .await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut stream = Client::connect(&url).await.delta().await.unwrap();
    stream.send(subscribe(CLUSTERS, &[], Some(envoy("web-sidecar-proxy", 40))));
    let clusters = stream.next().await.unwrap();
    let api = clusters.resources.iter().find(|it| it.name.starts_with("api.")).unwrap().name.clone();
    let old = mesh.store.view().leaves().next().unwrap().value.serial.clone();

    put(&mesh, "/v1/meshgate/certs/rotate?all", json!({})).await;
    let new = mesh.store.view().leaves().next().unwrap().value.clone();
    assert_ne!(new.serial, old);
    // What Envoy does next, in its order: it asks for endpoints and secrets, and answers to the clusters.
    stream.send(subscribe(ENDPOINTS, &[&api], None));
    stream.send(subscribe(SECRETS, &["leaf", "roots"], None));
    stream.send(ack(&clusters));
    stream.send(subscribe(LISTENERS, &[], None));
    let mut got = BTreeMap::new();
    while got.len() < 5 {
        let response = stream.next().await.unwrap();
        stream.send(ack(&response));
        for resource in response.resources {
            let body = resource.resource.unwrap().value;
            assert!(got.insert((response.type_url.clone(), resource.name), body).is_none(), "something came twice");
        }
    }

    let leaf = &got[&(SECRETS.to_owned(), "leaf".to_owned())];
    let shown = String::from_utf8_lossy(leaf).into_owned();
    assert!(shown.contains(new.cert_pem.trim()), "the leaf is another one");
    assert!(got.contains_key(&(ENDPOINTS.to_owned(), api)));
    assert_eq!(got.keys().filter(|(kind, _)| kind == LISTENERS).count(), 2);
}
