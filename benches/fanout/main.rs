//! What it costs to tell many proxies of a change, next to the floor: the least that this machine needs for the same.
//!
//! ```text
//! cargo bench --bench fanout -- --scenario S1 --proxies 1000 --json s1.json
//! cargo bench --bench fanout -- --smoke
//! cargo bench --bench fanout -- --large --json large.json
//! ```
//!
//! Three processes: this one is the load client, with one connection and one stream for each proxy; the control plane and
//! the floor server are its children, on another core. They are measured in turns, in blocks of rounds. At the end every
//! stream must hold what a fresh client gets.

#![allow(clippy::print_stdout, reason = "a bench tells what it measured")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod ads;
mod callers;
mod catalog;
mod clock;
mod fleet;
mod floor;
mod http;
mod identities;
mod marker;
mod measure;
mod options;
mod process;
mod report;
mod scenario;
mod subject;
mod suite;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Runtime;

use options::{Command, Options};
use process::Cores;

/// Why a bench cannot go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    match options.command {
        // On one core, too, the runtime with threads is the faster one for a server.
        Some(Command::ServeFloor { style, tls }) => return Runtime::new()?.block_on(floor::serve(style, tls.as_ref())),
        Some(Command::ServeClock) => return Runtime::new()?.block_on(clock::serve()),
        None => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cores = Cores::choose();
    match cores {
        Some(cores) => cores.pin_client()?,
        None => println!("only one core: servers and load client share it, and times say little"),
    }
    runtime.block_on(async {
        if options.smoke {
            return suite::smoke(&options, cores).await;
        }
        if options.large {
            return suite::large(&options, cores).await;
        }
        let report = scenario::run(&options, cores).await?;
        println!("{}", report.table());
        options.json.as_deref().map_or(Ok(()), |path| report::write(path, &report.json()))
    })
}
