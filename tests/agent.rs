//! `meshgate agent` as a process: files, signals, and what outlives it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/agent.rs"]
mod agent;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::{Agent, meshgate};
use serde_json::{Value, json};

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
fn a_new_data_directory_gets_the_certificate_authority_that_files_ask_for() {
    let directory = tempfile::tempdir().unwrap();
    let config = |bits: u32| {
        format!(
            "connect {{\n ca_config {{\n leaf_cert_ttl = \"24h\"\n private_key_bits = {bits}\n \
             cluster_id = \"11111111-2222-3333-4444-555555555555\"\n}}\n}}\n"
        )
    };
    let line = format!("-data-dir {0} -config-file {0}/agent.hcl", directory.path().display());
    let read = |agent: &Agent, path: &str| serde_json::from_str::<Value>(&agent.get(path)).unwrap();

    write(directory.path(), "agent.hcl", &config(384));
    let agent = Agent::start(&line);
    let roots = read(&agent, "/v1/connect/ca/roots");
    assert_eq!(roots["TrustDomain"], "11111111-2222-3333-4444-555555555555.consul");
    assert_eq!(roots["Roots"][0]["PrivateKeyBits"], 384);
    let shown = read(&agent, "/v1/connect/ca/configuration");
    assert_eq!((&shown["Config"]["LeafCertTTL"], &shown["Config"]["PrivateKeyBits"]), (&json!("24h"), &json!(384)));
    agent.signal("-TERM");
    agent.wait();

    // What is there stays, whatever the file says now.
    write(directory.path(), "agent.hcl", &config(256));
    let agent = Agent::start(&line);
    assert_eq!(read(&agent, "/v1/connect/ca/roots")["ActiveRootID"], roots["ActiveRootID"]);
    assert_eq!(read(&agent, "/v1/connect/ca/configuration"), shown);
    agent.signal("-TERM");
    agent.wait();
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

#[test]
fn a_reload_takes_over_what_files_hold_now_and_keeps_what_came_by_http() {
    let directory = tempfile::tempdir().unwrap();
    let service = |name: &str, sidecar: &str| format!("service {{\n name = {name:?}\n port = 80\n {sidecar}\n}}");
    let sidecar = "connect {\n sidecar_service {}\n }";
    write(directory.path(), "web.hcl", &service("web", sidecar));
    write(directory.path(), "old.hcl", &service("old", sidecar));
    write(directory.path(), "node.hcl", "node_meta { rack = \"1\" }");
    let agent = Agent::start(&format!("-dev -config-dir {}", directory.path().display()));
    agent.say("services register -name by-hand -port 8081");
    let until = |expected: &str| {
        let started = Instant::now();
        while agent.say("catalog services") != expected {
            assert!(started.elapsed() < Duration::from_secs(20), "{}", agent.say("catalog services"));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until("by-hand\nold\nold-sidecar-proxy\nweb\nweb-sidecar-proxy\n");

    write(directory.path(), "web.hcl", &service("web", ""));
    write(directory.path(), "new.hcl", &service("new", ""));
    write(directory.path(), "node.hcl", "node_meta { rack = \"2\" }");
    std::fs::remove_file(directory.path().join("old.hcl")).unwrap();
    agent.signal("-HUP");
    until("by-hand\nnew\nweb\n");
    // Nodes that are made from now on say so too.
    agent.say("services register -name by-hand -partition team");
    for place in ["", "-partition team"] {
        let nodes = agent.say(&format!("catalog nodes -detailed {place}"));
        assert!(nodes.contains("rack=2") && !nodes.contains("rack=1"), "{nodes}");
    }

    write(directory.path(), "new.hcl", "service { colour = 1 }");
    let refused = meshgate("reload").env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("new.hcl:1") && text.contains("colour"), "{text}");
    until("by-hand\nnew\nweb\n");

    std::fs::remove_file(directory.path().join("new.hcl")).unwrap();
    assert_eq!(agent.say("reload"), "Configuration reload triggered\n");
    until("by-hand\nweb\n");
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn entries_of_files_leave_those_that_exist_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let entry = |protocol: &str| {
        format!(
            "config_entries {{\n bootstrap {{ kind = \"service-defaults\" name = \"web\" protocol = {protocol:?} }}\n}}"
        )
    };
    write(directory.path(), "agent.hcl", &entry("http"));
    let agent = Agent::start(&format!("-dev -config-dir {}", directory.path().display()));
    let protocol = || {
        let read: Value = serde_json::from_str(&agent.say("config read -kind service-defaults -name web")).unwrap();
        read["Protocol"].as_str().unwrap().to_owned()
    };
    assert_eq!(protocol(), "http");

    write(directory.path(), "agent.hcl", &entry("grpc"));
    agent.say("reload");

    assert_eq!(protocol(), "http");
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn an_agent_that_is_asked_to_leave_stops_in_good_order() {
    let agent = Agent::start("-dev");

    assert_eq!(agent.say("join 127.0.0.1"), "Successfully joined cluster by contacting 1 nodes.\n");
    assert_eq!(ends(&agent, "join 192.0.2.1"), (1, String::new()));
    assert_eq!(agent.say("force-leave laptop"), "");
    assert_eq!(ends(&agent, "force-leave ghost"), (1, String::new()));
    assert_eq!(agent.say("leave"), "Graceful leave complete\n");

    let (status, log) = agent.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.iter().any(|line| line.contains("store closed")), "{log:?}");
}

#[test]
fn what_a_file_lost_while_the_agent_was_stopped_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    write(&files, "web.hcl", "service {\n name = \"web\"\n check {\n ttl = \"1h\"\n }\n}");
    write(&files, "api.hcl", "service {\n name = \"api\"\n}");
    let line = format!("-data-dir {} -config-dir {}", directory.path().join("data").display(), files.display());

    let agent = Agent::start(&line);
    assert_eq!(agent.say("catalog services"), "api\nweb\n");
    agent.signal("-TERM");
    agent.wait();
    std::fs::remove_file(files.join("api.hcl")).unwrap();

    let agent = Agent::start(&line);
    assert_eq!(agent.say("catalog services"), "web\n");
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

/// Registers services with their sidecars, and writes an entry for each, one after the other until nobody answers. Notes
/// what was acknowledged.
async fn write_until_the_end(http: String, writer: String, acknowledged: Arc<Mutex<BTreeSet<String>>>) {
    let client = reqwest::Client::new();
    let put = async |path: &str, body: Value| {
        let answer = client.put(format!("http://{http}{path}")).json(&body).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    for number in 0.. {
        let name = format!("{writer}-{number}");
        let service = json!({"Name": name, "Port": 80, "Connect": {"SidecarService": {"Port": 20_000}}});
        if !put("/v1/agent/service/register", service).await {
            return;
        }
        acknowledged.lock().unwrap().extend([name.clone(), format!("{name}-sidecar-proxy")]);
        if !put("/v1/config", json!({"Kind": "service-defaults", "Name": name, "Protocol": "http"})).await {
            return;
        }
        acknowledged.lock().unwrap().insert(format!("entry {name}"));
    }
}

/// What an agent has, in the same words.
fn everything_of(agent: &Agent) -> BTreeSet<String> {
    let services = agent.say("catalog services");
    let entries = agent.say("config list -kind service-defaults");
    services.lines().map(str::to_owned).chain(entries.lines().map(|name| format!("entry {name}"))).collect()
}

#[test]
fn no_acknowledged_write_is_lost_and_no_other_half_done_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let line = format!("-data-dir {}", directory.path().join("data").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..6 {
        let agent = Agent::start(&line);
        let before = acknowledged.lock().unwrap().len();
        for writer in 0..4 {
            let name = format!("service-{round}-{writer}");
            runtime.spawn(write_until_the_end(agent.http.clone(), name, acknowledged.clone()));
        }
        let started = Instant::now();
        while acknowledged.lock().unwrap().len() < before + 10 + 7 * round {
            assert!(started.elapsed() < Duration::from_secs(20), "writes are not answered");
            std::thread::sleep(Duration::from_millis(1));
        }
        agent.signal("-KILL");
        assert_eq!(agent.wait().0.code(), None);
    }

    let agent = Agent::start(&line);
    let found = everything_of(&agent);
    let acknowledged = acknowledged.lock().unwrap();
    let lost: Vec<&String> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // A service and its sidecar come with one write.
    let services = found.iter().filter(|name| !name.starts_with("entry ") && !name.ends_with("-sidecar-proxy"));
    let sidecars = found.iter().filter(|name| name.ends_with("-sidecar-proxy"));
    let alone = services.clone().find(|name| !found.contains(&format!("{name}-sidecar-proxy")));
    assert_eq!((alone, services.count()), (None, sidecars.count()));
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn operators_see_members_facts_and_maintenance() {
    let agent = Agent::start("-dev -hosted-datacenter dc2");
    agent.say("services register -name web -port 8080");

    let members = agent.say("members");
    let lines: Vec<Vec<&str>> = members.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"]);
    assert_eq!(lines[1], ["laptop", &*agent.http, "alive", "server", "0.1.0", "2", "dc1", "default", "<all>"]);
    assert_eq!(agent.say("members -wan -detailed").lines().count(), 3);
    assert!(agent.say("members -filter=Name==laptop -status ^alive$").contains("laptop"));
    let none = meshgate("members -status failed").env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
    assert_eq!((none.status.code(), none.stdout.len()), (Some(2), 0));
    let info = agent.say("info");
    assert!(info.starts_with("agent:\n\tchecks = 0\n\tservices = 1\n"), "{info}");

    assert_eq!(agent.say("maint"), "");
    assert_eq!(agent.say("maint -enable -reason broken"), "Node maintenance is now enabled\n");
    assert_eq!(agent.say("maint -enable -service web"), "Service maintenance is now enabled for \"web\"\n");
    let list = agent.say("maint");
    assert!(list.contains("Node:\n  Name:   laptop\n  Reason: broken\n"), "{list}");
    assert!(list.contains("Service:\n  ID:     web\n  Reason: "), "{list}");
    assert_eq!(agent.say("maint -disable"), "Node maintenance is now disabled\n");
    for wrong in ["maint -enable -disable", "maint -reason x", "maint -service web", "maint -enable -service ghost"] {
        let refused = meshgate(wrong).env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{wrong}");
    }
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn services_are_exported_by_command() {
    let agent = Agent::start("-dev");

    assert_eq!(agent.say("services exported-services"), "No exported services found\n");
    assert_eq!(agent.say("services imported-services"), "No imported services found\n");
    let done = agent.say("services export -name web -consumer-peers west,east");
    assert_eq!(done, "Successfully exported service \"web\" to cluster peers west, east\n");
    assert_eq!(agent.say("services exported-services"), "Service  Consumer Peers\nweb      east, west\n");
    let done = agent.say("services export -name db -consumer-peers west -consumer-partitions team-a");
    assert_eq!(done, "Successfully exported service \"db\" to cluster peers west and partitions team-a\n");
    let table = agent.say("services exported-services -filter=Service==db");
    assert_eq!(table, "Service  Consumer Peers  Consumer Partitions\ndb       west            team-a\n");
    let json = agent.say("services exported-services -format json -filter=Service==web");
    let expected = serde_json::json!([{ "Service": "web", "Consumers": { "Peers": ["east", "west"] } }]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
    let imported = agent.say("services imported-services -partition team-a");
    assert_eq!(imported, "Service  Source Peer  Source Partition\ndb                    default\n");
    let refused = meshgate("services export -name web").env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn services_are_put_behind_ingress_gateways_by_command() {
    let agent = Agent::start("-dev");
    let read = |path: &str| serde_json::from_str::<Value>(&agent.get(path)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "web.hcl", "Kind = \"service-defaults\"\nName = \"web\"\nProtocol = \"http\"\n");
    agent.say(&format!("config write {}/web.hcl", directory.path().display()));

    let done =
        agent.say("connect expose -service web -ingress-gateway front -port 8080 -protocol http -host web.example");
    assert_eq!(
        done,
        "Service \"web\" is behind port 8080 of ingress gateway \"front\"\nIntention created: front => web (allow)\n"
    );
    let done = agent.say("connect expose -service db -ingress-gateway front -port 9000");
    assert!(done.ends_with("Intention created: front => db (allow)\n"), "{done}");
    // What is there already stays, and what somebody denied stays denied.
    agent.say("intention create -replace -deny front web");
    let done =
        agent.say("connect expose -service web -ingress-gateway front -port 8080 -protocol http -host www.example");
    assert!(done.ends_with("Intention exists already: front => web (deny)\n"), "{done}");

    let entry = read("/v1/config/ingress-gateway/front");
    let listeners = json!([
        { "Port": 8080, "Protocol": "http", "Services": [{ "Name": "web", "Hosts": ["web.example", "www.example"] }] },
        { "Port": 9000, "Protocol": "tcp", "Services": [{ "Name": "db" }] },
    ]);
    assert_eq!(entry["Listeners"], listeners);
    let bound = read("/v1/catalog/gateway-services/front");
    let bound: BTreeSet<_> = bound
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["Service"]["Name"].clone().to_string(), row["Port"].to_string()))
        .collect();
    assert_eq!(bound, [("\"db\"", "9000"), ("\"web\"", "8080")].map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    let allowed = |source: &str, destination: &str| {
        read(&format!("/v1/connect/intentions/check?source={source}&destination={destination}"))["Allowed"].clone()
    };
    assert_eq!((allowed("front", "db"), allowed("front", "web")), (json!(true), json!(false)));

    let refused = agent.run("connect expose -service db -ingress-gateway front -port 8080");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("port 8080 of the gateway speaks http, not tcp"));
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn the_log_can_be_watched_at_another_level_than_it_is_written_in() {
    let agent = Agent::start("-dev");
    let mut watching = meshgate("monitor -log-level debug");
    watching.env("CONSUL_HTTP_ADDR", &agent.http);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok);

    // The call that starts it is answered, and that is the first thing it hears of.
    let line = lines.next().unwrap();
    agent.signal("-TERM");
    let (status, _) = agent.wait();
    let rest: Vec<_> = lines.collect();

    assert!(line.contains("[DEBUG] meshgate::api"), "{line}");
    assert!(rest.iter().any(|line| line.contains("[INFO]")), "{rest:?}");
    assert_eq!((status.code(), watching.wait().unwrap().code()), (Some(0), Some(0)));
}

#[test]
fn a_saved_state_is_that_of_a_new_agent_after_it_was_restored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup.snap");
    let file = path.display();
    let roots = |agent: &Agent| -> Value {
        let url = format!("http://{}/v1/connect/ca/roots", agent.http);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let roots = runtime.block_on(async {
            let started = Instant::now();
            loop {
                match reqwest::get(&url).await {
                    Ok(answer) => break answer.json::<Value>().await.unwrap(),
                    Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
                }
            }
        });
        json!([roots["TrustDomain"], roots["ActiveRootID"]])
    };

    let old = Agent::start("-dev -datacenter east");
    old.say("services register -name web -port 8080");
    let saved = old.say(&format!("snapshot save {file}"));
    assert!(saved.starts_with("Saved and verified snapshot to index "), "{saved}");
    old.say(&format!("snapshot save -append-filename version,dc,node,status {file}"));
    assert!(directory.path().join("backup-0.1.0-east-laptop-leader.snap").exists());
    let inspected = old.say(&format!("snapshot inspect {file}"));
    assert!(inspected.contains("\nServices"), "{inspected}");
    let inspected: Value = serde_json::from_str(&old.say(&format!("snapshot inspect -format json {file}"))).unwrap();
    let services = inspected["Stats"].as_array().unwrap().iter().find(|table| table["Name"] == "Services").unwrap();
    assert_eq!(services["Count"], 1);
    let expected = roots(&old);
    old.signal("-KILL");
    old.wait();

    let files = tempfile::tempdir().unwrap();
    write(files.path(), "local.hcl", "service { name = \"before\" port = 1 }");
    let new = Agent::start(&format!("-dev -datacenter east -config-dir {}", files.path().display()));
    // What files held before the last reload does not come back.
    write(files.path(), "local.hcl", "service { name = \"after\" port = 1 }");
    new.say("reload");
    new.say("services register -name later -port 8081");
    let own = roots(&new);
    assert_eq!(new.say(&format!("snapshot restore {file}")), "Restored snapshot\n");
    let started = Instant::now();
    while roots(&new) != expected {
        assert!(started.elapsed() < Duration::from_secs(20), "{own} is not {expected}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(new.say("catalog services"), "after\nweb\n");
    std::fs::write(&path, "no archive").unwrap();
    let refused = meshgate(&format!("snapshot restore {file}")).env("CONSUL_HTTP_ADDR", &new.http).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    new.signal("-TERM");
    let (status, log) = new.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.iter().any(|line| line.contains("another trust domain")), "{log:?}");
}

#[test]
fn a_command_is_run_whenever_what_it_watches_changes() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let agent = Agent::start("-dev");
    assert_eq!(agent.say("watch -type services"), "{}\n");

    let mut watching = Command::new(env!("CARGO_BIN_EXE_meshgate"));
    watching.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    watching.env("CONSUL_HTTP_ADDR", &agent.http).args(["watch", "-type", "services"]);
    let mut watching = watching.arg(format!("cat >> {}", seen.display())).spawn().unwrap();
    let until = |expected: &str| {
        let started = Instant::now();
        while std::fs::read_to_string(&seen).unwrap_or_default() != expected {
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", std::fs::read_to_string(&seen));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until("{}\n");
    agent.say("services register -name web -port 8080");
    until("{}\n{\"web\":[]}\n");
    watching.kill().unwrap();
    watching.wait().unwrap();

    for wrong in ["watch", "watch -type potatoes", "watch -type service", "watch -type checks -service a -state any"] {
        let refused = meshgate(wrong).env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{wrong}");
    }
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

/// What a command that may fail ends with: its exit code, and what it says on standard output.
fn ends(agent: &Agent, line: &str) -> (i32, String) {
    let output = meshgate(line).env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn operators_say_and_ask_who_may_call_whom() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("intention.hcl");
    let text = r#"
        SourceName      = "shop"
        DestinationName = "db"
        Permissions     = [{ Action = "allow", HTTP { PathPrefix = "/" } }]
    "#;
    write(directory.path(), "intention.hcl", text);
    let agent = Agent::start("-dev");

    assert_eq!(ends(&agent, "intention list"), (2, String::new()));
    assert_eq!(ends(&agent, "intention match db"), (2, String::new()));
    assert_eq!(agent.say("intention create web db"), "Created: web => db (allow)\n");
    assert_eq!(ends(&agent, "intention create -deny web db"), (1, String::new()));
    let replaced = agent.say("intention create -deny -replace -meta owner=us web db");
    assert_eq!(replaced, "Created: web => db (deny)\n");
    assert_eq!(agent.say("intention create -allow blue/api db"), "Created: blue/api => db (allow)\n");
    assert_eq!(
        agent.say(&format!("intention create -file {}", file.display())),
        "Created: shop => db (1 permission)\n"
    );
    assert_eq!(ends(&agent, "intention create web"), (1, String::new()));

    assert_eq!(ends(&agent, "intention check web db"), (1, "Denied\n".to_owned()));
    assert_eq!(ends(&agent, "intention check blue/api db"), (0, "Allowed\n".to_owned()));
    assert_eq!(ends(&agent, "intention check a/b/c/d db"), (2, String::new()));
    let to = "blue/api => db (allow)\nshop => db (1 permission)\nweb => db (deny)\n";
    assert_eq!(agent.say("intention match db"), to);
    assert_eq!(agent.say("intention match -source web"), "web => db (deny)\n");

    let list = agent.say("intention list");
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "Source", "Action", "Destination", "Precedence"]);
    let web = rows.iter().find(|row| row.contains(&"web")).unwrap();
    assert_eq!(web[1..], ["web", "deny", "db", "9"]);
    assert_eq!(agent.say("intention list -filter SourceName==web").lines().count(), 2);
    let facts = agent.say(&format!("intention get {}", web[0]));
    assert_eq!(agent.say("intention get web db"), facts);
    assert!(facts.starts_with("Source:       web\nDestination:  db\nAction:       deny\n"), "{facts}");
    assert!(facts.contains("Meta[owner]:  us\n"), "{facts}");

    assert_eq!(agent.say(&format!("intention delete {}", web[0])), "Intention deleted.\n");
    assert_eq!(ends(&agent, &format!("intention delete {}", web[0])), (1, String::new()));
    assert_eq!(agent.say("intention delete blue/api db"), "Intention deleted.\n");
    assert_eq!(ends(&agent, "intention get blue/api db"), (1, String::new()));
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn operators_configure_the_ca_and_make_tenants() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "ca.json", r#"{"Provider": "consul", "Config": {"LeafCertTTL": "24h"}}"#);
    write(directory.path(), "bad.json", r#"{"Provider": "vault", "Config": {}}"#);
    write(directory.path(), "blue.hcl", "Name = \"blue\"\nDescription = \"from a file\"\nMeta { owner = \"us\" }\n");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let agent = Agent::start("-dev");

    let line = format!("connect ca set-config -force-without-cross-signing -config-file {}", path("ca.json"));
    assert_eq!(agent.say(&line), "Configuration updated!\n");
    let config: Value = serde_json::from_str(&agent.say("connect ca get-config")).unwrap();
    let settings = (&config["Config"]["LeafCertTTL"], &config["ForceWithoutCrossSigning"]);
    assert_eq!(settings, (&json!("24h"), &json!(true)));
    let refused = ends(&agent, &format!("connect ca set-config -config-file {}", path("bad.json")));
    assert_eq!(refused, (1, String::new()));

    let made = agent.say("partition create -name team -description ours");
    assert_eq!(made, "Name:         team\nDescription:  ours\n");
    assert_eq!(
        agent.say("partition update -name team -description theirs"),
        "Name:         team\nDescription:  theirs\n"
    );
    assert_eq!(ends(&agent, "partition update -name ghost"), (1, String::new()));
    let list = agent.say("partition list");
    assert_eq!(list.lines().last(), Some("team     theirs"), "{list}");
    let read: Value = serde_json::from_str(&agent.say("partition read -format json team")).unwrap();
    assert_eq!(read["Description"], "theirs");

    let made = agent.say(&format!("namespace write -partition team {}", path("blue.hcl")));
    assert!(made.contains("Partition:    team\n") && made.contains("Meta[owner]:  us\n"), "{made}");
    let changed = agent.say("namespace update -partition team -name blue -meta owner=them");
    assert!(changed.contains("Description:  from a file\n") && changed.contains("Meta[owner]:  them\n"), "{changed}");
    let made = agent.say("namespace create -name green -default-policy-name read -default-role-id r1");
    assert_eq!(made.lines().next(), Some("Name:  green"));
    let acls = r#"ACLs:  {"PolicyDefaults":[{"Name":"read"}],"RoleDefaults":[{"ID":"r1"}]}"#;
    assert!(made.contains(acls), "{made}");
    let added = agent.say("namespace update -name green -default-policy-name read -default-policy-name write");
    assert!(added.contains(r#"[{"Name":"read"},{"Name":"write"}]"#), "{added}");
    let replaced = agent.say("namespace update -no-merge -name green -description other");
    assert!(!replaced.contains("ACLs:"), "{replaced}");
    assert_eq!(ends(&agent, "partition create -name p -default-role-name r"), (1, String::new()));
    assert_eq!(agent.say("namespace delete green"), "Namespace deleted: green\n");
    assert_eq!(ends(&agent, "namespace read green"), (1, String::new()));
    assert_eq!(agent.say("partition delete team"), "Partition deleted: team\n");
    assert_eq!(ends(&agent, "partition read team"), (1, String::new()));
    assert_eq!(ends(&agent, "partition delete default"), (1, String::new()));
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn checks_of_files_come_and_go_with_their_files() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "web.hcl", "service {\n name = \"web\"\n}");
    let checks = r#"
        check {
          id   = "disk"
          name = "Disk"
          ttl  = "1h"
        }
        checks = [{ id = "up", name = "Up", service_id = "web", tcp = "127.0.0.1:1", interval = "1h" }]
    "#;
    write(directory.path(), "checks.hcl", checks);
    let agent = Agent::start(&format!("-dev -config-dir {}", directory.path().display()));
    let seen = || -> Vec<(String, String)> {
        let rows: Value = serde_json::from_str(&agent.say("watch -type checks")).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(|row| (text(&row["CheckID"]), text(&row["ServiceName"]))).collect()
    };
    let pair = |check: &str, service: &str| (check.to_owned(), service.to_owned());

    assert_eq!(seen(), [pair("disk", ""), pair("up", "web")]);
    write(directory.path(), "checks.hcl", "check {\n name = \"Memory\"\n ttl = \"1h\"\n}");
    agent.say("reload");
    assert_eq!(seen(), [pair("Memory", "")]);
    write(directory.path(), "checks.hcl", "check {\n name = \"x\"\n ttl = \"1h\"\n service_id = \"ghost\"\n}");
    let refused = meshgate("reload").env("CONSUL_HTTP_ADDR", &agent.http).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("ghost"), "{text}");
    assert_eq!(seen(), [pair("Memory", "")]);
    agent.signal("-TERM");
    assert_eq!(agent.wait().0.code(), Some(0));
}

#[test]
fn a_damaged_store_stops_the_start_and_what_is_left_can_be_saved_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("rescued.snap"));
    let (data, file) = (data.display(), file.display());
    let old = Agent::start(&format!("-data-dir {data}"));
    for name in ["whole", "broken"] {
        old.say(&format!("services register -name {name} -port 80"));
    }
    let running = meshgate(&format!("snapshot save -from-data-dir {data} {file}")).output().unwrap();
    assert!(String::from_utf8_lossy(&running.stderr).contains("is in use"), "{running:?}");
    old.signal("-TERM");
    assert!(old.wait().0.success());
    let store = format!("{data}/meshgate.redb");
    let mut bytes = std::fs::read(&store).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"\"Service\":\"broken\"")).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at + 13] = b'B');
    std::fs::write(&store, &bytes).unwrap();

    let started = meshgate(&format!("agent -http-port 0 -grpc-port 0 -data-dir {data}")).output().unwrap();
    let told = String::from_utf8(started.stderr).unwrap();
    let saved = meshgate(&format!("snapshot save -from-data-dir {data} {file}")).output().unwrap();

    assert_eq!(started.status.code(), Some(1), "{told}");
    for part in
        ["meshgate.redb is damaged: 1 of the rows", "\"id\":\"broken\"", "meshgate snapshot save -from-data-dir"]
    {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(std::fs::read(&store).unwrap(), bytes, "the file was changed");
    let told = String::from_utf8(saved.stderr).unwrap();
    assert_eq!(saved.status.code(), Some(1), "{told}");
    assert!(told.contains("\"id\":\"broken\"} is damaged and is left out"), "{told}");
    let new = Agent::start("-dev");
    new.say(&format!("snapshot restore {file}"));
    // It starts anew, because the CA is another one.
    let started = Instant::now();
    while ends(&new, "catalog services") != (0, "whole\n".to_owned()) {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", ends(&new, "catalog services"));
        std::thread::sleep(Duration::from_millis(20));
    }
    new.signal("-TERM");
    new.wait();
}

#[test]
fn history_tells_who_changed_what_and_rollback_goes_back() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "web.hcl", "service {\n name = \"web\"\n port = 80\n}");
    let entry = |protocol: &str| {
        let text = format!("Kind = \"service-defaults\"\nName = \"web\"\nProtocol = {protocol:?}");
        write(directory.path(), "entry.txt", &text);
        directory.path().join("entry.txt").display().to_string()
    };
    let agent = Agent::start(&format!("-dev -config-file {}", directory.path().join("web.hcl").display()));
    agent.say(&format!("config write {}", entry("tcp")));
    agent.say(&format!("config write {}", entry("http")));

    let table = agent.say("history");
    let json: Value = serde_json::from_str(&agent.say("history service-defaults/web -o json")).unwrap();

    let line = |what: &str| table.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {table}"));
    assert!(table.starts_with("INDEX"), "{table}");
    assert!(line("~ service-defaults/web  Protocol: \"tcp\" -> \"http\"").contains("127.0.0.1:"), "{table}");
    assert!(line("+ service dc1/default/laptop/web").contains("  files  "), "{table}");
    assert!(line("+ root").contains("  certificate authority  "), "{table}");
    let first = json["Commits"][1]["Index"].to_string();
    assert!(agent.say(&format!("history {first}")).contains("    + Protocol: \"tcp\"\n"));

    let dry = agent.run(&format!("rollback service-defaults/web -to {first} -dry-run"));
    assert_eq!(dry.status.code(), Some(2));
    let shown = "~ service-defaults/web\n    Protocol: \"http\" -> \"tcp\"\n";
    assert_eq!(String::from_utf8_lossy(&dry.stdout), shown);
    assert_eq!(String::from_utf8_lossy(&dry.stderr), "");
    let done = agent.say(&format!("rollback service-defaults/web -to {first}"));
    assert!(done.starts_with(shown) && done.contains("Written by commit "), "{done}");
    assert!(agent.say("config read -kind service-defaults -name web").contains("\"tcp\""));
    assert_eq!(
        agent.say(&format!("rollback service-defaults/web -to {first}")),
        format!("service-defaults/web is what it was at commit {first}.\n")
    );
    for (line, code) in
        [("rollback web -to 3", 3), ("rollback service-defaults/web -to 99999", 1), ("history 99999", 1)]
    {
        assert_eq!(agent.run(line).status.code(), Some(code), "{line}");
    }
}

#[test]
fn status_ps_and_events_say_what_is_known_without_any_proxy() {
    let agent = Agent::start("-dev");

    let status = agent.say("status");
    let empty = agent.say("ps");
    let events = agent.say("events -o json");

    assert!(status.starts_with("meshgate 0.1.0  dc1 (revision "), "{status}");
    assert!(status.contains("  all good\n") && status.contains("  Certs        root 10.0y\n"), "{status}");
    assert!(status.contains("  Proxies      0 synced   0 behind   0 nack   0 not connected\n"), "{status}");
    assert_eq!(empty, "PROXY  KIND  WHERE  ENVOY  CDS  LDS  EDS  RDS  SDS  REV(acked/want)  LAG  NOTE\n");
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["Event"], &first["Commit"]["Author"]["By"]),
        (&json!("commit"), &json!("certificate-authority"))
    );
    agent.say("services register -name gateway -kind mesh-gateway -port 8443");
    assert!(agent.say("ps -all").contains("not connected"));
    assert_eq!(agent.run("why-changed nobody").status.code(), Some(1));
    assert_eq!(agent.run("why-changed gateway -between now then").status.code(), Some(3));
    assert_eq!(agent.say("why-changed gateway"), "Nothing changed, as far as the process remembers.\n");
    assert_eq!(agent.run("proxy gateway clusters").status.code(), Some(1));
    assert_eq!(meshgate("status -http-addr 127.0.0.1:1").status().unwrap().code(), Some(4));
}
