//! S6: changes at a rate, each of them for twenty proxies.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::Semaphore;

use super::fanout::Mesh;
use super::{Side, anybody, is_change, renumbered};
use crate::Failure;
use crate::fleet::{Arrival, Fleet};
use crate::floor::Style;
use crate::measure::{Figures, Measure, quantile};
use crate::options::Options;
use crate::process::Cores;
use crate::report::{Case, Report};
use crate::subject::{Floor, Subject};

/// Proxies that a change is for.
const GROUP: usize = 20;

/// Changes that are under way at the same time, where there is no rate.
const AT_ONCE: usize = 8;

/// Measures how late changes arrive, at each rate.
pub(super) async fn run(options: &Options, cores: Option<Cores>) -> Result<Report, Failure> {
    let count = options.proxies().next_multiple_of(GROUP);
    let subject = Subject::start(options, None, cores).await?;
    let mesh = Mesh::in_groups(count, GROUP);
    mesh.register(&subject).await?;
    let mut churn = Churn { groups: count / GROUP, sequence: 0 };
    let case = |rate: &u32| match rate {
        0 => Case { name: "rate=any".to_owned(), ..Case::default() },
        rate => Case::new("rate", *rate as usize),
    };
    let mut cases: Vec<Case> = options.rates.iter().map(case).collect();
    let lasts = Duration::from_secs(u64::from(options.seconds));

    let mut side = Side::new(&subject.server, subject.usage, mesh.identities(&options.naming()));
    let message = {
        let first = cases.first_mut().ok_or("no rates")?;
        side.connect_first(&mut first.subject).await?;
        churn.sequence += 1;
        let write = mesh.backends[0].change(churn.sequence);
        let put = subject.http.put(0, &write);
        let mut round = side.change(0..GROUP, is_change(churn.sequence), put).await?;
        round.messages.pop().ok_or("the first proxy got nothing")?
    };
    // What a connection needs to carry a change for the first time is not what a load leaves behind.
    for backend in mesh.backends.iter().take(churn.groups) {
        churn.sequence += 1;
        subject.http.put(0, &backend.change(churn.sequence)).await?;
    }
    side.fleet.settle().await?;
    for (case, rate) in cases.iter_mut().zip(&options.rates) {
        let load = churn.load(*rate, lasts);
        let memory = side.memory();
        let (watch, cpu) = (load.watch(&side.fleet), side.idle().await);
        load.write(&subject, &mesh).await?;
        let wrote = load.begin.elapsed();
        side.fleet.settle().await?;
        watch.add_to(&mut case.subject, wrote, side.idle().await - cpu);
        case.subject.add(Measure::MemoryGrowth, (side.memory() - memory) / 1024.0 / 1024.0);
        side.fleet.verify().await?;
    }
    side.fleet.disconnect().await;

    let mut floor = Floor::start(Style::Copied, None, cores).await?;
    let mut side = Side::new(&floor.server, Some(floor.usage()), anybody(count));
    side.connect().await?;
    floor.control.push(0..count, &message).await?;
    side.fleet.settle().await?;
    for (case, rate) in cases.iter_mut().zip(&options.rates) {
        let load = churn.load(*rate, lasts);
        let memory = side.memory();
        let (watch, cpu) = (load.watch(&side.fleet), side.idle().await);
        load.push(&mut floor, &message).await?;
        let wrote = load.begin.elapsed();
        side.fleet.settle().await?;
        watch.add_to(&mut case.floor, wrote, side.idle().await - cpu);
        case.floor.add(Measure::MemoryGrowth, (side.memory() - memory) / 1024.0 / 1024.0);
    }
    Ok(options.report(cases))
}

struct Churn {
    groups: usize,
    /// The number of the last change.
    sequence: u32,
}

/// One rate for one server.
struct Load {
    groups: usize,
    /// The number of the first change.
    first: u32,
    /// Changes per second; 0 is as many as there can be.
    rate: u32,
    lasts: Duration,
    begin: Instant,
    shared: Arc<Shared>,
}

struct Shared {
    /// When changes were due.
    due: Mutex<HashMap<u32, Instant>>,
    found: Mutex<Found>,
    /// Changes that may be under way at once to the floor server, which does not answer.
    permits: Semaphore,
}

#[derive(Default)]
struct Found {
    staleness: Vec<Duration>,
    deliveries: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Churn {
    fn load(&mut self, rate: u32, lasts: Duration) -> Load {
        let first = self.sequence + 1;
        // More than there can be without a rate.
        self.sequence += if rate == 0 { 4_000 } else { rate } * lasts.as_secs() as u32 + 1;
        let shared = Shared { due: Mutex::default(), found: Mutex::default(), permits: Semaphore::new(AT_ONCE) };
        Load { groups: self.groups, first, rate, lasts, begin: Instant::now(), shared: Arc::new(shared) }
    }
}

impl Load {
    /// Notes how late each change arrives.
    fn watch(&self, fleet: &Fleet) -> Arc<Shared> {
        let (shared, first, groups) = (self.shared.clone(), self.first, self.groups as u32);
        // What each proxy has, as the number of the last change for it.
        let mut has: Vec<Option<u32>> = vec![None; fleet.len()];
        fleet.observe(Box::new(move |arrival: Arrival| {
            let Some(sequence) = arrival.sequence.filter(|sequence| *sequence >= first) else { return false };
            let group = (arrival.proxy / GROUP) as u32;
            let mut found = lock(&shared.found);
            let due = lock(&shared.due);
            let next = has[arrival.proxy].map_or(first + group, |last| last + groups);
            // One response stands for all changes that it overtook.
            let late = (next..=sequence).step_by(groups as usize).filter_map(|change| due.get(&change));
            found.staleness.extend(late.map(|due| arrival.at.saturating_duration_since(*due)));
            has[arrival.proxy] = Some(sequence);
            found.deliveries += 1;
            if found.deliveries % GROUP as u64 == 0 {
                shared.permits.add_permits(1);
            }
            false
        }));
        self.shared.clone()
    }

    /// When a change is due; `None` if that is after the end.
    async fn turn(&self, change: usize) -> Option<u32> {
        let now = match self.rate {
            0 => Instant::now(),
            rate => {
                let due = self.begin + Duration::from_secs_f64(change as f64 / f64::from(rate));
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        if now >= self.begin + self.lasts {
            return None;
        }
        let sequence = self.first + change as u32;
        lock(&self.shared.due).insert(sequence, now);
        Some(sequence)
    }

    /// Writes to the subject: group after group, those of one group in order.
    async fn write(&self, subject: &Subject, mesh: &Mesh) -> Result<(), Failure> {
        let worker = async |number: usize| {
            for round in 0.. {
                for group in (number..self.groups).step_by(AT_ONCE) {
                    let Some(sequence) = self.turn(round * self.groups + group).await else { return Ok(()) };
                    subject.http.put(number, &mesh.backends[group].change(sequence)).await?;
                }
            }
            Ok(())
        };
        try_join_all((0..AT_ONCE.min(self.groups)).map(worker)).await.map(drop)
    }

    /// Lets the floor server do the same.
    async fn push(&self, floor: &mut Floor, message: &Bytes) -> Result<(), Failure> {
        for change in 0.. {
            if self.rate == 0 {
                self.shared.permits.acquire().await?.forget();
            }
            let Some(sequence) = self.turn(change).await else { break };
            let group = change % self.groups;
            let whom: Range<usize> = group * GROUP..(group + 1) * GROUP;
            floor.control.push(whom, &renumbered(message, sequence)).await?;
        }
        Ok(())
    }
}

impl Shared {
    fn add_to(&self, figures: &mut Figures, wrote: Duration, cpu_us: f64) {
        let mut found = std::mem::take(&mut *lock(&self.found));
        found.staleness.sort_unstable();
        for (measure, of_100) in
            [(Measure::StalenessP50, 50), (Measure::StalenessP99, 99), (Measure::StalenessMax, 100)]
        {
            let late = quantile(&found.staleness, of_100, 100).unwrap_or_default();
            figures.add(measure, late.as_secs_f64() * 1_000.0);
        }
        figures.add(Measure::Deliveries, found.deliveries as f64 / wrote.as_secs_f64());
        figures.add(Measure::Changes, lock(&self.due).len() as f64 / wrote.as_secs_f64());
        if cpu_us > 0.0 {
            figures.add(Measure::ServerCpuPerDelivery, cpu_us / found.deliveries as f64);
        }
    }
}
