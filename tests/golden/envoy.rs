//! A real Envoy takes every case: its resources stand in a bootstrap, endpoints in files, and `envoy --mode validate`
//! loads all of them without opening a socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use meshgate::cli::envoy::find_or_install;
use meshgate::envoy::snapshot::ResourceType;
use serde_json::{Value, json};

use crate::case::{Case, Outcome};

/// The resources of one proxy by type.
struct Resources {
    listeners: Vec<Value>,
    clusters: Vec<Value>,
    endpoints: Vec<Value>,
    routes: Vec<Value>,
    secrets: Vec<Value>,
}

impl From<&Outcome> for Resources {
    fn from(outcome: &Outcome) -> Self {
        let of = |kind| outcome.resources_with_secrets(kind);
        Self {
            listeners: of(ResourceType::Listener),
            clusters: of(ResourceType::Cluster),
            endpoints: of(ResourceType::Endpoint),
            routes: of(ResourceType::Route),
            secrets: of(ResourceType::Secret),
        }
    }
}

impl Resources {
    /// Asks Envoy; the reasons if it refuses something.
    fn check(mut self, envoy: &Path) -> Result<(), String> {
        let directory = tempfile::tempdir().expect("there is room for temporary files");
        let folder = directory.path();
        for (position, cluster) in self.clusters.iter_mut().enumerate() {
            let Some(source) = cluster.pointer_mut("/edsClusterConfig/edsConfig") else { continue };
            let name = format!("endpoints-{position}.json");
            *source = json!({ "pathConfigSource": { "path": folder.join(&name) }, "resourceApiVersion": "V3" });
            let own = self.endpoints.iter().find(|endpoints| endpoints["clusterName"] == cluster["name"]);
            write(folder, &name, &json!({ "resources": Vec::from_iter(own) }));
        }
        let Self { mut listeners, mut clusters, mut routes, mut secrets, .. } = self;
        [&mut listeners, &mut clusters, &mut routes, &mut secrets].into_iter().flatten().for_each(without_type);
        listeners.iter_mut().chain(&mut clusters).for_each(|resource| bring_along(resource, &routes));
        let bootstrap = json!({
            "node": { "id": "a", "cluster": "a" },
            "staticResources": { "listeners": listeners, "clusters": clusters, "secrets": secrets },
        });
        let path = write(folder, "bootstrap.json", &bootstrap);
        let arguments = ["--mode", "validate", "--log-level", "warning", "--config-path"];
        let output = Command::new(envoy).args(arguments).arg(path).output().expect("Envoy runs");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        // What comes from files is refused in the log alone.
        if output.status.success() && !log.contains("rejected") { Ok(()) } else { Err(log) }
    }
}

fn write(folder: &Path, name: &str, value: &Value) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, value.to_string()).expect("there is room for temporary files");
    path
}

/// In a bootstrap, resources stand without their type.
fn without_type(resource: &mut Value) {
    resource.as_object_mut().and_then(|fields| fields.remove("@type"));
}

/// Puts routes where they are named, and has secrets looked up in the bootstrap.
fn bring_along(value: &mut Value, routes: &[Value]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| bring_along(item, routes)),
        Value::Object(fields) => {
            fields.remove("sdsConfig");
            if let Some(rds) = fields.remove("rds") {
                let route = routes.iter().find(|route| route["name"] == rds["routeConfigName"]);
                fields.insert("routeConfig".to_owned(), route.expect("the route that a listener names").clone());
            }
            fields.values_mut().for_each(|field| bring_along(field, routes));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn installed() -> PathBuf {
    find_or_install(None).expect("Envoy is there, or can be installed")
}

#[tokio::test]
async fn envoy_accepts_every_case() {
    let envoy = installed();
    let mut refused = Vec::new();
    for case in Case::all() {
        let resources = Resources::from(&case.run().await);
        if let Err(log) = resources.check(&envoy) {
            refused.push(format!("{}: {log}", case.name()));
        }
    }

    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// The check above sees what is wrong in each type of resource.
#[tokio::test]
async fn envoy_refuses_what_is_broken() {
    let envoy = installed();
    let case = Case::all().into_iter().find(|case| case.name() == "upstream-http-redirect-to-other-dc");
    let outcome = case.expect("a case with resources of every type").run().await;
    let broken: [fn(&mut Resources); 5] = [
        |resources| resources.listeners[0]["address"]["socketAddress"]["portValue"] = json!(65_536),
        |resources| resources.clusters[0]["connectTimeout"] = json!("0s"),
        |resources| resources.endpoints[0]["endpoints"][0]["lbEndpoints"][0]["loadBalancingWeight"] = json!(0),
        |resources| resources.routes[0]["virtualHosts"][0]["domains"] = json!([]),
        |resources| resources.secrets[0]["name"] = json!("other"),
    ];

    Resources::from(&outcome).check(&envoy).unwrap();
    for (position, break_it) in broken.into_iter().enumerate() {
        let mut resources = Resources::from(&outcome);
        break_it(&mut resources);
        assert!(resources.check(&envoy).is_err(), "break {position} is not seen");
    }
}
