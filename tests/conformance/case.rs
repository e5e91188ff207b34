//! A conformance case: what is written, around what, and which proxy is looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

#[derive(Debug, Default, Deserialize)]
pub(crate) struct State {
    /// What the catalogs of other datacenters hold, as bodies of `catalog/register`.
    #[serde(default)]
    pub(crate) remote_datacenters: BTreeMap<Datacenter, Vec<Value>>,
    /// The members that nothing takes yet.
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, Value>,
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
