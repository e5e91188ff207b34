//! `meshgate plan -validate`: an Envoy of each touched proxy's version loads what would be sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{AffectedProxy, Plan};
use crate::cli::envoy::{self, EnvoyVersion};
use crate::cli::{CliError, output};

/// Most lines of a refusal that are shown.
const SHOWN_LINES: usize = 6;

/// What Envoys said.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Verdicts {
    /// Versions that took everything.
    accepted: BTreeSet<String>,
    /// What was refused: the proxy, the version, and why.
    pub(super) refused: Vec<String>,
    /// Versions that there is no binary of, so that their proxies are not validated.
    missing: BTreeSet<String>,
    /// How many proxies that the change reaches were not told, so that they are not validated.
    more: usize,
}

impl Verdicts {
    /// Shows them to people.
    pub(super) fn show(&self) -> Result<(), CliError> {
        self.lines().iter().try_for_each(|line| output::line(line))
    }

    /// What people are told: the versions that were asked, those that are missing with what to do about it, and refusals.
    fn lines(&self) -> Vec<String> {
        let list = |versions: &BTreeSet<String>| versions.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut lines = Vec::new();
        if !self.accepted.is_empty() {
            lines.push(format!("  validated with envoy {}: accepted", list(&self.accepted)));
        }
        if !self.missing.is_empty() {
            let known = envoy::versions().join(", ");
            lines.push(format!(
                "  not validated with envoy {}, which is not on this machine: `meshgate envoy install VERSION` (of {known})",
                list(&self.missing)
            ));
        }
        if self.more > 0 {
            lines.push(format!("  not validated: {} more proxies (-limit)", self.more));
        }
        lines.extend(self.refused.iter().map(|refusal| format!("! MG-ENVOY-001  {refusal}")));
        lines
    }
}

/// Has Envoys on this machine load what the proxies of a plan would be sent.
///
/// # Errors
/// An Envoy cannot be started, or there is none for proxies that do not say their version.
pub(super) fn validated(plan: &Plan) -> Result<Verdicts, CliError> {
    let mut verdicts = Verdicts { more: plan.more_affected, ..Verdicts::default() };
    let mut binaries: BTreeMap<&str, Option<(PathBuf, String)>> = BTreeMap::new();
    let mut refusing = BTreeSet::new();
    // What several proxies are sent alike is loaded once.
    let mut loaded = BTreeSet::new();
    for proxy in &plan.affected {
        let version = proxy.envoy_version.as_str();
        let found = match binaries.get(version) {
            Some(found) => found.clone(),
            None => binaries.entry(version).or_insert(binary(version)?).clone(),
        };
        let Some((path, version)) = found else {
            verdicts.missing.insert(version.to_owned());
            continue;
        };
        let Some(document) = bootstrap(proxy) else { continue };
        if !loaded.insert((version.clone(), document.to_string())) {
            continue;
        }
        match load(&path, &document)? {
            Ok(()) => drop(verdicts.accepted.insert(version)),
            Err(why) => {
                verdicts.refused.push(format!("{}: Envoy {version} refuses it: {why}", proxy.id));
                refusing.insert(version);
            }
        }
    }
    verdicts.accepted.retain(|version| !refusing.contains(version));
    Ok(verdicts)
}

/// The Envoy for a version as a proxy says it, or any for one that does not, and its own version.
fn binary(version: &str) -> Result<Option<(PathBuf, String)>, CliError> {
    let found = match EnvoyVersion::parse(version) {
        Some(wanted) => envoy::compatible(wanted),
        None => Some(envoy::find(None)?),
    };
    let Some(path) = found else { return Ok(None) };
    let version = envoy::version_of(&path)?;
    Ok(Some((path, version.to_string())))
}

/// What an Envoy can load of what a proxy would be sent; `None` if that is nothing. It says nothing of the proxy itself,
/// so that it is the same for all that are sent the same. Endpoints and secrets come from the control
/// plane, so that they are looked at by the proxy alone.
fn bootstrap(proxy: &AffectedProxy) -> Option<Value> {
    let of = |kind: &str| -> Vec<Value> {
        let messages =
            proxy.resources.iter().filter(|it| it.kind == kind).filter_map(|it| it.message.as_deref().cloned());
        messages.map(without_type).collect()
    };
    let (clusters, mut listeners) = (of("CDS"), of("LDS"));
    listeners.iter_mut().for_each(leave_clusters);
    listeners.extend(of("RDS").into_iter().enumerate().map(|(at, route)| around(at, route)));
    if clusters.is_empty() && listeners.is_empty() {
        return None;
    }
    let control_plane = json!({
        "name": "meshgate_validation", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": { "cluster_name": "meshgate_validation" },
    });
    let service = json!({ "envoy_grpc": { "cluster_name": "meshgate_validation" } });
    Some(json!({
        "node": { "id": "meshgate_validation", "cluster": "meshgate_validation" },
        "dynamic_resources": { "ads_config": {
            "api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [service],
        } },
        "static_resources": {
            "clusters": clusters.into_iter().chain([control_plane]).collect::<Vec<_>>(),
            "listeners": listeners,
        },
    }))
}

fn without_type(mut message: Value) -> Value {
    if let Value::Object(fields) = &mut message {
        fields.remove("@type");
    }
    message
}

/// Lets the routes inside of a message lead to clusters that are not there: those that do not change are not. Envoy wants
/// them in a bootstrap, and does not over ADS.
fn leave_clusters(message: &mut Value) {
    match message {
        Value::Object(fields) => {
            if let Some(Value::Object(routes)) = fields.get_mut("routeConfig") {
                routes.insert("validateClusters".to_owned(), false.into());
            }
            fields.values_mut().for_each(leave_clusters);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_clusters),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A listener with these routes, which lead to clusters that need not be there.
fn around(at: usize, mut routes: Value) -> Value {
    routes["validateClusters"] = false.into();
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "validation", "route_config": routes, "http_filters": [router],
    });
    let filter = json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager });
    json!({
        "name": format!("meshgate_validation_{at}"),
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [filter] }],
    })
}

/// Has an Envoy load a bootstrap; why it does not.
fn load(path: &Path, bootstrap: &Value) -> Result<Result<(), String>, CliError> {
    let failed = |what: &'static str| CliError::io(format!("{}: {what}", path.display()));
    let mut file = tempfile(bootstrap)?;
    let output = Command::new(path)
        .args(["--mode", "validate", "--log-level", "warning", "--config-path"])
        .arg(&file.path)
        .stdin(Stdio::null())
        .output()
        .map_err(failed("it cannot be started"))?;
    file.remove();
    if output.status.success() {
        return Ok(Ok(()));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(SHOWN_LINES);
    Ok(Err(lines.get(last..).unwrap_or_default().join("\n      ")))
}

/// A file that only its owner reads, removed when it is dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn remove(&mut self) {
        // What is left behind in the folder for temporary files is swept by the system.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}

fn tempfile(content: &Value) -> Result<Temporary, CliError> {
    let path = std::env::temp_dir().join(format!("meshgate-{}.json", uuid::Uuid::new_v4()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(CliError::io(path.display().to_string()))?;
    let written = Temporary { path };
    file.write_all(content.to_string().as_bytes()).map_err(CliError::io(written.path.display().to_string()))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_here_is_named_with_those_that_can_be_installed() {
        // No Envoy has this version, so none is on this machine.
        let affected = |id: &str| {
            json!({
                "Datacenter": "dc1", "Partition": "default", "Node": "n", "ID": id, "Connected": true,
                "EnvoyVersion": "1.2.3", "Effect": "none", "Resources": [], "Problems": [],
            })
        };
        let proxies = json!({ "Total": 9, "Affected": 9, "Connected": 9, "Unchanged": [] });
        let plan: Plan = serde_json::from_value(json!({
            "Index": 7, "Changed": true, "Changes": [], "Proxies": proxies, "Impacts": [],
            "Affected": [affected("web"), affected("api")], "MoreAffected": 7, "Findings": [], "MoreFindings": 0,
        }))
        .unwrap();

        let verdicts = validated(&plan).unwrap();

        let lines = verdicts.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("  not validated with envoy 1.2.3, which is not on this machine: "), "{lines:?}");
        let newest = envoy::versions().pop().unwrap();
        assert!(lines[0].contains("`meshgate envoy install VERSION` (of ") && lines[0].contains(newest), "{lines:?}");
        assert_eq!(lines[1], "  not validated: 7 more proxies (-limit)");
    }
}
