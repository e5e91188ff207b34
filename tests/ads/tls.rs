//! xDS with TLS, by the agent's own files.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::path::Path;

use meshgate::app::App;
use meshgate::settings::{Inputs, Settings};
use serde_json::{Value, json};

use super::{CLUSTERS, node, subscribe};
use crate::support::ads::Client;
use crate::support::tls::{self, Pair, Signer};

fn settings(folder: &Path, grpc: Value) -> Settings {
    let path = folder.join("tls.json");
    let text = json!({"ports": {"http": 0, "grpc": -1, "grpc_tls": 0}, "tls": {"grpc": grpc}}).to_string();
    std::fs::write(&path, text).unwrap();
    let inputs = Inputs { files: vec![path], dev: true, host_name: Some("laptop".to_owned()), ..Inputs::default() };
    Settings::load(&inputs).unwrap()
}

/// True if the server answers a stream of this client.
async fn answers(address: SocketAddr, config: Result<rustls::ClientConfig, tls::Failure>) -> bool {
    let Some(client) = Client::connect_with_tls(address, config.unwrap()).await else { return false };
    let Ok(mut stream) = client.delta().await else { return false };
    stream.send(subscribe(CLUSTERS, &[], Some(node("web-sidecar-proxy"))));
    stream.next().await.is_ok()
}

async fn start(settings: Settings) -> App {
    let app = App::start(settings).await.unwrap();
    let service = json!({"Name": "web", "Port": 80, "Connect": {"SidecarService": {}}});
    put(&app, "/v1/agent/service/register", service).await;
    app
}

async fn put(app: &App, path: &str, body: Value) {
    let request = reqwest::Client::new().put(format!("http://{}{path}", app.http)).json(&body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
}

#[tokio::test]
async fn a_client_is_served_if_it_trusts_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Signer::new(folder.path(), "ours"), Signer::new(folder.path(), "other"));
    let Pair { certificate, key } = ours.sign(folder.path(), "server");
    let app = start(settings(folder.path(), json!({"cert_file": certificate, "key_file": key}))).await;
    let address = app.grpc_tls.unwrap();

    assert_eq!(app.grpc, None);
    assert!(answers(address, tls::client(&ours.root, None)).await);
    assert!(!answers(address, tls::client(&other.root, None)).await);
    app.stop().await;
}

#[tokio::test]
async fn clients_need_a_certificate_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Signer::new(folder.path(), "ours"), Signer::new(folder.path(), "theirs"));
    let Pair { certificate, key } = ours.sign(folder.path(), "server");
    let grpc = json!({"cert_file": certificate, "key_file": key, "ca_file": theirs.root, "verify_incoming": true});
    let app = start(settings(folder.path(), grpc)).await;
    let address = app.grpc_tls.unwrap();
    let (good, bad) = (theirs.sign(folder.path(), "client"), ours.sign(folder.path(), "intruder"));

    assert!(answers(address, tls::client(&ours.root, Some(&good))).await);
    assert!(!answers(address, tls::client(&ours.root, Some(&bad))).await);
    assert!(!answers(address, tls::client(&ours.root, None)).await);
    app.stop().await;
}

#[tokio::test]
async fn a_reload_shows_new_clients_the_certificate_that_is_there_now() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Signer::new(folder.path(), "old"), Signer::new(folder.path(), "new"));
    let Pair { certificate, key } = old.sign(folder.path(), "server");
    let app = start(settings(folder.path(), json!({"cert_file": &certificate, "key_file": &key}))).await;
    let address = app.grpc_tls.unwrap();
    let client = Client::connect_with_tls(address, tls::client(&old.root, None).unwrap()).await.unwrap();
    let mut stream = client.delta().await.unwrap();

    new.sign(folder.path(), "server");
    put(&app, "/v1/agent/reload", Value::Null).await;

    assert!(answers(address, tls::client(&new.root, None)).await);
    assert!(!answers(address, tls::client(&old.root, None)).await);
    // Who was there stays.
    stream.send(subscribe(CLUSTERS, &[], Some(node("web-sidecar-proxy"))));
    assert!(stream.next().await.is_ok());

    // Files that do not belong together change nothing.
    std::fs::write(&key, "not a key").unwrap();
    let answer = reqwest::Client::new().put(format!("http://{}/v1/agent/reload", app.http)).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let text = answer.text().await.unwrap();
    assert!(text.contains("tls.grpc.key_file") && text.contains("holds no private key in PEM"), "{text}");
    assert!(answers(address, tls::client(&new.root, None)).await);
    app.stop().await;
}
