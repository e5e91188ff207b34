//! `meshgate debug bundle` and `meshgate replay`: a state that goes from one process to another.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

fn meshgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(arguments);
    command
}

/// A running control plane, which ends with it.
struct Running {
    process: Child,
    http: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::wait(meshgate(arguments).args(LISTEN).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn wait(mut process: Child) -> Self {
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line).unwrap())
            .find(|event| event["message"] == "ready");
        let http = ready.expect("the process ended before it was ready")["http"].as_str().unwrap().to_owned();
        // Somebody must read what it logs.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, http }
    }

    fn say(&self, arguments: &[&str]) -> Output {
        let output = meshgate(arguments).env("CONSUL_HTTP_ADDR", &self.http).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn bundle(&self) -> Value {
        serde_json::from_slice(&self.say(&["debug", "bundle"]).stdout).unwrap()
    }
}

const LISTEN: [&str; 5] = ["-http-port", "0", "-grpc-port", "0", "-log-json"];

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_replayed_bundle_gives_the_same_bundle() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody answers the check, so that it would go from passing to critical if it were run again.
    let web = r#"
        service {
          name = "web"
          port = 8080
          check {
            http     = "http://127.0.0.1:1/"
            header   = { Authorization = ["Bearer 7f2c"] }
            interval = "1h"
            status   = "passing"
          }
          connect { sidecar_service { proxy { upstreams = [{ destination_name = "api", local_bind_port = 9001 }] } } }
        }
        datacenter               = "east"
        hosted_datacenters       = ["west"]
        node_name                = "laptop"
        default_intention_policy = "deny"
        domain                   = "corp."
        config_entries { bootstrap = [{ kind = "service-defaults" name = "web" protocol = "http" }] }
    "#;
    let web = write(directory.path(), "web.hcl", web);
    let file = directory.path().join("bundle.json");
    let file = file.to_str().unwrap();
    let agent = Running::start(&["agent", "-dev", "-config-file", &web]);

    agent.say(&["debug", "bundle", "-o", file]);

    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("PRIVATE KEY") && !text.contains("7f2c"), "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    let agent_of = |bundle: &Value| {
        let mut agent = bundle["Agent"].clone();
        agent["ClusterID"] = json!("some UUID");
        agent
    };
    assert_eq!(
        agent_of(&told),
        json!({
            "Datacenter": "east",
            "HostedDatacenters": ["west"],
            "NodeName": "laptop",
            "ClusterID": "some UUID",
            "DefaultIntentionPolicy": "deny",
            "Domain": "corp",
        })
    );
    let names: Vec<_> = told["Services"].as_array().unwrap().iter().map(|row| &row["Service"]["ID"]).collect();
    assert_eq!(names, ["web", "web-sidecar-proxy"]);

    let replayed = Running::start(&["replay", file]);

    assert_eq!(replayed.bundle(), told);
    assert_eq!(replayed.say(&["catalog", "datacenters"]).stdout, b"east\nwest\n");
    // The same once more, from standard input.
    let mut process =
        meshgate(&["replay", "-"]).args(LISTEN).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(Running::wait(process).bundle(), told);
}

#[test]
fn a_report_is_replayed_to_the_same_configurations_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let web = r#"
        service {
          name = "web"
          port = 8080
          connect { sidecar_service { proxy { upstreams = [{ destination_name = "api", local_bind_port = 9001 }] } } }
        }
        service {
          name = "api"
          port = 9090
          connect { sidecar_service {} }
        }
    "#;
    let web = write(directory.path(), "web.hcl", web);
    let report = directory.path().join("report.tgz");
    let report = report.to_str().unwrap();
    let agent = Running::start(&["agent", "-dev", "-config-file", &web]);

    let told = agent.say(&["bug-report", "-o", report]);

    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("bundle.json, status.json, proxies.json, history.json, events.ndjson"), "{told}");
    assert_eq!(std::fs::metadata(report).unwrap().permissions().mode() & 0o777, 0o600);
    let verified = meshgate(&["replay", "-verify", report]).output().unwrap();
    let text = String::from_utf8_lossy(&verified.stdout);
    assert_eq!((verified.status.code(), &*text), (Some(0), "2 of 2 proxies get the configuration that is noted\n"));
    assert_eq!(Running::start(&["replay", report]).bundle(), agent.bundle());

    // Whoever makes another configuration of it is told whose it is.
    let mut bundle: Value = {
        let path = ["-sS", &*format!("http://{}/v1/meshgate/debug/bundle?hashes", agent.http)];
        serde_json::from_slice(&Command::new("curl").args(path).output().unwrap().stdout).unwrap()
    };
    bundle["Services"].as_array_mut().unwrap().iter_mut().for_each(|row| {
        if row["Service"]["ID"] == "web-sidecar-proxy" {
            row["Service"]["Proxy"]["Upstreams"][0]["LocalBindPort"] = json!(9002);
        }
    });
    let changed = write(directory.path(), "changed.json", &bundle.to_string());
    let verified = meshgate(&["replay", "-verify", &changed]).output().unwrap();
    let text = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        text.contains("web-sidecar-proxy: ") && text.ends_with("1 of 2 proxies get the configuration that is noted\n"),
        "{text}"
    );

    // What has no hashes cannot be held against anything.
    let plain = write(directory.path(), "plain.json", &agent.bundle().to_string());
    let refused = meshgate(&["replay", "-verify", &plain]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the bundle has no hashes"));
    let broken = write(directory.path(), "broken.tgz", "\u{1f}");
    assert_ne!(meshgate(&["replay", &broken]).args(LISTEN).output().unwrap().status.code(), Some(0));
}

#[test]
fn the_documented_bundle_has_a_row_of_each_kind_and_can_be_replayed() {
    let document = include_str!("../docs/bundle.md");
    let (_, rest) = document.split_once("```json\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "documented.json", text);
    let documented: Value = serde_json::from_str(text).unwrap();

    let told = Running::start(&["replay", &file]).bundle();

    assert_eq!(told["Agent"], documented["Agent"]);
    for (member, rows) in told.as_object().unwrap() {
        let Some(rows) = rows.as_array() else { continue };
        assert_eq!((rows.len(), documented[member].as_array().map(Vec::len)), (1, Some(1)), "{member}");
    }
    assert!(told.to_string().contains("db.default.default.south.external"));
}

#[test]
fn a_bad_bundle_starts_nothing_and_is_told_all_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let replay = |name: &str, text: &str| {
        let file = write(directory.path(), name, text);
        let output = meshgate(&["replay", &file]).args(LISTEN).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{text}");
        String::from_utf8(output.stderr).unwrap().replace(directory.path().to_str().unwrap(), "")
    };
    let bundle = |members: &str| format!("{{\"Format\": \"meshgate-bundle\", \"Version\": 1,\n{members}}}");

    assert_eq!(replay("a.json", "no JSON"), "error: /a.json:1: invalid JSON: expected ident, at column 2\n");
    assert_eq!(
        replay("b.json", &bundle("\"Peerings\": [{\"Name\": \"A\", \"Sate\": 1}],\n\"Nodes\": 7")),
        "error: /b.json:2: Peerings[0].Sate: json: unknown field \"Sate\", did you mean \"State\"?\n\
         /b.json:2: Peerings[0].Name: \"A\" is no name of a peering: a peering's name has 1 to 63 lower-case letters, \
         digits and -, with a letter or digit at both ends\n\
         /b.json:3: Nodes: expected a list, found the number 7\n"
    );
    // What rows say together is judged as it is on every write.
    let circle = ["a", "b", "a"]
        .windows(2)
        .map(|pair| json!({"Kind": "service-resolver", "Name": pair[0], "Redirect": {"Service": pair[1]}}).to_string());
    let circle = circle.collect::<Vec<_>>().join(", ");
    let told = replay("c.json", &bundle(&format!("\"ConfigEntries\": [{circle}]")));
    assert!(told.starts_with("error: the bundle is refused: "), "{told}");
    let output = meshgate(&["replay", "/no/such/file"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(meshgate(&["replay"]).output().unwrap().status.code(), Some(3));
}

/// The files of a report.
fn files_of(report: &str) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(report).unwrap()));
    let file = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(file).collect()
}

/// A mesh whose every name says whose it is.
const TELLING: &str = r#"{
    "datacenter": "zurich", "hosted_datacenters": ["geneva"], "node_name": "rack42", "advertise_addr": "203.0.113.7",
    "node_meta": { "acmeteam": "acmecorp" },
    "services": [
        { "name": "acmepay", "id": "acmepay-1", "port": 8080, "tags": ["bluegreen"], "meta": { "release": "quokka" },
          "checks": [{ "http": "http://203.0.113.7:8080/alive", "interval": "1h", "status": "passing", "notes": "call Alice" }],
          "connect": { "sidecar_service": { "proxy": {
              "config": { "protocol": "http", "local_connect_timeout_ms": 700 },
              "upstreams": [{ "destination_name": "acmeledger", "local_bind_port": 9001, "datacenter": "geneva" },
                            { "destination_name": "acmeledger", "local_bind_port": 9002 }] } } } },
        { "name": "acmeledger", "port": 9090, "meta": { "release": "quokka" }, "connect": { "sidecar_service": {} } },
        { "name": "mesh-gateway", "kind": "mesh-gateway", "port": 8443,
          "tagged_addresses": { "wan": { "address": "gate.acmecorp.example", "port": 443 } } }
    ],
    "config_entries": { "bootstrap": [
        { "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": "local" }, "Config": { "protocol": "http" } },
        { "Kind": "service-defaults", "Name": "acmepay", "Protocol": "http",
          "UpstreamConfig": { "Overrides": [{ "Name": "acmeledger", "EnvoyClusterJSON": "{\"name\": \"acmehatch\"}" }] } },
        { "Kind": "service-resolver", "Name": "acmeledger", "DefaultSubset": "olive", "ConnectTimeout": "7s",
          "Subsets": { "olive": { "Filter": "Service.Meta.release == quokka" } },
          "Failover": { "*": { "Datacenters": ["geneva"] } } },
        { "Kind": "service-router", "Name": "acmeledger", "Routes": [
            { "Match": { "HTTP": { "PathPrefix": "/invoices", "Header": [{ "Name": "x-acmetenant", "Exact": "gold" }] } },
              "Destination": { "Service": "acmeledger", "ServiceSubset": "olive", "NumRetries": 3 } },
            { "Match": { "HTTP": { "PathRegex": "/receipts/[a-z]+" } } }] },
        { "Kind": "service-intentions", "Name": "acmeledger", "Sources": [
            { "Name": "acmepay", "Action": "allow", "Description": "Alice said so" }, { "Name": "*", "Action": "deny" }] },
        { "Kind": "exported-services", "Name": "default", "Services": [
            { "Name": "acmepay", "Consumers": [{ "Peer": "partnerinc" }] }] }
    ] }
}"#;

#[test]
fn a_redacted_report_tells_nothing_of_whose_it_is_and_can_be_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), "agent.json", TELLING);
    let report = directory.path().join("report.tgz").to_str().unwrap().to_owned();
    let agent = Running::start(&["agent", "-dev", "-config-file", &config]);
    let original = agent.bundle();
    let cluster = original["Agent"]["ClusterID"].as_str().unwrap().to_owned();

    agent.say(&["bug-report", "-redact", "-o", &report]);

    let names = [
        "zurich",
        "geneva",
        "rack42",
        "203.0.113.7",
        "acme",
        "bluegreen",
        "quokka",
        "release",
        "olive",
        "invoices",
        "receipts",
        "tenant",
        "gold",
        "alice",
        "partnerinc",
        "alive",
        &cluster,
    ];
    let files = files_of(&report);
    let kept: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    for name in
        ["bundle.json", "status.json", "proxies.json", "history.json", "events.ndjson", "lint.json", "metrics.json"]
    {
        assert!(kept.contains(&name), "{kept:?}");
    }
    for (file, bytes) in &files {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        for name in names {
            assert!(!text.contains(name), "{name} is in {file}: {text}");
        }
    }

    // The structure is the same: as many rows, which refer to each other as they did.
    let redacted: Value =
        serde_json::from_slice(&files.iter().find(|(name, _)| name == "bundle.json").unwrap().1).unwrap();
    assert_eq!(redacted["Redacted"], true);
    for section in ["Nodes", "Services", "Checks", "ConfigEntries"] {
        let count = |bundle: &Value| bundle[section].as_array().unwrap().len();
        assert_eq!(count(&redacted), count(&original), "{section}: {redacted:#}");
    }
    let services = redacted["Services"].as_array().unwrap();
    let upstream = services.iter().find_map(|row| row["Service"]["Proxy"]["Upstreams"][0].as_object()).unwrap();
    let resolver =
        redacted["ConfigEntries"].as_array().unwrap().iter().find(|it| it["Kind"] == "service-resolver").unwrap();
    assert_eq!(upstream["DestinationName"], resolver["Name"]);
    assert_eq!(upstream["Datacenter"], redacted["Agent"]["HostedDatacenters"][0]);
    let subset = resolver["DefaultSubset"].as_str().unwrap();
    let filter = resolver["Subsets"][subset]["Filter"].as_str().unwrap();
    assert!(filter.starts_with("Service.Meta.") && filter.contains(" == "), "{filter}");
    let (_, why) = files.iter().find(|(name, _)| name == "missing.txt").unwrap();
    assert!(String::from_utf8_lossy(why).contains("EnvoyClusterJSON: what is in it cannot be redacted"));

    // It is made into the same configuration on any machine.
    let verified = meshgate(&["replay", "-verify", &report]).output().unwrap();
    let text = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("the bundle is redacted: ")
            && text.ends_with("3 of 3 proxies get the configuration that is noted\n"),
        "{text}"
    );
    let replayed = Running::start(&["replay", &report]).bundle();
    assert_eq!(replayed["Services"], redacted["Services"]);
    assert_eq!(replayed["ConfigEntries"], redacted["ConfigEntries"]);
}

#[test]
fn what_depends_on_a_key_that_a_bundle_does_not_have_is_not_compared() {
    let directory = tempfile::tempdir().unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END PRIVATE KEY-----\n";
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": { "tls_certificates": [{ "private_key": { "inline_string": key } }] },
    });
    let cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "ours", "type": "STATIC", "connect_timeout": "1s",
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": context },
    });
    let overrides = json!({ "Overrides": [{ "Name": "api", "EnvoyClusterJSON": cluster.to_string() }] });
    let upstreams = json!([{ "destination_name": "api", "local_bind_port": 9001 }]);
    let config = json!({
        "services": [
            { "name": "web", "port": 80, "connect": { "sidecar_service": { "proxy": { "upstreams": upstreams } } } },
            { "name": "api", "port": 81, "connect": { "sidecar_service": {} } },
        ],
        "config_entries": { "bootstrap": [{ "Kind": "service-defaults", "Name": "web", "UpstreamConfig": overrides }] },
    });
    let config = write(directory.path(), "agent.json", &config.to_string());
    let report = directory.path().join("report.tgz").to_str().unwrap().to_owned();
    let agent = Running::start(&["agent", "-dev", "-config-file", &config]);
    agent.say(&["bug-report", "-o", &report]);

    let verified = meshgate(&["replay", "-verify", &report]).output().unwrap();

    let text = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].contains("/web-sidecar-proxy: cannot be compared") && lines[0].ends_with(" in service-defaults/web"),
        "{text}"
    );
    assert_eq!(lines[1..], ["1 of 1 proxies get the configuration that is noted; 1 cannot be compared"]);
}
