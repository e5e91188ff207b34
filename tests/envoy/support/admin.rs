//! An Envoy's admin interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

/// The admin interface of one Envoy.
#[derive(Debug)]
pub(crate) struct Admin(SocketAddr);

impl Admin {
    /// The one at this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    /// What Envoy answers to `path`.
    pub(crate) async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.0);
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.text().await.unwrap()
    }

    /// True once Envoy has everything that it was started for.
    pub(crate) async fn is_ready(&self) -> bool {
        reqwest::get(format!("http://{}/ready", self.0)).await.is_ok_and(|answer| answer.status().is_success())
    }

    /// The counters and gauges whose names match.
    pub(crate) async fn stats(&self, pattern: &str) -> BTreeMap<String, u64> {
        let text = self.get(&format!("/stats?filter={pattern}")).await;
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// The sum of the counters and gauges whose names match.
    pub(crate) async fn sum(&self, pattern: &str) -> u64 {
        self.stats(pattern).await.values().sum()
    }

    /// Everything that came over xDS, by kind and name, with its version and the time at which it came.
    pub(crate) async fn dynamic(&self) -> BTreeMap<String, Value> {
        let dump: Value = serde_json::from_str(&self.get("/config_dump?include_eds").await).unwrap();
        let parts = dump["configs"].as_array().unwrap().iter().filter_map(Value::as_object);
        let lists = parts.flatten().filter(|(kind, _)| kind.starts_with("dynamic_"));
        let items = lists.flat_map(|(kind, list)| list.as_array().unwrap().iter().map(move |item| (kind, item)));
        items.map(|(kind, item)| (format!("{kind} {}", name(item)), item.clone())).collect()
    }

    /// The names of the clusters that came over xDS and are in use.
    pub(crate) async fn clusters(&self) -> Vec<String> {
        let dynamic = self.dynamic().await.into_keys();
        dynamic.filter_map(|key| Some(key.strip_prefix("dynamic_active_clusters ")?.to_owned())).collect()
    }
}

/// What a resource of a configuration dump is called.
fn name(item: &Value) -> String {
    let places = [
        &item["name"],
        &item["cluster"]["name"],
        &item["route_config"]["name"],
        &item["endpoint_config"]["cluster_name"],
    ];
    places.into_iter().find_map(Value::as_str).unwrap_or_else(|| panic!("{item} has no name")).to_owned()
}
