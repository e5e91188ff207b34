//! A real Envoy, fetched when it is not there, accepts the bootstraps that it is started with.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use meshgate::cli::envoy;
use meshgate::envoy::bootstrap::{
    AdminLog, Bootstrap, BootstrapConfig, DeprecatedTags, LogFormat, LogSink, MergedMetrics, Node, StatsSink,
    XdsAddress, XdsServer, bootstrap,
};
use serde_json::{Value, json};

fn sidecar() -> Bootstrap {
    Bootstrap {
        node: Node {
            id: "web-sidecar-proxy".to_owned(),
            cluster: "web".to_owned(),
            datacenter: "dc1".to_owned(),
            partition: "default".to_owned(),
            namespace: "default".to_owned(),
            node_name: "laptop".to_owned(),
        },
        xds: XdsServer {
            address: XdsAddress::Socket("127.0.0.1:8502".parse().unwrap()),
            ca: None,
            token: String::new(),
        },
        admin: "127.0.0.1:0".parse().unwrap(),
        admin_log: AdminLog::file("/dev/null"),
        ready: None,
        merged_metrics: None,
        prometheus_path: "/metrics".to_owned(),
        config: BootstrapConfig::default(),
        collector: None,
        most_connections: None,
        deprecated_tags: DeprecatedTags::Keep,
    }
}

/// Everything that a bootstrap can carry, except what comes in another form in the other cases.
fn everything() -> Bootstrap {
    let cluster = json!({
        "name": "extra",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "extra"},
    });
    let mut input = sidecar();
    input.xds.address = XdsAddress::Pipe("/run/meshgate.sock".to_owned());
    input.admin_log =
        AdminLog { sink: LogSink::Stderr, format: Some(LogFormat::Json(json!({"status": "%RESPONSE_CODE%"}))) };
    input.ready = Some("127.0.0.1:0".parse().unwrap());
    input.merged_metrics = Some(MergedMetrics { port: 20100, tls: None });
    input.config = BootstrapConfig {
        prometheus_bind: Some("127.0.0.1:0".parse().unwrap()),
        stats_bind: Some("127.0.0.1:0".parse().unwrap()),
        stats_tags: vec![("zone".to_owned(), "eu-1".to_owned())],
        stats_config: None,
        stats_flush_interval: Some("5s".to_owned()),
        sinks: vec![
            StatsSink::Statsd("127.0.0.1:8125".parse().unwrap()),
            StatsSink::DogStatsdPipe("/run/datadog.sock".to_owned()),
        ],
        extra_sinks: Vec::new(),
        extra_clusters: vec![cluster],
        extra_listeners: Vec::new(),
        tracing: None,
        most_connections: None,
        collector_folder: None,
    };
    input.collector = Some("/run/mesh/collector.sock".to_owned());
    input.most_connections = Some(1_880);
    input
}

fn envoy() -> PathBuf {
    envoy::binary(envoy::DEFAULT_VERSION).unwrap_or_else(|error| panic!("this test needs a real Envoy: {error}"))
}

fn validate(binary: &Path, document: &Value) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootstrap.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let output = Command::new(binary).args(["--mode", "validate", "--config-path"]).arg(&path).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn envoy_accepts_every_form_of_bootstrap() {
    let binary = envoy();
    let mut tls = sidecar();
    tls.xds.ca = Some(certificate());
    tls.deprecated_tags = DeprecatedTags::Omit;

    for (name, input) in [("sidecar", sidecar()), ("everything", everything()), ("tls", tls)] {
        validate(&binary, &bootstrap(&input)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn envoy_refuses_a_bootstrap_that_is_none() {
    let mut document = bootstrap(&sidecar());
    document["admin"]["address"] = json!({"socket_addres": {}});

    assert!(validate(&envoy(), &document).unwrap_err().contains("socket_addres"));
}

#[test]
fn installing_again_changes_nothing() {
    let binary = envoy();
    let before = std::fs::metadata(&binary).unwrap().modified().unwrap();

    let again = envoy();

    assert_eq!(again, binary);
    assert_eq!(std::fs::metadata(&again).unwrap().modified().unwrap(), before);
    assert_eq!(envoy::version_of(&binary).unwrap().to_string(), envoy::DEFAULT_VERSION);
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
}
