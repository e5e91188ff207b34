//! What proxies had once, recomputed.

use std::time::Duration;

use http::Method;
use meshgate::envoy::snapshot::NodeIdentity;
use meshgate::model::{Datacenter, IntentionPolicy};
use serde_json::{Value, json};

use crate::support::ads::within;
use crate::support::mesh::{Mesh, Watched, options};

const WEB: &str = "web-sidecar-proxy";

async fn put(mesh: &Mesh, path: &str, body: Value) -> u64 {
    let (status, text) = mesh.call(&Method::PUT, path, body.to_string()).await;
    assert_eq!(status, 200, "{path}: {text}");
    mesh.store.view().index()
}

async fn delete(mesh: &Mesh, path: &str) -> u64 {
    let (status, text) = mesh.call(&Method::DELETE, path, String::new()).await;
    assert_eq!(status, 200, "{path}: {text}");
    mesh.store.view().index()
}

async fn seen(mesh: &Mesh, index: u64) {
    within(async {
        while !mesh.engine.reach(index).is_seen {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn at(mesh: &Mesh, commit: &str) -> (u16, Value) {
    let path = format!("/v1/meshgate/at/{WEB}?commit={commit}");
    let (status, text) = mesh.call(&Method::GET, &path, String::new()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn what_was_sent_after_each_commit_is_computed_again_to_the_byte() {
    let mesh = Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await;
    let service = |name: &str, port: u16, upstreams: Value| {
        let sidecar = json!({ "Port": port, "Proxy": { "Upstreams": upstreams } });
        json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": sidecar } })
    };
    let dials = json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]);
    let register = "/v1/agent/service/register";
    let before = mesh.store.view().index();
    put(&mesh, register, service("web", 21_000, dials)).await;
    let mut watched = Watched::new(&mesh.engine, &NodeIdentity { id: WEB.into(), ..NodeIdentity::default() });
    watched.next().await;

    let config = |entry: Value| put(&mesh, "/v1/config", entry);
    let mut pushed = Vec::new();
    for step in 0..8 {
        let index = match step {
            0 => put(&mesh, register, service("api", 21_001, json!([]))).await,
            1 => config(json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "7s" })).await,
            2 => config(json!({ "Kind": "service-defaults", "Name": "api", "Protocol": "http" })).await,
            3 => config(json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } })).await,
            // Of no concern to web, whose configuration stays what it was.
            4 => config(json!({ "Kind": "service-defaults", "Name": "other", "Protocol": "http" })).await,
            5 => delete(&mesh, "/v1/config/service-resolver/api").await,
            6 => put(&mesh, "/v1/agent/service/deregister/api-sidecar-proxy", Value::Null).await,
            _ => delete(&mesh, "/v1/config/service-defaults/api").await,
        };
        seen(&mesh, index).await;
        let proxy = mesh.engine.proxies().swap_remove(0).instance;
        pushed.push((index, mesh.engine.snapshot(&proxy).unwrap().version().to_string()));
    }

    let distinct: std::collections::BTreeSet<_> = pushed.iter().map(|(_, hash)| hash).collect();
    assert!(distinct.len() > 5, "{pushed:?}");
    for (index, hash) in &pushed {
        let (status, answer) = at(&mesh, &index.to_string()).await;
        assert_eq!((status, &answer["Index"], &answer["Hash"]), (200, &json!(index), &json!(hash)));
    }
    let (_, now) = at(&mesh, &pushed[7].0.to_string()).await;
    assert_eq!(now["Problems"], json!([]));
    assert!(!now.to_string().contains("PRIVATE KEY"), "{now}");

    let (status, why) = at(&mesh, &before.to_string()).await;
    assert_eq!((status, why.to_string().contains("there is no proxy")), (404, true), "{why}");
    let (status, why) = at(&mesh, "yesterday").await;
    assert_eq!((status, why.to_string().contains("the index of a commit")), (400, true), "{why}");
    let (status, _) = at(&mesh, &(pushed[7].0 + 1).to_string()).await;
    assert_eq!(status, 404);
}
