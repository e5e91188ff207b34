//! `meshgate replay`: the control plane that a bundle was taken from, once more.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::Value;

use super::agent::{ProcessOptions, serve};
use super::{CliError, files, output};
use crate::codec;
use crate::model::Bundle;
use crate::settings::{Inputs, Settings};

/// Options of `meshgate replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
The state is kept in memory alone. Everything that proxies are told is as it was, apart from certificates and keys, which \
are new. Datacenters, node name, trust domain and default intention policy are those of the bundle; no health checks are run.
Try `meshgate debug bundle -o state.json` on a running agent, then `meshgate replay state.json`.")]
pub(super) struct ReplayOptions {
    /// File that `meshgate debug bundle` or `meshgate bug-report` wrote; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: String,
    /// Start nothing, and say of each proxy whether this version makes the configuration of it that is noted in the bundle
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    process: ProcessOptions,
}

/// Runs a control plane with the state of a bundle until it is told to stop.
///
/// # Errors
/// A bundle or settings that are wrong, or a control plane that cannot start or had to stop.
pub(super) fn run(options: &ReplayOptions) -> Result<(), CliError> {
    let bundle = files::bundle(&options.bundle)?;
    if options.verify {
        return verify(bundle);
    }
    let inputs = Inputs { flags: options.process.flags().collect(), dev: true, ..Inputs::of_process() };
    let settings = Settings::load(&inputs)?;
    let warnings = settings.warnings.clone();
    serve(settings, &warnings, |settings, process| crate::app::replay(settings, bundle, process))
}

/// Makes the configuration of every proxy again, and tells which ones differ from what was noted.
fn verify(bundle: Bundle) -> Result<(), CliError> {
    let noted = bundle.configurations.clone();
    if noted.is_empty() {
        let hint = "the bundle has no hashes: take it with `meshgate bug-report`, or from the API with ?hashes";
        return Err(CliError::Usage(hint.to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("the runtime cannot be started"))?;
    if bundle.is_redacted {
        output::line("the bundle is redacted: what is noted was made of the redacted state")?;
    }
    let incomparable = runtime.block_on(incomparable(&bundle))?;
    let made = runtime.block_on(crate::app::verify(bundle))?;
    let names: BTreeSet<_> = noted.keys().chain(made.keys()).collect();
    let (mut differing, mut left) = (0, 0);
    for name in &names {
        if let Some(fields) = incomparable.get(*name) {
            left += 1;
            output::line(&format!(
                "{name}: cannot be compared, because the bundle does not have the keys in {fields}"
            ))?;
            continue;
        }
        let told = match (noted.get(*name), made.get(*name)) {
            (noted, made) if noted == made => continue,
            (Some(noted), Some(made)) => format!("{name}: {made}, and it was {noted}"),
            (Some(noted), None) => format!("{name}: nothing, and it was {noted}"),
            (None, made) => format!("{name}: {}, and there was nothing", made.map(String::as_str).unwrap_or_default()),
        };
        differing += 1;
        output::line(&told)?;
    }
    let compared = names.len() - left;
    output::line(&format!(
        "{} of {compared} proxies get the configuration that is noted{}",
        compared - differing,
        if left == 0 { String::new() } else { format!("; {left} cannot be compared") }
    ))?;
    if differing == 0 { Ok(()) } else { Err(CliError::No) }
}

/// What stands in a bundle for a private key.
const HIDDEN: &str = "<hidden>";

/// The proxies whose configuration depends on a private key that somebody put into a text, and the rows with such texts, in words.
/// A bundle does not have the keys. It shows in what is made without these texts. What is noted in a redacted bundle was made of
/// what stands in place of them.
async fn incomparable(bundle: &Bundle) -> Result<BTreeMap<String, String>, CliError> {
    if bundle.is_redacted {
        return Ok(BTreeMap::new());
    }
    let broken = |error: &dyn std::fmt::Display| CliError::Input(format!("the bundle cannot be compared: {error}"));
    let text = codec::bundle_to_json(bundle).map_err(|error| broken(&error))?;
    let mut document: Value = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    let mut rows = BTreeSet::new();
    for section in ["Services", "ConfigEntries", "ImportedServices", "PreparedQueries", "FederationStates"] {
        for row in document[section].as_array_mut().into_iter().flatten() {
            if without_hidden(row) {
                rows.insert(name_of(row));
            }
        }
    }
    if rows.is_empty() {
        return Ok(BTreeMap::new());
    }
    let without = codec::bundle(document.to_string().as_bytes()).map_err(|problems| broken(&problems))?;
    let (with, without) = (crate::app::verify(bundle.clone()).await?, crate::app::verify(without).await?);
    let rows = rows.into_iter().collect::<Vec<_>>().join(", ");
    let differs = |(name, hash): (String, String)| (without.get(&name) != Some(&hash)).then(|| (name, rows.clone()));
    Ok(with.into_iter().filter_map(differs).collect())
}

/// Takes texts away in which a key is hidden, and what stands under such a text. True if there are some.
fn without_hidden(value: &mut Value) -> bool {
    let is_hidden = |value: &Value| value.as_str().is_some_and(|text| text.contains(HIDDEN));
    match value {
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| !is_hidden(item));
            let is_less = items.len() < before;
            items.iter_mut().fold(is_less, |found, item| without_hidden(item) | found)
        }
        Value::Object(members) => {
            let before = members.len();
            members.retain(|key, value| !key.contains(HIDDEN) && !is_hidden(value));
            let is_less = members.len() < before;
            members.values_mut().fold(is_less, |found, value| without_hidden(value) | found)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A row as people name it.
fn name_of(row: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (&row["Kind"], &row["Service"]) {
        (Value::String(kind), _) => format!("{kind}/{}", text(&row["Name"])),
        (_, Value::Object(_)) => format!("service {}", text(&row["Service"]["ID"])),
        _ => "a row from elsewhere".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hidden_keys_are_taken_away_wherever_they_are() {
        for (with, without) in [
            (json!({ "a": "k=<hidden>!", "b": 1 }), json!({ "b": 1 })),
            (json!({ "a": ["x", "<hidden>", ["<hidden>"]] }), json!({ "a": ["x", []] })),
            (json!({ "a": { "<hidden>": { "b": 1 }, "c": "d" } }), json!({ "a": { "c": "d" } })),
        ] {
            let mut value = with.clone();
            assert!(without_hidden(&mut value), "{with}");
            assert_eq!(value, without);
            assert!(!without_hidden(&mut value), "{without}");
        }
    }

    #[tokio::test]
    async fn all_of_a_redacted_bundle_is_compared() {
        let proxy = |config: Value| {
            let service = json!({ "Kind": "connect-proxy", "Service": "web-proxy", "Port": 1, "Proxy": config });
            json!({ "Node": "n", "Service": service })
        };
        let upstreams = json!([{ "DestinationName": "api", "LocalBindPort": 9001 }]);
        let document = |is_redacted: bool| {
            json!({
                "Format": "meshgate-bundle", "Version": 1, "Redacted": is_redacted,
                "Agent": { "ClusterID": "11111111-2222-3333-4444-555555555555" },
                "Nodes": [{ "Node": "n", "Address": "10.0.0.1" }],
                "Services": [proxy(json!({ "DestinationServiceName": "web", "Upstreams": upstreams }))],
                "ConfigEntries": [{ "Kind": "service-defaults", "Name": "api", "ExternalSNI": "<hidden>" }],
            })
        };
        let named = async |is_redacted| {
            let bundle = codec::bundle(document(is_redacted).to_string().as_bytes()).unwrap();
            incomparable(&bundle).await.unwrap().into_values().collect::<Vec<_>>()
        };

        assert_eq!(named(false).await, ["service-defaults/api"]);
        assert!(named(true).await.is_empty());
    }
}
