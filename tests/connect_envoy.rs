//! `connect envoy` against a real control plane, and with a real Envoy where one is started.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use meshgate::app::App;
use meshgate::cli::envoy;
use meshgate::settings::{Inputs, Settings};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A control plane of two datacenters in this process.
struct Agent {
    runtime: Runtime,
    app: Option<App>,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Agent {
    fn start() -> Self {
        let flags = [("ports.http", "0"), ("ports.grpc", "0"), ("hosted_datacenters", "dc2")];
        let inputs = Inputs {
            flags: flags.map(|(key, text)| (key, text.to_owned())).into(),
            dev: true,
            host_name: Some("laptop".to_owned()),
            ..Inputs::default()
        };
        let settings = Settings::load(&inputs).unwrap();
        let runtime = Runtime::new().unwrap();
        let app = runtime.block_on(App::start(settings)).unwrap();
        Self { http: app.http, grpc: app.grpc.expect("xDS is served without TLS"), runtime, app: Some(app) }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("CONSUL_HTTP_ADDR", self.http.to_string()).args(line.split_whitespace());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command with JSON on its standard input.
    fn run_with(&self, line: &str, input: &Value) -> Output {
        let mut command = self.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, with JSON on its standard input.
    fn feed(&self, line: &str, input: &Value) -> String {
        succeeded(&self.run_with(line, input))
    }

    /// Runs a command that must succeed.
    fn say(&self, line: &str) -> String {
        succeeded(&self.run(line))
    }

    /// Runs a command that must be refused.
    fn refused(&self, line: &str) -> String {
        refusal(self.run(line))
    }

    /// What the API answers.
    fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.http);
        self.runtime.block_on(async { reqwest::get(url).await.unwrap().json().await.unwrap() })
    }

    fn bootstrap(&self, line: &str) -> Value {
        serde_json::from_str(&self.say(&format!("connect envoy -bootstrap {line}"))).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            self.runtime.block_on(app.stop());
        }
    }
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refusal(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn web() -> Value {
    json!({"services": [{
        "name": "web",
        "port": 8080,
        "connect": {"sidecar_service": {"proxy": {"config": {"envoy_prometheus_bind_addr": "127.0.0.1:9102"}}}},
    }]})
}

#[test]
fn a_sidecar_is_found_by_its_service() {
    let agent = Agent::start();
    assert_eq!(agent.feed("services register -", &web()), "Registered service: web\n");

    let document = agent.bootstrap("-sidecar-for web -admin-bind 127.0.0.1:19001");

    assert_eq!(
        document["node"],
        json!({
            "id": "web-sidecar-proxy",
            "cluster": "web",
            "metadata": {"datacenter": "dc1", "partition": "default", "namespace": "default", "node_name": "laptop"},
        })
    );
    let statics = &document["static_resources"];
    let server = &statics["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
    assert_eq!(server["socket_address"], json!({"address": "127.0.0.1", "port_value": agent.grpc.port()}));
    assert_eq!(statics["listeners"][0]["name"], "envoy_prometheus_metrics_listener");
    assert_eq!(document["admin"]["address"]["socket_address"]["port_value"], 19001);
    assert_eq!(document, agent.bootstrap("-proxy-id web-sidecar-proxy -admin-bind 127.0.0.1:19001"));
    assert_eq!(document, agent.bootstrap("-proxy-id web-sidecar-proxy -node-name laptop -admin-bind 127.0.0.1:19001"));
}

#[test]
fn options_of_every_proxy_apply_unless_they_are_not_wanted() {
    let agent = Agent::start();
    agent.feed("services register -", &web());
    let entry = json!({
        "kind": "proxy-defaults",
        "name": "global",
        "config": {"envoy_stats_tags": ["zone=eu-1"], "envoy_prometheus_bind_addr": "127.0.0.1:1"},
        "access_logs": {"enabled": true, "type": "stderr"},
    });
    assert_eq!(agent.feed("config write -", &entry), "Config entry written: proxy-defaults/global\n");

    let with = agent.bootstrap("-sidecar-for web");
    let without = agent.bootstrap("-sidecar-for web -no-central-config");

    assert_eq!(with["stats_config"]["stats_tags"][0], json!({"tag_name": "zone", "fixed_value": "eu-1"}));
    let port = &with["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"];
    assert_eq!(port, 9102);
    assert_eq!(with["admin"]["access_log"][0]["name"], "envoy.access_loggers.stderr");
    assert_eq!(without["stats_config"]["stats_tags"][0]["tag_name"], "consul.destination.custom_hash");
    assert_eq!(without["admin"]["access_log"][0]["name"], "envoy.access_loggers.file");
}

#[test]
fn a_gateway_registers_itself_where_it_is_told() {
    let agent = Agent::start();

    let document = agent.bootstrap(
        "-gateway mesh -register -service gw -address 127.0.0.2:8443 -wan-address 127.0.0.3:8443 -datacenter dc2",
    );

    assert_eq!(document["node"]["metadata"]["datacenter"], "dc2");
    assert_eq!((&document["node"]["id"], &document["node"]["cluster"]), (&json!("gw"), &json!("gw")));
    assert_eq!(agent.say("catalog services -datacenter dc2"), "gw\n");
    let path = "/v1/agent/service/gw?dc=dc2";
    let gateway = agent.get(path);
    assert_eq!(gateway["TaggedAddresses"]["lan"], json!({"Address": "127.0.0.2", "Port": 8443}));
    let check = &agent.get("/v1/agent/checks?dc=dc2")["service:gw"];
    assert_eq!(
        (&check["Definition"]["TCP"], &check["Definition"]["Interval"]),
        (&json!("127.0.0.2:8443"), &json!("10s"))
    );
    assert_eq!(agent.bootstrap("-gateway mesh -datacenter dc2"), document);
    // Each connection takes two files, and Envoy itself some.
    let files = getrlimit(Resource::Nofile).maximum;
    let most =
        &document["overload_manager"]["resource_monitors"][0]["typed_config"]["max_active_downstream_connections"];
    assert_eq!(*most, json!(files.map(|files| (files - 256) / 2)));
    let error = agent.refused("connect envoy -gateway mesh -bootstrap");
    assert!(error.contains("no mesh-gateway is registered with the agent: add -register"), "{error}");
}

#[test]
fn whoever_is_not_there_is_told_what_to_do() {
    let agent = Agent::start();
    agent.feed("services register -", &web());

    let cases = [
        ("-sidecar-for api", "no sidecar for \"api\" is registered with the agent"),
        ("-proxy-id api", "no proxy \"api\" is registered with the agent"),
        ("-proxy-id web", "\"web\" is an application and no proxy: use -sidecar-for web"),
        ("-proxy-id web -node-name elsewhere", "no proxy \"web\" is registered on node \"elsewhere\""),
        ("", "which proxy? Add -sidecar-for"),
        ("-sidecar-for web -grpc-addr https://127.0.0.1:8503", "say what to verify it with"),
    ];
    for (line, expected) in cases {
        let error = agent.refused(&format!("connect envoy -bootstrap {line}"));
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn entries_are_written_read_listed_and_deleted() {
    let agent = Agent::start();
    let entry = json!({"kind": "service-defaults", "name": "web", "protocol": "http"});

    assert_eq!(agent.feed("config write -cas -", &entry), "Config entry written: service-defaults/web\n");
    let error = refusal(agent.run_with("config write -cas -modify-index 1 -", &entry));
    assert!(error.contains("Config entry not updated: service-defaults/web"), "{error}");
    let read: Value = serde_json::from_str(&agent.say("config read -kind service-defaults -name web")).unwrap();
    assert_eq!((&read["Name"], &read["Protocol"]), (&json!("web"), &json!("http")));
    assert_eq!(agent.say("config list -kind service-defaults"), "web\n");
    assert_eq!(
        agent.say("config delete -kind service-defaults -name web"),
        "Config entry deleted: service-defaults/web\n"
    );
    assert_eq!(agent.say("config list -kind service-defaults"), "");
    let error = agent.refused("config read -kind service-defaults -name web");
    let expected = "Unexpected response code: 404 (Config entry not found for \"service-defaults\" / \"web\")";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn blocks_and_assignments_of_a_file_say_the_same() {
    let agent = Agent::start();
    let directory = tempfile::tempdir().unwrap();
    let entry = |name: &str, text: &str| -> Value {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        agent.say(&format!("config write {}", file.display()));
        let mut read = agent.get("/v1/config/service-resolver/web");
        for index in ["CreateIndex", "ModifyIndex"] {
            read.as_object_mut().unwrap().remove(index);
        }
        read
    };

    let blocks =
        entry("blocks.hcl", "Kind = \"service-resolver\"\nName = \"web\"\nRedirect {\n  Service = \"api\"\n}\n");
    let assigned =
        entry("assigned.hcl", "kind = \"service-resolver\"\nname = \"web\"\nredirect = { service = \"api\" }\n");

    assert_eq!(blocks["Redirect"], json!({"Service": "api"}));
    assert_eq!(blocks, assigned);
}

#[test]
fn services_go_as_they_came() {
    let agent = Agent::start();
    agent.say(
        "services register -name web -id web-1 -port 8080 -tag v1 -meta team=a -tagged-address wan=198.51.100.5:80",
    );

    assert_eq!(agent.say("catalog services -tags"), "web  v1\n");
    assert_eq!(agent.say("catalog services -node laptop"), "web\n");
    assert_eq!(agent.say("catalog datacenters"), "dc1\ndc2\n");
    assert_eq!(agent.say("services deregister -id web-1"), "Deregistered service: web-1\n");
    assert!(agent.refused("services deregister -id web-1").contains("Unexpected response code: 404 ("));
    assert_eq!(agent.say("catalog services"), "");
}

fn envoy() -> PathBuf {
    envoy::binary(envoy::DEFAULT_VERSION).unwrap_or_else(|error| panic!("this test needs a real Envoy: {error}"))
}

#[test]
fn the_process_becomes_an_envoy_that_has_read_its_bootstrap() {
    let agent = Agent::start();
    agent.feed("services register -", &web());

    let output = agent
        .command("connect envoy -sidecar-for web -admin-bind 127.0.0.1:0 -envoy-binary")
        .arg(envoy())
        .args(["--", "--mode", "validate"])
        .output()
        .unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("configuration '/dev/fd/0' OK"));
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not come true");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(unix)]
#[test]
fn an_envoy_takes_its_leave_before_it_ends() {
    use rustix::process::{Pid, Signal, kill_process};

    let agent = Agent::start();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    // Held until Envoy is started, so that no other test takes them.
    let free = [0; 2].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [admin, upstream] = [port(&free[0]), port(&free[1])];
    let proxy = json!({ "upstreams": [{ "destination_name": "api", "local_bind_port": upstream }] });
    agent.feed(
        "services register -",
        &json!({ "services": [{
        "name": "web", "port": 8080, "connect": { "sidecar_service": { "proxy": proxy, "port": 0 } },
    }] }),
    );
    let api = json!({ "kind": "service-defaults", "name": "api", "protocol": "http" });
    agent.feed("config write -", &api);
    let in_maintenance = || agent.get("/v1/agent/checks")["_service_maintenance:web-sidecar-proxy"].is_object();
    drop(free);
    let start = |drain: &str| {
        let mut child = agent
            .command(&format!(
                "envoy run -sidecar-for web -admin-bind 127.0.0.1:{admin} -drain-time {drain} -envoy-binary"
            ))
            .arg(envoy())
            .args(["--", "--log-level", "error", "--concurrency", "1"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = std::io::read_to_string;
        let told = child.stderr.take().unwrap();
        let told = std::thread::spawn(move || text(told).unwrap());
        (child, told)
    };
    let connect = || std::net::TcpStream::connect(("127.0.0.1", upstream));
    let end = |child: &std::process::Child| {
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    };

    // Somebody stays connected: the time has to pass.
    let (mut child, told) = start("2s");
    until("the listener of the upstream", || connect().is_ok());
    let connected = connect().unwrap();
    end(&child);
    until("maintenance", in_maintenance);
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let told = told.join().unwrap();
    assert!(told.contains("everybody who dials it knows") && told.contains("1 connections are cut"), "{told}");
    drop(connected);

    // The next run finds its mark, and nobody is connected in the end.
    let (mut child, told) = start("60s");
    until("the end of maintenance", || !in_maintenance());
    until("the listener of the upstream", || connect().is_ok());
    end(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(told.join().unwrap().contains("nobody is connected any more"));

    // What an operator put there stays there, whoever ends; and an Envoy that ends by itself is told of.
    agent.say("maint -enable -service web-sidecar-proxy -reason broken");
    let reason = || agent.get("/v1/agent/checks")["_service_maintenance:web-sidecar-proxy"]["Notes"].clone();
    let (mut child, _) = start("1s");
    until("the listener of the upstream", || connect().is_ok());
    end(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (child, _) = start("1s");
    until("the listener of the upstream", || connect().is_ok());
    assert_eq!(reason(), "broken");
    let quit = format!("http://127.0.0.1:{admin}/quitquitquit");
    agent.runtime.block_on(async { reqwest::Client::new().post(quit).send().await }).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn an_envoy_of_another_minor_is_not_started_unless_that_is_wanted() {
    use std::os::unix::fs::PermissionsExt;

    let agent = Agent::start();
    agent.feed("services register -", &web());
    let directory = tempfile::tempdir().unwrap();
    let fake = directory.path().join("envoy");
    let script = "#!/bin/sh\ncase \"$1\" in --version) echo \"envoy  version: 0/1.20.1/Clean/RELEASE/BoringSSL\";; \
                  *) echo \"started $*\"; cat;; esac\n";
    std::fs::write(&fake, script).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let line = format!("connect envoy -sidecar-for web -envoy-binary {}", fake.display());

    let error = agent.refused(&line);
    assert!(error.contains("is Envoy 1.20.1, and the control plane supports 1.40, "), "{error}");

    let output = agent.say(&format!("{line} -ignore-envoy-compatibility -- -l debug"));
    let (first, document) = output.split_once('\n').unwrap();
    assert_eq!(first, "started --config-path /dev/fd/0 --disable-hot-restart -l debug");
    assert_eq!(serde_json::from_str::<Value>(document).unwrap()["node"]["id"], "web-sidecar-proxy");
}
