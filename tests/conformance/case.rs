//! A conformance case: what is written, around what, and which proxy is looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshgate::model::{Datacenter, IntentionPolicy};
use serde::Deserialize;
use serde_json::{Value, json};

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

#[derive(Debug, Default, Deserialize)]
pub(crate) struct State {
    /// What the catalogs of other datacenters hold, as bodies of `catalog/register`.
    #[serde(default)]
    pub(crate) remote_datacenters: BTreeMap<Datacenter, Vec<Value>>,
    /// The replicated gateways of datacenters.
    #[serde(default)]
    federation_states: Vec<Value>,
    #[serde(default)]
    peerings: Vec<Value>,
    #[serde(default)]
    peer_trust_bundles: Vec<Value>,
    /// What peers exported, as bodies of `catalog/register`.
    #[serde(default)]
    imported_services: Vec<Registration>,
    /// Health entries by the name of the query that finds them.
    #[serde(default)]
    prepared_queries: BTreeMap<String, Vec<Value>>,
    /// The members that nothing takes yet.
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, Value>,
}

/// A body of `catalog/register`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Registration {
    peer_name: Value,
    node: Value,
    address: Value,
    #[serde(default)]
    datacenter: Value,
    #[serde(default)]
    tagged_addresses: Value,
    #[serde(default)]
    node_meta: Value,
    service: Value,
    check: Option<Value>,
    #[serde(default)]
    checks: Vec<Value>,
}

impl Registration {
    /// The same as a row of a bundle.
    fn row(&self) -> Value {
        let checks: Vec<_> = self.check.iter().chain(&self.checks).collect();
        json!({
            "PeerName": self.peer_name,
            "Node": {
                "Node": self.node,
                "Address": self.address,
                "Datacenter": self.datacenter,
                "TaggedAddresses": self.tagged_addresses,
                "Meta": self.node_meta,
            },
            "Service": self.service,
            "Checks": checks,
        })
    }
}

impl State {
    /// What comes neither over HTTP nor from another catalog, as the sections of a bundle.
    pub(crate) fn sections(&self) -> Value {
        let query = |(name, nodes): (&String, &Vec<Value>)| json!({ "Name": name, "Nodes": nodes });
        json!({
            "FederationStates": self.federation_states,
            "Peerings": self.peerings,
            "PeerTrustBundles": self.peer_trust_bundles,
            "ImportedServices": self.imported_services.iter().map(Registration::row).collect::<Vec<_>>(),
            "PreparedQueries": self.prepared_queries.iter().map(query).collect::<Vec<_>>(),
        })
    }
}

/// The proxy under test.
#[derive(Debug, Deserialize)]
pub(crate) struct ProxyName {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) partition: String,
}

/// The files of the cases in a folder whose names hold one of `filters`, or all if there are none; sorted.
pub(crate) fn files(folder: &Path, filters: &[String]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(SUFFIX) else { continue };
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Case {
    /// Reads a case.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}
