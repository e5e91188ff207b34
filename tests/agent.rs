//! `meshgate agent` as a process: files, signals, and what outlives it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

/// A running agent.
struct Agent {
    process: Child,
    http: String,
    /// Read to the end, so that the process never waits for us.
    log: std::thread::JoinHandle<Vec<String>>,
}

fn meshgate(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(line.split_whitespace());
    command
}

impl Agent {
    /// Starts an agent and returns when it is ready.
    fn start(line: &str) -> Self {
        let ports = "-http-port 0 -grpc-port 0 -log-json -node laptop";
        let mut process = meshgate(&format!("agent {ports} {line}")).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line).unwrap())
            .find(|event| event["message"] == "ready");
        let http = ready.expect("the agent ended before it was ready")["http"].as_str().unwrap().to_owned();
        Self { process, http, log: std::thread::spawn(move || lines.collect()) }
    }

    fn say(&self, line: &str) -> String {
        let output = meshgate(line).env("CONSUL_HTTP_ADDR", &self.http).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn wait(mut self) -> (ExitStatus, Vec<String>) {
        (self.process.wait().unwrap(), self.log.join().unwrap())
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

#[test]
fn services_and_entries_of_files_are_there_when_it_is_ready() {
    let directory = tempfile::tempdir().unwrap();
    let web = r#"
        service {
          name = "web"
          port = 8080
          connect { sidecar_service {} }
        }
    "#;
    let settings = r#"
        datacenter         = "east"
        hosted_datacenters = ["west"]
        config_entries {
          bootstrap = [{ kind = "service-defaults" name = "web" protocol = "http" }]
        }
    "#;
    write(directory.path(), "web.hcl", web);
    write(directory.path(), "agent.hcl", settings);

    let agent = Agent::start(&format!("-dev -config-dir {}", directory.path().display()));

    assert_eq!(agent.say("catalog services"), "web\nweb-sidecar-proxy\n");
    assert_eq!(agent.say("catalog services -datacenter west -node laptop"), "");
    assert_eq!(agent.say("catalog datacenters"), "east\nwest\n");
    assert_eq!(agent.say("config list -kind service-defaults"), "web\n");
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn what_was_registered_outlives_an_orderly_stop_and_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let line = format!("-data-dir {}", directory.path().join("data").display());

    let agent = Agent::start(&line);
    agent.say("services register -name web -port 8080");
    agent.signal("-INT");
    let (status, log) = agent.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.iter().any(|line| line.contains("SIGINT")), "{log:?}");

    let agent = Agent::start(&line);
    agent.say("services register -name api -port 8081");
    agent.signal("-KILL");
    assert_eq!(agent.wait().0.code(), None);

    let agent = Agent::start(&line);
    assert_eq!(agent.say("catalog services"), "api\nweb\n");
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}
