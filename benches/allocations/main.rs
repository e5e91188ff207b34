//! Holds that one change costs what it changes: allocations of the whole control plane for one endpoint, from the HTTP call
//! to the last ACK.
//!
//! ```text
//! cargo bench --bench allocations
//! ```
//!
//! The control plane runs in another process, which counts. Fails if the allocations for each proxy grow with the number of
//! proxies, or with what else the proxies have.

#![allow(clippy::print_stdout, reason = "a bench tells what it measured")]
#![allow(dead_code, unused_imports, reason = "the parts of the load client that are not used here")]

#[path = "../fanout/ads/mod.rs"]
mod ads;
#[path = "../fanout/catalog.rs"]
mod catalog;
#[path = "../fanout/fleet.rs"]
mod fleet;
#[path = "../fanout/http.rs"]
mod http;
#[path = "../fanout/marker.rs"]
mod marker;
mod server;
#[path = "../../tests/support/tls.rs"]
mod tls;

/// Where the load client looks for it.
mod support {
    pub(crate) use crate::tls;
}

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use ads::Server;
use catalog::{Backend, INSTANCES, Member, Naming};
use fleet::Fleet;
use server::{Count, Counting};

/// Why a bench cannot go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Changes that are counted.
const ROUNDS: u32 = 10;

/// How much more may be counted where the same is expected.
const TOLERANCE: f64 = 1.2;

/// How much more where the proxies have fifty times as much: a persistent map of fifty is one level deeper.
const DEEPER: f64 = 1.6;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| match std::env::args().nth(1).as_deref() {
        Some(server::COMMAND) => runtime.block_on(server::serve()),
        _ => runtime.block_on(run()),
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    println!("one endpoint changes: allocations of the control plane, median of {ROUNDS} changes");
    println!(
        "{:>8} {:>10} {:>12} {:>12} {:>14} {:>14}",
        "proxies", "upstreams", "allocations", "bytes", "of each proxy", "bytes"
    );
    let mut of_each = Vec::new();
    for upstreams in [1, 50] {
        let alone = measure(1, upstreams).await?;
        for proxies in [10, 100, 1_000] {
            let count = measure(proxies, upstreams).await?;
            let each = (count - alone) / (proxies - 1) as f64;
            println!(
                "{proxies:>8} {upstreams:>10} {:>12.0} {:>12.0} {:>14.1} {:>14.0}",
                count.allocations, count.bytes, each.allocations, each.bytes
            );
            of_each.push(each.allocations);
        }
    }
    let [_, few, many, _, _, rich] = of_each[..] else { return Err("a case is missing".into()) };
    if many > TOLERANCE * few {
        return Err(format!("each proxy costs {many:.1} allocations among 1,000 and {few:.1} among 100").into());
    }
    if rich > DEEPER * many {
        return Err(format!("a proxy costs {rich:.1} allocations with 50 upstreams and {many:.1} with one").into());
    }
    Ok(())
}

/// What one change of the first upstream takes.
async fn measure(proxies: usize, upstreams: usize) -> Result<Count, Failure> {
    let mut counting = Counting::start().await?;
    let backends: Vec<_> = (0..upstreams).map(|number| Backend::new(number, INSTANCES)).collect();
    let names: Vec<_> = backends.iter().map(|backend| backend.name.clone()).collect();
    let members: Vec<_> = (0..proxies).map(Member::client).collect();
    counting.http.put_all(backends.iter().flat_map(Backend::register)).await?;
    let clients = members.iter().enumerate();
    counting.http.put_all(clients.flat_map(|(number, member)| member.register_client(number, &names))).await?;
    let naming = Naming::default();
    let mut fleet = Fleet::new(Server::plain(counting.grpc), members.iter().map(|member| member.identity(&naming)));
    fleet.connect().await?;
    fleet.settle().await?;
    let mut counts = Vec::new();
    for sequence in 1..=ROUNDS {
        let write = backends[0].change(sequence);
        let before = counting.count()?;
        fleet.expect(0..proxies, move |arrival| arrival.sequence == Some(sequence));
        let (written, done) = tokio::join!(counting.http.put(0, &write), fleet.done());
        written?;
        done?;
        // The last ACKs have to be read.
        fleet.settle().await?;
        counts.push(counting.count()? - before);
    }
    counts.sort_by(|a, b| a.allocations.total_cmp(&b.allocations));
    Ok(counts[counts.len() / 2])
}
