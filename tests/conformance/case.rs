//! A conformance case: what is written, around what, and which proxy is looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshgate::envoy::snapshot::NodeIdentity;
use meshgate::model::{Datacenter, IntentionPolicy};
use serde::Deserialize;
use serde_json::Value;

/// End of the name of a file that holds a case.
const SUFFIX: &str = ".input.json";

/// What a case says; what only the comparer reads is left out.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) datacenter: Datacenter,
    /// Every datacenter that the local one knows of.
    pub(crate) datacenters: Vec<Datacenter>,
    pub(crate) trust_domain: String,
    pub(crate) default_intention_policy: IntentionPolicy,
    /// What is written over HTTP, in order.
    pub(crate) calls: Vec<Call>,
    /// What no call can set up.
    #[serde(default)]
    pub(crate) state: State,
    pub(crate) proxy: ProxyName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// Each member in the words of the case; `state` makes a bundle of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct State {
    /// What the catalogs of other datacenters hold, as bodies of `catalog/register`.
    pub(crate) remote_datacenters: BTreeMap<String, Vec<Value>>,
    pub(crate) federation_states: Vec<Value>,
    pub(crate) peerings: Vec<Value>,
    pub(crate) peer_trust_bundles: Vec<Value>,
    /// What peers exported, as bodies of `catalog/register`.
    pub(crate) imported_services: Vec<Value>,
    /// What executing each query returns.
    pub(crate) prepared_queries: BTreeMap<String, Value>,
}

/// The proxy under test.
#[derive(Debug, Deserialize)]
pub(crate) struct ProxyName {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) partition: String,
}

/// Where the cases are: `$MESHGATE_CONFORMANCE_CASES`, else `../shared/conformance`.
pub(crate) fn folder() -> PathBuf {
    let named = std::env::var_os("MESHGATE_CONFORMANCE_CASES").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"))
}

/// The files of the cases in a folder whose names hold one of `filters`, or all if there are none; sorted.
pub(crate) fn files(folder: &Path, filters: &[String]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_case = path.to_string_lossy().ends_with(SUFFIX);
        let name = name(&path);
        if is_case && (filters.is_empty() || filters.iter().any(|filter| name.contains(filter))) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The name of the case in a file.
pub(crate) fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_suffix(SUFFIX).map(str::to_owned).unwrap_or(name)
}

impl Case {
    /// Reads a case.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let case: Self = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        // What it gets is left in a folder of this name.
        if case.name == name(path) { Ok(case) } else { Err(format!("it says that it is called {}", case.name)) }
    }

    /// The proxy under test, by what its stream says.
    pub(crate) fn identity(&self) -> NodeIdentity {
        NodeIdentity {
            id: self.proxy.id.as_str().into(),
            datacenter: self.datacenter.as_str().into(),
            partition: self.proxy.partition.as_str().into(),
            namespace: "default".into(),
            node_name: self.proxy.node.as_str().into(),
        }
    }
}
