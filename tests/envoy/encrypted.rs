//! xDS with TLS, as a launcher finds it by itself.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use meshgate::app::App;
use meshgate::settings::{Inputs, Settings};
use serde_json::json;

use crate::shared::tls::{Pair, Signer};
use crate::support::{Admin, Waiting, envoy_binary, program};

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_takes_its_configuration_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new(folder.path(), "root");
    let Pair { certificate, key } = signer.sign(folder.path(), "server");
    let file = folder.path().join("tls.json");
    let grpc = json!({"cert_file": certificate, "key_file": key, "tls_min_version": "TLSv1_3"});
    let text = json!({"ports": {"http": 0, "grpc": -1, "grpc_tls": 0}, "tls": {"grpc": grpc}}).to_string();
    std::fs::write(&file, text).unwrap();
    let inputs = Inputs { files: vec![file], dev: true, host_name: Some("laptop".to_owned()), ..Inputs::default() };
    let app = App::start(Settings::load(&inputs).unwrap()).await.unwrap();
    let service = json!({"Name": "web", "Port": 9, "Connect": {"SidecarService": {"Port": 0}}});
    let url = format!("http://{}/v1/agent/service/register", app.http);
    assert!(reqwest::Client::new().put(url).json(&service).send().await.unwrap().status().is_success());

    let admin: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let free = std::net::TcpListener::bind(admin).unwrap().local_addr().unwrap();
    let mut envoy = Command::new(program())
        .args(["connect", "envoy", "-sidecar-for", "web", "-http-addr", &app.http.to_string()])
        .args(["-grpc-ca-file", &signer.root.display().to_string(), "-admin-bind", &free.to_string()])
        .arg("-envoy-binary")
        .arg(envoy_binary().await)
        .args(["--", "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let admin = Admin::at(free);
    let waiting = Waiting::for_("the configuration of an Envoy");
    while !admin.is_ready().await {
        waiting.again().await;
    }

    let names = admin.clusters().await;
    let handshakes = admin.sum(r"cluster\.[a-z_]+\.ssl\.handshake").await;
    envoy.kill().unwrap();
    envoy.wait().unwrap();
    assert_eq!((names, handshakes), (vec!["local_app".to_owned()], 1));
    app.stop().await;
}
