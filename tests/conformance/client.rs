//! Asks for the resources of one proxy over a socket, as an Envoy does.
//!
//! Clusters and listeners are subscribed to whole; endpoints, routes and secrets by the names that these lead to. When is a
//! client done that cannot know what is still to come? The engine that is asked started after everything was written, so
//! its first snapshot is of the whole state; the client is done when it holds of that snapshot everything that it asked
//! for. At the end it asks for what nothing leads to, so that it is compared too. What it asked for and the snapshot does not
//! have is *missing*. A client that does not get there in time is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use meshgate::envoy::json;
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType, Snapshot};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::case::Case;
use crate::support::ads::{Client, DeltaStream, ack, envoy};
use crate::support::mesh::{Mesh, Watched};

/// Longest time for everything to come.
const LIMIT: Duration = Duration::from_secs(15);
/// The minor version that the client says it is.
const NEWEST: u32 = 40;

/// What a proxy has.
#[derive(Default)]
pub(crate) struct Held {
    resources: BTreeMap<ResourceType, BTreeMap<String, Resource>>,
    /// Names of what was asked for, for the types that are asked for by name.
    subscribed: BTreeMap<ResourceType, BTreeSet<String>>,
}

struct Resource {
    version: String,
    body: Value,
}

/// Everything that the proxy of a case gets.
pub(crate) async fn read(case: &Case, mesh: &Mesh) -> Result<Held, String> {
    let deadline = Instant::now() + LIMIT;
    let engine = mesh.fresh_engine();
    let mut snapshots = Watched::new(&engine, &case.identity());
    let snapshot = timeout_at(deadline, snapshots.next()).await;
    let snapshot = snapshot.map_err(|_| format!("nothing is generated: {:?}", engine.proxies()))?;
    let client = Client::connect(&mesh.serve_ads(&engine).await).await;
    let mut stream = client.delta().await.map_err(|status| format!("the stream is refused: {status}"))?;
    let mut held = Held::default();
    held.start(case, &stream);
    while !held.is_complete(&snapshot) || held.ask_for_the_rest(&snapshot, &stream) {
        let Ok(response) = timeout_at(deadline, stream.next()).await else {
            return Err(format!("not everything came within {LIMIT:?}: {}", held.difference(&snapshot).join(", ")));
        };
        let response = response.map_err(|status| format!("the stream ended: {status}"))?;
        held.take(response, &stream)?;
    }
    Ok(held)
}

/// The node of the first request, as `connect envoy` has Envoy write it.
fn node(case: &Case) -> core_v3::Node {
    let NodeIdentity { id, datacenter, partition, namespace, node_name } = case.identity();
    let pairs =
        [("datacenter", datacenter), ("partition", partition), ("namespace", namespace), ("node_name", node_name)];
    let text = |text: Arc<str>| ProtoValue { kind: Some(Kind::StringValue(text.to_string())) };
    let fields = pairs.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
    core_v3::Node { cluster: id.to_string(), metadata: Some(Struct { fields }), ..envoy(&id, NEWEST) }
}

impl Held {
    fn start(&mut self, case: &Case, stream: &DeltaStream) {
        let mut node = Some(node(case));
        for kind in [ResourceType::Cluster, ResourceType::Listener] {
            self.resources.insert(kind, BTreeMap::new());
            let type_url = kind.type_url().to_owned();
            stream.send(DeltaDiscoveryRequest { node: node.take(), type_url, ..DeltaDiscoveryRequest::default() });
        }
    }

    /// Takes a response, and asks for what it leads to.
    fn take(&mut self, response: DeltaDiscoveryResponse, stream: &DeltaStream) -> Result<(), String> {
        stream.send(ack(&response));
        let kind = ResourceType::from_type_url(&response.type_url);
        let kind = kind.ok_or_else(|| format!("a response of type {}", response.type_url))?;
        let held = self.resources.entry(kind).or_default();
        for name in &response.removed_resources {
            held.remove(name);
        }
        let mut wanted = Wanted::default();
        for resource in response.resources {
            let name = resource.name;
            let body = resource.resource.ok_or_else(|| format!("{kind} {name} has no body"))?.value;
            let body = json::resource(kind, &body).map_err(|error| format!("{kind} {name}: {error}"))?;
            wanted.look_into(&body);
            held.insert(name, Resource { version: resource.version, body });
        }
        for (kind, names) in wanted.0 {
            self.ask(kind, names, stream);
        }
        Ok(())
    }

    /// Asks for what nothing leads to, which an Envoy never does, so that nothing stays hidden. True if there is any.
    fn ask_for_the_rest(&mut self, snapshot: &Snapshot, stream: &DeltaStream) -> bool {
        let mut has_asked = false;
        for kind in ResourceType::ALL.into_iter().filter(|kind| !kind.is_wildcard()) {
            let names = snapshot.get(kind).keys().map(ToString::to_string);
            has_asked |= self.ask(kind, names.collect(), stream);
        }
        has_asked
    }

    /// Subscribes to those of these names that are new. True if there are any.
    fn ask(&mut self, kind: ResourceType, names: BTreeSet<String>, stream: &DeltaStream) -> bool {
        let subscribed = self.subscribed.entry(kind).or_default();
        let names: Vec<String> = names.into_iter().filter(|name| subscribed.insert(name.clone())).collect();
        if names.is_empty() {
            return false;
        }
        let type_url = kind.type_url().to_owned();
        stream.send(DeltaDiscoveryRequest { type_url, resource_names_subscribe: names, ..Default::default() });
        true
    }

    fn is_complete(&self, snapshot: &Snapshot) -> bool {
        self.difference(snapshot).is_empty()
    }

    /// What is still to come, and what is held in vain.
    fn difference(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut differences = Vec::new();
        for kind in ResourceType::ALL {
            let nothing = BTreeMap::new();
            let held = self.resources.get(&kind).unwrap_or(&nothing);
            let due = snapshot.get(kind);
            for (name, resource) in due.iter().filter(|(name, _)| kind.is_wildcard() || self.asked(kind, name)) {
                match held.get(&**name) {
                    None => differences.push(format!("{kind} {name} has not come")),
                    Some(held) if held.version != resource.version.to_string() => {
                        differences.push(format!("{kind} {name} is at {}, not {}", held.version, resource.version));
                    }
                    Some(_) => {}
                }
            }
            let is_stub = |name: &str| kind == ResourceType::Route && self.asked(kind, name);
            let in_vain = held.keys().filter(|name| !due.contains_key(name.as_str()) && !is_stub(name));
            differences.extend(in_vain.map(|name| format!("{kind} {name} should not be there")));
        }
        // A route always comes, if need be as a stub.
        let routes = self.missing().into_iter().filter(|(kind, _)| *kind == ResourceType::Route);
        differences.extend(routes.map(|(kind, name)| format!("{kind} {name} has not come")));
        differences
    }

    fn asked(&self, kind: ResourceType, name: &str) -> bool {
        self.subscribed.get(&kind).is_some_and(|names| names.contains(name))
    }

    /// What was asked for and is not there.
    pub(crate) fn missing(&self) -> Vec<(ResourceType, &str)> {
        let of_type = |(kind, names): (&ResourceType, _)| {
            let kind = *kind;
            let is_missing = move |name: &&String| !self.resources.get(&kind).is_some_and(|it| it.contains_key(*name));
            let names: &BTreeSet<String> = names;
            names.iter().filter(is_missing).map(move |name| (kind, name.as_str())).collect::<Vec<_>>()
        };
        self.subscribed.iter().flat_map(of_type).collect()
    }

    /// The resources of a type by name, as JSON.
    pub(crate) fn resources(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &Value)> {
        let resources = self.resources.get(&kind).into_iter().flatten();
        resources.map(|(name, resource)| (name.as_str(), &resource.body))
    }
}

/// Names that clusters and listeners lead to.
#[derive(Default)]
struct Wanted(BTreeMap<ResourceType, BTreeSet<String>>);

impl Wanted {
    fn look_into(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look_into(item)),
            Value::Object(fields) => {
                if fields.get("type").is_some_and(|kind| kind == "EDS") {
                    let named = value.pointer("/edsClusterConfig/serviceName").or_else(|| fields.get("name"));
                    self.want(ResourceType::Endpoint, named);
                }
                if let Some(rds) = fields.get("rds") {
                    self.want(ResourceType::Route, rds.get("routeConfigName"));
                }
                if fields.contains_key("sdsConfig") {
                    self.want(ResourceType::Secret, fields.get("name"));
                }
                fields.values().for_each(|field| self.look_into(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn want(&mut self, kind: ResourceType, name: Option<&Value>) {
        if let Some(name) = name.and_then(Value::as_str) {
            self.0.entry(kind).or_default().insert(name.to_owned());
        }
    }
}
