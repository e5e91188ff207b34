//! What the pages show: an agent with two datacenters, and what stands for the Envoys that are connected to it.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::google::protobuf::{Struct, Value as Text, value::Kind};
use envoy_types::pb::google::rpc::Status;
use futures::StreamExt;
use meshgate::envoy::snapshot::ResourceType;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::support::ads::{Client, ack, envoy, subscribe};

/// Writes that are under way at a time.
const AT_A_TIME: usize = 64;

/// An agent, and the streams to it.
pub(crate) struct Mesh {
    pub(crate) agent: Agent,
    client: reqwest::Client,
    grpc: String,
    streams: JoinSet<()>,
}

/// A name that would do something if it became a part of a page.
pub(crate) const HOSTILE: &str = "<img src=x onerror=document.title='taken'>";

impl Mesh {
    /// Datacenters dc1 and dc2 without anything in them.
    pub(crate) fn empty() -> Self {
        let agent = Agent::start("-dev -datacenter dc1 -hosted-datacenter dc2");
        let about: Value = serde_json::from_str(&agent.get("/v1/agent/self")).expect("JSON");
        let grpc = format!("http://127.0.0.1:{}", about["xDS"]["Port"]);
        Self { agent, client: reqwest::Client::new(), grpc, streams: JoinSet::new() }
    }

    /// Three places with gateways, of which one is down; upstreams in every mode; an Envoy that refuses something.
    pub(crate) async fn start() -> Self {
        let mut mesh = Self::empty();
        mesh.put("config", json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": "local" } }))
            .await;
        let exports = json!([{ "Name": "billing", "Consumers": [{ "Partition": "default" }] }]);
        let exports =
            json!({ "Kind": "exported-services", "Name": "team-a", "Partition": "team-a", "Services": exports });
        mesh.put("config?partition=team-a", exports).await;
        let upstream = |name: &str, port: u16, more: Value| {
            let mut upstream = json!({ "DestinationName": name, "LocalBindPort": port });
            upstream.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            upstream
        };
        let web = json!([
            upstream("api", 9191, json!({ "Datacenter": "dc2" })),
            upstream("billing", 9192, json!({ "DestinationPartition": "team-a", "MeshGateway": { "Mode": "remote" } })),
            upstream("ledger", 9193, json!({ "Datacenter": "dc2", "MeshGateway": { "Mode": "remote" } })),
            upstream("cache", 9194, json!({})),
        ]);
        let api = json!([upstream("web", 9191, json!({ "Datacenter": "dc1", "MeshGateway": { "Mode": "none" } }))]);
        mesh.service(("dc1", "default", "n1"), "web", web).await;
        mesh.service(("dc1", "default", "n1"), "cache", json!([])).await;
        mesh.service(("dc1", "team-a", "n2"), "billing", json!([])).await;
        mesh.service(("dc2", "default", "n3"), "api", api).await;
        for (place, id, lan, wan) in [
            (("dc1", "default", "n1"), "gateway-1", "10.1.0.7", "203.0.113.7"),
            (("dc1", "team-a", "n2"), "gateway-a", "10.1.1.7", "203.0.113.17"),
            (("dc2", "default", "n3"), "gateway-2", "10.2.0.7", "198.51.100.7"),
            (("dc2", "default", "n4"), "gateway-3", "10.2.0.8", "198.51.100.8"),
        ] {
            mesh.gateway(place, id, (lan, wan)).await;
        }
        let critical = json!({ "CheckID": "tcp", "Name": "tcp", "ServiceID": "gateway-3", "Status": "critical" });
        mesh.register(("dc2", "default", "n4"), json!({ "Check": critical })).await;
        mesh.connect(("dc1", "default", "n1"), "web-sidecar-proxy", None).await;
        mesh.connect(("dc1", "default", "n1"), "gateway-1", None).await;
        mesh.connect(("dc2", "default", "n3"), "gateway-2", None).await;
        mesh.connect(("dc2", "default", "n3"), "api-sidecar-proxy", Some(HOSTILE)).await;
        mesh
    }

    /// `PUT` under `/v1/`.
    pub(crate) async fn put(&self, path: &str, body: Value) {
        let url = format!("http://{}/v1/{path}", self.agent.http);
        let answer = self.client.put(url).json(&body).send().await.expect("the agent answers");
        let status = answer.status();
        assert!(status.is_success(), "{path} {body}: {status} {}", answer.text().await.unwrap_or_default());
    }

    /// The JSON and the number of all that a `GET` under `/v1/meshgate/` tells.
    pub(crate) async fn get(&self, path: &str) -> (Value, u64) {
        let url = format!("http://{}/v1/meshgate/{path}", self.agent.http);
        let answer = self.client.get(&url).send().await.expect("the agent answers");
        let total = answer.headers().get("x-meshgate-total").and_then(|total| total.to_str().ok()?.parse().ok());
        let total = total.unwrap_or_default();
        (answer.json().await.unwrap_or_else(|error| panic!("{url}: {error}")), total)
    }

    async fn register(&self, (datacenter, partition, node): (&str, &str, &str), what: Value) {
        let mut row = what;
        row["Datacenter"] = datacenter.into();
        row["Partition"] = partition.into();
        row["Node"] = node.into();
        row["Address"] = "10.0.0.1".into();
        for of in ["Service", "Check"] {
            if row[of].is_object() {
                row[of]["Partition"] = partition.into();
            }
        }
        self.put("catalog/register", row).await;
    }

    /// A service with its sidecar.
    pub(crate) async fn service(&self, place: (&str, &str, &str), name: &str, upstreams: Value) {
        self.register(place, json!({ "Service": { "Service": name, "ID": name, "Port": 80 } })).await;
        self.sidecar(place, &format!("{name}-sidecar-proxy"), name, upstreams).await;
    }

    /// A sidecar with an ID of its own.
    pub(crate) async fn sidecar(&self, place: (&str, &str, &str), id: &str, name: &str, upstreams: Value) {
        let proxy = json!({ "DestinationServiceName": name, "DestinationServiceID": name, "Upstreams": upstreams });
        let service = format!("{name}-sidecar-proxy");
        let sidecar = json!({ "Kind": "connect-proxy", "Service": service, "ID": id, "Port": 21_000, "Proxy": proxy });
        self.register(place, json!({ "Service": sidecar })).await;
    }

    async fn gateway(&self, place: (&str, &str, &str), id: &str, (lan, wan): (&str, &str)) {
        let wan = json!({ "wan": { "Address": wan, "Port": 443 } });
        let gateway = json!({
            "Kind": "mesh-gateway", "Service": "mesh-gateway", "ID": id, "Address": lan, "Port": 8443, "TaggedAddresses": wan,
        });
        self.register(place, json!({ "Service": gateway })).await;
    }

    /// So many sidecars, ten on a node.
    pub(crate) async fn crowd(&self, size: usize) {
        let write = async |number: usize| {
            let (node, id) = (format!("node-{:03}", number / 10), format!("crowd-{number:04}"));
            self.sidecar(("dc1", "default", &node), &id, &format!("service-{:03}", number % 100), json!([])).await;
        };
        futures::stream::iter(0..size).for_each_concurrent(AT_A_TIME, write).await;
    }

    /// Opens a stream that takes everything, or that refuses listeners for a reason. Returns once it has answered both
    /// clusters and listeners.
    async fn connect(&mut self, place: (&str, &str, &str), id: &str, refusal: Option<&'static str>) {
        let (datacenter, partition, node) = place;
        let text = |text: &str| Text { kind: Some(Kind::StringValue(text.to_owned())) };
        let fields = [("datacenter", datacenter), ("partition", partition), ("node_name", node)];
        let fields: HashMap<_, _> = fields.map(|(name, value)| (name.to_owned(), text(value))).into();
        let node = core_v3::Node { metadata: Some(Struct { fields }), ..envoy(id, 38) };
        let (clusters, listeners) = (ResourceType::Cluster.type_url(), ResourceType::Listener.type_url());
        let mut stream = Client::connect(&self.grpc).await.delta().await.expect("the agent takes streams");
        stream.send(subscribe(clusters, &[], Some(node)));
        stream.send(subscribe(listeners, &[], None));
        stream.send(subscribe(ResourceType::Secret.type_url(), &["leaf", "roots", "callers"], None));
        let (answered, ready) = tokio::sync::oneshot::channel();
        self.streams.spawn(async move {
            let (mut left, mut answered) = (vec![clusters.to_owned(), listeners.to_owned()], Some(answered));
            // It ends with the test.
            while let Ok(response) = stream.following().await {
                let mut answer = ack(&response);
                if let Some(message) = refusal.filter(|_| response.type_url == listeners) {
                    answer.error_detail = Some(Status { code: 3, message: message.to_owned(), details: Vec::new() });
                }
                stream.send(answer);
                if response.type_url == clusters {
                    let names: Vec<_> = response.resources.iter().map(|it| it.name.as_str()).collect();
                    stream.send(subscribe(ResourceType::Endpoint.type_url(), &names, None));
                }
                left.retain(|url| *url != response.type_url);
                if left.is_empty()
                    && let Some(answered) = answered.take()
                {
                    let _ = answered.send(());
                }
            }
        });
        ready.await.expect("the agent sends clusters and listeners");
    }
}
