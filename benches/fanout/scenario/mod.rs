//! The scenarios.

mod churn;
mod fanout;
mod gateway;
mod rotation;
mod startup;
mod waiting;

use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use crate::Failure;
use crate::ads::{Identity, Server};
use crate::fleet::{Arrival, Fleet, Traffic};
use crate::marker;
use crate::measure::{Figures, Measure};
use crate::options::{Options, Scenario};
use crate::process::{Cores, Usage, raise_file_limit};
use crate::report::Report;

/// Files that the bench and a server have open, apart from the connections of proxies.
const OTHER_FILES: u64 = 400;

/// Runs the scenario that the options name.
///
/// # Errors
/// Something fails, or a proxy does not hold what it should.
pub(crate) async fn run(options: &Options, cores: Option<Cores>) -> Result<Report, Failure> {
    let needed = files_of_each(options.scenario) * options.proxies() as u64 + OTHER_FILES;
    let files = raise_file_limit(needed);
    if files < needed {
        let fix = "raise it with `ulimit -Hn` as root, or measure fewer --proxies";
        return Err(format!("{needed} open files are needed and {files} allowed; {fix}").into());
    }
    match options.scenario {
        Scenario::S1 => fanout::run(options, cores, 1).await,
        Scenario::S2 => fanout::run(options, cores, options.upstreams).await,
        Scenario::S3 => gateway::run(options, cores).await,
        Scenario::S4 => startup::run(options, cores, startup::Start::Fresh).await,
        Scenario::S5 => startup::run(options, cores, startup::Start::Again).await,
        Scenario::S6 => churn::run(options, cores).await,
        Scenario::S7 => rotation::run(options, cores).await,
        Scenario::S8 => waiting::run(options, cores).await,
    }
}

fn files_of_each(scenario: Scenario) -> u64 {
    // The control plane leaves half of its descriptors to proxies, whatever calls wait.
    if scenario == Scenario::S8 { 2 } else { 1 }
}

/// `wanted` proxies, or as many as there may be open files for.
pub(crate) fn at_most(scenario: Scenario, wanted: u32) -> u32 {
    let of_each = files_of_each(scenario);
    let files = raise_file_limit(of_each * u64::from(wanted) + OTHER_FILES);
    wanted.min(u32::try_from(files.saturating_sub(OTHER_FILES) / of_each).unwrap_or(wanted))
}

/// Pause between two looks at whether a server has finished.
const LOOK: Duration = Duration::from_millis(3);

/// Processor time that is noise, in microseconds.
const IDLE_US: f64 = 60.0;

/// A server and its proxies.
struct Side {
    fleet: Fleet,
    /// `None` if the bench cannot look at the process.
    usage: Option<Usage>,
}

/// What came of one change.
#[derive(Debug, Clone, Default)]
struct Round {
    /// From the start of the change until a proxy had it, for each proxy, sorted.
    times: Vec<Duration>,
    /// Processor time of the server, until it had read the last ACK.
    cpu_us: f64,
    /// Processor time of the load client, until the last proxy had it.
    client_us: f64,
    traffic: Traffic,
    /// What the first proxy got.
    messages: Vec<Bytes>,
}

impl Side {
    fn new(server: &Server, usage: Option<Usage>, proxies: impl IntoIterator<Item = Identity>) -> Self {
        Self { fleet: Fleet::new(server.clone(), proxies), usage }
    }

    /// Memory of the server in bytes.
    fn memory(&self) -> f64 {
        self.usage.map_or(0.0, Usage::memory)
    }

    /// Waits until the server does nothing any more, such as reading the last ACKs; its processor time so far.
    async fn idle(&self) -> f64 {
        idle(self.usage).await
    }

    /// Connects all proxies and waits until everything is quiet.
    async fn connect(&mut self) -> Result<(), Failure> {
        self.fleet.connect().await?;
        self.fleet.settle().await?;
        self.idle().await;
        Ok(())
    }

    /// Connects all proxies for the first time, and notes how much memory that takes.
    async fn connect_first(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        self.idle().await;
        let before = self.memory();
        self.connect().await?;
        if self.usage.is_some() {
            let after = self.memory();
            figures.add(Measure::MemoryPerProxy, (after - before) / self.fleet.len() as f64 / 1024.0);
            figures.add(Measure::Memory, after / 1024.0 / 1024.0);
        }
        Ok(())
    }

    /// Makes a change and waits until these proxies have it.
    async fn change(
        &self,
        whom: Range<usize>,
        is_it: impl Fn(&Arrival) -> bool + Send + 'static,
        change: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Round, Failure> {
        let (cpu, traffic) = (self.idle().await, self.fleet.traffic());
        self.fleet.capture();
        let arrivals = self.fleet.expect(whom, is_it);
        let client = Usage::own().cpu_us();
        let start = Instant::now();
        let (made, done) = tokio::join!(change, self.fleet.done());
        made?;
        done?;
        let client_us = Usage::own().cpu_us() - client;
        Ok(Round {
            client_us,
            times: arrivals.since(start),
            cpu_us: self.idle().await - cpu,
            traffic: self.fleet.traffic().since(traffic),
            messages: self.fleet.captured(),
        })
    }
}

/// Waits until a process does nothing any more; its processor time so far.
async fn idle(usage: Option<Usage>) -> f64 {
    let Some(usage) = usage else { return 0.0 };
    let mut before = usage.cpu_us();
    loop {
        sleep(LOOK).await;
        let now = usage.cpu_us();
        if now - before < IDLE_US {
            return now;
        }
        before = now;
    }
}

impl Round {
    fn add_to(&self, figures: &mut Figures) {
        figures.add_times(&self.times);
        let deliveries = self.times.len() as f64;
        if self.cpu_us > 0.0 {
            figures.add(Measure::ServerCpuPerDelivery, self.cpu_us / deliveries);
        }
        figures.add(Measure::ClientCpuPerDelivery, self.client_us / deliveries);
        figures.add(Measure::BytesPerDelivery, self.traffic.bytes as f64 / deliveries);
    }
}

/// Proxies of the floor server, which does not ask who they are.
fn anybody(count: usize) -> impl Iterator<Item = Identity> {
    (0..count).map(|_| Identity { id: "any".to_owned(), ..Identity::default() })
}

/// The message with the number of another change.
fn renumbered(message: &Bytes, sequence: u32) -> Bytes {
    let mut bytes = message.to_vec();
    let positions: Vec<_> = marker::positions(message).collect();
    for at in positions {
        bytes[at..at + marker::LENGTH].copy_from_slice(marker::address(sequence).as_bytes());
    }
    bytes.into()
}

/// True for the arrival of this change.
fn is_change(sequence: u32) -> impl Fn(&Arrival) -> bool + Send + 'static {
    move |arrival| arrival.sequence == Some(sequence)
}
