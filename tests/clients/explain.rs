//! What `explain` and its siblings print. Answers that are for people stand in `testdata/explain/`.

use std::path::Path;

use regex::Regex;
use serde_json::Value;
use similar::TextDiff;

use crate::agent::{Agent, meshgate};

/// Web in `dc1` calls api in `dc2`; both have gateways.
const MESH: &str = r#"
node_name = "laptop"
services = [
  { name = "web", port = 8080, connect = { sidecar_service = { port = 21000, proxy = {
      mesh_gateway = { mode = "remote" },
      upstreams = [
        { destination_name = "api", datacenter = "dc2", local_bind_port = 9191 },
        { destination_name = "cache", local_bind_port = 9192 }
      ] } } } },
  { kind = "mesh-gateway", name = "mesh-gateway", id = "mgw-dc1", address = "10.1.0.7", port = 8443,
    checks = [{ name = "up", ttl = "1h", status = "passing" }],
    tagged_addresses = { lan = { address = "10.1.0.7", port = 8443 }, wan = { address = "203.0.113.7", port = 443 } } }
]
config_entries { bootstrap = [
  { kind = "proxy-defaults", name = "global", mesh_gateway { mode = "none" } },
  { kind = "service-defaults", name = "web", upstream_config { overrides = [{ name = "api", mesh_gateway { mode = "local" } }] } },
  { kind = "service-defaults", name = "api", mesh_gateway { mode = "remote" } }
] }
"#;

const FAR: &str = r#"
services = [
  { name = "api", port = 8081, connect = { sidecar_service = { port = 21001,
      checks = [{ name = "up", ttl = "1h", status = "passing" }] } } },
  { kind = "mesh-gateway", name = "mesh-gateway", id = "mgw-dc2", address = "10.2.0.7", port = 8443,
    checks = [{ name = "up", ttl = "1h", status = "passing" }],
    tagged_addresses = { lan = { address = "10.2.0.7", port = 8443 }, wan = { address = "203.0.113.10", port = 443 } } }
]
"#;

/// An agent with both datacenters.
pub(crate) fn mesh() -> (Agent, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let agent = Agent::start(&format!("-dev -hosted-datacenter dc2 -config-file {}", write("mesh.hcl", MESH)));
    agent.say(&format!("services register -datacenter dc2 {}", write("far.hcl", FAR)));
    (agent, folder)
}

/// The exit code of a command, and what it says, without what differs from run to run.
pub(crate) fn told(agent: &Agent, line: &str) -> (i32, String) {
    let output = agent.run(line);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let id = Regex::new("[0-9a-f]{8}-[0-9a-f-]{27}").unwrap();
    let index = Regex::new("index [0-9]+").unwrap();
    let by = Regex::new("by (files|meshgate|127\\.0\\.0\\.1:[0-9]+) [0-9]{4}-[0-9T:.-]+Z").unwrap();
    let said = index.replace_all(&id.replace_all(&said, "<id>"), "index <n>").into_owned();
    (output.status.code().unwrap(), by.replace_all(&said, "by <whom> <when>").into_owned())
}

/// Holds what a command says against a file.
pub(crate) fn golden(name: &str, said: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/explain").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, said).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = TextDiff::from_lines(expected.as_str(), said);
    let hint = "UPDATE_GOLDEN=1 cargo test --test clients explain";
    assert!(expected == said, "{name}: {hint}\n{}", difference.unified_diff());
}

#[test]
fn an_upstream_is_explained() {
    let (agent, _folder) = mesh();

    let (code, said) = told(&agent, "explain upstream web-sidecar-proxy api@dc2");
    assert_eq!(code, 0, "{said}");
    golden("upstream.txt", &said);
    golden("upstream-same-place.txt", &told(&agent, "explain upstream web cache").1);
    golden("mode.txt", &told(&agent, "explain mode web").1);
    let json: Value = serde_json::from_str(&agent.say("explain upstream web api -o json")).unwrap();
    assert_eq!((&json["Targets"][0]["Mode"], &json["Ladder"][1]["Status"]), (&"local".into(), &"wins".into()));
}

#[test]
fn exit_codes_are_those_of_its_own_verbs() {
    let (agent, _folder) = mesh();

    let (code, said) = told(&agent, "explain upstream web db");
    assert!(code == 1 && said.contains("has no upstream \"db\"; it has api?dc=dc2, cache"), "{code} {said}");
    assert_eq!(told(&agent, "explain upstream web").0, 3);
    let nobody = meshgate("explain mode web").env("CONSUL_HTTP_ADDR", "127.0.0.1:1").output().unwrap();
    assert_eq!(nobody.status.code(), Some(4));
}
