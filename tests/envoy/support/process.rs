//! An Envoy that a test starts by itself, with a bootstrap of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::mesh::envoy_binary;
use super::{Admin, TestMesh, Waiting};

/// A running Envoy; ends when it is dropped.
pub(crate) struct EnvoyProcess {
    child: Child,
    /// Its admin interface.
    pub(crate) admin: Admin,
}

impl EnvoyProcess {
    /// Starts it beside a mesh. Its log is beside those of the mesh.
    pub(crate) async fn start(mesh: &TestMesh, name: &str, bootstrap: &Value) -> Self {
        let file = mesh.directory().join(format!("{name}.json"));
        std::fs::write(&file, bootstrap.to_string()).unwrap();
        let log = File::create(mesh.directory().join(format!("{name}.log"))).unwrap();
        let child = Command::new(envoy_binary().await)
            .arg("--config-path")
            .arg(file)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let admin = &bootstrap["admin"]["address"]["socket_address"];
        let host = admin["address"].as_str().unwrap().parse().unwrap();
        let port = u16::try_from(admin["port_value"].as_u64().unwrap()).unwrap();
        Self { child, admin: Admin::at(SocketAddr::new(host, port)) }
    }

    /// Waits until it has everything that it was started for.
    pub(crate) async fn ready(&self) {
        let waiting = Waiting::for_("the configuration of an Envoy");
        while !self.admin.is_ready().await {
            waiting.again().await;
        }
    }
}

impl Drop for EnvoyProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
