//! Results as a table and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::measure::{Figures, Summary};

/// One case of a scenario: the floor and the server that is measured, under the same load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    /// What sets it apart, such as `services=500`.
    pub(crate) name: String,
    pub(crate) floor: Figures,
    pub(crate) subject: Figures,
}

/// The results of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) subject: String,
    pub(crate) proxies: usize,
    pub(crate) cases: Vec<Case>,
}

impl Report {
    /// A table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for case in &self.cases {
            let name = if case.name.is_empty() { String::new() } else { format!(" {}", case.name) };
            let head = format!("{}{name}, {} proxies", self.scenario, self.proxies);
            writeln!(text, "{head:<44} {:>26} {:>26} {:>7}", "floor", self.subject, "ratio").ok();
            let ratios = case.subject.ratios(&case.floor);
            for measure in case.subject.measures() {
                let label = format!("  {} [{}]", measure.name(), measure.unit());
                let (floor, own) = (case.floor.summary(measure), case.subject.summary(measure));
                let ratio = ratios.get(&measure).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
                writeln!(text, "{label:<44} {:>26} {:>26} {ratio:>7}", cell(floor), cell(own)).ok();
            }
        }
        text
    }

    /// The report that others read; `docs/performance.md` says what the fields are.
    pub(crate) fn json(&self) -> Value {
        let cases: Vec<Value> = self.cases.iter().map(Case::json).collect();
        let ratios = cases.last().map(|case| case["ratio_to_floor"].clone());
        json!({
            "scenario": self.scenario,
            "subject": self.subject,
            "proxies": self.proxies,
            "ratio_to_floor": ratios,
            "cases": cases,
            "machine": machine(),
        })
    }
}

/// Writes a JSON document.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, document: &Value) -> Result<(), Failure> {
    std::fs::write(path, format!("{document:#}\n")).map_err(|error| format!("{}: {error}", path.display()).into())
}

impl Case {
    /// A case that is called like `services=500`.
    pub(crate) fn new(what: &str, number: usize) -> Self {
        Self { name: format!("{what}={number}"), ..Self::default() }
    }

    fn json(&self) -> Value {
        let ratios = self.subject.ratios(&self.floor);
        let ratios: Map<String, Value> =
            ratios.into_iter().map(|(measure, ratio)| (measure.name().to_owned(), json!(ratio))).collect();
        json!({
            "case": self.name,
            "ratio_to_floor": ratios,
            "floor": self.floor.json(),
            "measured": self.subject.json(),
        })
    }
}

fn cell(summary: Option<Summary>) -> String {
    let Some(it) = summary else { return "-".to_owned() };
    if it.rounds == 1 {
        return number(it.median);
    }
    format!("{} ({}..{})", number(it.median), number(it.quartiles.0), number(it.quartiles.1))
}

fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// What the figures were taken on.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1.to_owned()));
    let memory = read("/proc/meminfo").lines().find_map(|line| Some(line.strip_prefix("MemTotal:")?.trim().to_owned()));
    json!({
        "cpu": cpu,
        // This process is pinned to one of them.
        "cores": read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count(),
        "memory": memory,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}
