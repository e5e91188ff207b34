//! An intention about everybody, in a mesh of very many proxies.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use futures::future::join_all;
use meshgate::engine::Push;
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType};
use meshgate::model::{Datacenter, IntentionPolicy};
use serde_json::{Value, json};

use crate::support::ads::{Client, DeltaStream, ack, envoy, subscribe, within};
use crate::support::mesh::{AGENT, Mesh, Watched, options};
use crate::{CLUSTERS, ENDPOINTS};

const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// Sidecars that nobody calls, and that call nobody.
const MANY: usize = 1_000;

/// A sidecar on the agent's node.
fn sidecar(name: &str, port: usize, upstreams: Value) -> Value {
    let id = format!("{name}-sidecar-proxy");
    let proxy = json!({ "DestinationServiceName": name, "LocalServicePort": 80, "Upstreams": upstreams });
    json!({ "Node": AGENT, "Service": { "Kind": "connect-proxy", "ID": id, "Service": id, "Port": port, "Proxy": proxy } })
}

async fn put(mesh: &Mesh, path: &str, body: Value) -> u64 {
    let (status, text) = mesh.call(&http::Method::PUT, path, body.to_string()).await;
    assert_eq!(status, 200, "{path}: {text}");
    mesh.store.view().index()
}

/// The push of a commit, once it is noted.
async fn push_of(mesh: &Mesh, commit: u64) -> Push {
    let mut changes = mesh.engine.happenings();
    within(async {
        loop {
            let pushes = mesh.engine.pushes(|_| true);
            if let Some(push) = pushes.into_iter().find(|push| push.since < commit && commit <= push.index) {
                return push;
            }
            changes.changed().await.unwrap();
        }
    })
    .await
}

/// Takes what comes until nothing of this type is missing, without an answer to the last of it.
async fn until(stream: &mut DeltaStream, type_url: &str) -> usize {
    let mut others = 0;
    loop {
        let response = stream.next().await.unwrap();
        if response.type_url == type_url {
            return others;
        }
        others += 1;
        stream.send(ack(&response));
    }
}

/// Every public listener changes then. Endpoints that change right afterwards reach their caller although it, like everybody,
/// has not answered to its new listener yet, and for nobody else there is anything to do.
#[tokio::test(flavor = "multi_thread")]
async fn endpoints_wait_for_no_listener_that_an_intention_about_everybody_changes() {
    let mesh = Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await;
    let mut services: Vec<_> = (0..MANY).map(|i| sidecar(&format!("s{i}"), 30_000 + i, json!([]))).collect();
    services.push(sidecar("web", 21_000, json!([{ "DestinationName": "api", "LocalBindPort": 9191 }])));
    services.push(sidecar("api", 21_001, json!([])));
    mesh.restore(&json!({ "Nodes": [{ "Node": AGENT, "Address": "10.0.0.1" }], "Services": services })).await.unwrap();
    let node = |id: String| NodeIdentity { id: id.into(), ..NodeIdentity::default() };
    let mut everybody: Vec<_> =
        (0..MANY).map(|i| Watched::new(&mesh.engine, &node(format!("s{i}-sidecar-proxy")))).collect();
    join_all(everybody.iter_mut().map(Watched::next)).await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = Client::connect(&url).await.delta().await.unwrap();
    web.send(subscribe(CLUSTERS, &[], Some(envoy("web-sidecar-proxy", 40))));
    web.send(subscribe(LISTENERS, &[], None));
    let mut taken = 0;
    while taken < 3 {
        let response = web.next().await.unwrap();
        web.send(ack(&response));
        let api = response.resources.iter().find(|it| it.name.starts_with("api.") && response.type_url == CLUSTERS);
        if let Some(api) = api {
            web.send(subscribe(ENDPOINTS, &[&api.name], None));
        }
        taken += 1;
    }

    let sources = json!([{ "Name": "*", "Action": "deny" }]);
    let intention =
        put(&mesh, "/v1/config", json!({ "Kind": "service-intentions", "Name": "*", "Sources": sources })).await;
    let moved =
        json!({ "Node": "other", "Address": "10.0.0.2", "Service": sidecar("api", 21_001, json!([]))["Service"] });
    let endpoints = put(&mesh, "/v1/catalog/register", moved).await;

    // Nobody answers to the listeners: the endpoints are sent all the same, after nothing else but the own listener.
    let before = until(&mut web, ENDPOINTS).await;
    assert!(before <= 1, "{before} other responses came first");
    let (of_intention, of_endpoints) = (push_of(&mesh, intention).await, push_of(&mesh, endpoints).await);
    let types = |push: &Push, id: &str| {
        let pushed = push.shown.iter().find(|it| it.proxy.id.as_str() == id);
        pushed.map(|it| it.types.clone()).unwrap_or_default()
    };
    // Both may have been seen at once, which is less work still.
    assert!(of_intention.proxies > MANY, "{of_intention:?}");
    assert_eq!(types(&of_intention, "s7-sidecar-proxy"), [ResourceType::Listener]);
    if of_endpoints.number != of_intention.number {
        assert_eq!(of_endpoints.proxies, 1, "{of_endpoints:?}");
        assert_eq!(types(&of_endpoints, "web-sidecar-proxy"), [ResourceType::Endpoint]);
    }
}
