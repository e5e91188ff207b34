//! The forms in which commands tell their results, asked of a running agent.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/agent.rs"]
mod agent;

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use agent::{Agent, meshgate};
use serde_json::Value;

/// An agent that has a service with a sidecar, and a config entry.
fn agent() -> Agent {
    let agent = Agent::start("-dev");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let service = write("web.json", r#"{"Service": {"Name": "web", "Port": 80, "Connect": {"SidecarService": {}}}}"#);
    agent.say(&format!("services register {service}"));
    let entry = write("api.json", r#"{"Kind": "service-resolver", "Name": "api", "ConnectTimeout": "7s"}"#);
    agent.say(&format!("config write {entry}"));
    agent
}

fn text(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

/// Commands that ask, and what stands in each form of their answers.
const VIEWS: [&str; 12] = [
    "status",
    "check",
    "ps -all",
    "history",
    "history web-sidecar-proxy",
    "gateway ls",
    "cert ls",
    "sni ls",
    "topology",
    "lint",
    "explain mode web-sidecar-proxy",
    "explain intention web api",
];

#[test]
fn every_view_is_told_in_every_form_and_explains_its_call() {
    let agent = agent();
    for view in VIEWS {
        let ask = |more: &str| text(&agent.run(&format!("{view} {more}")));
        let (table, _, code) = ask("");
        let (json, stderr, of_json) = ask("-o json");
        let value: Value =
            serde_json::from_str(&json).unwrap_or_else(|error| panic!("{view}: {error}: {json}{stderr}"));
        assert!(value.is_object() || value.is_array(), "{view}: {json}");
        let (yaml, _, of_yaml) = ask("-output=yaml");
        assert!(!yaml.starts_with('{') && !yaml.is_empty(), "{view}: {yaml}");
        let (short, _, of_short) = ask("-o short");
        assert!(short.lines().count() <= table.lines().count(), "{view}: {short}");
        let (wide, _, of_wide) = ask("-o wide");
        assert!(wide.len() >= table.len(), "{view}: {wide}");
        assert_eq!([of_json, of_yaml, of_short, of_wide], [code; 4], "{view}");
        // The call is told beside the answer, and can be made as it is told.
        let (told, calls, _) = ask("-o json -explain-api");
        let path = calls
            .split('\'')
            .nth(1)
            .and_then(|url| url.split_once("/v1/"))
            .unwrap_or_else(|| panic!("{view}: {calls}"));
        assert!(calls.starts_with("curl 'http://"), "{view}: {calls}");
        let again: Value = serde_json::from_str(&agent.get(&format!("/v1/{}", path.1))).unwrap();
        assert!(serde_json::from_str::<Value>(&told).is_ok() && (again.is_object() || again.is_array()), "{view}");
    }
    assert_eq!(text(&agent.run("ps -all -o short")).0, "web-sidecar-proxy\n");
    assert_eq!(text(&agent.run("proxies -all -search api")).0.lines().count(), 1);
    assert!(text(&agent.run("ps -sync lost")).1.contains("expected synced"), "what is asked is judged");
}

#[test]
fn what_would_change_something_is_explained_and_not_done() {
    let agent = agent();
    let before = agent.get("/v1/config/service-resolver");

    for line in
        ["config delete -kind service-resolver -name api", "apply -delete service-resolver/api", "cert rotate -all"]
    {
        let (_, told, code) = text(&agent.run(&format!("{line} -explain-api")));
        assert_eq!(code, 0, "{line}: {told}");
        assert!(
            told.contains("curl -X ") && told.ends_with("nothing was changed: leave -explain-api out to do it\n"),
            "{told}"
        );
    }

    assert_eq!(agent.get("/v1/config/service-resolver"), before);
}

#[test]
fn a_watched_view_is_written_again_when_it_changes() {
    let agent = agent();
    let mut watching = meshgate("ps -all -o short -watch=100ms")
        .env("CONSUL_HTTP_ADDR", &agent.http)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok);

    let first = lines.next();
    // Nothing that the view shows changes, and then something.
    agent.say("config delete -kind service-resolver -name api");
    let directory = tempfile::tempdir().unwrap();
    let service = directory.path().join("api.json");
    std::fs::write(&service, r#"{"Service": {"Name": "api", "Connect": {"SidecarService": {}}}}"#).unwrap();
    agent.say(&format!("services register {}", service.display()));
    let then: Vec<_> = lines.by_ref().take(2).collect();
    watching.kill().unwrap();
    watching.wait().unwrap();

    assert_eq!(first.as_deref(), Some("web-sidecar-proxy"));
    assert_eq!(then, ["api-sidecar-proxy", "web-sidecar-proxy"]);
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    let agent = agent();
    let forced = |line: &str, no_color: &str| {
        let mut command = meshgate(line);
        command.env("CONSUL_HTTP_ADDR", &agent.http).env("CLICOLOR_FORCE", "1");
        if !no_color.is_empty() {
            command.env("NO_COLOR", no_color).env_remove("CLICOLOR_FORCE");
        }
        text(&command.output().unwrap()).0
    };

    assert!(forced("check", "").contains('\u{1b}'));
    assert!(!forced("check", "1").contains('\u{1b}'));
    assert!(!forced("check -no-color", "").contains('\u{1b}'));
}

#[test]
fn a_machine_is_looked_at_before_there_is_an_agent() {
    // Some of it may be wrong here, and all of it is told.
    let output = meshgate("check -pre -o json").output().unwrap();
    let (json, stderr, code) = text(&output);
    let list: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let ids: Vec<_> = list["Checks"].as_array().unwrap().iter().map(|check| check["ID"].as_str().unwrap()).collect();

    assert_eq!(ids, ["MG-SRV-002", "MG-SRV-003", "MG-ENVOY-002", "MG-ENVOY-003"]);
    assert_eq!(list["Ok"] == true, code == 0);
    assert_eq!(text(&meshgate("check -pre -only MG-GW-001").output().unwrap()).2, 3);
}

#[test]
fn status_waits_until_all_is_well() {
    let agent = agent();

    let (told, _, code) = text(&agent.run("status -wait -timeout 5s -o short"));

    assert_eq!(code, 0, "{told}");
    assert!(told.contains("all good"), "{told}");
}
