//! What an Envoy has, by its own word, in the form in which the control plane tells what it should have; and how the two differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::endpoints;
use crate::codec::hide_private_keys_in;
use crate::envoy::change::{FieldChange, differing};

/// A part of a dump: the type, the list, where the resource and its version are in an item, and the state of such an item.
type Section = (&'static str, &'static str, &'static [&'static str], &'static str);

/// The parts of a dump that hold what came over xDS.
const SECTIONS: [Section; 8] = [
    ("CDS", "dynamic_active_clusters", &["cluster"], "active"),
    ("CDS", "dynamic_warming_clusters", &["cluster"], "warming"),
    ("LDS", "dynamic_listeners", &["active_state", "listener"], "active"),
    ("LDS", "dynamic_listeners", &["warming_state", "listener"], "warming"),
    ("EDS", "dynamic_endpoint_configs", &["endpoint_config"], "active"),
    ("RDS", "dynamic_route_configs", &["route_config"], "active"),
    ("SDS", "dynamic_active_secrets", &["secret"], "active"),
    ("SDS", "dynamic_warming_secrets", &["secret"], "warming"),
];

/// Members whose keys are names, which are kept as they are.
const NAMED: [&str; 4] =
    ["typed_filter_metadata", "typed_per_filter_config", "typed_extension_protocol_options", "policies"];
/// The member in which somebody wrote whatever they wanted to.
const FREE: &str = "filter_metadata";

/// What stands where something is not shown.
const HIDDEN: &str = "<hidden>";

/// What an Envoy has.
pub(super) struct Actual {
    /// The `node.id` that it was started with.
    pub(super) node: String,
    /// The bootstrap document that it was started with.
    pub(super) bootstrap: Value,
    /// What it uses, and what waits for something: in the form of the API, with its state.
    pub(super) resources: Vec<Value>,
    /// What it refused, and why, with the type.
    pub(super) problems: Vec<(&'static str, String)>,
}

impl Actual {
    /// Reads what `/config_dump?include_eds` answers.
    pub(super) fn of(dump: &Value) -> Self {
        let configs: Vec<&Value> = dump["configs"].as_array().into_iter().flatten().collect();
        let bootstrap = configs.iter().map(|config| &config["bootstrap"]).find(|found| found.is_object());
        let mut bootstrap = bootstrap.cloned().unwrap_or_default();
        hide_tokens(&mut bootstrap);
        hide_private_keys_in(&mut bootstrap);
        let mut resources = Vec::new();
        let mut problems = Vec::new();
        for config in configs {
            for section in SECTIONS {
                let items = config[section.1].as_array().into_iter().flatten();
                resources.extend(items.filter_map(|item| resource(section, item)));
            }
            let refused =
                [("LDS", "dynamic_listeners"), ("CDS", "dynamic_active_clusters"), ("CDS", "dynamic_warming_clusters")];
            for (kind, list) in refused {
                for item in config[list].as_array().into_iter().flatten() {
                    if let Some(details) = item["error_state"]["details"].as_str() {
                        problems.push((kind, format!("{} was refused: {details}", name(item))));
                    }
                }
            }
        }
        // It tells endpoints of clusters too that came with them, and those have no assignment.
        let assigned: BTreeSet<_> = resources.iter().filter_map(assignment).collect();
        resources.retain(|it| it["Type"] != "EDS" || assigned.contains(&text(&it["Name"])));
        resources.iter_mut().for_each(hide_private_keys_in);
        resources.sort_by_cached_key(|it| (it["Type"].to_string(), it["Name"].to_string()));
        let node = bootstrap["node"]["id"].as_str().unwrap_or_default().to_owned();
        Self { node, bootstrap, resources, problems }
    }
}

/// Hides what an Envoy says about itself to the control plane: its token is among that.
fn hide_tokens(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for header in members.get_mut("initial_metadata").and_then(Value::as_array_mut).into_iter().flatten() {
                header["value"] = HIDDEN.into();
            }
            members.values_mut().for_each(hide_tokens);
        }
        Value::Array(items) => items.iter_mut().for_each(hide_tokens),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An item of a dump in the form of the API; `None` if there is nothing in this state.
fn resource((kind, _, path, state): Section, item: &Value) -> Option<Value> {
    let found = path.iter().fold(item, |value, key| &value[*key]);
    let parent = path.iter().rev().skip(1).rev().fold(item, |value, key| &value[*key]);
    let mut content = camel(found);
    content.as_object_mut()?.remove("@type");
    let named = if kind == "EDS" { text(&found["cluster_name"]) } else { text(&found["name"]) };
    let named = if named.is_empty() { name(item) } else { named };
    let version = text(&parent["version_info"]);
    Some(json!({ "Type": kind, "Name": named, "Version": version, "State": state, "Resource": content }))
}

/// What the assignment of a cluster is called, if it has one.
fn assignment(resource: &Value) -> Option<String> {
    let cluster = &resource["Resource"];
    let eds = cluster.get("edsClusterConfig")?;
    Some(text(if eds["serviceName"].is_string() { &eds["serviceName"] } else { &cluster["name"] }))
}

fn name(item: &Value) -> String {
    let places = [&item["name"], &item["cluster"]["name"], &item["error_state"]["failed_configuration"]["name"]];
    places.into_iter().find_map(Value::as_str).unwrap_or("something").to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The same with fields as JSON has them: dumps write `connect_timeout`, and the API `connectTimeout`.
fn camel(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let member = |(key, inner): (&String, &Value)| match (NAMED.contains(&key.as_str()), inner) {
                _ if key == FREE => (camel_key(key), inner.clone()),
                (true, Value::Object(named)) => {
                    let named = named.iter().map(|(name, inner)| (name.clone(), camel(inner)));
                    (camel_key(key), Value::Object(named.collect()))
                }
                _ => (camel_key(key), camel(inner)),
            };
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(camel).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other.clone(),
    }
}

fn camel_key(key: &str) -> String {
    let mut written = String::with_capacity(key.len());
    let mut is_next = false;
    for letter in key.chars() {
        match letter {
            '_' => is_next = true,
            letter if is_next => {
                written.push(letter.to_ascii_uppercase());
                is_next = false;
            }
            letter => written.push(letter),
        }
    }
    written
}

/// A resource that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Difference {
    /// Its type, such as `CDS`.
    #[serde(rename = "Type")]
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    /// `missing`, `unwanted`, `other` or `warming`.
    pub(super) state: &'static str,
    /// The version that it should have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) desired: String,
    /// The version that it has.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) actual: String,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Value>,
}

/// How what an Envoy has differs from what it should have. Secrets and routes that nothing of it uses it never asks for, so
/// that those alone may be missing; of endpoints, whose versions it does not tell, the contents are compared.
pub(super) fn differences(desired: &[&Value], actual: &[Value]) -> Vec<Difference> {
    type Key = (String, String);
    let key = |it: &Value| -> Key { (text(&it["Type"]), text(&it["Name"])) };
    let wanted: BTreeMap<Key, &Value> = desired.iter().map(|it| (key(it), *it)).collect();
    let of_state = |state: &str| -> BTreeMap<Key, &Value> {
        actual.iter().filter(|it| it["State"] == state).map(|it| (key(it), it)).collect()
    };
    let (active, warming) = (of_state("active"), of_state("warming"));
    let names: BTreeSet<&Key> = wanted.keys().chain(active.keys()).chain(warming.keys()).collect();
    let judged = |name: &&Key| {
        let (want, has, comes) = (wanted.get(*name), active.get(*name), warming.get(*name));
        let (kind, called) = (*name).clone();
        let may_be_missing = matches!(kind.as_str(), "SDS" | "RDS");
        let state = match (want, has, comes) {
            (Some(want), Some(has), None) if is_same(&kind, want, has) => return None,
            (Some(_), None, None) if may_be_missing || kind == "EDS" && is_empty(want?) => return None,
            (None, None, _) => return None,
            (Some(_), _, Some(_)) => "warming",
            (Some(_), None, None) => "missing",
            (Some(_), Some(_), None) => "other",
            (None, Some(_), _) => "unwanted",
        };
        let version = |of: Option<&&Value>| of.map(|of| text(&of["Version"])).unwrap_or_default();
        let fields = match (want, has.or(comes)) {
            (Some(want), Some(has)) if kind != "SDS" => differing(&content(has), &content(want)),
            _ => Vec::new(),
        };
        let shown =
            |FieldChange { path, old, new }: FieldChange| json!({ "Path": path, "Actual": old, "Desired": new });
        Some(Difference {
            kind,
            name: called,
            state,
            desired: version(want),
            actual: version(has.or(comes)),
            fields: fields.into_iter().map(shown).collect(),
        })
    };
    names.iter().filter_map(judged).collect()
}

/// A resource without what says its type, which a dump and the API write at different places.
fn content(resource: &Value) -> Value {
    let mut content = resource["Resource"].clone();
    if let Value::Object(members) = &mut content {
        members.remove("@type");
    }
    content
}

fn is_same(kind: &str, want: &Value, has: &Value) -> bool {
    if kind != "EDS" {
        // Envoy (1.40) goes on to tell the version of before for a listener of which it replaced the filter chains alone.
        let is_equal = || kind == "LDS" && differing(&content(has), &content(want)).is_empty();
        return want["Version"] == has["Version"] || is_equal();
    }
    let rows = |of: &Value| -> BTreeSet<Vec<String>> { endpoints(of).into_iter().map(usual).collect() };
    rows(want) == rows(has)
}

/// A row of endpoints as Envoy tells it: one of which nothing is known is healthy, and has a weight of 1.
fn usual(mut row: Vec<String>) -> Vec<String> {
    for (cell, from, to) in [(2, "unknown", "healthy"), (4, "-", "1")] {
        if let Some(cell) = row.get_mut(cell).filter(|cell| *cell == from) {
            to.clone_into(cell);
        }
    }
    row
}

fn is_empty(assignment: &Value) -> bool {
    let localities = assignment["Resource"]["endpoints"].as_array().into_iter().flatten();
    localities.flat_map(|it| it["lbEndpoints"].as_array().into_iter().flatten()).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dump as Envoy 1.40 writes it, as far as it is read.
    fn dump() -> Value {
        let endpoint = json!({ "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": 80 } } },
            "health_status": "HEALTHY", "load_balancing_weight": 1 });
        json!({ "configs": [
            { "bootstrap": { "node": { "id": "web-proxy" }, "dynamic_resources": { "ads_config": { "grpc_services": [
                { "initial_metadata": [{ "key": "x-consul-token", "value": "secret" }] } ] } } } },
            {
                "dynamic_active_clusters": [
                    { "version_info": "1", "cluster": { "@type": "c", "name": "a", "connect_timeout": "5s",
                        "eds_cluster_config": {} } },
                    { "version_info": "1", "cluster": { "name": "old" } },
                ],
                "dynamic_warming_clusters": [{ "version_info": "2", "cluster": { "name": "b" } }],
            },
            { "dynamic_listeners": [
                { "name": "l", "active_state": { "version_info": "1", "listener": { "name": "l", "metadata":
                    { "filter_metadata": { "a_b": { "c_d": 1 } } } } },
                  "error_state": { "details": "no such filter" } },
                { "name": "m", "active_state": { "version_info": "1", "listener": { "name": "m" } } },
            ] },
            { "dynamic_endpoint_configs": [{ "endpoint_config": { "cluster_name": "a", "endpoints": [{ "lb_endpoints": [endpoint] }] } }] },
        ] })
    }

    fn wanted(kind: &str, name: &str, version: &str, resource: Value) -> Value {
        json!({ "Type": kind, "Name": name, "Version": version, "Resource": resource })
    }

    #[test]
    fn a_dump_is_read_in_the_form_of_the_api() {
        let actual = Actual::of(&dump());

        let shown = |it: &Value| ["Type", "Name", "Version", "State"].map(|field| text(&it[field])).join(" ");
        let told: Vec<_> = actual.resources.iter().map(shown).collect();
        assert_eq!(
            told,
            [
                "CDS a 1 active",
                "CDS b 2 warming",
                "CDS old 1 active",
                "EDS a  active",
                "LDS l 1 active",
                "LDS m 1 active"
            ]
        );
        assert_eq!(
            actual.resources[0]["Resource"],
            json!({ "name": "a", "connectTimeout": "5s", "edsClusterConfig": {} })
        );
        assert_eq!(actual.resources[4]["Resource"]["metadata"]["filterMetadata"], json!({ "a_b": { "c_d": 1 } }));
        assert_eq!(
            (actual.node.as_str(), actual.problems),
            ("web-proxy", vec![("LDS", "l was refused: no such filter".to_owned())])
        );
        assert!(!actual.bootstrap.to_string().contains("secret"), "{}", actual.bootstrap);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_told() {
        let actual = Actual::of(&dump());
        let endpoint =
            json!({ "endpoint": { "address": { "socketAddress": { "address": "10.0.0.1", "portValue": 80 } } } });
        let desired = [
            wanted("CDS", "a", "2", json!({ "name": "a", "connectTimeout": "7s", "edsClusterConfig": {} })),
            wanted("CDS", "b", "2", json!({ "name": "b" })),
            wanted("CDS", "new", "1", json!({ "name": "new" })),
            wanted("EDS", "a", "9", json!({ "endpoints": [{ "lbEndpoints": [endpoint] }] })),
            wanted("EDS", "none", "9", json!({})),
            wanted("LDS", "l", "1", json!({ "name": "l" })),
            // Its filter chains were replaced in place.
            wanted("LDS", "m", "2", json!({ "@type": "l", "name": "m" })),
            wanted("SDS", "leaf", "1", json!({})),
        ];

        let found = differences(&desired.iter().collect::<Vec<_>>(), &actual.resources);

        let told: Vec<_> = found.iter().map(|it| format!("{} {} {}", it.kind, it.name, it.state)).collect();
        assert_eq!(told, ["CDS a other", "CDS b warming", "CDS new missing", "CDS old unwanted"]);
        assert_eq!(found[0].fields, [json!({ "Path": "connectTimeout", "Actual": "5s", "Desired": "7s" })]);
        assert_eq!((found[0].desired.as_str(), found[0].actual.as_str()), ("2", "1"));
    }
}
