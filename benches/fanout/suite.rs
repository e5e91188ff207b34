//! Several scenarios in one run, and which targets they meet.
//!
//! The targets are ratios to the floor of the same run wherever they can be, because times on shared machines are noise.

use std::path::Path;

use serde_json::{Value, json};

use crate::Failure;
use crate::measure::Measure;
use crate::options::{Options, Scenario};
use crate::process::Cores;
use crate::report::{Case, Report};
use crate::scenario;

/// How far a smoke test may miss a target, because machines are shared.
const SMOKE_TOLERANCE: f64 = 3.0;

/// One target and what was measured.
#[derive(Debug)]
struct Verdict {
    target: &'static str,
    what: String,
    value: f64,
    limit: f64,
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Suite {
    cores: Option<Cores>,
    reports: Vec<Report>,
    verdicts: Vec<Verdict>,
    failures: Vec<String>,
}

/// T1, T6, T7 and T14 with 1,000 proxies and 500 services: what a change may break, in a minute or two.
///
/// # Errors
/// A target is missed by far, or a scenario fails.
pub(crate) async fn smoke(options: &Options, cores: Option<Cores>) -> Result<(), Failure> {
    let mut suite = Suite { cores, ..Suite::default() };
    let sidecars = Options { proxies: Some(1_000), rounds: Some(24), ..options.clone() };
    suite.fan_out(&sidecars).await?;
    suite.gateways(&Options { services: vec![50, 500], rounds: Some(40), ..options.clone() }).await?;
    suite.waiting(&sidecars).await?;
    suite.finish(options.json.as_deref())?;
    let far = suite.verdicts.iter().filter(|verdict| verdict.value > SMOKE_TOLERANCE * verdict.limit);
    let far: Vec<_> = far.map(|verdict| format!("{} {}", verdict.target, verdict.what)).collect();
    if far.is_empty() {
        Ok(())
    } else {
        Err(format!("missed by more than {SMOKE_TOLERANCE}x: {}", far.join("; ")).into())
    }
}

/// T1 and T6 to T14 with 10,000 proxies and 5,000 services.
///
/// # Errors
/// A scenario fails.
pub(crate) async fn large(options: &Options, cores: Option<Cores>) -> Result<(), Failure> {
    let mut suite = Suite { cores, ..Suite::default() };
    let with = |scenario, proxies| Options { scenario, proxies: Some(proxies), ..options.clone() };
    // One that fails must not keep the others from being measured.
    let outcome = suite.alone(&with(Scenario::S1, 1)).await;
    suite.note("one proxy", outcome);
    for proxies in [100, 1_000] {
        let outcome = suite.fan_out_of_one(&with(Scenario::S1, proxies)).await;
        suite.note("S1", outcome.map(drop));
    }
    let outcome = suite.fan_out(&with(Scenario::S1, 10_000)).await;
    suite.note("S1 and S2", outcome);
    let outcome = suite.gateways(options).await;
    suite.note("S3", outcome);
    let outcome = suite.starts(&with(Scenario::S4, 10_000)).await;
    suite.note("S4 and S5", outcome);
    let outcome = suite.churn(&Options { rates: vec![1_000, 0], ..with(Scenario::S6, 10_000) }).await;
    suite.note("S6", outcome);
    let outcome = suite.rotation(&with(Scenario::S7, 10_000)).await;
    suite.note("S7", outcome);
    let outcome = suite.waiting(&with(Scenario::S8, scenario::at_most(Scenario::S8, 10_000))).await;
    suite.note("S8", outcome);
    suite.finish(options.json.as_deref())?;
    if suite.failures.is_empty() { Ok(()) } else { Err(suite.failures.join("; ").into()) }
}

impl Suite {
    async fn run(&mut self, options: &Options) -> Result<Report, Failure> {
        let report = scenario::run(options, self.cores).await?;
        println!("{}", report.table());
        self.reports.push(report.clone());
        Ok(report)
    }

    fn note(&mut self, what: &str, outcome: Result<(), Failure>) {
        if let Err(error) = outcome {
            println!("{what}: {error}\n");
            self.failures.push(format!("{what}: {error}"));
        }
    }

    fn judge(&mut self, target: &'static str, what: &str, value: Option<f64>, limit: f64) {
        if let Some(value) = value {
            self.verdicts.push(Verdict { target, what: what.to_owned(), value, limit });
        }
    }

    /// T13: what a single proxy waits for.
    async fn alone(&mut self, options: &Options) -> Result<(), Failure> {
        for (is_durable, limit, store) in [(false, 0.3, "in memory"), (true, 4.0, "durable")] {
            let report = self.run(&Options { durable: is_durable, ..options.clone() }).await?;
            let late = excess(last(&report), Measure::TimeP50);
            self.judge("T13", &format!("one proxy, {store}: ms above the floor"), late, limit);
        }
        Ok(())
    }

    /// T1 for one upstream.
    async fn fan_out_of_one(&mut self, options: &Options) -> Result<f64, Failure> {
        let report = self.run(&Options { scenario: Scenario::S1, ..options.clone() }).await?;
        let case = last(&report);
        let proxies = report.proxies;
        if proxies <= 100 {
            let late = excess(case, Measure::TimeLast);
            self.judge("T1", &format!("last of {proxies} proxies: ms above the floor"), late, 3.0);
        } else {
            self.judge("T1", &format!("last of {proxies} proxies"), ratio(case, Measure::TimeLast), 1.5);
        }
        let cpu = ratio(case, Measure::ServerCpuPerDelivery);
        self.judge("T6", &format!("CPU for each of {proxies} deliveries"), cpu, 1.4);
        Ok(cpu.unwrap_or(f64::NAN))
    }

    /// T1, T6 and T9.
    async fn fan_out(&mut self, options: &Options) -> Result<(), Failure> {
        let poor = self.fan_out_of_one(options).await?;
        let report = self.run(&Options { scenario: Scenario::S2, ..options.clone() }).await?;
        let case = last(&report);
        let rich = ratio(case, Measure::ServerCpuPerDelivery);
        self.judge("T6", "the same with 50 upstreams, to that with one", rich.map(|rich| rich / poor), 1.1);
        if report.proxies >= 10_000 {
            self.judge("T9", "memory of each proxy with 50 upstreams", ratio(case, Measure::MemoryPerProxy), 1.25);
            let memory = case.subject.summary(Measure::Memory).map(|memory| memory.median);
            self.judge("T9", "MiB of the process with 10,000 of them", memory, 700.0);
        }
        Ok(())
    }

    /// T7: the most services to the fewest.
    async fn gateways(&mut self, options: &Options) -> Result<(), Failure> {
        let report = self.run(&Options { scenario: Scenario::S3, proxies: None, ..options.clone() }).await?;
        let mut changes = report.cases.iter().filter(|case| case.name.starts_with("change"));
        let (Some(few), Some(most)) = (changes.next(), changes.next_back()) else { return Ok(()) };
        for (measure, what) in [(Measure::ServerCpuPerDelivery, "CPU"), (Measure::BytesPerDelivery, "bytes")] {
            let grown = most.subject.ratios(&few.subject).get(&measure).copied();
            self.judge("T7", &format!("{what} of a change, {} to {}", most.name, few.name), grown, 1.2);
        }
        Ok(())
    }

    /// T8, T9 and T11.
    async fn starts(&mut self, options: &Options) -> Result<(), Failure> {
        let report = self.run(options).await?;
        self.judge("T8", "all have started", ratio(last(&report), Measure::TimeLast), 1.5);
        self.judge("T9", "memory of each proxy that has started", ratio(last(&report), Measure::MemoryPerProxy), 1.25);
        let report = self.run(&Options { tls: true, rounds: Some(3), ..options.clone() }).await?;
        self.judge("T8", "all have started, with mutual TLS", ratio(last(&report), Measure::TimeLast), 1.3);
        let report = self.run(&Options { scenario: Scenario::S5, ..options.clone() }).await?;
        let case = last(&report);
        let share = case.subject.summary(Measure::ShareOfFullConfig).map(|share| share.median);
        self.judge("T11", "percent of the full configuration, at a reconnect", share, 1.0);
        self.judge("T11", "all are back", ratio(case, Measure::TimeLast), 1.5);
        Ok(())
    }

    /// T10.
    async fn churn(&mut self, options: &Options) -> Result<(), Failure> {
        let report = self.run(options).await?;
        for case in &report.cases {
            let late = case.subject.summary(Measure::StalenessP99).map(|late| late.median);
            self.judge("T10", &format!("staleness in ms, p99, {}", case.name), late, 50.0);
            let grown = case.subject.summary(Measure::MemoryGrowth).map(|grown| grown.median);
            self.judge("T10", &format!("MiB that the process grew, {}", case.name), grown, 50.0);
        }
        // How many deliveries a core can sustain, whatever the load client can.
        let cpu = ratio(last(&report), Measure::ServerCpuPerDelivery);
        self.judge("T10", "CPU for each delivery, at as many changes as there can be", cpu, 2.0);
        Ok(())
    }

    /// T12.
    async fn rotation(&mut self, options: &Options) -> Result<(), Failure> {
        let report = self.run(options).await?;
        let figure = |measure| last(&report).subject.summary(measure).map(|figure| figure.median);
        let each = figure(Measure::PerCpuSecond).map(|rate| 1_000_000.0 / rate);
        self.judge("T12", "CPU for each certificate, delivered, in us", each, 200.0);
        self.judge("T12", "ms until 10,000 proxies have another one", figure(Measure::TimeLast), 2_000.0);
        Ok(())
    }

    /// T14: what calls cost that wait.
    async fn waiting(&mut self, options: &Options) -> Result<(), Failure> {
        let report = self.run(&Options { scenario: Scenario::S8, ..options.clone() }).await?;
        let cpu = ratio(last(&report), Measure::ServerCpuPerCommit);
        self.judge("T14", &format!("CPU of a change that concerns none of {} waiting calls", report.proxies), cpu, 1.1);
        Ok(())
    }

    /// Prints which targets are met, and writes everything down.
    fn finish(&self, json: Option<&Path>) -> Result<(), Failure> {
        println!(
            "{:<5} {:<62} {:>10} {:>10}",
            "", "target (a ratio to the floor, unless it says more)", "measured", "at most"
        );
        for Verdict { target, what, value, limit } in &self.verdicts {
            let met = if value <= limit { "met" } else { "missed" };
            println!("{target:<5} {what:<62} {value:>10.2} {limit:>10.2}  {met}");
        }
        let Some(path) = json else { return Ok(()) };
        let verdicts = self.verdicts.iter().map(|it| {
            json!({ "target": it.target, "what": it.what, "value": it.value, "limit": it.limit, "met": it.value <= it.limit })
        });
        let scenarios = self.reports.iter().map(Report::json).collect::<Vec<_>>();
        crate::report::write(path, &json!({ "targets": verdicts.collect::<Vec<Value>>(), "scenarios": scenarios }))
    }
}

/// The case that counts.
fn last(report: &Report) -> &Case {
    report.cases.last().expect("every scenario has a case")
}

fn ratio(case: &Case, measure: Measure) -> Option<f64> {
    case.subject.ratios(&case.floor).get(&measure).copied()
}

/// How much more than the floor.
fn excess(case: &Case, measure: Measure) -> Option<f64> {
    Some(case.subject.summary(measure)?.median - case.floor.summary(measure)?.median)
}
