//! S8: calls of the HTTP API wait for a change. The floor is another meshgate with the same connections, on which nobody
//! waits: its callers ask when it has the change already.

use std::time::Instant;

use super::{Round, idle};
use crate::Failure;
use crate::callers::{Asking, Callers};
use crate::catalog::Backend;
use crate::measure::{Figures, Measure};
use crate::options::Options;
use crate::process::{Cores, Usage};
use crate::report::{Case, Report};
use crate::subject::Subject;

/// Writes of one round that concern nobody.
const UNRELATED: u32 = 1_000;

/// Callers that the smaller of the two changes concerns.
const FEW: usize = 10;

/// Blocks of rounds, with the floor and the subject in turns.
const BLOCKS: usize = 2;

/// Measures what calls cost while they wait, and until they are answered.
pub(super) async fn run(options: &Options, cores: Option<Cores>) -> Result<Report, Failure> {
    let count = options.proxies();
    let mut waiting = Waiting {
        subject: Server::start(options, cores, Asking::ForNews).await?,
        floor: Server::start(options, cores, Asking::WhenTold).await?,
        count,
        sequence: 0,
        all: Case::new("concerned", count),
        few: Case::new("concerned", FEW.min(count)),
        unrelated: Case::new("unrelated", UNRELATED as usize),
    };
    let rounds = options.rounds.unwrap_or((40_000 / count).clamp(4, 40));
    waiting.measure(rounds.div_ceil(BLOCKS)).await?;
    Ok(options.report(vec![waiting.all, waiting.few, waiting.unrelated]))
}

/// A control plane, and how its callers ask.
struct Server {
    subject: Subject,
    asking: Asking,
    /// What all ask for, what few ask for, and what nobody asks for.
    services: [Backend; 3],
    /// Until the first connections are there, figures of memory are missing.
    is_new: bool,
}

impl Server {
    async fn start(options: &Options, cores: Option<Cores>, asking: Asking) -> Result<Self, Failure> {
        // Whatever else is measured, the floor is meshgate: nobody knows how to start another one twice.
        let subject = match asking {
            Asking::ForNews => Subject::start(options, None, cores).await?,
            Asking::WhenTold => Subject::start_meshgate(options, None, cores).await?,
        };
        let services = [0, 1, 2].map(|number| Backend::new(number, 1));
        subject.http.put_all(services.iter().flat_map(Backend::register)).await?;
        Ok(Self { subject, asking, services, is_new: true })
    }

    /// Connects the callers, of whom the first `few` ask for something else than the others.
    async fn connect(&mut self, count: usize, few: usize, figures: &mut Figures) -> Result<Callers, Failure> {
        let usage = self.subject.usage;
        idle(usage).await;
        let before = usage.map(Usage::memory);
        let path = |number| format!("/v1/health/connect/{}", self.services[usize::from(number < few)].name);
        let callers = Callers::connect(&self.subject.http, self.asking, (0..count).map(path)).await?;
        idle(usage).await;
        if let (true, Some(before), Some(usage)) = (self.is_new, before, usage) {
            figures.add(Measure::MemoryPerProxy, (usage.memory() - before) / count as f64 / 1024.0);
            figures.add(Measure::Memory, usage.memory() / 1024.0 / 1024.0);
        }
        self.is_new = false;
        Ok(callers)
    }

    /// Changes what so many callers ask for, until all of them have it.
    async fn change(&self, callers: &Callers, service: usize, whom: usize, sequence: u32) -> Result<Round, Failure> {
        let write = self.services[service].change(sequence);
        let put = self.subject.http.put(0, &write);
        if self.asking == Asking::WhenTold {
            put.await?;
            let tell = async {
                callers.tell(whom);
                Ok(())
            };
            return self.round(callers, whom, sequence, tell).await;
        }
        self.round(callers, whom, sequence, put).await
    }

    async fn round(
        &self,
        callers: &Callers,
        whom: usize,
        sequence: u32,
        begin: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Round, Failure> {
        let usage = self.subject.usage;
        let (cpu, traffic) = (idle(usage).await, callers.traffic());
        let arrivals = callers.expect(sequence, whom);
        let client = Usage::own().cpu_us();
        let start = Instant::now();
        let (begun, done) = tokio::join!(begin, callers.done());
        begun?;
        done?;
        let client_us = Usage::own().cpu_us() - client;
        let cpu_us = idle(usage).await - cpu;
        let traffic = callers.traffic().since(traffic);
        if traffic.responses != whom as u64 {
            return Err(format!("a change for {whom} was answered {} times", traffic.responses).into());
        }
        Ok(Round { times: arrivals.since(start), cpu_us, client_us, traffic, messages: Vec::new() })
    }

    /// Changes what nobody asks for; processor time of each change in microseconds.
    async fn change_unrelated(&self, callers: &Callers, first: u32) -> Result<f64, Failure> {
        let (before, answered) = (idle(self.subject.usage).await, callers.traffic().responses);
        for sequence in first..first + UNRELATED {
            self.subject.http.put(0, &self.services[2].change(sequence)).await?;
        }
        let cpu = idle(self.subject.usage).await - before;
        if callers.traffic().responses != answered {
            return Err("somebody was answered whom no change concerned".into());
        }
        Ok(cpu / f64::from(UNRELATED))
    }
}

struct Waiting {
    subject: Server,
    floor: Server,
    count: usize,
    /// The number of the last change.
    sequence: u32,
    all: Case,
    few: Case,
    unrelated: Case,
}

impl Waiting {
    async fn measure(&mut self, rounds: usize) -> Result<(), Failure> {
        for _ in 0..BLOCKS {
            for is_floor in [false, true] {
                self.measure_all(is_floor, rounds).await?;
                self.measure_few(is_floor, rounds).await?;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// All ask for the same.
    async fn measure_all(&mut self, is_floor: bool, rounds: usize) -> Result<(), Failure> {
        let count = self.count;
        let first = self.sequence + 1;
        self.sequence += UNRELATED * 2;
        let server = if is_floor { &mut self.floor } else { &mut self.subject };
        let callers = server.connect(count, 0, figures(&mut self.all, is_floor)).await?;
        // The first round is not measured: it finds cold caches.
        server.change_unrelated(&callers, first).await?;
        let cpu = server.change_unrelated(&callers, first + UNRELATED).await?;
        if server.subject.usage.is_some() {
            figures(&mut self.unrelated, is_floor).add(Measure::ServerCpuPerCommit, cpu);
        }
        for round in 0..=rounds {
            let sequence = self.next();
            let server = if is_floor { &self.floor } else { &self.subject };
            let measured = server.change(&callers, 0, count, sequence).await?;
            if round > 0 {
                measured.add_to(figures(&mut self.all, is_floor));
            }
        }
        callers.disconnect().await;
        Ok(())
    }

    /// All but few ask for what does not change.
    async fn measure_few(&mut self, is_floor: bool, rounds: usize) -> Result<(), Failure> {
        let (count, few) = (self.count, FEW.min(self.count));
        let server = if is_floor { &mut self.floor } else { &mut self.subject };
        let callers = server.connect(count, few, figures(&mut self.few, is_floor)).await?;
        for round in 0..=rounds {
            let sequence = self.next();
            let server = if is_floor { &self.floor } else { &self.subject };
            let measured = server.change(&callers, 1, few, sequence).await?;
            if round > 0 {
                measured.add_to(figures(&mut self.few, is_floor));
            }
        }
        callers.disconnect().await;
        Ok(())
    }
}

fn figures(case: &mut Case, is_floor: bool) -> &mut Figures {
    if is_floor { &mut case.floor } else { &mut case.subject }
}
