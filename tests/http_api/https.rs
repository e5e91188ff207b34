//! The HTTP API with TLS, by the agent's own files.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meshgate::app::App;
use meshgate::settings::{Inputs, Settings};
use reqwest::{Certificate, Identity, StatusCode};
use serde_json::{Value, json};

use crate::support::tls::{Pair, Signer};

async fn start(folder: &Path, https: Value) -> (App, SocketAddr) {
    let path = folder.join("tls.json");
    let text = json!({"ports": {"http": 0, "grpc": 0, "https": 0}, "tls": {"https": https}}).to_string();
    std::fs::write(&path, text).unwrap();
    let inputs = Inputs { files: vec![path], dev: true, host_name: Some("laptop".to_owned()), ..Inputs::default() };
    let app = App::start(Settings::load(&inputs).unwrap()).await.unwrap();
    let address = app.https.unwrap();
    (app, address)
}

/// The status of a call by a client that trusts this root, with a connection of its own.
async fn call(address: SocketAddr, root: &Path, own: Option<&Pair>) -> Result<StatusCode, reqwest::Error> {
    let root = Certificate::from_pem(&std::fs::read(root).unwrap())?;
    let mut client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    if let Some(pair) = own {
        let pem = [&pair.certificate, &pair.key].map(|path| std::fs::read_to_string(path).unwrap()).concat();
        client = client.identity(Identity::from_pem(pem.as_bytes())?);
    }
    Ok(client.build()?.get(format!("https://{address}/v1/agent/self")).send().await?.status())
}

#[tokio::test]
async fn a_client_is_served_over_tls_if_it_trusts_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Signer::new(folder.path(), "ours"), Signer::new(folder.path(), "other"));
    let Pair { certificate, key } = ours.sign(folder.path(), "server");
    let (app, address) = start(folder.path(), json!({"cert_file": certificate, "key_file": key})).await;

    assert_eq!(call(address, &ours.root, None).await.unwrap(), StatusCode::OK);
    assert!(call(address, &other.root, None).await.unwrap_err().is_connect());
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("http://{address}/v1/agent/self")).send().await.is_err());
    assert_eq!(plain.get(format!("http://{}/v1/agent/self", app.http)).send().await.unwrap().status(), StatusCode::OK);
    app.stop().await;
}

#[tokio::test]
async fn the_api_is_served_with_tls_alone_and_at_several_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Signer::new(folder.path(), "ours");
    let Pair { certificate, key } = ours.sign(folder.path(), "server");
    let path = folder.path().join("agent.json");
    let text = json!({
        "ports": { "http": -1, "grpc": 0, "https": 0 },
        "addresses": { "https": "127.0.0.1 127.0.0.2" },
        "tls": { "https": { "cert_file": certificate, "key_file": key } },
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let inputs = Inputs { files: vec![path], dev: true, host_name: Some("laptop".to_owned()), ..Inputs::default() };

    let app = App::start(Settings::load(&inputs).unwrap()).await.unwrap();

    let open = app.listening();
    let ips: Vec<_> = open.iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(ips, ["127.0.0.1", "127.0.0.2"]);
    assert_eq!(call(open[0], &ours.root, None).await.unwrap(), StatusCode::OK);
    // The certificate is for the first one; that TLS is spoken is known by its refusal.
    assert!(call(open[1], &ours.root, None).await.unwrap_err().is_connect());
    assert_eq!(app.http, open[0]);
    app.stop().await;
}

#[tokio::test]
async fn clients_of_the_api_need_a_certificate_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Signer::new(folder.path(), "ours"), Signer::new(folder.path(), "theirs"));
    let Pair { certificate, key } = ours.sign(folder.path(), "server");
    let https = json!({"cert_file": certificate, "key_file": key, "ca_file": theirs.root, "verify_incoming": true});
    let (app, address) = start(folder.path(), https).await;
    let (good, bad) = (theirs.sign(folder.path(), "client"), ours.sign(folder.path(), "intruder"));

    assert_eq!(call(address, &ours.root, Some(&good)).await.unwrap(), StatusCode::OK);
    assert!(call(address, &ours.root, Some(&bad)).await.is_err());
    assert!(call(address, &ours.root, None).await.is_err());
    app.stop().await;
}

#[tokio::test]
async fn a_reload_shows_new_clients_of_the_api_the_certificate_that_is_there_now() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Signer::new(folder.path(), "old"), Signer::new(folder.path(), "new"));
    let Pair { certificate, key } = old.sign(folder.path(), "server");
    let (app, address) = start(folder.path(), json!({"cert_file": certificate, "key_file": key})).await;
    assert_eq!(call(address, &old.root, None).await.unwrap(), StatusCode::OK);

    new.sign(folder.path(), "server");
    let reload = reqwest::Client::new().put(format!("http://{}/v1/agent/reload", app.http)).send();
    assert_eq!(reload.await.unwrap().status(), StatusCode::OK);

    assert_eq!(call(address, &new.root, None).await.unwrap(), StatusCode::OK);
    assert!(call(address, &old.root, None).await.is_err());
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_go_on_holds_up_neither_others_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Signer::new(folder.path(), "ours");
    let Pair { certificate, key } = ours.sign(folder.path(), "server");
    let (app, address) = start(folder.path(), json!({"cert_file": certificate, "key_file": key})).await;
    let silent = tokio::net::TcpStream::connect(address).await.unwrap();

    assert_eq!(call(address, &ours.root, None).await.unwrap(), StatusCode::OK);

    tokio::time::timeout(Duration::from_secs(3), app.stop()).await.expect("the silent client is not waited for");
    drop(silent);
}
