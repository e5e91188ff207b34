//! `GET /v1/agent/metrics`: what the process counts, as JSON or in the text format of Prometheus.

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
use crate::api::route::{Routes, get};
use crate::api::{Api, ProxyState};
use crate::store::View;

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/metrics", get(metrics))
}

/// A number that goes up and down.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Gauge {
    name: &'static str,
    value: f64,
    labels: BTreeMap<&'static str, String>,
}

/// A number that only goes up while the process runs. Every step is 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Counter {
    name: &'static str,
    count: u64,
    rate: f64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    labels: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metrics {
    timestamp: String,
    gauges: Vec<Gauge>,
    points: [(); 0],
    counters: Vec<Counter>,
    samples: [(); 0],
}

async fn metrics(call: Call, headers: HeaderMap) -> Result<Response, ApiError> {
    let metrics = Metrics::of(&call.api);
    if !asks_for_prometheus(&call, &headers) {
        return Ok(call.json(&metrics));
    }
    if !call.api.options.prometheus {
        return Err(ApiError::PrometheusOff);
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
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
        let running = api.metrics.running().as_secs_f64().max(1.0);
        let proxies = api.proxies.proxies();
        let counter = |name, count: u64, labels| Counter {
            name,
            count,
            rate: number(count) / running,
            sum: number(count),
            min: 1.0,
            max: 1.0,
            mean: 1.0,
            stddev: 0.0,
            labels,
        };
        let answers = api.metrics.answers();
        let answers = answers.iter().map(|(class, count)| {
            counter("meshgate.http.answers", *count, BTreeMap::from([("class", (*class).to_owned())]))
        });
        let panics = counter("meshgate.http.panics", api.metrics.panics(), BTreeMap::new());
        let totals = api.happenings.totals();
        let refused = totals
            .refused
            .iter()
            .map(|(kind, count)| counter("meshgate.xds.nack_total", *count, BTreeMap::from([("type", kind.clone())])));
        let lag = Counter {
            sum: totals.lag.as_secs_f64(),
            ..counter("meshgate.xds.ack_lag_seconds_sum", totals.live, BTreeMap::new())
        };
        let pushed = [
            counter("meshgate.xds.pushed_total", totals.pushed, BTreeMap::new()),
            counter("meshgate.xds.ack_lag_seconds_count", totals.live, BTreeMap::new()),
            lag,
        ];
        Self {
            timestamp: OffsetDateTime::now_utc().format(format).unwrap_or_default(),
            gauges: [of_state(api), of_certificates(&api.store.view()), of_proxies(&proxies)].concat(),
            points: [],
            counters: answers.chain([panics]).chain(refused).chain(pushed).collect(),
            samples: [],
        }
    }

    /// The text format: names with underscores, one headline for each.
    fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        let gauges = self.gauges.iter().map(|gauge| ("gauge", gauge.name, &gauge.labels, gauge.value));
        let counters = self.counters.iter().map(|counter| ("counter", counter.name, &counter.labels, counter.sum));
        for (kind, name, labels, value) in gauges.chain(counters) {
            let written = name.replace('.', "_");
            if name != last {
                let _ = writeln!(text, "# TYPE {written} {kind}");
                last = name;
            }
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{written}{labels} {value}");
        }
        text
    }
}

/// Counts are far below the point where not every whole number is a float.
#[allow(clippy::cast_precision_loss, reason = "no process counts to 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

fn size(count: usize) -> f64 {
    number(count as u64)
}

fn gauge(name: &'static str, value: f64) -> Gauge {
    Gauge { name, value, labels: BTreeMap::new() }
}

fn labelled(name: &'static str, value: f64, label: &'static str, of: &str) -> Gauge {
    Gauge { name, value, labels: BTreeMap::from([(label, of.to_owned())]) }
}

/// What Consul counts too has Consul's name.
fn of_state(api: &Api) -> Vec<Gauge> {
    let view = api.store.view();
    let counts = view.counts();
    let mut kinds = BTreeMap::<&str, usize>::new();
    for (key, _) in view.entries() {
        *kinds.entry(key.kind.as_str()).or_default() += 1;
    }
    let mut statuses = BTreeMap::<&str, usize>::new();
    for (_, row) in view.checks() {
        *statuses.entry(row.value.status.as_str()).or_default() += 1;
    }
    let plain = [
        gauge("consul.state.nodes", size(counts.nodes)),
        gauge("consul.state.services", size(counts.services)),
        gauge("consul.state.service_instances", size(counts.instances)),
        gauge("consul.rpc.queries_blocking", number(api.metrics.waiting())),
        gauge("meshgate.state.index", number(view.index())),
        gauge("meshgate.state.peerings", size(counts.peerings)),
        gauge("meshgate.state.leaves", size(counts.leaves)),
    ];
    let entries = kinds.iter().map(|(kind, count)| labelled("consul.state.config_entries", size(*count), "kind", kind));
    let checks =
        statuses.iter().map(|(status, count)| labelled("meshgate.state.checks", size(*count), "status", status));
    plain.into_iter().chain(entries).chain(checks).collect()
}

/// When certificates end, in seconds from now: the leaf that ends first, and the root that signs.
fn of_certificates(view: &View) -> Vec<Gauge> {
    let left = |until: OffsetDateTime| (until - OffsetDateTime::now_utc()).as_seconds_f64().round();
    let leaf = view.leaves().map(|row| row.value.not_after).min();
    let root = view.active_root().map(|root| root.not_after);
    let ends = [("leaf", leaf), ("root", root)].into_iter();
    let ends = ends.filter_map(|(kind, until)| Some((kind, until?)));
    ends.map(|(kind, until)| labelled("meshgate.cert.not_after_seconds", left(until), "kind", kind)).collect()
}

/// Sums over the proxies that are connected now.
fn of_proxies(proxies: &[ProxyState]) -> Vec<Gauge> {
    let mut types = BTreeMap::<&str, [u64; 3]>::new();
    for state in proxies.iter().flat_map(|proxy| &proxy.types) {
        let [resources, acks, nacks] = types.entry(&state.kind).or_default();
        *resources += state.resources as u64;
        *acks += state.acks;
        *nacks += state.nacks;
    }
    let streams = proxies.iter().map(|proxy| proxy.streams).sum();
    let quarantined = proxies.iter().map(|proxy| proxy.problems.len()).sum();
    let desired = proxies.iter().map(|proxy| proxy.index).max().unwrap_or_default();
    let acked = proxies.iter().filter(|proxy| proxy.index > 0).map(|proxy| proxy.acked).min().unwrap_or_default();
    let with_problems = proxies.iter().filter(|proxy| !proxy.problems.is_empty()).count();
    let names = ["meshgate.xds.resources", "meshgate.xds.acks", "meshgate.xds.nacks"];
    let of_types = names.into_iter().enumerate().flat_map(|(position, name)| {
        types.iter().map(move |(kind, counts)| labelled(name, number(counts[position]), "type", kind))
    });
    let plain = [
        gauge("consul.xds.server.streams", size(streams)),
        gauge("meshgate.xds.streams", size(streams)),
        gauge("meshgate.xds.quarantined_resources", size(quarantined)),
        labelled("meshgate.revision", number(desired), "state", "desired"),
        labelled("meshgate.revision", number(acked), "state", "acked_min"),
        gauge("meshgate.xds.proxies", size(proxies.len())),
        gauge("meshgate.xds.proxies_with_problems", size(with_problems)),
    ];
    plain.into_iter().chain(of_types).collect()
}
