//! Processes under test: where they run, and what they cost.

use std::io;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// The core of the servers and that of the load client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    server: usize,
    client: usize,
}

impl Cores {
    /// The first two cores that this process may use; `None` if there is only one, so that nothing can be pinned.
    pub(crate) fn choose() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        Some(Self { server: cores.next()?, client: cores.next()? })
    }

    /// Moves this thread, and all that it starts, to the core of the load client.
    pub(crate) fn pin_client(self) -> io::Result<()> {
        pin(self.client)
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Lets this process and its children open as many files as the system allows, and `needed` at least where this process may
/// raise its limits; returns how many.
pub(crate) fn raise_file_limit(needed: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map(|most| most.max(needed));
    for maximum in [enough, limit.maximum] {
        if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
            return maximum.unwrap_or(u64::MAX);
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

/// A process that is measured. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    /// Starts a server, on its core if there are cores to choose from.
    pub(crate) fn start(mut command: Command, cores: Option<Cores>) -> Result<Self, Failure> {
        // A child starts where its parent is.
        if let Some(cores) = cores {
            pin(cores.server)?;
        }
        let child = command.spawn();
        if let Some(cores) = cores {
            cores.pin_client()?;
        }
        Ok(Self { child: child.map_err(|error| format!("{:?} cannot be started: {error}", command.get_program()))? })
    }

    /// What is measured of it.
    pub(crate) fn usage(&self) -> Usage {
        Usage { pid: self.child.id() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads what a process used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) pid: u32,
}

impl Usage {
    /// That of this process.
    pub(crate) fn own() -> Self {
        Self { pid: std::process::id() }
    }

    /// Processor time of all its threads, in microseconds.
    pub(crate) fn cpu_us(self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        threads.map(|thread| on_cpu_ns(&thread.path())).sum::<u64>() as f64 / 1_000.0
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory(self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or(0.0) * 1024.0
    }
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn on_cpu_ns(thread: &Path) -> u64 {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}
