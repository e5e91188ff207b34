//! Failures that other control planes had, and that the page about them tells the truth.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType};
use meshgate::model::{Datacenter, IntentionPolicy};
use serde_json::{Value, json};

use support::mesh::{Mesh, Watched, options};

async fn mesh() -> Mesh {
    Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await
}

async fn put(mesh: &Mesh, path: &str, body: Value) {
    let (status, answer) = mesh.call(&Method::PUT, path, body.to_string()).await;
    assert_eq!(status, 200, "{path}: {answer}");
}

async fn service(mesh: &Mesh, name: &str, port: u16, upstreams: Value) {
    let sidecar = json!({ "Port": port, "Proxy": { "Upstreams": upstreams } });
    let service = json!({ "Name": name, "Port": port + 1000, "Connect": { "SidecarService": sidecar } });
    put(mesh, "/v1/agent/service/register", service).await;
}

fn watch(mesh: &Mesh, id: &str) -> Watched {
    Watched::new(&mesh.engine, &NodeIdentity { id: id.into(), ..NodeIdentity::default() })
}

/// The paths and names between backticks of a row, in their order.
fn quoted(row: &str) -> Vec<&str> {
    row.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = include_str!("../docs/regressions.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| B")).collect();
    let mut missing = Vec::new();
    for row in &rows {
        let (id, held) = (row.split('|').nth(1).unwrap().trim(), row.split('|').nth(3).unwrap());
        let (mut file, mut held_by) = ("", 0);
        for text in quoted(held) {
            if text.contains('/') {
                file = text;
                let is_there = root.join(file).exists();
                held_by += usize::from(is_there && !file.ends_with(".rs"));
                missing.extend((!is_there).then(|| format!("{id}: {file}")));
            } else {
                let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
                held_by += 1;
                missing.extend((!source.contains(&format!("fn {text}("))).then(|| format!("{id}: {text} in {file}")));
            }
        }
        missing.extend((held_by == 0).then(|| format!("{id}: nothing")));
    }
    assert_eq!(missing, Vec::<String>::new());

    // Every one of them is told of once: in the table, or below it.
    let below: String = page.lines().rev().take_while(|line| !line.starts_with('|')).collect::<Vec<_>>().join(" ");
    let named = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(number).collect::<Vec<_>>();
    let mut all: Vec<u32> = rows.iter().flat_map(|row| number(row.split('|').nth(1).unwrap().trim())).collect();
    all.extend(named(&below));
    all.sort_unstable();
    assert_eq!(all, (1..=32).collect::<Vec<_>>());
}

fn number(id: &str) -> Option<u32> {
    id.strip_prefix('B')?.parse().ok()
}

#[tokio::test]
async fn the_last_instance_of_a_service_leaves_the_gateway_and_nothing_else_does() {
    let mesh = mesh().await;
    service(&mesh, "web", 21_000, json!([])).await;
    service(&mesh, "api", 21_001, json!([])).await;
    let gateway = json!({ "Kind": "mesh-gateway", "Name": "mesh-gateway", "Address": "10.0.0.7", "Port": 8443 });
    put(&mesh, "/v1/agent/service/register", gateway).await;
    let mut watched = watch(&mesh, "mesh-gateway");
    let before = watched.next().await;
    let named = |kind: ResourceType| -> BTreeSet<String> { before.get(kind).keys().map(ToString::to_string).collect() };
    assert!(named(ResourceType::Cluster).iter().any(|name| name.starts_with("api.")), "it knows api");

    put(&mesh, "/v1/agent/service/deregister/api", json!({})).await;
    watched.until(|snapshot| !snapshot.get(ResourceType::Cluster).keys().any(|name| name.starts_with("api."))).await;
    let after = mesh.engine.snapshot(&instance("mesh-gateway")).unwrap();

    for kind in ResourceType::ALL {
        for (name, _) in before.get(kind).changes_to(after.get(kind)) {
            assert!(name.starts_with("api."), "{kind} {name} changed");
            assert!(after.get(kind).get(name).is_none(), "{kind} {name} stayed");
        }
    }
}

fn instance(id: &str) -> meshgate::model::InstanceId {
    let place = meshgate::model::Place::new(&Datacenter::from("dc1"), &meshgate::model::Partition::default());
    meshgate::model::InstanceId { place, node: support::mesh::AGENT.into(), id: id.into() }
}

#[tokio::test]
async fn defaults_that_are_written_again_unchanged_are_accepted_and_send_nothing() {
    let mesh = mesh().await;
    service(&mesh, "api", 21_001, json!([])).await;
    service(&mesh, "web", 21_000, json!([{ "DestinationName": "api", "LocalBindPort": 9191 }])).await;
    let defaults = json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } });
    put(&mesh, "/v1/config", defaults.clone()).await;
    let route = json!({ "Match": { "HTTP": { "PathPrefix": "/v2" } }, "Destination": { "Service": "web" } });
    put(&mesh, "/v1/config", json!({ "Kind": "service-router", "Name": "api", "Routes": [route] })).await;
    let mut web = watch(&mesh, "web-sidecar-proxy");
    web.next().await;
    let index = mesh.store.view().index();

    put(&mesh, "/v1/config", defaults).await;

    assert_eq!(mesh.store.view().index(), index);
    // What comes next is of the next change.
    put(&mesh, "/v1/config", json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "7s" })).await;
    let next = web.next().await;
    assert!(web.came().is_none() && !next.get(ResourceType::Cluster).is_empty());
}
