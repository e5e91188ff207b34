//! Figures of many rounds, and what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// What is measured. The names are those of the JSON report, and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    /// From the first byte of the change until half of the proxies had it.
    TimeP50,
    /// Until 99 of 100 had it.
    TimeP99,
    /// Until the last one had it.
    TimeLast,
    /// Processor time of the server for a change, divided by the acknowledged deliveries.
    ServerCpuPerDelivery,
    /// Processor time of the server for a change that concerns nobody.
    ServerCpuPerCommit,
    /// Processor time of the load client for the same: where it is near that of the server, times are those of the client.
    ClientCpuPerDelivery,
    /// Bytes of messages that a proxy got, divided by the deliveries.
    BytesPerDelivery,
    /// Memory of the server with all proxies connected, less that without any, divided by the proxies.
    MemoryPerProxy,
    /// Memory of the whole server with all proxies connected.
    Memory,
    /// How much more memory the server has after the load than before it.
    MemoryGrowth,
    /// Streams that the server was too busy for, so that the proxy came again.
    Refusals,
    /// Bytes of a reconnect that changes nothing, of all bytes of a first connect.
    ShareOfFullConfig,
    /// From when a change was due until half of its proxies had it, or a later one.
    StalenessP50,
    /// Until 99 of 100 had it.
    StalenessP99,
    /// Until the last one had it.
    StalenessMax,
    /// Changes that were made.
    Changes,
    /// Responses that arrived and were acknowledged.
    Deliveries,
    /// Certificates that were made and delivered, for each second of processor time.
    PerCpuSecond,
}

impl Measure {
    /// The name in a set of ratios.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Measure::TimeP50 => "time_p50",
            Measure::TimeP99 => "time_p99",
            Measure::TimeLast => "time_last",
            Measure::ServerCpuPerDelivery => "server_cpu_per_delivery",
            Measure::ServerCpuPerCommit => "server_cpu_per_commit",
            Measure::ClientCpuPerDelivery => "client_cpu_per_delivery",
            Measure::BytesPerDelivery => "bytes_per_delivery",
            Measure::MemoryPerProxy => "memory_per_proxy",
            Measure::Memory => "memory",
            Measure::MemoryGrowth => "memory_growth",
            Measure::Refusals => "refusals",
            Measure::ShareOfFullConfig => "share_of_full_config",
            Measure::StalenessP50 => "staleness_p50",
            Measure::StalenessP99 => "staleness_p99",
            Measure::StalenessMax => "staleness_max",
            Measure::Changes => "changes",
            Measure::Deliveries => "deliveries",
            Measure::PerCpuSecond => "certificates",
        }
    }

    /// The unit, as it ends the name of a figure.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Measure::TimeP50 | Measure::TimeP99 | Measure::TimeLast => "ms",
            Measure::StalenessP50 | Measure::StalenessP99 | Measure::StalenessMax => "ms",
            Measure::ShareOfFullConfig => "percent",
            Measure::Changes | Measure::Deliveries => "per_second",
            Measure::PerCpuSecond => "per_cpu_second",
            Measure::Refusals => "streams",
            Measure::ServerCpuPerDelivery | Measure::ServerCpuPerCommit | Measure::ClientCpuPerDelivery => "us",
            Measure::BytesPerDelivery => "bytes",
            Measure::MemoryPerProxy => "kib",
            Measure::Memory | Measure::MemoryGrowth => "mib",
        }
    }
}

/// All figures of one server in one case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(BTreeMap<Measure, Vec<f64>>);

/// Where the figures of several rounds lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) quartiles: (f64, f64),
    pub(crate) extremes: (f64, f64),
    pub(crate) rounds: usize,
}

impl Figures {
    pub(crate) fn add(&mut self, measure: Measure, value: f64) {
        self.0.entry(measure).or_default().push(value);
    }

    /// The times of one round, sorted.
    pub(crate) fn add_times(&mut self, times: &[Duration]) {
        for (measure, of_100) in [(Measure::TimeP50, 50), (Measure::TimeP99, 99), (Measure::TimeLast, 100)] {
            let time = quantile(times, of_100, 100).unwrap_or_default();
            self.add(measure, time.as_secs_f64() * 1_000.0);
        }
    }

    pub(crate) fn measures(&self) -> impl Iterator<Item = Measure> {
        self.0.keys().copied()
    }

    pub(crate) fn summary(&self, measure: Measure) -> Option<Summary> {
        let mut values = self.0.get(&measure)?.clone();
        values.sort_unstable_by(f64::total_cmp);
        let at = |of_4| quantile(&values, of_4, 4);
        Some(Summary {
            median: at(2)?,
            quartiles: (at(1)?, at(3)?),
            extremes: (*values.first()?, *values.last()?),
            rounds: values.len(),
        })
    }

    /// The ratios of the medians to those of another server.
    pub(crate) fn ratios(&self, floor: &Self) -> BTreeMap<Measure, f64> {
        let ratio = |measure| {
            let (own, floor) = (self.summary(measure)?.median, floor.summary(measure)?.median);
            (floor > 0.0).then_some((measure, own / floor))
        };
        self.measures().filter_map(ratio).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let figures = self.measures().filter_map(|measure| {
            let it = self.summary(measure)?;
            let value = json!({
                "median": it.median, "q1": it.quartiles.0, "q3": it.quartiles.1,
                "min": it.extremes.0, "max": it.extremes.1, "rounds": it.rounds,
            });
            Some((format!("{}_{}", measure.name(), measure.unit()), value))
        });
        Value::Object(figures.collect::<Map<_, _>>())
    }
}

/// The value below which `part` of `whole` parts lie, of sorted values.
pub(crate) fn quantile<T: Copy>(sorted: &[T], part: usize, whole: usize) -> Option<T> {
    let at = (sorted.len() * part).div_ceil(whole).saturating_sub(1);
    sorted.get(at).copied()
}
