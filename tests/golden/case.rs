//! A case: what is registered, which proxy is looked at, and what it gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use meshgate::engine;
use meshgate::envoy::json;
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType, Snapshot};
use meshgate::model::{Datacenter, DnsDomain, IntentionPolicy};
use serde::Deserialize;
use serde_json::Value;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::support::mesh::{AGENT, Mesh, Watched, options};

/// `input.yaml` of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Hosted datacenters, the process's own one first.
    #[serde(default)]
    hosted: Vec<Datacenter>,
    /// What happens to calls that no intention speaks about.
    #[serde(default)]
    default_intention_policy: IntentionPolicy,
    /// The DNS domain of the agents.
    #[serde(default)]
    domain: Option<String>,
    /// The proxy that is looked at.
    proxy: ProxyName,
    /// What no call can set up: sections of a bundle (`docs/bundle.md`), there before the first call.
    #[serde(default)]
    state: Option<Value>,
    /// What is written, in order. Every call must succeed.
    calls: Vec<Call>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyName {
    id: String,
    #[serde(default)]
    node: String,
    #[serde(default)]
    datacenter: String,
    #[serde(default)]
    partition: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    method: String,
    path: String,
    body: Value,
}

/// A folder of `testdata/golden`.
pub(crate) struct Case {
    pub(crate) folder: PathBuf,
    input: Input,
}

/// What the proxy of a case gets.
pub(crate) struct Outcome {
    pub(crate) snapshot: Arc<Snapshot>,
    problems: Vec<String>,
}

impl Case {
    /// Every case, sorted.
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
        let folders = std::fs::read_dir(&root).expect("the folder of goldens exists");
        let mut folders: Vec<_> = folders.map(|entry| entry.expect("it can be read").path()).collect();
        folders.sort();
        folders.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> Self {
        let path = folder.join("input.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let input = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { folder, input }
    }

    /// The name of the folder.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Makes the calls and takes what the proxy gets.
    pub(crate) async fn run(&self) -> Outcome {
        let Input { hosted, default_intention_policy, domain, proxy, state, calls } = &self.input;
        let domain = domain.as_deref().map(|domain| DnsDomain::parse(domain).expect("a DNS domain"));
        let options =
            engine::Options { dns_domain: domain.unwrap_or_default(), ..options(hosted, *default_intention_policy) };
        let mesh = Mesh::start(options).await;
        if let Some(sections) = state {
            mesh.restore(sections).await.unwrap_or_else(|error| panic!("{}: state: {error}", self.name()));
        }
        for Call { method, path, body } in calls {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let (status, answer) = mesh.call(&method, path, body.to_string()).await;
            assert_eq!(status, 200, "{}: {method} {path}: {answer}", self.name());
        }
        let node = NodeIdentity {
            id: proxy.id.as_str().into(),
            datacenter: proxy.datacenter.as_str().into(),
            partition: proxy.partition.as_str().into(),
            namespace: "".into(),
            node_name: if proxy.node.is_empty() { AGENT.into() } else { proxy.node.as_str().into() },
        };
        let mut proxy = Watched::new(&mesh.engine, &node);
        let snapshot = proxy.next().await;
        let problems = mesh.engine.proxies().into_iter().flat_map(|proxy| proxy.problems).collect();
        Outcome { snapshot, problems }
    }
}

impl Outcome {
    /// The files of the case: one for each type that has resources, and one for what is reported, if anything is.
    pub(crate) fn outputs(&self) -> BTreeMap<&'static str, Value> {
        let of_types = ResourceType::ALL.into_iter().map(|kind| (file(kind), self.resources(kind)));
        let problems = self.problems.iter().map(|problem| Value::from(problem.as_str())).collect();
        of_types
            .chain([("problems.json", problems)])
            .filter(|(_, items): &(_, Vec<Value>)| !items.is_empty())
            .map(|(name, items)| (name, Value::Array(items)))
            .collect()
    }

    fn resources(&self, kind: ResourceType) -> Vec<Value> {
        let mut resources = self.resources_with_secrets(kind);
        resources.iter_mut().for_each(hide);
        resources
    }

    /// The resources of a type as JSON, certificates and keys as they are.
    pub(crate) fn resources_with_secrets(&self, kind: ResourceType) -> Vec<Value> {
        let resources = self.snapshot.get(kind).values();
        resources.map(|resource| json::resource(kind, &resource.body).expect("it can be shown")).collect()
    }
}

/// The file of a resource type.
fn file(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Secret => "secrets.json",
        ResourceType::Cluster => "clusters.json",
        ResourceType::Endpoint => "endpoints.json",
        ResourceType::Listener => "listeners.json",
        ResourceType::Route => "routes.json",
    }
}

/// Puts what a certificate is for in place of the certificate, which differs from run to run.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("-----BEGIN ") => *text = described(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn described(pem: &str) -> String {
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).map(|block| {
        let block = block.expect("well-formed PEM");
        match block.label.as_str() {
            "CERTIFICATE" => format!("<certificate of {}>", uris(&block)),
            label => format!("<{}>", label.to_lowercase()),
        }
    });
    blocks.collect::<Vec<_>>().join(" ")
}

/// The URIs that a certificate speaks for.
fn uris(block: &Pem) -> String {
    let certificate = block.parse_x509().expect("a certificate");
    let names = certificate.subject_alternative_name().expect("at most one extension of a kind").expect("it has names");
    let uris = names.value.general_names.iter().map(|name| {
        let GeneralName::URI(uri) = name else { panic!("{name} is no URI") };
        *uri
    });
    uris.collect::<Vec<_>>().join(", ")
}
