//! What must hold inside every snapshot, read off the resources as Envoy sees them.

use std::collections::BTreeSet;

use meshgate::envoy::json;
use meshgate::envoy::snapshot::{ResourceType, Snapshot};
use serde_json::Value;

/// Names that a resource mentions, by what they are names of.
#[derive(Default)]
struct Mentions {
    clusters: BTreeSet<String>,
    routes: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Mentions {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(fields) => {
                for (key, field) in fields {
                    match (key.as_str(), field) {
                        // Empty where the SNI chooses the cluster.
                        ("cluster", Value::String(name)) => {
                            self.clusters.extend((!name.is_empty()).then(|| name.clone()));
                        }
                        ("routeConfigName", Value::String(name)) => self.routes.extend([name.clone()]),
                        ("sdsConfig", _) => self.secrets.extend([text(&fields["name"])]),
                        // The parts of a split.
                        ("weightedClusters", Value::Object(split)) => {
                            let parts = split["clusters"].as_array().into_iter().flatten();
                            self.clusters.extend(parts.map(|part| text(&part["name"])));
                        }
                        // The legs of an aggregate cluster.
                        ("clusters", Value::Array(names)) if names.iter().all(Value::is_string) => {
                            self.clusters.extend(names.iter().map(text));
                        }
                        _ => self.collect(field),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn resources(snapshot: &Snapshot, kind: ResourceType) -> Vec<Value> {
    let resources = snapshot.get(kind).values();
    resources.map(|resource| json::resource(kind, &resource.body).expect("it can be shown")).collect()
}

/// What is wrong in a snapshot.
pub(crate) fn faults(snapshot: &Snapshot) -> Vec<String> {
    let mut faults = Vec::new();
    let names = |kind| -> BTreeSet<String> { snapshot.get(kind).keys().map(ToString::to_string).collect() };
    let mut all = Mentions::default();
    for kind in [ResourceType::Listener, ResourceType::Route, ResourceType::Cluster] {
        for (resource, shown) in snapshot.get(kind).values().zip(resources(snapshot, kind)) {
            if text(&shown["name"]) != *resource.name {
                faults.push(format!("{kind} {} calls itself {}", resource.name, shown["name"]));
            }
            let mut own = Mentions::default();
            own.collect(&shown);
            let told: BTreeSet<String> = resource.references.iter().map(ToString::to_string).collect();
            if kind != ResourceType::Cluster && told != own.clusters {
                faults.push(format!("{kind} {} says it needs {told:?}, and names {:?}", resource.name, own.clusters));
            }
            all.clusters.append(&mut own.clusters);
            all.routes.append(&mut own.routes);
            all.secrets.append(&mut own.secrets);
        }
    }
    let is_eds = |cluster: &&Value| cluster["type"] == "EDS";
    let eds = resources(snapshot, ResourceType::Cluster).iter().filter(is_eds).map(|c| text(&c["name"])).collect();
    let assigned = resources(snapshot, ResourceType::Endpoint);
    // A gateway always has the endpoints of its own datacenter's servers, and their cluster only where federation states
    // name the datacenter (contract 4.6, b).
    let is_of_servers = |name: &String| name.starts_with("server.");
    let assigned = assigned.iter().map(|it| text(&it["clusterName"])).filter(|name| !is_of_servers(name)).collect();
    for (what, wanted, found) in [
        ("clusters", &all.clusters, &names(ResourceType::Cluster)),
        ("routes", &all.routes, &names(ResourceType::Route)),
        ("used routes", &names(ResourceType::Route), &all.routes),
        ("secrets", &all.secrets, &names(ResourceType::Secret)),
        ("assignments", &eds, &names(ResourceType::Endpoint)),
        ("clusters with assignments", &assigned, &eds),
    ] {
        let missing: Vec<_> = wanted.difference(found).collect();
        if !missing.is_empty() {
            faults.push(format!("there are no {what} {missing:?}"));
        }
    }
    let listeners = resources(snapshot, ResourceType::Listener);
    let addresses: BTreeSet<_> = listeners.iter().map(|listener| listener["address"].to_string()).collect();
    if addresses.len() < listeners.len() {
        faults.push("two listeners have one address".to_owned());
    }
    faults
}
