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
