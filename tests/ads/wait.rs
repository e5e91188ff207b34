//! Whether a commit is live, while streams break, clients refuse, and the process starts again.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use envoy_types::pb::google::rpc::Status;
use meshgate::engine::{Engine, Stage};
use meshgate::envoy::snapshot::{ResourceType, Snapshot};
use meshgate::model::{Datacenter, IntentionPolicy};
use serde_json::{Value, json};

use crate::support::ads::{Client, DeltaStream, ack, envoy, subscribe, within};
use crate::support::mesh::{Mesh, options};

const WEB: &str = "web-sidecar-proxy";
const API: &str = "api-sidecar-proxy";

/// A mesh in which web calls api.
async fn mesh() -> Mesh {
    let mesh = Mesh::start(options(&[Datacenter::from("dc1")], IntentionPolicy::Allow)).await;
    for (name, port, upstreams) in [("api", 21_001, json!([])), ("web", 21_000, upstream())] {
        let sidecar = json!({ "Port": port, "Proxy": { "Upstreams": upstreams } });
        let service = json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": sidecar } });
        call(&mesh, "/v1/agent/service/register", service).await;
    }
    mesh
}

fn upstream() -> Value {
    json!([{ "DestinationName": "api", "LocalBindPort": 9191 }])
}

async fn call(mesh: &Mesh, path: &str, body: Value) -> u64 {
    let (status, text) = mesh.call(&http::Method::PUT, path, body.to_string()).await;
    assert_eq!(status, 200, "{path}: {text}");
    mesh.store.view().index()
}

/// Changes one cluster of web; the commit.
async fn change_cluster(mesh: &Mesh, timeout: &str) -> u64 {
    call(mesh, "/v1/config", json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": timeout })).await
}

/// Changes the public listener of web; the commit.
async fn change_listener(mesh: &Mesh, connections: u32) -> u64 {
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "MaxInboundConnections": connections });
    call(mesh, "/v1/config", entry).await
}

/// What the engine has for a proxy, once it has seen that it is registered.
async fn snapshot(engine: &Engine, id: &str) -> Arc<Snapshot> {
    loop {
        let offline = engine.offline().await.expect("the engine runs");
        let all = offline.configurations();
        let found = all.iter().find(|(instance, _)| instance.id.as_str() == id);
        if let Some(snapshot) = found.and_then(|(_, configuration)| configuration.snapshot.clone()) {
            return snapshot;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What stands for an Envoy: it asks for what its configuration leads to, and remembers what it took.
struct Puppet {
    stream: DeltaStream,
    held: BTreeMap<(String, String), String>,
}

impl Puppet {
    /// Connects, holding what an earlier stream took.
    async fn connect(engine: &Engine, url: &str, id: &str, held: BTreeMap<(String, String), String>) -> Self {
        let snapshot = within(snapshot(engine, id)).await;
        let stream = Client::connect(url).await.delta().await.unwrap();
        let mut node = Some(envoy(id, 40));
        for kind in ResourceType::ALL {
            let names: Vec<&str> = snapshot.get(kind).keys().map(|name| &**name).collect();
            // Not made yet when nobody has asked for the proxy before.
            let names = if kind == ResourceType::Secret { [&names[..], &["leaf"]].concat() } else { names };
            let names = if kind.is_wildcard() { Vec::new() } else { names };
            if !kind.is_wildcard() && names.is_empty() {
                continue;
            }
            let mut request = subscribe(kind.type_url(), &names, node.take());
            let of_kind = held.iter().filter(|((of, _), _)| of == kind.type_url());
            request.initial_resource_versions =
                of_kind.map(|((_, name), version)| (name.clone(), version.clone())).collect();
            stream.send(request);
        }
        Self { stream, held }
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.stream.next().await.expect("the stream is open")
    }

    fn take(&mut self, response: &DeltaDiscoveryResponse) {
        for resource in &response.resources {
            self.held.insert((response.type_url.clone(), resource.name.clone()), resource.version.clone());
        }
        for name in &response.removed_resources {
            self.held.remove(&(response.type_url.clone(), name.clone()));
        }
        self.stream.send(ack(response));
    }

    fn refuse(&self, response: &DeltaDiscoveryResponse) {
        let error = Status { code: 13, message: "no such thing".to_owned(), details: vec![] };
        let mut answer = ack(response);
        answer.error_detail = Some(error);
        self.stream.send(answer);
    }

    /// Takes whatever comes until the commit is live here.
    async fn follow(&mut self, engine: &Engine, index: u64, id: &str) {
        while stage(engine, index, id) != Stage::Live {
            let progressed = engine.progressed();
            if stage(engine, index, id) == Stage::Live {
                break;
            }
            tokio::select! {
                response = self.stream.next() => {
                    let response = response.expect("the stream is open");
                    self.take(&response);
                }
                () = progressed => {}
            }
        }
    }
}

fn stage(engine: &Engine, index: u64, id: &str) -> Stage {
    let reach = engine.reach(index);
    if !reach.is_seen {
        return Stage::Waiting("the engine has not seen it".to_owned());
    }
    let found = reach.proxies.into_iter().find(|(instance, _)| instance.id.as_str() == id);
    found.map_or(Stage::Untouched, |(_, stage)| stage)
}

/// Waits until a proxy is at this stage.
async fn until(engine: &Engine, index: u64, id: &str, is_it: impl Fn(&Stage) -> bool) -> Stage {
    within(async {
        loop {
            let progressed = engine.progressed();
            let stage = stage(engine, index, id);
            if is_it(&stage) {
                return stage;
            }
            progressed.await;
        }
    })
    .await
}

/// What is told for long enough that nothing on its way could change it.
async fn stays_waiting(engine: &Engine, index: u64, id: &str) -> String {
    until(engine, index, id, |stage| matches!(stage, Stage::Waiting(why) if !why.contains("engine"))).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let Stage::Waiting(why) = stage(engine, index, id) else { panic!("{:?}", stage(engine, index, id)) };
    why
}

/// A proxy that has everything, and what it is connected to.
async fn settled(mesh: &Mesh, url: &str, id: &str) -> Puppet {
    let mut puppet = Puppet::connect(&mesh.engine, url, id, BTreeMap::new()).await;
    within(puppet.follow(&mesh.engine, mesh.store.view().index(), id)).await;
    puppet
}

#[tokio::test]
async fn a_commit_is_live_once_all_that_it_changed_is_acknowledged() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = settled(&mesh, &url, WEB).await;
    let _api = settled(&mesh, &url, API).await;

    let index = change_cluster(&mesh, "7s").await;

    let response = web.next().await;
    assert_eq!(response.type_url, ResourceType::Cluster.type_url());
    stays_waiting(&mesh.engine, index, WEB).await;
    web.take(&response);
    within(web.follow(&mesh.engine, index, WEB)).await;
    assert_eq!(stage(&mesh.engine, index, API), Stage::Untouched);
}

#[tokio::test]
async fn what_is_refused_is_told_and_later_commits_are_judged_by_themselves() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = settled(&mesh, &url, WEB).await;

    let refused = change_cluster(&mesh, "7s").await;
    let response = web.next().await;
    web.refuse(&response);
    // The endpoints follow a cluster whatever becomes of it.
    let endpoints = web.next().await;
    web.take(&endpoints);
    let stage_of = until(&mesh.engine, refused, WEB, |stage| matches!(stage, Stage::Refused(_))).await;
    let Stage::Refused(why) = stage_of else { unreachable!("it was waited for") };
    assert!(why.starts_with("CDS api.default.dc1.internal.") && why.ends_with(": no such thing"), "{why}");

    let other = change_listener(&mesh, 7).await;
    within(web.follow(&mesh.engine, other, WEB)).await;
    assert!(matches!(stage(&mesh.engine, refused, WEB), Stage::Refused(_)));

    // Another content under the same name settles both.
    let better = change_cluster(&mesh, "8s").await;
    within(web.follow(&mesh.engine, better, WEB)).await;
    assert_eq!(stage(&mesh.engine, refused, WEB), Stage::Live);
}

#[tokio::test]
async fn a_lost_stream_is_no_acknowledgement() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = settled(&mesh, &url, WEB).await;

    let index = change_cluster(&mesh, "7s").await;
    web.next().await;
    let held = std::mem::take(&mut web.held);
    drop(web);
    until(&mesh.engine, index, WEB, |stage| *stage == lost()).await;
    assert_eq!(stays_waiting(&mesh.engine, index, WEB).await, "it lost its connection before it acknowledged");

    let mut web = Puppet::connect(&mesh.engine, &url, WEB, held).await;
    let response = web.next().await;
    stays_waiting(&mesh.engine, index, WEB).await;
    web.take(&response);
    within(web.follow(&mesh.engine, index, WEB)).await;

    // What was acknowledged before the stream broke stays so.
    drop(web);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(stage(&mesh.engine, index, WEB), Stage::Live);
}

fn lost() -> Stage {
    Stage::Waiting("it lost its connection before it acknowledged".to_owned())
}

#[tokio::test]
async fn after_a_start_everybody_who_may_come_back_is_waited_for() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = settled(&mesh, &url, WEB).await;
    let held = std::mem::take(&mut web.held);
    let index = change_cluster(&mesh, "7s").await;

    let engine = mesh.fresh_engine();
    let why = stays_waiting(&engine, index, WEB).await;
    assert_eq!(why, "it has not come back since the control plane was started");
    // Nobody was ever connected as this one.
    assert_eq!(stage(&engine, index, API), Stage::Untouched);

    let url = mesh.serve_ads(&engine).await;
    let mut web = Puppet::connect(&engine, &url, WEB, held).await;
    let response = web.next().await;
    let names: Vec<_> = response.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert!(names.len() == 1 && names[0].starts_with("api.default.dc1.internal."), "{names:?}");
    stays_waiting(&engine, index, WEB).await;
    web.take(&response);
    within(web.follow(&engine, index, WEB)).await;
}

#[tokio::test]
async fn whoever_does_not_ask_for_what_changed_does_not_have_it() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut stream = Client::connect(&url).await.delta().await.unwrap();
    stream.send(subscribe(ResourceType::Cluster.type_url(), &[], Some(envoy(WEB, 40))));
    let response = stream.next().await.unwrap();
    stream.send(ack(&response));

    let index = change_listener(&mesh, 7).await;

    let answering = async {
        loop {
            let response = stream.next().await.unwrap();
            stream.send(ack(&response));
        }
    };
    tokio::select! {
        () = answering => {}
        why = stays_waiting(&mesh.engine, index, WEB) => assert!(why.contains("LDS"), "{why}"),
    }
}

#[tokio::test]
async fn a_change_that_comes_back_is_live_all_the_same() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = settled(&mesh, &url, WEB).await;

    // More than are told apart, none of them answered.
    let mut indexes = Vec::new();
    for seconds in 6..16 {
        indexes.push(change_cluster(&mesh, &format!("{seconds}s")).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for index in &indexes {
        assert!(matches!(stage(&mesh.engine, *index, WEB), Stage::Waiting(_)));
    }
    within(web.follow(&mesh.engine, indexes[9], WEB)).await;
    for index in &indexes {
        assert_eq!(stage(&mesh.engine, *index, WEB), Stage::Live);
    }
}

/// Registers web with this given for the cluster of its upstream; the commit.
async fn give_cluster(mesh: &Mesh, given: &str) -> u64 {
    let upstream = json!({
        "DestinationName": "api", "LocalBindPort": 9191, "Config": { "envoy_cluster_json": given },
    });
    let sidecar = json!({ "Port": 21_000, "Proxy": { "Upstreams": [upstream] } });
    let service = json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": sidecar } });
    call(mesh, "/v1/agent/service/register", service).await
}

fn is_unmade(stage: &Stage) -> bool {
    matches!(stage, Stage::Unmade(why) if why.contains("envoy_cluster_json"))
}

#[tokio::test]
async fn what_cannot_be_made_is_told_each_time_it_is_tried_until_it_is_made() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let mut web = settled(&mesh, &url, WEB).await;

    let first = give_cluster(&mesh, "nonsense").await;
    until(&mesh.engine, first, WEB, is_unmade).await;
    let unmade = mesh.engine.unmade();
    let [unmade] = unmade.as_slice() else { panic!("{unmade:?}") };
    assert!(unmade.proxy.id.as_str() == WEB && unmade.since < first && first <= unmade.index, "{unmade:?}");
    // It is wrong in the same words.
    let second = give_cluster(&mesh, "nonsensical").await;
    until(&mesh.engine, second, WEB, is_unmade).await;
    let other = change_listener(&mesh, 7).await;
    within(web.follow(&mesh.engine, other, WEB)).await;
    for index in [first, second] {
        assert!(is_unmade(&stage(&mesh.engine, index, WEB)), "{index}");
    }

    let clusters = snapshot(&mesh.engine, WEB).await.get(ResourceType::Cluster).clone();
    let name = clusters.keys().find(|name| name.starts_with("api.")).unwrap();
    let given = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name, "connect_timeout": "5s",
    });
    let made = give_cluster(&mesh, &given.to_string()).await;
    let response = web.next().await;
    // The earlier ones wait for the same then.
    for index in [first, second, made] {
        stays_waiting(&mesh.engine, index, WEB).await;
    }
    web.take(&response);
    for index in [first, second, made] {
        within(web.follow(&mesh.engine, index, WEB)).await;
    }
    assert_eq!(mesh.engine.unmade(), []);
}

#[tokio::test]
async fn who_is_registered_no_longer_is_nobody_to_wait_for() {
    let mesh = mesh().await;
    let url = mesh.serve_ads(&mesh.engine).await;
    let _web = settled(&mesh, &url, WEB).await;

    let path = format!("/v1/agent/service/deregister/{WEB}");
    let index = call(&mesh, &path, Value::Null).await;

    until(&mesh.engine, index, WEB, |stage| !matches!(stage, Stage::Waiting(_))).await;
    assert_eq!(stage(&mesh.engine, index, WEB), Stage::Untouched);
}
