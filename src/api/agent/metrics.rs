//! `GET /v1/agent/metrics`: what the process counts, as JSON or in the text format of Prometheus.
//!
//! **Invariant.** Every label has a closed set of values, none of which names a service, a node or a proxy: the number of
//! series does not grow with the mesh. `docs/metrics.md` lists the families from [`FAMILIES`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::happenings::{LAG_BOUNDS, Totals};
use crate::api::route::{Routes, get};
use crate::api::{Api, ProxyState, RotationState};
use crate::store::View;

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/metrics", get(metrics))
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up while the process runs.
    Counter,
    /// Durations in seconds, by how many were at most so long.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        }
    }
}

/// Every metric: its name, what it is, and what it says. What Consul counts too has Consul's name.
const FAMILIES: [(&str, Kind, &str); 35] = [
    ("consul.rpc.queries_blocking", Kind::Gauge, "HTTP calls that wait for a change"),
    ("consul.state.config_entries", Kind::Gauge, "Config entries by kind"),
    ("consul.state.nodes", Kind::Gauge, "Nodes in the catalog"),
    ("consul.state.service_instances", Kind::Gauge, "Service instances in the catalog"),
    ("consul.state.services", Kind::Gauge, "Services in the catalog"),
    ("consul.xds.server.streams", Kind::Gauge, "Open xDS streams"),
    (
        "meshgate.cert.not_after_seconds",
        Kind::Gauge,
        "Seconds until a certificate ends: the leaf that ends first, and the root that signs",
    ),
    (
        "meshgate.cert.rotation_total",
        Kind::Counter,
        "Certificates that were replaced by others, leaves and roots, and attempts that failed",
    ),
    ("meshgate.history.bytes", Kind::Gauge, "Estimated bytes of the commits that are remembered, by class"),
    ("meshgate.history.commits", Kind::Gauge, "Commits that are remembered, by class"),
    ("meshgate.http.answers", Kind::Counter, "Answers of the HTTP API by the class of their status"),
    ("meshgate.http.panics", Kind::Counter, "Handlers that panicked; each answered 500"),
    ("meshgate.plan_total", Kind::Counter, "Changes that were planned"),
    ("meshgate.ready", Kind::Gauge, "1 if the process is ready"),
    (
        "meshgate.revision",
        Kind::Gauge,
        "Commits: the last one that changed a connected proxy, and the one that every proxy has acknowledged",
    ),
    ("meshgate.state.checks", Kind::Gauge, "Health checks by status"),
    ("meshgate.state.gateways", Kind::Gauge, "Mesh gateways by whether they take connections"),
    ("meshgate.state.index", Kind::Gauge, "The last commit"),
    ("meshgate.state.leaves", Kind::Gauge, "Leaf certificates that are stored"),
    ("meshgate.state.peerings", Kind::Gauge, "Peerings"),
    ("meshgate.trial_total", Kind::Counter, "Changes that proxies were to try first, by whether they were made"),
    (
        "meshgate.xds.ack_lag_seconds",
        Kind::Histogram,
        "Time from a push until its proxy has acknowledged all of it, or something newer",
    ),
    ("meshgate.xds.acks", Kind::Gauge, "Accepted responses of the proxies that are connected, by type"),
    ("meshgate.xds.live_total", Kind::Counter, "Snapshots that their proxy has acknowledged, or something newer"),
    ("meshgate.xds.nack_total", Kind::Counter, "Refused responses by kind of proxy and type"),
    ("meshgate.xds.nacks", Kind::Gauge, "Refused responses of the proxies that are connected, by type"),
    ("meshgate.xds.proxies", Kind::Gauge, "Proxies by whether they have what they should: synced, behind or refused"),
    (
        "meshgate.xds.proxies_with_problems",
        Kind::Gauge,
        "Connected proxies of which a part is older than it should be, or missing",
    ),
    (
        "meshgate.xds.pushed_total",
        Kind::Counter,
        "Snapshots that were sent towards proxies, by the types that differ in them",
    ),
    (
        "meshgate.xds.quarantined_resources",
        Kind::Gauge,
        "What could not be made for connected proxies, or was refused by them, and stays as it was",
    ),
    ("meshgate.xds.resources", Kind::Gauge, "Resources that the connected proxies should have, by type"),
    (
        "meshgate.xds.shrink_guard_held_total",
        Kind::Counter,
        "Times that a proxy kept what another process gave it because this one could not make everything, by type",
    ),
    ("meshgate.xds.streams", Kind::Gauge, "Open xDS streams"),
    ("process.resident_memory_bytes", Kind::Gauge, "Memory of the process that is resident"),
    ("process.uptime_seconds", Kind::Gauge, "Seconds since the process started to serve"),
];

/// One number of a family.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: BTreeMap<&'static str, String>,
    value: f64,
}

/// The durations of a histogram.
#[derive(Debug, Clone, PartialEq)]
struct Durations {
    /// How many were at most as long as each of [`LAG_BOUNDS`], but longer than the one before; then all longer ones.
    counts: [u64; LAG_BOUNDS.len() + 1],
    sum: f64,
}

/// What was counted, by the names of the families.
#[derive(Debug, Default)]
struct Metrics {
    samples: BTreeMap<&'static str, Vec<Sample>>,
    durations: BTreeMap<&'static str, Durations>,
}

/// A gauge as Consul's agent shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownGauge<'m> {
    name: &'static str,
    value: f64,
    labels: &'m BTreeMap<&'static str, String>,
}

/// A counter, or durations, as Consul's agent shows them. Every step of a counter is 1.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownSteps<'m> {
    name: &'static str,
    count: u64,
    rate: f64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    labels: &'m BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'m> {
    timestamp: String,
    gauges: Vec<ShownGauge<'m>>,
    points: [(); 0],
    counters: Vec<ShownSteps<'m>>,
    samples: Vec<ShownSteps<'m>>,
}

async fn metrics(call: Call, headers: HeaderMap) -> Result<Response, ApiError> {
    let is_prometheus = asks_for_prometheus(&call, &headers);
    if is_prometheus && !call.api.options.prometheus {
        return Err(ApiError::PrometheusOff);
    }
    let metrics = Metrics::of(&call.api);
    if !is_prometheus {
        return Ok(call.json(&metrics.shown(call.api.metrics.running().as_secs_f64().max(1.0))));
    }
    let mut response = Response::new(metrics.to_prometheus().into());
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// Prometheus says it in a header. The version there is the one that Consul looks for.
fn asks_for_prometheus(call: &Call, headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let first = accept.split(',').next().unwrap_or_default();
    let prefers = first.starts_with("application/openmetrics-text")
        || (first.starts_with("text/plain") && first.contains("version=0.4.0"));
    call.query.get("format") == Some("prometheus") || prefers
}

impl Metrics {
    fn of(api: &Api) -> Self {
        let mut metrics = Self::default();
        metrics.add_process(api);
        metrics.add_state(api);
        metrics.add_certificates(&api.store.view());
        for RotationState { kind, ok, failed } in api.certificates.rotations() {
            for (result, count) in [("ok", ok), ("failed", failed)] {
                let labels = [("kind", kind), ("result", result)];
                metrics.add_with_all("meshgate.cert.rotation_total", &labels, number(count));
            }
        }
        metrics.add_proxies(&api.proxies.proxies());
        metrics.add_pushes(api.happenings.totals());
        metrics
    }

    fn add(&mut self, name: &'static str, value: f64) {
        self.samples.entry(name).or_default().push(Sample { labels: BTreeMap::new(), value });
    }

    fn add_with(&mut self, name: &'static str, label: (&'static str, &str), value: f64) {
        self.add_with_all(name, &[label], value);
    }

    fn add_with_all(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(label, of)| (*label, (*of).to_owned())).collect();
        self.samples.entry(name).or_default().push(Sample { labels, value });
    }

    fn add_process(&mut self, api: &Api) {
        for (class, count) in api.metrics.answers() {
            self.add_with("meshgate.http.answers", ("class", class), number(count));
        }
        self.add("meshgate.http.panics", number(api.metrics.panics()));
        self.add("meshgate.plan_total", number(api.metrics.plans()));
        for (result, count) in api.metrics.trials() {
            self.add_with("meshgate.trial_total", ("result", result), number(count));
        }
        self.add("meshgate.ready", f64::from(u8::from(api.readiness.waiting_for().is_empty())));
        self.add("consul.rpc.queries_blocking", number(api.metrics.waiting()));
        self.add("process.uptime_seconds", api.metrics.running().as_secs_f64().floor());
        if let Some(bytes) = resident_memory() {
            self.add("process.resident_memory_bytes", number(bytes));
        }
        for kept in api.store.history().kept() {
            self.add_with("meshgate.history.commits", ("class", kept.class.as_str()), size(kept.commits));
            self.add_with("meshgate.history.bytes", ("class", kept.class.as_str()), size(kept.bytes));
        }
    }

    fn add_state(&mut self, api: &Api) {
        let view = api.store.view();
        let counts = view.counts();
        self.add("consul.state.nodes", size(counts.nodes));
        self.add("consul.state.services", size(counts.services));
        self.add("consul.state.service_instances", size(counts.instances));
        self.add("meshgate.state.index", number(view.index()));
        self.add("meshgate.state.peerings", size(counts.peerings));
        self.add("meshgate.state.leaves", size(counts.leaves));
        let kinds = view.entries().map(|(key, _)| key.kind.as_str());
        let statuses = view.checks().map(|(_, row)| row.value.status.as_str());
        let gateways = crate::api::overview::gateways(&view);
        let healths = gateways.into_iter().map(|takes| if takes { "passing" } else { "critical" });
        self.add_counted("consul.state.config_entries", "kind", kinds);
        self.add_counted("meshgate.state.checks", "status", statuses);
        self.add_counted("meshgate.state.gateways", "health", healths);
    }

    fn add_counted<'v>(&mut self, name: &'static str, label: &'static str, values: impl Iterator<Item = &'v str>) {
        let mut counts = BTreeMap::<&str, usize>::new();
        values.for_each(|value| *counts.entry(value).or_default() += 1);
        for (value, count) in counts {
            self.add_with(name, (label, value), size(count));
        }
    }

    /// When certificates end, in seconds from now: the leaf that ends first, and the root that signs.
    fn add_certificates(&mut self, view: &View) {
        let leaf = view.leaves().map(|row| row.value.not_after).min();
        let root = view.active_root().map(|root| root.not_after);
        for (kind, until) in [("leaf", leaf), ("root", root)] {
            if let Some(until) = until {
                let left = (until - OffsetDateTime::now_utc()).as_seconds_f64().round();
                self.add_with("meshgate.cert.not_after_seconds", ("kind", kind), left);
            }
        }
    }

    /// Sums over the proxies that are connected now.
    fn add_proxies(&mut self, proxies: &[ProxyState]) {
        let mut types = BTreeMap::<&str, [u64; 3]>::new();
        for state in proxies.iter().flat_map(|proxy| &proxy.types) {
            let [resources, acks, nacks] = types.entry(&state.kind).or_default();
            *resources += state.resources as u64;
            *acks += state.acks;
            *nacks += state.nacks;
        }
        for (kind, [resources, acks, nacks]) in types {
            self.add_with("meshgate.xds.resources", ("type", kind), number(resources));
            self.add_with("meshgate.xds.acks", ("type", kind), number(acks));
            self.add_with("meshgate.xds.nacks", ("type", kind), number(nacks));
        }
        let streams = size(proxies.iter().map(|proxy| proxy.streams).sum());
        self.add("consul.xds.server.streams", streams);
        self.add("meshgate.xds.streams", streams);
        for sync in ["synced", "behind", "refused"] {
            let count = proxies.iter().filter(|proxy| proxy.sync() == sync).count();
            self.add_with("meshgate.xds.proxies", ("sync", sync), size(count));
        }
        let with_problems = proxies.iter().filter(|proxy| !proxy.problems.is_empty()).count();
        self.add("meshgate.xds.proxies_with_problems", size(with_problems));
        let unmade: usize = proxies.iter().map(|proxy| proxy.problems.len()).sum();
        let refused = proxies.iter().flat_map(ProxyState::refusals).map(|nack| nack.resources.len());
        self.add("meshgate.xds.quarantined_resources", size(unmade + refused.sum::<usize>()));
        let desired = proxies.iter().map(|proxy| proxy.index).max().unwrap_or_default();
        let acked = proxies.iter().filter(|proxy| proxy.index > 0).map(|proxy| proxy.acked).min().unwrap_or_default();
        self.add_with("meshgate.revision", ("state", "desired"), number(desired));
        self.add_with("meshgate.revision", ("state", "acked_min"), number(acked));
    }

    fn add_pushes(&mut self, totals: Totals) {
        for (of, kind, count) in &totals.refused {
            self.add_with_all("meshgate.xds.nack_total", &[("kind", of), ("type", kind)], number(*count));
        }
        for (kind, count) in &totals.held {
            self.add_with("meshgate.xds.shrink_guard_held_total", ("type", kind), number(*count));
        }
        for (kind, count) in &totals.pushed {
            self.add_with("meshgate.xds.pushed_total", ("type", kind), number(*count));
        }
        self.add("meshgate.xds.live_total", number(totals.live));
        let durations = Durations { counts: totals.lags, sum: totals.lag.as_secs_f64() };
        self.durations.insert("meshgate.xds.ack_lag_seconds", durations);
    }

    /// In Consul's form. `running` is how long the process has been counting, in seconds.
    fn shown(&self, running: f64) -> Shown<'_> {
        static NO_LABELS: BTreeMap<&str, String> = BTreeMap::new();
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
        let (mut gauges, mut counters, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for (name, kind, _) in FAMILIES {
            for Sample { labels, value } in self.samples.get(name).into_iter().flatten() {
                match kind {
                    Kind::Gauge => gauges.push(ShownGauge { name, value: *value, labels }),
                    Kind::Counter | Kind::Histogram => counters.push(ShownSteps {
                        name,
                        count: whole(*value),
                        rate: value / running,
                        sum: *value,
                        min: 1.0,
                        max: 1.0,
                        mean: 1.0,
                        stddev: 0.0,
                        labels,
                    }),
                }
            }
            if let Some(durations) = self.durations.get(name) {
                let count = durations.counts.iter().sum();
                let mean = if count == 0 { 0.0 } else { durations.sum / number(count) };
                let (least, most) = durations.within();
                samples.push(ShownSteps {
                    name,
                    count,
                    rate: durations.sum / running,
                    sum: durations.sum,
                    min: least,
                    max: most,
                    mean,
                    stddev: 0.0,
                    labels: &NO_LABELS,
                });
            }
        }
        let timestamp = OffsetDateTime::now_utc().format(format).unwrap_or_default();
        Shown { timestamp, gauges, points: [], counters, samples }
    }

    /// The text format: names with underscores, two headlines for each family.
    fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for (name, kind, help) in FAMILIES {
            let (samples, durations) = (self.samples.get(name), self.durations.get(name));
            if samples.is_none() && durations.is_none() {
                continue;
            }
            let written = name.replace('.', "_");
            let _ = writeln!(text, "# HELP {written} {help}\n# TYPE {written} {}", kind.as_str());
            for Sample { labels, value } in samples.into_iter().flatten() {
                let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                let _ = writeln!(text, "{written}{labels} {value}");
            }
            if let Some(durations) = durations {
                durations.write(&written, &mut text);
            }
        }
        text
    }
}

impl Durations {
    fn write(&self, name: &str, text: &mut String) {
        let mut so_far = 0;
        let bounds = LAG_BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(self.counts) {
            so_far += count;
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {so_far}");
        }
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {so_far}", self.sum);
    }

    /// Bounds that the shortest and the longest one lie within, as far as buckets tell.
    fn within(&self) -> (f64, f64) {
        let first = self.counts.iter().position(|count| *count > 0).unwrap_or_default();
        let last = self.counts.iter().rposition(|count| *count > 0);
        let least = first.checked_sub(1).and_then(|before| LAG_BOUNDS.get(before)).copied().unwrap_or_default();
        let most = last.map_or(0.0, |last| LAG_BOUNDS.get(last).copied().unwrap_or(self.sum));
        (least, most)
    }
}

/// The memory of the process that is resident, in bytes, where the system tells it.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Counts are far below the point where not every whole number is a float.
#[allow(clippy::cast_precision_loss, reason = "no process counts to 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

fn size(count: usize) -> f64 {
    number(count as u64)
}

/// The other way around, for what was a count.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was made from a count")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_written_with_sums_of_its_buckets() {
        let mut counts = [0; LAG_BOUNDS.len() + 1];
        (counts[1], counts[LAG_BOUNDS.len()]) = (2, 1);
        let mut metrics = Metrics::default();
        metrics.durations.insert("meshgate.xds.ack_lag_seconds", Durations { counts, sum: 61.25 });

        let text = metrics.to_prometheus();

        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "# TYPE meshgate_xds_ack_lag_seconds histogram");
        assert_eq!(lines[2], "meshgate_xds_ack_lag_seconds_bucket{le=\"0.001\"} 0");
        assert_eq!(lines[3], "meshgate_xds_ack_lag_seconds_bucket{le=\"0.005\"} 2");
        assert_eq!(lines[lines.len() - 3], "meshgate_xds_ack_lag_seconds_bucket{le=\"+Inf\"} 3");
        assert_eq!(
            lines[lines.len() - 2..],
            ["meshgate_xds_ack_lag_seconds_sum 61.25", "meshgate_xds_ack_lag_seconds_count 3"]
        );
    }

    #[test]
    fn families_are_sorted_and_the_page_lists_them() {
        assert!(FAMILIES.is_sorted_by_key(|(name, ..)| name));
        let row = |(name, kind, help): (&str, Kind, &str)| {
            format!("| `{}` | {} | {help} |\n", name.replace('.', "_"), kind.as_str())
        };
        let table: String = FAMILIES.into_iter().map(row).collect();
        let page = include_str!("../../../docs/metrics.md");
        assert!(page.contains(&table), "docs/metrics.md needs this table:\n{table}");
    }

    #[test]
    fn the_dashboard_shows_metrics_that_there_are() {
        let dashboard = include_str!("../../../deploy/grafana/meshgate.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).expect("the dashboard is JSON");
        let known = |name: &str| {
            let is_of = |family: &str| name.strip_prefix(&*family.replace('.', "_"));
            FAMILIES.into_iter().any(|(family, kind, _)| match is_of(family) {
                Some("") => kind != Kind::Histogram,
                Some("_bucket" | "_sum" | "_count") => kind == Kind::Histogram,
                Some(_) | None => false,
            })
        };
        let word = regex::Regex::new("(meshgate|consul|process)_[a-z_]+").expect("it is one");
        let expressions: Vec<_> = parsed["panels"]
            .as_array()
            .expect("panels")
            .iter()
            .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
            .map(|target| target["expr"].as_str().expect("an expression"))
            .collect();
        assert!(expressions.len() > 10, "{expressions:?}");
        for expression in expressions {
            for found in word.find_iter(expression) {
                assert!(known(found.as_str()), "{} in {expression:?}", found.as_str());
            }
        }
    }
}
